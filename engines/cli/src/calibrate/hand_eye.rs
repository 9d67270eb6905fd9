//! `pixio calibrate hand-eye`: poses of the robot and of a board to the camera's mount.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use calibrating::{
    Board, HandEye, HandEyePoses, Isometry3, Mount, NamedPose, Quaternion, UnitQuaternion, board_pose,
    calibrate_hand_eye, read_poses,
};
use clap::ValueEnum;
use serde_json::json;

use super::boards::{self, Boards};
use super::live;
use crate::camera_file;
use crate::infer::sources::PICTURES;

/// Measure where the camera is mounted, from poses of the robot's hand and of a board that the camera sees
///
/// Take 10 to 30 poses with the hand turned by 30 degrees and more about different axes. The hand's poses come from a CSV file, or
/// from /tf while pictures are recorded from a topic; board poses from pictures (with the camera's calibration) or from a CSV file.
/// Writes a URDF joint and the command of the static transform, of the optical frame or of the link that a driver hangs it on.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What carries the camera
    #[arg(long, value_enum)]
    mount: MountArgument,
    /// Poses of the hand in the robot's base frame: CSV with the columns name,x,y,z,qx,qy,qz,qw (metres, quaternion)
    #[arg(long, value_name = "CSV", required_unless_present = "topic", conflicts_with = "topic")]
    robot: Option<PathBuf>,
    /// Poses of the board in the camera's optical frame: CSV with the same columns and names
    #[arg(long, value_name = "CSV", conflicts_with_all = ["images", "camera", "board", "topic"])]
    board_poses: Option<PathBuf>,
    /// Pictures of the board, named like the robot's poses (with or without ending), or folders of them
    #[arg(long, value_name = "IMAGE", num_args = 1.., requires = "camera", requires = "board", required_unless_present_any = ["board_poses", "topic"], conflicts_with = "topic")]
    images: Vec<PathBuf>,
    /// The camera's calibration (ROS camera_info YAML, or Kalibr's camchain of one camera)
    #[arg(long, value_name = "YAML")]
    camera: Option<PathBuf>,
    /// The board, as in `pixio calibrate intrinsics`
    #[arg(long, value_name = "BOARD")]
    board: Option<Board>,
    /// Link that the camera is fixed to: the hand's, or the base's; with --topic it is --hand-frame or --base-frame
    #[arg(long, value_name = "LINK", required_unless_present = "topic")]
    parent: Option<String>,
    /// The camera's optical frame
    #[arg(long, value_name = "FRAME")]
    child: String,
    /// Link to mount instead of the optical frame, where a driver already publishes LINK -> optical frame
    #[arg(long, value_name = "LINK", requires = "link_from_optical")]
    camera_link: Option<String>,
    /// The optical frame in --camera-link, as `ros2 run tf2_ros tf2_echo LINK OPTICAL` tells it: metres, quaternion
    #[arg(long, value_name = "X,Y,Z,QX,QY,QZ,QW", value_parser = parse_pose, allow_hyphen_values = true, requires = "camera_link")]
    link_from_optical: Option<Isometry3<f64>>,
    /// URDF file to write: the joint alone, to be pasted or included
    #[arg(long, value_name = "URDF")]
    out: PathBuf,
    /// Write all numbers as JSON too
    #[arg(long, value_name = "JSON")]
    report: Option<PathBuf>,
    /// With --topic: the hand's frame, whose pose at each picture is taken from /tf and kept as robot.csv beside the pictures
    #[arg(long, value_name = "FRAME", requires = "topic", requires = "base_frame", help_heading = "Live")]
    hand_frame: Option<String>,
    /// With --topic: the robot's base frame
    #[arg(long, value_name = "FRAME", requires = "hand_frame", help_heading = "Live")]
    base_frame: Option<String>,
    #[command(flatten)]
    live: live::Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MountArgument {
    /// The camera is on the hand, the board stands still
    EyeInHand,
    /// The camera stands still, the board is on the hand
    EyeToHand,
}

/// Measures, prints what came out and how well it is known, and writes the files.
///
/// # Errors
/// When files are refused, the poses do not belong together, or the motion leaves the mount free.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let parent = arguments.parent()?;
    check_frame("--parent", parent)?;
    check_frame("--child", &arguments.child)?;
    arguments.camera_link.iter().try_for_each(|link| check_frame("--camera-link", link))?;
    let (robot, images) = arguments.sources()?;
    let poses = joined(&robot, read_poses(&robot)?, arguments.board_poses(&images)?)?;
    let found = calibrate_hand_eye(arguments.mount.into(), &poses)?;
    print(&found);
    let (child, parent_from_child) = arguments.mounted(&found);
    let joint = urdf_joint(&parent_from_child, parent, child);
    std::fs::write(&arguments.out, &joint).with_context(|| arguments.out.display().to_string())?;
    if let Some(path) = &arguments.report {
        let text = serde_json::to_string_pretty(&report(&found))?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    println!("written    {}, {parent} -> {child}", arguments.out.display());
    if arguments.camera_link.is_none() {
        println!(
            "note       a driver that publishes a camera link -> {child} gives {child} its parent already, and a frame has one: mount \
             the driver's root link then, by --camera-link and --link-from-optical"
        );
    }
    println!("\n{}", static_transform(&parent_from_child, parent, child));
    Ok(ExitCode::SUCCESS)
}

