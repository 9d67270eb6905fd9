//! Calibration files: ROS camera_info YAML and Kalibr's camchain.

mod kalibr;
mod ros;
mod yaml;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use kalibr::{KalibrCamera, KalibrChain, read_kalibr_camchain, write_kalibr_camchain};
pub use ros::{NamedCameraInfo, read_camera_info_yaml, write_camera_info_yaml};
use thiserror::Error;

use crate::CameraInfoError;

/// Above this many bytes a file is not a calibration.
const MAX_BYTES: u64 = 1 << 20;

/// Why a calibration file could not be read or written.
#[derive(Debug, Error)]
pub enum CalibrationFileError {
    /// The file system said no.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: std::io::Error,
    },
    /// The file is larger than any calibration, or its text is not UTF-8.
    #[error("{}: expected text of at most {MAX_BYTES} bytes, {problem}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What came.
        problem: &'static str,
    },
    /// Not YAML, or not with the fields of the format.
    #[error("{}: {problem}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Field, line and what was expected.
        problem: String,
    },
    /// A field holds something else than the format says.
    #[error("{}: {field}: expected {expected}, got {came}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What belongs there.
        expected: String,
        /// What came.
        came: String,
    },
    /// The fields do not make a camera.
    #[error("{}: {reason}", path.display())]
    Camera {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        reason: CameraInfoError,
    },
}

/// A field that was refused, before the file is known.
#[derive(Debug)]
struct FieldError {
    field: String,
    expected: String,
    came: String,
}

impl FieldError {
    fn new(field: impl Into<String>, expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self { field: field.into(), expected: expected.into(), came: came.into() }
    }

    fn at(self, path: &Path) -> CalibrationFileError {
        let Self { field, expected, came } = self;
        CalibrationFileError::Field { path: path.to_owned(), field, expected, came }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CalibrationFileError {
    move |reason| CalibrationFileError::Io { path: path.to_owned(), reason }
}

fn read_text(path: &Path) -> Result<String, CalibrationFileError> {
    let file = std::fs::File::open(path).map_err(io(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io(path))?;
    let refusal = |problem| CalibrationFileError::NotText { path: path.to_owned(), problem };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refusal("got more"));
    }
    String::from_utf8(bytes).map_err(|_| refusal("got bytes that are not UTF-8"))
}

/// Writes the whole file beside its place, then moves it there: never half of it.
fn write_text(path: &Path, text: &str) -> Result<(), CalibrationFileError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, text).map_err(io(&beside))?;
    std::fs::rename(&beside, path).map_err(io(path))
}
