//! What a policy head reads and predicts, and how its numbers become those of the robot.

use serde::{Deserialize, Serialize};

/// What a policy head reads besides the image, and what it predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// Time from one action to the next, and from one image of its history to the next, s.
    pub period_secs: f64,
    /// Actions predicted at once; the first is due at the stamp of the image.
    pub steps: usize,
    /// What the actions command.
    pub space: SpaceKind,
    /// Frame of an end effector's motion, by its name in TF; nothing for joints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Dimensions of an action, in the network's order.
    pub actions: Vec<ActionChannel>,
    /// Numbers of the robot's state that it reads, in the network's order; none for a policy that only sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<StateChannel>,
    /// Hash of the recording contract whose data it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
}

/// What an action commands. Displacements per step are covered within their period: they leave the decoder as velocities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpaceKind {
    /// A position per joint.
    JointPositions,
    /// A velocity per joint.
    JointVelocities,
    /// A displacement per joint and step.
    JointDisplacements,
    /// `linear.x` to `angular.z`, and perhaps `gripper`.
    EndEffectorVelocity,
    /// The same as a displacement per step (m, and rad of a rotation vector); the gripper stays a position.
    EndEffectorDisplacement,
    /// `position.x` to `orientation.w` (a quaternion), and perhaps `gripper`.
    EndEffectorPose,
}

/// One dimension of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionChannel {
    /// The joint, as in the URDF, or one of the names that [`SpaceKind`] gives.
    pub name: String,
    /// Unit of the numbers that the scaling gives.
    pub unit: Unit,
    /// From the network's numbers to that unit.
    pub scaling: Scaling,
}

/// One number of the robot's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateChannel {
    /// The joint, as in `joint_states`.
    pub name: String,
    /// Which of its numbers.
    pub quantity: Quantity,
    /// Unit of the numbers that the scaling takes.
    pub unit: Unit,
    /// From that unit to the network's numbers.
    pub scaling: Scaling,
}

/// A number of a joint's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// rad or m.
    Position,
    /// rad/s or m/s.
    Velocity,
    /// N m or N.
    Effort,
}

/// Unit of a number in the data that a policy was trained on; ROS has SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Radians.
    #[serde(rename = "rad")]
    Radians,
    /// Degrees, as some recordings have them.
    #[serde(rename = "deg")]
    Degrees,
    /// Metres.
    #[serde(rename = "m")]
    Metres,
    /// Radians per second.
    #[serde(rename = "rad/s")]
    RadiansPerSecond,
    /// Degrees per second.
    #[serde(rename = "deg/s")]
    DegreesPerSecond,
    /// Metres per second.
    #[serde(rename = "m/s")]
    MetresPerSecond,
    /// Newtons.
    #[serde(rename = "N")]
    Newtons,
    /// Newton metres.
    #[serde(rename = "N m")]
    NewtonMetres,
    /// A plain number: a quaternion's, or a gripper's opening in its driver's own unit.
    #[serde(rename = "1")]
    One,
}

impl Unit {
    /// What one of this unit is in SI units.
    pub fn si(self) -> f64 {
        match self {
            Unit::Degrees | Unit::DegreesPerSecond => std::f64::consts::PI / 180.0,
            _ => 1.0,
        }
    }
}

/// Between the network's numbers and those of the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scaling {
    /// The network has the data's own numbers.
    None,
    /// `(value - mean) / std`.
    MeanStd {
        /// Mean of the training data.
        mean: f64,
        /// Standard deviation, above 0.
        std: f64,
    },
    /// `-1` at the least, `1` at the greatest value of the training data.
    MinMax {
        /// Least value.
        min: f64,
        /// Greatest value, above the least.
        max: f64,
    },
}

impl Scaling {
    /// The network's number for a value.
    pub fn normalise(self, value: f64) -> f64 {
        match self {
            Scaling::None => value,
            Scaling::MeanStd { mean, std } => (value - mean) / std,
            Scaling::MinMax { min, max } => 2.0 * (value - min) / (max - min) - 1.0,
        }
    }

