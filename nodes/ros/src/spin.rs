//! Spinning until someone asks to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::executor::LocalPool;
use signal_hook::consts::{SIGINT, SIGTERM};

/// How long one wait for messages lasts; also how soon a stop is noticed.
const WAIT: Duration = Duration::from_millis(5);

/// Set once the process should stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that SIGINT and SIGTERM set.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, stop.0.clone())?;
        }
        Ok(stop)
    }

    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Spins a node and the tasks on its streams until `stop`; `each` runs between waits.
pub fn until_stopped(
    node: &mut r2r::Node,
    tasks: &mut LocalPool,
    stop: &Stop,
    mut each: impl FnMut(&mut r2r::Node),
) {
    while !stop.is_set() {
        node.spin_once(WAIT);
        // After every wait, because r2r keeps ten messages and then drops the newest.
        tasks.run_until_stalled();
        each(node);
    }
}

/// The whole of a node's `main`: a context, a node, and exit code 0 after a clean stop.
pub fn main(
    name: &str,
    start: impl FnOnce(r2r::Node, &Stop) -> anyhow::Result<()>,
) -> std::process::ExitCode {
    let started = || -> anyhow::Result<()> {
        let stop = Stop::on_signals()?;
        let context =
            r2r::Context::create().map_err(|error| anyhow::anyhow!("cannot initialise ROS: {error}"))?;
        let node = r2r::Node::create(context, name, "")
            .map_err(|error| anyhow::anyhow!("cannot create the node: {error}"))?;
        start(node, &stop)
    };
    match started() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            r2r::log_fatal!(name, "{error:#}");
            std::process::ExitCode::from(2)
        }
    }
}
