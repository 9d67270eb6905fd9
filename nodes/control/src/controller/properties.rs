//! What holds whatever happens.

use proptest::prelude::*;

use super::tests::{PERIOD, World, end_effector, poses, positions, velocities};
use super::*;
use crate::blend::Strategy as Blending;
use crate::ros2_control;
use crate::space::tests::twist;
use crate::space::{Joint, JointLimits};

/// What may happen to a controller between two ticks.
#[derive(Clone, Debug)]
enum Event {
    Chunk { age: f64, period: f64, values: Vec<f64> },
    Measure(bool),
    Press(bool),
    Jump(f64),
    Estop(bool),
    Reset,
    Arm,
    Disarm,
    Human(Vec<f64>),
    Nothing,
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -3.0..3.0_f64,
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(1e300), Just(-1e12), Just(0.0)],
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let values = proptest::collection::vec(number(), 0..28);
    prop_oneof![
        20 => (-0.1..0.7_f64, 0.0..0.3_f64, values).prop_map(|(age, period, values)| Event::Chunk { age, period, values }),
        1 => any::<bool>().prop_map(Event::Measure),
        1 => any::<bool>().prop_map(Event::Press),
        1 => (-1.0..1.0_f64).prop_map(Event::Jump),
        1 => any::<bool>().prop_map(Event::Estop),
        3 => Just(Event::Reset),
        6 => Just(Event::Arm),
        1 => Just(Event::Disarm),
        1 => proptest::collection::vec(number(), 7).prop_map(Event::Human),
        10 => Just(Event::Nothing),
    ]
}

fn happen(world: &mut World, event: Event) -> bool {
    let controller = &mut world.controller;
    let mut was_reset = false;
    match event {
        Event::Chunk { age, period, values } => {
            let whole = values.len() - values.len() % controller.space().dimensions();
            world.chunk(age, period, values[..whole].to_vec());
        }
        Event::Measure(on) => world.measures = on,
        Event::Press(on) => world.presses = on,
        Event::Jump(secs) => world.ros = world.ros + secs,
        Event::Estop(on) => controller.estop(on),
        Event::Reset => {
            controller.estop(false);
            was_reset = controller.reset().is_ok();
        }
        Event::Arm => drop(controller.arm()),
        Event::Disarm => drop(controller.disarm()),
        Event::Human(values) => {
            let count = controller.space().command_dimensions();
            drop(controller.human(&values[..count.min(7)], world.steady));
        }
        Event::Nothing => {}
    }
    was_reset
}

/// Every published command against every limit of its joint.
fn check_joints(joints: &[Joint], told: &mut [[f64; 2]], world: &World, command: &[f64], secs: f64) {
    let positions = matches!(**world.controller.space(), ActionSpace::JointPositions(_));
    let dt = secs.min(PERIOD);
    let estop = world.controller.state() == State::EStop;
    for (index, joint) in joints.iter().enumerate() {
        let limits = &joint.limits;
        let [last_position, last_velocity] = told[index];
        let velocity = if positions { (command[index] - last_position) / dt } else { command[index] };
        assert!(velocity.abs() <= limits.max_velocity + 1e-6, "velocity {velocity}");
        let change = (velocity - last_velocity).abs();
        assert!(
            (estop && velocity == 0.0) || change <= limits.max_acceleration * dt + 1e-6,
            "acceleration {change} in {dt} s"
        );
        let at = if positions { command[index] } else { world.positions[index] };
        assert!(
            (limits.min_position - 1e-6..=limits.max_position + 1e-6).contains(&at),
            "position {at} of {limits:?}"
        );
        let before = [last_position, last_velocity];
        let [low, high] = by_ros2_control(limits, positions, before, velocity, dt);
        let inside = (low - 1e-6..=high + 1e-6).contains(&command[index]);
        assert!(estop || inside, "{} of ros2_control's {low} to {high}, {before:?} before", command[index]);
        told[index] = [at, velocity];
    }
}

