//! The control loop: a thread of its own, a tick every period of the steady clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::records::Records;
use super::report::Counts;
use super::settings::Settings;
use super::shared::{Shared, Told};
use crate::rosout::Logger;
use crate::throttle::Throttle;

/// How often failures to publish are logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// What the thread needs.
pub struct ControlLoop {
    pub shared: Shared,
    pub counts: Counts,
    /// None in a dry run: the robot is told nothing.
    pub commands: Option<Commands>,
    pub records: Records,
    pub logger: Logger,
}

/// The running thread; dropping it stops it.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts the loop.
    pub fn start(control: ControlLoop, settings: &Settings) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, period) = (Told::new(settings), Duration::from_secs_f64(1.0 / settings.rate_hz));
        let stopped = stop.clone();
        let name = "control".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || control.run(told, period, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether the thread ended without being asked.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told where it was found.
            drop(thread.join());
        }
    }
}

impl ControlLoop {
    fn run(mut self, mut told: Told, period: Duration, stop: &AtomicBool) {
        let mut errors = Throttle::new(LOG_PERIOD);
        let (mut due, mut before) = (Instant::now(), None);
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let began = Instant::now();
            self.shared.with(|core| core.tick(&mut told));
            let ticked = Instant::now();
            let published = self.publish(&told);
            self.counts.ticked(before.replace(began), began, ticked, &told);
            if let Err(error) = published
                && errors.ready(began).is_some()
            {
                self.logger.error(format!("cannot publish commands: {error}"));
            }
            // Ticks that were missed are not made up for: the robot would be told the past in a burst.
            due += period;
            let now = Instant::now();
            if now > due + period {
                self.counts.missed(now.duration_since(due).as_nanos() / period.as_nanos().max(1));
                due = now;
            }
        }
    }

    /// The command first: the robot waits for it.
    fn publish(&mut self, told: &Told) -> Result<(), r2r::Error> {
        if told.speaks
            && let Some(commands) = &mut self.commands
        {
            commands.publish(told)?;
        }
        self.records.publish(told)
    }
}
