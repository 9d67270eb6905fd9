//! `action_chunk`: a policy's prediction as `trajectory_msgs/msg/JointTrajectory`.
//!
//! `header.stamp` is the stamp of the image that it was predicted from. `joint_names` are the action space's names (joints, or
//! `linear.x` and so on), in any order. Every point holds one number for each of them: `positions` in spaces of positions and
//! poses, `velocities` in spaces of velocities, where a gripper's number is its opening all the same. Point `k` is due `k` periods
//! after the stamp and holds for one period; its `time_from_start` is the end of that, `(k + 1)` periods, so that one point alone
//! tells the period, too.

use std::sync::Arc;

use control::chunk::MAX_STEPS;
use control::{ActionChunk, ActionSpace, ChunkError, RosTime};
use r2r::builtin_interfaces::msg::{Duration, Time};
use r2r::std_msgs::msg::Header;
use r2r::trajectory_msgs::msg::{JointTrajectory, JointTrajectoryPoint};

use crate::clock;

/// How far a point's time may be from a whole number of periods, s; nanoseconds do not hold every period.
const TIME_TOLERANCE_SECS: f64 = 1e-6;

/// Why a message is no chunk of an action space.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// Names or numbers.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A point has another number of numbers than there are names.
    #[error("point {point}: expected {expected} {kind}, one for each name, got {came}")]
    Point {
        /// Which.
        point: usize,
        /// Positions or velocities.
        kind: &'static str,
        /// How many names there are.
        expected: usize,
        /// How many numbers came.
        came: usize,
    },
    /// Points are not one period apart.
    #[error("point {point}: expected time_from_start {expected} s, the end of its period, got {came} s")]
    Time {
        /// Which.
        point: usize,
        /// `(point + 1)` periods, s.
        expected: f64,
        /// What came, s.
        came: f64,
    },
}

/// Nanoseconds of a message's time.
pub fn ros_time(stamp: &Time) -> RosTime {
    RosTime(i64::from(stamp.sec) * 1_000_000_000 + i64::from(stamp.nanosec))
}

fn secs(duration: &Duration) -> f64 {
    f64::from(duration.sec) + f64::from(duration.nanosec) * 1e-9
}

/// A message's duration of seconds that are finite and not negative.
pub fn duration(secs: f64) -> Duration {
    let nanoseconds = (secs * 1e9).round() as i64;
    let time = clock::time(nanoseconds);
    Duration { sec: time.sec, nanosec: time.nanosec }
}

/// A message's chunk of an action space.
///
/// # Errors
/// Names that are not the space's, numbers that are missing, too many or not finite, points that are not one period apart.
pub fn read(message: &JointTrajectory, space: &Arc<ActionSpace>) -> Result<ActionChunk, MessageError> {
    let points = &message.points;
    if points.is_empty() || points.len() > MAX_STEPS {
        return Err(ChunkError::Steps { came: points.len() }.into());
    }
    let period_secs = secs(&points[0].time_from_start);
    let mut values = Vec::with_capacity(points.len() * message.joint_names.len());
    for (index, point) in points.iter().enumerate() {
        let (kind, numbers) = if space.commands_velocity() && !is_pose(space) {
            ("velocities", &point.velocities)
        } else {
            ("positions", &point.positions)
        };
        let expected = message.joint_names.len();
        if numbers.len() != expected {
            return Err(MessageError::Point { point: index, kind, expected, came: numbers.len() });
        }
        let (expected, came) = ((index + 1) as f64 * period_secs, secs(&point.time_from_start));
        if (expected - came).abs() > TIME_TOLERANCE_SECS * (index + 1) as f64 {
            return Err(MessageError::Time { point: index, expected, came });
        }
        values.extend_from_slice(numbers);
    }
    let observation = ros_time(&message.header.stamp);
    Ok(ActionChunk::from_named(space.clone(), &message.joint_names, observation, period_secs, &values)?)
}

fn is_pose(space: &ActionSpace) -> bool {
    matches!(space, ActionSpace::EndEffectorPose { .. })
}

