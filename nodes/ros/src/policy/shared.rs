//! The controller with what is measured; shared by the thread that spins, which feeds it, and the control loop, which ticks it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use control::controller::{Pose, RequestError};
use control::{
    Controller, Counters, Interventions, Kinematics, Measured, Output, RosTime, State, SteadyTime,
};
use r2r::geometry_msgs::msg::{PoseStamped, TwistStamped};
use r2r::sensor_msgs::msg::JointState;
use r2r::trajectory_msgs::msg::JointTrajectory;

use super::settings::{Settings, Space};
use super::tool::ToolChain;
use crate::action_chunk::{self, ros_time};
use crate::clock::RosClock;

/// Both clocks.
#[derive(Clone, Debug)]
pub struct Clocks {
    ros: RosClock,
    start: Instant,
}

impl Clocks {
    pub fn new(ros: RosClock) -> Self {
        Self { ros, start: Instant::now() }
    }

    pub fn ros(&self) -> RosTime {
        RosTime(self.ros.nanoseconds())
    }

    pub fn steady(&self) -> SteadyTime {
        SteadyTime(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// What one tick told, copied out so that nobody waits for the publishing.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whether the robot is told something.
    pub speaks: bool,
    /// What, in command dimensions.
    pub command: Vec<f64>,
    /// The policy's action that was due, in action dimensions; only with `has_policy`.
    pub policy: Vec<f64>,
    pub has_policy: bool,
    pub state: State,
    pub interventions: Interventions,
    /// Whether a human is in control, wholly or in part.
    pub human: bool,
    /// Stamp of the newest observation behind the policy's action.
    pub observation: Option<RosTime>,
    /// ROS time of the tick.
    pub stamp: RosTime,
}

impl Told {
    /// Room for what a tick of this configuration tells.
    pub fn new(settings: &Settings) -> Self {
        Self {
            speaks: false,
            command: vec![0.0; settings.space.command_dimensions()],
            policy: vec![0.0; settings.space.dimensions()],
            has_policy: false,
            state: State::Idle,
            interventions: Interventions::default(),
            human: false,
            observation: None,
            stamp: RosTime(0),
        }
    }
}

/// Who may engage the e-stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EStop {
    Topic,
    Service,
}

/// The newest positions of the joints that are measured.
#[derive(Debug)]
struct Readings {
    places: BTreeMap<String, usize>,
    positions: Vec<f64>,
    stamps: Vec<Option<RosTime>>,
    /// How many of them are joints of the space or on the way to the tool; the gripper's comes after.
    joints: usize,
}

impl Readings {
    fn new(settings: &Settings) -> Self {
        let names = settings.measured_joints.iter().chain(&settings.gripper_joint);
        let places: BTreeMap<_, _> = names.cloned().enumerate().map(|(place, name)| (name, place)).collect();
        let count = settings.measured_joints.len() + usize::from(settings.gripper_joint.is_some());
        Self {
            places,
            positions: vec![0.0; count],
            stamps: vec![None; count],
            joints: settings.measured_joints.len(),
        }
    }

    /// Takes what a message tells of known joints; whether it told of any.
    fn take(&mut self, message: &JointState) -> Result<bool, String> {
        let (names, positions) = (message.name.len(), message.position.len());
        let known = |name: &String| self.places.get(name).copied();
        if names != positions && message.name.iter().any(|name| known(name).is_some()) {
            return Err(format!("expected a position for each of {names} names, got {positions}"));
        }
        let told: Vec<_> = message.name.iter().zip(&message.position).collect();
        if let Some((name, came)) =
            told.iter().find(|(name, came)| known(name).is_some() && !came.is_finite())
        {
            return Err(format!("joint {name}: expected a finite position, got {came}"));
        }
        let mut any = false;
        for (name, position) in told {
            if let Some(place) = known(name) {
                self.positions[place] = *position;
                self.stamps[place] = Some(ros_time(&message.header.stamp));
                any = true;
            }
        }
        Ok(any)
    }

