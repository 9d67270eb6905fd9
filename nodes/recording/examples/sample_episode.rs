//! Writes a bag, for Jazzy and for Humble, and a dataset for other programs to read: tests/referees/recordings.py.
//!
//! `sample_episode FOLDER` makes FOLDER/jazzy, FOLDER/humble (with messages.txt beside them: topic, log_time,
//! publish_time, bytes in hexadecimal) and FOLDER/dataset.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use calibration::Size;
use recording::bag::{BagOptions, BagWriter, Distro, QosProfile};
use recording::dataset::{Cell, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row, StreamTruth};
use recording::{Definition, Stamps, Topic};

const START_NANOS: u64 = 1_700_000_000_000_000_000;
const STEP_NANOS: u64 = 33_333_333;
const TOKENS: &str = "observation.features.eye";
const SIZE: Size = Size { width: 96, height: 64 };

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: sample_episode FOLDER")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let messages = bag(&folder.join("jazzy"), Distro::Jazzy)?;
    bag(&folder.join("humble"), Distro::Humble)?;
    std::fs::write(folder.join("messages.txt"), messages)?;
    dataset(&folder.join("dataset"))
}

fn topic(name: &str, type_name: &str, text: &str, hash_digit: &str) -> Topic {
    Topic {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        definition: Definition { text: text.to_owned(), hash: format!("RIHS01_{}", hash_digit.repeat(64)) },
        offered_qos: vec![QosProfile::default()],
    }
}

/// Writes a bag of two topics and returns what is in it, a line per message.
fn bag(place: &Path, distro: Distro) -> Result<String, Box<dyn Error>> {
    let custom_data = [("task".to_owned(), "count: \"all\" of them".to_owned())].into();
    let mut bag = BagWriter::create(place, BagOptions { distro, custom_data, ..BagOptions::default() })?;
    let count = bag.channel(&topic("/count", "std_msgs/msg/UInt32", "uint32 data\n", "a"))?;
    let text = bag.channel(&topic("/words", "std_msgs/msg/String", "string data\n", "b"))?;
    let mut listed = String::new();
    for number in 0..500_u32 {
        let log_nanos = START_NANOS + u64::from(number) * STEP_NANOS;
        let stamps = Stamps { log_nanos, publish_nanos: log_nanos - 700_000, sequence: number };
        let words = format!("message {}", "x".repeat(number as usize % 50));
        let (channel, name, data) = if number.is_multiple_of(5) {
            let length = words.len() as u32 + 1;
            (text, "/words", [&[0, 1, 0, 0][..], &length.to_le_bytes(), words.as_bytes(), &[0]].concat())
        } else {
            (count, "/count", [&[0, 1, 0, 0][..], &number.to_le_bytes()].concat())
        };
        bag.write(channel, stamps, &data)?;
        write!(listed, "{name} {} {} ", stamps.log_nanos, stamps.publish_nanos)?;
        data.iter().try_for_each(|byte| write!(listed, "{byte:02x}"))?;
        listed.push('\n');
    }
    bag.finish()?;
    Ok(listed)
}

fn feature(key: &str, kind: FeatureKind, names: &[&str]) -> Feature {
    Feature { key: key.to_owned(), kind, names: names.iter().map(|name| (*name).to_owned()).collect() }
}

/// Three episodes of two tasks: joints that move smoothly, a video and images.
fn dataset(root: &Path) -> Result<(), Box<dyn Error>> {
    let joints = ["shoulder.pos", "elbow.pos"];
    let features = vec![
        feature("observation.state", FeatureKind::Float32, &joints),
        feature("action", FeatureKind::Float32, &joints),
        feature("observation.images.wrist", FeatureKind::Video(SIZE), &[]),
        feature("observation.images.top", FeatureKind::Image(SIZE), &[]),
        feature(TOKENS, FeatureKind::Float32, &["0.0", "0.1", "1.0", "1.1"]),
    ];
    let layout = Layout::new(30, "sample_arm", features, vec!["joints".to_owned(), "wrist".to_owned()])?;
    let layout = layout.with_encoder(TOKENS, "sample")?;
    let mut writer = DatasetWriter::open(root, layout)?;
    for (episode, task) in (0..).zip(["pick up the cup", "put it down", "pick up the cup"]) {
        writer.begin_episode(task)?;
        for number in 0..60 + 15 * episode {
            writer.push(&row(number))?;
        }
        writer.commit(task, &serde_json::json!({"bag": "jazzy"}))?;
    }
    Ok(())
}

fn row(number: u64) -> Row {
    let time_nanos = START_NANOS + number * STEP_NANOS;
    let state = |number: u64| {
        let angle = number as f32 * 0.05;
        Cell::Float32(vec![angle.sin(), 0.5 * angle.cos()])
    };
    // Blue tells the frame: the next one is 7 grey levels off, more than H.264 changes.
    let pixel = |x: usize, y: usize| [(x * 2) as u8, (y * 3) as u8, (30 + 7 * number % 190) as u8];
    let pixels: Vec<u8> =
        (0..SIZE.height).flat_map(|y| (0..SIZE.width).flat_map(move |x| pixel(x, y))).collect();
    let picture = Arc::new(Picture::Rgb8 { size: SIZE, pixels });
    let truth = |age| StreamTruth { stamp_nanos: time_nanos - age, repeated: false, stale: false };
    Row {
        time_nanos,
        values: vec![
            state(number),
            state(number + 1),
            Cell::Picture(picture.clone()),
            Cell::Picture(picture),
            Cell::Float32([0.1, 0.2, 0.3, 0.4].map(|share| share * number as f32).to_vec()),
        ],
        streams: vec![truth(4_000_000), truth(20_000_000)],
    }
}
