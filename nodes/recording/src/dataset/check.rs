//! Every rule that a dataset must keep to be loaded, trained on, continued and merged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, parquet_to_arrow_schema};

use super::info::FeatureInfo;
use super::layout::DEFAULT_FEATURES;
use super::mp4::Mp4Track;
use super::picture::encoded_size;
use super::reader::{ColumnData, DatasetReader, EpisodeInfo, guarded};
use super::stats::{QUANTILES, Stats};
use super::store::{files_below, read_stats};
use super::truth::{check_truth, contracts};
use super::{DatasetError, at};
use crate::contract::Contract;
use crate::report::Report;

/// Checks a dataset; `progress` is told the episodes done.
///
/// # Errors
/// It cannot even be opened.
pub fn check_dataset(root: &Path, mut progress: impl FnMut(u64)) -> Result<Report, DatasetError> {
    let reader = DatasetReader::open(root)?;
    let mut report = Report::default();
    check_counts(&reader, &mut report);
    check_files(&reader, &mut report)?;
    check_tasks_index(root, &mut report)?;
    check_episode_columns(&reader, &mut report)?;
    let contracts = contracts(root, &mut report)?;
    let mut totals = BTreeMap::new();
    for episode in reader.episodes() {
        match check_episode(&reader, episode, &mut report, &mut totals, &contracts) {
            Ok(()) => {}
            Err(error) => report.broken(format!("episode {}", episode.episode), error.to_string()),
        }
        report.episodes += 1;
        report.items += episode.frames;
        progress(report.episodes);
    }
    check_stats(&reader, &totals, &mut report)?;
    Ok(report)
}

fn check_counts(reader: &DatasetReader, report: &mut Report) {
    let info = reader.info();
    let mut expect = |what: &str, said: u64, came: u64| {
        if said != came {
            report.broken("meta/info.json", format!("{what}: says {said}, there are {came}"));
        }
    };
    expect("total_episodes", info.total_episodes, reader.episodes().len() as u64);
    expect("total_tasks", info.total_tasks, reader.tasks().len() as u64);
    expect("total_frames", info.total_frames, reader.episodes().iter().map(|episode| episode.frames).sum());
    let mut from = 0;
    for (number, episode) in (0..).zip(reader.episodes()) {
        if episode.episode != number {
            report.broken(
                episode.meta_file.to_string_lossy(),
                format!("expected episode {number}, got {}: loaders count rows", episode.episode),
            );
        }
        if episode.from != from {
            let problem = format!("expected dataset_from_index {from}, got {}", episode.from);
            report.broken(format!("episode {number}"), problem);
        }
        from += episode.frames;
        if episode.frames == 0 {
            report.broken(format!("episode {number}"), "no frames");
        }
        for task in episode.tasks.iter().filter(|task| !reader.tasks().contains(task)) {
            report.broken(format!("episode {number}"), format!("task {task:?} is not in meta/tasks.parquet"));
        }
    }
    for (position, key) in DEFAULT_FEATURES.iter().enumerate() {
        if info.features.get(key).is_none() {
            report.broken(
                "meta/info.json",
                format!("features: {key} is missing (LeRobot's column {position})"),
            );
        }
    }
    let split = format!("0:{}", info.total_episodes);
    if info.splits.get("train") != Some(&split) {
        report.remark("meta/info.json", format!("splits: expected train {split}"));
    }
}

