//! Datasets end to end: written, read, continued, cut off, filled disks.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

use std::path::Path;
use std::sync::Arc;

use calibration::Size;
use recording::dataset::{
    Cell, ColumnData, DatasetError, DatasetReader, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row,
    StreamTruth, check_dataset,
};
use serde_json::json;

const SIZE: Size = Size { width: 64, height: 48 };

fn feature(key: &str, kind: FeatureKind, names: &[&str]) -> Feature {
    Feature { key: key.to_owned(), kind, names: names.iter().map(|name| (*name).to_owned()).collect() }
}

/// A bit of everything.
fn layout(fps: u32) -> Layout {
    let features = vec![
        feature("observation.state", FeatureKind::Float32, &["shoulder.pos", "elbow.pos"]),
        feature("action", FeatureKind::Float32, &["shoulder.pos", "elbow.pos"]),
        feature("observation.images.wrist", FeatureKind::Video(SIZE), &[]),
        feature("observation.images.top", FeatureKind::Image(SIZE), &[]),
        feature("observation.images.depth", FeatureKind::Depth(SIZE), &[]),
        feature("rec.grip", FeatureKind::Bool, &["closed"]),
        feature("rec.ticks", FeatureKind::Int64, &["left", "right"]),
        feature("rec.note", FeatureKind::Text, &[]),
    ];
    Layout::new(fps, "test_arm", features, vec!["joints".to_owned(), "wrist".to_owned()]).unwrap()
}

fn rgb(number: u64) -> Picture {
    let pixel = |x: usize, y: usize| [(x * 3) as u8, (y * 4) as u8, (number * 5) as u8];
    let pixels = (0..SIZE.height).flat_map(|y| (0..SIZE.width).flat_map(move |x| pixel(x, y))).collect();
    Picture::Rgb8 { size: SIZE, pixels }
}

fn row(number: u64) -> Row {
    let time_nanos = 1_700_000_000_000_000_000 + number * 33_333_333;
    let value = number as f32 * 0.1;
    let depth = (0..SIZE.width * SIZE.height).map(|i| (i as u16).wrapping_mul(3)).collect();
    Row {
        time_nanos,
        values: vec![
            Cell::Float32(vec![value, -value]),
            Cell::Float32(vec![value + 1.0, 2.0]),
            Cell::Picture(Arc::new(rgb(number))),
            Cell::Picture(Arc::new(rgb(number + 1))),
            Cell::Picture(Arc::new(Picture::Gray16 { size: SIZE, pixels: depth })),
            Cell::Bool(vec![number.is_multiple_of(2)]),
            Cell::Int64(vec![number as i64, -7]),
            Cell::Text(format!("row {number}")),
        ],
        streams: vec![
            StreamTruth { stamp_nanos: time_nanos - 4_000_000, repeated: false, stale: false },
            StreamTruth { stamp_nanos: time_nanos - 20_000_000, repeated: false, stale: number == 3 },
        ],
    }
}

fn record(writer: &mut DatasetWriter, rows: u64, task: &str) {
    writer.begin_episode(task).unwrap();
    (0..rows).for_each(|number| writer.push(&row(number)).unwrap());
    writer.commit(task, &json!({"bag": "x"})).unwrap();
}

fn sound(root: &Path) {
    let report = check_dataset(root, |_| ()).unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
}

#[test]
fn the_last_episode_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let mut writer = DatasetWriter::open(&root, layout(30)).unwrap();
    record(&mut writer, 9, "pick up the cup");
    writer.take_back().unwrap();
    assert_eq!(writer.episodes(), 0);
    record(&mut writer, 20, "pick up the cup");
    let meta = |name: &str| std::fs::read(root.join("meta").join(name)).unwrap();
    let before = ["info.json", "stats.json", "tasks.parquet"].map(meta);
    record(&mut writer, 5, "put it down");
    writer.take_back().unwrap();
    assert!(matches!(writer.take_back(), Err(DatasetError::Order { .. })), "only one");
    assert!(["info.json", "stats.json", "tasks.parquet"].map(meta) == before);
    sound(&root);
    record(&mut writer, 7, "put it away");
    drop(writer);
    sound(&root);
    let reader = DatasetReader::open(&root).unwrap();
    assert_eq!(reader.tasks(), ["pick up the cup", "put it away"]);
    assert_eq!(reader.episodes().iter().map(|episode| episode.frames).collect::<Vec<_>>(), [20, 7]);
}