    /// The value for a number of the network.
    pub fn denormalise(self, number: f64) -> f64 {
        match self {
            Scaling::None => number,
            Scaling::MeanStd { mean, std } => number * std + mean,
            Scaling::MinMax { min, max } => (number + 1.0) * 0.5 * (max - min) + min,
        }
    }

    fn validate(self) -> Result<(), String> {
        match self {
            Scaling::None => Ok(()),
            Scaling::MeanStd { mean, std } if mean.is_finite() && std.is_finite() && std > 0.0 => Ok(()),
            Scaling::MinMax { min, max } if min.is_finite() && max.is_finite() && min < max => Ok(()),
            other => Err(format!("expected finite statistics, std above 0 or max above min, got {other:?}")),
        }
    }
}

impl ActionChannel {
    /// The SI value of a number of the network.
    pub fn decode(&self, number: f64) -> f64 {
        self.scaling.denormalise(number) * self.unit.si()
    }

    /// The network's number for an SI value.
    pub fn encode(&self, value: f64) -> f64 {
        self.scaling.normalise(value / self.unit.si())
    }
}

impl StateChannel {
    /// The network's number for an SI value.
    pub fn encode(&self, value: f64) -> f64 {
        self.scaling.normalise(value / self.unit.si())
    }
}

/// The most numbers of an action or a state.
pub const MAX_CHANNELS: usize = 256;
/// The most actions predicted at once.
pub const MAX_STEPS: usize = 1024;
/// The longest period, s.
const MAX_PERIOD_SECS: f64 = 60.0;

/// Names of an end effector's velocity.
const TWIST: [&str; 6] = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"];
/// Names of an end effector's pose.
const POSE: [&str; 7] = [
    "position.x",
    "position.y",
    "position.z",
    "orientation.x",
    "orientation.y",
    "orientation.z",
    "orientation.w",
];
/// Name of a gripper's dimension, which comes last.
const GRIPPER: &str = "gripper";

impl SpaceKind {
    /// The names that an action's dimensions must have before the gripper's; nothing for joints.
    fn end_effector_names(self) -> Option<&'static [&'static str]> {
        match self {
            Self::JointPositions | Self::JointVelocities | Self::JointDisplacements => None,
            Self::EndEffectorVelocity | Self::EndEffectorDisplacement => Some(&TWIST),
            Self::EndEffectorPose => Some(&POSE),
        }
    }
}

