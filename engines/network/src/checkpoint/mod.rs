//! Checkpoints as others publish them: PyTorch's `.pth` and safetensors, official and Hugging Face names.

mod names;
mod pickle;
mod pth;
mod safetensors;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use names::{Backbone, HuggingFaceConfig, OfficialHead, backbone, head};

use crate::weights::Tensor;

pub(crate) use safetensors::{read as read_safetensors, write as write_safetensors};

/// Why a checkpoint was refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file could not be read.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The file is not what its name says, or breaks its format.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        reason: String,
    },
    /// Tensors do not make a Pixio backbone or a known head.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what came, all tensors concerned by name.
        reason: String,
    },
}

impl CheckpointError {
    fn format(path: &Path, reason: impl Into<String>) -> Self {
        CheckpointError::Format { path: path.to_owned(), reason: reason.into() }
    }

    fn content(path: &Path, reason: impl Into<String>) -> Self {
        CheckpointError::Content { path: path.to_owned(), reason: reason.into() }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |reason| CheckpointError::Io { path: path.to_owned(), reason }
    }
}

/// Tensors by the names that the file gives them.
pub(crate) type StateDict = BTreeMap<String, Tensor>;

/// Reads the tensors of a checkpoint: a `.pth`/`.pt`/`.bin` file, a `.safetensors` file, an index of shards
/// (`*.safetensors.index.json`), or a Hugging Face folder.
///
/// # Errors
/// When the file cannot be read or breaks its format.
pub(crate) fn open(path: &Path) -> Result<StateDict, CheckpointError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if path.is_dir() {
        return open_folder(path);
    }
    match () {
        () if name.ends_with(".safetensors.index.json") => safetensors::read_sharded(path),
        () if name.ends_with(".safetensors") => safetensors::read(path),
        () if [".pth", ".pt", ".bin", ".ckpt"].iter().any(|end| name.ends_with(end)) => pth::read(path),
        () => Err(CheckpointError::format(
            path,
            "expected a .pth, .safetensors, .safetensors.index.json, or a Hugging Face folder",
        )),
    }
}

fn open_folder(folder: &Path) -> Result<StateDict, CheckpointError> {
    let known = ["model.safetensors.index.json", "model.safetensors", "pytorch_model.bin"];
    let found = known.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => open(&path),
        None => Err(CheckpointError::format(
            folder,
            format!("expected one of {} in this folder", known.join(", ")),
        )),
    }
}
