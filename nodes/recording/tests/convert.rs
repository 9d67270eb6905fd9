//! Episodes into bags and back: the same rows, whatever the number of threads.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calibration::Size;
use recording::bag::{BagReader, Distro, check_bag};
use recording::convert::{BagsToDataset, ConvertError, Outcome, contract_of, episode_to_bag};
use recording::dataset::{
    Cell, DatasetReader, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row, check_dataset,
};
use serde_json::json;

const T0: u64 = 1_700_000_000_123_456_789;
const SIZE: Size = Size { width: 64, height: 48 };
const FPS: u64 = 30;

fn layout() -> Layout {
    let feature = |key: &str, kind, names: &[&str]| Feature {
        key: key.to_owned(),
        kind,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let features = vec![
        feature("observation.state", FeatureKind::Float32, &["pan.rad", "lift.rad"]),
        feature("action", FeatureKind::Float32, &["pan.rad", "lift.rad"]),
        feature("rec.requested_action", FeatureKind::Float32, &["pan.rad", "lift.rad"]),
        feature("observation.images.still", FeatureKind::Image(SIZE), &[]),
        feature("observation.images.film", FeatureKind::Video(SIZE), &[]),
    ];
    Layout::new(FPS as u32, "arm", features, vec![]).unwrap()
}

/// A grey ramp that moves.
fn pixels(frame: u64) -> Vec<u8> {
    let place = |x: usize, y: usize| (x as u64 * 2 + y as u64 + 3 * frame) as u8 / 2;
    (0..SIZE.height).flat_map(|y| (0..SIZE.width).flat_map(move |x| [place(x, y); 3])).collect()
}

/// Three episodes; the second with a pause after its tenth row.
fn write_dataset(root: &Path) {
    let mut writer = DatasetWriter::open(root, layout()).unwrap();
    for episode in 0..3_u64 {
        let task = if episode == 1 { "fold" } else { "wave \"both\" hands" };
        writer.begin_episode(task).unwrap();
        for frame in 0..20 + episode {
            let pause = if episode == 1 && frame >= 10 { 2_345_678_901 } else { 0 };
            let time_nanos = T0 + episode * 100_000_000_000 + pause + (frame * 1_000_000_000 + FPS / 2) / FPS;
            let number = |scale: f32| Cell::Float32(vec![scale * frame as f32, 0.1 + episode as f32]);
            let picture =
                || Cell::Picture(Arc::new(Picture::Rgb8 { size: SIZE, pixels: pixels(frame + 7 * episode) }));
            let values = vec![number(0.1), number(-0.2), number(-0.3), picture(), picture()];
            writer.push(&Row { time_nanos, values, streams: vec![] }).unwrap();
        }
        writer.commit(task, &json!({})).unwrap();
    }
}

fn bags_of(dataset: &DatasetReader, folder: &Path) -> Vec<PathBuf> {
    let bag = |episode| {
        let place = folder.join(format!("bag_{episode}"));
        episode_to_bag(dataset, &dataset.episodes()[episode], &place, Distro::Jazzy).unwrap();
        place
    };
    (0..3).map(bag).collect()
}

fn conversion(bag: &Path, jobs: usize) -> BagsToDataset {
    let (contract, contract_text) = contract_of(bag).unwrap();
    let jobs = NonZeroUsize::new(jobs).unwrap();
    BagsToDataset { contract, contract_text, task: None, ignore_gate: false, jobs }
}

fn assert_same(first: &DatasetReader, again: &DatasetReader) {
    assert_eq!(first.tasks(), again.tasks());
    assert_eq!(first.episodes().len(), again.episodes().len());
    assert_eq!(first.names("action"), again.names("action"));
    for (a, b) in first.episodes().iter().zip(again.episodes()) {
        assert_eq!((&a.tasks, a.frames, a.from), (&b.tasks, b.frames, b.from));
        let same =
            ["observation.state", "action", "rec.requested_action", "observation.images.still", "timestamp"];
        assert_eq!(first.columns(a, &same).unwrap(), again.columns(b, &same).unwrap());
        let times = [first, again].map(|set| set.numbers(a, "rec.time").unwrap().1);
        // Read as doubles, nanoseconds since 1970 are rounded to 256.
        assert!(times[0].iter().zip(&times[1]).all(|(x, y)| (x - y).abs() <= 512.0), "episode {}", a.episode);
        let films =
            [(first, a), (again, b)].map(|(set, episode)| set.pictures(episode, "observation.images.film"));
        let [before, after] = films.map(Result::unwrap);
        let mut frames = 0;
        for (before, after) in before.zip(after) {
            let (before, after) = (before.unwrap(), after.unwrap());
            assert_eq!((before.0, after.0), (SIZE, SIZE));
            let difference: u64 = before.1.iter().zip(&after.1).map(|(x, y)| u64::from(x.abs_diff(*y))).sum();
            assert!(difference < 3 * before.1.len() as u64, "compressed twice, mean error {difference}");
            frames += 1;
        }
        assert_eq!(frames, a.frames);
    }
}

#[test]
fn episodes_come_back_from_bags_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    write_dataset(&folder.path().join("set"));
    let first = DatasetReader::open(&folder.path().join("set")).unwrap();
    let bags = bags_of(&first, folder.path());
    for bag in &bags {
        assert!(check_bag(bag, |_| ()).unwrap().is_sound());
    }
    for jobs in [1, 3] {
        let root = folder.path().join(format!("again_{jobs}"));
        let mut told = Vec::new();
        let made = conversion(&bags[0], jobs).run(&bags, &root, |one| told.push(one.bag.clone())).unwrap();
        assert_eq!(told, bags, "in the order of the bags");
        assert!(made.iter().all(|one| one.unusable == 0 && matches!(one.outcome, Outcome::Committed(_))));
        let report = check_dataset(&root, |_| ()).unwrap();
        assert!(report.is_sound(), "{:#?}", report.findings);
        assert_same(&first, &DatasetReader::open(&root).unwrap());
    }
}

