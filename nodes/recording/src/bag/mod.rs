//! Bags: a folder with an MCAP file of ROS's profile and a `metadata.yaml`, as `ros2 bag play` wants them.

mod check;
mod metadata;
mod output;
mod qos;
mod reader;
mod recover;
mod writer;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use check::check_bag;
pub use metadata::{BagMetadata, TopicCount};
pub use qos::{Durability, History, Liveliness, QosDuration, QosProfile, Reliability};
pub use reader::{BagReader, Messages};
pub use recover::{Recovery, recover_bag};
pub use writer::{BagOptions, BagWriter, ChannelId, Compression, IN_PROGRESS};

/// The ROS distribution that is to read the bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distro {
    /// Metadata version 5, numbers for QoS policies, no type hashes.
    Humble,
    /// Metadata version 9.
    #[default]
    Jazzy,
}

impl Distro {
    /// The distribution named as in `ROS_DISTRO`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "humble" => Some(Self::Humble),
            "jazzy" => Some(Self::Jazzy),
            _ => None,
        }
    }

    /// Its name, as in `ROS_DISTRO`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Humble => "humble",
            Self::Jazzy => "jazzy",
        }
    }

    /// The version of `metadata.yaml` that it reads.
    pub fn metadata_version(self) -> u32 {
        match self {
            Self::Humble => 5,
            Self::Jazzy => 9,
        }
    }
}

/// Why a bag could not be written or read.
#[derive(Debug, Error)]
pub enum BagError {
    /// The file system said no.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        reason: std::io::Error,
    },
    /// The MCAP library said no: a damaged file, or a full disk while writing.
    #[error("{}: {}", path.display(), chain(reason))]
    Mcap {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: mcap::McapError,
    },
    /// There is something at the place of the new bag already.
    #[error("{}: expected nothing there, found an older recording: it is not overwritten", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// `metadata.yaml` is not one.
    #[error("{}: {problem}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Field, line, and what was expected.
        problem: String,
    },
    /// A folder that holds no bag.
    #[error("{}: expected metadata.yaml or a .mcap file in it, found neither", path.display())]
    NoBag {
        /// The folder.
        path: PathBuf,
    },
    /// A bag whose recorder was cut off.
    #[error("{}: the recording was cut off ({problem}); `pixio dataset recover` saves what is there", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// How it shows.
        problem: String,
    },
    /// An MCAP file that is no ROS 2 bag.
    #[error("{}: expected profile \"ros2\" and encoding \"cdr\", got {came}", path.display())]
    NotRos2 {
        /// The file.
        path: PathBuf,
        /// What came.
        came: String,
    },
    /// A topic came again with another type.
    #[error("topic {topic}: expected type {was} as at the start of the episode, got {came}")]
    TypeChanged {
        /// The topic.
        topic: String,
        /// The type it had.
        was: String,
        /// The type it has now.
        came: String,
    },
}

/// An error and its causes on one line; the MCAP library's own words hide the cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Names the file in an error of the file system.
fn at(path: &Path) -> impl Fn(std::io::Error) -> BagError + '_ {
    move |reason| BagError::Io { path: path.to_owned(), reason }
}

/// Names the file in an error of the MCAP library.
fn mcap_at(path: &Path) -> impl Fn(mcap::McapError) -> BagError + '_ {
    move |reason| BagError::Mcap { path: path.to_owned(), reason }
}
