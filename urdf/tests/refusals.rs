//! Descriptions that are refused, and what is said about them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic: that is how it fails"
)]

use proptest::prelude::*;
use robot::{KinematicsError, MeshFolders, Robot};

fn parse(body: &str) -> Result<Robot, String> {
    let text = format!("<robot name='r'>{body}</robot>");
    Robot::parse(&text, "test.urdf", &MeshFolders::default()).map_err(|error| error.to_string())
}

fn joint(name: &str, kind: &str, parent: &str, child: &str, inside: &str) -> String {
    format!(
        "<joint name='{name}' type='{kind}'><parent link='{parent}'/><child link='{child}'/>{inside}</joint>"
    )
}

const AB: &str = "<link name='a'/><link name='b'/>";
const LIMIT: &str = "<limit lower='-1' upper='1' effort='1' velocity='1'/>";

#[test]
fn a_sound_description_is_read() {
    let hinge = joint("j", "revolute", "a", "b", &format!("<axis xyz='0 0.7071 0.7071'/>{LIMIT}"));
    let robot = parse(&format!("{AB}{hinge}<transmission name='t'/><gazebo/>")).unwrap();
    assert_eq!((robot.root(), robot.links().len(), robot.joints().len()), ("a", 2, 1));
}

#[test]
fn what_is_wrong_is_named() {
    let revolute = |inside: &str| AB.to_owned() + &joint("j", "revolute", "a", "b", inside);
    let fixed = |name: &str, parent: &str, child: &str| joint(name, "fixed", parent, child, "");
    let shape =
        |shape: &str| format!("<link name='a'><collision><geometry>{shape}</geometry></collision></link>");
    let cases: Vec<(String, &[&str])> = vec![
        (String::new(), &["no links"]),
        (AB.to_owned(), &["several roots: a, b"]),
        (AB.to_owned() + &fixed("x", "a", "b") + &fixed("y", "b", "a"), &["a cycle", "a", "b", "joint"]),
        (
            format!("{AB}<link name='c'/>") + &fixed("x", "b", "c") + &fixed("y", "c", "b"),
            &["a cycle: b <- c <- b (joint"],
        ),
        (
            format!("{AB}<link name='c'/>") + &fixed("x", "a", "c") + &fixed("y", "b", "c"),
            &["link c as the child of two joints, x and y"],
        ),
        (AB.to_owned() + &fixed("x", "base", "b"), &["joint x: parent base: no such link"]),
        (AB.to_owned() + &fixed("x", "a", "tip"), &["joint x: child tip: no such link"]),
        (format!("{AB}<link name='a'/>"), &["link a: expected different names"]),
        (
            format!("{AB}<link name='c'/>") + &fixed("x", "a", "b") + &fixed("x", "a", "c"),
            &["joint x: expected different names"],
        ),
        (revolute(""), &["joint j", "expected a <limit>"]),
        (revolute("<limit lower='1' upper='-1' effort='1' velocity='1'/>"), &["joint j", "lower <= upper", "1 and -1"]),
        (revolute("<limit lower='-1' upper='1' effort='1' velocity='-2'/>"), &["joint j", "velocity", "-2"]),
        (revolute("<limit lower='-1' upper='1' effort='-1' velocity='2'/>"), &["joint j", "effort", "-1"]),
        (revolute("<limit lower='-1' upper='nan' effort='1' velocity='2'/>"), &["joint j: <limit>: upper", "nan"]),
        (revolute(&format!("<axis xyz='0 0 2'/>{LIMIT}")), &["joint j", "unit vector", "2"]),
        (revolute(&format!("<axis xyz='0 0 0'/>{LIMIT}")), &["joint j", "unit vector"]),
        (revolute(&format!("<origin xyz='0 NaN 0'/>{LIMIT}")), &["line 1: joint j: <origin>: xyz", "NaN"]),
        (revolute(&format!("<origin xyz='0 1 zwei 0'/>{LIMIT}")), &["joint j: <origin>: xyz", "three", "zwei"]),
        (revolute(&format!("<origin rpy='0 1'/>{LIMIT}")), &["joint j: <origin>: rpy", "three"]),
        (revolute(&format!("{LIMIT}<mimic joint='k'/>")), &["joint j: mimic k: no such joint"]),
        (revolute(&format!("{LIMIT}<mimic joint='j'/>")), &["joint j: mimic: j follows itself"]),
        (AB.to_owned() + &joint("j", "floating", "a", "b", ""), &["joint j", "floating"]),
        (AB.to_owned() + &joint("j", "hinge", "a", "b", ""), &["hinge"]),
        (shape("<sphere radius='-1'/>"), &["link a", "sphere radius", "-1"]),
        (shape("<box size='1 0 1'/>"), &["link a", "box size", "0"]),
        (shape("<box size='1 1'/>"), &["line 1: link a: <box>: size", "three"]),
        (shape("<mesh filename='package://arm/a.stl'/>"), &["link a", "package://arm/a.stl", "no such file"]),
        (shape("<mesh filename='a.dae'/>"), &["link a", "a.dae", "expected an STL file", ".dae"]),
        (shape("<mesh filename='/nowhere/a.stl'/>"), &["link a", "/nowhere/a.stl", "no such file"]),
        (shape("<mesh filename='http://host/a.stl'/>"), &["link a", "http://host/a.stl"]),
        ("<link/>".to_owned(), &["line 1: link: expected a name"]),
        ("<link name='a'>".to_owned(), &["not XML"]),
        ("<link name='a'>".to_owned() + &"<x>".repeat(100) + &"</x>".repeat(100) + "</link>", &["deep"]),
        (
            "<ros2_control><joint name='j'><command_interface name='acceleration'><param name='max'>-1</param>\
             </command_interface></joint></ros2_control>"
                .to_owned(),
            &["ros2_control joint j", "above 0", "-1"],
        ),
    ];
    for (body, expected) in cases {
        let said = parse(&body).expect_err(&body);
        for part in expected.iter().chain(&["test.urdf"]) {
            assert!(said.contains(part), "{body}\nsaid: {said}\nwithout {part:?}");
        }
    }
}

