//! Reading a dataset, whoever wrote it: episodes, columns, pictures.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};

use super::info::Info;
use super::mp4::Mp4Track;
use super::store::{files_below, read_info};
use super::{DatasetError, at};

/// One committed episode.
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeInfo {
    /// Its number.
    pub episode: u64,
    /// Its tasks.
    pub tasks: Vec<String>,
    /// Its frames.
    pub frames: u64,
    /// `index` of its first frame.
    pub from: u64,
    /// Chunk and file of its rows.
    pub data: (u64, u64),
    /// Where its videos are, by feature.
    pub videos: BTreeMap<String, VideoPlace>,
    /// The file of `meta/episodes` that says so, relative to the root.
    pub meta_file: PathBuf,
}

/// Where the video of an episode is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoPlace {
    /// Chunk folder.
    pub chunk: u64,
    /// File in it.
    pub file: u64,
    /// Where the episode begins in the file, seconds.
    pub from_secs: f64,
    /// Where it ends.
    pub to_secs: f64,
}

/// The values of one column over an episode.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnData {
    /// Numbers and truths: `length` of them per frame.
    Numbers {
        /// Numbers per frame.
        length: usize,
        /// Frame after frame.
        values: Vec<f64>,
    },
    /// A text per frame.
    Texts(Vec<String>),
    /// The bytes of a JPEG or PNG file per frame.
    Pictures(Vec<Vec<u8>>),
}

/// An open dataset.
#[derive(Debug)]
pub struct DatasetReader {
    root: PathBuf,
    info: Info,
    tasks: Vec<String>,
    episodes: Vec<EpisodeInfo>,
}

impl DatasetReader {
    /// Opens a dataset and reads what it says about itself.
    ///
    /// # Errors
    /// Not a LeRobotDataset of version 3.0, or damaged.
    pub fn open(root: &Path) -> Result<Self, DatasetError> {
        let info = read_info(root)?;
        let tasks = read_tasks(root)?;
        let episodes = read_episodes(root, &info)?;
        Ok(Self { root: root.to_owned(), info, tasks, episodes })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `info.json`.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The tasks, by their index.
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// The episodes that `meta/episodes` lists, in its order.
    pub fn episodes(&self) -> &[EpisodeInfo] {
        &self.episodes
    }

    /// The file with the rows of an episode.
    pub fn data_file(&self, episode: &EpisodeInfo) -> PathBuf {
        self.root.join(Info::fill(&self.info.data_path, "", episode.data.0, episode.data.1))
    }

    /// The file with a video of an episode.
    pub fn video_file(&self, episode: &EpisodeInfo, key: &str) -> Option<PathBuf> {
        let (pattern, place) = (self.info.video_path.as_ref()?, episode.videos.get(key)?);
        Some(self.root.join(Info::fill(pattern, key, place.chunk, place.file)))
    }

    /// The values of some columns of an episode, each as long as the episode.
    ///
    /// # Errors
    /// A column or frames that are missing, or a damaged file.
    pub fn columns(
        &self,
        episode: &EpisodeInfo,
        keys: &[&str],
    ) -> Result<BTreeMap<String, ColumnData>, DatasetError> {
        let path = self.data_file(episode);
        // A file of several episodes is read from the first of those that share it.
        let first =
            self.episodes.iter().filter(|other| other.data == episode.data).map(|other| other.from).min();
        let skip = (episode.from - first.unwrap_or(episode.from)) as usize;
        let mut columns = read_columns(&path, keys, skip, episode.frames as usize)?;
        for key in keys {
            let Some(column) = columns.get(*key) else {
                return Err(DatasetError::Parquet { path, problem: format!("column {key} is missing") });
            };
            let frames = match column {
                ColumnData::Numbers { length, values } => values.len() / (*length).max(1),
                ColumnData::Texts(texts) => texts.len(),
                ColumnData::Pictures(pictures) => pictures.len(),
            };
            if frames as u64 != episode.frames {
                let problem = format!("{key}: expected {} frames, got {frames}", episode.frames);
                return Err(DatasetError::Parquet { path, problem });
            }
        }
        columns.retain(|key, _| keys.contains(&key.as_str()));
        Ok(columns)
    }

    /// One picture of an episode as RGB, out of its rows or its video (H.264 only).
    ///
    /// # Errors
    /// No such feature or frame, or a damaged file.
    pub fn picture(
        &self,
        episode: &EpisodeInfo,
        key: &str,
        frame: u64,
    ) -> Result<(calibration::Size, Vec<u8>), DatasetError> {
        if let (Some(path), Some(place)) = (self.video_file(episode, key), episode.videos.get(key)) {
            let track = Mp4Track::open(&path)?;
            let start = (place.from_secs * self.info.fps).round().max(0.0) as usize;
            let units = track.access_units(&path, start.saturating_add(frame as usize))?;
            return super::video::decode_last(&units)
                .map_err(|problem| DatasetError::Video { path, problem });
        }
        let path = self.data_file(episode);
        let columns = self.columns(episode, &[key])?;
        let refuse = |problem: String| DatasetError::Parquet { path: path.clone(), problem };
        let Some(ColumnData::Pictures(pictures)) = columns.get(key) else {
            return Err(refuse(format!("{key}: expected pictures")));
        };
        let bytes = pictures.get(frame as usize).ok_or_else(|| refuse(format!("{key}: no frame {frame}")))?;
        let decoded = super::picture::decode(bytes).map_err(|problem| refuse(format!("{key}: {problem}")))?;
        let rgb = decoded.into_rgb8();
        Ok((super::picture::size_of(&rgb), rgb.into_raw()))
    }
}

/// The library's errors, and its panics on damaged files, as words.
pub(super) fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, String>) -> Result<T, DatasetError> {
    let refuse = |problem: String| DatasetError::Parquet { path: path.to_owned(), problem };
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("a damaged Parquet file (its library gave up)".to_owned()))
        .map_err(refuse)
}

