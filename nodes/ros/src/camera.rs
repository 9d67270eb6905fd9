//! `camera_node`: photographs as a camera.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use calibration::{CameraInfo, Size};
use futures::executor::LocalPool;
use image::RgbImage;
use r2r::QosProfile;
use r2r::builtin_interfaces::msg::Time;
use r2r::sensor_msgs::msg::Image;
use r2r::std_msgs::msg::Header;

use crate::convert::camera_info_message;
use crate::parameters::Parameters;
use crate::spin::{Stop, until_stopped};

const DECLARED: [&str; 6] = ["images", "camera_info_file", "rate_hz", "loop", "frame_id", "encoding"];

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
    fn read(node: &r2r::Node) -> Result<Self> {
        let parameters = Parameters::of(node, &DECLARED)?;
        let images: Vec<_> = parameters.texts("images")?.into_iter().map(PathBuf::from).collect();
        if images.is_empty() {
            return Err(parameters.refuse("images", "a list of picture files or folders").into());
        }
        let file = parameters.text("camera_info_file", "")?;
        if file.is_empty() {
            return Err(parameters.refuse("camera_info_file", "a camera_info YAML file").into());
        }
        Ok(Self {
            images,
            camera_info_file: file.into(),
            rate_hz: parameters.number("rate_hz", 10.0, 0.01..=1000.0)?,
            repeat: parameters.flag("loop", true)?,
            frame_id: parameters.text("frame_id", "camera_optical_frame")?,
            encoding: parameters.choice("encoding", &["rgb8", "bgr8", "mono8"])?,
        })
    }
}

/// Publishes photographs as `image` with `camera_info` of the same stamp, at a rate, until `stop` or the last one.
///
/// # Errors
/// When a parameter, a picture or the calibration is refused; all before the first frame.
pub fn run(mut node: r2r::Node, stop: &Stop) -> Result<()> {
    let settings = Settings::read(&node)?;
    let logger = node.logger().to_owned();
    let named = calibration::read_camera_info_yaml(&settings.camera_info_file)?;
    let pictures = read_pictures(&settings, named.info.size)?;
    let qos = QosProfile::default().keep_last(1).reliable();
    let images = node.create_publisher::<Image>("image", qos.clone()).context("image")?;
    let infos = node.create_publisher("camera_info", qos).context("camera_info")?;
    r2r::log_info!(
        &logger,
        "{} picture(s) of {} at {} Hz, calibration {}",
        pictures.len(),
        named.info.size,
        settings.rate_hz,
        named.name
    );
    let clock = node.get_ros_clock();
    let period = Duration::from_secs_f64(1.0 / settings.rate_hz);
    let (mut due, mut sent) = (Instant::now(), 0);
    let mut failure = None;
    until_stopped(&mut node, &mut LocalPool::new(), stop, |_| {
        let now = Instant::now();
        if now < due {
            return;
        }
        // A late frame does not make the next ones hurry.
        due = (due + period).max(now);
        let header = Header { stamp: now_of(&clock), frame_id: settings.frame_id.clone() };
        let message = pictures[sent % pictures.len()].message(header, &named.info);
        let published = infos.publish(&message.1).and_then(|()| images.publish(&message.0));
        failure = published.err();
        sent += 1;
        if failure.is_some() || (!settings.repeat && sent == pictures.len()) {
            stop.set();
        }
    });
    match failure {
        Some(error) => bail!("cannot publish: {error}"),
        None => Ok(()),
    }
}

fn now_of(clock: &std::sync::Mutex<r2r::Clock>) -> Time {
    let mut clock = clock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    clock.get_now().map_or_else(|_| Time::default(), |now| r2r::Clock::to_builtin_time(&now))
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
        let rgb = image::open(&path).with_context(|| path.display().to_string())?.into_rgb8();
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
