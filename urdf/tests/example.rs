//! The example arm: against yourdfpy and MuJoCo (`tests/golden/make_robot.py`), and against the rules for frames.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic: that is how it fails"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calibration::{Intrinsics, Size};
use robot::{BodyMask, Joint, JointKind, Robot, SelfFilter};
use serde::Deserialize;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn arm() -> Robot {
    Robot::read(&root().join("urdf/robots/arm.urdf")).expect("the example")
}

#[derive(Deserialize)]
struct Golden {
    width: usize,
    height: usize,
    focal: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    positions: BTreeMap<String, f64>,
    /// The upper three rows of base_link_from_link.
    links: BTreeMap<String, Vec<f64>>,
    masks: Vec<Mask>,
}

#[derive(Deserialize)]
struct Mask {
    camera: String,
    padding: f64,
    count: usize,
    bits: String,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(root().join("tests/golden/robot.json")).expect("golden file");
    serde_json::from_str(&text).expect("golden file")
}

/// Bits of hexadecimal digits, the highest of each byte first.
fn unpacked(bits: &str, count: usize) -> Vec<bool> {
    let nibbles = bits.chars().map(|digit| digit.to_digit(16).expect("a digit"));
    let bits = nibbles.flat_map(|nibble| (0..4).rev().map(move |bit| nibble >> bit & 1 == 1));
    bits.take(count).collect()
}

#[test]
fn links_are_where_yourdfpy_puts_them() {
    let arm = arm();
    let golden = golden();
    assert!(golden.cases.len() >= 5);
    for case in &golden.cases {
        let poses = arm.poses(|joint| case.positions.get(joint).copied()).expect("poses");
        assert_eq!(case.links.len(), arm.links().len());
        for (link, expected) in &case.links {
            let came = poses.root_from(link).expect("a link").to_homogeneous();
            for (at, expected) in expected.iter().enumerate() {
                let came = came[(at / 4, at % 4)];
                assert!((came - expected).abs() < 1e-8, "{link} {at}: {came} {expected}");
            }
        }
    }
}

/// Copy of the arm without the shapes that MuJoCo could not grow.
fn arm_without_meshes() -> Robot {
    let text = std::fs::read_to_string(root().join("urdf/robots/arm.urdf")).expect("the example");
    let begin = text.find("<link name=\"hand_link\">").expect("the hand");
    let end = begin + text[begin..].find("</link>").expect("its end") + "</link>".len();
    let text = [&text[..begin], "<link name=\"hand_link\"/>", &text[end..]].concat();
    Robot::parse(&text, "the arm without its hand", &robot::MeshFolders::default()).expect("the rest")
}

#[test]
fn the_body_covers_the_pixels_in_which_mujoco_meets_it() {
    let golden = golden();
    let size = Size { width: golden.width, height: golden.height };
    let (cx, cy) = ((size.width as f64 - 1.0) / 2.0, (size.height as f64 - 1.0) / 2.0);
    let intrinsics = Intrinsics { fx: golden.focal, fy: golden.focal, cx, cy };
    let (whole, plain) = (Arc::new(arm()), Arc::new(arm_without_meshes()));
    for case in &golden.cases {
        for expected in &case.masks {
            let robot = if expected.padding > 0.0 { &plain } else { &whole };
            let poses = robot.poses(|joint| case.positions.get(joint).copied()).expect("poses");
            let filter = SelfFilter::new(robot.clone(), expected.padding).expect("a padding");
            let camera_from_root = poses.root_from(&expected.camera).expect("a camera").inverse();
            let mut mask = BodyMask::none(size);
            filter.cover(&mut mask, intrinsics, &camera_from_root, &poses);
            let bits = unpacked(&expected.bits, size.area());
            assert_eq!(bits.iter().filter(|bit| **bit).count(), expected.count);
            let differ = bits.iter().zip(mask.covered()).filter(|(a, b)| a != b).count();
            // Rays that graze an edge may go either way; the poses in the file are rounded.
            assert!(differ <= 3, "{} {}: {differ} of {}", expected.camera, expected.padding, expected.count);
        }
    }
}

#[test]
fn joints_have_the_limits_that_are_written() {
    let arm = arm();
    let names: Vec<_> = arm.free_joints().map(|joint| joint.name.as_str()).collect();
    let expected =
        ["shoulder_pan", "shoulder_lift", "elbow", "wrist_pitch", "wrist_roll", "wrist_tilt", "left_finger"];
    assert_eq!(names, expected);
    let joint = |name: &str| -> Joint { arm.joint(name).expect("a joint").clone() };
    let elbow = joint("elbow").limits;
    assert_eq!((elbow.lower, elbow.upper, elbow.velocity, elbow.effort), (-2.6, 2.6, 3.0, 40.0));
    assert_eq!(elbow.acceleration, Some(8.0), "from <ros2_control>");
    let roll = joint("wrist_roll");
    assert_eq!(
        (roll.kind, roll.limits.upper, roll.limits.velocity),
        (JointKind::Continuous, f64::INFINITY, 4.0)
    );
    assert_eq!(joint("right_finger").mimic.expect("a follower").joint, "left_finger");
    assert_eq!(joint("left_finger").limits.acceleration, None);
}

/// REP 103 (axes, optical frames) and REP 105 (`base_link`).
#[test]
fn frames_follow_the_rules() {
    let arm = arm();
    assert_eq!(arm.root(), "base_link");
    let poses = arm.poses(|_| Some(0.0)).expect("poses");
    let optical: Vec<_> = arm.links().iter().filter_map(|link| link.name.strip_suffix("_optical")).collect();
    assert_eq!(optical, ["wrist_camera", "static_camera"]);
    for camera in optical {
        let frame = format!("{camera}_optical");
        let joint = arm.joints().iter().find(|joint| joint.child == frame).expect("its joint");
        assert_eq!((joint.kind, joint.parent.as_str()), (JointKind::Fixed, camera));
        let body_from_optical = poses.target_from_source(camera, &frame).expect("both frames");
        assert!(body_from_optical.translation.vector.norm() < 1e-12, "{frame} is at its camera");
        // Optical z is the body's x (ahead), x its -y (right), y its -z (down).
        let expected = nalgebra::Matrix3::new(0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, -1.0, 0.0);
        let came = body_from_optical.rotation.to_rotation_matrix().into_inner();
        assert!((came - expected).norm() < 1e-12, "{frame}: {came}");
    }
    // At zero the arm stands up, and the static camera looks at it from ahead and to the left.
    let tool = poses.root_from("tool0").expect("the tool").translation.vector;
    assert!(tool.x.abs() < 1e-12 && tool.y.abs() < 1e-12 && tool.z > 1.0, "{tool}");
    let camera_from_base =
        poses.target_from_source("static_camera_optical", "base_link").expect("both frames");
    let shoulder = camera_from_base * nalgebra::Point3::new(0.0, 0.0, 0.3);
    assert!(shoulder.z > 0.5 && shoulder.x.abs() < 0.5 * shoulder.z && shoulder.y.abs() < 0.5 * shoulder.z);
}
