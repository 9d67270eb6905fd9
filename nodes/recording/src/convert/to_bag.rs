//! An episode of a dataset into a bag, with the contract that makes the same rows of it again.

use std::collections::BTreeMap;
use std::path::Path;

use calibration::Size;

use super::ConvertError;
use super::messages::{self, COMPRESSED_IMAGE, IMAGE, JOINT_STATE, Kind, NUMBERS, TEXT};
use crate::align::{EVENT_TOPIC, Event};
use crate::bag::{BagMetadata, BagOptions, BagWriter, ChannelId, Distro};
use crate::dataset::{ColumnData, DatasetError, DatasetReader, EpisodeInfo, FeatureInfo, Pictures};
use crate::{Stamps, Topic};

/// Where the task is said.
pub const TASK_TOPIC: &str = "/task";
/// Columns that follow from a frame's place.
const COUNTED: [&str; 5] = ["timestamp", "frame_index", "episode_index", "index", "task_index"];
/// When each frame was due, in datasets of this program.
const TIME: &str = "rec.time";
/// How long rows wait for messages when the bag is converted again: those of a frame have one stamp.
const SETTLE_NANOS: u64 = 1_000_000;

/// A feature on its way into a topic.
struct Output {
    key: String,
    topic: Topic,
    names: Vec<String>,
    values: Values,
}

enum Values {
    /// So many per frame.
    Numbers {
        joints: bool,
        length: usize,
        values: Vec<f64>,
    },
    Files(std::vec::IntoIter<Vec<u8>>),
    Video {
        size: Size,
        pictures: Box<Pictures>,
    },
}

/// Writes an episode as a bag at `place`: state and action as joint states, pictures as images (of a video raw, as they are
/// decoded), other numbers as arrays; frames without pauses, each with one stamp for all its messages. The bag names the task and
/// a contract by which it becomes the same rows again (pictures of a video are compressed once more).
///
/// # Errors
/// Something is at `place`, the dataset is damaged or its videos are not H.264, or the disk is full.
pub fn episode_to_bag(
    dataset: &DatasetReader,
    episode: &EpisodeInfo,
    place: &Path,
    distro: Distro,
) -> Result<BagMetadata, ConvertError> {
    let mut outputs = Vec::new();
    for (key, feature) in &dataset.info().features.0 {
        if !COUNTED.contains(&key.as_str()) {
            outputs.extend(output(dataset, episode, key, feature)?);
        }
    }
    let stamps = stamps(dataset, episode)?;
    let custom_data = BTreeMap::from([("dataset_episode".to_owned(), episode.episode.to_string())]);
    let mut bag = Bag::create(place, BagOptions { distro, custom_data, ..BagOptions::default() }, &outputs)?;
    let start = start(dataset, episode, &outputs);
    match bag.fill(&start, stamps, outputs) {
        Ok(()) => Ok(bag.writer.finish()?),
        Err(error) => {
            // What came first is what is told.
            let _ = bag.writer.discard();
            Err(error)
        }
    }
}

/// When each frame was, and whether something was left out before it.
fn stamps(dataset: &DatasetReader, episode: &EpisodeInfo) -> Result<Vec<(u64, bool)>, ConvertError> {
    let fps = dataset.fps();
    // As the contract counts, or the last nanosecond would show the frame before.
    let offset = |frame: usize| (frame as f64 * 1e9 / fps).round() as u64;
    let known = dataset.info().features.get(TIME).is_some();
    let due = if known { dataset.numbers(episode, TIME)?.1 } else { Vec::new() };
    // Made anew from the first of each run of frames: the numbers that were read are rounded.
    let (mut from, mut first) = (due.first().map_or(0, |time| *time as u64), 0);
    let mut stamps = Vec::new();
    for frame in 0..episode.frames as usize {
        let mut stamp = from + offset(frame) - offset(first);
        let is_late = |due: &f64| *due > stamp as f64 + 0.5e9 / fps;
        let after_pause = due.get(frame).is_some_and(is_late);
        if let (true, Some(due)) = (after_pause, due.get(frame)) {
            (from, first) = (*due as u64, frame);
            stamp = from;
        }
        stamps.push((stamp, after_pause));
    }
    Ok(stamps)
}