impl From<MountArgument> for Mount {
    fn from(argument: MountArgument) -> Self {
        match argument {
            MountArgument::EyeInHand => Self::EyeInHand,
            MountArgument::EyeToHand => Self::EyeToHand,
        }
    }
}

/// A pose of seven numbers with commas between them.
fn parse_pose(text: &str) -> Result<Isometry3<f64>, String> {
    let expected =
        || format!("expected 7 numbers x,y,z,qx,qy,qz,qw and a quaternion of length 1, got {text:?}");
    let numbers = text.split(',').map(|number| number.trim().parse().map_err(|_| expected()));
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>()?;
    let [x, y, z, qx, qy, qz, qw]: [f64; 7] = numbers.try_into().map_err(|_| expected())?;
    let turn = Quaternion::new(qw, qx, qy, qz);
    let unit = (turn.norm() - 1.0).abs() < 1e-2;
    if !unit || [x, y, z].iter().any(|value: &f64| !value.is_finite()) {
        return Err(expected());
    }
    Ok(Isometry3::from_parts([x, y, z].into(), UnitQuaternion::from_quaternion(turn)))
}

/// Names go into XML and into a shell command, so only what frames are made of is let through.
fn check_frame(what: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-/.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        bail!("{what}: expected a frame of letters, digits, _ - / and ., got {name:?}");
    }
    Ok(())
}

impl Arguments {
    /// The link whose pose was measured with the hand: what --topic takes from /tf, else what --parent says.
    fn parent(&self) -> Result<&str> {
        let (frame, option) = match self.mount {
            MountArgument::EyeInHand => (&self.hand_frame, "--hand-frame"),
            MountArgument::EyeToHand => (&self.base_frame, "--base-frame"),
        };
        match (&self.parent, frame) {
            (Some(parent), Some(frame)) if parent != frame => bail!(
                "--parent: expected {frame}, which {option} names and in which the camera is measured, got {parent}: the joint would be \
                 off by the transform between them"
            ),
            (_, Some(name)) | (Some(name), None) => Ok(name),
            (None, None) => {
                bail!("--topic: expected --hand-frame and --base-frame too, whose transform /tf tells")
            }
        }
    }

    /// What the joint places: the optical frame, or the link that carries it.
    fn mounted(&self, found: &HandEye) -> (&str, Isometry3<f64>) {
        match (&self.camera_link, &self.link_from_optical) {
            (Some(link), Some(link_from_optical)) => {
                (link, found.parent_from_camera * link_from_optical.inverse())
            }
            _ => (&self.child, found.parent_from_camera),
        }
    }

    /// The file of the hand's poses, and the pictures; from a topic both are recorded now.
    fn sources(&self) -> Result<(PathBuf, Vec<PathBuf>)> {
        if let Some(robot) = &self.robot {
            return Ok((robot.clone(), self.images.clone()));
        }
        let (Some(hand), Some(base)) = (&self.hand_frame, &self.base_frame) else {
            bail!("--topic: expected --hand-frame and --base-frame too, whose transform /tf tells");
        };
        if self.camera.is_none() || self.board.is_none() {
            bail!("--topic: expected --camera and --board too");
        }
        let folder = self.live.record(&[("hand_frame", hand), ("base_frame", base)])?;
        let folder = folder.context("expected --robot, or --topic with --frames-folder")?;
        Ok((folder.join("robot.csv"), vec![folder]))
    }

    fn board_poses(&self, images: &[PathBuf]) -> Result<Vec<NamedPose>> {
        if let Some(path) = &self.board_poses {
            return Ok(read_poses(path)?);
        }
        let (Some(camera), Some(board)) = (&self.camera, &self.board) else {
            bail!("expected --board-poses, or --images with --camera and --board");
        };
        let model = camera_file::read(camera)?.raw().with_context(|| camera.display().to_string())?;
        let Boards { size, views } = boards::find(images, board)?;
        if size != model.size() {
            bail!("{}: expected the pictures' size {size}, got {}", camera.display(), model.size());
        }
        let pose = |view: &calibrating::View| match board_pose(&model, view) {
            Some(pose) => Some((view.name.clone(), pose.camera_from_board)),
            None => {
                eprintln!("{}: left out: its corners determine no pose", view.name);
                None
            }
        };
        Ok(views.iter().filter_map(pose).collect())
    }
}

