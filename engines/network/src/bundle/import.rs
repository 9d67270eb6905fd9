//! From checkpoints to a bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use calibration::Size;

use super::{Bundle, BundleError, MANIFEST, WEIGHTS, encoder_id, file_sha256};
use crate::checkpoint::{self, CheckpointError, OfficialHead};
use crate::manifest::{
    DepthMeaning, FORMAT, HeadScale, HeadSpec, Manifest, Meaning, PreprocessingSpec, Task,
};
use crate::{PrecisionSpec, Weights, WeightsError};

/// The smallest depth that the official evaluation counts, metres.
const MIN_DEPTH_METERS: f32 = 0.001;

/// A head's checkpoint.
#[derive(Clone, Debug)]
pub struct HeadSource {
    /// Name that the head gets in the bundle.
    pub name: String,
    /// Checkpoint of the official trainer.
    pub path: PathBuf,
    /// Depth of a saturated output of a depth head, metres: 10 for NYUv2, 80 for KITTI.
    pub max_depth_meters: f32,
    /// Names of a segmentation head's classes, in order; without them they are called `class_0` and so on.
    pub labels: Option<Vec<String>>,
}

/// What to import.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The backbone's checkpoint.
    pub backbone: PathBuf,
    /// Attention heads of the encoder, when the checkpoint does not say them.
    pub attention_heads: Option<usize>,
    /// Heads to take along.
    pub heads: Vec<HeadSource>,
    /// Blocks to deliver besides those the heads read; the last block if there are none at all.
    pub taps: Vec<usize>,
    /// Input sizes, the first is the default.
    pub sizes: Vec<Size>,
    /// Name for people.
    pub name: String,
    /// Licence of the weights.
    pub licence: String,
}

/// A model in the making: manifest and weights, not yet on disk.
#[derive(Debug)]
pub struct Model {
    /// Manifest whose hashes are still empty.
    pub manifest: Manifest,
    /// Tensors by canonical name.
    pub weights: Weights,
}

/// Why an import was refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A checkpoint was refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The request does not hold together.
    #[error("{0}")]
    Request(String),
    /// A weight could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The bundle could not be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Something lies where the bundle should go.
    #[error("{} exists; give another --out, or --force to replace it", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
}

/// Reads checkpoints into a model; tensors stay in their files until [`Model::write`].
///
/// # Errors
/// When a checkpoint is refused or the request does not hold together.
pub fn import(request: &ImportRequest) -> Result<Model, ImportError> {
    let backbone = checkpoint::backbone(&request.backbone, request.attention_heads)?;
    let architecture = backbone.architecture;
    let mut weights = Weights::default();
    for (name, tensor) in backbone.tensors {
        weights.insert(format!("encoder.{name}"), tensor);
    }
    let mut heads = BTreeMap::new();
    for source in &request.heads {
        let official = checkpoint::head(&source.path, architecture.dim)?;
        let meaning = source.meaning(&official)?;
        for (name, tensor) in official.tensors {
            weights.insert(format!("heads.{}.{name}", source.name), tensor);
        }
        let taps = official.kind.official_taps(architecture.blocks);
        let head = HeadSpec { kind: official.kind, taps, meaning };
        if heads.insert(source.name.clone(), head).is_some() {
            return Err(ImportError::Request(format!("head {}: given twice", source.name)));
        }
    }
    let files = [&request.backbone].into_iter().chain(request.heads.iter().map(|head| &head.path));
    let origin =
        files.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect::<Vec<_>>();
    let taps = all_taps(&request.taps, &heads, architecture.blocks);
    let manifest = Manifest {
        format: FORMAT,
        name: request.name.clone(),
        origin: origin.join(", "),
        licence: request.licence.clone(),
        encoder_id: String::new(),
        weights_sha256: String::new(),
        sizes: request.sizes.clone(),
        taps,
        architecture,
        preprocessing: PreprocessingSpec::default(),
        precision: PrecisionSpec::default(),
        tolerance: BTreeMap::new(),
        heads,
        cameras: BTreeMap::new(),
    };
    manifest.validate().map_err(ImportError::Request)?;
    Ok(Model { manifest, weights })
}

