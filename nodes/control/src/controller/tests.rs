use std::sync::Arc;

use super::*;
use crate::blend::Strategy as Blending;
use crate::space::Gripper;
use crate::space::tests::{joint, twist};

pub(super) const PERIOD: f64 = 0.01;

/// A controller and a robot that obeys it perfectly.
pub(super) struct World {
    pub(super) controller: Controller,
    pub(super) ros: RosTime,
    pub(super) steady: SteadyTime,
    pub(super) positions: Vec<f64>,
    tool: [f64; 3],
    pub(super) measures: bool,
    pub(super) presses: bool,
    /// Whether ROS time goes on.
    pub(super) flows: bool,
}

impl World {
    pub(super) fn new(space: ActionSpace, settings: Settings) -> Self {
        let positions = vec![0.0; space.joints().len()];
        let controller = Controller::new(Arc::new(space), settings, None).unwrap();
        Self {
            controller,
            ros: RosTime(1_000_000_000),
            steady: SteadyTime(5_000_000_000),
            positions,
            tool: [0.0; 3],
            measures: true,
            presses: true,
            flows: true,
        }
    }

    pub(super) fn chunk(&mut self, age_secs: f64, period_secs: f64, values: Vec<f64>) {
        let space = self.controller.space().clone();
        if let Ok(chunk) = ActionChunk::new(space, self.ros - age_secs, period_secs, values) {
            let _ = self.controller.chunk(chunk, self.ros, self.steady);
        }
    }

    fn measure(&mut self) {
        let pose = Pose { position: self.tool, orientation: [0.0, 0.0, 0.0, 1.0] };
        let measured =
            Measured { stamp: self.ros, positions: &self.positions, tool: Some(pose), gripper: Some(0.0) };
        self.controller.measure(&measured, self.steady).unwrap();
    }

    /// One period of the world; the command, if one was sent, and the state.
    pub(super) fn tick(&mut self, secs: f64) -> (Option<Vec<f64>>, State) {
        self.ros = self.ros + if self.flows { secs } else { 0.0 };
        self.steady = self.steady + secs;
        if self.measures {
            self.measure();
        }
        if self.presses {
            self.controller.deadman(true, self.steady);
        }
        let tick = self.controller.tick(self.ros, self.steady);
        let state = tick.state;
        let command = match tick.output {
            Output::None => None,
            Output::Command(values) => Some(values.to_vec()),
        };
        if let Some(command) = &command {
            self.obey(command, secs);
        }
        (command, state)
    }

    fn obey(&mut self, command: &[f64], secs: f64) {
        match &**self.controller.space() {
            ActionSpace::JointPositions(_) => self.positions.copy_from_slice(command),
            ActionSpace::JointVelocities(_) => {
                self.positions.iter_mut().zip(command).for_each(|(at, velocity)| *at += velocity * secs);
            }
            _ => self.tool.iter_mut().zip(command).for_each(|(at, velocity)| *at += velocity * secs),
        }
    }

    pub(super) fn ticks(&mut self, count: usize) -> (Option<Vec<f64>>, State) {
        (1..count).for_each(|_| drop(self.tick(PERIOD)));
        self.tick(PERIOD)
    }
}

pub(super) fn positions(count: usize) -> ActionSpace {
    ActionSpace::JointPositions((0..count).map(|index| joint(&format!("j{index}"))).collect())
}

pub(super) fn velocities() -> ActionSpace {
    ActionSpace::JointVelocities(vec![joint("j0"), joint("j1")])
}

pub(super) fn end_effector() -> ActionSpace {
    let gripper = Gripper { min: 0.0, max: 1.0, max_speed: Some(2.0), binary: false };
    ActionSpace::EndEffectorVelocity { limits: twist(), gripper: Some(gripper) }
}

/// Poses, which are followed by velocities.
pub(super) fn poses() -> ActionSpace {
    let gripper = Gripper { min: 0.0, max: 1.0, max_speed: Some(2.0), binary: false };
    ActionSpace::EndEffectorPose { limits: twist(), time_constant_secs: 0.2, gripper: Some(gripper) }
}

pub(super) fn newest() -> Settings {
    Settings { strategy: Blending::Newest, ..Settings::default() }
}

