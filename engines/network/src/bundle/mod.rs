//! The model bundle: the directory that is trained, shared, built and run.
//!
//! `model.toml` ([`Manifest`]), `weights.safetensors`, and `golden.safetensors` ([`Golden`]). Opening a bundle checks the
//! manifest and every tensor's name and shape; the hash of the weights, which takes a second per gigabyte, is
//! checked by [`Bundle::verify_weights`].

mod golden;
mod import;
mod pretrained;
mod random;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calibration::Size;
use sha2::{Digest, Sha256};

pub use golden::{Golden, GoldenCase, GoldenOutput};
pub use import::{HeadSource, ImportError, ImportRequest, Model, import};
pub use pretrained::pretrained_model;
pub use random::random_model;

use crate::architecture::Architecture;
use crate::checkpoint::{self, CheckpointError};
use crate::graph::Network;
use crate::manifest::{DepthCalibration, HeadSpec, Manifest};
use crate::modules::encoder::{self, Tokens};
use crate::modules::{self, BuildError, Grid, head_tensors};
use crate::{Weights, WeightsError};

/// File names inside a bundle.
const MANIFEST: &str = "model.toml";
const WEIGHTS: &str = "weights.safetensors";
const GOLDEN: &str = "golden.safetensors";

/// The longest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The manifest is not one, or does not hold together.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Field, what was expected, what came.
        reason: String,
    },
    /// A file of tensors is damaged.
    #[error(transparent)]
    Tensors(#[from] CheckpointError),
    /// The weights are not those that the manifest describes.
    #[error("{}: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        reason: WeightsError,
    },
    /// The weights are not those that were imported.
    #[error("{}: expected SHA-256 {expected}, got {actual}: the file was changed or damaged", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        actual: String,
    },
    /// The golden outputs do not hold together.
    #[error("{}: {reason}", path.display())]
    Golden {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        reason: String,
    },
}

/// An opened bundle, whose manifest and tensors fit together.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
    manifest_sha256: String,
    weights: Arc<Weights>,
}

impl Bundle {
    /// Opens a bundle and checks its manifest and the names and shapes of all tensors.
    ///
    /// # Errors
    /// When a file is missing or damaged, or they do not fit together.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let text = read_text(&path)?;
        let refused = |reason: String| BundleError::Manifest { path: path.clone(), reason };
        let manifest: Manifest = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
        manifest.validate().map_err(refused)?;
        let weights = Weights::from_tensors(checkpoint::read_safetensors(&folder.join(WEIGHTS))?);
        check_weights(&manifest, &weights)
            .map_err(|reason| BundleError::Weights { path: folder.join(WEIGHTS), reason })?;
        let manifest_sha256 =
            model_hash(&manifest).map_err(|reason| BundleError::Manifest { path, reason })?;
        Ok(Self { folder: folder.to_owned(), manifest, manifest_sha256, weights: Arc::new(weights) })
    }

    /// Where the bundle lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything but the weights.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The weights, read when they are needed.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    /// SHA-256 of the manifest, which holds that of the weights: names the whole model. What was measured for single cameras is
    /// left out: it changes no network's output, so that calibrating a camera makes no engine stale.
    pub fn hash(&self) -> &str {
        &self.manifest_sha256
    }

    /// Writes a depth head's measured scale for a camera into the manifest, replacing what was there; the whole file or nothing.
    ///
    /// # Errors
    /// When the numbers are refused, or the file cannot be written.
    pub fn write_depth_calibration(
        &self,
        camera: &str,
        head: &str,
        measured: DepthCalibration,
    ) -> Result<Self, BundleError> {
        let path = self.folder.join(MANIFEST);
        let refused = |reason: String| BundleError::Manifest { path: path.clone(), reason };
        let mut manifest = self.manifest.clone();
        manifest.cameras.entry(camera.to_owned()).or_default().depth.insert(head.to_owned(), measured);
        manifest.validate().map_err(refused)?;
        let text = toml::to_string_pretty(&manifest).map_err(|error| refused(error.to_string()))?;
        let beside = self.folder.join(format!("{MANIFEST}.part"));
        std::fs::write(&beside, text).map_err(|reason| BundleError::Io { path: beside.clone(), reason })?;
        std::fs::rename(&beside, &path).map_err(|reason| BundleError::Io { path, reason })?;
        Self::open(&self.folder)
    }

    /// Reads all weights and compares their hash with the manifest's.
    ///
    /// # Errors
    /// When they differ or cannot be read.
    pub fn verify_weights(&self) -> Result<(), BundleError> {
        let path = self.folder.join(WEIGHTS);
        let actual = file_sha256(&path)?;
        let expected = self.manifest.weights_sha256.clone();
        if actual == expected { Ok(()) } else { Err(BundleError::Hash { path, expected, actual }) }
    }

    /// The backbone for an input size: port `image` to a port `tokens_<block>` per tap of the manifest.
    ///
    /// # Errors
    /// When the size does not divide by the patch, or weights cannot be read.
    pub fn backbone(&self, size: Size) -> Result<Network, BuildError> {
        let taps: Vec<_> = self.manifest.taps.iter().map(|block| (*block, Tokens::Normalised)).collect();
        encoder::backbone(&self.manifest.architecture, &self.weights, size, &taps)
    }

    /// A head for an input size; [`modules::head`] says what its ports are.
    ///
    /// # Errors
    /// When there is no such head, or as [`Bundle::backbone`].
    pub fn head(&self, name: &str, size: Size) -> Result<Network, BuildError> {
        let spec = self.head_spec(name)?;
        let architecture = &self.manifest.architecture;
        let graph = modules::head(name, spec, architecture, Grid::new(architecture, size)?, 1)?;
        Ok(Network::new(graph, self.weights.clone())?)
    }

    /// What the manifest says of a head.
    ///
    /// # Errors
    /// When there is no such head.
    pub fn head_spec(&self, name: &str) -> Result<&HeadSpec, BuildError> {
        let heads = &self.manifest.heads;
        heads.get(name).ok_or_else(|| BuildError::NoSuchHead {
            asked: name.to_owned(),
            known: heads.keys().cloned().collect(),
        })
    }

    /// Reads the golden outputs.
    ///
    /// # Errors
    /// When there are none, or they do not fit the manifest.
    pub fn golden(&self) -> Result<Golden, BundleError> {
        let path = self.folder.join(GOLDEN);
        let golden = Golden::read(&path)?;
        golden.check(&self.manifest).map_err(|reason| BundleError::Golden { path, reason })?;
        Ok(golden)
    }

    /// Writes golden outputs into the bundle, replacing what was there.
    ///
    /// # Errors
    /// When they do not fit the manifest or cannot be written.
    pub fn write_golden(&self, golden: &Golden) -> Result<(), BundleError> {
        let path = self.folder.join(GOLDEN);
        golden.check(&self.manifest).map_err(|reason| BundleError::Golden { path: path.clone(), reason })?;
        golden.write(&path)
    }
}

