//! LeRobot datasets, version 3.0: one file per episode, committed by a rename with `info.json` last.
//!
//! ```text
//! <root>/meta/info.json                               the commit: what it does not count is not there
//!        meta/stats.json, meta/tasks.parquet
//!        meta/episodes/chunk-000/file-000.parquet     one row
//!        meta/pixio/episodes.jsonl                    provenance, one line per episode
//!        data/chunk-000/file-000.parquet              one row per frame
//!        videos/<key>/chunk-000/file-000.mp4
//!        .rec/spool-*                                 the episode in progress; .rec/orphans/ what was never committed
//! ```

mod assembly;
mod check;
mod episode;
mod frames;
mod info;
mod layout;
mod mp4;
mod picture;
mod reader;
mod row;
mod spool;
mod stats;
mod store;
mod tables;
mod truth;
mod video;
mod writer;
mod yuv;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use check::check_dataset;
pub use episode::OpenEpisode;
pub use frames::Pictures;
pub use info::{FeatureInfo, Info, Ordered};
pub use layout::{Feature, FeatureKind, Layout, LayoutError};
pub(crate) use picture::{decode, encoded_size};
pub use reader::{ColumnData, DatasetReader, EpisodeInfo};
pub use row::{Cell, Picture, Row, StreamTruth};
pub use writer::{Committed, DatasetWriter, LeftOver};

/// Why a dataset could not be written or read.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The file system said no.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        reason: std::io::Error,
    },
    /// A Parquet file that is none, or not with the columns it must have.
    #[error("{}: {problem}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What was expected, and what came.
        problem: String,
    },
    /// A video that is none, or not of the rows' length.
    #[error("{}: {problem}", path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// What was expected, and what came.
        problem: String,
    },
    /// `info.json`, `stats.json` or the like is not what it must be.
    #[error("{}: {problem}", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// What was expected, and what came.
        problem: String,
    },
    /// A dataset is to be continued with another layout than it has.
    #[error("{}: {what}: the dataset has {stored}, this recording {came}; record into a new folder", path.display())]
    Mismatch {
        /// The dataset.
        path: PathBuf,
        /// What differs.
        what: String,
        /// What the dataset has.
        stored: String,
        /// What was to be written.
        came: String,
    },
    /// Somebody else writes this dataset.
    #[error("{}: another process is writing this dataset", path.display())]
    Locked {
        /// The dataset.
        path: PathBuf,
    },
    /// A row that does not fit the layout.
    #[error("frame {frame}: {feature}: {problem}")]
    Row {
        /// Its number in the episode.
        frame: u64,
        /// The feature or stream.
        feature: String,
        /// What was expected, and what came.
        problem: String,
    },
    /// Called out of order: rows without an episode, an episode without rows, two episodes at once.
    #[error("expected {expected}")]
    Order {
        /// What was to come first.
        expected: &'static str,
    },
}

/// Names the file in an error of the file system.
fn at(path: &Path) -> impl Fn(std::io::Error) -> DatasetError + '_ {
    move |reason| DatasetError::Io { path: path.to_owned(), reason }
}

/// Names the file in an error of the Parquet library.
fn parquet_at(path: &Path) -> impl Fn(parquet::errors::ParquetError) -> DatasetError + '_ {
    move |error| DatasetError::Parquet { path: path.to_owned(), problem: error.to_string() }
}
