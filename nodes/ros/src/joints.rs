//! Joint positions of `/joint_states`, at a stamp.

use std::collections::{BTreeMap, VecDeque};
use std::f64::consts::{PI, TAU};
use std::time::Duration;

use perception::Stamp;
use r2r::sensor_msgs::msg::JointState;

use crate::convert;

/// How long positions are kept.
const KEEP: Duration = Duration::from_secs(5);

/// Why a joint's position is not known at a stamp, or a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JointError {
    /// Another number of positions than names.
    #[error("joint_states stamped {stamp}: expected a position for each of {names} names, got {positions}")]
    Count {
        /// The message's stamp.
        stamp: Stamp,
        /// How many names it has.
        names: usize,
        /// How many positions.
        positions: usize,
    },
    /// A position that is none.
    #[error("joint_states stamped {stamp}: joint {joint}: expected a finite position, got {came}")]
    NotFinite {
        /// The message's stamp.
        stamp: Stamp,
        /// The joint.
        joint: String,
        /// What came.
        came: String,
    },
    /// No message told of a joint.
    #[error("joint {joint}: no joint_states message has told of it")]
    Unknown {
        /// The joint.
        joint: String,
    },
    /// No positions around a stamp.
    #[error("joint {joint}: expected joint_states around {asked}, known from {oldest} to {newest}")]
    Time {
        /// The joint.
        joint: String,
        /// The stamp asked for.
        asked: Stamp,
        /// The oldest stamp that is known.
        oldest: Stamp,
        /// The newest.
        newest: Stamp,
    },
    /// The positions around a stamp are too far apart to tell anything between them.
    #[error(
        "joint {joint}: joint_states before and after {asked} are {gap_millis} ms apart, at most {most_millis} ms count"
    )]
    Gap {
        /// The joint.
        joint: String,
        /// The stamp asked for.
        asked: Stamp,
        /// How far apart they are, milliseconds.
        gap_millis: i64,
        /// How far apart they may be, milliseconds.
        most_millis: i64,
    },
}

/// The last seconds of every joint that told of itself, in whichever messages.
#[derive(Clone, Debug)]
pub struct JointHistory {
    joints: BTreeMap<String, VecDeque<(Stamp, f64)>>,
    widest_gap: Duration,
}

impl JointHistory {
    /// A history that tells positions between messages that are at most so far apart.
    pub fn new(widest_gap: Duration) -> Self {
        Self { joints: BTreeMap::new(), widest_gap }
    }

    /// Takes a message. A stamp older than all that is kept means that the clock jumped back: that joint starts anew.
    ///
    /// # Errors
    /// When it has no positions for its names, or one that is not finite; nothing of it is then taken.
    pub fn insert(&mut self, message: &JointState) -> Result<(), JointError> {
        let stamp = convert::stamp(&message.header.stamp);
        let (names, positions) = (message.name.len(), message.position.len());
        if names != positions {
            return Err(JointError::Count { stamp, names, positions });
        }
        let told = || message.name.iter().zip(&message.position);
        if let Some((joint, came)) = told().find(|(_, position)| !position.is_finite()) {
            return Err(JointError::NotFinite { stamp, joint: joint.clone(), came: came.to_string() });
        }
        for (joint, position) in told() {
            let samples = self.joints.entry(joint.clone()).or_default();
            let older = |than: Stamp| than.nanoseconds() - KEEP.as_nanos() as i64;
            if samples.back().is_some_and(|(newest, _)| stamp.nanoseconds() < older(*newest)) {
                samples.clear();
            }
            let at = samples.partition_point(|(known, _)| *known < stamp);
            match samples.get_mut(at) {
                Some(same) if same.0 == stamp => same.1 = *position,
                _ => samples.insert(at, (stamp, *position)),
            }
            while samples.front().is_some_and(|(oldest, _)| oldest.nanoseconds() < older(stamp)) {
                samples.pop_front();
            }
        }
        Ok(())
    }

