//! `pixio calibrate hand-eye` as its user runs it: the joint and the static transform that it writes place the camera where it is.

#![allow(clippy::unwrap_used)] // A test may panic: that is how it fails.

use std::path::PathBuf;
use std::process::{Command, Output};

use calibrating::{Isometry3, Quaternion, UnitQuaternion};

/// Text written is rounded at nine places.
const ROUNDING: f64 = 5e-9;

fn pose(shift: [f64; 3], scaled_axis: [f64; 3]) -> Isometry3<f64> {
    Isometry3::new(shift.into(), scaled_axis.into())
}

/// A frame in another, as URDF says it: turned about the parent's fixed axes x, y and z, in this order.
fn of_rpy(shift: [f64; 3], [roll, pitch, yaw]: [f64; 3]) -> Isometry3<f64> {
    let about = |axis: [f64; 3]| UnitQuaternion::from_scaled_axis(axis.into());
    let turn = about([0.0, 0.0, yaw]) * about([0.0, pitch, 0.0]) * about([roll, 0.0, 0.0]);
    Isometry3::from_parts(shift.into(), turn)
}

fn assert_same(came: &Isometry3<f64>, expected: &Isometry3<f64>) {
    let off = (came.to_matrix() - expected.to_matrix()).abs().max();
    assert!(off < 4.0 * ROUNDING, "{came} is not {expected}: off by {off}");
}

fn csv(poses: &[(String, Isometry3<f64>)]) -> String {
    let mut text = "name,x,y,z,qx,qy,qz,qw\n".to_owned();
    for (name, at) in poses {
        let (p, q) = (at.translation.vector, at.rotation.coords);
        text += &format!("{name},{},{},{},{},{},{},{}\n", p.x, p.y, p.z, q.x, q.y, q.z, q.w);
    }
    text
}

/// Twelve poses of a hand, and what a camera sees of a board then.
struct Cell {
    folder: tempfile::TempDir,
}

