//! From chunks to commands: the filter chain and the states around it.
//!
//! Every tick reads downwards: clocks, measured state, then what is wished (the human's action, else the policy's that is due now),
//! then limits (position, velocity, acceleration, deviation, workspace, ramp), then the command. Whatever is missing brings the
//! robot to rest within its limits; what is wrong latches a fault.

mod motion;
mod settings;
mod watch;
mod wish;

use std::sync::Arc;

use crate::chunk::ActionChunk;
use crate::counters::{Counters, Interventions, Stage};
use crate::limiter::{Bounds, JointState};
use crate::signals::{ClockWatch, Deadman};
use crate::space::ActionSpace;
use crate::state::{FaultReason, HoldReason, State};
use crate::store::{ChunkStore, Refusal};
use crate::time::{RosTime, SteadyTime};

pub use settings::{Settings, SettingsError, Workspace};

/// Where the tool is for joint positions; what a workspace needs in a space of joints.
pub trait Kinematics: Send {
    /// Position of the tool, m, in the workspace's frame, for positions in the action space's order.
    fn tool(&mut self, joints: &[f64]) -> [f64; 3];
}

/// Pose of the tool: position, m, and unit quaternion `x y z w`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Position, m.
    pub position: [f64; 3],
    /// Orientation, a unit quaternion `x y z w`.
    pub orientation: [f64; 4],
}

/// The robot as measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured<'a> {
    /// Stamp of the measurement.
    pub stamp: RosTime,
    /// Joint positions, rad or m, in the action space's order; empty for a space of the end effector.
    pub positions: &'a [f64],
    /// The tool, for spaces of the end effector that need it (poses, a workspace).
    pub tool: Option<Pose>,
    /// The gripper's opening, in its unit.
    pub gripper: Option<f64>,
}

/// What the robot is told by one tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output<'a> {
    /// Nothing: no message may be sent.
    None,
    /// A command in the space's order: positions, velocities, or twist and gripper.
    Command(&'a [f64]),
}

/// One tick's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick<'a> {
    /// What the robot is told.
    pub output: Output<'a>,
    /// The state after this tick.
    pub state: State,
    /// The stages that stepped in.
    pub interventions: Interventions,
    /// The policy's action that was due, before every filter; none when none was.
    pub policy: Option<&'a [f64]>,
    /// Whether a human is in control, wholly or in the hand-over.
    pub human: bool,
    /// Stamp of the newest observation behind the policy's action.
    pub observation: Option<RosTime>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The state does not allow it.
    #[error("expected the state {expected}, the controller is in {state}")]
    State {
        /// States in which the request is possible.
        expected: &'static str,
        /// The state it is in.
        state: State,
    },
    /// The e-stop is still engaged.
    #[error("the e-stop is still engaged: release it first")]
    Engaged,
    /// Numbers that are none, or not as many as there must be.
    #[error("{what}: expected {expected} finite numbers, got {came:?}")]
    Numbers {
        /// Which.
        what: &'static str,
        /// How many.
        expected: usize,
        /// What came.
        came: Vec<f64>,
    },
}

#[derive(Clone, Debug, Default)]
struct Reading {
    stamp: RosTime,
    arrived: SteadyTime,
    positions: Vec<f64>,
    tool: Option<Pose>,
    gripper: Option<f64>,
    present: bool,
}

/// Decides, tick by tick, what the robot is told. Ticks allocate nothing.
pub struct Controller {
    space: Arc<ActionSpace>,
    settings: Settings,
    kinematics: Option<Box<dyn Kinematics>>,
    state: State,
    store: ChunkStore,
    counters: Counters,
    interventions: Interventions,
    deadman: Option<Deadman>,
    clock: ClockWatch,
    engaged: bool,
    measured: Reading,
    last_tick: Option<SteadyTime>,
    last_chunk: Option<SteadyTime>,
    held_since: Option<SteadyTime>,
    running_since: Option<SteadyTime>,
    /// Whether anything was commanded since it was armed.
    spoken: bool,
    /// When the last motion was commanded: a robot measured before that is no longer there.
    last_command: Option<SteadyTime>,
    human: wish::Human,
    /// The policy's action that is due, in action dimensions.
    policy: Vec<f64>,
    has_policy: bool,
    /// What is wished, in command dimensions: positions for joint positions, else velocities.
    wish: Vec<f64>,
    before: Option<Vec<f64>>,
    has_before: bool,
    joints: Vec<JointState>,
    bounds: Vec<Bounds>,
    scratch: Vec<f64>,
    twist: [f64; 6],
    gripper: Option<f64>,
    command: Vec<f64>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("state", &self.state)
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// A controller in [`State::Idle`]. A workspace in a space of joints needs `kinematics`.
    ///
    /// # Errors
    /// When limits or settings cannot be used together.
    pub fn new(
        space: Arc<ActionSpace>,
        settings: Settings,
        kinematics: Option<Box<dyn Kinematics>>,
    ) -> Result<Self, SettingsError> {
        settings.check(&space, kinematics.is_some())?;
        let (dimensions, commands, joints) =
            (space.dimensions(), space.command_dimensions(), space.joints().len());
        Ok(Self {
            store: ChunkStore::new(space.clone(), settings.strategy),
            kinematics,
            state: State::Idle,
            counters: Counters::default(),
            interventions: Interventions::default(),
            deadman: settings.deadman_timeout_secs.map(Deadman::new),
            clock: ClockWatch::new(settings.clock_timeout_secs),
            engaged: false,
            measured: Reading { positions: vec![0.0; joints], ..Reading::default() },
            last_tick: None,
            last_chunk: None,
            held_since: None,
            running_since: None,
            spoken: false,
            last_command: None,
            human: wish::Human::new(commands),
            policy: vec![0.0; dimensions],
            has_policy: false,
            wish: vec![0.0; commands],
            before: Some(vec![0.0; commands]),
            has_before: false,
            joints: vec![JointState::default(); joints],
            bounds: vec![Bounds { low: 0.0, high: 0.0 }; joints],
            scratch: vec![0.0; joints],
            twist: [0.0; 6],
            gripper: None,
            command: vec![0.0; commands],
            space,
            settings,
        })
    }

