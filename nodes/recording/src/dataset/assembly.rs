//! From the log of an episode to its files, in one pass that holds no picture longer than it must.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::info::{FeatureInfo, Info};
use super::layout::{Feature, FeatureKind, Layout};
use super::mp4::Mp4Writer;
use super::picture::{COLOR_SCALE, DEPTH_SCALE};
use super::reader::{EpisodeInfo, VideoPlace};
use super::row::Cell;
use super::spool::{SpoolReader, SpooledCell, SpooledRow};
use super::stats::{Histogram, Stats};
use super::store::Committed;
use super::tables::{BATCH_ROWS, Column, RowWriter};
use super::{DatasetError, at, parquet_at};
use crate::files::{beside, parent};

/// An episode whose files are made, beside their places.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) frames: u64,
    pub(super) first_nanos: u64,
    pub(super) last_nanos: u64,
    /// Frames in which a stream shows an old message, over all streams.
    pub(super) repeated: u64,
    /// Frames in which a stream is older than allowed, over all streams.
    pub(super) stale: u64,
    pub(super) stats: Vec<(String, Stats)>,
    pub(super) episode: EpisodeInfo,
    /// The places; each file still has `.tmp` behind its name.
    pub(super) files: Vec<PathBuf>,
}

/// Chunk and file by the name of a file of `meta/episodes`.
pub(super) fn meta_place(file: &Path) -> Option<(u64, u64)> {
    let number = |part: &std::ffi::OsStr, prefix: &str| part.to_str()?.strip_prefix(prefix)?.parse().ok();
    Some((number(file.parent()?.file_name()?, "chunk-")?, number(file.file_stem()?, "file-")?))
}

/// What is gathered for a feature's statistics.
enum Gathered {
    /// One column per element, of a feature of float32: class tokens are thousands.
    Singles(Vec<Vec<f32>>),
    /// One column per element of other features.
    Numbers(Vec<Vec<f64>>),
    /// One histogram per channel.
    Pixels {
        channels: Vec<Histogram>,
        frames: u64,
        scale: f64,
    },
    Nothing,
}

/// One feature on its way to its files.
struct Sink {
    key: String,
    info: FeatureInfo,
    video: Option<Mp4Writer>,
    video_file: PathBuf,
    gathered: Gathered,
}

/// Makes the files of the episode in the log.
pub(super) fn assemble(
    root: &Path,
    layout: &Layout,
    committed: &Committed,
    spool: &Path,
    task_index: u64,
) -> Result<Assembled, DatasetError> {
    let info = &committed.info;
    let data = committed.next_file(|episode| Some(episode.data));
    let data_file = root.join(Info::fill(&info.data_path, "", data.0, data.1));
    let mut videos = BTreeMap::new();
    let mut sinks = Vec::new();
    for (key, feature) in &info.features.0 {
        let mut sink = Sink::new(key, feature);
        if feature.is_video() {
            let place = committed.next_file(|episode| episode.videos.get(key).map(|v| (v.chunk, v.file)));
            sink.open_video(root, info, layout, place)?;
            videos.insert(
                key.clone(),
                VideoPlace { chunk: place.0, file: place.1, from_secs: 0.0, to_secs: 0.0 },
            );
        }
        sinks.push(sink);
    }
    make_parent(&data_file)?;
    let beside_data = beside(&data_file);
    let mut rows = RowWriter::create(&beside_data, &info.features.0).map_err(parquet_at(&data_file))?;
    let mut log = SpoolReader::open(spool, layout).map_err(at(spool))?;
    let mut totals = Totals::default();
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    while let Some(row) = log.next().map_err(at(spool))? {
        let own = OwnColumns {
            frame: totals.frames,
            episode: info.total_episodes,
            index: info.total_frames + totals.frames,
            task: task_index,
        };
        totals.add(&row);
        batch.push(all_cells(row, own, layout));
        if batch.len() == BATCH_ROWS {
            write_batch(&mut rows, &mut sinks, std::mem::take(&mut batch), &data_file)?;
        }
    }
    if !batch.is_empty() {
        write_batch(&mut rows, &mut sinks, batch, &data_file)?;
    }
    rows.finish().map_err(parquet_at(&data_file))?;
    let to_secs = totals.frames as f64 / f64::from(layout.fps());
    videos.values_mut().for_each(|place: &mut VideoPlace| place.to_secs = to_secs);
    let episode = EpisodeInfo {
        episode: info.total_episodes,
        tasks: Vec::new(),
        frames: totals.frames,
        from: info.total_frames,
        data,
        videos,
        meta_file: PathBuf::new(),
    };
    finish(sinks, totals, episode, data_file)
}

