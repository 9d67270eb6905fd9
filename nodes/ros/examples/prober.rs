//! A camera, and the one who waits for its depth: what comes back of each image, and how long it took, whoever computes it.
//!
//! Arguments: size of the images (WxH), images per second on each topic, seconds, `best_effort` or `reliable`, then for each camera
//! `IMAGE_TOPIC=RESULT_TOPIC` (full names). Images are `rgb8`, stamped when they are published, cameras one after another within a
//! period; beside each image topic `camera_info` is published. Once everything is connected it prints `connected` and waits for a line.
//! Then it prints one line of JSON: for every camera, for every image `[seconds since the first, milliseconds until the first result with
//! its stamp came, or null]`.
//!
//! Messages are serialised before, and results are looked at no further than their stamp, so that little of a time is the prober's own.

use std::collections::HashMap;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use calibration::Size;
use perception::Stamp;
use pixio_ros::cdr::{Header, ImageMessageView, Written};
use pixio_ros::raw::{Participant, Publisher, Queue, Receiver, TypeName};
use pixio_ros::spin::Stop;
use r2r::{QosProfile, WrappedTypesupport};
use serde_json::json;

const IMAGE: &str = "sensor_msgs/msg/Image";
const INFO: &str = "sensor_msgs/msg/CameraInfo";

/// Bytes of results that may wait.
const BUDGET: usize = 256 << 20;

/// A node follows the offers of its publishers twice a second; it is given time to.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the last results may take.
const DRAIN: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// One camera.
struct Camera {
    image: Publisher,
    info: Publisher,
    /// When each image was sent, after the first of all, and how long its result took.
    sent: Vec<(Duration, Option<Duration>)>,
    waiting: HashMap<Stamp, usize>,
}

/// What is asked for.
struct Plan {
    size: Size,
    period: Duration,
    images: usize,
    qos: QosProfile,
    topics: Vec<(String, String)>,
}

impl Plan {
    fn of(arguments: &[String]) -> Result<Self> {
        let [size, rate, seconds, reliability, topics @ ..] = arguments else {
            bail!("expected WxH IMAGES_PER_SECOND SECONDS best_effort|reliable IMAGE_TOPIC=RESULT_TOPIC ...")
        };
        let size = Size::from_str(size).map_err(anyhow::Error::msg)?;
        let rate: f64 = rate.parse().context("IMAGES_PER_SECOND")?;
        let seconds: f64 = seconds.parse().context("SECONDS")?;
        ensure!(rate > 0.0 && seconds > 0.0, "expected a rate and seconds above 0, got {rate} and {seconds}");
        let newest = QosProfile::default().keep_last(1);
        let qos = match reliability.as_str() {
            "best_effort" => newest.best_effort(),
            "reliable" => newest.reliable(),
            other => bail!("expected best_effort or reliable, got {other:?}"),
        };
        let pair = |text: &String| {
            let (image, result) = text.split_once('=').context("expected IMAGE_TOPIC=RESULT_TOPIC")?;
            Ok((image.to_owned(), result.to_owned()))
        };
        let topics = topics.iter().map(pair).collect::<Result<Vec<_>>>()?;
        ensure!(!topics.is_empty(), "expected at least one IMAGE_TOPIC=RESULT_TOPIC");
        Ok(Self {
            size,
            period: Duration::from_secs_f64(1.0 / rate),
            images: (rate * seconds) as usize,
            qos,
            topics,
        })
    }
}

