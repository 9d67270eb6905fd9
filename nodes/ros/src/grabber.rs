//! `frame_grabber`: pictures of a topic into a folder, for `pixio calibrate --topic`; with the pose of the robot's hand, for
//! `pixio calibrate hand-eye`.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image::RgbImage;
use nalgebra::Isometry3;
use perception::Stamp;
use r2r::QosProfile;
use r2r::sensor_msgs::msg::Image;

use crate::convert;
use crate::declare::{Allowed, Declared, Direction, Preset, Reference, Topic};
use crate::listen;
use crate::ros_node::RosNode;
use crate::spin::Stop;
use crate::tf::{Buffer, TfError};

/// How long transforms are kept, and how long an image's is waited for.
const KEEP: Duration = Duration::from_secs(5);
/// A hand that turns or goes further than this around an image was moving: rad, m.
const STILL: [f64; 2] = [2e-3, 1e-3];
/// From so long before the image's stamp, which may be the end of its exposure, and from it for so long.
const STILL_BEFORE: Duration = Duration::from_millis(100);
const STILL_FOR: Duration = Duration::from_millis(200);
/// The file of the hand's poses.
const POSES: &str = "robot.csv";

/// What `frame_grabber` declares.
pub const REFERENCE: Reference = Reference {
    name: "frame_grabber",
    about: "Pictures of a topic into a folder, one at a time; ends when it has enough.",
    managed: false,
    parameters: PARAMETERS,
    topics: TOPICS,
    services: &[],
};

const PARAMETERS: &[Declared] = &[
    Declared::at_start(
        "folder",
        Preset::Text(""),
        "",
        Allowed::Any,
        "folder that the pictures go to; required, must be there",
    ),
    Declared::at_start(
        "count",
        Preset::Integer(30),
        "pictures",
        Allowed::Integers(1, 10_000),
        "pictures to take",
    ),
    Declared::at_start(
        "interval_secs",
        Preset::Number(1.0),
        "s",
        Allowed::Numbers(0.0, 3600.0),
        "time from one to the next",
    ),
    Declared::at_start(
        "timeout_secs",
        Preset::Number(30.0),
        "s",
        Allowed::Numbers(0.1, 3600.0),
        "without an image for so long (with hand_frame: one that can be used) it ends with an error",
    ),
    Declared::at_start(
        "hand_frame",
        Preset::Text(""),
        "",
        Allowed::Any,
        "frame of the robot's hand: its pose in base_frame at each picture's stamp goes to robot.csv beside the pictures, and \
         pictures during which it moved are left out; empty: pictures alone",
    ),
    Declared::at_start(
        "base_frame",
        Preset::Text(""),
        "",
        Allowed::Any,
        "frame of the robot's base, with hand_frame",
    ),
];

const fn input(
    name: &'static str,
    kind: &'static str,
    qos: &'static str,
    description: &'static str,
) -> Topic {
    Topic { name, kind, direction: Direction::In, per_camera: false, qos, description }
}

const TOPICS: &[Topic] = &[
    input(
        "image",
        "sensor_msgs/msg/Image",
        "best effort, volatile, keep last 1",
        "the camera's image, of any encoding that perception_node takes",
    ),
    input(
        "/tf",
        "tf2_msgs/msg/TFMessage",
        "best effort, volatile, keep last 100",
        "with hand_frame: where the hand is",
    ),
    input("/tf_static", "tf2_msgs/msg/TFMessage", "reliable, transient local, keep last 100", "as /tf"),
];

/// Saves `count` pictures as PNG, named by their stamps, then ends.
///
/// # Errors
/// A folder that is not there, an image that cannot be read or written, or none that can be used for too long.
pub fn run(ros: &mut RosNode, stop: &Stop) -> Result<()> {
    let Some(folder) = ros.parameters.optional("folder")?.map(PathBuf::from).filter(|folder| folder.is_dir())
    else {
        return Err(ros.parameters.refuse("folder", "a folder that is there").into());
    };
    let count = ros.parameters.integer("count")?;
    let seconds = |name| ros.parameters.number(name).map(Duration::from_secs_f64);
    let (interval, timeout) = (seconds("interval_secs")?, seconds("timeout_secs")?);
    let hand = Hand::of_parameters(ros)?;
    if hand.is_some() && folder.join(POSES).exists() {
        return Err(ros
            .parameters
            .refuse("folder", "a folder without robot.csv, of an earlier session")
            .into());
    }
    let newest = subscribe(ros)?;
    ros.all_topics_are_named()?;
    ros.logger.info(format!("ready: {count} picture(s) of {} to {}", ros.resolve("image"), folder.display()));
    let (mut due, mut heard, mut saved) = (Instant::now(), Instant::now(), 0);
    let mut unusable = "no image".to_owned();
    while !stop.is_set() && saved < count {
        ros.turn()?;
        let now = Instant::now();
        if now.duration_since(heard) > timeout {
            anyhow::bail!("{}: {unusable} for {:.1} s", ros.resolve("image"), timeout.as_secs_f64());
        }
        if now < due {
            if newest.take().is_some() {
                heard = now;
            }
            continue;
        }
        let Some(image) = newest.take() else { continue };
        let stamp = convert::stamp(&image.header.stamp);
        let pose = match hand.as_ref().map(|hand| hand.at_rest(ros, stop, stamp)).transpose()? {
            Some(Err(reason)) => {
                ros.logger.warn(format!("picture left out: {reason}"));
                unusable = format!("no picture with the hand's pose ({reason})");
                continue;
            }
            Some(Ok(pose)) => Some(pose),
            None => None,
        };
        let path = save(&image, &folder).with_context(|| ros.resolve("image"))?;
        if let Some(pose) = pose {
            note(&folder.join(POSES), &path, &pose)?;
        }
        saved += 1;
        ros.logger.info(format!("{saved} of {count}: {}", path.display()));
        heard = Instant::now();
        due = heard + interval;
    }
    Ok(())
}

