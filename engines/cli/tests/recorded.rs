//! Training commands on recordings: a bag teaches what the folder of its frames teaches, bit for bit, and one that cannot says why.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

mod place;

use std::io::Cursor;

use calibration::Size;
use image::{ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use perception::Stamp;
use recording::bag::{BagOptions, BagWriter, QosProfile};
use recording::{Definition, Stamps, Topic};
use serde_json::json;
use wire::{Header, Written};

use self::place::{Place, number};

/// Of the recorded images; the network sees 32x32.
const SIZE: Size = Size { width: 48, height: 36 };
const FRAMES: u64 = 12;
/// From one image to the next, milliseconds.
const PERIOD: u64 = 33;
const FRAME_ID: &str = "camera_colour_optical";
const FOCAL: f64 = 40.5;

const IMAGE: &str = "sensor_msgs/msg/Image";
const COMPRESSED: &str = "sensor_msgs/msg/CompressedImage";
const INFO: &str = "sensor_msgs/msg/CameraInfo";

/// Pictures are read where they lie, whatever their definition says.
const UNREAD: &str = "uint8 unread\n";
const INFO_TEXT: &str = "\
std_msgs/Header header
uint32 height
uint32 width
string distortion_model
float64[] d
float64[9] k
float64[9] r
float64[12] p
uint32 binning_x
uint32 binning_y
RegionOfInterest roi
================================================================================
MSG: sensor_msgs/RegionOfInterest
uint32 x_offset
uint32 y_offset
uint32 height
uint32 width
bool do_rectify
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
";

type Map = ImageBuffer<Luma<u16>, Vec<u16>>;

/// A picture and its depth, millimetres: at the left 1 m, at the right in one of three too, else 5 m; some of it is unknown.
fn frame(index: u64) -> (RgbImage, Map) {
    let (width, height, index) = (SIZE.width as u32, SIZE.height as u32, index as u32);
    let noise = |x: u32, y: u32, channel: u32| ((x * 31 + y * 17 + channel * 7 + index * 101) % 251) as u8;
    let far = if index.is_multiple_of(3) { 1000 } else { 5000 + index as u16 };
    let depth = |x: u32, y: u32| match (x, y) {
        (_, 0..3) => 0,
        (0..9, _) => 1000 + y as u16,
        _ => far,
    };
    let colour = |x: u32, y: u32| Rgb([0, 1, 2].map(|channel| noise(x, y, channel)));
    let map = ImageBuffer::from_fn(width, height, |x, y| Luma([depth(x, y)]));
    (ImageBuffer::from_fn(width, height, colour), map)
}

/// The frames that a filter keeps, as a folder.
fn folder(place: &Place, name: &str, keep: impl Fn(u64) -> bool) {
    let root = place.at(name);
    ["rgb", "depth"].iter().for_each(|part| std::fs::create_dir_all(root.join(part)).unwrap());
    let mut cameras = serde_json::Map::new();
    for index in (0..FRAMES).filter(|index| keep(*index)) {
        let (picture, depth) = frame(index);
        picture.save(root.join(format!("rgb/{index:03}.png"))).unwrap();
        depth.save(root.join(format!("depth/{index:03}.png"))).unwrap();
        let camera = json!({ "fx": FOCAL, "fy": FOCAL, "cx": 23.5, "cy": 17.25 });
        cameras.insert(format!("{index:03}"), camera);
    }
    std::fs::write(root.join("camera.json"), serde_json::to_string(&cameras).unwrap()).unwrap();
}

/// When a message was received, milliseconds, and its bytes.
type Message = (u64, Vec<u8>);

/// A topic's name, type and messages.
type Stream<'a> = (&'a str, &'a str, Vec<Message>);

fn bag(place: &Place, name: &str, streams: &[Stream<'_>]) {
    let mut writer = BagWriter::create(&place.at(name), BagOptions::default()).unwrap();
    for (topic, type_name, messages) in streams {
        let text = if *type_name == INFO { INFO_TEXT } else { UNREAD };
        let topic = Topic {
            name: (*topic).to_owned(),
            type_name: (*type_name).to_owned(),
            definition: Definition { text: text.to_owned(), hash: String::new() },
            offered_qos: vec![QosProfile::default()],
        };
        let channel = writer.channel(&topic).unwrap();
        for (at, data) in messages {
            let nanos = (1_000_000 + at) * 1_000_000;
            let stamps = Stamps { log_nanos: nanos, publish_nanos: nanos, sequence: 0 };
            writer.write(channel, stamps, data).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn stamp(at: u64) -> Stamp {
    Stamp { sec: 1000 + (at / 1000) as i32, nanosec: (at % 1000) as u32 * 1_000_000 }
}

/// An Image that was taken at a time and received `late` milliseconds after it.
fn message(at: u64, late: u64, frame_id: &str, size: Size, encoding: &str, pixels: &[u8]) -> Message {
    let mut written = Written::default();
    let header = Header { stamp: stamp(at), frame_id };
    written.image(header, size, encoding, pixels.len() / size.height).copy_from_slice(pixels);
    (at + late, written.bytes().to_vec())
}

fn colours(encoding: &str) -> Vec<Message> {
    let one = |index: u64| {
        let mut pixels = frame(index).0.into_raw();
        if encoding == "bgr8" {
            pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
        message(index * PERIOD, 1, FRAME_ID, SIZE, encoding, &pixels)
    };
    (0..FRAMES).map(one).collect()
}

/// Depth that was taken so many milliseconds after the colours and comes after the next of them.
fn depths(encoding: &str, after: u64) -> Vec<Message> {
    let one = |index: u64| {
        let map = frame(index).1.into_raw();
        let meters = |mm: &u16| if *mm == 0 { f32::NAN } else { f32::from(*mm) / 1000.0 };
        let pixels: Vec<u8> = match encoding {
            "32FC1" => map.iter().flat_map(|mm| meters(mm).to_le_bytes()).collect(),
            _ => map.iter().flat_map(|mm| mm.to_le_bytes()).collect(),
        };
        message(index * PERIOD + after, 40, FRAME_ID, SIZE, encoding, &pixels)
    };
    (0..FRAMES).map(one).collect()
}

/// Fields of a message, one after another.
struct Fields(Vec<u8>);

impl Fields {
    fn new(at: u64, frame_id: &str) -> Self {
        let mut fields = Self(vec![0, 1, 0, 0]);
        let stamp = stamp(at);
        fields.whole(stamp.sec as u32);
        fields.whole(stamp.nanosec);
        fields.text(frame_id);
        fields
    }

    fn align(&mut self, size: usize) {
        let length = (self.0.len() - 4).next_multiple_of(size);
        self.0.resize(4 + length, 0);
    }

    fn whole(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.whole(text.len() as u32 + 1);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn numbers(&mut self, values: &[f64]) {
        self.align(8);
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
    }
}

/// The camera of the folder, with so much distortion, and P's focal length.
fn camera(at: u64, frame_id: &str, distortion: f64, focal: f64) -> Message {
    let mut fields = Fields::new(at, frame_id);
    fields.whole(SIZE.height as u32);
    fields.whole(SIZE.width as u32);
    fields.text("plumb_bob");
    fields.whole(5);
    fields.numbers(&[distortion, 0.0, 0.0, 0.0, 0.0]);
    fields.numbers(&[FOCAL, 0.0, 23.5, 0.0, FOCAL, 17.25, 0.0, 0.0, 1.0]);
    fields.numbers(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    fields.numbers(&[focal, 0.0, 23.5, 0.0, 0.0, focal, 17.25, 0.0, 0.0, 0.0, 1.0, 0.0]);
    (0..6).for_each(|_| fields.whole(0));
    fields.0.push(0);
    (at + 1, fields.0)
}

fn compressed() -> Vec<Message> {
    let one = |index: u64| {
        let mut file = Cursor::new(Vec::new());
        frame(index).0.write_to(&mut file, ImageFormat::Png).unwrap();
        let file = file.into_inner();
        let mut fields = Fields::new(index * PERIOD, FRAME_ID);
        fields.text("rgb8; png compressed rgb8");
        fields.whole(file.len() as u32);
        fields.0.extend(file);
        (index * PERIOD + 1, fields.0)
    };
    (0..FRAMES).map(one).collect()
}

fn prepared() -> Place {
    let place = Place::new();
    place.succeeds(
        "import --random-weights 3 --architecture pixio-tiny16 --head before=linear --size 32x32 --out tiny",
    );
    place
}

const TRAIN: &str = "--bundle tiny --form linear --steps 3 --batch 4";

fn weights(place: &Place, bundle: &str) -> Vec<u8> {
    std::fs::read(place.at(bundle).join("weights.safetensors")).unwrap()
}

#[test]
fn a_bag_teaches_depth_as_the_folder_of_its_frames_does() {
    let place = prepared();
    folder(&place, "data", |_| true);
    folder(&place, "half", |index| index % 2 == 0);
    // One image more of each kind, alone, and depth that knows nothing: neither is a pair.
    let nothing = vec![0; 2 * SIZE.area()];
    let (mut alone, mut blank) = (colours("rgb8"), depths("16UC1", 0));
    alone.push(message(FRAMES * PERIOD, 1, FRAME_ID, SIZE, "rgb8", &frame(90).0.into_raw()));
    blank.push(message(FRAMES * PERIOD, 1, FRAME_ID, SIZE, "16UC1", &nothing));
    bag(&place, "metres", &[("/image", IMAGE, colours("rgb8")), ("/depth", IMAGE, depths("32FC1", 3))]);
    bag(&place, "alone", &[("/image", IMAGE, alone), ("/depth", IMAGE, blank)]);
    bag(
        &place,
        "several",
        &[
            ("/image", IMAGE, colours("bgr8")),
            ("/other", IMAGE, Vec::new()),
            ("/image/compressed", COMPRESSED, compressed()),
            ("/depth", IMAGE, depths("16UC1", 0)),
            ("/depth/metres", IMAGE, depths("32FC1", 5)),
        ],
    );
    let train = |data: &str, name: &str| {
        let more = format!("--max-depth 6 --run {name}-run --out {name}");
        let output = place.pixio(&format!("train depth --data {data} {TRAIN} {more}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{data}: {said}");
        said
    };
    train("data", "folder");
    train("half", "half-of-folder");
    assert!(weights(&place, "folder") != weights(&place, "half-of-folder"));
    for (name, data, expected) in [
        ("a", "metres", "folder"),
        ("b", "metres/metres_0.mcap --held-out data --held-out metres", "folder"),
        ("c", "alone", "folder"),
        ("d", "several --image /image --depth /depth", "folder"),
        ("e", "several --image /image/compressed --depth /depth/metres", "folder"),
        ("f", "metres --every 2", "half-of-folder"),
    ] {
        let said = train(data, name);
        assert!(said.contains("12 pairs") && said.contains("within 5 ms"), "{data}: {said}");
        assert!(weights(&place, name) == weights(&place, expected), "{data}");
        let left_out =
            "1 colour and 0 depth images have no partner within 5 ms, 1 depth images know no depth";
        assert_eq!(said.contains(left_out), name == "c", "{data}: {said}");
    }
    let judged = place.json("b-run/evaluation.json");
    let error_of = |name: &str| number(&judged, &format!("/{name}/depth/abs_rel"));
    assert!(error_of("data") > 0.0 && error_of("data") == error_of("metres"), "{judged}");
}

#[test]
fn all_bags_of_a_recorder_teach() {
    let place = prepared();
    folder(&place, "data", |_| true);
    // One is still being recorded.
    let unfinished = place.at("recordings/bags/episode_000002.recording");
    std::fs::create_dir_all(&unfinished).unwrap();
    std::fs::write(unfinished.join("episode_000002_0.mcap"), b"").unwrap();
    let halves = |from: usize, to: usize| {
        let [colours, depths] = [colours("rgb8"), depths("32FC1", 0)].map(|all| all[from..to].to_vec());
        [("/image", IMAGE, colours), ("/depth", IMAGE, depths)]
    };
    bag(&place, "recordings/bags/episode_000000", &halves(0, 5));
    bag(&place, "recordings/bags/episode_000001", &halves(5, 12));
    for data in ["data", "recordings", "recordings/bags"] {
        let name = data.replace('/', "-");
        place.succeeds(&format!("train depth --data {data} {TRAIN} --run {name}-run --out {name}-out"));
        assert!(weights(&place, &format!("{name}-out")) == weights(&place, "data-out"), "{data}");
    }
    let pretrain = "pretrain --decoder 16x1x2 --batch 4 --side 32 --encoder 16x4x2 --steps 2";
    for (data, name) in [("data", "pre-folder"), ("recordings", "pre-bags")] {
        place.succeeds(&format!("{pretrain} --data {data} --run {name}-run --out {name}"));
    }
    assert!(weights(&place, "pre-folder") == weights(&place, "pre-bags"));
    let error = place.fails(&format!("{pretrain} --data data --every 2 --run never --out never"));
    assert!(error.contains("--every: expected a recording"), "{error}");
}

#[test]
fn a_bag_teaches_points_with_its_camera() {
    let place = prepared();
    folder(&place, "data", |_| true);
    let images = || [("/image", IMAGE, colours("rgb8")), ("/depth", IMAGE, depths("16UC1", 0))];
    let with = |name: &str, cameras: Vec<Message>| {
        let [colour, depth] = images();
        bag(&place, name, &[colour, depth, ("/info", INFO, cameras)]);
    };
    with("good", vec![camera(0, FRAME_ID, 0.0, 99.0), camera(33, FRAME_ID, 0.0, 99.0)]);
    with("bent", vec![camera(0, FRAME_ID, -0.1, FOCAL)]);
    with("elsewhere", vec![camera(0, "depth_optical", 0.0, FOCAL)]);
    with("zoom", vec![camera(0, FRAME_ID, 0.0, FOCAL), camera(33, FRAME_ID, 0.0, 41.0)]);
    bag(&place, "none", &images());
    let train = |data: &str| format!("train points --data {data} {TRAIN}");
    for (data, name) in [("data", "folder"), ("good", "a"), ("bent --rectified --info /info", "b")] {
        place.succeeds(&format!("{} --run {name}-run --out {name}", train(data)));
        assert!(weights(&place, name) == weights(&place, "folder"), "{data}");
    }
    for (data, words) in [
        ("bent", "bent: /info: expected a camera without distortion, got plumb_bob of [-0.1, 0.0"),
        ("elsewhere", "elsewhere: /info: expected the camera of /image, in its frame \"camera_colour"),
        ("zoom", "zoom: /info: message 1: expected the camera of the messages before it"),
        ("none", "none: expected a topic of cameras (sensor_msgs/msg/CameraInfo), there is none; the bag"),
        ("good --info /image", "good: --info: expected cameras (sensor_msgs/msg/CameraInfo), got /image"),
        ("data --rectified", "--rectified: expected a recording"),
    ] {
        let error = place.fails(&format!("{} --run never --out never-out", train(data)));
        assert!(error.contains(words), "{data}: {error}");
    }
    assert!(!place.at("never").exists());
}

#[test]
fn bags_that_teach_nothing_say_why() {
    let place = prepared();
    folder(&place, "data", |_| true);
    let colour = || ("/image", IMAGE, colours("rgb8"));
    let depth = |after: u64| ("/depth", IMAGE, depths("16UC1", after));
    let maps = |frame_id: &str, size: Size| -> Vec<Message> {
        let pixels = vec![1; 2 * size.area()];
        (0..FRAMES).map(|index| message(index * PERIOD, 1, frame_id, size, "16UC1", &pixels)).collect()
    };
    let small = Size { width: 24, height: 18 };
    let mut short = depths("16UC1", 0);
    short[3].1.truncate(500);
    let mut other = colours("rgb8");
    other[4] = message(4 * PERIOD, 1, FRAME_ID, small, "rgb8", &vec![0; 3 * small.area()]);
    let mut unknown = colours("rgb8");
    unknown[5] = message(5 * PERIOD, 1, FRAME_ID, SIZE, "yuv999", &vec![0; 3 * SIZE.area()]);
    let blank = message(0, 1, FRAME_ID, SIZE, "16UC1", &vec![0; 2 * SIZE.area()]);
    bag(&place, "colour", &[colour()]);
    bag(&place, "two", &[colour(), depth(0), ("/depth2", IMAGE, depths("32FC1", 0))]);
    bag(&place, "small", &[colour(), ("/depth", IMAGE, maps(FRAME_ID, small))]);
    bag(&place, "unregistered", &[colour(), ("/depth", IMAGE, maps("depth_optical", SIZE))]);
    bag(&place, "apart", &[colour(), depth(16)]);
    bag(&place, "short", &[colour(), ("/depth", IMAGE, short)]);
    bag(&place, "other", &[("/image", IMAGE, other), depth(0)]);
    bag(&place, "unknown", &[("/image", IMAGE, unknown), depth(0)]);
    bag(&place, "blank", &[colour(), ("/depth", IMAGE, vec![blank])]);
    let whole = std::fs::read(place.at("two/two_0.mcap")).unwrap();
    std::fs::write(place.at("cut.mcap"), &whole[..whole.len() / 2]).unwrap();
    for (data, words) in [
        ("colour", "depth images (sensor_msgs/msg/Image of 32FC1 or 16UC1), there is none"),
        ("colour", "; the bag has /image (sensor_msgs/msg/Image, rgb8)"),
        ("colour --depth /image", "colour: --depth: expected depth images"),
        ("colour --depth /d", "colour: --depth /d: expected a topic of the bag; it has /image"),
        ("two", "two: expected one topic of depth images"),
        ("two", "there are 2: choose with --depth; the bag has /image (sensor_msgs/msg/Image, rgb8), /depth"),
        ("small", "expected depth of 48x36 on /depth, the size of /image, got 24x18"),
        ("unregistered", "unregistered: /depth: expected depth registered to /image"),
        ("apart", "of those of /image by their stamps, the nearest are 16 ms apart"),
        ("short", "short: /depth: message 3: data: expected"),
        ("other", "other: /image: message 4: expected 48x36, the size of the pictures before it, got 24x18"),
        ("unknown", "unknown: /image: message 5: encoding: expected one of"),
        ("blank", "blank: /depth: expected known depth, every pixel of its 1 images is unknown"),
        ("cut.mcap", "cut.mcap: the recording was cut off"),
        ("data --depth /depth", "--depth: expected a recording"),
        ("data --held-out apart", "apart: /depth: expected images within 5 ms"),
    ] {
        let error = place.fails(&format!("train depth --data {data} {TRAIN} --run never --out never-out"));
        assert!(error.contains(words), "{data}: {error}");
    }
    assert!(!place.at("never").exists());
}
