//! The limiter's rule against ros2_control's own results.

use control::{JointLimits, ros2_control};

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
