//! ROS time: the system's, or what `/clock` says when `use_sim_time` is set.
//!
//! A clock that goes back (a bag that begins anew, a simulation that was reset) does not stop a node: [`RosClock::jumps`]
//! counts it, and whoever holds something of the old time lets go of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use control::RosTime;
use futures::executor::LocalSpawner;
use futures::future::{AbortHandle, abortable};
use futures::task::LocalSpawnExt;
use futures::{FutureExt, StreamExt};
use r2r::QosProfile;
use r2r::builtin_interfaces::msg::Time;
use r2r::rosgraph_msgs::msg::Clock;

const SECOND: i64 = 1_000_000_000;

/// What is said while there is no ROS time.
pub const NOT_HEARD: &str = "use_sim_time is set, and nothing came on /clock yet";

/// How long the middleware may take to find who publishes `/clock` before the log says that nobody does.
const PATIENCE: Duration = Duration::from_secs(5);

/// ROS time; clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct RosClock(Arc<State>);

#[derive(Debug, Default)]
struct State {
    simulated: AtomicBool,
    /// Nanoseconds of the last message of `/clock`; 0 before the first, as for every ROS node.
    nanoseconds: AtomicI64,
    jumps: AtomicU64,
}

impl RosClock {
    /// Nanoseconds of ROS time.
    pub fn nanoseconds(&self) -> i64 {
        if self.0.simulated.load(Ordering::Relaxed) {
            return self.0.nanoseconds.load(Ordering::Relaxed);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    /// ROS time as a message has it.
    pub fn now(&self) -> Time {
        time(self.nanoseconds())
    }

    /// Whether time is simulated.
    pub fn is_simulated(&self) -> bool {
        self.0.simulated.load(Ordering::Relaxed)
    }

    /// Whether there is a time: simulated, there is none before the first message of `/clock` that says other than 0.
    pub fn is_known(&self) -> bool {
        RosTime(self.nanoseconds()).is_known()
    }

    /// How often time went back, or changed between the system's and simulated.
    pub fn jumps(&self) -> u64 {
        self.0.jumps.load(Ordering::Relaxed)
    }

    /// What happened so far was the start, not a jump.
    pub(crate) fn forget_jumps(&self) {
        self.0.jumps.store(0, Ordering::Relaxed);
    }

    fn simulate(&self, simulated: bool) {
        self.0.nanoseconds.store(0, Ordering::Relaxed);
        self.0.simulated.store(simulated, Ordering::Relaxed);
        self.0.jumps.fetch_add(1, Ordering::Relaxed);
    }

    fn set(&self, nanoseconds: i64) {
        let before = self.0.nanoseconds.swap(nanoseconds, Ordering::Relaxed);
        if nanoseconds < before {
            self.0.jumps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// For how long there has been no ROS time, for the log.
#[derive(Debug, Default)]
pub struct Waiting {
    since: Option<Instant>,
    is_told: bool,
}

impl Waiting {
    /// Whether the log is to say now that there is no time: once, until there is one again.
    pub fn is_too_long(&mut self, is_known: bool, now: Instant) -> bool {
        if is_known {
            *self = Self::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_long = now.saturating_duration_since(since) >= PATIENCE;
        is_long && !std::mem::replace(&mut self.is_told, is_long)
    }
}

/// A message's time of nanoseconds since the epoch.
pub fn time(nanoseconds: i64) -> Time {
    let sec = i32::try_from(nanoseconds.div_euclid(SECOND)).unwrap_or(i32::MAX);
    Time { sec, nanosec: nanoseconds.rem_euclid(SECOND) as u32 }
}

/// Keeps a clock as `use_sim_time` wants it.
#[derive(Default)]
pub struct ClockInput {
    subscribed: Option<AbortHandle>,
}

impl ClockInput {
    /// Subscribes to `/clock` when time is to be simulated, and lets go of it when it is not.
    ///
    /// # Errors
    /// When the middleware refuses the subscription.
    pub fn follow(
        &mut self,
        node: &mut r2r::Node,
        spawner: &LocalSpawner,
        clock: &RosClock,
        simulated: bool,
        qos: &QosProfile,
    ) -> Result<()> {
        if clock.is_simulated() == simulated {
            return Ok(());
        }
        clock.simulate(simulated);
        if let Some(subscribed) = self.subscribed.take() {
            subscribed.abort();
        }
        if simulated {
            let messages = node.subscribe::<Clock>("/clock", qos.clone()).context("/clock")?;
            let clock = clock.clone();
            let (task, handle) = abortable(messages.for_each(move |message| {
                let (sec, nanosec) = (i64::from(message.clock.sec), i64::from(message.clock.nanosec));
                clock.set(sec * SECOND + nanosec);
                std::future::ready(())
            }));
            spawner.spawn_local(task.map(|_| ())).context("spawn")?;
            self.subscribed = Some(handle);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_begins_at_zero_and_jumps_are_counted() {
        let clock = RosClock::default();
        assert!(clock.now().sec > 1_500_000_000 && clock.is_known());
        clock.simulate(true);
        assert_eq!((clock.nanoseconds(), clock.jumps(), clock.is_known()), (0, 1, false));
        for (set, jumps) in [(5 * SECOND, 1), (6 * SECOND, 1), (5 * SECOND + 1, 2), (7 * SECOND, 2)] {
            clock.set(set);
            assert_eq!((clock.nanoseconds(), clock.jumps()), (set, jumps));
        }
        assert_eq!((clock.now(), clock.is_known()), (Time { sec: 7, nanosec: 0 }, true));
        assert_eq!(time(-1), Time { sec: -1, nanosec: 999_999_999 });
    }

    #[test]
    fn a_clock_that_does_not_come_is_told_once_each_time() {
        let (start, mut waiting) = (Instant::now(), Waiting::default());
        let mut told_at = |secs, is_known| waiting.is_too_long(is_known, start + Duration::from_secs(secs));
        assert_eq!([0, 4, 5, 6, 60].map(|secs| told_at(secs, false)), [false, false, true, false, false]);
        assert!(!told_at(61, true));
        assert_eq!([62, 66, 67, 68].map(|secs| told_at(secs, false)), [false, false, true, false]);
    }
}