#[test]
fn a_target_is_reached_from_where_the_robot_is() {
    let mut world = World::new(positions(1), newest());
    world.positions[0] = 0.3;
    assert_eq!(world.tick(PERIOD), (None, State::Idle));
    world.controller.arm().unwrap();
    assert_eq!(world.tick(PERIOD), (None, State::Armed), "no chunk yet");
    world.chunk(0.02, 0.1, vec![1.0; 4]);
    let (first, state) = world.tick(PERIOD);
    assert_eq!(state, State::Running);
    assert!((first.unwrap()[0] - 0.3).abs() < 0.001, "begins where it is");
    for _ in 0..40 {
        world.chunk(0.02, 0.1, vec![1.0; 4]);
        world.ticks(10);
    }
    assert!((world.positions[0] - 1.0).abs() < 1e-6, "{:?}", world.positions);
}

#[test]
fn a_dead_policy_holds_within_the_watchdog_and_then_faults() {
    let mut world = World::new(positions(1), newest());
    world.controller.arm().unwrap();
    world.chunk(0.0, 1.0, (0..50).map(|k| f64::from(k) * 0.5).collect());
    world.ticks(50);
    assert_eq!(world.controller.state(), State::Running);
    let (_, state) = world.ticks(2);
    assert_eq!(state, State::Hold(HoldReason::PolicySilent), "although the chunk speaks of the next 50 s");
    let (command, _) = world.ticks(100);
    let (later, _) = world.ticks(50);
    assert_eq!(command, later, "at rest");
    let (command, state) = world.ticks(60);
    assert_eq!(state, State::Fault(FaultReason::Watchdog(HoldReason::PolicySilent)));
    assert_eq!(command, None);
    world.chunk(0.0, 0.1, vec![0.5; 4]);
    assert_eq!(world.tick(PERIOD), (None, state), "latched");
    world.controller.reset().unwrap();
    assert_eq!(world.tick(PERIOD), (None, State::Idle));
}

#[test]
fn dead_joint_states_and_a_released_deadman_hold() {
    for space in [positions(2), velocities()] {
        let mut world = World::new(space, newest());
        world.controller.arm().unwrap();
        let feed = |world: &mut World| world.chunk(0.0, 0.1, vec![0.5; 8]);
        feed(&mut world);
        world.ticks(20);
        assert_eq!(world.controller.state(), State::Running);
        world.measures = false;
        feed(&mut world);
        let (_, state) = world.ticks(12);
        assert_eq!(state, State::Hold(HoldReason::JointStatesStale));
        world.measures = true;
        feed(&mut world);
        assert_eq!(world.tick(PERIOD).1, State::Running, "goes on by itself");
        world.presses = false;
        feed(&mut world);
        assert_eq!(world.ticks(22).1, State::Hold(HoldReason::Deadman));
        assert_eq!(world.ticks(1000).1, State::Hold(HoldReason::Deadman), "for as long as the human likes");
        world.presses = true;
        feed(&mut world);
        assert_eq!(world.tick(PERIOD).1, State::Running);
    }
}

#[test]
fn joint_states_of_another_clock_do_not_count() {
    let mut world = World::new(velocities(), newest());
    world.controller.arm().unwrap();
    world.measures = false;
    for (ahead_secs, state) in [(1e9, State::Armed), (1.1, State::Armed), (0.5, State::Running)] {
        let stamp = world.ros + ahead_secs;
        let measured = Measured { stamp, positions: &[0.0; 2], ..Measured::default() };
        world.controller.measure(&measured, world.steady).unwrap();
        world.controller.human(&[0.5; 2], world.steady).unwrap();
        assert_eq!(world.tick(PERIOD).1, state, "{ahead_secs} s ahead");
    }
}

#[test]
fn clocks_that_jump_back_or_stand_still_are_faults() {
    let mut world = World::new(positions(1), newest());
    world.controller.arm().unwrap();
    world.chunk(0.0, 0.1, vec![0.5; 8]);
    world.ticks(10);
    world.ros = world.ros - 5.0;
    assert_eq!(world.tick(PERIOD).1, State::Fault(FaultReason::ClockJumpedBack));

    let mut world = World::new(positions(1), newest());
    world.controller.arm().unwrap();
    world.chunk(0.0, 0.1, vec![0.5; 8]);
    world.ticks(10);
    let stopped = world.ros;
    let mut state = State::Running;
    for _ in 0..60 {
        world.ros = stopped - PERIOD;
        state = world.tick(PERIOD).1;
    }
    assert_eq!(state, State::Fault(FaultReason::ClockStopped));
}

