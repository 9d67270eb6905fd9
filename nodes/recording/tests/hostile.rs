//! Bags and datasets with bytes changed, cut off, repeated, and lengths made huge: an error or a finding, never a panic.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calibration::Size;
use recording::bag::{BagReader, Distro, check_bag, recover_bag};
use recording::convert::{BagsToDataset, contract_of, episode_to_bag};
use recording::dataset::{
    Cell, DatasetReader, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row, check_dataset,
};
use serde_json::json;

const SIZE: Size = Size { width: 32, height: 32 };
/// Damaged copies of each file.
const CASES: u64 = 40;

/// A number that looks random and is the same in each run (the finaliser of SplitMix64).
fn scatter(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn damaged(whole: &[u8], case: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let place = |number: u64| (scatter(case * 7 + number) % whole.len() as u64) as usize;
    match case % 5 {
        0 => bytes.truncate(place(1)),
        1 => (0..4).for_each(|number| {
            let at = place(number);
            bytes[at] ^= 1 << (case % 8);
        }),
        // Lengths and counts become huge.
        2 => {
            let at = place(1);
            bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xff);
        }
        3 => {
            let (from, at) = (place(1), place(2));
            let piece: Vec<u8> = whole[from..].iter().take(200).copied().collect();
            drop(bytes.splice(at..at, piece));
        }
        _ => {
            let at = place(1);
            bytes.iter_mut().skip(at).take(200).for_each(|byte| *byte = 0);
        }
    }
    bytes
}

fn write_dataset(root: &Path) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let feature = |key: &str, kind, all: &[&str]| Feature { key: key.to_owned(), kind, names: names(all) };
    let features = vec![
        feature("observation.state", FeatureKind::Float32, &["pan"]),
        feature("action", FeatureKind::Float32, &["pan"]),
        feature("observation.images.still", FeatureKind::Image(SIZE), &[]),
        feature("observation.images.film", FeatureKind::Video(SIZE), &[]),
    ];
    let mut writer = DatasetWriter::open(root, Layout::new(10, "arm", features, vec![]).unwrap()).unwrap();
    let push = |writer: &mut DatasetWriter, frame: u64| {
        let pixels = vec![(frame * 20) as u8; 3 * SIZE.width * SIZE.height];
        let picture = Cell::Picture(Arc::new(Picture::Rgb8 { size: SIZE, pixels }));
        let number = Cell::Float32(vec![frame as f32]);
        let values = vec![number.clone(), number, picture.clone(), picture];
        writer.push(&Row { time_nanos: (20 + frame) * 100_000_000, values, streams: vec![] }).unwrap();
    };
    writer.begin_episode("wave").unwrap();
    (0..12).for_each(|frame| push(&mut writer, frame));
    writer.commit("wave", &json!({})).unwrap();
    // One more that a crash leaves in its log.
    writer.begin_episode("wave again").unwrap();
    (0..3).for_each(|frame| push(&mut writer, frame));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Everything that reads a dataset; what it says does not matter.
fn use_dataset(root: &Path) {
    let _ = check_dataset(root, |_| ());
    if let Ok(reader) = DatasetReader::open(root) {
        for episode in reader.episodes().iter().take(3) {
            let _ = reader.numbers(episode, "observation.state");
            for key in ["observation.images.still", "observation.images.film"] {
                let _ = reader.picture(episode, key, 1);
                let _ = reader.pictures(episode, key).map(|pictures| pictures.take(20).count());
            }
        }
    }
    if let Ok(mut writer) = DatasetWriter::reopen(root) {
        for log in writer.left_over().unwrap_or_default() {
            let _ = writer.recover(&log);
        }
    }
}

#[test]
fn damaged_datasets_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    write_dataset(&original);
    let all = files(&original);
    assert!(all.len() >= 8, "{all:?}");
    for path in &all {
        let whole = std::fs::read(path).unwrap();
        if whole.is_empty() {
            continue; // The lock.
        }
        for case in 0..CASES {
            let root = folder.path().join("damaged");
            for source in &all {
                let copy = root.join(source.strip_prefix(&original).unwrap());
                std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
                let bytes =
                    if source == path { damaged(&whole, case) } else { std::fs::read(source).unwrap() };
                std::fs::write(copy, bytes).unwrap();
            }
            use_dataset(&root);
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}

#[test]
fn damaged_bags_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    write_dataset(&folder.path().join("set"));
    let dataset = DatasetReader::open(&folder.path().join("set")).unwrap();
    let original = folder.path().join("bag");
    episode_to_bag(&dataset, &dataset.episodes()[0], &original, Distro::Jazzy).unwrap();
    let (contract, contract_text) = contract_of(&original).unwrap();
    let jobs = NonZeroUsize::MIN;
    let conversion = BagsToDataset { contract, contract_text, task: None, ignore_gate: true, jobs };
    for path in files(&original) {
        let whole = std::fs::read(&path).unwrap();
        for case in 0..CASES {
            std::fs::write(&path, damaged(&whole, case)).unwrap();
            let _ = check_bag(&original, |_| ());
            let _ = BagReader::open(&original)
                .map(|reader| reader.messages().map(|all| all.take(10_000).count()));
            let made = folder.path().join("made");
            let _ = recover_bag(&original, &made.join("bag"), Distro::Jazzy, BTreeMap::new());
            let _ = conversion.run(std::slice::from_ref(&original), &made.join("set"), |_| ());
            let _ = std::fs::remove_dir_all(&made);
        }
        std::fs::write(&path, &whole).unwrap();
    }
}
