//! Cameras and joints as a load: images `rgb8` 640x480 and joint states with a number of their own in each message, so that
//! a loss shows in the data.
//!
//! Arguments: seconds, cameras, images per second of each, joint states per second, seconds of messages that are kept for a
//! subscriber that is slow for a moment. Publishes `/load/camera_<n>` and
//! `/load/joints` once each has a subscriber and a line has come on standard input; prints what was sent, and at which byte of
//! a message its number is, as JSON; then waits for SIGINT, so that reliable delivery can end.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use pixio_ros::raw::{Participant, Publisher, TypeName};
use pixio_ros::spin::Stop;
use r2r::QosProfile;
use serde_json::json;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// One topic of the load.
struct Source {
    topic: String,
    publisher: Publisher,
    /// The message, whose number and stamp are written anew each time.
    bytes: Vec<u8>,
    number_at: usize,
    period: Duration,
    total: u64,
    sent: u64,
}

fn run() -> Result<()> {
    let arguments: Vec<f64> =
        std::env::args().skip(1).map(|text| text.parse().context(text)).collect::<Result<_>>()?;
    let [seconds, cameras, image_hz, joint_hz, kept_seconds] = arguments[..] else {
        bail!("expected SECONDS CAMERAS IMAGES_PER_SECOND JOINT_STATES_PER_SECOND SECONDS_KEPT")
    };
    let stop = Stop::on_signals()?;
    let participant = Participant::new("load_generator", "/")?;
    let mut sources = Vec::new();
    let mut add = |topic: String, kind: &str, (bytes, number_at): (Vec<u8>, usize), hz: f64| -> Result<()> {
        let qos = QosProfile::default().keep_last((hz * kept_seconds) as usize).reliable();
        let publisher = Publisher::new(&participant, &topic, &TypeName::from_str(kind)?, &qos)?;
        let period = Duration::from_secs_f64(1.0 / hz);
        sources.push(Source {
            topic,
            publisher,
            bytes,
            number_at,
            period,
            total: (seconds * hz) as u64,
            sent: 0,
        });
        Ok(())
    };
    for camera in 0..cameras as usize {
        add(format!("/load/camera_{camera}"), "sensor_msgs/msg/Image", image(camera), image_hz)?;
    }
    add("/load/joints".to_owned(), "sensor_msgs/msg/JointState", joint_state(), joint_hz)?;
    while !stop.is_set() && !all_have_subscribers(&sources)? {
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("connected");
    std::io::stdin().read_line(&mut String::new())?;
    let begun = Instant::now();
    publish(&mut sources, begun, &stop)?;
    let sent: serde_json::Map<String, serde_json::Value> =
        sources.iter().map(|source| (source.topic.clone(), source.sent.into())).collect();
    let at: serde_json::Map<String, serde_json::Value> =
        sources.iter().map(|source| (source.topic.clone(), source.number_at.into())).collect();
    println!("{}", json!({ "sent": sent, "number_at": at, "seconds": begun.elapsed().as_secs_f64() }));
    while !stop.is_set() {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn all_have_subscribers(sources: &[Source]) -> Result<bool> {
    let counts: Result<Vec<_>, _> = sources.iter().map(|source| source.publisher.subscriptions()).collect();
    Ok(counts?.iter().all(|count| *count > 0))
}

/// Publishes all of it, each message when it is due; one that is late is sent at once, so that the number stays the same.
fn publish(sources: &mut [Source], begun: Instant, stop: &Stop) -> Result<()> {
    let due = |source: &Source| source.period.mul_f64(source.sent as f64);
    while !stop.is_set() {
        let left = sources.iter_mut().filter(|source| source.sent < source.total);
        let Some(source) = left.min_by_key(|source| due(source)) else { return Ok(()) };
        std::thread::sleep(due(source).saturating_sub(begun.elapsed()));
        source.stamp();
        // A publisher whose subscriber is too far behind waits for it.
        while let Err(error) = source.publisher.publish(&source.bytes) {
            eprintln!("{error}");
            std::thread::sleep(Duration::from_millis(10));
        }
        source.sent += 1;
    }
    Ok(())
}

impl Source {
    fn stamp(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.bytes[4..8].copy_from_slice(&(since.as_secs() as u32).to_le_bytes());
        self.bytes[8..12].copy_from_slice(&since.subsec_nanos().to_le_bytes());
        let number = (self.sent as f64).to_le_bytes();
        self.bytes[self.number_at..self.number_at + 8].copy_from_slice(&number);
    }
}

/// CDR up to the header's frame: stamp and an empty text.
fn header() -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend([0; 8]);
    text(&mut bytes, "");
    bytes
}

fn number(bytes: &mut Vec<u8>, value: u32) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(value.to_le_bytes());
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    number(bytes, text.len() as u32 + 1);
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// An image whose first eight bytes are its number as a double, and where they are.
fn image(camera: usize) -> (Vec<u8>, usize) {
    let mut bytes = header();
    number(&mut bytes, HEIGHT as u32);
    number(&mut bytes, WIDTH as u32);
    text(&mut bytes, "rgb8");
    bytes.push(0);
    number(&mut bytes, 3 * WIDTH as u32);
    number(&mut bytes, (3 * WIDTH * HEIGHT) as u32);
    let at = bytes.len();
    bytes.extend((0..3 * WIDTH * HEIGHT).map(|index| (index / 7 * (camera + 1)) as u8));
    (bytes, at)
}

/// A joint state whose first position is its number, and where that is.
fn joint_state() -> (Vec<u8>, usize) {
    let names = ["number", "pan", "lift", "elbow", "wrist", "gripper"];
    let mut bytes = header();
    number(&mut bytes, names.len() as u32);
    names.iter().for_each(|name| text(&mut bytes, name));
    number(&mut bytes, names.len() as u32);
    // Doubles are aligned to eight bytes after the encapsulation header.
    bytes.resize((bytes.len() - 4).next_multiple_of(8) + 4, 0);
    let at = bytes.len();
    bytes.extend([0; 48]);
    number(&mut bytes, 0);
    number(&mut bytes, 0);
    (bytes, at)
}