    /// The oldest stamp of the joints; nothing while one is missing.
    fn stamp(&self) -> Option<RosTime> {
        let stamps: Option<Vec<_>> = self.stamps[..self.joints].iter().copied().collect();
        stamps?.into_iter().min()
    }

    fn gripper(&self) -> Option<f64> {
        self.stamps.get(self.joints).copied().flatten().map(|_| self.positions[self.joints])
    }

    fn missing(&self) -> Vec<String> {
        let missing = self.places.iter().filter(|(_, place)| self.stamps[**place].is_none());
        missing.map(|(name, _)| name.clone()).collect()
    }
}

/// A configured controller.
pub struct Core {
    controller: Controller,
    clocks: Clocks,
    readings: Readings,
    /// The chain to the tool, in spaces of the end effector.
    chain: Option<ToolChain>,
    space: Space,
    /// Whether the tool's pose comes by topic.
    hears_tool_pose: bool,
    human_gripper: Option<f64>,
    /// The opening that the last command had.
    told_gripper: Option<f64>,
}

impl Core {
    /// A controller of a configuration, in IDLE.
    ///
    /// # Errors
    /// When limits and settings cannot be used together.
    pub fn new(settings: &Settings, clocks: Clocks) -> Result<Self, String> {
        let of_joints = settings.kinds.space.is_of_joints();
        let kinematics = settings.chain.clone().filter(|_| of_joints);
        let kinematics = kinematics.map(|chain| Box::new(chain) as Box<dyn Kinematics>);
        let controller = Controller::new(settings.space.clone(), settings.control.clone(), kinematics);
        Ok(Self {
            controller: controller.map_err(|error| error.to_string())?,
            clocks,
            readings: Readings::new(settings),
            chain: settings.chain.clone().filter(|_| !of_joints),
            space: settings.kinds.space,
            hears_tool_pose: settings.hears_tool_pose(),
            human_gripper: None,
            told_gripper: None,
        })
    }

    pub fn state(&self) -> State {
        self.controller.state()
    }

    pub fn counters(&self) -> Counters {
        *self.controller.counters()
    }

    /// Joints that no message has told of.
    pub fn missing_joints(&self) -> Vec<String> {
        self.readings.missing()
    }

    /// One tick of the control loop.
    pub fn tick(&mut self, told: &mut Told) {
        let (ros, steady) = (self.clocks.ros(), self.clocks.steady());
        let tick = self.controller.tick(ros, steady);
        told.speaks = matches!(tick.output, Output::Command(_));
        if let Output::Command(command) = tick.output {
            told.command.copy_from_slice(command);
            self.told_gripper = command.get(6).copied();
        }
        told.has_policy = tick.policy.is_some();
        if let Some(policy) = tick.policy {
            told.policy.copy_from_slice(policy);
        }
        (told.state, told.interventions, told.human) = (tick.state, tick.interventions, tick.human);
        (told.observation, told.stamp) = (tick.observation, ros);
    }

    /// A policy's prediction.
    pub fn take_chunk(&mut self, message: &JointTrajectory) -> Result<(), String> {
        let chunk = action_chunk::read(message, self.controller.space()).map_err(|error| {
            self.controller.refused_chunk();
            error.to_string()
        })?;
        let (ros, steady) = (self.clocks.ros(), self.clocks.steady());
        self.controller.chunk(chunk, ros, steady).map_err(|error| error.to_string())
    }

    pub fn take_joints(&mut self, message: &JointState) -> Result<(), String> {
        if !self.readings.take(message)? || (self.chain.is_none() && !self.space.is_of_joints()) {
            return Ok(());
        }
        let Some(stamp) = self.readings.stamp() else { return Ok(()) };
        let joints = &self.readings.positions[..self.readings.joints];
        let tool = self.chain.as_ref().map(|chain| chain.pose(joints));
        let positions = if self.space.is_of_joints() { joints } else { &[] };
        let measured = Measured { stamp, positions, tool, gripper: self.readings.gripper() };
        self.controller.measure(&measured, self.clocks.steady()).map_err(|error| error.to_string())
    }