/// Reads some columns of a file, all when none is named, from row `skip` on.
pub(super) fn read_columns(
    path: &Path,
    keys: &[&str],
    skip: usize,
    count: usize,
) -> Result<BTreeMap<String, ColumnData>, DatasetError> {
    let file = File::open(path).map_err(at(path))?;
    guarded(path, || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        let rows = builder.metadata().file_metadata().num_rows().max(0) as usize;
        let schema = builder.parquet_schema();
        let wanted = |name: &str| keys.is_empty() || keys.contains(&name);
        let roots = (0..schema.root_schema().get_fields().len())
            .filter(|root| wanted(schema.root_schema().get_fields()[*root].name()));
        let mask = ProjectionMask::roots(schema, roots.collect::<Vec<_>>());
        let skip = skip.min(rows);
        let taken = count.min(rows - skip);
        let selection =
            vec![RowSelector::skip(skip), RowSelector::select(taken), RowSelector::skip(rows - skip - taken)];
        let reader = builder
            .with_projection(mask)
            .with_row_selection(RowSelection::from(selection))
            .with_batch_size(256);
        let (mut columns, mut first) = (BTreeMap::new(), skip);
        for batch in reader.build().map_err(|error| error.to_string())? {
            let batch = batch.map_err(|error| error.to_string())?;
            append(&batch, first, &mut columns)?;
            first += batch.num_rows();
        }
        Ok(columns)
    })
}

/// Adds rows, of which the first is the file's row `first`.
fn append(
    batch: &RecordBatch,
    first: usize,
    columns: &mut BTreeMap<String, ColumnData>,
) -> Result<(), String> {
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let more = column(array.as_ref(), first).map_err(|problem| format!("{name}: {problem}"))?;
        match (columns.get_mut(name), more) {
            (None, more) => {
                columns.insert(name.clone(), more);
            }
            (
                Some(ColumnData::Numbers { length, values }),
                ColumnData::Numbers { length: same, values: more },
            ) if *length == same || more.is_empty() => {
                values.extend(more);
            }
            (Some(ColumnData::Texts(texts)), ColumnData::Texts(more)) => texts.extend(more),
            (Some(ColumnData::Pictures(pictures)), ColumnData::Pictures(more)) => pictures.extend(more),
            _ => return Err(format!("{name}: its rows differ in kind or length")),
        }
    }
    Ok(())
}