    /// The state it is in.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often each stage stepped in.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What its numbers mean.
    pub fn space(&self) -> &Arc<ActionSpace> {
        &self.space
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes a policy's chunk.
    ///
    /// # Errors
    /// Why it is not taken; counted, and the chunks held stay.
    pub fn chunk(&mut self, chunk: ActionChunk, ros: RosTime, steady: SteadyTime) -> Result<(), Refusal> {
        let oldest_secs = self.settings.max_observation_age_secs;
        let taken =
            if ros.is_known() { self.store.push(chunk, ros, oldest_secs) } else { Err(Refusal::NoTime) };
        match taken {
            Ok(()) => self.last_chunk = Some(steady),
            Err(_) => self.counters.one(Stage::Chunk),
        }
        taken
    }

    /// A chunk that could not even be read (names, numbers): counted.
    pub fn refused_chunk(&mut self) {
        self.counters.one(Stage::Chunk);
    }

    /// Takes the robot's measured state.
    ///
    /// # Errors
    /// When numbers are missing or not finite; the reading before stays, and grows old.
    pub fn measure(&mut self, measured: &Measured<'_>, steady: SteadyTime) -> Result<(), RequestError> {
        let expected = self.joints.len();
        let wrong =
            |what, expected, came: &[f64]| RequestError::Numbers { what, expected, came: came.to_vec() };
        if measured.positions.len() != expected || !finite(measured.positions) {
            return Err(wrong("joint positions", expected, measured.positions));
        }
        if let Some(pose) = &measured.tool {
            let norm = pose.orientation.iter().map(|value| value * value).sum::<f64>();
            if !finite(&pose.position) || !finite(&pose.orientation) || (norm - 1.0).abs() > 0.1 {
                return Err(wrong("tool", 7, &[pose.position.as_slice(), &pose.orientation].concat()));
            }
        }
        if measured.gripper.is_some_and(|opening| !opening.is_finite()) {
            return Err(wrong("gripper", 1, &measured.gripper.map_or([0.0], |opening| [opening])));
        }
        self.measured.positions.copy_from_slice(measured.positions);
        let Measured { stamp, tool, gripper, .. } = *measured;
        (self.measured.stamp, self.measured.arrived) = (stamp, steady);
        (self.measured.tool, self.measured.gripper, self.measured.present) = (tool, gripper, true);
        Ok(())
    }

    /// A message of the deadman's stream.
    pub fn deadman(&mut self, pressed: bool, steady: SteadyTime) {
        if let Some(deadman) = &mut self.deadman {
            deadman.heard(pressed, steady);
        }
    }

    /// The e-stop's input. Engaging it latches [`State::EStop`]; releasing it only allows a reset.
    pub fn estop(&mut self, engaged: bool) {
        self.engaged = engaged;
        if engaged {
            self.state = State::EStop;
            self.rest();
        }
    }

    /// A human's action, in command dimensions; it takes over from the policy while it keeps coming.
    ///
    /// # Errors
    /// When numbers are missing or not finite.
    pub fn human(&mut self, action: &[f64], steady: SteadyTime) -> Result<(), RequestError> {
        if action.len() != self.wish.len() || !finite(action) {
            let (expected, came) = (self.wish.len(), action.to_vec());
            return Err(RequestError::Numbers { what: "human action", expected, came });
        }
        self.human.heard(action, steady);
        Ok(())
    }

    /// Allows motion: commands begin as soon as ROS time is known and joints, chunks and deadman allow it.
    ///
    /// # Errors
    /// When the controller is not idle.
    pub fn arm(&mut self) -> Result<(), RequestError> {
        if self.state != State::Idle {
            return Err(RequestError::State { expected: "IDLE", state: self.state });
        }
        self.store.clear();
        (self.last_chunk, self.held_since, self.spoken) = (None, None, false);
        self.state = State::Armed;
        Ok(())
    }

    /// Brings the robot to rest, then commands nothing.
    ///
    /// # Errors
    /// When a fault or the e-stop is latched.
    pub fn disarm(&mut self) -> Result<(), RequestError> {
        match self.state {
            State::Fault(_) | State::EStop => {
                Err(RequestError::State { expected: "IDLE, ARMED, RUNNING or HOLD", state: self.state })
            }
            State::Idle | State::Armed => {
                self.state = State::Idle;
                Ok(())
            }
            State::Running | State::Hold(_) => {
                self.state = State::Hold(HoldReason::Disarming);
                Ok(())
            }
        }
    }

    /// Leaves a latched fault or e-stop for [`State::Idle`]. The limiters begin anew from the measured state when armed again; the watch
    /// over ROS time goes on, so that a clock that still stands is a fault as soon as somebody arms.
    ///
    /// # Errors
    /// When nothing is latched or the e-stop is still engaged.
    pub fn reset(&mut self) -> Result<(), RequestError> {
        if !self.state.is_latched() {
            return Err(RequestError::State { expected: "FAULT or ESTOP", state: self.state });
        }
        if self.engaged {
            return Err(RequestError::Engaged);
        }
        self.state = State::Idle;
        self.store.clear();
        self.rest();
        (self.last_chunk, self.held_since) = (None, None);
        Ok(())
    }

    /// One tick: what the robot is told now.
    pub fn tick(&mut self, ros: RosTime, steady: SteadyTime) -> Tick<'_> {
        let dt_secs = self.elapsed(steady);
        self.interventions = Interventions::default();
        self.has_policy = false;
        self.watch_clock(ros, steady);
        self.watch_robot(ros, steady);
        let speaks = match self.state {
            State::Idle | State::EStop => false,
            State::Armed => self.begin_if_ready(ros, steady, dt_secs),
            State::Running | State::Hold(_) => self.run_or_hold(ros, steady, dt_secs),
            State::Fault(_) => self.brake(ros, steady, dt_secs),
        };
        if speaks {
            self.last_command = Some(steady);
        }
        self.counters.count(self.interventions);
        // A robot that obeys velocities must hear zero for as long as it may listen.
        let zero = self.spoken && self.space.commands_velocity() && self.state.is_latched() && !speaks;
        if zero {
            self.zero_command();
        }
        Tick {
            output: if speaks || zero { Output::Command(&self.command) } else { Output::None },
            state: self.state,
            interventions: self.interventions,
            policy: self.has_policy.then_some(&self.policy),
            human: self.human.share() > 0.0,
            observation: self.store.newest_observation(),
        }
    }