#[test]
fn pictures_in_their_order_are_those_read_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    write_dataset(folder.path());
    let dataset = DatasetReader::open(folder.path()).unwrap();
    assert_eq!(
        dataset.picture_keys().collect::<Vec<_>>(),
        ["observation.images.still", "observation.images.film"]
    );
    for episode in dataset.episodes() {
        for key in ["observation.images.still", "observation.images.film"] {
            for (frame, picture) in (0..).zip(dataset.pictures(episode, key).unwrap()) {
                assert_eq!(picture.unwrap(), dataset.picture(episode, key, frame).unwrap(), "{key} {frame}");
            }
        }
    }
    assert!(dataset.pictures(&dataset.episodes()[0], "action").is_err());
    assert!(dataset.numbers(&dataset.episodes()[0], "observation.images.still").is_err());
}

#[test]
fn what_cannot_be_converted_is_told_and_the_rest_is_converted() {
    let folder = tempfile::tempdir().unwrap();
    write_dataset(&folder.path().join("set"));
    let first = DatasetReader::open(&folder.path().join("set")).unwrap();
    let bags = bags_of(&first, folder.path());
    let file = bags[1].join("bag_1_0.mcap");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let root = folder.path().join("again");
    let mut told = Vec::new();
    let made = conversion(&bags[0], 2).run(&bags, &root, |one| told.push(one.bag.clone())).unwrap();
    assert_eq!(told, bags, "in the order of the bags");
    let [Outcome::Committed(first_made), Outcome::Failed(refused), Outcome::Committed(third)] =
        [&made[0].outcome, &made[1].outcome, &made[2].outcome]
    else {
        panic!("{made:?}")
    };
    assert_eq!(([first_made.episode, third.episode], third.frames), ([0, 1], first.episodes()[2].frames));
    let refused = refused.to_string();
    assert!(refused.contains("bag_1_0.mcap") && refused.contains("cut off"), "{refused}");
    assert_eq!(DatasetReader::open(&root).unwrap().info().total_episodes, 2);
    let report = check_dataset(&root, |_| ()).unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    let left: Vec<_> =
        std::fs::read_dir(root.join(".rec")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("spool")), "{left:?}");

    let mut other = conversion(&bags[0], 1);
    other.contract.streams[0].topic = "/somewhere/else".to_owned();
    let made = other.run(&bags[..1], &folder.path().join("other"), |_| ()).unwrap();
    let Outcome::Failed(ConvertError::Missing { expected, .. }) = &made[0].outcome else {
        panic!("{made:?}")
    };
    assert!(expected.contains("none came of stream_0"), "{expected}");
    assert!(BagReader::open(&bags[0]).is_ok());
}