fn column(array: &dyn Array, first: usize) -> Result<ColumnData, String> {
    let rows = array.len();
    if let Some(row) = (0..rows).find(|row| array.is_null(*row)) {
        return Err(format!("row {} of the file: a value is missing", first + row));
    }
    match array.data_type() {
        DataType::Utf8 => {
            Ok(ColumnData::Texts(array.as_string::<i32>().iter().flatten().map(str::to_owned).collect()))
        }
        DataType::LargeUtf8 => {
            Ok(ColumnData::Texts(array.as_string::<i64>().iter().flatten().map(str::to_owned).collect()))
        }
        DataType::Struct(_) => {
            let bytes = array.as_struct().column_by_name("bytes").ok_or("expected a picture's bytes")?;
            let bytes = bytes.as_binary_opt::<i32>().ok_or("expected a picture's bytes")?;
            let pictures: Vec<Vec<u8>> = bytes.iter().flatten().map(<[u8]>::to_vec).collect();
            match (0..rows).find(|row| bytes.is_null(*row)) {
                None => Ok(ColumnData::Pictures(pictures)),
                Some(row) => Err(format!("row {} of the file: a picture is missing", first + row)),
            }
        }
        DataType::FixedSizeList(_, _) | DataType::List(_) => flat(array),
        _ => Ok(ColumnData::Numbers { length: 1, values: numbers(array)? }),
    }
}

/// Lists of numbers, of one length, however deep.
fn flat(array: &dyn Array) -> Result<ColumnData, String> {
    let rows = array.len();
    let mut inner = array.slice(0, rows);
    loop {
        inner = match inner.data_type() {
            DataType::FixedSizeList(_, _) => inner.as_fixed_size_list().values().clone(),
            DataType::List(_) => {
                let list = inner.as_list::<i32>();
                let mut lengths = (0..list.len()).map(|row| list.value_length(row));
                let first = lengths.next();
                if lengths.any(|length| Some(length) != first) {
                    return Err("lists of different lengths".to_owned());
                }
                let offsets = list.offsets();
                let (from, to) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
                list.values().slice(from, to - from)
            }
            _ => break,
        };
    }
    let values = numbers(inner.as_ref())?;
    let length = values.len().checked_div(rows).unwrap_or(0);
    match length * rows == values.len() {
        true => Ok(ColumnData::Numbers { length, values }),
        false => Err("lists of different lengths".to_owned()),
    }
}

fn numbers(array: &dyn Array) -> Result<Vec<f64>, String> {
    if array.null_count() > 0 {
        return Err("a number is missing".to_owned());
    }
    Ok(match array.data_type() {
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().values().iter().map(|v| f64::from(*v)).collect()
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().values().to_vec(),
        DataType::Int64 => array.as_primitive::<Int64Type>().values().iter().map(|v| *v as f64).collect(),
        DataType::Int32 => array.as_primitive::<Int32Type>().values().iter().map(|v| f64::from(*v)).collect(),
        DataType::Boolean => {
            array.as_boolean().iter().map(|v| f64::from(u8::from(v == Some(true)))).collect()
        }
        other => return Err(format!("expected numbers, truths, texts or pictures, got {other}")),
    })
}

/// The tasks in the order of their index.
pub(super) fn read_tasks(root: &Path) -> Result<Vec<String>, DatasetError> {
    let path = root.join("meta/tasks.parquet");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let columns = read_columns(&path, &[], 0, usize::MAX)?;
    let texts = columns.values().find_map(|column| match column {
        ColumnData::Texts(texts) => Some(texts.clone()),
        _ => None,
    });
    let (Some(texts), Some(ColumnData::Numbers { values, .. })) = (texts, columns.get("task_index")) else {
        return match columns.is_empty() {
            true => Ok(Vec::new()),
            false => Err(DatasetError::Parquet { path, problem: "expected task_index and texts".to_owned() }),
        };
    };
    match (0..).zip(values).all(|(expected, index)| f64::from(expected) == *index) {
        true => Ok(texts),
        false => Err(DatasetError::Parquet {
            path,
            problem: "expected task_index 0, 1, 2, ... in order".to_owned(),
        }),
    }
}

