//! From a wish to a command within the limits.

use super::Controller;
use crate::counters::Stage;
use crate::limiter::{
    Bounds, JointState, Met, approach, braking_way, limit_joints, limit_twist, soft_velocity,
};
use crate::space::{ActionSpace, Gripper};
use crate::time::{RosTime, SteadyTime};

/// Slower than this share of its limit a joint is at rest.
const REST_SHARE: f64 = 1e-9;

impl Controller {
    /// Follows the wish as far as the limits allow.
    pub(super) fn follow(&mut self, ros: RosTime, steady: SteadyTime, dt_secs: f64) {
        if dt_secs <= 0.0 {
            return;
        }
        let ramp = self.ramp(steady);
        self.interventions.add(Stage::Ramp, ramp < 1.0);
        match &*self.space {
            ActionSpace::JointPositions(_) => {
                self.wish_velocities_to_positions(dt_secs);
                self.move_joints(ramp, true, ros, steady, dt_secs);
            }
            ActionSpace::JointVelocities(_) => {
                self.scratch.copy_from_slice(&self.wish);
                self.move_joints(ramp, true, ros, steady, dt_secs);
            }
            ActionSpace::EndEffectorVelocity { .. } | ActionSpace::EndEffectorPose { .. } => {
                let wished = std::array::from_fn(|axis| self.wish[axis]);
                self.move_tool(wished, ramp, dt_secs);
                self.move_gripper(self.space.gripper(), dt_secs);
            }
        }
    }

    /// Brings the robot to rest; true while there is something to say.
    pub(super) fn brake(&mut self, ros: RosTime, steady: SteadyTime, dt_secs: f64) -> bool {
        if self.state.is_latched() && self.at_rest() {
            return false;
        }
        if dt_secs > 0.0 {
            self.has_before = false;
            if self.joints.is_empty() {
                self.move_tool([0.0; 6], 1.0, dt_secs);
            } else {
                self.scratch.fill(0.0);
                self.move_joints(1.0, false, ros, steady, dt_secs);
            }
        }
        true
    }

    /// Whether the last command was no motion.
    pub(super) fn at_rest(&self) -> bool {
        let joints = self.space.joints().iter().zip(&self.joints);
        let still = |velocity: f64, most: f64| velocity.abs() <= REST_SHARE * most;
        joints.into_iter().all(|(joint, last)| still(last.velocity, joint.limits.max_velocity))
            && self.twist.iter().all(|velocity| still(*velocity, 1.0))
    }

    /// At once, whatever acceleration it takes: the e-stop.
    pub(super) fn rest(&mut self) {
        self.joints.iter_mut().for_each(|joint| (joint.velocity, joint.acceleration) = (0.0, 0.0));
        self.twist = [0.0; 6];
        self.zero_command();
    }

    /// Zero velocities; the gripper keeps what it was told.
    pub(super) fn zero_command(&mut self) {
        if self.space.commands_velocity() {
            let moving = if self.joints.is_empty() { 6 } else { self.joints.len() };
            self.command[..moving].fill(0.0);
        }
    }

    fn ramp(&self, steady: SteadyTime) -> f64 {
        let since =
            self.running_since.map_or(0.0, |since| steady.secs_since(since)) + self.settings.period_secs;
        if self.settings.ramp_secs > 0.0 { (since / self.settings.ramp_secs).min(1.0) } else { 1.0 }
    }

    /// The velocities, in `scratch`, that follow the wished positions.
    fn wish_velocities_to_positions(&mut self, dt_secs: f64) {
        let mut before = self.before.take().unwrap_or_default();
        for (index, joint) in self.space.joints().iter().enumerate() {
            let limits = &joint.limits;
            let moved = if self.has_before { (self.wish[index] - before[index]) / dt_secs } else { 0.0 };
            let speed = moved.clamp(-limits.max_velocity, limits.max_velocity);
            self.scratch[index] = approach(limits, &self.joints[index], self.wish[index], speed, dt_secs);
        }
        before.copy_from_slice(&self.wish);
        (self.before, self.has_before) = (Some(before), true);
    }

    fn set_bounds(&mut self, follows: bool) {
        let positions = matches!(*self.space, ActionSpace::JointPositions(_));
        for (index, joint) in self.space.joints().iter().enumerate() {
            let margin = self.settings.position_margin;
            let (low, high) = (joint.limits.min_position + margin, joint.limits.max_position - margin);
            self.bounds[index] = Bounds { low, high };
            self.joints[index].jerk_limited = follows;
            if !positions {
                // Velocities have no position of their own: limits are reckoned from the measured one.
                self.joints[index].position = self.measured.positions[index];
            }
        }
    }

    /// Keeps commanded positions near the measured ones, as far as acceleration allows: a blocked robot is not pushed harder.
    fn stay_near_measured(&mut self, ros: RosTime, steady: SteadyTime, dt_secs: f64) {
        if !matches!(*self.space, ActionSpace::JointPositions(_)) || !self.joints_fresh(ros, steady) {
            return;
        }
        for (index, joint) in self.space.joints().iter().enumerate() {
            let off = self.joints[index].position - self.measured.positions[index];
            let most = self.settings.max_deviation;
            let acceleration = joint.limits.max_acceleration;
            let up = soft_velocity(most - off, acceleration, dt_secs);
            let down = -soft_velocity(most + off, acceleration, dt_secs);
            let kept = self.scratch[index].min(up).max(down);
            self.interventions.add(Stage::Deviation, kept != self.scratch[index]);
            self.scratch[index] = kept;
        }
    }