fn output(
    dataset: &DatasetReader,
    episode: &EpisodeInfo,
    key: &str,
    feature: &FeatureInfo,
) -> Result<Option<Output>, ConvertError> {
    let name = format!("/{}", key.replace('.', "/"));
    let names = dataset.names(key);
    let (kind, values): (&Kind, _) = if feature.is_video() {
        let (size, _) = dataset.picture(episode, key, 0)?;
        let pictures = Box::new(dataset.pictures(episode, key)?);
        (&IMAGE, Values::Video { size, pictures })
    } else {
        match dataset.columns(episode, &[key])?.remove(key) {
            Some(ColumnData::Numbers { length, values }) => {
                let joints = matches!(key, "observation.state" | "action") && names.len() == length;
                let kind = if joints { &JOINT_STATE } else { &NUMBERS };
                (kind, Values::Numbers { joints, length, values })
            }
            Some(ColumnData::Pictures(files)) => (&COMPRESSED_IMAGE, Values::Files(files.into_iter())),
            // A text per frame says what a task says.
            Some(ColumnData::Texts(_)) | None => return Ok(None),
        }
    };
    Ok(Some(Output { key: key.to_owned(), topic: kind.topic(&name), names, values }))
}

impl Output {
    fn camera(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or_default()
    }

    fn message(&mut self, frame: usize, stamp: u64) -> Result<Vec<u8>, ConvertError> {
        let camera = self.camera().to_owned();
        let missing = || DatasetError::Row {
            frame: frame as u64,
            feature: self.key.clone(),
            problem: "expected a picture, there is none".to_owned(),
        };
        Ok(match &mut self.values {
            Values::Numbers { joints, length, values } => {
                let values = values.get(frame * *length..(frame + 1) * *length).unwrap_or_default();
                match joints {
                    true => messages::joint_state(stamp, &self.names, values),
                    false => messages::numbers(values),
                }
            }
            Values::Files(files) => {
                messages::compressed_image(stamp, &camera, &files.next().ok_or_else(missing)?)
            }
            Values::Video { pictures, .. } => {
                let (size, rgb) = pictures.next().ok_or_else(missing)??;
                messages::image(stamp, &camera, size, &rgb)
            }
        })
    }

    /// The stream of the contract, where the contract can say it.
    fn stream(&self, number: usize, size: Option<Size>, fps: f64) -> Option<String> {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let timeline = |header: bool| if header { "header" } else { "receive" };
        let (role, header, what) = match (&self.values, self.key.as_str()) {
            (Values::Numbers { joints, length, .. }, key) => {
                let role = match key {
                    "observation.state" => "observation",
                    "action" => "action",
                    "rec.requested_action" => "requested",
                    "rec.policy_action" => "policy",
                    _ => return None,
                };
                if self.names.len() != *length {
                    return None;
                }
                let names: Vec<String> = self.names.iter().map(|name| quote(name)).collect();
                let field = if *joints { "position" } else { "data" };
                (role, *joints, format!("fields: [{field}], names: [{}]", names.join(", ")))
            }
            (values, _) => {
                let pictures = if matches!(values, Values::Video { .. }) { "video" } else { "image" };
                let (camera, size) = (self.camera(), size?);
                let size = format!("{}x{}", size.width, size.height);
                (
                    "observation",
                    true,
                    format!("camera: {}, size: {size}, pictures: {pictures}", quote(camera)),
                )
            }
        };
        let (topic, kind) = (quote(&self.topic.name), &self.topic.type_name);
        let tolerance = (500.0 / fps).ceil().max(1.0);
        let timeline = timeline(header);
        Some(format!(
            "  - {{name: stream_{number}, topic: {topic}, type: {kind}, role: {role}, align: as_of, rate_hz: {fps}, \
             tolerance_ms: {tolerance}, timeline: {timeline}, {what}}}\n"
        ))
    }
}