/// SHA-256 of the manifest as it is written, without what was measured for single cameras.
fn model_hash(manifest: &Manifest) -> Result<String, String> {
    let model = Manifest { cameras: Default::default(), ..manifest.clone() };
    let text = toml::to_string_pretty(&model).map_err(|error| error.to_string())?;
    Ok(hex(&Sha256::digest(text.as_bytes())))
}

/// Names and shapes of all tensors of a model.
fn expected_tensors<'a>(manifest: &'a Manifest) -> impl Iterator<Item = (String, Vec<usize>)> + 'a {
    let architecture = &manifest.architecture;
    let encoder =
        manifest.architecture.tensors().into_iter().map(|(name, shape)| (format!("encoder.{name}"), shape));
    let heads = manifest.heads.iter().flat_map(move |(head, spec)| {
        let tensors = head_tensors(spec, architecture).into_iter();
        tensors.map(move |(name, shape)| (format!("heads.{head}.{name}"), shape))
    });
    encoder.chain(heads)
}

fn check_weights(manifest: &Manifest, weights: &Weights) -> Result<(), WeightsError> {
    expected_tensors(manifest).try_for_each(|(name, shape)| weights.check_shape(&name, &shape).map(drop))
}

fn read_text(path: &Path) -> Result<String, BundleError> {
    let io = |reason| BundleError::Io { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(io)?;
    let mut text = String::new();
    file.take(MAX_MANIFEST_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_MANIFEST_BYTES {
        let reason = format!("expected at most {MAX_MANIFEST_BYTES} bytes");
        return Err(BundleError::Manifest { path: path.to_owned(), reason });
    }
    Ok(text)
}

fn file_sha256(path: &Path) -> Result<String, BundleError> {
    let io = |reason| BundleError::Io { path: path.to_owned(), reason };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 over the encoder's numbers, preprocessing and taps.
fn encoder_id(
    architecture: &Architecture,
    manifest: &Manifest,
    weights: &Weights,
) -> Result<String, WeightsError> {
    let mut hasher = Sha256::new();
    let about = format!("{architecture:?} {:?} {:?}", manifest.preprocessing, manifest.taps);
    hasher.update(about.as_bytes());
    for (name, shape) in architecture.tensors() {
        hasher.update(name.as_bytes());
        weights.copy(&format!("encoder.{name}"), &shape, &mut Hashing(&mut hasher))?;
    }
    Ok(hex(&hasher.finalize()))
}

/// Lets bytes be written into a hash.
struct Hashing<'h>(&'h mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
