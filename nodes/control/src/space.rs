//! What a policy's numbers mean, and how far they may go.

use crate::blend::Blend;

/// Limits of one joint: radians for a turning joint, metres for a sliding one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointLimits {
    /// Least position, rad or m; `-inf` for a joint that turns for ever.
    pub min_position: f64,
    /// Greatest position, rad or m; `inf` for a joint that turns for ever.
    pub max_position: f64,
    /// Greatest speed, rad/s or m/s.
    pub max_velocity: f64,
    /// Greatest acceleration and deceleration, rad/s² or m/s².
    pub max_acceleration: f64,
    /// Greatest jerk while gaining speed, rad/s³ or m/s³; braking may take the full deceleration at once.
    pub max_jerk: Option<f64>,
}

/// A joint: its name in the URDF and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Joint {
    /// Name, as in the URDF and in `/joint_states`.
    pub name: String,
    /// Its limits.
    pub limits: JointLimits,
}

/// Limits of an end effector's motion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwistLimits {
    /// Greatest speed, m/s, of the norm.
    pub max_linear: f64,
    /// Greatest turning rate, rad/s, of the norm.
    pub max_angular: f64,
    /// Greatest acceleration, m/s², of the norm.
    pub max_linear_acceleration: f64,
    /// Greatest angular acceleration, rad/s², of the norm.
    pub max_angular_acceleration: f64,
}

/// A gripper's opening, in the unit its driver takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gripper {
    /// Closed.
    pub min: f64,
    /// Open.
    pub max: f64,
    /// Greatest change per second; none: it switches at once.
    pub max_speed: Option<f64>,
    /// Whether only `min` and `max` are commanded: values above the middle mean `max`.
    pub binary: bool,
}

/// What the dimensions of an action mean.
///
/// Predicted displacements have no variant of their own: they are held as velocities
/// ([`crate::ActionChunk::from_displacements`]), so that holding or resampling one never replays it.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionSpace {
    /// One position per joint, rad or m.
    JointPositions(Vec<Joint>),
    /// One velocity per joint, rad/s or m/s.
    JointVelocities(Vec<Joint>),
    /// `x y z` m/s, then `x y z` rad/s, in one frame; then the gripper, if there is one.
    EndEffectorVelocity {
        /// Limits of the motion.
        limits: TwistLimits,
        /// The last dimension.
        gripper: Option<Gripper>,
    },
    /// `x y z` m, a quaternion `x y z w`, in one frame; then the gripper. It is followed by end-effector velocities.
    EndEffectorPose {
        /// Limits of the motion towards the pose.
        limits: TwistLimits,
        /// Time in which the remaining way would be covered, s: the inverse of the gain.
        time_constant_secs: f64,
        /// The last dimension.
        gripper: Option<Gripper>,
    },
}

/// Why limits or names cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpaceError {
    /// There is nothing to command.
    #[error("action space: expected at least one joint, got none")]
    Empty,
    /// More joints than any robot here.
    #[error("action space: expected at most {MAX_JOINTS} joints, got {came}")]
    TooMany {
        /// How many came.
        came: usize,
    },
    /// Two joints of one name.
    #[error("action space: joint {name:?} is named twice")]
    Repeated {
        /// The name.
        name: String,
    },
    /// A limit that is none.
    #[error("{of}: expected {expected}, got {came}")]
    Limit {
        /// Joint or part.
        of: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        came: f64,
    },
}

/// The most joints that one space may have.
pub const MAX_JOINTS: usize = 64;

fn positive(of: &str, expected: &'static str, value: f64) -> Result<(), SpaceError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(SpaceError::Limit { of: of.to_owned(), expected, came: value })
}

impl JointLimits {
    fn check(&self, name: &str) -> Result<(), SpaceError> {
        if self.min_position.is_nan() || self.min_position == f64::INFINITY {
            let expected = "a least position that is a number";
            return Err(SpaceError::Limit { of: name.to_owned(), expected, came: self.min_position });
        }
        if self.max_position.is_nan() || self.max_position <= self.min_position {
            let expected = "a greatest position above the least";
            return Err(SpaceError::Limit { of: name.to_owned(), expected, came: self.max_position });
        }
        positive(name, "a positive velocity limit", self.max_velocity)?;
        positive(name, "a positive acceleration limit", self.max_acceleration)?;
        self.max_jerk.map_or(Ok(()), |jerk| positive(name, "a positive jerk limit", jerk))
    }
}