fn finish(
    sinks: Vec<Sink>,
    totals: Totals,
    episode: EpisodeInfo,
    data_file: PathBuf,
) -> Result<Assembled, DatasetError> {
    let (mut stats, mut files) = (Vec::new(), Vec::new());
    for sink in sinks {
        if let Some(more) = sink.stats() {
            stats.push((sink.key.clone(), more));
        }
        if let Some(video) = sink.video {
            let frames = video.finish().map_err(at(&sink.video_file))?;
            if frames != totals.frames {
                let problem = format!("expected {} frames, got {frames}", totals.frames);
                return Err(DatasetError::Video { path: sink.video_file, problem });
            }
            files.push(sink.video_file);
        }
    }
    files.push(data_file);
    let Totals { frames, first_nanos, last_nanos, repeated, stale } = totals;
    Ok(Assembled { frames, first_nanos, last_nanos, repeated, stale, stats, episode, files })
}

fn make_parent(path: &Path) -> Result<(), DatasetError> {
    let folder = parent(path);
    std::fs::create_dir_all(&folder).map_err(at(&folder))
}

#[derive(Debug, Default)]
struct Totals {
    frames: u64,
    first_nanos: u64,
    last_nanos: u64,
    repeated: u64,
    stale: u64,
}

impl Totals {
    fn add(&mut self, row: &SpooledRow) {
        if self.frames == 0 {
            self.first_nanos = row.time_nanos;
        }
        self.last_nanos = row.time_nanos;
        self.frames += 1;
        self.repeated += row.streams.iter().filter(|stream| stream.repeated).count() as u64;
        self.stale += row.streams.iter().filter(|stream| stream.stale).count() as u64;
    }
}

/// LeRobot's own columns of a frame, but for the time.
struct OwnColumns {
    frame: u64,
    episode: u64,
    index: u64,
    task: u64,
}

/// A row's cells for every feature of `info.json`, in its order.
fn all_cells(row: SpooledRow, own: OwnColumns, layout: &Layout) -> Vec<SpooledCell> {
    let mut cells = row.cells;
    let mut push = |cell| cells.push(SpooledCell::Plain(cell));
    push(Cell::Int64(vec![row.time_nanos as i64]));
    let seconds = |from: u64, to: u64| ((i128::from(to) - i128::from(from)) as f64 * 1e-9) as f32;
    if let Some(first) = row.streams.first() {
        let each =
            |f: &dyn Fn(u64) -> f32| Cell::Float32(row.streams.iter().map(|s| f(s.stamp_nanos)).collect());
        push(Cell::Int64(row.streams.iter().map(|stream| stream.stamp_nanos as i64).collect()));
        push(each(&|stamp| seconds(stamp, row.time_nanos)));
        push(each(&|stamp| seconds(first.stamp_nanos, stamp)));
        push(Cell::Bool(row.streams.iter().map(|stream| stream.repeated).collect()));
        push(Cell::Bool(row.streams.iter().map(|stream| stream.stale).collect()));
    }
    push(Cell::Float32(vec![(own.frame as f64 / f64::from(layout.fps())) as f32]));
    for value in [own.frame, own.episode, own.index, own.task] {
        push(Cell::Int64(vec![value as i64]));
    }
    cells
}

/// Hands a batch over: column by column to the table, frame by frame to videos and statistics.
fn write_batch(
    rows: &mut RowWriter,
    sinks: &mut [Sink],
    batch: Vec<Vec<SpooledCell>>,
    data_file: &Path,
) -> Result<(), DatasetError> {
    let mut columns: Vec<Option<Column>> = sinks.iter().map(|sink| empty_column(&sink.info)).collect();
    for cells in batch {
        for ((cell, sink), column) in cells.into_iter().zip(sinks.iter_mut()).zip(&mut columns) {
            sink.take(&cell)?;
            if let Some(column) = column {
                append(column, cell);
            }
        }
    }
    rows.write(columns.into_iter().flatten().collect()).map_err(parquet_at(data_file))
}

fn empty_column(info: &FeatureInfo) -> Option<Column> {
    Some(match info.dtype.as_str() {
        "video" => return None,
        "image" => Column::Picture(Vec::new()),
        "string" => Column::Text(Vec::new()),
        "float32" => Column::Float32(Vec::new()),
        "float64" => Column::Float64(Vec::new()),
        "bool" => Column::Bool(Vec::new()),
        _ => Column::Int64(Vec::new()),
    })
}

