//! What `joint_states` tells of the joints, at a stamp.

use std::collections::{BTreeMap, VecDeque};
use std::f64::consts::{PI, TAU};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::task::LocalSpawnExt;
use perception::Stamp;
use r2r::QosProfile;
use r2r::sensor_msgs::msg::JointState;

use crate::convert;
use crate::qos::Qos;
use crate::ros_node::RosNode;
use crate::throttle::Throttle;

/// How long positions are kept.
const KEEP: Duration = Duration::from_secs(5);

/// How far apart the messages around a stamp may be.
const WIDEST_GAP: Duration = Duration::from_millis(200);

/// How long a frame waits for the joint states after its stamp.
const PATIENCE: Duration = Duration::from_millis(100);

/// A topic that has been silent for so long is not waited for.
const SILENCE: Duration = Duration::from_secs(1);

/// How often one kind of error is logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// A number of a joint's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// rad or m.
    Position,
    /// rad/s or m/s.
    Velocity,
    /// N m or N.
    Effort,
}

impl Quantity {
    /// The message's numbers of this kind.
    fn of(self, message: &JointState) -> &[f64] {
        match self {
            Self::Position => &message.position,
            Self::Velocity => &message.velocity,
            Self::Effort => &message.effort,
        }
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Position => "position",
            Self::Velocity => "velocity",
            Self::Effort => "effort",
        })
    }
}

/// Why a joint's number is not known at a stamp, or a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JointError {
    /// Another number of positions (or velocities, efforts) than names.
    #[error("joint_states stamped {stamp}: expected a {quantity} for each of {names} names, got {came}")]
    Count {
        /// The message's stamp.
        stamp: Stamp,
        /// Of what.
        quantity: Quantity,
        /// How many names it has.
        names: usize,
        /// How many numbers.
        came: usize,
    },
    /// No message told of a joint.
    #[error("joint {joint}: no joint_states message has told of its {quantity} (NaN tells nothing)")]
    Unknown {
        /// Of what.
        quantity: Quantity,
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
    quantity: Quantity,
    joints: BTreeMap<String, VecDeque<(Stamp, f64)>>,
    widest_gap: Duration,
}

impl JointHistory {
    /// A history of positions that tells them between messages that are at most so far apart.
    pub fn new(widest_gap: Duration) -> Self {
        Self::of(Quantity::Position, widest_gap)
    }

    /// As [`JointHistory::new`], of another quantity.
    pub fn of(quantity: Quantity, widest_gap: Duration) -> Self {
        Self { quantity, joints: BTreeMap::new(), widest_gap }
    }

