//! A recorder killed fifty times at random moments, while both it and its neighbours want every processor: what was committed is
//! whole, what was open is recovered.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use calibration::Size;
use recording::bag::{BagOptions, BagReader, BagWriter, Distro, IN_PROGRESS, recover_bag};
use recording::dataset::{
    Cell, DatasetReader, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row, check_dataset,
};
use recording::{Definition, Stamps, Topic};
use serde_json::json;

const KILLS: u64 = 50;
/// Tells the test binary that it is the one to be killed, and where it records.
const PLACE: &str = "PIXIO_TEST_KILLED_RECORDER";
/// Bag and dataset rows of one episode, before it is committed.
const ROWS: u32 = 40;
/// Bytes of a message behind its number: some 20 MB per second.
const PADDING: usize = 64 << 10;
const SIZE: Size = Size { width: 64, height: 48 };

fn layout() -> Layout {
    let feature = |key: &str, kind, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Feature { key: key.to_owned(), kind, names }
    };
    let features = vec![
        feature("observation.state", FeatureKind::Float32, &["joint"]),
        feature("action", FeatureKind::Float32, &["joint"]),
        feature("observation.images.film", FeatureKind::Video(SIZE), &[]),
        feature("observation.images.still", FeatureKind::Image(SIZE), &[]),
    ];
    Layout::new(30, "test_arm", features, vec![]).unwrap()
}

fn now_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// The recorder: episode after episode, each a bag and rows of the dataset; every message is noted beside it once
/// written, every episode once committed.
#[test]
fn recorder_to_be_killed() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let place = Path::new(&place);
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    (0..processors).for_each(|_| {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    });
    let padding = vec![0x5a; PADDING];
    let note = |name: &str| std::fs::File::create(place.join(name)).unwrap();
    let (mut written, mut committed) = (note("written"), note("committed"));
    let mut dataset = DatasetWriter::open(&place.join("set"), layout()).unwrap();
    let topic = Topic {
        name: "/count".to_owned(),
        type_name: "std_msgs/msg/UInt32".to_owned(),
        definition: Definition { text: "uint32 data\n".to_owned(), hash: String::new() },
        offered_qos: vec![],
    };
    for episode in 0_u32.. {
        let mut bag = BagWriter::create(&place.join(format!("bag{episode}")), BagOptions::default()).unwrap();
        let channel = bag.channel(&topic).unwrap();
        dataset.begin_episode("count").unwrap();
        for number in 0..ROWS {
            let log_nanos = now_nanos();
            let stamps = Stamps { log_nanos, publish_nanos: log_nanos, sequence: number };
            let message = [&[0, 1, 0, 0][..], &number.to_le_bytes(), &padding].concat();
            bag.write(channel, stamps, &message).unwrap();
            writeln!(written, "{episode} {number} {log_nanos}").unwrap();
            bag.flush_if_due().unwrap();
            let value = Cell::Float32(vec![number as f32]);
            let pixels = vec![number as u8; 3 * SIZE.width * SIZE.height];
            let picture = Cell::Picture(Arc::new(Picture::Rgb8 { size: SIZE, pixels }));
            let values = vec![value.clone(), value, picture.clone(), picture];
            dataset.push(&Row { time_nanos: log_nanos, values, streams: vec![] }).unwrap();
            std::thread::sleep(Duration::from_millis(u64::from(number % 7)));
        }
        bag.finish().unwrap();
        dataset.commit("count", &json!({})).unwrap();
        writeln!(committed, "{episode}").unwrap();
    }
}

/// What the recorder noted, without a last line that may be half.
fn notes(place: &Path, name: &str) -> Vec<Vec<u64>> {
    let text = std::fs::read_to_string(place.join(name)).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect()).collect()
}

#[test]
fn killed_fifty_times_nothing_committed_is_lost() {
    // Any spread of moments will do; a multiplicative one hits all phases of an episode.
    let (mut recovered_bags, mut committed) = (0, 0);
    for kill in 0..KILLS {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "recorder_to_be_killed"])
            .env(PLACE, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(30 + kill * 97 % 970));
        recorder.kill().unwrap();
        recorder.wait().unwrap();
        recovered_bags += u64::from(bags_hold(folder.path()));
        committed += dataset_holds(folder.path());
    }
    println!("{KILLS} kills: {recovered_bags} open bags recovered, {committed} committed episodes whole");
    assert!(recovered_bags > 0 && committed > 0, "no kill hit an open bag, or none came after a commit");
}

/// Every bag: whole when it has its name, recovered to the last flush when not. Says whether one was recovered.
fn bags_hold(place: &Path) -> bool {
    let mut written: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for note in notes(place, "written") {
        written.entry(note[0]).or_default().push((note[1], note[2]));
    }
    let mut recovered = false;
    for (episode, noted) in written {
        let bag = place.join(format!("bag{episode}"));
        let open = place.join(format!("bag{episode}{IN_PROGRESS}"));
        if open.exists() {
            recover_bag(&open, &bag, Distro::Jazzy, BTreeMap::new()).unwrap();
            recovered = true;
        }
        let reader = BagReader::open(&bag).unwrap();
        let read: Vec<_> = reader.messages().unwrap().map(Result::unwrap).collect();
        for (number, message) in (0_u32..).zip(&read) {
            assert_eq!(message.data[4..8], number.to_le_bytes(), "episode {episode}: a hole");
            assert_eq!(message.data.len(), 8 + PADDING);
        }
        let lost = noted.get(read.len()..).unwrap_or_default();
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            assert!(recovered, "episode {episode}: {} messages missing in a finished bag", lost.len());
            let lost_nanos = last.1 - first.1;
            assert!(lost_nanos <= 500_000_000, "episode {episode}: {lost_nanos} ns lost");
        }
    }
    recovered
}

/// Every committed episode loads; the open one is recovered and the whole is sound. Says how many were committed.
fn dataset_holds(place: &Path) -> u64 {
    let root = place.join("set");
    let committed = notes(place, "committed").len() as u64;
    if !root.join("meta/info.json").exists() {
        assert_eq!(committed, 0, "committed episodes, yet no dataset");
        return 0;
    }
    assert!(DatasetReader::open(&root).unwrap().info().total_episodes >= committed);
    let mut writer = DatasetWriter::open(&root, layout()).unwrap();
    for log in writer.left_over().unwrap() {
        if log.rows > 0 {
            writer.recover(&log).unwrap();
        }
    }
    drop(writer);
    let report = check_dataset(&root, |_| ()).unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    committed
}