    /// Seconds since the last tick, at most one period: a late tick does not make a longer step.
    fn elapsed(&mut self, steady: SteadyTime) -> f64 {
        let period = self.settings.period_secs;
        let elapsed = self.last_tick.map_or(period, |last| steady.secs_since(last));
        self.last_tick = Some(steady);
        elapsed.min(period)
    }

    fn fault(&mut self, reason: FaultReason) {
        if !self.state.is_latched() && self.state != State::Idle {
            self.state = State::Fault(reason);
        }
    }

    fn begin_if_ready(&mut self, ros: RosTime, steady: SteadyTime, dt_secs: f64) -> bool {
        let outdated = !self.joints.is_empty()
            && self.last_command.is_some_and(|commanded| self.measured.arrived <= commanded);
        self.interventions.add(Stage::Joints, outdated);
        if self.find_wish(ros, steady, dt_secs).is_err() || outdated || !ros.is_known() {
            return false;
        }
        self.seed();
        (self.state, self.running_since) = (State::Running, Some(steady));
        self.spoken = true;
        self.follow(ros, steady, dt_secs);
        true
    }

    /// The limiters begin from where the robot is, at rest.
    fn seed(&mut self) {
        for (state, at) in self.joints.iter_mut().zip(&self.measured.positions) {
            *state = JointState { position: *at, ..JointState::default() };
        }
        self.twist = [0.0; 6];
        self.gripper = self.measured.gripper;
        self.has_before = false;
    }

    fn run_or_hold(&mut self, ros: RosTime, steady: SteadyTime, dt_secs: f64) -> bool {
        if self.state == State::Hold(HoldReason::Disarming) {
            self.brake(ros, steady, dt_secs);
            if self.at_rest() {
                self.state = State::Idle;
            }
            return true;
        }
        match self.find_wish(ros, steady, dt_secs) {
            Ok(()) => {
                if self.state != State::Running {
                    (self.state, self.running_since, self.held_since) = (State::Running, Some(steady), None);
                    self.has_before = false;
                }
                self.follow(ros, steady, dt_secs);
            }
            Err(reason) => self.hold(reason, ros, steady, dt_secs),
        }
        true
    }

    fn hold(&mut self, reason: HoldReason, ros: RosTime, steady: SteadyTime, dt_secs: f64) {
        let since = *self.held_since.get_or_insert(steady);
        self.state = State::Hold(reason);
        self.brake(ros, steady, dt_secs);
        // A human may let go of the deadman for as long as they like; nothing else may be missing for ever.
        if reason == HoldReason::Deadman {
            self.held_since = Some(steady);
        } else if steady.secs_since(since) > self.settings.fault_after_secs {
            self.fault(FaultReason::Watchdog(reason));
        }
    }
}

fn finite(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