impl TwistLimits {
    fn check(&self) -> Result<(), SpaceError> {
        positive("end effector", "a positive linear velocity limit", self.max_linear)?;
        positive("end effector", "a positive angular velocity limit", self.max_angular)?;
        positive("end effector", "a positive linear acceleration limit", self.max_linear_acceleration)?;
        positive("end effector", "a positive angular acceleration limit", self.max_angular_acceleration)
    }
}

impl Gripper {
    fn check(&self) -> Result<(), SpaceError> {
        let limit = |expected, came| Err(SpaceError::Limit { of: "gripper".to_owned(), expected, came });
        if !self.min.is_finite() {
            return limit("a finite closed position", self.min);
        }
        if !self.max.is_finite() || self.max <= self.min {
            return limit("an open position above the closed one", self.max);
        }
        self.max_speed.map_or(Ok(()), |speed| positive("gripper", "a positive speed", speed))
    }
}

fn check_joints(joints: &[Joint]) -> Result<(), SpaceError> {
    if joints.is_empty() {
        return Err(SpaceError::Empty);
    }
    if joints.len() > MAX_JOINTS {
        return Err(SpaceError::TooMany { came: joints.len() });
    }
    for (index, joint) in joints.iter().enumerate() {
        if joints[..index].iter().any(|earlier| earlier.name == joint.name) {
            return Err(SpaceError::Repeated { name: joint.name.clone() });
        }
        joint.limits.check(&joint.name)?;
    }
    Ok(())
}