    /// A joint's position at a stamp, between the messages around it; a joint that turns without end takes the shorter way.
    ///
    /// # Errors
    /// When the joint is not known, or not around the stamp, or the messages around it are too far apart.
    pub fn position(&self, joint: &str, stamp: Stamp, turns_without_end: bool) -> Result<f64, JointError> {
        let unknown = || JointError::Unknown { joint: joint.to_owned() };
        let samples = self.joints.get(joint).ok_or_else(unknown)?;
        let (Some((oldest, _)), Some((newest, _))) = (samples.front(), samples.back()) else {
            return Err(unknown());
        };
        let time =
            || JointError::Time { joint: joint.to_owned(), asked: stamp, oldest: *oldest, newest: *newest };
        let after = samples.partition_point(|(known, _)| *known < stamp);
        let (late, later) = samples.get(after).ok_or_else(time)?;
        if *late == stamp {
            return Ok(*later);
        }
        let (early, earlier) =
            after.checked_sub(1).and_then(|before| samples.get(before)).ok_or_else(time)?;
        let gap = late.nanoseconds() - early.nanoseconds();
        if gap > self.widest_gap.as_nanos() as i64 {
            return Err(JointError::Gap {
                joint: joint.to_owned(),
                asked: stamp,
                gap_millis: gap / 1_000_000,
                most_millis: self.widest_gap.as_millis() as i64,
            });
        }
        let change = later - earlier;
        let change = if turns_without_end { (change + PI).rem_euclid(TAU) - PI } else { change };
        Ok(earlier + change * (stamp.nanoseconds() - early.nanoseconds()) as f64 / gap as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(sec: i32, millis: u32, joints: &[(&str, f64)]) -> JointState {
        let mut message = JointState::default();
        (message.header.stamp.sec, message.header.stamp.nanosec) = (sec, millis * 1_000_000);
        message.name = joints.iter().map(|(name, _)| (*name).to_owned()).collect();
        message.position = joints.iter().map(|(_, position)| *position).collect();
        message
    }

    fn stamp(sec: i32, millis: u32) -> Stamp {
        Stamp { sec, nanosec: millis * 1_000_000 }
    }

    #[test]
    fn positions_lie_between_the_messages_around() {
        let mut history = JointHistory::new(Duration::from_millis(200));
        history.insert(&state(5, 0, &[("elbow", 1.0), ("roll", 3.0)])).unwrap();
        history.insert(&state(5, 50, &[("finger", 0.02)])).unwrap();
        history.insert(&state(5, 100, &[("elbow", 2.0), ("roll", -3.0)])).unwrap();
        assert_eq!(history.position("elbow", stamp(5, 0), false), Ok(1.0));
        assert_eq!(history.position("elbow", stamp(5, 25), false), Ok(1.25));
        let roll = history.position("roll", stamp(5, 50), true).unwrap();
        assert!((roll - PI).abs() < 1e-12, "{roll}");
        assert_eq!(history.position("finger", stamp(5, 50), false), Ok(0.02));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut history = JointHistory::new(Duration::from_millis(200));
        for (sec, millis) in [(5, 0), (5, 100), (5, 500)] {
            history.insert(&state(sec, millis, &[("elbow", 1.0)])).unwrap();
        }
        assert!(matches!(history.position("wrist", stamp(5, 0), false), Err(JointError::Unknown { .. })));
        assert!(matches!(history.position("elbow", stamp(4, 999), false), Err(JointError::Time { .. })));
        assert!(matches!(history.position("elbow", stamp(5, 501), false), Err(JointError::Time { .. })));
        let said = history.position("elbow", stamp(5, 300), false).unwrap_err().to_string();
        assert!(said.contains("elbow") && said.contains("400 ms") && said.contains("200 ms"), "{said}");
        // A bag that is played again.
        history.insert(&state(0, 0, &[("elbow", 3.0)])).unwrap();
        assert_eq!(history.position("elbow", stamp(0, 0), false), Ok(3.0));
        assert!(history.position("elbow", stamp(5, 0), false).is_err());
    }

    #[test]
    fn broken_messages_are_refused_whole() {
        let mut history = JointHistory::new(Duration::from_millis(200));
        let mut short = state(1, 0, &[("a", 0.0), ("b", 0.0)]);
        short.position.pop();
        let said = history.insert(&short).unwrap_err().to_string();
        assert!(said.contains("2 names, got 1"), "{said}");
        let said = history.insert(&state(1, 0, &[("a", 0.0), ("b", f64::NAN)])).unwrap_err().to_string();
        assert!(said.contains("joint b") && said.contains("NaN"), "{said}");
        assert!(history.position("a", stamp(1, 0), false).is_err());
    }
}
