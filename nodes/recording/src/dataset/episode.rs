//! An episode whose rows go into its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::layout::{Feature, FeatureKind, Layout};
use super::picture;
use super::row::{Cell, Picture, Row};
use super::spool::{SpoolWriter, SpooledCell, SpooledRow};
use super::video::VideoEncoder;
use super::{DatasetError, at};
use crate::files::is_removed;

/// Of pictures that come compressed, every n-th is decoded for statistics.
const COUNTED_EVERY: u64 = 8;
/// How often it is looked whether the log is still there.
const WATCH: Duration = Duration::from_millis(500);

/// An episode in progress. Several of one dataset can be made at the same time, each on a thread of its own.
pub struct OpenEpisode {
    layout: Layout,
    task: String,
    spool: SpoolWriter,
    pictures: Vec<PictureState>,
    watched: Instant,
}

impl std::fmt::Debug for OpenEpisode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenEpisode").field("task", &self.task).field("spool", &self.spool).finish()
    }
}

/// What a picture feature carries from frame to frame.
#[derive(Default)]
struct PictureState {
    encoder: Option<VideoEncoder>,
    /// The picture of the frame before with its compressed bytes: a repeated one is not compressed again.
    last: Option<(Arc<Picture>, SpooledCell)>,
}

impl OpenEpisode {
    /// Begins the log at `path`.
    pub(super) fn begin(path: PathBuf, layout: &Layout, task: &str) -> Result<Self, DatasetError> {
        let spool = SpoolWriter::create(path.clone(), task).map_err(at(&path))?;
        let pictures = layout.features().iter().map(|_| PictureState::default()).collect();
        Ok(Self { layout: layout.clone(), task: task.to_owned(), spool, pictures, watched: Instant::now() })
    }

    /// The task it was begun with.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.spool.rows()
    }

    /// Throws it away.
    ///
    /// # Errors
    /// The file system says no.
    pub fn discard(self) -> Result<(), DatasetError> {
        std::fs::remove_file(self.path()).map_err(at(self.path()))
    }

    /// The log.
    pub(super) fn path(&self) -> &Path {
        self.spool.path()
    }

    /// Appends a row. Once this returns the row survives a crash of the process.
    ///
    /// # Errors
    /// The row does not fit the layout (nothing is appended then), or the disk is full or gone: no further row is taken,
    /// and those before can still be committed once there is room.
    pub fn push(&mut self, row: &Row) -> Result<(), DatasetError> {
        let frame = self.spool.rows();
        check_row(&self.layout, row, frame)?;
        let mut cells = Vec::with_capacity(row.values.len());
        for ((feature, cell), state) in self.layout.features().iter().zip(&row.values).zip(&mut self.pictures)
        {
            let refuse = |problem| DatasetError::Row { frame, feature: feature.key.clone(), problem };
            cells.push(match cell {
                Cell::Picture(picture) => {
                    state.cell(feature, picture, frame, self.layout.fps()).map_err(refuse)?
                }
                plain => SpooledCell::Plain(plain.clone()),
            });
        }
        let spooled = SpooledRow { time_nanos: row.time_nanos, streams: row.streams.clone(), cells };
        self.spool.append(&spooled).map_err(at(self.spool.path()))?;
        if self.watched.elapsed() > WATCH {
            self.watched = Instant::now();
            let removed = self.spool.file().metadata().is_ok_and(|metadata| is_removed(&metadata));
            if removed {
                return Err(at(self.spool.path())(std::io::Error::other("removed while recording")));
            }
        }
        Ok(())
    }
}