/// What ros2_control's limiter behind us would let through. `before` are position and velocity before the command.
fn by_ros2_control(
    limits: &JointLimits,
    positions: bool,
    before: [f64; 2],
    velocity: f64,
    dt: f64,
) -> [f64; 2] {
    let [at, moved] = before;
    if positions {
        return ros2_control::position_interval(limits, Some(moved), Some(at), Some(at), dt);
    }
    ros2_control::velocity_interval(limits, velocity, Some(at), Some(moved), dt)
}

fn survives(space: ActionSpace, settings: Settings, events: Vec<(Event, f64)>) {
    let mut world = World::new(space, settings);
    let joints = world.controller.space().joints().to_vec();
    let mut told: Vec<[f64; 2]> = world.positions.iter().map(|at| [*at, 0.0]).collect();
    let mut twist = [0.0; 6];
    for (event, secs) in events {
        let before = world.controller.state();
        let estop = matches!(event, Event::Estop(true));
        let was_reset = happen(&mut world, event);
        let (command, state) = world.tick(secs);
        if before.is_latched() && !was_reset {
            assert!(state == before || (estop && state == State::EStop), "{before} -> {state}");
        }
        let Some(command) = command else {
            // Whoever is told nothing rests where it is.
            told.iter_mut().zip(&world.positions).for_each(|(told, at)| *told = [*at, 0.0]);
            twist = [0.0; 6];
            continue;
        };
        assert!(command.iter().all(|value| value.is_finite()), "{command:?}");
        if joints.is_empty() {
            check_twist(&mut twist, &command, state, secs.min(PERIOD));
        } else {
            check_joints(&joints, &mut told, &world, &command, secs);
        }
    }
}

fn check_twist(last: &mut [f64; 6], command: &[f64], state: State, dt: f64) {
    let limits = twist();
    let now: [f64; 6] = std::array::from_fn(|axis| command[axis]);
    let norm = |v: [f64; 6], from: usize| crate::limiter::length([v[from], v[from + 1], v[from + 2]]);
    assert!(norm(now, 0) <= limits.max_linear + 1e-9 && norm(now, 3) <= limits.max_angular + 1e-9);
    let change: [f64; 6] = std::array::from_fn(|axis| now[axis] - last[axis]);
    let gentle = norm(change, 0) <= limits.max_linear_acceleration * dt + 1e-7
        && norm(change, 3) <= limits.max_angular_acceleration * dt + 1e-7;
    assert!(gentle || (state == State::EStop && now == [0.0; 6]), "{change:?} in {dt} s");
    assert!((0.0..=1.0).contains(&command[6]), "gripper {}", command[6]);
    *last = now;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_command_keeps_every_limit(
        events in proptest::collection::vec((event(), 0.001..0.03_f64), 1..300),
        which in 0_usize..4, strategy in 0_usize..3, keep_direction: bool,
    ) {
        let settings = Settings { strategy: blending(strategy), keep_direction, ..Settings::default() };
        survives(spaces()[which].clone(), settings, events);
    }

    #[test]
    fn whatever_dies_the_robot_rests_in_time(
        which in 0_usize..4, strategy in 0_usize..3, dies in 0_usize..DEATHS.len(),
        wishes in proptest::collection::vec(-2.0..2.0_f64, 8), alive in 1_usize..150, seed in 0.0..1.0_f64,
    ) {
        let settings = Settings { strategy: blending(strategy), ..Settings::default() };
        rests(spaces()[which].clone(), settings, &DEATHS[dies], (&wishes, alive, seed));
    }
}

fn blending(which: usize) -> Blending {
    [Blending::Newest, Blending::CrossFade { secs: 0.1 }, Blending::Ensemble { m: 0.01 }][which]
}

fn spaces() -> [ActionSpace; 4] {
    [positions(3), velocities(), end_effector(), poses()]
}

/// What may die, and the limit that finds it out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// No more chunks: the policy, or the camera behind it.
    Policy,
    /// Chunks of one and the same observation: a camera that repeats its last image.
    FrozenImages,
    /// Chunks of observations that fall further and further behind.
    SlowerAndSlower,
    /// No more measurements.
    JointStates,
    /// The deadman's driver.
    Deadman,
    /// `/clock` stands still, whatever else goes on.
    Clock,
    /// ROS time jumps back.
    Jump,
}