impl ActionSpace {
    /// Checks names and limits; a [`crate::Controller`] takes only what passes.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn check(&self) -> Result<(), SpaceError> {
        match self {
            Self::JointPositions(joints) | Self::JointVelocities(joints) => check_joints(joints),
            Self::EndEffectorVelocity { limits, gripper } => {
                limits.check()?;
                gripper.map_or(Ok(()), |gripper| gripper.check())
            }
            Self::EndEffectorPose { limits, time_constant_secs, gripper } => {
                limits.check()?;
                positive("end effector", "a positive time constant", *time_constant_secs)?;
                gripper.map_or(Ok(()), |gripper| gripper.check())
            }
        }
    }

    /// The joints, for a space of joints.
    pub fn joints(&self) -> &[Joint] {
        match self {
            Self::JointPositions(joints) | Self::JointVelocities(joints) => joints,
            Self::EndEffectorVelocity { .. } | Self::EndEffectorPose { .. } => &[],
        }
    }

    /// The gripper's dimension, for a space of the end effector.
    pub fn gripper(&self) -> Option<Gripper> {
        match self {
            Self::EndEffectorVelocity { gripper, .. } | Self::EndEffectorPose { gripper, .. } => *gripper,
            Self::JointPositions(_) | Self::JointVelocities(_) => None,
        }
    }

    /// Numbers of one predicted action.
    pub fn dimensions(&self) -> usize {
        match self {
            Self::JointPositions(joints) | Self::JointVelocities(joints) => joints.len(),
            Self::EndEffectorVelocity { gripper, .. } => 6 + usize::from(gripper.is_some()),
            Self::EndEffectorPose { gripper, .. } => 7 + usize::from(gripper.is_some()),
        }
    }

    /// Numbers of one command: those of an action, but a pose is followed by velocities.
    pub fn command_dimensions(&self) -> usize {
        match self {
            Self::EndEffectorPose { gripper, .. } => 6 + usize::from(gripper.is_some()),
            _ => self.dimensions(),
        }
    }

    /// Names of the dimensions of an action: the joints', or `linear.x` and so on.
    pub fn names(&self) -> Vec<&str> {
        const TWIST: [&str; 6] = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"];
        const POSE: [&str; 7] = [
            "position.x",
            "position.y",
            "position.z",
            "orientation.x",
            "orientation.y",
            "orientation.z",
            "orientation.w",
        ];
        let mut names: Vec<&str> = match self {
            Self::JointPositions(joints) | Self::JointVelocities(joints) => {
                joints.iter().map(|joint| joint.name.as_str()).collect()
            }
            Self::EndEffectorVelocity { .. } => TWIST.to_vec(),
            Self::EndEffectorPose { .. } => POSE.to_vec(),
        };
        names.extend(self.gripper().map(|_| "gripper"));
        names
    }

    /// Whether commands are velocities: a robot that hears no more of them may go on moving.
    pub fn commands_velocity(&self) -> bool {
        !matches!(self, Self::JointPositions(_))
    }

    /// How each dimension of an action is blended and resampled.
    pub fn blends(&self) -> Vec<Blend> {
        let mut blends = match self {
            Self::JointPositions(joints) => vec![Blend::Linear; joints.len()],
            Self::JointVelocities(joints) => vec![Blend::Held; joints.len()],
            Self::EndEffectorVelocity { .. } => vec![Blend::Held; 6],
            Self::EndEffectorPose { .. } => {
                let mut pose = vec![Blend::Linear; 3];
                pose.push(Blend::Quaternion);
                pose.extend([Blend::OfQuaternion; 3]);
                pose
            }
        };
        blends.extend(self.gripper().map(|gripper| {
            if gripper.binary {
                Blend::Switch { middle: 0.5 * (gripper.min + gripper.max) }
            } else {
                Blend::Linear
            }
        }));
        blends
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn joint(name: &str) -> Joint {
        let limits = JointLimits {
            min_position: -1.0,
            max_position: 2.0,
            max_velocity: 1.0,
            max_acceleration: 4.0,
            max_jerk: None,
        };
        Joint { name: name.to_owned(), limits }
    }

    pub(crate) fn twist() -> TwistLimits {
        TwistLimits {
            max_linear: 0.3,
            max_angular: 1.0,
            max_linear_acceleration: 1.5,
            max_angular_acceleration: 5.0,
        }
    }

    #[test]
    fn spaces_name_their_dimensions() {
        let gripper = Gripper { min: 0.0, max: 0.08, max_speed: Some(0.1), binary: false };
        let spaces = [
            (ActionSpace::JointPositions(vec![joint("a"), joint("b")]), 2, 2),
            (ActionSpace::EndEffectorVelocity { limits: twist(), gripper: Some(gripper) }, 7, 7),
            (ActionSpace::EndEffectorPose { limits: twist(), time_constant_secs: 0.2, gripper: None }, 7, 6),
        ];
        for (space, dimensions, command) in spaces {
            assert_eq!(space.check(), Ok(()));
            assert_eq!(space.names().len(), dimensions);
            assert_eq!(space.blends().len(), dimensions);
            assert_eq!(space.dimensions(), dimensions);
            assert_eq!(space.command_dimensions(), command);
        }
    }

    #[test]
    fn limits_that_are_none_are_refused_by_name() {
        let wrong = |change: &dyn Fn(&mut JointLimits)| {
            let mut joint = joint("elbow");
            change(&mut joint.limits);
            ActionSpace::JointPositions(vec![joint]).check().unwrap_err().to_string()
        };
        assert!(wrong(&|limits| limits.max_velocity = 0.0).contains("elbow: expected a positive velocity"));
        assert!(wrong(&|limits| limits.max_position = -1.0).contains("elbow"));
        assert!(wrong(&|limits| limits.min_position = f64::NAN).contains("NaN"));
        assert!(wrong(&|limits| limits.max_jerk = Some(f64::INFINITY)).contains("jerk"));
        let twice = ActionSpace::JointVelocities(vec![joint("a"), joint("a")]);
        assert!(twice.check().unwrap_err().to_string().contains("\"a\" is named twice"));
        assert_eq!(ActionSpace::JointPositions(vec![]).check(), Err(SpaceError::Empty));
    }
}
