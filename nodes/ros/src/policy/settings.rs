//! Parameters and robot description as what a controller needs.

use std::sync::Arc;

use control::controller::Workspace;
use control::{ActionSpace, Gripper, Joint, JointLimits, Settings as Control, Strategy, TwistLimits};
use robot::{JointKind, Robot};

use super::tool::{ToolChain, moving_joints};
use crate::parameters::{ParameterError, Parameters};

/// The kinds of action space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    JointPositions,
    JointVelocities,
    EndEffectorVelocity,
    EndEffectorPose,
}

/// Who is commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    JointTrajectory,
    ForwardPosition,
    ForwardVelocity,
    JointJog,
    Twist,
}

/// What must be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadmanKind {
    Topic,
    Joy,
    None,
}

/// What holds from the start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    pub space: Space,
    pub interface: Interface,
    pub deadman: DeadmanKind,
}

impl Space {
    pub fn is_of_joints(self) -> bool {
        matches!(self, Self::JointPositions | Self::JointVelocities)
    }
}

impl Interface {
    /// Whether a robot that hears no more commands may go on moving.
    fn commands_velocity(self) -> bool {
        !matches!(self, Self::JointTrajectory | Self::ForwardPosition)
    }

    fn takes(self, space: Space) -> bool {
        match self {
            Self::JointTrajectory | Self::ForwardPosition => space == Space::JointPositions,
            Self::ForwardVelocity | Self::JointJog => space == Space::JointVelocities,
            Self::Twist => !space.is_of_joints(),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::JointTrajectory | Self::ForwardPosition => "one that takes positions: joint_positions",
            Self::ForwardVelocity | Self::JointJog => "one that takes joint velocities: joint_velocities",
            Self::Twist => "one of the end effector: end_effector_velocity or end_effector_pose",
        }
    }
}

impl Kinds {
    /// Reads them.
    ///
    /// # Errors
    /// When the interface cannot take what the action space commands.
    pub fn read(parameters: &Parameters) -> Result<Self, ParameterError> {
        let space = match parameters.text("action_space")?.as_str() {
            "joint_velocities" => Space::JointVelocities,
            "end_effector_velocity" => Space::EndEffectorVelocity,
            "end_effector_pose" => Space::EndEffectorPose,
            _ => Space::JointPositions,
        };
        let name = parameters.text("command_interface")?;
        let interface = match name.as_str() {
            "forward_position" => Interface::ForwardPosition,
            "forward_velocity" => Interface::ForwardVelocity,
            "joint_jog" => Interface::JointJog,
            "twist" => Interface::Twist,
            _ => Interface::JointTrajectory,
        };
        let deadman = match parameters.text("deadman")?.as_str() {
            "joy" => DeadmanKind::Joy,
            "none" => DeadmanKind::None,
            _ => DeadmanKind::Topic,
        };
        if !interface.takes(space) {
            let expected = format!("with command_interface {name}: {}", interface.expected());
            return Err(parameters.refuse("action_space", expected));
        }
        Ok(Self { space, interface, deadman })
    }
}

/// What a configuration holds.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kinds: Kinds,
    pub space: Arc<ActionSpace>,
    pub control: Control,
    pub rate_hz: f64,
    pub dry_run: bool,
    pub trajectory_horizon_secs: f64,
    pub command_frame: String,
    /// The joints whose positions are measured: the commanded ones, or those on the way to the tool.
    pub measured_joints: Vec<String>,
    pub gripper_joint: Option<String>,
    pub chain: Option<ToolChain>,
}

/// Whether the parameters need a robot description.
///
/// # Errors
/// When the table does not declare them.
pub fn needs_robot(parameters: &Parameters, kinds: Kinds) -> Result<bool, ParameterError> {
    Ok(kinds.space.is_of_joints() || parameters.optional("tool_link")?.is_some())
}

impl Settings {
    /// Reads what the table of the node has not yet refused.
    ///
    /// # Errors
    /// The first parameter that does not fit the others or the robot.
    pub fn read(
        parameters: &Parameters,
        kinds: Kinds,
        robot: Option<&Robot>,
    ) -> Result<Self, ParameterError> {
        let rate_hz = parameters.number("control_rate_hz")?;
        check_timeout(parameters, kinds.interface, rate_hz)?;
        let horizon = parameters.number("trajectory_horizon_secs")?;
        if kinds.interface == Interface::JointTrajectory && horizon < 1.0 / rate_hz {
            let expected = format!("at least one control period, {} s", 1.0 / rate_hz);
            return Err(parameters.refuse("trajectory_horizon_secs", expected));
        }
        let space = Arc::new(action_space(parameters, kinds.space, robot)?);
        space.check().map_err(|error| parameters.refuse("action_space", error.to_string()))?;
        let (measured_joints, chain) = tool(parameters, kinds.space, robot)?;
        let gripper_joint = parameters.optional("gripper_joint")?;
        if gripper_joint.as_ref().is_some_and(|name| measured_joints.contains(name)) {
            return Err(parameters.refuse("gripper_joint", "a joint that is not among the arm's"));
        }
        Ok(Self {
            kinds,
            control: control(parameters, kinds, rate_hz)?,
            space,
            rate_hz,
            dry_run: parameters.flag("dry_run")?,
            trajectory_horizon_secs: horizon,
            command_frame: parameters.text("command_frame")?,
            measured_joints,
            gripper_joint,
            chain,
        })
    }