impl HeadSource {
    /// What the head's numbers mean, from what it is and what the request says.
    fn meaning(&self, official: &OfficialHead) -> Result<Meaning, ImportError> {
        let (min_depth_meters, max_depth_meters) = (MIN_DEPTH_METERS, self.max_depth_meters);
        match (official.kind.task(), &self.labels) {
            (Task::Segmentation, None) => Ok(numbered_labels(official.outputs)),
            (Task::Segmentation, Some(labels)) if labels.len() == official.outputs => {
                Ok(Meaning::Labels(labels.clone()))
            }
            (_, None) => Ok(Meaning::Depth(DepthMeaning {
                min_depth_meters,
                max_depth_meters,
                scale: HeadScale::Metric,
            })),
            (task, Some(labels)) => Err(ImportError::Request(format!(
                "head {}: expected names for a head for {task} with {} outputs, got {}",
                self.name,
                official.outputs,
                labels.len()
            ))),
        }
    }
}

/// Classes without names.
pub(super) fn numbered_labels(count: usize) -> Meaning {
    Meaning::Labels((0..count).map(|class| format!("class_{class}")).collect())
}

/// The taps asked for and those the heads read; the last block when there are none.
pub(super) fn all_taps(asked: &[usize], heads: &BTreeMap<String, HeadSpec>, blocks: usize) -> Vec<usize> {
    let mut taps: Vec<_> = asked.iter().chain(heads.values().flat_map(|head| &head.taps)).copied().collect();
    if taps.is_empty() {
        taps.push(blocks.saturating_sub(1));
    }
    taps.sort_unstable();
    taps.dedup();
    taps
}

impl Model {
    /// Bytes that [`Model::write`] will report.
    pub fn byte_len(&self) -> u64 {
        self.weights.tensors().values().map(|tensor| tensor.byte_len() as u64).sum()
    }

    /// Writes the bundle beside its place and moves it there when it is whole. `written` hears of the bytes done.
    ///
    /// # Errors
    /// When something is there already and `replace` is not set, or reading or writing fails.
    pub fn write(
        self,
        folder: &Path,
        replace: bool,
        written: impl FnMut(u64),
    ) -> Result<Bundle, ImportError> {
        self.write_with(folder, replace, written, |_| Ok(()))
    }

    /// As [`Model::write`], with `finish` run on the whole bundle before it is moved to its place, so that a bundle
    /// whose golden outputs could not be made never appears.
    ///
    /// # Errors
    /// As [`Model::write`], or what `finish` says.
    pub fn write_with<E: From<ImportError>>(
        mut self,
        folder: &Path,
        replace: bool,
        written: impl FnMut(u64),
        finish: impl FnOnce(&Bundle) -> Result<(), E>,
    ) -> Result<Bundle, E> {
        if folder.exists() && !replace {
            return Err(ImportError::Exists { path: folder.to_owned() }.into());
        }
        let partial = Partial::beside(folder)?;
        let finished = self.write_files(&partial.path, written)?;
        finish(&finished)?;
        partial.publish(folder)?;
        Ok(Bundle::open(folder).map_err(ImportError::from)?)
    }

    fn write_files(&mut self, folder: &Path, written: impl FnMut(u64)) -> Result<Bundle, ImportError> {
        let path = folder.join(WEIGHTS);
        checkpoint::write_safetensors(&path, &self.weights, written)?;
        self.manifest.weights_sha256 = file_sha256(&path)?;
        self.manifest.encoder_id = encoder_id(&self.manifest.architecture, &self.manifest, &self.weights)?;
        let text = toml::to_string_pretty(&self.manifest)
            .map_err(|error| ImportError::Request(format!("cannot write model.toml: {error}")))?;
        let path = folder.join(MANIFEST);
        std::fs::write(&path, text).map_err(|reason| BundleError::Io { path, reason })?;
        Ok(Bundle::open(folder)?)
    }
}

/// A folder that is removed again unless it is published.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(folder: &Path) -> Result<Self, ImportError> {
        let name = folder.file_name().ok_or_else(|| {
            ImportError::Request(format!(
                "expected a folder to write to, got {:?}",
                folder.display().to_string()
            ))
        })?;
        let path =
            folder.with_file_name(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
        std::fs::create_dir_all(&path).map_err(|reason| BundleError::Io { path: path.clone(), reason })?;
        Ok(Self { path })
    }

    fn publish(self, folder: &Path) -> Result<(), ImportError> {
        let io = |reason| BundleError::Io { path: folder.to_owned(), reason };
        if folder.join(MANIFEST).is_file() {
            std::fs::remove_dir_all(folder).map_err(io)?;
        }
        std::fs::rename(&self.path, folder).map_err(io)?;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After publishing there is nothing left here, and a leftover harms nobody.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