#[test]
fn a_clock_that_still_stands_after_a_reset_is_a_fault_before_anything_moves() {
    let mut world = World::new(velocities(), newest());
    world.controller.arm().unwrap();
    let tick = |world: &mut World| {
        world.controller.human(&[0.5; 2], world.steady).unwrap();
        world.tick(PERIOD)
    };
    (0..10).for_each(|_| drop(tick(&mut world)));
    assert_eq!(world.controller.state(), State::Running);
    world.flows = false;
    let stopped = State::Fault(FaultReason::ClockStopped);
    (0..200).for_each(|_| drop(tick(&mut world)));
    assert_eq!(world.controller.state(), stopped);
    let rested = world.positions.clone();
    for idle in [0, 10] {
        world.controller.reset().unwrap();
        (0..idle).for_each(|_| assert_eq!(tick(&mut world), (None, State::Idle)));
        world.controller.arm().unwrap();
        assert_eq!(tick(&mut world).1, stopped, "a human was heard, after {idle} ticks in IDLE");
    }
    (0..100).for_each(|_| assert_eq!(tick(&mut world).1, stopped));
    assert_eq!(world.positions, rested);
    world.flows = true;
    world.controller.reset().unwrap();
    world.controller.arm().unwrap();
    assert_eq!(tick(&mut world).1, State::Running, "the clock goes on");
}

#[test]
fn without_a_ros_time_an_armed_robot_waits_for_it_even_with_a_human() {
    let mut world = World::new(velocities(), newest());
    let started = std::mem::replace(&mut world.ros, RosTime(0));
    world.flows = false;
    world.controller.arm().unwrap();
    let chunk = ActionChunk::new(world.controller.space().clone(), started, 0.1, vec![0.5; 8]).unwrap();
    assert_eq!(world.controller.chunk(chunk, world.ros, world.steady), Err(Refusal::NoTime));
    for _ in 0..1000 {
        world.controller.human(&[0.5; 2], world.steady).unwrap();
        assert_eq!(world.tick(PERIOD), (None, State::Armed), "longer than any timeout");
    }
    (world.ros, world.flows) = (started, true);
    world.controller.human(&[0.5; 2], world.steady).unwrap();
    assert_eq!(world.tick(PERIOD).1, State::Running);
}

#[test]
fn a_ros_time_that_is_known_no_more_is_a_fault_when_armed_and_waited_for_when_idle() {
    let mut world = World::new(velocities(), newest());
    world.ticks(10);
    let before = std::mem::replace(&mut world.ros, RosTime(0));
    world.flows = false;
    assert_eq!(world.ticks(1000), (None, State::Idle), "nothing to say while idle");
    world.controller.arm().unwrap();
    assert_eq!(world.ticks(1000), (None, State::Armed), "none yet is none that stands still");
    (world.ros, world.flows) = (before, true);
    world.controller.human(&[0.5; 2], world.steady).unwrap();
    assert_eq!(world.tick(PERIOD).1, State::Running);
    (world.ros, world.flows) = (RosTime(0), false);
    assert_eq!(world.tick(PERIOD).1, State::Fault(FaultReason::ClockJumpedBack));
    world.controller.reset().unwrap();
    world.controller.arm().unwrap();
    world.controller.human(&[0.5; 2], world.steady).unwrap();
    assert_eq!(world.tick(PERIOD).1, State::Armed, "a reset brings no time");
}

#[test]
fn an_estop_is_zero_at_once_and_latched_until_released_and_reset() {
    let mut world = World::new(velocities(), newest());
    world.controller.arm().unwrap();
    world.chunk(0.0, 0.1, vec![0.5; 8]);
    let (command, _) = world.ticks(30);
    assert!(command.unwrap()[0] > 0.1);
    world.controller.estop(true);
    assert_eq!(world.tick(PERIOD), (Some(vec![0.0; 2]), State::EStop));
    assert_eq!(world.controller.reset(), Err(RequestError::Engaged));
    world.controller.estop(false);
    assert_eq!(world.tick(PERIOD), (Some(vec![0.0; 2]), State::EStop), "releasing it is no reset");
    assert!(world.controller.arm().is_err());
    world.controller.reset().unwrap();
    assert_eq!(world.tick(PERIOD), (None, State::Idle));
}

#[test]
fn a_blocked_robot_is_not_pushed_and_a_displaced_one_is_a_fault() {
    let mut world = World::new(positions(1), newest());
    world.controller.arm().unwrap();
    let mut command = 0.0;
    for _ in 0..40 {
        world.chunk(0.0, 0.1, vec![1.5; 4]);
        for _ in 0..10 {
            command = world.tick(PERIOD).0.unwrap()[0];
            world.positions[0] = 0.0;
        }
    }
    assert_eq!(world.controller.state(), State::Running);
    assert!((command - 0.25).abs() < 1e-6, "no further than the greatest deviation: {command}");
    assert!(world.controller.counters().get(Stage::Deviation) > 0);
    world.positions[0] = -0.3;
    world.chunk(0.0, 0.1, vec![1.5; 4]);
    assert_eq!(world.tick(PERIOD).1, State::Fault(FaultReason::Deviation { joint: 0 }));
}