    /// Whether the tool's pose comes by topic.
    pub fn hears_tool_pose(&self) -> bool {
        let needs_tool = self.kinds.space == Space::EndEffectorPose || self.control.workspace.is_some();
        !self.kinds.space.is_of_joints() && needs_tool && self.chain.is_none()
    }
}

/// A velocity interface needs a controller that stops by itself.
fn check_timeout(parameters: &Parameters, interface: Interface, rate_hz: f64) -> Result<(), ParameterError> {
    let timeout = parameters.number("controller_timeout_secs")?;
    if interface.commands_velocity() && timeout < 2.0 / rate_hz {
        let expected = format!(
            "with a velocity interface: the time after which the controller behind stops the robot by itself, at least two control \
             periods, {} s (a controller without one would let the robot move on when this process dies)",
            2.0 / rate_hz
        );
        return Err(parameters.refuse("controller_timeout_secs", expected));
    }
    Ok(())
}

fn action_space(
    parameters: &Parameters,
    space: Space,
    robot: Option<&Robot>,
) -> Result<ActionSpace, ParameterError> {
    Ok(match (space, robot) {
        (Space::JointPositions, Some(robot)) => ActionSpace::JointPositions(joints(parameters, robot)?),
        (Space::JointVelocities, Some(robot)) => ActionSpace::JointVelocities(joints(parameters, robot)?),
        (Space::JointPositions | Space::JointVelocities, None) => {
            return Err(parameters.refuse("robot_description", "a robot description"));
        }
        (Space::EndEffectorVelocity, _) => {
            ActionSpace::EndEffectorVelocity { limits: twist(parameters)?, gripper: gripper(parameters)? }
        }
        (Space::EndEffectorPose, _) => ActionSpace::EndEffectorPose {
            limits: twist(parameters)?,
            time_constant_secs: parameters.number("pose_time_constant_secs")?,
            gripper: gripper(parameters)?,
        },
    })
}

/// One number per joint: a list of as many, of one for all, or nothing.
fn per_joint(
    parameters: &Parameters,
    name: &str,
    joints: usize,
    one_for_all: bool,
) -> Result<Option<Vec<f64>>, ParameterError> {
    let values = parameters.numbers(name)?;
    match values.len() {
        0 => Ok(None),
        1 if one_for_all => Ok(Some(vec![values[0]; joints])),
        came if came == joints => Ok(Some(values)),
        came => Err(parameters.refuse(name, format!("a number for each of {joints} joints, not {came}"))),
    }
}

fn joints(parameters: &Parameters, robot: &Robot) -> Result<Vec<Joint>, ParameterError> {
    let names = parameters.texts("joints")?;
    if names.is_empty() {
        return Err(parameters.refuse("joints", "the names of the joints that are commanded"));
    }
    let velocities = per_joint(parameters, "max_velocity", names.len(), false)?;
    let accelerations = per_joint(parameters, "max_acceleration", names.len(), true)?;
    let jerks = per_joint(parameters, "max_jerk", names.len(), true)?;
    let of = |values: &Option<Vec<f64>>, index: usize| values.as_ref().map(|values| values[index]);
    let joint = |(index, name): (usize, &String)| {
        let described = free_joint(parameters, robot, name)?;
        let own = Own {
            velocity: of(&velocities, index),
            acceleration: of(&accelerations, index),
            jerk: of(&jerks, index),
        };
        limits(parameters, described, own).map(|limits| Joint { name: name.clone(), limits })
    };
    names.iter().enumerate().map(joint).collect()
}

fn free_joint<'r>(
    parameters: &Parameters,
    robot: &'r Robot,
    name: &str,
) -> Result<&'r robot::Joint, ParameterError> {
    let found = robot.joint(name).filter(|joint| joint.is_free());
    found.ok_or_else(|| {
        let known: Vec<_> = robot.free_joints().map(|joint| joint.name.as_str()).collect();
        let known = known.join(", ");
        parameters
            .refuse("joints", format!("joints of robot {} that move: {known}; not {name}", robot.name()))
    })
}

/// What parameters say of one joint.
#[derive(Clone, Copy)]
struct Own {
    velocity: Option<f64>,
    acceleration: Option<f64>,
    jerk: Option<f64>,
}