/// Files that are missing, and files that a loader would take for data.
fn check_files(reader: &DatasetReader, report: &mut Report) -> Result<(), DatasetError> {
    let root = reader.root();
    let mut known = Vec::new();
    for episode in reader.episodes() {
        known.push(reader.data_file(episode));
        known.push(root.join(&episode.meta_file));
        known.extend(episode.videos.keys().filter_map(|key| reader.video_file(episode, key)));
    }
    for path in known.iter().filter(|path| !path.is_file()) {
        report.broken(shown(root, path), "the file is missing");
    }
    for folder in ["data", "videos", "meta/episodes"] {
        for path in files_below(&root.join(folder))? {
            if known.contains(&path) {
                continue;
            }
            let problem =
                "no episode has this file: cut off while it was committed? `pixio dataset recover` moves it";
            match path.extension().is_some_and(|extension| extension == "tmp") {
                true => report.remark(shown(root, &path), "left over from a commit that was cut off"),
                false => report.broken(shown(root, &path), problem),
            }
        }
    }
    for path in files_below(&root.join(".rec"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("spool-") {
            report.remark(
                shown(root, &path),
                "an episode in progress, or cut off: see `pixio dataset recover`",
            );
        } else if name != "lock" {
            report.remark(shown(root, &path), "set aside after a crash");
        }
    }
    Ok(())
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Names of all columns of a file, and a value of its metadata: of Arrow's schema where the file has one, since newer versions of
/// pyarrow look there only.
fn schema_of(path: &Path, key: &str) -> Result<(Vec<String>, Option<String>), DatasetError> {
    let file = std::fs::File::open(path).map_err(at(path))?;
    guarded(path, || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        let names = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let file = builder.metadata().file_metadata();
        let pairs = file.key_value_metadata().map_or(&[][..], Vec::as_slice);
        let pair = |key: &str| pairs.iter().find(|pair| pair.key == key).cloned();
        let value = match pair(ARROW_SCHEMA_META_KEY) {
            Some(arrow) => {
                let schema = parquet_to_arrow_schema(file.schema_descr(), Some(&vec![arrow]));
                schema.map_err(|error| error.to_string())?.metadata().get(key).cloned()
            }
            None => pair(key).and_then(|pair| pair.value),
        };
        Ok((names, value))
    })
}

/// Without pandas' metadata LeRobot gives numbers for tasks, and says nothing.
fn check_tasks_index(root: &Path, report: &mut Report) -> Result<(), DatasetError> {
    let path = root.join("meta/tasks.parquet");
    if !path.exists() {
        return Ok(());
    }
    let (names, pandas) = schema_of(&path, "pandas")?;
    let pandas: serde_json::Value =
        pandas.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let index = pandas["index_columns"][0].as_str();
    if !index.is_some_and(|index| names.iter().any(|name| name == index)) {
        report.broken("meta/tasks.parquet", "no pandas index: LeRobot would give numbers in place of tasks");
    }
    Ok(())
}

/// Every file of episodes must have the same columns, statistics of every feature among them.
fn check_episode_columns(reader: &DatasetReader, report: &mut Report) -> Result<(), DatasetError> {
    let root = reader.root();
    let mut files: Vec<PathBuf> =
        reader.episodes().iter().map(|episode| root.join(&episode.meta_file)).collect();
    files.dedup();
    let mut first: Option<Vec<String>> = None;
    for file in files {
        let (mut names, _) = schema_of(&file, "pandas")?;
        names.sort();
        let expected = first.get_or_insert_with(|| names.clone());
        if *expected != names {
            report.broken(
                shown(root, &file),
                "other columns than the first file of episodes: `datasets` refuses them",
            );
        }
        for (key, feature) in &reader.info().features.0 {
            let statistics =
                ["min", "max", "mean", "std", "count"].into_iter().chain(QUANTILES.map(|(name, _)| name));
            let missing = statistics.filter(|name| !names.contains(&format!("stats/{key}/{name}")));
            let missing: Vec<&str> = if feature.dtype == "string" { Vec::new() } else { missing.collect() };
            if !missing.is_empty() {
                let problem =
                    format!("no statistics {} of {key}: LeRobot cannot continue it", missing.join(", "));
                report.broken(shown(root, &file), problem);
            }
        }
    }
    Ok(())
}

fn check_episode(
    reader: &DatasetReader,
    episode: &EpisodeInfo,
    report: &mut Report,
    totals: &mut BTreeMap<String, Stats>,
    contracts: &BTreeMap<u64, Contract>,
) -> Result<(), DatasetError> {
    let features = &reader.info().features.0;
    let place = format!("episode {}", episode.episode);
    let in_rows = features.iter().filter(|(_, feature)| !feature.is_picture());
    let keys: Vec<&str> = in_rows.map(|(key, _)| key.as_str()).collect();
    let columns = reader.columns(episode, &keys)?;
    for (key, feature) in features {
        let Some(ColumnData::Numbers { length, values }) = columns.get(key) else { continue };
        if *length != feature.length() {
            report.broken(
                &place,
                format!("{key}: expected {} numbers per frame, got {length}", feature.length()),
            );
            continue;
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            report.broken(&place, format!("{key}: frame {}: not a finite number", index / length.max(&1)));
            continue;
        }
        let column = |element: usize| values.iter().skip(element).step_by(*length).copied().collect();
        let stats = Stats::of_columns((0..*length).map(column));
        totals.entry(key.clone()).and_modify(|known| known.merge(&stats)).or_insert(stats);
    }
    check_own_columns(reader, episode, &columns, report);
    check_truth(&place, &columns, contracts.get(&episode.episode), report);
    for (key, feature) in features.iter().filter(|(_, feature)| feature.is_picture()) {
        check_pictures(reader, episode, key, feature, report)?;
    }
    Ok(())
}

pub(super) fn numbers<'a>(columns: &'a BTreeMap<String, ColumnData>, key: &str) -> &'a [f64] {
    match columns.get(key) {
        Some(ColumnData::Numbers { values, .. }) => values,
        _ => &[],
    }
}