/// The layout decides both sides, so that they cannot differ.
fn append(column: &mut Column, cell: SpooledCell) {
    match (column, cell) {
        (Column::Picture(column), SpooledCell::Picture { bytes, .. }) => column.push(bytes),
        (Column::Text(column), SpooledCell::Plain(Cell::Text(text))) => column.push(text),
        (Column::Float32(column), SpooledCell::Plain(Cell::Float32(values))) => column.extend(values),
        (Column::Float64(column), SpooledCell::Plain(Cell::Float64(values))) => column.extend(values),
        (Column::Int64(column), SpooledCell::Plain(Cell::Int64(values))) => column.extend(values),
        (Column::Bool(column), SpooledCell::Plain(Cell::Bool(values))) => column.extend(values),
        _ => {}
    }
}

impl Sink {
    fn new(key: &str, info: &FeatureInfo) -> Self {
        let gathered = match info.dtype.as_str() {
            "string" => Gathered::Nothing,
            "image" | "video" => {
                let channels = info.shape.get(2).copied().unwrap_or(3);
                let scale = if channels == 1 { DEPTH_SCALE } else { COLOR_SCALE };
                Gathered::Pixels { channels: vec![Histogram::default(); channels], frames: 0, scale }
            }
            "float32" => Gathered::Singles(vec![Vec::new(); info.length()]),
            _ => Gathered::Numbers(vec![Vec::new(); info.length()]),
        };
        Self { key: key.to_owned(), info: info.clone(), video: None, video_file: PathBuf::new(), gathered }
    }

    fn open_video(
        &mut self,
        root: &Path,
        info: &Info,
        layout: &Layout,
        (chunk, file): (u64, u64),
    ) -> Result<(), DatasetError> {
        let pattern = info.video_path.as_deref().unwrap_or_default();
        self.video_file = root.join(Info::fill(pattern, &self.key, chunk, file));
        make_parent(&self.video_file)?;
        let size = layout.features().iter().find(|feature| feature.key == self.key).and_then(video_size);
        let path = beside(&self.video_file);
        self.video = size
            .map(|size| Mp4Writer::create(&path, size, layout.fps()))
            .transpose()
            .map_err(at(&self.video_file))?;
        Ok(())
    }

    fn take(&mut self, cell: &SpooledCell) -> Result<(), DatasetError> {
        match (cell, &mut self.gathered) {
            (SpooledCell::Picture { bytes, histograms }, Gathered::Pixels { channels, frames, .. }) => {
                channels.iter_mut().zip(histograms).for_each(|(sum, more)| sum.add(more));
                *frames += u64::from(!histograms.is_empty());
                if let Some(video) = &mut self.video {
                    video.write(bytes).map_err(at(&self.video_file))?;
                }
            }
            (SpooledCell::Plain(Cell::Float32(values)), Gathered::Singles(columns)) => {
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(*value));
            }
            (SpooledCell::Plain(cell), Gathered::Numbers(columns)) => {
                for (column, value) in columns.iter_mut().zip(cell_numbers(cell)) {
                    column.push(value);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn stats(&self) -> Option<Stats> {
        match &self.gathered {
            Gathered::Nothing => None,
            Gathered::Singles(columns) if columns.iter().any(Vec::is_empty) => None,
            Gathered::Singles(columns) => {
                let doubles = |column: &Vec<f32>| column.iter().map(|value| f64::from(*value)).collect();
                Some(Stats::of_columns(columns.iter().map(doubles)))
            }
            Gathered::Numbers(columns) if columns.iter().any(Vec::is_empty) => None,
            Gathered::Numbers(columns) => Some(Stats::of_columns(columns.iter().cloned())),
            Gathered::Pixels { channels, frames, scale } => {
                Some(Stats::of_histograms(channels, *frames, *scale))
            }
        }
    }
}

fn video_size(feature: &Feature) -> Option<calibration::Size> {
    match feature.kind {
        FeatureKind::Video(size) => Some(size),
        _ => None,
    }
}

fn cell_numbers(cell: &Cell) -> Vec<f64> {
    match cell {
        Cell::Float32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Cell::Float64(values) => values.clone(),
        Cell::Int64(values) => values.iter().map(|value| *value as f64).collect(),
        Cell::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
        Cell::Text(_) | Cell::Picture(_) => Vec::new(),
    }
}
