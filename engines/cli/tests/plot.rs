//! `pixio dataset plot`: what is in a recording is on its pictures, where it belongs.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use calibration::Size;
use image::RgbImage;
use recording::bag::Distro;
use recording::convert::episode_to_bag;
use recording::dataset::{
    Cell, DatasetReader, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row, StreamTruth,
};
use serde_json::json;

const SIZE: Size = Size { width: 64, height: 48 };
const FRAMES: u64 = 41;
const STALE: u64 = 20;
const BLUE: [u8; 3] = [31, 119, 180];
const RED: [u8; 3] = [214, 39, 40];
const GREEN: [u8; 3] = [44, 160, 44];

fn plot(recording: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
    command.args(["dataset", "plot"]).arg(recording).args(arguments).output().unwrap()
}

/// A colour that tells the frame.
fn color(frame: u64) -> [u8; 3] {
    [20 + 5 * frame as u8, 120, 220 - 5 * frame as u8]
}

/// Two episodes of 41 frames at 10 Hz: a ramp from 0 to 1 and a constant; a stream 20 ms old, and 90 ms in one frame.
fn write_dataset(root: &Path) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let feature = |key: &str, kind, of: &[&str]| Feature { key: key.to_owned(), kind, names: names(of) };
    let features = vec![
        feature("observation.state", FeatureKind::Float32, &["ramp", "level"]),
        feature("action", FeatureKind::Float32, &["ramp"]),
        feature("observation.images.still", FeatureKind::Image(SIZE), &[]),
        feature("observation.images.film", FeatureKind::Video(SIZE), &[]),
    ];
    let layout = Layout::new(10, "arm", features, names(&["joints"])).unwrap();
    let mut writer = DatasetWriter::open(root, layout).unwrap();
    for episode in 0..2 {
        writer.begin_episode("wave").unwrap();
        for frame in 0..FRAMES {
            let time_nanos = 1_700_000_000_000_000_000 + episode * 60_000_000_000 + frame * 100_000_000;
            let pixels = color(frame).repeat(SIZE.area());
            let picture = || Cell::Picture(Arc::new(Picture::Rgb8 { size: SIZE, pixels: pixels.clone() }));
            let ramp = frame as f32 / (FRAMES - 1) as f32;
            let values =
                vec![Cell::Float32(vec![ramp, 0.5]), Cell::Float32(vec![-ramp]), picture(), picture()];
            let stale = frame == STALE;
            let age = if stale { 90_000_000 } else { 20_000_000 };
            let truth = StreamTruth { stamp_nanos: time_nanos - age, repeated: false, stale };
            writer.push(&Row { time_nanos, values, streams: vec![truth] }).unwrap();
        }
        writer.commit("wave", &json!({})).unwrap();
    }
}

fn open(path: &Path) -> RgbImage {
    image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8()
}

/// Whether a pixel near a place (columns and rows, to one pixel) has a colour.
fn is_at(picture: &RgbImage, (x, y): (u32, u32), color: [u8; 3]) -> bool {
    (x - 1..=x + 1).any(|x| (y - 1..=y + 1).any(|y| picture.get_pixel(x, y).0 == color))
}

/// A place in the panel of a number, by shares of the ranges of time and value, whose margins are a twentieth each.
fn place(panel: u32, time: f64, value: f64) -> (u32, u32) {
    let share = |value: f64| (value + 0.05) / 1.1;
    (24 + (share(time) * 952.0) as u32, panel * 252 + 24 + 180 - (share(value) * 180.0) as u32)
}

#[test]
fn curves_stamps_and_frames_of_a_dataset_are_drawn_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("set"), folder.path().join("pictures"));
    write_dataset(&root);
    let to = out.to_str().unwrap();
    let ended = plot(&root, &["--out", to, "--episode", "1", "--frames", "4"]);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), format!("pictures in {to}\n"));
    let mut names: Vec<_> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["curves", "frames", "stamps"].map(|what| format!("episode_000001_{what}.png")));

    let curves = open(&out.join("episode_000001_curves.png"));
    assert_eq!(curves.dimensions(), (1000, 2 * 252), "a panel for the state, one for the action");
    for share in [0.0, 0.25, 0.9, 1.0] {
        assert!(is_at(&curves, place(0, share, share), BLUE), "ramp of the state at {share}");
        assert!(is_at(&curves, place(0, share, 0.5), RED) || share == 0.5, "level at {share}");
        assert!(is_at(&curves, place(1, share, 1.0 - share), BLUE), "ramp of the action at {share}");
    }
    assert!(!is_at(&curves, place(0, 0.25, 0.75), BLUE));

    let stamps = open(&out.join("episode_000001_stamps.png"));
    assert_eq!(stamps.dimensions(), (1000, 252), "a panel for the one stream");
    let stale = STALE as f64 / (FRAMES - 1) as f64;
    assert!(is_at(&stamps, place(0, stale, 1.0), GREEN), "a cross where it is stale");
    assert!(is_at(&stamps, place(0, 0.25, 0.0), BLUE) && !is_at(&stamps, place(0, 0.25, 0.0), GREEN));

    let frames = open(&out.join("episode_000001_frames.png"));
    assert_eq!(frames.dimensions(), (1000, 2 * 228), "a row for each camera");
    for (tile, frame) in [0, 13, 26, 40].into_iter().enumerate() {
        for row in 0..2 {
            let came = frames.get_pixel(12 + 244 * tile as u32 + 120, 228 * row + 16 + 90).0;
            let near = came.iter().zip(color(frame)).all(|(came, expected)| came.abs_diff(expected) <= 4);
            assert!(near, "camera {row}, frame {frame}: {came:?}, expected {:?}", color(frame));
        }
    }

    let ended = plot(&root, &["--out", to, "--episode", "2"]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success() && said.contains("--episode: expected numbers below 2, got [2]"),
        "{said}"
    );
}

#[test]
fn intervals_of_a_bag_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (root, bag) = (folder.path().join("set"), folder.path().join("waving"));
    write_dataset(&root);
    let dataset = DatasetReader::open(&root).unwrap();
    episode_to_bag(&dataset, &dataset.episodes()[0], &bag, Distro::Jazzy).unwrap();
    let out = folder.path().join("pictures");
    let ended = plot(&bag, &["--out", out.to_str().unwrap()]);
    assert!(ended.status.success(), "{ended:?}");
    let stamps = open(&out.join("waving_stamps.png"));
    let topics = recording::bag::BagReader::open(&bag).unwrap().topics().len() as u32;
    assert_eq!(stamps.dimensions(), (1000, topics * 252));
    // Messages 100 ms apart that travelled no time: a line at the top, one at the bottom, from the second message on.
    assert!(is_at(&stamps, place(0, 0.5, 1.0), BLUE) && is_at(&stamps, place(0, 0.5, 0.0), RED));
    assert!(!is_at(&stamps, place(0, 0.5, 0.5), BLUE));

    let ended = plot(folder.path(), &["--out", out.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("expected a bag"), "{said}");
}