#[test]
fn a_human_takes_over_and_gives_back_without_a_jump() {
    let mut world = World::new(velocities(), newest());
    world.controller.arm().unwrap();
    let mut last = vec![0.0; 2];
    let mut humans = 0;
    for tick in 0..300 {
        world.chunk(0.0, 0.1, vec![0.2, 0.0, 0.2, 0.0]);
        if (100..200).contains(&tick) {
            world.controller.human(&[-0.2, 0.1], world.steady).unwrap();
        }
        let (command, state) = world.tick(PERIOD);
        assert_eq!(state, State::Running);
        humans += usize::from(world.controller.human.share() > 0.0);
        let command = command.unwrap();
        assert!(command.iter().zip(&last).all(|(now, last)| (now - last).abs() <= 4.0 * PERIOD + 1e-9));
        last = command;
        if tick == 190 {
            assert!((last[0] + 0.2).abs() < 1e-9 && (last[1] - 0.1).abs() < 1e-9, "{last:?}");
        }
    }
    assert!((last[0] - 0.2).abs() < 1e-9 && last[1].abs() < 1e-9, "{last:?}");
    assert!((130..180).contains(&humans), "{humans}");
}

/// Found by the property test below.
#[test]
fn a_robot_measured_before_its_last_command_is_not_where_motion_begins() {
    let mut world = World::new(positions(1), newest());
    world.controller.arm().unwrap();
    world.chunk(0.0, 0.1, vec![1.0; 8]);
    world.ticks(10);
    world.controller.disarm().unwrap();
    while world.controller.state() != State::Idle {
        world.tick(PERIOD);
    }
    world.measures = false;
    world.controller.arm().unwrap();
    world.chunk(0.0, 0.1, vec![1.0; 8]);
    assert_eq!(world.tick(PERIOD), (None, State::Armed), "although the joint state is fresh");
    world.measures = true;
    world.chunk(0.0, 0.1, vec![1.0; 8]);
    assert_eq!(world.tick(PERIOD).1, State::Running);
}

#[test]
fn a_pose_is_followed_by_velocities() {
    let space = ActionSpace::EndEffectorPose { limits: twist(), time_constant_secs: 0.2, gripper: None };
    let mut world = World::new(space, newest());
    world.controller.arm().unwrap();
    for _ in 0..40 {
        world.chunk(0.0, 0.1, [0.2, -0.1, 0.05, 0.0, 0.0, 0.0, 1.0].repeat(4));
        world.ticks(10);
    }
    assert!(world.tool.iter().zip([0.2, -0.1, 0.05]).all(|(a, b)| (a - b).abs() < 1e-4), "{:?}", world.tool);
}

#[test]
fn a_workspace_in_joints_stops_the_arm_inside() {
    struct Arm;
    impl Kinematics for Arm {
        fn tool(&mut self, joints: &[f64]) -> [f64; 3] {
            [joints[0].sin(), 0.0, joints[0].cos()]
        }
    }
    let workspace = Workspace { min: [-0.5, -1.0, -1.0], max: [0.5, 1.0, 1.1], tolerance: 0.02 };
    let settings = Settings { workspace: Some(workspace), ..newest() };
    let none = Controller::new(Arc::new(positions(1)), settings.clone(), None);
    assert_eq!(none.err(), Some(SettingsError::NoKinematics));
    let mut world = World::new(positions(1), newest());
    world.controller = Controller::new(Arc::new(positions(1)), settings, Some(Box::new(Arm))).unwrap();
    world.controller.arm().unwrap();
    for _ in 0..40 {
        world.chunk(0.0, 0.1, vec![1.5; 4]);
        world.ticks(10);
        assert!(world.positions[0].sin() <= 0.5 + 1e-6);
    }
    assert!(world.positions[0].sin() > 0.45, "{:?}", world.positions);
    assert!(world.controller.counters().get(Stage::Workspace) > 0);
}

#[test]
fn a_gripper_is_never_told_what_nobody_wished() {
    let mut world = World::new(end_effector(), newest());
    world.controller.arm().unwrap();
    world.controller.estop(true);
    assert_eq!(world.tick(PERIOD).0, None, "nothing was commanded before, so nothing now");
}
