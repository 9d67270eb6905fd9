//! The limiter's rule against ros2_control's own results, ensembling against LeRobot's.

use std::sync::Arc;

use control::{ActionChunk, ActionSpace, ChunkStore, Joint, JointLimits, RosTime, Strategy, ros2_control};

#[derive(serde::Deserialize)]
struct Golden {
    columns: Vec<String>,
    cases: Vec<Vec<Option<f64>>>,
}

#[test]
fn limits_are_those_of_ros2_control() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/ros2_control_limits.json"));
    let golden: Golden = serde_json::from_str(&text.expect("golden file")).expect("golden file");
    assert_eq!(golden.cases.len(), 60);
    for (index, case) in golden.cases.iter().enumerate() {
        let optional = |name: &str| {
            let column = golden.columns.iter().position(|column| column == name).expect("column");
            case[column]
        };
        let number = |name: &str| optional(name).expect("number");
        let limits = JointLimits {
            min_position: number("min_position"),
            max_position: number("max_position"),
            max_velocity: number("max_velocity"),
            max_acceleration: number("max_acceleration"),
            max_jerk: None,
        };
        let (dt, measured) = (number("dt"), optional("measured_position"));
        let positions = ros2_control::position_interval(
            &limits,
            optional("measured_velocity"),
            measured,
            optional("previous_position"),
            dt,
        );
        let velocities = ros2_control::velocity_interval(
            &limits,
            number("desired_velocity"),
            measured,
            optional("previous_velocity"),
            dt,
        );
        let expected = ["position_low", "position_high", "velocity_low", "velocity_high"].map(number);
        for (came, expected) in positions.into_iter().chain(velocities).zip(expected) {
            assert!((came - expected).abs() < 1e-12, "case {index}: {came} {expected}");
        }
    }
}

#[derive(serde::Deserialize)]
struct Ensembling {
    /// Per step of the control loop: the chunk predicted there, action by action.
    chunks: Vec<Vec<Vec<f64>>>,
    cases: Vec<EnsemblingCase>,
}

#[derive(serde::Deserialize)]
struct EnsemblingCase {
    m: f64,
    actions: Vec<Vec<f64>>,
}

#[test]
fn ensembling_is_that_of_lerobot() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/act_ensembling.json"));
    let golden: Ensembling = serde_json::from_str(&text.expect("golden file")).expect("golden file");
    let limits = JointLimits {
        min_position: -10.0,
        max_position: 10.0,
        max_velocity: 1.0,
        max_acceleration: 1.0,
        max_jerk: None,
    };
    let joints = ["a", "b"].map(|name| Joint { name: name.to_owned(), limits });
    let space = Arc::new(ActionSpace::JointPositions(joints.to_vec()));
    assert_eq!(golden.cases.len(), 3);
    for case in &golden.cases {
        let mut store = ChunkStore::new(space.clone(), Strategy::Ensemble { m: case.m });
        for (step, (predicted, expected)) in golden.chunks.iter().zip(&case.actions).enumerate() {
            let now = RosTime(0) + step as f64 * 0.02;
            let chunk = ActionChunk::new(space.clone(), now, 0.02, predicted.concat()).expect("a chunk");
            store.push(chunk, now, 1.0).expect("a chunk that is taken");
            let mut came = [f64::NAN; 2];
            assert!(store.action(now, &mut came));
            let off = came.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // LeRobot's weights are fp32.
            assert!(off < 1e-6, "m {}, step {step}: expected {expected:?}, got {came:?}", case.m);
        }
    }
}