    pub fn take_tool(&mut self, message: &PoseStamped) -> Result<(), String> {
        if !self.hears_tool_pose {
            return Ok(());
        }
        let (at, turn) = (&message.pose.position, &message.pose.orientation);
        let tool = Pose { position: [at.x, at.y, at.z], orientation: [turn.x, turn.y, turn.z, turn.w] };
        let (stamp, gripper) = (ros_time(&message.header.stamp), self.readings.gripper());
        let measured = Measured { stamp, positions: &[], tool: Some(tool), gripper };
        self.controller.measure(&measured, self.clocks.steady()).map_err(|error| error.to_string())
    }

    pub fn take_deadman(&mut self, pressed: bool) {
        self.controller.deadman(pressed, self.clocks.steady());
    }

    /// A human's joints, in whichever order.
    pub fn take_human_joints(&mut self, message: &JointState) -> Result<(), String> {
        let (kind, numbers) = match self.space {
            Space::JointPositions => ("positions", &message.position),
            _ => ("velocities", &message.velocity),
        };
        let names = self.controller.space().names();
        let number = |name: &&str| {
            let place = message.name.iter().position(|came| came == name)?;
            numbers.get(place).copied()
        };
        let action: Option<Vec<f64>> = names.iter().map(number).collect();
        let action =
            action.ok_or_else(|| format!("expected {kind} of {names:?}, got names {:?}", message.name))?;
        self.take_human(&action)
    }

    /// A human's end-effector velocities.
    pub fn take_human_twist(&mut self, message: &TwistStamped) -> Result<(), String> {
        let (linear, angular) = (&message.twist.linear, &message.twist.angular);
        let mut action = vec![linear.x, linear.y, linear.z, angular.x, angular.y, angular.z];
        if self.controller.space().gripper().is_some() {
            let opening = self.human_gripper.or(self.told_gripper).or(self.readings.gripper());
            action.push(opening.ok_or("expected human/gripper first: the gripper's opening is not known")?);
        }
        self.take_human(&action)
    }

    pub fn take_human_gripper(&mut self, data: &[f64]) -> Result<(), String> {
        match data {
            [opening] if opening.is_finite() => self.human_gripper = Some(*opening),
            _ => return Err(format!("expected one finite number, got {data:?}")),
        }
        Ok(())
    }

    fn take_human(&mut self, action: &[f64]) -> Result<(), String> {
        self.controller.human(action, self.clocks.steady()).map_err(|error| error.to_string())
    }

    pub fn arm(&mut self) -> Result<(), RequestError> {
        self.human_gripper = None;
        self.controller.arm()
    }

    pub fn disarm(&mut self) -> Result<(), RequestError> {
        self.controller.disarm()
    }

    pub fn reset(&mut self) -> Result<(), RequestError> {
        self.controller.reset()
    }
}

/// The core of a configured node, and the e-stop, which outlives configurations.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    core: Option<Core>,
    by_topic: bool,
    by_service: bool,
}

impl Shared {
    /// Puts a new core in, which an engaged e-stop stops at once; nothing takes the old one out.
    pub fn put(&self, core: Option<Core>) {
        let mut inner = self.lock();
        inner.core = core;
        inner.tell_estop();
    }

    /// Does something with the core, if there is one.
    pub fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> Option<T> {
        self.lock().core.as_mut().map(act)
    }

    /// Engages or releases the e-stop; whether anyone still engages it.
    pub fn estop(&self, by: EStop, engaged: bool) -> bool {
        let mut inner = self.lock();
        match by {
            EStop::Topic => inner.by_topic = engaged,
            EStop::Service => inner.by_service = engaged,
        }
        inner.tell_estop();
        inner.by_topic || inner.by_service
    }

    /// A panic elsewhere does not spoil the core.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell_estop(&mut self) {
        let engaged = self.by_topic || self.by_service;
        if let Some(core) = &mut self.core {
            core.controller.estop(engaged);
        }
    }
}