const DEATHS: [Death; 7] = [
    Death::Policy,
    Death::FrozenImages,
    Death::SlowerAndSlower,
    Death::JointStates,
    Death::Deadman,
    Death::Clock,
    Death::Jump,
];

/// Seconds within which a controller must have noticed.
fn noticed_secs(death: Death, settings: &Settings) -> f64 {
    match death {
        Death::Policy | Death::FrozenImages => settings.watchdog_secs,
        // By then the newest image is the oldest that counts: it falls behind by a tenth of the time that passes.
        Death::SlowerAndSlower => 10.0 * settings.max_observation_age_secs,
        Death::JointStates => settings.max_joint_state_age_secs,
        Death::Deadman => settings.deadman_timeout_secs.unwrap_or_default(),
        Death::Clock => settings.clock_timeout_secs,
        Death::Jump => 0.0,
    }
}

/// A chunk of half a second every 50 ms, of an image `age_secs` old.
fn speak(world: &mut World, wishes: &[f64], age_secs: f64) {
    let dimensions = world.controller.space().dimensions();
    let mut values: Vec<f64> = wishes.iter().copied().cycle().take(dimensions * 10).collect();
    if matches!(**world.controller.space(), ActionSpace::EndEffectorPose { .. }) {
        values.chunks_mut(dimensions).for_each(|step| step[3..7].copy_from_slice(&[0.0, 0.0, 0.0, 1.0]));
    }
    world.chunk(age_secs, 0.05, values);
}

/// Runs, lets something die after `alive` ticks, and looks whether the robot is at rest in time and stays there.
fn rests(space: ActionSpace, settings: Settings, death: &Death, (wishes, alive, seed): (&[f64], usize, f64)) {
    let needs_measuring = !space.joints().is_empty() || matches!(space, ActionSpace::EndEffectorPose { .. });
    // Of `joint()` and `twist()`: from the greatest velocity to none.
    let braking_secs = if space.joints().is_empty() { 0.2 } else { 0.25 };
    let deadline = noticed_secs(*death, &settings) + braking_secs + 3.0 * PERIOD;
    let late = if *death == Death::SlowerAndSlower { 6.0 } else { 3.0 };
    let mut world = World::new(space, settings);
    world.controller.arm().unwrap();
    let mut ran = false;
    for tick in 0..alive {
        if tick % 5 == 0 {
            speak(&mut world, wishes, 0.02 * seed);
        }
        ran |= world.tick(PERIOD).1 == State::Running;
    }
    assert!(ran, "it ran before");
    let (died, frozen) = (world.steady, world.ros - 0.02 * seed);
    match death {
        Death::JointStates => world.measures = false,
        Death::Deadman => world.presses = false,
        Death::Clock => world.flows = false,
        Death::Jump => world.ros = world.ros - 2.0,
        Death::Policy | Death::FrozenImages | Death::SlowerAndSlower => {}
    }
    let (mut last, mut tick) = (None, 0);
    while world.steady.secs_since(died) < late {
        let since = world.steady.secs_since(died);
        if tick % 5 == 0 {
            match death {
                Death::Policy => {}
                Death::FrozenImages => {
                    let age = world.ros.secs_since(frozen);
                    speak(&mut world, wishes, age);
                }
                Death::SlowerAndSlower => speak(&mut world, wishes, 0.1 * since),
                _ => speak(&mut world, wishes, 0.02 * seed),
            }
        }
        tick += 1;
        let (command, state) = world.tick(PERIOD);
        if world.steady.secs_since(died) < deadline || (*death == Death::JointStates && !needs_measuring) {
            last = command;
            continue;
        }
        assert_ne!(state, State::Running, "{death:?} after {since} s");
        let Some(command) = command else { continue };
        if world.controller.space().commands_velocity() {
            let moving = if world.controller.space().joints().is_empty() { 6 } else { command.len() };
            assert!(command[..moving].iter().all(|velocity| velocity.abs() < 1e-9), "{death:?}: {command:?}");
        } else {
            let still =
                last.as_ref().is_none_or(|last| last.iter().zip(&command).all(|(a, b)| (a - b).abs() < 1e-9));
            assert!(still, "{death:?} after {since} s: {last:?} {command:?}");
        }
        last = Some(command);
    }
}
