//! The two clocks: ROS time says when something was seen, the steady clock says that time passes.

use std::ops::{Add, Sub};

/// ROS time, nanoseconds since the epoch of its clock. May stop and jump (simulation, bags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RosTime(pub i64);

/// The machine's steady clock, nanoseconds since some moment. Never stops or jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SteadyTime(pub u64);

impl RosTime {
    /// Whether there is a time at all: with simulated time it is 0 for every ROS node until the first message of `/clock`.
    pub fn is_known(self) -> bool {
        self.0 != 0
    }

    /// Seconds from `earlier` to this; negative when `earlier` is later.
    pub fn secs_since(self, earlier: RosTime) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 * 1e-9
    }
}

impl SteadyTime {
    /// Seconds from `earlier` to this, 0 when `earlier` is later.
    pub fn secs_since(self, earlier: SteadyTime) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 * 1e-9
    }
}

/// Seconds as nanoseconds, saturating; NaN is 0.
pub(crate) fn nanoseconds(secs: f64) -> i64 {
    (secs * 1e9).round() as i64
}

impl Add<f64> for RosTime {
    type Output = RosTime;

    fn add(self, secs: f64) -> RosTime {
        RosTime(self.0.saturating_add(nanoseconds(secs)))
    }
}

impl Sub<f64> for RosTime {
    type Output = RosTime;

    fn sub(self, secs: f64) -> RosTime {
        RosTime(self.0.saturating_sub(nanoseconds(secs)))
    }
}

impl Add<f64> for SteadyTime {
    type Output = SteadyTime;

    fn add(self, secs: f64) -> SteadyTime {
        SteadyTime(self.0.saturating_add(nanoseconds(secs).max(0) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_seconds_and_never_overflow() {
        assert_eq!(RosTime(2_500_000_000).secs_since(RosTime(3_000_000_000)), -0.5);
        assert_eq!(RosTime(i64::MAX) + 1e30, RosTime(i64::MAX));
        assert_eq!(RosTime(i64::MIN) - 1e30, RosTime(i64::MIN));
        assert_eq!(SteadyTime(1).secs_since(SteadyTime(2)), 0.0);
        assert_eq!(SteadyTime(5) + -1.0, SteadyTime(5));
    }
}