    fn move_joints(&mut self, ramp: f64, follows: bool, ros: RosTime, steady: SteadyTime, dt_secs: f64) {
        self.set_bounds(follows);
        self.stay_near_measured(ros, steady, dt_secs);
        for (wish, joint) in self.scratch.iter_mut().zip(self.space.joints()) {
            let most = ramp * joint.limits.max_velocity;
            let capped = wish.clamp(-most, most);
            self.interventions.add(Stage::Velocity, ramp >= 1.0 && (capped - *wish).abs() > 1e-9 * most);
            *wish = capped;
        }
        let keep = self.settings.keep_direction && follows;
        let met = self.limit(keep, dt_secs);
        self.report(met);
        if follows && self.stops_outside_workspace(dt_secs) {
            self.interventions.add(Stage::Workspace, true);
            self.scratch.fill(0.0);
            self.limit(false, dt_secs);
        }
        for (index, state) in self.joints.iter_mut().enumerate() {
            let velocity = self.scratch[index];
            let acceleration = (velocity - state.velocity) / dt_secs;
            let position = state.position + velocity * dt_secs;
            *state = JointState { position, velocity, acceleration, ..*state };
            let positions = matches!(*self.space, ActionSpace::JointPositions(_));
            self.command[index] = if positions { state.position } else { velocity };
        }
    }

    fn limit(&mut self, keep_direction: bool, dt_secs: f64) -> Met {
        let joints = self.space.joints();
        limit_joints(joints, &self.joints, &self.bounds, keep_direction, dt_secs, &mut self.scratch)
    }

    fn report(&mut self, met: Met) {
        self.interventions.add(Stage::Position, met.position);
        self.interventions.add(Stage::Velocity, met.velocity);
        self.interventions.add(Stage::Acceleration, met.acceleration);
    }

    /// Whether the pose in which the robot would come to rest, braking from the velocities in `scratch`, has the tool outside.
    fn stops_outside_workspace(&mut self, dt_secs: f64) -> bool {
        let (Some(workspace), Some(kinematics)) = (self.settings.workspace, &mut self.kinematics) else {
            return false;
        };
        // The wish is not needed any more in this tick: its room holds the pose.
        for (index, joint) in self.space.joints().iter().enumerate() {
            let velocity = self.scratch[index];
            let way = velocity * dt_secs + braking_way(velocity, joint.limits.max_acceleration);
            self.wish[index] = self.joints[index].position + way;
        }
        let tool = kinematics.tool(&self.wish);
        (0..3).any(|axis| !(workspace.min[axis]..=workspace.max[axis]).contains(&tool[axis]))
    }

    /// Whether the tool is measured outside the workspace by more than the tolerance.
    pub(super) fn measured_outside_workspace(&mut self) -> bool {
        let Some(workspace) = self.settings.workspace else { return false };
        let tool = match (&mut self.kinematics, self.joints.is_empty()) {
            (Some(kinematics), false) => Some(kinematics.tool(&self.measured.positions)),
            _ => self.measured.tool.map(|pose| pose.position),
        };
        tool.is_some_and(|tool| {
            (0..3).any(|axis| {
                let [min, max] = [workspace.min[axis], workspace.max[axis]];
                !(min - workspace.tolerance..=max + workspace.tolerance).contains(&tool[axis])
            })
        })
    }

    fn move_tool(&mut self, wished: [f64; 6], ramp: f64, dt_secs: f64) {
        let (ActionSpace::EndEffectorVelocity { limits, .. } | ActionSpace::EndEffectorPose { limits, .. }) =
            &*self.space
        else {
            return;
        };
        let to_box = match (self.settings.workspace, self.measured.tool) {
            (Some(workspace), Some(tool)) => std::array::from_fn(|axis| {
                let at = tool.position[axis];
                [at - workspace.min[axis], workspace.max[axis] - at]
            }),
            _ => [[f64::INFINITY; 2]; 3],
        };
        let slowed = |norm: f64, most: f64| if norm > ramp * most { ramp * most / norm } else { 1.0 };
        let linear = crate::limiter::length([wished[0], wished[1], wished[2]]);
        let angular = crate::limiter::length([wished[3], wished[4], wished[5]]);
        let factors = [slowed(linear, limits.max_linear), slowed(angular, limits.max_angular)];
        let capped = std::array::from_fn(|axis| wished[axis] * factors[axis / 3]);
        let (twist, met) = limit_twist(limits, &self.twist, capped, to_box, dt_secs);
        let over = linear > limits.max_linear || angular > limits.max_angular;
        self.interventions.add(Stage::Velocity, over);
        self.interventions.add(Stage::Acceleration, met.acceleration);
        self.interventions.add(Stage::Workspace, met.position);
        self.twist = twist;
        self.command[..6].copy_from_slice(&twist);
    }

    fn move_gripper(&mut self, gripper: Option<Gripper>, dt_secs: f64) {
        let Some(gripper) = gripper else { return };
        let wished = self.wish[6];
        let mut opening = wished.clamp(gripper.min, gripper.max);
        if gripper.binary {
            let open = opening > 0.5 * (gripper.min + gripper.max);
            opening = if open { gripper.max } else { gripper.min };
        }
        if let (Some(speed), Some(last)) = (gripper.max_speed, self.gripper) {
            let last = last.clamp(gripper.min, gripper.max);
            opening = opening.clamp(last - speed * dt_secs, last + speed * dt_secs);
        }
        self.interventions.add(Stage::Gripper, !gripper.binary && (opening - wished).abs() > 1e-12);
        self.gripper = Some(opening);
        self.command[6] = opening;
    }
}
