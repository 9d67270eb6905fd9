//! Whether a frame under way still means something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use perception::Stamp;

use crate::clock::RosClock;

/// When a frame came: in which activation, and after how many jumps of ROS time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    activation: u64,
    jumps: u64,
}

/// Tells moments; clones tell the same.
#[derive(Clone, Debug)]
pub struct Moments {
    activations: Arc<AtomicU64>,
    clock: RosClock,
}

impl Moments {
    /// Moments by this clock.
    pub fn new(clock: RosClock) -> Self {
        Self { activations: Arc::default(), clock }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment { activation: self.activations.load(Ordering::Relaxed), jumps: self.clock.jumps() }
    }

    /// The node was activated or deactivated.
    pub fn change_activation(&self) {
        self.activations.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a frame that came at a moment is worthless now: the node was deactivated meanwhile, or time jumped back
    /// before its stamp. Frames whose stamps are not in the future live on, so that a clock that jumps all the time
    /// (two simulators on one `/clock`) does not stop the node.
    pub fn is_past(&self, moment: Moment, stamp: Stamp) -> bool {
        let now = self.now();
        let in_the_future = || stamp.nanoseconds() > self.clock.nanoseconds();
        moment.activation != now.activation || (moment.jumps != now.jumps && in_the_future())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_another_time_are_past() {
        let moments = Moments::new(RosClock::default());
        let (early, late) = (Stamp { sec: 10, nanosec: 0 }, Stamp { sec: i32::MAX, nanosec: 0 });
        let before = moments.now();
        assert!(!moments.is_past(before, late), "a stamp alone says nothing");
        let jumped = Moment { jumps: before.jumps + 1, ..before };
        assert!(moments.is_past(jumped, late) && !moments.is_past(jumped, early));
        moments.change_activation();
        assert!(moments.is_past(before, early));
    }
}
