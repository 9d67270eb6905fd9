//! A tick allocates nothing: a control loop must not wait for an allocator.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use control::controller::Pose;
use control::{
    ActionChunk, ActionSpace, Controller, Gripper, Joint, JointLimits, Measured, Output, RosTime, Settings,
    State, SteadyTime, Strategy, TwistLimits,
};

fn joint(index: usize) -> Joint {
    let limits = JointLimits {
        min_position: -2.0,
        max_position: 2.0,
        max_velocity: 1.0,
        max_acceleration: 5.0,
        max_jerk: Some(50.0),
    };
    Joint { name: format!("joint_{index}"), limits }
}

fn spaces() -> [ActionSpace; 4] {
    let joints = || (0..7).map(joint).collect();
    let limits = TwistLimits {
        max_linear: 0.3,
        max_angular: 1.0,
        max_linear_acceleration: 1.5,
        max_angular_acceleration: 5.0,
    };
    let gripper = Some(Gripper { min: 0.0, max: 1.0, max_speed: Some(2.0), binary: false });
    [
        ActionSpace::JointPositions(joints()),
        ActionSpace::JointVelocities(joints()),
        ActionSpace::EndEffectorVelocity { limits, gripper },
        ActionSpace::EndEffectorPose { limits, time_constant_secs: 0.2, gripper },
    ]
}

/// A robot that obeys, at one joint or along one axis.
#[derive(Default)]
struct Robot {
    positions: Vec<f64>,
    tool: f64,
}

impl Robot {
    fn obey(&mut self, space: &ActionSpace, command: &[f64]) {
        match space {
            ActionSpace::JointPositions(_) => self.positions.copy_from_slice(command),
            ActionSpace::JointVelocities(_) => {
                self.positions.iter_mut().zip(command).for_each(|(at, velocity)| *at += 0.01 * velocity);
            }
            _ => self.tool += 0.01 * command[0],
        }
    }

    fn measured(&self, stamp: RosTime) -> Measured<'_> {
        let pose = Pose { position: [self.tool, 0.0, 0.0], orientation: [0.0, 0.0, 0.0, 1.0] };
        Measured { stamp, positions: &self.positions, tool: Some(pose), gripper: Some(0.5) }
    }
}

/// Runs for five seconds, then nobody speaks any more: HOLD, then FAULT.
fn run(space: ActionSpace, strategy: Strategy) -> Vec<&'static str> {
    let settings = Settings { strategy, ..Settings::default() };
    let mut robot = Robot { positions: vec![0.0; space.joints().len()], tool: 0.0 };
    let space = Arc::new(space);
    let mut controller = Controller::new(space.clone(), settings, None).unwrap();
    let (mut ros, mut steady, mut seen) = (RosTime(0), SteadyTime(0), Vec::new());
    controller.arm().unwrap();
    for tick in 0..850 {
        (ros, steady) = (ros + 0.01, steady + 0.01);
        if tick % 10 == 0 && tick < 500 {
            let mut step = vec![0.1; space.dimensions()];
            if step.len() == 8 {
                step[3..7].copy_from_slice(&[0.0, 0.0, 0.0, 1.0]);
            }
            let chunk = ActionChunk::new(space.clone(), ros, 0.05, step.repeat(16)).unwrap();
            controller.chunk(chunk, ros, steady).unwrap();
        }
        let mut state = State::Idle;
        let counted = allocation_counter::measure(|| {
            controller.deadman(true, steady);
            controller.measure(&robot.measured(ros), steady).unwrap();
            let told = controller.tick(ros, steady);
            state = told.state;
            if let Output::Command(command) = told.output {
                robot.obey(&space, command);
            }
        });
        assert_eq!(counted.count_total, 0, "tick {tick} with {strategy:?} in {state}");
        if seen.last() != Some(&state.name()) {
            seen.push(state.name());
        }
    }
    assert!(robot.positions.first().copied().unwrap_or(robot.tool).abs() > 0.09, "it moved");
    seen
}

#[test]
fn a_tick_and_a_measurement_allocate_nothing() {
    for strategy in [Strategy::Newest, Strategy::CrossFade { secs: 0.1 }, Strategy::Ensemble { m: 0.01 }] {
        for space in spaces() {
            assert_eq!(run(space, strategy), ["RUNNING", "HOLD", "FAULT"]);
        }
    }
}