/// All rows of `meta/episodes`, in the order of the files' names.
pub(super) fn read_episodes(root: &Path, info: &Info) -> Result<Vec<EpisodeInfo>, DatasetError> {
    let mut episodes = Vec::new();
    for path in files_below(&root.join("meta/episodes"))? {
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let meta_file = path.strip_prefix(root).unwrap_or(&path).to_owned();
            read_episode_file(&path, meta_file, info, &mut episodes)?;
        }
    }
    Ok(episodes)
}

fn read_episode_file(
    path: &Path,
    meta_file: PathBuf,
    info: &Info,
    episodes: &mut Vec<EpisodeInfo>,
) -> Result<(), DatasetError> {
    let videos: Vec<&String> =
        info.features.0.iter().filter(|(_, f)| f.is_video()).map(|(key, _)| key).collect();
    let mut keys =
        vec!["episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index"];
    let video_keys: Vec<[String; 4]> = videos
        .iter()
        .map(|key| {
            ["chunk_index", "file_index", "from_timestamp", "to_timestamp"]
                .map(|c| format!("videos/{key}/{c}"))
        })
        .collect();
    keys.extend(video_keys.iter().flatten().map(String::as_str));
    let columns = read_columns(path, &keys, 0, usize::MAX)?;
    let tasks = read_task_lists(path)?;
    let refuse = |problem: String| DatasetError::Parquet { path: path.to_owned(), problem };
    let value = |key: &str, row: usize| match columns.get(key) {
        Some(ColumnData::Numbers { values, .. }) => values.get(row).copied(),
        _ => None,
    };
    let number =
        |key: &str, row: usize| value(key, row).ok_or_else(|| refuse(format!("column {key} is missing")));
    let whole = |key: &str, row: usize| -> Result<u64, DatasetError> {
        let number = number(key, row)?;
        let sound = number >= 0.0 && number.fract() == 0.0 && number < 9e15;
        if sound { Ok(number as u64) } else { Err(refuse(format!("{key}: expected a count, got {number}"))) }
    };
    for (row, tasks) in tasks.into_iter().enumerate() {
        let mut places = BTreeMap::new();
        for (key, [chunk, file, from, to]) in videos.iter().zip(&video_keys) {
            let (chunk, file) = (whole(chunk, row)?, whole(file, row)?);
            let place = VideoPlace { chunk, file, from_secs: number(from, row)?, to_secs: number(to, row)? };
            places.insert((*key).clone(), place);
        }
        episodes.push(EpisodeInfo {
            episode: whole("episode_index", row)?,
            tasks,
            frames: whole("length", row)?,
            from: whole("dataset_from_index", row)?,
            data: (whole("data/chunk_index", row)?, whole("data/file_index", row)?),
            videos: places,
            meta_file: meta_file.clone(),
        });
    }
    Ok(())
}

/// The lists of tasks of all rows.
fn read_task_lists(path: &Path) -> Result<Vec<Vec<String>>, DatasetError> {
    let file = File::open(path).map_err(at(path))?;
    guarded(path, || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["tasks"]);
        let mut lists = Vec::new();
        for batch in builder.with_projection(mask).build().map_err(|error| error.to_string())? {
            let batch = batch.map_err(|error| error.to_string())?;
            let column = batch.column_by_name("tasks").ok_or("column tasks is missing")?;
            let column = column.as_list_opt::<i32>().ok_or("tasks: expected lists of texts")?;
            for row in 0..column.len() {
                let texts = column.value(row);
                let texts = texts.as_string_opt::<i32>().ok_or("tasks: expected lists of texts")?;
                lists.push(texts.iter().flatten().map(str::to_owned).collect());
            }
        }
        Ok(lists)
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::Float32Array;

    use super::*;

    #[test]
    fn a_value_that_is_missing_is_told_by_its_row() {
        let array = Float32Array::from(vec![Some(1.0), None, Some(2.0)]);
        assert_eq!(column(&array, 40).unwrap_err(), "row 41 of the file: a value is missing");
        let whole = column(&array.slice(2, 1), 42).unwrap();
        assert_eq!(whole, ColumnData::Numbers { length: 1, values: vec![2.0] });
    }
}