#[test]
fn what_is_no_urdf_is_refused() {
    let sdf = "<sdf version='1.7'/>";
    let xacro = "<robot xmlns:xacro='http://www.ros.org/wiki/xacro'><xacro:macro name='m'/></robot>";
    for (text, part) in [("", "not XML"), ("joint", "not XML"), (sdf, "<sdf>"), (xacro, "xacro FILE")] {
        let said = Robot::parse(text, "/robot_description", &MeshFolders::default()).unwrap_err().to_string();
        assert!(said.contains(part) && said.contains("/robot_description"), "{said}");
    }
    let said = Robot::read(std::path::Path::new("/nowhere/arm.urdf")).unwrap_err().to_string();
    assert!(said.contains("/nowhere/arm.urdf"), "{said}");
}

#[test]
fn joints_without_a_position_are_named() {
    let text = AB.to_owned() + &joint("j", "prismatic", "a", "b", LIMIT);
    let robot = parse(&text).unwrap();
    assert_eq!(robot.poses(|_| None).unwrap_err(), KinematicsError::Missing { joint: "j".to_owned() });
    let said = robot.poses(|_| Some(f64::NAN)).unwrap_err().to_string();
    assert!(said.contains("joint j") && said.contains("NaN"), "{said}");
    let said = robot.poses(|_| Some(0.5)).unwrap().root_from("c").unwrap_err().to_string();
    assert!(said.contains("link c") && said.contains("a, b"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is damaged, a description is read or refused, and one that is read can be posed.
    #[test]
    fn damaged_descriptions_do_no_harm(at in 0..12_000_usize, with in "[ -~]{0,8}", cut in 0..40_usize) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/robots/arm.urdf");
        let mut text = std::fs::read_to_string(path).unwrap();
        let end = (at + cut).min(text.len());
        text.replace_range(at.min(end)..end, &with);
        let folders = MeshFolders::of_file(std::path::Path::new(path));
        if let Ok(robot) = Robot::parse(&text, "damaged", &folders) {
            let poses = robot.poses(|_| Some(0.3)).unwrap();
            for (_, pose) in poses.iter() {
                prop_assert!(pose.to_homogeneous().iter().all(|value| value.is_finite()));
            }
        }
    }

    /// Out and back along any chain of two joints is where it began.
    #[test]
    fn poses_go_both_ways(first in -4.0..4.0_f64, second in -0.5..0.5_f64) {
        let hinge = joint("h", "continuous", "a", "b", "<origin xyz='1 2 3' rpy='0.1 0.2 0.3'/><axis xyz='0 0.6 0.8'/>");
        let slide = joint("s", "prismatic", "b", "c", &format!("<axis xyz='0 0 1'/>{LIMIT}"));
        let follower = joint("f", "continuous", "c", "d", "<axis xyz='0 0 1'/><mimic joint='h' multiplier='-2' offset='0.5'/>");
        let robot = parse(&format!("{AB}<link name='c'/><link name='d'/>{hinge}{slide}{follower}")).unwrap();
        let poses = robot.poses(|name| Some(if name == "h" { first } else { second })).unwrap();
        let there = poses.target_from_source("a", "d").unwrap();
        let back = poses.target_from_source("d", "a").unwrap();
        prop_assert!(((there * back).to_homogeneous() - nalgebra::Matrix4::identity()).norm() < 1e-12);
        let turned = poses.target_from_source("c", "d").unwrap().rotation.angle();
        let expected = nalgebra::UnitQuaternion::from_euler_angles(0.0, 0.0, 0.5 - 2.0 * first).angle();
        prop_assert!((turned - expected).abs() < 1e-9);
        let slid = poses.target_from_source("b", "c").unwrap().translation.vector;
        prop_assert!((slid - nalgebra::Vector3::new(0.0, 0.0, second)).norm() < 1e-12);
    }
}

#[test]
fn whoever_only_moves_the_robot_needs_no_meshes() {
    let text = r#"<robot name="r"><link name="a"><collision><geometry><mesh filename="package://nowhere/a.dae"/></geometry>
        </collision></link><link name="b"/><joint name="j" type="continuous"><parent link="a"/><child link="b"/>
        <axis xyz="0 0 1"/><limit effort="1" velocity="2"/></joint></robot>"#;
    assert!(Robot::parse(text, "text", &MeshFolders::default()).is_err());
    let robot = Robot::parse_without_shapes(text, "text").unwrap();
    assert_eq!(robot.joint("j").unwrap().limits.velocity, 2.0);
    let broken = text.replace("velocity=\"2\"", "velocity=\"fast\"");
    assert!(Robot::parse_without_shapes(&broken, "text").is_err());
}
