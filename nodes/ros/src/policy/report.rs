//! What is counted of the control loop, and what diagnostics say of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control::{Counters, State};

use super::records;
use super::shared::Told;
use crate::diagnostics::Status;
use crate::window::Window;

/// Rates, ages and reasons are about the last ten seconds.
const LENGTH: Duration = Duration::from_secs(10);

/// A period that is longer than its own by more than this share, one time in a hundred, is worth a warning.
const MOST_JITTER: f64 = 0.5;

/// Counts; clones count together.
#[derive(Clone, Debug)]
pub struct Counts(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// From the begin of one tick to the next, s.
    periods: Window,
    /// How long the controller took, s.
    costs: Window,
    /// Age of the newest observation behind each command that followed a policy, s of ROS time.
    ages: Window,
    chunks: Window,
    refusals: Window,
    last_refusal: String,
    ticks: u64,
    commands: u64,
    missed: u64,
    received: u64,
    refused: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let window = || Window::new(LENGTH);
        Self(Arc::new(Mutex::new(Inner {
            periods: window(),
            costs: window(),
            ages: window(),
            chunks: window(),
            refusals: window(),
            last_refusal: String::new(),
            ticks: 0,
            commands: 0,
            missed: 0,
            received: 0,
            refused: 0,
        })))
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk came, whatever became of it.
    pub fn chunk_came(&self) {
        let mut inner = self.lock();
        inner.received += 1;
        inner.chunks.push(Instant::now(), 0.0);
    }

    /// A message was refused.
    pub fn refused(&self, now: Instant, reason: String) {
        let mut inner = self.lock();
        inner.refused += 1;
        inner.refusals.push(now, 0.0);
        inner.last_refusal = reason;
    }

    /// A tick that began now, after the one before, if there was one.
    pub fn ticked(&self, before: Option<Instant>, began: Instant, ended: Instant, told: &Told) {
        let mut inner = self.lock();
        inner.ticks += 1;
        inner.commands += u64::from(told.speaks);
        if let Some(before) = before {
            inner.periods.push(began, began.duration_since(before).as_secs_f64());
        }
        inner.costs.push(began, ended.duration_since(began).as_secs_f64());
        if let (State::Running, Some(observation)) = (told.state, told.observation) {
            inner.ages.push(began, told.stamp.secs_since(observation));
        }
    }

    /// Ticks whose time was over.
    pub fn missed(&self, ticks: u128) {
        self.lock().missed += u64::try_from(ticks).unwrap_or(u64::MAX);
    }

    /// Nothing is counted across a begin.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.periods.clear();
        inner.costs.clear();
        inner.ages.clear();
    }

    /// Adds what is counted to a status.
    pub fn tell(&self, status: &mut Status, period_secs: f64, now: Instant) {
        let mut inner = self.lock();
        let Inner { periods, costs, ages, chunks, refusals, .. } = &mut *inner;
        for window in [periods, costs, ages, chunks, refusals] {
            window.forget(now);
        }
        let millis = |window: &Window, share| window.quantile(share).map(|secs| secs * 1e3);
        let names = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];
        let keys = ["period_p50_ms", "period_p99_ms", "period_max_ms"];
        for ((_, share), key) in names.into_iter().zip(keys) {
            status.number(key, millis(&inner.periods, share));
        }
        for (key, share) in [("tick_p50_us", 0.5), ("tick_p99_us", 0.99)] {
            status.number(key, millis(&inner.costs, share).map(|value| value * 1e3));
        }
        let keys = ["observation_age_p50_ms", "observation_age_p99_ms", "observation_age_max_ms"];
        for ((_, share), key) in names.into_iter().zip(keys) {
            status.number(key, millis(&inner.ages, share));
        }
        status.number("chunk_rate_hz", inner.chunks.rate());
        for (key, value) in [
            ("ticks", inner.ticks),
            ("ticks_missed", inner.missed),
            ("commands", inner.commands),
            ("chunks_received", inner.received),
            ("messages_refused", inner.refused),
        ] {
            status.value(key, value);
        }
        if inner.periods.quantile(0.99).is_some_and(|long| long > period_secs * (1.0 + MOST_JITTER)) {
            status.warn("the control period is longer than it should be, one time in a hundred or more");
        }
        if !inner.refusals.is_empty() {
            status.warn(format!("refused: {}", inner.last_refusal));
        }
    }
}

/// Adds what the controller is doing.
pub fn tell_state(
    status: &mut Status,
    state: State,
    joints: &[String],
    counters: &Counters,
    missing: &[String],
) {
    let reason = records::reason(state, joints);
    match state {
        State::Hold(_) => status.warn(format!("HOLD: {reason}")),
        State::Fault(_) | State::EStop => status.error(format!("{}: {reason}", state.name())),
        State::Idle | State::Armed | State::Running => {}
    }
    if !missing.is_empty() {
        status.warn(format!("joint_states: no message has told of {}", missing.join(", ")));
    }
    status.value("state", state.name());
    for (stage, count) in counters.iter() {
        status.value(stage, count);
    }
}