/// The poses that have a name in common, a picture's with or without its ending.
fn joined(path: &Path, robot: Vec<NamedPose>, boards: Vec<NamedPose>) -> Result<Vec<HandEyePoses>> {
    let (robots, seen) = (robot.len(), boards.len());
    let pair = |(name, base_from_hand): NamedPose| {
        let same = |board: &&NamedPose| board.0 == name || without_ending(&board.0) == name;
        let camera_from_board = boards.iter().find(same)?.1;
        Some(HandEyePoses { name, base_from_hand, camera_from_board })
    };
    let poses: Vec<_> = robot.into_iter().filter_map(pair).collect();
    if poses.is_empty() {
        bail!("{}: none of its {robots} names is one of the {seen} board poses'", path.display());
    }
    println!("poses      {} in common ({robots} of the robot, {seen} of the board)", poses.len());
    Ok(poses)
}

/// A picture's name without its ending; any other as it is, `12.345` too.
fn without_ending(name: &str) -> &str {
    let picture = |ending: &str| PICTURES.contains(&ending.to_lowercase().as_str());
    name.rsplit_once('.').filter(|(_, ending)| picture(ending)).map_or(name, |(stem, _)| stem)
}

fn print(found: &HandEye) {
    println!("{:32} {:>9} {:>9}", "pose", "mm", "degrees");
    for residual in &found.residuals {
        let left_out = if residual.used { "" } else { "  taken for wrong" };
        println!(
            "{:32} {:>9.3} {:>9.4}{left_out}",
            residual.name,
            1e3 * residual.meters,
            residual.radians.to_degrees()
        );
    }
    println!("error      {:.3} mm, {:.4} degrees rms", 1e3 * found.rms[0], found.rms[1].to_degrees());
    let (roll, pitch, yaw) = found.parent_from_camera.rotation.euler_angles();
    let position = found.parent_from_camera.translation.vector;
    for (index, name) in ["x", "y", "z"].into_iter().enumerate() {
        println!("{name:10} {:>12.6} +- {:.6} m", position[index], found.deviations[3 + index]);
    }
    let degrees = [roll, pitch, yaw].map(f64::to_degrees);
    println!("rpy        {:.4} {:.4} {:.4} degrees", degrees[0], degrees[1], degrees[2]);
    let turn = found.deviations[..3].iter().map(|sigma| sigma * sigma).sum::<f64>().sqrt();
    println!("           known to {:.4} degrees", turn.to_degrees());
    found.warnings.iter().for_each(|warning| println!("WARNING    {warning}"));
}

fn urdf_joint(parent_from_child: &Isometry3<f64>, parent: &str, child: &str) -> String {
    let position = parent_from_child.translation.vector;
    let (roll, pitch, yaw) = parent_from_child.rotation.euler_angles();
    format!(
        "<joint name=\"{child}_joint\" type=\"fixed\">\n  <parent link=\"{parent}\"/>\n  <child link=\"{child}\"/>\n  \
         <origin xyz=\"{:.9} {:.9} {:.9}\" rpy=\"{roll:.9} {pitch:.9} {yaw:.9}\"/>\n</joint>\n",
        position.x, position.y, position.z
    )
}

fn static_transform(parent_from_child: &Isometry3<f64>, parent: &str, child: &str) -> String {
    let position = parent_from_child.translation.vector;
    let q = parent_from_child.rotation.coords;
    format!(
        "ros2 run tf2_ros static_transform_publisher --x {:.9} --y {:.9} --z {:.9} --qx {:.9} --qy {:.9} --qz {:.9} --qw {:.9} \
         --frame-id {parent} --child-frame-id {child}",
        position.x, position.y, position.z, q.x, q.y, q.z, q.w
    )
}

fn report(found: &HandEye) -> serde_json::Value {
    let pose = |pose: &Isometry3<f64>| {
        let (p, q) = (pose.translation.vector, pose.rotation.coords);
        json!({ "position_meters": [p.x, p.y, p.z], "quaternion_xyzw": [q.x, q.y, q.z, q.w] })
    };
    let residuals: Vec<_> = found
        .residuals
        .iter()
        .map(|r| json!({ "name": r.name, "meters": r.meters, "radians": r.radians, "used": r.used }))
        .collect();
    json!({
        "parent_from_camera": pose(&found.parent_from_camera), "other_from_board": pose(&found.other_from_board),
        "standard_deviations": { "radians": found.deviations[..3], "meters": found.deviations[3..] },
        "rms": { "meters": found.rms[0], "radians": found.rms[1] }, "poses": residuals, "warnings": found.warnings,
    })
}
