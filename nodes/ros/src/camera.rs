//! `camera_node`: photographs as a camera.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use calibration::{CameraInfo, Size};
use image::RgbImage;
use perception::Decompressor;
use r2r::QosProfile;
use r2r::sensor_msgs::msg::Image;
use r2r::std_msgs::msg::Header;

use crate::convert::camera_info_message;
use crate::declare::{Allowed, Declared, Direction, Preset, Reference, Topic};
use crate::parameters::Parameters;
use crate::ros_node::RosNode;
use crate::spin::Stop;

/// What `camera_node` declares.
pub const REFERENCE: Reference = Reference {
    name: "camera_node",
    about: "Photographs as a camera: images with their calibration, at a rate.",
    managed: false,
    parameters: PARAMETERS,
    topics: TOPICS,
    services: &[],
};

const ENCODINGS: &[&str] = &["rgb8", "bgr8", "mono8"];

const PARAMETERS: &[Declared] = &[
    Declared::at_start(
        "images",
        Preset::Texts(&[]),
        "",
        Allowed::Any,
        "picture files, and folders of pictures; required",
    ),
    Declared::at_start(
        "camera_info_file",
        Preset::Text(""),
        "",
        Allowed::Any,
        "camera_info YAML file; required",
    ),
    Declared::at_start(
        "rate_hz",
        Preset::Number(10.0),
        "Hz",
        Allowed::Numbers(0.01, 1000.0),
        "images per second",
    ),
    Declared::at_start(
        "loop",
        Preset::Flag(true),
        "",
        Allowed::Any,
        "begin anew after the last picture; false: end",
    ),
    Declared::at_start(
        "frame_id",
        Preset::Text("camera_optical_frame"),
        "",
        Allowed::Any,
        "the camera's optical frame",
    ),
    Declared::at_start(
        "encoding",
        Preset::Text("rgb8"),
        "",
        Allowed::Choices(ENCODINGS),
        "encoding of the images",
    ),
];

const fn out(name: &'static str, kind: &'static str, description: &'static str) -> Topic {
    let qos = "reliable, volatile, keep last 1";
    Topic { name, kind, direction: Direction::Out, per_camera: false, qos, description }
}

const TOPICS: &[Topic] = &[
    out("image", "sensor_msgs/msg/Image", "a picture; stamped with ROS time"),
    out(
        "camera_info",
        "sensor_msgs/msg/CameraInfo",
        "the calibration of the file; stamp and frame of the image",
    ),
];

/// The parameters of `camera_node`, checked.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    images: Vec<PathBuf>,
    camera_info_file: PathBuf,
    rate_hz: f64,
    repeat: bool,
    frame_id: String,
    encoding: String,
}

impl Settings {
    fn read(parameters: &Parameters) -> Result<Self> {
        let images: Vec<_> = parameters.texts("images")?.into_iter().map(PathBuf::from).collect();
        if images.is_empty() {
            return Err(parameters.refuse("images", "a list of picture files or folders").into());
        }
        let Some(file) = parameters.optional("camera_info_file")? else {
            return Err(parameters.refuse("camera_info_file", "a camera_info YAML file").into());
        };
        Ok(Self {
            images,
            camera_info_file: file.into(),
            rate_hz: parameters.number("rate_hz")?,
            repeat: parameters.flag("loop")?,
            frame_id: parameters.text("frame_id")?,
            encoding: parameters.text("encoding")?,
        })
    }
}

/// Publishes photographs as `image` with `camera_info` of the same stamp, at a rate, until `stop` or the last one.
///
/// # Errors
/// When a parameter, a picture or the calibration is refused; all before the first frame.
pub fn run(ros: &mut RosNode, stop: &Stop) -> Result<()> {
    let settings = Settings::read(&ros.parameters)?;
    let named = calibration::read_camera_info_yaml(&settings.camera_info_file)?;
    let pictures = read_pictures(&settings, named.info.size)?;
    let qos = QosProfile::default().keep_last(1).reliable();
    let images = ros.publisher::<Image>("image", qos.clone())?;
    let infos = ros.publisher("camera_info", qos)?;
    ros.all_topics_are_named()?;
    ros.logger.info(format!(
        "{} picture(s) of {} at {} Hz, calibration {}",
        pictures.len(),
        named.info.size,
        settings.rate_hz,
        named.name
    ));
    let period = Duration::from_secs_f64(1.0 / settings.rate_hz);
    let (mut due, mut sent) = (Instant::now(), 0);
    while !stop.is_set() && (settings.repeat || sent < pictures.len()) {
        ros.turn()?;
        let now = Instant::now();
        if now < due {
            continue;
        }
        // A late frame does not make the next ones hurry.
        due = (due + period).max(now);
        let header = Header { stamp: ros.clock.now(), frame_id: settings.frame_id.clone() };
        let (image, info) = pictures[sent % pictures.len()].message(header, &named.info);
        infos.publish(&info).and_then(|()| images.publish(&image)).context("cannot publish")?;
        sent += 1;
    }
    Ok(())
}

/// One picture in the camera's encoding.
struct Picture {
    size: Size,
    encoding: String,
    data: Vec<u8>,
}

impl Picture {
    fn new(rgb: RgbImage, encoding: &str) -> Self {
        let size = Size { width: rgb.width() as usize, height: rgb.height() as usize };
        let data = match encoding {
            "bgr8" => rgb.pixels().flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect(),
            "mono8" => image::imageops::grayscale(&rgb).into_raw(),
            _ => rgb.into_raw(),
        };
        Self { size, encoding: encoding.to_owned(), data }
    }

    fn message(&self, header: Header, info: &CameraInfo) -> (Image, r2r::sensor_msgs::msg::CameraInfo) {
        let image = Image {
            header: header.clone(),
            height: self.size.height as u32,
            width: self.size.width as u32,
            encoding: self.encoding.clone(),
            is_bigendian: 0,
            step: (self.data.len() / self.size.height) as u32,
            data: self.data.clone(),
        };
        (image, camera_info_message(header, info))
    }
}

/// Reads all pictures, which must be of the calibration's size.
fn read_pictures(settings: &Settings, expected: Size) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for path in files(&settings.images)? {
        let rgb = read(&path).with_context(|| path.display().to_string())?;
        let picture = Picture::new(rgb, &settings.encoding);
        if picture.size != expected {
            bail!(
                "{}: expected the calibration's size {expected} ({}), got {}",
                path.display(),
                settings.camera_info_file.display(),
                picture.size
            );
        }
        pictures.push(picture);
    }
    Ok(pictures)
}

/// A JPEG or PNG file's pixels, by the rules of compressed frames: none that is cut off.
fn read(path: &Path) -> Result<RgbImage> {
    let bytes = std::fs::read(path)?;
    let mut decompressor = Decompressor::default();
    let view = decompressor.decode("", &bytes)?;
    let mut rgb = vec![0; 3 * view.size().area()];
    view.write_rgb(&mut rgb);
    let (width, height) = (view.size().width as u32, view.size().height as u32);
    RgbImage::from_raw(width, height, rgb).context("expected as many pixels as the size says")
}

/// The files named, and the pictures of the folders named, sorted.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in named {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut inside = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        inside.retain(|path| is_picture(path));
        inside.sort();
        if inside.is_empty() {
            bail!("{}: expected .jpg, .jpeg or .png pictures in this folder, found none", path.display());
        }
        found.extend(inside);
    }
    Ok(found)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png"))
}