    /// Takes a message. A stamp older than all that is kept means that the clock jumped back: that joint starts anew. A number that
    /// is not finite, as broadcasters fill in for a joint without that interface, is no number of its joint; the others count.
    ///
    /// # Errors
    /// When it has no positions for its names; nothing of it is then taken.
    pub fn insert(&mut self, message: &JointState) -> Result<(), JointError> {
        let stamp = convert::stamp(&message.header.stamp);
        let quantity = self.quantity;
        let (names, came) = (message.name.len(), quantity.of(message).len());
        if names != came {
            return Err(JointError::Count { stamp, quantity, names, came });
        }
        let told = message.name.iter().zip(quantity.of(message));
        for (joint, position) in told.filter(|(_, number)| number.is_finite()) {
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

    /// A joint's number at a stamp, between the messages around it; a joint that turns without end takes the shorter way.
    ///
    /// # Errors
    /// When the joint is not known, or not around the stamp, or the messages around it are too far apart.
    pub fn position(&self, joint: &str, stamp: Stamp, turns_without_end: bool) -> Result<f64, JointError> {
        let unknown = || JointError::Unknown { quantity: self.quantity, joint: joint.to_owned() };
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

/// `joint_states` as a node hears it, for all threads that ask.
#[derive(Debug)]
pub struct JointFeed {
    known: Mutex<Joints>,
    came: Condvar,
}

/// What the messages told.
#[derive(Debug)]
pub struct Joints {
    positions: JointHistory,
    velocities: JointHistory,
    efforts: JointHistory,
}

impl Joints {
    /// The history of a quantity.
    pub fn history(&self, quantity: Quantity) -> &JointHistory {
        match quantity {
            Quantity::Position => &self.positions,
            Quantity::Velocity => &self.velocities,
            Quantity::Effort => &self.efforts,
        }
    }
}

impl Default for JointFeed {
    fn default() -> Self {
        let history = |quantity| JointHistory::of(quantity, WIDEST_GAP);
        let (positions, velocities, efforts) =
            (history(Quantity::Position), history(Quantity::Velocity), history(Quantity::Effort));
        Self { known: Mutex::new(Joints { positions, velocities, efforts }), came: Condvar::new() }
    }
}

impl JointFeed {
    /// Hears `joint_states` for good.
    ///
    /// # Errors
    /// When the middleware refuses the subscription.
    pub fn subscribe(self: &Arc<Self>, ros: &mut RosNode, qos: &Qos) -> Result<()> {
        const TOPIC: &str = "joint_states";
        let stream = ros.node.subscribe::<JointState>(TOPIC, qos.profile.clone()).context(TOPIC)?;
        let (feed, mut errors, logger) = (self.clone(), Throttle::new(LOG_PERIOD), ros.logger.clone());
        let task = stream.for_each(move |message| {
            if let Err(error) = feed.insert(&message)
                && let Some(suppressed) = errors.ready(Instant::now())
            {
                let more =
                    if suppressed == 0 { String::new() } else { format!(" ({suppressed} more not logged)") };
                logger.warn(format!("{error}{more}"));
            }
            std::future::ready(())
        });
        ros.spawner().spawn_local(task).context("spawn")
    }

    /// The quality of service of `joint_states` unless parameters say otherwise.
    pub fn default_qos() -> QosProfile {
        QosProfile::default().keep_last(100).best_effort()
    }

    /// Takes a message. Velocities and efforts may be left out, as many drivers do.
    ///
    /// # Errors
    /// As [`JointHistory::insert`], of the first quantity that is refused.
    pub fn insert(&self, message: &JointState) -> Result<(), JointError> {
        let mut known = self.lock();
        let taken = known.positions.insert(message);
        let given = |numbers: &[f64]| !numbers.is_empty();
        let velocities = if given(&message.velocity) { known.velocities.insert(message) } else { Ok(()) };
        let efforts = if given(&message.effort) { known.efforts.insert(message) } else { Ok(()) };
        drop(known);
        self.came.notify_all();
        taken.and(velocities).and(efforts)
    }

    /// What `read` finds at a stamp; messages that are still on their way are waited for, a tenth of a second at most.
    ///
    /// # Errors
    /// What `read` says.
    pub fn at<T>(
        &self,
        stamp: Stamp,
        mut read: impl FnMut(&Joints) -> Result<T, JointError>,
    ) -> Result<T, JointError> {
        let end = Instant::now() + PATIENCE;
        let mut known = self.lock();
        loop {
            let error = match read(&known) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let left = end.saturating_duration_since(Instant::now());
            let comes = matches!(&error, JointError::Time { newest, .. } if newest < &stamp
                && stamp.nanoseconds() - newest.nanoseconds() < SILENCE.as_nanos() as i64);
            if !comes || left.is_zero() {
                return Err(error);
            }
            known = self.came.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A panic elsewhere does not spoil what is known.
    fn lock(&self) -> MutexGuard<'_, Joints> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn broken_messages_are_refused_whole_and_joints_without_a_number_left_out() {
        let mut history = JointHistory::new(Duration::from_millis(200));
        let mut short = state(1, 0, &[("a", 0.0), ("b", 0.0)]);
        short.position.pop();
        let said = history.insert(&short).unwrap_err().to_string();
        assert!(said.contains("2 names, got 1"), "{said}");
        assert!(history.position("a", stamp(1, 0), false).is_err());
        history.insert(&state(1, 0, &[("a", 0.5), ("wheel", f64::NAN)])).unwrap();
        assert_eq!(history.position("a", stamp(1, 0), false), Ok(0.5));
        let said = history.position("wheel", stamp(1, 0), false).unwrap_err().to_string();
        assert!(said.contains("wheel") && said.contains("NaN tells nothing"), "{said}");
    }
}
