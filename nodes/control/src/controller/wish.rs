//! What is wished for this tick: the human's action, the policy's, or both in a hand-over.

use super::Controller;
use crate::counters::Stage;
use crate::space::ActionSpace;
use crate::state::HoldReason;
use crate::time::{RosTime, SteadyTime};

/// A human's actions, and how much of the control is theirs.
#[derive(Clone, Debug)]
pub(super) struct Human {
    action: Vec<f64>,
    heard: Option<SteadyTime>,
    share: f64,
}

impl Human {
    pub(super) fn new(dimensions: usize) -> Self {
        Self { action: vec![0.0; dimensions], heard: None, share: 0.0 }
    }

    pub(super) fn heard(&mut self, action: &[f64], now: SteadyTime) {
        self.action.copy_from_slice(action);
        self.heard = Some(now);
    }

    /// 0: the policy's; 1: the human's.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    fn is_there(&self, now: SteadyTime, timeout_secs: f64) -> bool {
        self.heard.is_some_and(|since| now.secs_since(since) <= timeout_secs)
    }
}

impl Controller {
    /// Fills `wish`, in command dimensions, or says why there is nothing to follow.
    pub(super) fn find_wish(
        &mut self,
        ros: RosTime,
        steady: SteadyTime,
        dt_secs: f64,
    ) -> Result<(), HoldReason> {
        let human = self.human.is_there(steady, self.settings.human_timeout_secs);
        let step =
            if self.settings.handover_secs > 0.0 { dt_secs / self.settings.handover_secs } else { 1.0 };
        self.human.share = (self.human.share + if human { step } else { -step }).clamp(0.0, 1.0);
        let released = self.deadman.as_ref().is_some_and(|deadman| !deadman.is_held(steady));
        self.interventions.add(Stage::Deadman, released);
        let fresh = self.joints_fresh(ros, steady);
        self.interventions.add(Stage::Joints, !fresh);
        // The policy's action is looked up all the same: it is published beside the command.
        let policy = self.policy_wish(ros, steady);
        if released {
            return Err(HoldReason::Deadman);
        }
        if !fresh {
            return Err(HoldReason::JointStatesStale);
        }
        match (policy, human) {
            (Err(reason), false) => return Err(reason),
            (Err(_), true) => self.human.share = 1.0,
            (Ok(()), _) => {}
        }
        self.mix_in_human(human);
        Ok(())
    }

    /// The policy's action that is due, and the wish that it means.
    fn policy_wish(&mut self, ros: RosTime, steady: SteadyTime) -> Result<(), HoldReason> {
        let silent =
            self.last_chunk.is_none_or(|since| steady.secs_since(since) > self.settings.watchdog_secs);
        self.has_policy = self.store.action(ros, &mut self.policy);
        self.interventions.add(Stage::Expired, !self.has_policy);
        let old = self
            .store
            .newest_observation()
            .is_some_and(|stamp| ros.secs_since(stamp) > self.settings.max_observation_age_secs);
        self.interventions.add(Stage::Stale, silent || old);
        if silent {
            return Err(HoldReason::PolicySilent);
        }
        if !self.has_policy {
            return Err(HoldReason::ChunkExpired);
        }
        if old {
            return Err(HoldReason::ObservationStale);
        }
        if let ActionSpace::EndEffectorPose { time_constant_secs, .. } = *self.space {
            self.twist_to_pose(time_constant_secs)?;
        } else {
            self.wish.copy_from_slice(&self.policy);
        }
        Ok(())
    }

    /// The twist that would cover the remaining way within the time constant.
    fn twist_to_pose(&mut self, time_constant_secs: f64) -> Result<(), HoldReason> {
        let Some(tool) = self.measured.tool else { return Err(HoldReason::JointStatesStale) };
        for axis in 0..3 {
            self.wish[axis] = (self.policy[axis] - tool.position[axis]) / time_constant_secs;
        }
        let target = [self.policy[3], self.policy[4], self.policy[5], self.policy[6]];
        let turn = rotation_between(tool.orientation, target);
        self.wish[3..6].iter_mut().zip(turn).for_each(|(wish, turn)| *wish = turn / time_constant_secs);
        if self.wish.len() > 6 {
            self.wish[6] = self.policy[7];
        }
        Ok(())
    }

    fn mix_in_human(&mut self, there: bool) {
        let share = self.human.share;
        if share == 0.0 {
            return;
        }
        let velocities = self.space.commands_velocity();
        for (index, wish) in self.wish.iter_mut().enumerate() {
            let moving = velocities && index < 6.max(self.joints.len());
            // Whoever let go wishes no motion; a position that they left stays.
            let action = if !there && moving { 0.0 } else { self.human.action[index] };
            *wish += share * (action - *wish);
        }
    }
}

/// Rotation vector, rad, that turns `from` into `to` (unit quaternions `x y z w`) in the fixed frame, along the shorter way.
fn rotation_between(from: [f64; 4], to: [f64; 4]) -> [f64; 3] {
    // to * conjugate(from)
    let [x, y, z, w] = [-from[0], -from[1], -from[2], from[3]];
    let [a, b, c, d] = to;
    let mut turn = [
        d * x + a * w + b * z - c * y,
        d * y - a * z + b * w + c * x,
        d * z + a * y - b * x + c * w,
        d * w - a * x - b * y - c * z,
    ];
    if turn[3] < 0.0 {
        turn = turn.map(|value| -value);
    }
    let sine = (turn[0] * turn[0] + turn[1] * turn[1] + turn[2] * turn[2]).sqrt();
    if sine < 1e-12 {
        return [0.0; 3];
    }
    let angle = 2.0 * sine.atan2(turn[3]);
    [turn[0], turn[1], turn[2]].map(|value| value / sine * angle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_between_two_orientations_is_the_shorter() {
        let about_z = |degrees: f64| {
            let half = degrees.to_radians() / 2.0;
            [0.0, 0.0, half.sin(), half.cos()]
        };
        for (from, to, expected) in [(10.0, 40.0, 30.0), (10.0, -20.0, -30.0), (-170.0, 170.0, -20.0)] {
            let turn = rotation_between(about_z(from), about_z(to));
            assert!((turn[2].to_degrees() - expected).abs() < 1e-9, "{from} {to}: {turn:?}");
            assert!(turn[0].abs() + turn[1].abs() < 1e-12);
        }
        let x = [0.5_f64.sin(), 0.0, 0.0, 0.5_f64.cos()];
        assert!((rotation_between([0.0, 0.0, 0.0, 1.0], x)[0] - 1.0).abs() < 1e-12);
    }
}