/// The message of a chunk.
pub fn message(chunk: &ActionChunk, frame_id: &str) -> JointTrajectory {
    let space = chunk.space();
    let velocities = space.commands_velocity() && !is_pose(space);
    let point = |step: usize| {
        let numbers = chunk.step(step).unwrap_or_default().to_vec();
        let (positions, velocities) = if velocities { (Vec::new(), numbers) } else { (numbers, Vec::new()) };
        let time_from_start = duration((step + 1) as f64 * chunk.period_secs());
        JointTrajectoryPoint { positions, velocities, time_from_start, ..Default::default() }
    };
    JointTrajectory {
        header: Header { stamp: clock::time(chunk.observation().0), frame_id: frame_id.to_owned() },
        joint_names: space.names().into_iter().map(str::to_owned).collect(),
        points: (0..chunk.steps()).map(point).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{Gripper, Joint, JointLimits, TwistLimits};

    fn joint(name: &str) -> Joint {
        let limits = JointLimits {
            min_position: -1.0,
            max_position: 1.0,
            max_velocity: 1.0,
            max_acceleration: 5.0,
            max_jerk: None,
        };
        Joint { name: name.to_owned(), limits }
    }

    fn twist() -> TwistLimits {
        TwistLimits {
            max_linear: 0.3,
            max_angular: 1.0,
            max_linear_acceleration: 1.5,
            max_angular_acceleration: 5.0,
        }
    }

    fn spaces() -> Vec<Arc<ActionSpace>> {
        let gripper = Some(Gripper { min: 0.0, max: 1.0, max_speed: None, binary: true });
        let spaces = [
            ActionSpace::JointPositions(vec![joint("a"), joint("b")]),
            ActionSpace::JointVelocities(vec![joint("a"), joint("b")]),
            ActionSpace::EndEffectorVelocity { limits: twist(), gripper },
            ActionSpace::EndEffectorPose { limits: twist(), time_constant_secs: 0.2, gripper },
        ];
        spaces.into_iter().map(Arc::new).collect()
    }

    fn values(space: &ActionSpace, steps: usize) -> Vec<f64> {
        let step = |k: usize| {
            let mut numbers: Vec<f64> = (0..space.dimensions()).map(|d| 0.01 * (k + d) as f64).collect();
            if is_pose(space) {
                numbers[3..7].copy_from_slice(&[0.0, 0.6, 0.0, 0.8]);
            }
            numbers
        };
        (0..steps).flat_map(step).collect()
    }

    #[test]
    fn a_chunk_comes_back_from_its_message() {
        for space in spaces() {
            for (steps, period) in [(1, 0.1), (16, 1.0 / 30.0), (100, 0.02)] {
                let observation = RosTime(1_700_000_000_123_456_789);
                let chunk =
                    ActionChunk::new(space.clone(), observation, period, values(&space, steps)).unwrap();
                let came = read(&message(&chunk, "base"), &space).unwrap();
                assert_eq!((came.steps(), came.observation()), (steps, observation));
                assert!((came.period_secs() - period).abs() < 1e-9);
                for step in 0..steps {
                    let (a, b) = (came.step(step).unwrap(), chunk.step(step).unwrap());
                    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12));
                }
            }
        }
    }

    #[test]
    fn messages_that_are_no_chunk_are_refused_with_the_place() {
        let space = &spaces()[0];
        let chunk = ActionChunk::new(space.clone(), RosTime(0), 0.1, values(space, 3)).unwrap();
        let good = message(&chunk, "");
        let refused = |change: &dyn Fn(&mut JointTrajectory)| {
            let mut message = good.clone();
            change(&mut message);
            read(&message, space).unwrap_err().to_string()
        };
        type Change<'a> = &'a dyn Fn(&mut JointTrajectory);
        let cases: [(Change<'_>, &str); 7] = [
            (&|m| m.points[1].positions[1] = f64::NAN, "step 1, b: expected a finite number, got NaN"),
            (&|m| m.joint_names[1] = "c".into(), "expected [\"a\", \"b\"] in any order, got [\"a\", \"c\"]"),
            (&|m| m.points[2].positions.truncate(1), "point 2: expected 2 positions"),
            (&|m| m.points[1].time_from_start.sec = 7, "point 1: expected time_from_start 0.2 s"),
            (&|m| m.points.clear(), "steps: expected 1 to"),
            (&|m| m.points.truncate(0), "got 0"),
            (&|m| m.points[0].time_from_start = Duration::default(), "time_from_start 0 s"),
        ];
        for (change, reason) in cases {
            let said = refused(change);
            assert!(said.contains(reason), "{said}");
        }
        let mut still = good.clone();
        still.points.truncate(1);
        still.points[0].time_from_start = Duration::default();
        assert!(read(&still, space).unwrap_err().to_string().contains("period: expected a positive number"));
        let velocities = read(&good, &spaces()[1]).unwrap_err().to_string();
        assert!(
            velocities.contains("point 0: expected 2 velocities, one for each name, got 0"),
            "{velocities}"
        );
    }
}