fn run() -> Result<()> {
    let plan = Plan::of(&std::env::args().skip(1).collect::<Vec<_>>())?;
    let stop = Stop::on_signals()?;
    let participant = Participant::new("prober", "/")?;
    let queue = Arc::new(Queue::new(BUDGET));
    let receiver = Receiver::start(participant.clone(), queue.clone())?;
    let (image_kind, info_kind) = (TypeName::from_str(IMAGE)?, TypeName::from_str(INFO)?);
    let mut cameras = Vec::new();
    for (stream, (image, result)) in plan.topics.iter().enumerate() {
        let info = format!("{}/camera_info", image.rsplit_once('/').map_or("", |(before, _)| before));
        receiver.subscribe(stream, result, &image_kind, &QosProfile::default().keep_last(4).reliable())?;
        cameras.push(Camera {
            image: Publisher::new(&participant, image, &image_kind, &plan.qos)?,
            info: Publisher::new(&participant, &info, &info_kind, &plan.qos)?,
            sent: Vec::with_capacity(plan.images),
            waiting: HashMap::new(),
        });
    }
    while !stop.is_set() && !are_connected(&cameras)? {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(SETTLE);
    println!("connected");
    std::io::stdin().read_line(&mut String::new())?;
    probe(&plan, &mut cameras, &queue, &stop)?;
    let told = |camera: &Camera| -> Vec<_> {
        let millis = |took: &Duration| 1e3 * took.as_secs_f64();
        camera.sent.iter().map(|(at, took)| json!([at.as_secs_f64(), took.as_ref().map(millis)])).collect()
    };
    println!("{}", json!(cameras.iter().map(told).collect::<Vec<_>>()));
    Ok(())
}

fn are_connected(cameras: &[Camera]) -> Result<bool> {
    let counts: Result<Vec<_>, _> = cameras.iter().map(|camera| camera.image.subscriptions()).collect();
    Ok(counts?.iter().all(|count| *count > 0))
}

/// Publishes every image when it is due and takes results in between.
fn probe(plan: &Plan, cameras: &mut [Camera], queue: &Queue, stop: &Stop) -> Result<()> {
    let (mut image, mut info) = (Written::default(), camera_info(plan.size)?);
    let step = 3 * plan.size.width;
    let header = |stamp| Header { stamp, frame_id: "camera" };
    let pixels = image.image(header(Stamp { sec: 0, nanosec: 0 }), plan.size, "rgb8", step);
    pixels.iter_mut().enumerate().for_each(|(index, byte)| *byte = (index / 7) as u8);
    let mut message = image.bytes().to_vec();
    let total = plan.images * cameras.len();
    let offset = plan.period / cameras.len() as u32;
    let began = Instant::now();
    for turn in 0..total {
        let due = offset * u32::try_from(turn).context("too many images")?;
        take_until(began + due, cameras, queue, began)?;
        if stop.is_set() {
            return Ok(());
        }
        let count = cameras.len();
        let camera = &mut cameras[turn % count];
        let stamp = now();
        put_stamp(&mut info, stamp);
        put_stamp(&mut message, stamp);
        camera.info.publish(&info)?;
        camera.waiting.insert(stamp, camera.sent.len());
        camera.sent.push((began.elapsed(), None));
        camera.image.publish(&message)?;
    }
    take_until(Instant::now() + DRAIN, cameras, queue, began)
}

/// Takes results until a moment.
fn take_until(end: Instant, cameras: &mut [Camera], queue: &Queue, began: Instant) -> Result<()> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let Some(message) = queue.take(left) else { continue };
        let (came, camera) = (began.elapsed(), &mut cameras[message.stream]);
        let stamp = ImageMessageView::read(&message.bytes)?.header.stamp;
        if let Some(index) = camera.waiting.remove(&stamp) {
            let (sent, took) = &mut camera.sent[index];
            *took = Some(came.saturating_sub(*sent));
        }
    }
}

fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp { sec: since.as_secs() as i32, nanosec: since.subsec_nanos() }
}

/// A header comes first in both messages, and its stamp first in it.
fn put_stamp(message: &mut [u8], stamp: Stamp) {
    message[4..8].copy_from_slice(&stamp.sec.to_le_bytes());
    message[8..12].copy_from_slice(&stamp.nanosec.to_le_bytes());
}

/// A pinhole of about 60 degrees with its axis in the middle.
fn camera_info(size: Size) -> Result<Vec<u8>> {
    let (focal, cx) = (0.87 * size.width as f64, (size.width as f64 - 1.0) / 2.0);
    let cy = (size.height as f64 - 1.0) / 2.0;
    let info = r2r::sensor_msgs::msg::CameraInfo {
        header: r2r::std_msgs::msg::Header { frame_id: "camera".to_owned(), ..Default::default() },
        height: size.height as u32,
        width: size.width as u32,
        distortion_model: "plumb_bob".to_owned(),
        d: vec![0.0; 5],
        k: vec![focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: vec![focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
        ..Default::default()
    };
    info.to_serialized_bytes().context("camera_info")
}
