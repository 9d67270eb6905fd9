//! What is looked at before anything is wished: the clocks, and where the robot is measured.

use super::Controller;
use crate::signals::ClockEvent;
use crate::space::ActionSpace;
use crate::state::{FaultReason, State};
use crate::time::{RosTime, SteadyTime};

/// Joint states that are further ahead of ROS time, s, are stamped by another clock, and nobody knows how old they are. More than a
/// `/clock` of low rate lags behind.
const AHEAD_SECS: f64 = 1.0;

impl Controller {
    pub(super) fn watch_clock(&mut self, ros: RosTime, steady: SteadyTime) {
        match self.clock.look(ros, steady) {
            ClockEvent::Advancing => {}
            ClockEvent::Stopped => self.fault(FaultReason::ClockStopped),
            ClockEvent::JumpedBack => {
                // What was predicted in the time before the jump is worth nothing after it.
                self.store.clear();
                self.measured.present = false;
                self.fault(FaultReason::ClockJumpedBack);
            }
        }
    }

    pub(super) fn watch_robot(&mut self, ros: RosTime, steady: SteadyTime) {
        if !self.joints_fresh(ros, steady) {
            return;
        }
        let moving = matches!(self.state, State::Running | State::Hold(_));
        let positions = matches!(*self.space, ActionSpace::JointPositions(_));
        let mut found = None;
        for (joint, described) in self.space.joints().iter().enumerate() {
            let (limits, at) = (&described.limits, self.measured.positions[joint]);
            let tolerance = self.settings.joint_tolerance;
            if at < limits.min_position - tolerance || at > limits.max_position + tolerance {
                found = Some(FaultReason::JointOutOfLimits { joint });
            } else if moving
                && positions
                && (at - self.joints[joint].position).abs() > 2.0 * self.settings.max_deviation
            {
                found = Some(FaultReason::Deviation { joint });
            }
        }
        if found.is_none() && self.measured_outside_workspace() {
            found = Some(FaultReason::OutOfWorkspace);
        }
        if let Some(reason) = found {
            self.fault(reason);
        }
    }

    pub(super) fn joints_fresh(&self, ros: RosTime, steady: SteadyTime) -> bool {
        let most = self.settings.max_joint_state_age_secs;
        let needs_tool = matches!(*self.space, ActionSpace::EndEffectorPose { .. })
            || (self.settings.workspace.is_some() && self.space.joints().is_empty());
        let needed = !self.space.joints().is_empty() || needs_tool;
        let present = self.measured.present && (!needs_tool || self.measured.tool.is_some());
        !needed
            || present
                && steady.secs_since(self.measured.arrived) <= most
                && (-AHEAD_SECS..=most).contains(&ros.secs_since(self.measured.stamp))
    }
}