/// The robot's hand, by `/tf`.
struct Hand {
    base: String,
    hand: String,
    frames: Rc<RefCell<Buffer>>,
}

impl Hand {
    fn of_parameters(ros: &mut RosNode) -> Result<Option<Self>> {
        let names = (ros.parameters.optional("base_frame")?, ros.parameters.optional("hand_frame")?);
        let (base, hand) = match names {
            (None, None) => return Ok(None),
            (Some(base), Some(hand)) => (base, hand),
            (None, Some(_)) => {
                return Err(ros.parameters.refuse("base_frame", "a frame, with hand_frame").into());
            }
            (Some(_), None) => {
                return Err(ros.parameters.refuse("hand_frame", "a frame, with base_frame").into());
            }
        };
        let frames = Rc::new(RefCell::new(Buffer::new(KEEP)));
        let kept = frames.clone();
        listen::to_frames(ros, move |transform, fixed| kept.borrow_mut().insert(transform, fixed))?;
        Ok(Some(Self { base, hand, frames }))
    }

    fn at(&self, stamp: Stamp) -> Result<Isometry3<f64>, TfError> {
        self.frames.borrow().target_from_source(&self.base, &self.hand, stamp)
    }

    /// The hand in the base at a stamp, when it stands still around it; else why there is none. Transforms that are on their
    /// way are waited for.
    fn at_rest(
        &self,
        ros: &mut RosNode,
        stop: &Stop,
        stamp: Stamp,
    ) -> Result<Result<Isometry3<f64>, String>> {
        let times = [earlier(stamp, STILL_BEFORE), later(stamp, STILL_FOR)];
        let end = Instant::now() + KEEP;
        loop {
            let [before, after] = times.map(|time| self.at(time));
            let error = match (before, self.at(stamp), after) {
                (Ok(before), Ok(now), Ok(after)) => {
                    let moves = [before, after].map(|other| {
                        let shift = (now.translation.vector - other.translation.vector).norm();
                        [now.rotation.angle_to(&other.rotation), shift]
                    });
                    let [turn, shift] = [0, 1].map(|which| moves[0][which].max(moves[1][which]));
                    let moved = turn > STILL[0] || shift > STILL[1];
                    let reason = || {
                        format!(
                            "the hand moved by {:.1} mm and {:.2} degrees",
                            1e3 * shift,
                            turn.to_degrees()
                        )
                    };
                    return Ok(if moved { Err(reason()) } else { Ok(now) });
                }
                (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => error,
            };
            if stop.is_set() || Instant::now() > end {
                return Ok(Err(error.to_string()));
            }
            ros.turn()?;
        }
    }
}

fn later(stamp: Stamp, time: Duration) -> Stamp {
    let nanoseconds = u64::from(stamp.nanosec) + time.as_nanos() as u64;
    let seconds = i32::try_from(nanoseconds / 1_000_000_000).unwrap_or(i32::MAX);
    Stamp { sec: stamp.sec.saturating_add(seconds), nanosec: (nanoseconds % 1_000_000_000) as u32 }
}

/// Not before the clock's start.
fn earlier(stamp: Stamp, time: Duration) -> Stamp {
    let nanoseconds =
        i64::from(stamp.sec) * 1_000_000_000 + i64::from(stamp.nanosec) - time.as_nanos() as i64;
    let nanoseconds = nanoseconds.max(0);
    Stamp { sec: (nanoseconds / 1_000_000_000) as i32, nanosec: (nanoseconds % 1_000_000_000) as u32 }
}

/// Adds a pose to the file of poses, as `pixio calibrate hand-eye --robot` reads them.
fn note(file: &Path, picture: &Path, base_from_hand: &Isometry3<f64>) -> Result<()> {
    let naming = || file.display().to_string();
    let mut poses = OpenOptions::new().create(true).append(true).open(file).with_context(naming)?;
    if poses.metadata().with_context(naming)?.len() == 0 {
        writeln!(poses, "name,x,y,z,qx,qy,qz,qw").with_context(naming)?;
    }
    let name = picture.file_stem().unwrap_or_default().to_string_lossy();
    let (p, q) = (base_from_hand.translation.vector, base_from_hand.rotation.coords);
    writeln!(poses, "{name},{},{},{},{},{},{},{}", p.x, p.y, p.z, q.x, q.y, q.z, q.w).with_context(naming)
}

type Newest = Rc<RefCell<Option<Image>>>;

fn subscribe(ros: &mut RosNode) -> Result<Newest> {
    let newest = Newest::default();
    let kept = newest.clone();
    let qos = QosProfile::default().keep_last(1).best_effort();
    listen::each::<Image>(ros, "image", qos, move |image| *kept.borrow_mut() = Some(image))?;
    Ok(newest)
}

fn save(message: &Image, folder: &Path) -> Result<PathBuf> {
    let view = convert::image(&convert::image_view(message))?;
    let size = view.size();
    let mut rgb = vec![0; 3 * size.area()];
    view.write_rgb(&mut rgb);
    let stamp = &message.header.stamp;
    let path = folder.join(format!("{}_{:09}.png", stamp.sec, stamp.nanosec));
    let picture =
        RgbImage::from_raw(size.width as u32, size.height as u32, rgb).context("picture of another size")?;
    picture.save(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}