/// The event that begins the bag.
fn start(dataset: &DatasetReader, episode: &EpisodeInfo, outputs: &[Output]) -> Event {
    let fps = dataset.fps();
    let robot = dataset.info().robot_type.clone().unwrap_or_else(|| "unknown".to_owned());
    let mut contract = format!(
        "version: 1\nrobot_type: {}\nfps: {fps}\nsettle_ms: {}\ngate: {{failing: warn}}\nstreams:\n",
        serde_json::Value::from(robot),
        SETTLE_NANOS / 1_000_000
    );
    for (number, output) in outputs.iter().enumerate() {
        let size = match &output.values {
            Values::Video { size, .. } => Some(*size),
            Values::Files(_) => dataset.picture(episode, &output.key, 0).ok().map(|(size, _)| size),
            Values::Numbers { .. } => None,
        };
        contract.push_str(&output.stream(number, size, fps).unwrap_or_default());
    }
    contract.push_str(&format!(
        "  - {{name: task, topic: {TASK_TOPIC}, type: {}, role: other, rate_hz: 0, tolerance_ms: 1000}}\n",
        TEXT.name
    ));
    let task = episode.tasks.first().cloned().unwrap_or_default();
    Event::Start { task, contract, recorder: "pixio dataset convert".to_owned() }
}

/// The bag being written.
struct Bag {
    writer: BagWriter,
    channels: Vec<ChannelId>,
    events: ChannelId,
    task: ChannelId,
    told: Vec<u8>,
}

impl Bag {
    fn create(place: &Path, options: BagOptions, outputs: &[Output]) -> Result<Self, ConvertError> {
        let mut writer = BagWriter::create(place, options)?;
        let channels =
            outputs.iter().map(|output| writer.channel(&output.topic)).collect::<Result<_, _>>()?;
        let events = writer.channel(&TEXT.topic(EVENT_TOPIC))?;
        let task = writer.channel(&TEXT.topic(TASK_TOPIC))?;
        Ok(Self { writer, channels, events, task, told: Vec::new() })
    }

    /// All of the episode.
    fn fill(
        &mut self,
        start: &Event,
        stamps: Vec<(u64, bool)>,
        mut outputs: Vec<Output>,
    ) -> Result<(), ConvertError> {
        self.begin(stamps.first().map_or(0, |first| first.0), start)?;
        let mut last = 0;
        for (frame, (stamp, after_pause)) in stamps.into_iter().enumerate() {
            if after_pause {
                self.settle(last)?;
                self.event(last + SETTLE_NANOS, &Event::Pause)?;
                self.event(stamp, &Event::Resume)?;
            }
            for (output, channel) in outputs.iter_mut().zip(self.channels.clone()) {
                let message = output.message(frame, stamp)?;
                self.write(channel, stamp, &message)?;
            }
            last = stamp;
        }
        self.settle(last)?;
        self.event(last + SETTLE_NANOS, &Event::Stop { reason: "the episode ends".to_owned() })
    }

    fn write(&mut self, channel: ChannelId, nanos: u64, message: &[u8]) -> Result<(), ConvertError> {
        let stamps = Stamps { log_nanos: nanos, publish_nanos: nanos, sequence: 0 };
        Ok(self.writer.write(channel, stamps, message)?)
    }

    fn begin(&mut self, nanos: u64, start: &Event) -> Result<(), ConvertError> {
        let Event::Start { task, .. } = start else { return Ok(()) };
        self.told = messages::text(task);
        self.event(nanos, start)?;
        self.write(self.task, nanos, &self.told.clone())
    }

    fn event(&mut self, nanos: u64, event: &Event) -> Result<(), ConvertError> {
        self.write(self.events, nanos, &event.to_cdr())
    }

    /// A message after the last of a run of frames, so that its row need not wait for another one.
    fn settle(&mut self, last: u64) -> Result<(), ConvertError> {
        self.write(self.task, last + SETTLE_NANOS, &self.told.clone())
    }
}
