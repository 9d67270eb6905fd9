//! What must go on: the deadman's stream, the clock.

use crate::time::{RosTime, SteadyTime};

/// A button that must be held. It is a stream: a driver that dies, or a message that never comes, releases it.
#[derive(Clone, Copy, Debug)]
pub struct Deadman {
    timeout_secs: f64,
    held: Option<SteadyTime>,
}

impl Deadman {
    /// Not held; a press counts for this long, s, of the steady clock.
    pub fn new(timeout_secs: f64) -> Self {
        Self { timeout_secs, held: None }
    }

    /// A message: whether the button is pressed.
    pub fn heard(&mut self, pressed: bool, now: SteadyTime) {
        self.held = pressed.then_some(now);
    }

    /// Whether it is held now.
    pub fn is_held(&self, now: SteadyTime) -> bool {
        self.held.is_some_and(|since| now.secs_since(since) <= self.timeout_secs)
    }
}

/// What ROS time did since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// It went on.
    Advancing,
    /// It has stood still for too long while the steady clock went on.
    Stopped,
    /// It went back.
    JumpedBack,
}

/// Watches ROS time with the steady clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    timeout_secs: f64,
    last: Option<(RosTime, SteadyTime)>,
}

impl ClockWatch {
    /// ROS time may stand still for this long, s, of the steady clock.
    pub fn new(timeout_secs: f64) -> Self {
        Self { timeout_secs, last: None }
    }

    /// Looks at both clocks. The watch begins with the first ROS time that is known. One that is known no more, because it is to be
    /// simulated from now on, went back; from then on it is waited for as at the start.
    pub fn look(&mut self, ros: RosTime, steady: SteadyTime) -> ClockEvent {
        let known = ros.is_known().then_some((ros, steady));
        let Some((before, since)) = self.last else {
            self.last = known;
            return ClockEvent::Advancing;
        };
        if ros == before {
            let stood = steady.secs_since(since) > self.timeout_secs;
            return if stood { ClockEvent::Stopped } else { ClockEvent::Advancing };
        }
        self.last = known;
        if ros < before || known.is_none() { ClockEvent::JumpedBack } else { ClockEvent::Advancing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadman_is_a_stream() {
        let mut deadman = Deadman::new(0.2);
        assert!(!deadman.is_held(SteadyTime(0)));
        deadman.heard(true, SteadyTime(0));
        assert!(deadman.is_held(SteadyTime(0) + 0.2));
        assert!(!deadman.is_held(SteadyTime(0) + 0.21));
        deadman.heard(false, SteadyTime(0) + 0.1);
        assert!(!deadman.is_held(SteadyTime(0) + 0.11));
    }

    #[test]
    fn a_clock_that_stops_or_goes_back_is_seen() {
        let mut watch = ClockWatch::new(0.5);
        let (ros, steady) = (RosTime(1), SteadyTime(0));
        assert_eq!(watch.look(ros, steady), ClockEvent::Advancing);
        assert_eq!(watch.look(ros, steady + 0.5), ClockEvent::Advancing);
        assert_eq!(watch.look(ros, steady + 0.6), ClockEvent::Stopped);
        assert_eq!(watch.look(ros + 0.01, steady + 0.7), ClockEvent::Advancing);
        assert_eq!(watch.look(ros, steady + 0.8), ClockEvent::JumpedBack);
        assert_eq!(watch.look(ros + 0.01, steady + 0.9), ClockEvent::Advancing);
    }

    #[test]
    fn a_clock_that_said_nothing_yet_does_not_stand_still() {
        let mut watch = ClockWatch::new(0.5);
        let (none, steady) = (RosTime(0), SteadyTime(0));
        for secs in [0.0, 1.0, 5.0] {
            assert_eq!(watch.look(none, steady + secs), ClockEvent::Advancing);
        }
        assert_eq!(watch.look(none + 100.0, steady + 6.0), ClockEvent::Advancing);
        assert_eq!(watch.look(none + 100.0, steady + 6.6), ClockEvent::Stopped);
        assert_eq!(watch.look(none, steady + 6.7), ClockEvent::JumpedBack, "it was known before");
        assert_eq!(watch.look(none, steady + 9.0), ClockEvent::Advancing, "and is waited for again");
        assert_eq!(watch.look(none - 5.0, steady + 9.1), ClockEvent::Advancing);
        assert_eq!(watch.look(none, steady + 9.2), ClockEvent::JumpedBack, "a later number, and no time");
    }
}