#[test]
fn what_is_written_is_read_and_sound() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let mut writer = DatasetWriter::open(&root, layout(30)).unwrap();
    record(&mut writer, 70, "pick up the cup");
    record(&mut writer, 5, "put it down");
    drop(writer);
    sound(&root);
    let reader = DatasetReader::open(&root).unwrap();
    assert_eq!(reader.tasks(), ["pick up the cup", "put it down"]);
    assert_eq!((reader.info().total_episodes, reader.info().total_frames), (2, 75));
    let episode = &reader.episodes()[0];
    let columns =
        reader.columns(episode, &["observation.state", "rec.note", "sync.age", "rec.stale"]).unwrap();
    let ColumnData::Numbers { length: 2, values } = &columns["observation.state"] else {
        panic!("{columns:?}")
    };
    assert_eq!(values[138..], [f64::from(69.0_f32 * 0.1), f64::from(-69.0_f32 * 0.1)]);
    let ColumnData::Texts(notes) = &columns["rec.note"] else { panic!("{columns:?}") };
    assert_eq!(notes[69], "row 69");
    let ColumnData::Numbers { values, .. } = &columns["sync.age"] else { panic!("{columns:?}") };
    assert!((values[0] - 0.004).abs() < 1e-7 && (values[1] - 0.020).abs() < 1e-7);
    let ColumnData::Numbers { values, .. } = &columns["rec.stale"] else { panic!("{columns:?}") };
    assert_eq!(values.iter().position(|stale| *stale == 1.0), Some(7));
    for key in ["observation.images.wrist", "observation.images.top"] {
        let (size, pixels) = reader.picture(episode, key, 41).unwrap();
        let Picture::Rgb8 { pixels: expected, .. } = rgb(if key.ends_with("top") { 42 } else { 41 }) else {
            panic!()
        };
        let error: u64 = pixels.iter().zip(&expected).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert_eq!(size, SIZE);
        assert!(error / (expected.len() as u64) < 8, "{key}: {error}");
    }
}

#[test]
fn only_the_same_robot_rate_and_features_are_continued() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    record(&mut DatasetWriter::open(&root, layout(30)).unwrap(), 4, "pick");
    let mut writer = DatasetWriter::open(&root, layout(30)).unwrap();
    record(&mut writer, 6, "pick");
    assert!(matches!(DatasetWriter::open(&root, layout(30)), Err(DatasetError::Locked { .. })));
    drop(writer);
    sound(&root);
    let error = DatasetWriter::open(&root, layout(25)).unwrap_err().to_string();
    assert!(error.contains("fps: the dataset has 30, this recording 25"), "{error}");
    let other =
        Layout::new(30, "other_arm", layout(30).features().to_vec(), layout(30).streams().to_vec()).unwrap();
    assert!(DatasetWriter::open(&root, other).unwrap_err().to_string().contains("robot_type"));
    assert_eq!(DatasetReader::open(&root).unwrap().tasks(), ["pick"]);
}