fn check_own_columns(
    reader: &DatasetReader,
    episode: &EpisodeInfo,
    columns: &BTreeMap<String, ColumnData>,
    report: &mut Report,
) {
    let fps = reader.info().fps;
    let tasks: Vec<f64> = (0..)
        .zip(reader.tasks())
        .filter(|(_, t)| episode.tasks.contains(t))
        .map(|(i, _)| f64::from(i))
        .collect();
    let mut expect = |key: &str, expected: &dyn Fn(usize, f64) -> Option<String>| {
        let wrong = numbers(columns, key).iter().enumerate().find_map(|(frame, value)| {
            expected(frame, *value)
                .map(|expected| format!("{key}: frame {frame}: expected {expected}, got {value}"))
        });
        if let Some(problem) = wrong {
            report.broken(format!("episode {}", episode.episode), problem);
        }
    };
    let equal = |expected: f64, value: f64| (expected != value).then(|| expected.to_string());
    expect("timestamp", &|frame, value| {
        // LeRobot accepts 1e-4 s; what is written here is exact.
        let exact = frame as f64 / fps;
        ((exact - value).abs() > 1e-4).then(|| format!("{exact} (frame_index / fps)"))
    });
    expect("frame_index", &|frame, value| equal(frame as f64, value));
    expect("episode_index", &|_, value| equal(episode.episode as f64, value));
    expect("index", &|frame, value| equal(episode.from as f64 + frame as f64, value));
    expect("task_index", &|_, value| (!tasks.contains(&value)).then(|| format!("one of {tasks:?}")));
}

fn check_pictures(
    reader: &DatasetReader,
    episode: &EpisodeInfo,
    key: &str,
    feature: &FeatureInfo,
    report: &mut Report,
) -> Result<(), DatasetError> {
    let place = format!("episode {}", episode.episode);
    let expected = (feature.shape.get(1).copied(), feature.shape.first().copied());
    let sides = |size: calibration::Size| (Some(size.width), Some(size.height));
    let (Some(path), Some(video)) = (reader.video_file(episode, key), episode.videos.get(key)) else {
        let columns = reader.columns(episode, &[key])?;
        let Some(ColumnData::Pictures(pictures)) = columns.get(key) else {
            report.broken(place, format!("{key}: expected pictures in the rows"));
            return Ok(());
        };
        for (frame, bytes) in pictures.iter().enumerate() {
            match encoded_size(bytes) {
                Ok(size) if sides(size) == expected => {}
                Ok(size) => {
                    let problem = format!("{key}: frame {frame}: expected {:?}, got {size:?}", feature.shape);
                    report.broken(&place, problem);
                }
                Err(problem) => report.broken(&place, format!("{key}: frame {frame}: {problem}")),
            }
        }
        return Ok(());
    };
    let fps = reader.info().fps;
    let track = Mp4Track::open(&path)?;
    let needed = (video.from_secs * fps).round() as u64 + episode.frames;
    if (track.frames() as u64) < needed {
        report.broken(&place, format!("{key}: the video has {} frames, {needed} are needed", track.frames()));
    }
    if sides(track.size) != expected {
        report.broken(&place, format!("{key}: expected {:?}, the video has {:?}", feature.shape, track.size));
    }
    let rate = track.constant_ticks.map(|ticks| f64::from(track.timescale) / f64::from(ticks.max(1)));
    if !rate.is_some_and(|rate| (rate - fps).abs() < 1e-6 * fps) {
        report.broken(&place, format!("{key}: expected {fps} frames per second throughout, got {rate:?}"));
    }
    Ok(())
}

/// `stats.json` against what the rows hold.
fn check_stats(
    reader: &DatasetReader,
    totals: &BTreeMap<String, Stats>,
    report: &mut Report,
) -> Result<(), DatasetError> {
    let place = "meta/stats.json";
    let stored = read_stats(reader.root())?;
    if stored.is_empty() && !reader.episodes().is_empty() {
        report.broken(place, "no statistics: policies cannot be normalised");
        return Ok(());
    }
    for (key, real) in totals {
        let Some(said) = stored.get(key) else {
            report.broken(place, format!("{key} is missing"));
            continue;
        };
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * (1.0 + a.abs().max(b.abs()));
        let pairs = [
            ("min", &said.min, &real.min),
            ("max", &said.max, &real.max),
            ("mean", &said.mean, &real.mean),
            ("std", &said.std, &real.std),
        ];
        for (name, said, real) in pairs {
            let equal = said.len() == real.len() && said.iter().zip(real).all(|(a, b)| close(*a, *b));
            if !equal {
                report.broken(place, format!("{key}: {name}: says {said:?}, the rows have {real:?}"));
            }
        }
        if said.count != real.count {
            report.broken(place, format!("{key}: count: says {}, there are {}", said.count, real.count));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;

    use super::*;

    /// pyarrow 26 takes what is beside Arrow's schema for nothing, and LeRobot then gives numbers in place of tasks.
    #[test]
    fn metadata_count_where_newer_readers_look_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.parquet");
        super::super::tables::write_tasks(&path, &["wave".to_owned()]).unwrap();
        let (names, pandas) = schema_of(&path, "pandas").unwrap();
        assert_eq!(names, ["task_index", "task"]);
        assert!(pandas.unwrap().contains("\"index_columns\":[\"task\"]"));

        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(["wave"]));
        let batch = RecordBatch::try_from_iter([("task", texts)]).unwrap();
        let beside = Some(vec![KeyValue::new("pandas".to_owned(), "{}".to_owned())]);
        let properties = WriterProperties::builder().set_key_value_metadata(beside).build();
        let mut writer =
            ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert_eq!(schema_of(&path, "pandas").unwrap().1, None);
    }
}