/// The limits of one joint: nobody may go beyond the description's, and nothing is invented that it does not have.
fn limits(parameters: &Parameters, joint: &robot::Joint, own: Own) -> Result<JointLimits, ParameterError> {
    let described = &joint.limits;
    let within = |name: &str, came: f64, most: f64| {
        if came <= most {
            return Ok(came);
        }
        Err(parameters.refuse(name, format!("at most the description's limit of {}, {most}", joint.name)))
    };
    let scale = parameters.number("velocity_scale")?;
    let velocity = match own.velocity {
        Some(velocity) => within("max_velocity", velocity, described.velocity)?,
        None if described.velocity.is_finite() => scale * described.velocity,
        None => {
            let expected = format!("a limit for {}, whose description has none", joint.name);
            return Err(parameters.refuse("max_velocity", expected));
        }
    };
    let acceleration = match (own.acceleration, described.acceleration) {
        (Some(own), described) => within("max_acceleration", own, described.unwrap_or(f64::INFINITY))?,
        (None, Some(described)) => described,
        (None, None) => {
            let expected = format!("a limit for {}, whose description has none", joint.name);
            return Err(parameters.refuse("max_acceleration", expected));
        }
    };
    let endless = joint.kind == JointKind::Continuous;
    Ok(JointLimits {
        min_position: if endless { f64::NEG_INFINITY } else { described.lower },
        max_position: if endless { f64::INFINITY } else { described.upper },
        max_velocity: velocity,
        max_acceleration: acceleration,
        max_jerk: own.jerk,
    })
}

fn twist(parameters: &Parameters) -> Result<TwistLimits, ParameterError> {
    Ok(TwistLimits {
        max_linear: parameters.number("max_linear_velocity")?,
        max_angular: parameters.number("max_angular_velocity")?,
        max_linear_acceleration: parameters.number("max_linear_acceleration")?,
        max_angular_acceleration: parameters.number("max_angular_acceleration")?,
    })
}

fn gripper(parameters: &Parameters) -> Result<Option<Gripper>, ParameterError> {
    let speed = parameters.number("gripper_max_speed")?;
    let gripper = Gripper {
        min: parameters.number("gripper_min")?,
        max: parameters.number("gripper_max")?,
        max_speed: (speed > 0.0).then_some(speed),
        binary: parameters.flag("gripper_binary")?,
    };
    Ok(parameters.flag("gripper")?.then_some(gripper))
}

/// The joints to measure, and the way to the tool when the description gives it.
fn tool(
    parameters: &Parameters,
    space: Space,
    robot: Option<&Robot>,
) -> Result<(Vec<String>, Option<ToolChain>), ParameterError> {
    let (base, link) = (parameters.optional("base_link")?, parameters.optional("tool_link")?);
    let mut names = if space.is_of_joints() { parameters.texts("joints")? } else { Vec::new() };
    let (Some(robot), Some(link)) = (robot, link) else { return Ok((names, None)) };
    if !space.is_of_joints() {
        names = moving_joints(robot, base.as_deref(), &link);
    }
    let chain = ToolChain::new(robot, base.as_deref(), &link, &names);
    let chain = chain.map_err(|reason| parameters.refuse("tool_link", reason))?;
    Ok((names, Some(chain)))
}

fn strategy(parameters: &Parameters) -> Result<Strategy, ParameterError> {
    Ok(match parameters.text("blending")?.as_str() {
        "newest" => Strategy::Newest,
        "ensemble" => Strategy::Ensemble { m: parameters.number("ensemble_m")? },
        _ => Strategy::CrossFade { secs: parameters.number("cross_fade_secs")? },
    })
}

fn workspace(parameters: &Parameters) -> Result<Option<Workspace>, ParameterError> {
    let corner = |name: &str| -> Result<Option<[f64; 3]>, ParameterError> {
        let values = parameters.numbers(name)?;
        let corner = <[f64; 3]>::try_from(values.as_slice());
        match corner {
            Ok(corner) => Ok(Some(corner)),
            Err(_) if values.is_empty() => Ok(None),
            Err(_) => Err(parameters.refuse(name, "three numbers, x, y and z, or none")),
        }
    };
    match (corner("workspace_min")?, corner("workspace_max")?) {
        (Some(min), Some(max)) => {
            Ok(Some(Workspace { min, max, tolerance: parameters.number("workspace_tolerance")? }))
        }
        (None, None) => Ok(None),
        (None, Some(_)) => Err(parameters.refuse("workspace_min", "the other corner of workspace_max")),
        (Some(_), None) => Err(parameters.refuse("workspace_max", "the other corner of workspace_min")),
    }
}

fn control(parameters: &Parameters, kinds: Kinds, rate_hz: f64) -> Result<Control, ParameterError> {
    let number = |name| parameters.number(name);
    let deadman = number("deadman_timeout_secs")?;
    Ok(Control {
        strategy: strategy(parameters)?,
        period_secs: 1.0 / rate_hz,
        position_margin: number("position_margin")?,
        joint_tolerance: number("joint_tolerance")?,
        max_deviation: number("max_deviation")?,
        max_observation_age_secs: number("max_observation_age_secs")?,
        max_joint_state_age_secs: number("max_joint_state_age_secs")?,
        watchdog_secs: number("watchdog_secs")?,
        fault_after_secs: number("fault_after_secs")?,
        deadman_timeout_secs: (kinds.deadman != DeadmanKind::None).then_some(deadman),
        ramp_secs: number("ramp_secs")?,
        human_timeout_secs: number("human_timeout_secs")?,
        handover_secs: number("handover_secs")?,
        clock_timeout_secs: number("clock_timeout_secs")?,
        keep_direction: parameters.flag("keep_direction")?,
        workspace: workspace(parameters)?,
    })
}