#[test]
fn rows_that_do_not_fit_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::open(&folder.path().join("set"), layout(30)).unwrap();
    assert!(matches!(writer.push(&row(0)), Err(DatasetError::Order { .. })));
    writer.begin_episode("pick").unwrap();
    let wrong = |change: &dyn Fn(&mut Row)| {
        let mut wrong = row(0);
        change(&mut wrong);
        wrong
    };
    let small = Picture::Rgb8 { size: Size { width: 2, height: 2 }, pixels: vec![0; 12] };
    let small = Cell::Picture(Arc::new(small));
    type Change<'a> = &'a dyn Fn(&mut Row);
    let cases: [(Change<'_>, &str); 6] = [
        (&|row| row.values[0] = Cell::Float32(vec![1.0]), "observation.state: expected 2 values, got 1"),
        (
            &|row| row.values[1] = Cell::Float32(vec![1.0, f32::NAN]),
            "action: expected finite numbers, got NaN for elbow",
        ),
        (&|row| row.values[2] = small.clone(), "wrist: expected 64x48 pixels as at the start, got 2x2"),
        (&|row| row.values[5] = Cell::Int64(vec![1]), "rec.grip: expected Bool"),
        (&|row| row.streams.truncate(1), "streams: expected 2, got 1"),
        (&|row| row.values.truncate(1), "values: expected 8, got 1"),
    ];
    for (change, expected) in cases {
        let error = writer.push(&wrong(change)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(
        matches!(writer.commit("pick", &json!({})), Err(DatasetError::Order { .. })),
        "an episode without rows"
    );
    writer.push(&row(0)).unwrap();
    assert_eq!(writer.commit("pick", &json!({})).unwrap().frames, 1);
    sound(&folder.path().join("set"));
}

#[test]
fn a_discarded_episode_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let mut writer = DatasetWriter::open(&root, layout(30)).unwrap();
    writer.begin_episode("pick").unwrap();
    writer.push(&row(0)).unwrap();
    writer.discard().unwrap();
    record(&mut writer, 3, "pick");
    assert_eq!(writer.left_over().unwrap(), []);
    drop(writer);
    let report = check_dataset(&root, |_| ()).unwrap();
    assert_eq!((report.findings, report.episodes, report.items), (vec![], 1, 3));
}

/// A crash at every step of a commit: what was renamed but not counted is set aside, and the log still has the rows.
#[test]
fn an_episode_cut_off_while_it_is_committed_is_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let mut writer = DatasetWriter::open(&root, layout(30)).unwrap();
    record(&mut writer, 4, "pick");
    writer.begin_episode("place").unwrap();
    (0..6).for_each(|number| writer.push(&row(number)).unwrap());
    // As after a kill: the log stays, and so do files that the commit had renamed already.
    std::mem::forget(writer);
    let stray = root.join("data/chunk-000/file-001.parquet");
    std::fs::copy(root.join("data/chunk-000/file-000.parquet"), &stray).unwrap();
    let copy = folder.path().join("copy");
    copy_all(&root, &copy);
    assert!(!check_dataset(&copy, |_| ()).unwrap().is_sound(), "a loader would take the stray file for data");
    let mut writer = DatasetWriter::open(&copy, layout(30)).unwrap();
    assert_eq!(writer.quarantined(), [Path::new("data/chunk-000/file-001.parquet")]);
    let left_over = writer.left_over().unwrap();
    assert_eq!((left_over.len(), left_over[0].rows, left_over[0].task.as_str()), (1, 6, "place"));
    assert_eq!(writer.recover(&left_over[0]).unwrap().episode, 1);
    assert_eq!(writer.left_over().unwrap(), []);
    drop(writer);
    sound(&copy);
    assert_eq!(DatasetReader::open(&copy).unwrap().info().total_frames, 10);
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_vanished_folder_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let mut writer = DatasetWriter::open(&root, layout(30)).unwrap();
    writer.begin_episode("pick").unwrap();
    writer.push(&row(0)).unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    let error = writer.push(&row(1)).unwrap_err().to_string();
    assert!(error.contains("removed while recording"), "{error}");
    assert!(writer.commit("pick", &json!({})).is_err());
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    record(&mut DatasetWriter::open(&root, layout(30)).unwrap(), 8, "pick");
    let video = root.join("videos/observation.images.wrist/chunk-000/file-000.mp4");
    type Damage<'a> = &'a dyn Fn(&Path);
    let cases: [(&Path, Damage<'_>, &str); 4] = [
        (&video, &|path| std::fs::remove_file(path).unwrap(), "the file is missing"),
        (&video, &|path| std::fs::write(path, b"no video").unwrap(), "cut off?"),
        (
            &root.join("data/chunk-000/file-000.parquet"),
            &|p| std::fs::write(p, b"PAR1").unwrap(),
            "file-000.parquet",
        ),
        (
            &root.join("meta/info.json"),
            &|p| replace(p, "\"total_frames\": 8", "\"total_frames\": 9"),
            "says 9",
        ),
    ];
    for (path, damage, expected) in cases {
        let copy = folder.path().join("copy");
        copy_all(&root, &copy);
        damage(&copy.join(path.strip_prefix(&root).unwrap()));
        let report = check_dataset(&copy, |_| ()).unwrap();
        let found = report
            .findings
            .iter()
            .any(|f| f.broken && format!("{} {}", f.place, f.problem).contains(expected));
        assert!(found, "{expected}: {:#?}", report.findings);
        std::fs::remove_dir_all(&copy).unwrap();
    }
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from));
    std::fs::write(path, text.replace(from, to)).unwrap();
}