impl Cell {
    fn new(in_hand: bool, parent_from_camera: &Isometry3<f64>, name: fn(usize) -> [String; 2]) -> Self {
        let cell = Self { folder: tempfile::tempdir().unwrap() };
        let other_from_board = pose([0.1, 0.05, 0.2], [0.4, -0.3, 2.0]);
        let poses = (0..12_usize).map(|index| {
            let wave = |rate: f64| (rate * (index as f64 + 1.0)).sin();
            let base_from_hand = pose(
                [0.4 + 0.1 * wave(1.0), 0.1 * wave(1.7), 0.3 + 0.1 * wave(2.3)],
                [0.6 * wave(2.9), 0.6 * wave(1.3), 0.6 * wave(3.7)],
            );
            let hand = if in_hand { base_from_hand } else { base_from_hand.inverse() };
            let [robot, board] = name(index);
            ((robot, base_from_hand), (board, (hand * parent_from_camera).inverse() * other_from_board))
        });
        let (robot, board): (Vec<_>, Vec<_>) = poses.unzip();
        std::fs::write(cell.at("robot.csv"), csv(&robot)).unwrap();
        std::fs::write(cell.at("board.csv"), csv(&board)).unwrap();
        cell
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn calibrate(&self, mount: &str, parent: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
        command.args([
            "calibrate",
            "hand-eye",
            "--mount",
            mount,
            "--robot",
            "robot.csv",
            "--board-poses",
            "board.csv",
        ]);
        command
            .args(["--parent", parent, "--child", "camera_optical_frame", "--out", "mount.urdf"])
            .args(more);
        command.current_dir(self.folder.path()).output().unwrap()
    }

    /// What the written joint says: parent, child, and the child in the parent.
    fn joint(&self) -> (String, String, Isometry3<f64>) {
        let text = std::fs::read_to_string(self.at("mount.urdf")).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let joint = document.root_element();
        assert_eq!((joint.tag_name().name(), joint.attribute("type")), ("joint", Some("fixed")));
        let attribute = |child: &str, name: &str| {
            let child = joint.children().find(|node| node.has_tag_name(child)).unwrap();
            child.attribute(name).unwrap().to_owned()
        };
        let numbers = |name| {
            let all: Vec<f64> =
                attribute("origin", name).split_whitespace().map(|number| number.parse().unwrap()).collect();
            <[f64; 3]>::try_from(all).unwrap()
        };
        (attribute("parent", "link"), attribute("child", "link"), of_rpy(numbers("xyz"), numbers("rpy")))
    }
}

/// What the printed command says: as [`Cell::joint`].
fn static_transform(output: &Output) -> (String, String, Isometry3<f64>) {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let command = printed
        .lines()
        .find(|line| line.starts_with("ros2 run tf2_ros static_transform_publisher "))
        .unwrap();
    let words: Vec<_> = command.split_whitespace().collect();
    let text = |option: &str| words[words.iter().position(|word| *word == option).unwrap() + 1].to_owned();
    let number = |option| text(option).parse::<f64>().unwrap();
    let turn = Quaternion::new(number("--qw"), number("--qx"), number("--qy"), number("--qz"));
    let shift = [number("--x"), number("--y"), number("--z")];
    let place = Isometry3::from_parts(shift.into(), UnitQuaternion::from_quaternion(turn));
    (text("--frame-id"), text("--child-frame-id"), place)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn same_name(index: usize) -> [String; 2] {
    [format!("stop_{index}"), format!("stop_{index}")]
}

#[test]
fn the_joint_and_the_static_transform_place_the_camera_where_it_is() {
    // The last looks along an axis at which roll and yaw are hard to tell apart.
    let mounts = [
        ("eye-in-hand", "tool0", of_rpy([0.03, -0.05, 0.08], [0.3, -0.5, 1.9])),
        ("eye-to-hand", "base_link", of_rpy([1.1, 0.4, 0.7], [-2.1, 0.1, 2.4])),
        (
            "eye-to-hand",
            "base_link",
            of_rpy([1.1, 0.4, 0.7], [0.4, std::f64::consts::FRAC_PI_2 - 1e-4, -0.7]),
        ),
    ];
    for (mount, parent, truth) in mounts {
        let cell = Cell::new(mount == "eye-in-hand", &truth, same_name);
        let output = cell.calibrate(mount, parent, &[]);
        assert!(output.status.success(), "{}", said(&output));
        for (of, to, place) in [cell.joint(), static_transform(&output)] {
            assert_eq!((of.as_str(), to.as_str()), (parent, "camera_optical_frame"));
            assert_same(&place, &truth);
        }
        assert!(said(&output).contains("--camera-link"), "{}", said(&output));
    }
}

#[test]
fn a_drivers_link_is_mounted_where_it_carries_the_optical_frame() {
    let (parent_from_optical, link_from_optical) =
        (of_rpy([0.03, -0.05, 0.08], [0.3, -0.5, 1.9]), of_rpy([-0.01, 0.015, 0.002], [-1.57, 0.0, -1.6]));
    let cell = Cell::new(true, &parent_from_optical, same_name);
    let (p, q) = (link_from_optical.translation.vector, link_from_optical.rotation.coords);
    let told = format!("{},{},{},{},{},{},{}", p.x, p.y, p.z, q.x, q.y, q.z, q.w);
    let output = cell.calibrate(
        "eye-in-hand",
        "tool0",
        &["--camera-link", "camera_link", "--link-from-optical", &told],
    );
    assert!(output.status.success(), "{}", said(&output));
    for (of, to, place) in [cell.joint(), static_transform(&output)] {
        assert_eq!((of.as_str(), to.as_str()), ("tool0", "camera_link"));
        assert_same(&(place * link_from_optical), &parent_from_optical);
    }
    for wrong in ["0,0,0,0,0,0", "0,0,0,0,0,0,0", "0,0,nan,0,0,0,1", "a"] {
        let refused = cell.calibrate(
            "eye-in-hand",
            "tool0",
            &["--camera-link", "camera_link", "--link-from-optical", wrong],
        );
        assert!(
            !refused.status.success() && said(&refused).contains("expected 7 numbers"),
            "{}",
            said(&refused)
        );
    }
}

#[test]
fn the_other_mount_is_refused_and_nothing_is_written() {
    let cell = Cell::new(false, &of_rpy([1.1, 0.4, 0.7], [-2.1, 0.1, 2.4]), same_name);
    let refused = cell.calibrate("eye-in-hand", "tool0", &[]);
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(said(&refused).contains("they fit when the camera stands still"), "{}", said(&refused));
    assert!(!cell.at("mount.urdf").exists());
}

#[test]
fn names_are_matched_without_the_endings_of_pictures_alone() {
    let truth = of_rpy([0.03, -0.05, 0.08], [0.3, -0.5, 1.9]);
    let pictures = Cell::new(true, &truth, |index| [format!("12.{index}"), format!("12.{index}.PNG")]);
    let output = pictures.calibrate("eye-in-hand", "tool0", &[]);
    assert!(said(&output).contains("12 in common"), "{}", said(&output));
    // Stamps in seconds are not pictures of the whole second.
    let stamps = Cell::new(true, &truth, |index| [format!("{index}"), format!("{index}.5")]);
    let refused = stamps.calibrate("eye-in-hand", "tool0", &[]);
    assert!(
        !refused.status.success() && said(&refused).contains("none of its 12 names"),
        "{}",
        said(&refused)
    );
}