impl PictureState {
    fn cell(
        &mut self,
        feature: &Feature,
        picture: &Arc<Picture>,
        frame: u64,
        fps: u32,
    ) -> Result<SpooledCell, String> {
        if let FeatureKind::Video(size) = feature.kind {
            let (came, rgb) = picture::rgb(picture)?;
            check_size(size, came)?;
            let histograms = picture::color_histograms(size, &rgb);
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                None => self.encoder.insert(VideoEncoder::new(size, fps)?),
            };
            return Ok(SpooledCell::Picture { bytes: encoder.encode(&rgb)?, histograms });
        }
        if let Some((last, cell)) = &self.last
            && Arc::ptr_eq(last, picture)
        {
            return Ok(cell.clone());
        }
        let cell = still(feature, picture, frame)?;
        self.last = Some((picture.clone(), cell.clone()));
        Ok(cell)
    }
}

/// The cell of an `Image` or `Depth` feature.
fn still(feature: &Feature, picture: &Picture, frame: u64) -> Result<SpooledCell, String> {
    let (bytes, histograms) = match feature.kind {
        FeatureKind::Depth(size) => {
            let (came, bytes) = picture::compressed_depth(picture)?;
            check_size(size, came)?;
            (bytes, vec![picture::depth_histogram(picture)?])
        }
        FeatureKind::Image(size) => {
            let (came, bytes) = picture::compressed(picture)?;
            check_size(size, came)?;
            let counted = matches!(picture, Picture::Rgb8 { .. }) || frame.is_multiple_of(COUNTED_EVERY);
            let histograms = match counted {
                true => picture::color_histograms(size, &picture::rgb(picture)?.1),
                false => Vec::new(),
            };
            (bytes, histograms)
        }
        _ => return Err("a picture for a feature that is none".to_owned()),
    };
    Ok(SpooledCell::Picture { bytes, histograms })
}

fn check_size(expected: calibration::Size, came: calibration::Size) -> Result<(), String> {
    match expected == came {
        true => Ok(()),
        false => Err(format!(
            "expected {}x{} pixels as at the start, got {}x{}",
            expected.width, expected.height, came.width, came.height
        )),
    }
}

/// Holds a row against the layout.
fn check_row(layout: &Layout, row: &Row, frame: u64) -> Result<(), DatasetError> {
    let refuse =
        |feature: &str, problem: String| DatasetError::Row { frame, feature: feature.to_owned(), problem };
    let counts = |expected: usize, came: usize| format!("expected {expected}, got {came}");
    if row.values.len() != layout.features().len() {
        return Err(refuse("values", counts(layout.features().len(), row.values.len())));
    }
    if row.streams.len() != layout.streams().len() {
        return Err(refuse("streams", counts(layout.streams().len(), row.streams.len())));
    }
    for (feature, cell) in layout.features().iter().zip(&row.values) {
        check_cell(feature, cell).map_err(|problem| refuse(&feature.key, problem))?;
    }
    Ok(())
}

fn check_cell(feature: &Feature, cell: &Cell) -> Result<(), String> {
    let not_finite = |index: Option<usize>, value: f64| match index {
        Some(index) => Err(format!("expected finite numbers, got {value} for {}", feature.names[index])),
        None => Ok(()),
    };
    let length = match (feature.kind, cell) {
        (FeatureKind::Float32, Cell::Float32(values)) => values.len(),
        (FeatureKind::Float64, Cell::Float64(values)) => values.len(),
        (FeatureKind::Int64, Cell::Int64(values)) => values.len(),
        (FeatureKind::Bool, Cell::Bool(values)) => values.len(),
        (FeatureKind::Text, Cell::Text(_)) => 0,
        (FeatureKind::Image(_) | FeatureKind::Video(_) | FeatureKind::Depth(_), Cell::Picture(_)) => 0,
        (kind, _) => return Err(format!("expected {kind:?}, got another kind of value")),
    };
    if length != feature.names.len() {
        return Err(format!("expected {} values, got {length}", feature.names.len()));
    }
    match cell {
        Cell::Float32(values) => not_finite(values.iter().position(|value| !value.is_finite()), f64::NAN),
        Cell::Float64(values) => not_finite(values.iter().position(|value| !value.is_finite()), f64::NAN),
        _ => Ok(()),
    }
}
