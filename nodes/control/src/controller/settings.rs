//! What a controller is set to.

use crate::blend::Strategy;
use crate::space::{ActionSpace, SpaceError};

/// A box that the tool stays in, m, in the frame that kinematics and poses use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workspace {
    /// Least x, y, z.
    pub min: [f64; 3],
    /// Greatest x, y, z.
    pub max: [f64; 3],
    /// A tool measured further outside than this, m, is a fault.
    pub tolerance: f64,
}

/// Settings of a [`crate::Controller`]. The defaults are those of a table-top arm at 100 Hz.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How chunks are combined.
    pub strategy: Strategy,
    /// Control period, s; no tick moves further than one period allows.
    pub period_secs: f64,
    /// Kept free inside each position limit, rad or m.
    pub position_margin: f64,
    /// A joint measured further outside its limits than this, rad or m, is a fault.
    pub joint_tolerance: f64,
    /// Greatest difference between command and measured joint, rad or m; twice this is a fault.
    pub max_deviation: f64,
    /// The oldest observation that is acted on, s of ROS time.
    pub max_observation_age_secs: f64,
    /// The oldest joint state that is acted on, s of ROS time and of the steady clock.
    pub max_joint_state_age_secs: f64,
    /// Without a new chunk for this long the robot holds, s of the steady clock.
    pub watchdog_secs: f64,
    /// A hold that lasts longer, but for the deadman's, becomes a fault, s of the steady clock.
    pub fault_after_secs: f64,
    /// How long a press of the deadman counts, s of the steady clock; none: no deadman is needed.
    pub deadman_timeout_secs: Option<f64>,
    /// Time in which the speed limit grows from nothing to its own, after every begin, s.
    pub ramp_secs: f64,
    /// How long a human's action counts, s of the steady clock.
    pub human_timeout_secs: f64,
    /// Time of the hand-over from policy to human and back, s.
    pub handover_secs: f64,
    /// ROS time may stand still for this long, s of the steady clock.
    pub clock_timeout_secs: f64,
    /// One factor slows all joints, so that the path keeps its shape.
    pub keep_direction: bool,
    /// Where the tool may be.
    pub workspace: Option<Workspace>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::CrossFade { secs: 0.1 },
            period_secs: 0.01,
            position_margin: 0.01,
            joint_tolerance: 0.02,
            max_deviation: 0.25,
            max_observation_age_secs: 0.5,
            max_joint_state_age_secs: 0.1,
            watchdog_secs: 0.5,
            fault_after_secs: 2.0,
            deadman_timeout_secs: Some(0.2),
            ramp_secs: 0.5,
            human_timeout_secs: 0.2,
            handover_secs: 0.3,
            clock_timeout_secs: 0.5,
            keep_direction: true,
            workspace: None,
        }
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The action space's limits.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A number out of its range.
    #[error("{name}: expected {expected}, got {came}")]
    Number {
        /// The setting.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        came: f64,
    },
    /// A workspace in a space of joints.
    #[error("workspace: expected kinematics, which say where the tool is for joint positions")]
    NoKinematics,
}

impl Settings {
    pub(super) fn check(&self, space: &ActionSpace, kinematics: bool) -> Result<(), SettingsError> {
        space.check()?;
        let positive = [
            ("period_secs", self.period_secs),
            ("max_deviation", self.max_deviation),
            ("max_observation_age_secs", self.max_observation_age_secs),
            ("max_joint_state_age_secs", self.max_joint_state_age_secs),
            ("watchdog_secs", self.watchdog_secs),
            ("fault_after_secs", self.fault_after_secs),
            ("human_timeout_secs", self.human_timeout_secs),
            ("clock_timeout_secs", self.clock_timeout_secs),
            ("deadman_timeout_secs", self.deadman_timeout_secs.unwrap_or(1.0)),
        ];
        for (name, came) in positive {
            number(name, "a positive number", came, came > 0.0)?;
        }
        let not_negative = [
            ("position_margin", self.position_margin),
            ("joint_tolerance", self.joint_tolerance),
            ("ramp_secs", self.ramp_secs),
            ("handover_secs", self.handover_secs),
        ];
        for (name, came) in not_negative {
            number(name, "a number not below 0", came, came >= 0.0)?;
        }
        let room = self.max_deviation > self.position_margin + self.joint_tolerance;
        number("max_deviation", "more than position_margin and joint_tolerance", self.max_deviation, room)?;
        self.check_strategy()?;
        for joint in space.joints() {
            let range = joint.limits.max_position - joint.limits.min_position;
            let expected = "less than half of every joint's range";
            number("position_margin", expected, self.position_margin, 2.0 * self.position_margin < range)?;
        }
        self.check_workspace(space, kinematics)
    }

    fn check_strategy(&self) -> Result<(), SettingsError> {
        let (name, came) = match self.strategy {
            Strategy::Newest => return Ok(()),
            Strategy::CrossFade { secs } => ("strategy, secs", secs),
            Strategy::Ensemble { m } => ("strategy, m", m),
        };
        number(name, "a number not below 0", came, came >= 0.0)
    }

    fn check_workspace(&self, space: &ActionSpace, kinematics: bool) -> Result<(), SettingsError> {
        let Some(workspace) = &self.workspace else { return Ok(()) };
        for axis in 0..3 {
            let [min, max] = [workspace.min[axis], workspace.max[axis]];
            number("workspace", "each min below its max", max, min.is_finite() && min < max)?;
        }
        let tolerance = workspace.tolerance;
        number("workspace, tolerance", "a number not below 0", tolerance, tolerance >= 0.0)?;
        if !space.joints().is_empty() && !kinematics {
            return Err(SettingsError::NoKinematics);
        }
        Ok(())
    }
}

fn number(name: &'static str, expected: &'static str, came: f64, holds: bool) -> Result<(), SettingsError> {
    if came.is_finite() && holds { Ok(()) } else { Err(SettingsError::Number { name, expected, came }) }
}
