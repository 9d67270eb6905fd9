//! Starting a node, and stopping when someone asks to.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::declare::Reference;
use crate::describe;
use crate::raw;
use crate::ros_node::{Refused, RosNode};
use crate::rosout::Logger;

/// Set once the process should stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that SIGINT and SIGTERM set; the second one ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Before the one that sets the flag, or the first signal would end the process already.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.0.clone())?;
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

/// The whole of a node's `main`: a context, a node with its habits, and exit code 0 after a clean stop, 2 after a refusal.
/// `--describe` prints the reference as JSON instead.
pub fn main(
    reference: &'static Reference,
    start: impl FnOnce(&mut RosNode, &Stop) -> Result<()>,
) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--describe") {
        println!("{:#}", describe::json(reference));
        return ExitCode::SUCCESS;
    }
    let (stop, node, logger) = match create(reference.name) {
        Ok(created) => created,
        Err(error) => {
            r2r::log_fatal!(reference.name, "{error:#}");
            return ExitCode::from(2);
        }
    };
    let ended = RosNode::new(node, logger.clone(), reference).and_then(|mut ros| {
        let started = start(&mut ros, &stop);
        started.map_err(|error| Box::new(Refused { node: ros.node, error }))
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            // While the node is there: with it goes the publisher of `/rosout`.
            logger.last_words(format!("{:#}", refused.error));
            ExitCode::from(2)
        }
    }
}

fn create(name: &str) -> Result<(Stop, r2r::Node, Logger)> {
    let stop = Stop::on_signals().context("signals")?;
    raw::check_arguments(std::env::args())?;
    let context = r2r::Context::create().context("cannot initialise ROS")?;
    let mut node = r2r::Node::create(context, name, "").context("cannot create the node")?;
    let logger = Logger::of(&mut node)?;
    Ok((stop, node, logger))
}