impl PolicySpec {
    /// Whether the last dimension of an end effector's action is a gripper's.
    pub fn has_gripper(&self) -> bool {
        self.space.end_effector_names().is_some_and(|names| self.actions.len() > names.len())
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if !(self.period_secs.is_finite() && self.period_secs > 0.0 && self.period_secs <= MAX_PERIOD_SECS) {
            return Err(format!(
                "period_secs: expected above 0 up to {MAX_PERIOD_SECS}, got {}",
                self.period_secs
            ));
        }
        if self.steps == 0 || self.steps > MAX_STEPS {
            return Err(format!("steps: expected 1 to {MAX_STEPS}, got {}", self.steps));
        }
        if self.actions.is_empty() || self.actions.len().max(self.state.len()) > MAX_CHANNELS {
            let (actions, state) = (self.actions.len(), self.state.len());
            return Err(format!(
                "expected 1 to {MAX_CHANNELS} actions and at most as many numbers of state, got {actions} and {state}"
            ));
        }
        self.check_names()?;
        for channel in &self.actions {
            channel.scaling.validate().map_err(|reason| format!("actions.{:?}: {reason}", channel.name))?;
        }
        for channel in &self.state {
            channel.scaling.validate().map_err(|reason| format!("state.{:?}: {reason}", channel.name))?;
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), String> {
        let names: Vec<_> = self.actions.iter().map(|channel| channel.name.as_str()).collect();
        if let Some(expected) = self.space.end_effector_names() {
            let moving = names.strip_suffix(&[GRIPPER]).unwrap_or(&names);
            if moving != expected {
                return Err(format!(
                    "actions: expected {expected:?} and perhaps {GRIPPER:?} in the space {:?}, got {names:?}",
                    self.space
                ));
            }
        } else if self.frame.is_some() {
            return Err(format!("frame: expected none for joints, got {:?}", self.frame));
        }
        let repeated = |names: &[(&str, Option<Quantity>)]| {
            let twice = (1..names.len()).find(|at| names[..*at].contains(&names[*at]));
            twice.map_or(Ok(()), |at| Err(format!("{:?} is named twice", names[at].0)))
        };
        repeated(&names.iter().map(|name| (*name, None)).collect::<Vec<_>>())
            .map_err(|reason| format!("actions: {reason}"))?;
        let state = self.state.iter().map(|channel| (channel.name.as_str(), Some(channel.quantity)));
        repeated(&state.collect::<Vec<_>>()).map_err(|reason| format!("state: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn joints() -> PolicySpec {
        let scaling = Scaling::MeanStd { mean: 0.25, std: 0.5 };
        let action = |name: &str| ActionChannel { name: name.into(), unit: Unit::Radians, scaling };
        let quantity = Quantity::Position;
        let state = |name: &str| StateChannel { name: name.into(), quantity, unit: Unit::Degrees, scaling };
        PolicySpec {
            period_secs: 0.1,
            steps: 16,
            space: SpaceKind::JointPositions,
            frame: None,
            actions: vec![action("a"), action("b")],
            state: vec![state("a"), state("b")],
            contract: None,
        }
    }

    #[test]
    fn scalings_go_there_and_back() {
        for scaling in
            [Scaling::None, Scaling::MeanStd { mean: 2.0, std: 0.5 }, Scaling::MinMax { min: -1.0, max: 3.0 }]
        {
            for value in [-1.0, 0.0, 3.0] {
                assert!((scaling.denormalise(scaling.normalise(value)) - value).abs() < 1e-12, "{scaling:?}");
            }
        }
        assert_eq!(Scaling::MinMax { min: -1.0, max: 3.0 }.normalise(3.0), 1.0);
        assert_eq!(Scaling::MinMax { min: -1.0, max: 3.0 }.normalise(-1.0), -1.0);
    }

    #[test]
    fn degrees_become_radians() {
        let channel = ActionChannel { name: "a".into(), unit: Unit::Degrees, scaling: Scaling::None };
        assert!((channel.decode(180.0) - std::f64::consts::PI).abs() < 1e-12);
        assert!((channel.encode(std::f64::consts::PI) - 180.0).abs() < 1e-12);
    }

    #[test]
    fn faults_are_named() {
        type Fault = fn(&mut PolicySpec);
        let cases: &[(Fault, &str)] = &[
            (|p| p.period_secs = 0.0, "period_secs"),
            (|p| p.period_secs = f64::NAN, "period_secs"),
            (|p| p.steps = 0, "steps"),
            (|p| p.actions.clear(), "actions"),
            (|p| p.actions[1].name = "a".into(), "\"a\" is named twice"),
            (|p| p.state[1].name = "a".into(), "state: \"a\" is named twice"),
            (|p| p.actions[1].scaling = Scaling::MeanStd { mean: 0.0, std: 0.0 }, "actions.\"b\""),
            (|p| p.state[0].scaling = Scaling::MinMax { min: 1.0, max: 1.0 }, "state.\"a\""),
            (|p| p.frame = Some("base".into()), "frame"),
            (|p| p.space = SpaceKind::EndEffectorPose, "position.x"),
        ];
        joints().validate().unwrap();
        for (fault, expected) in cases {
            let mut policy = joints();
            fault(&mut policy);
            let reason = policy.validate().unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
        let mut hand = joints();
        hand.space = SpaceKind::EndEffectorDisplacement;
        let channel = |name: &&str| ActionChannel { name: (*name).into(), ..hand.actions[0].clone() };
        hand.actions = TWIST.iter().chain(&["gripper"]).map(channel).collect();
        hand.validate().unwrap();
        assert!(hand.has_gripper());
    }
}
