//! Golden files, and comparing with them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// The folder of golden files.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The checkpoints of `golden/checkpoints.tar.zst`, unpacked below a test's `CARGO_TARGET_TMPDIR`: the same weights in a dozen forms, which
/// a tenth of their size holds.
pub fn checkpoints(below: &str) -> PathBuf {
    let path = folder().join("checkpoints.tar.zst");
    unpack(&path, Path::new(below)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Once for each content of the archive, whole or not at all: other tests may do the same at the same time.
fn unpack(archive: &Path, below: &Path) -> io::Result<PathBuf> {
    let bytes = std::fs::read(archive)?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let unpacked = below.join(format!("checkpoints-{:016x}", hasher.finish()));
    if unpacked.exists() {
        return Ok(unpacked);
    }
    let fresh = tempfile::tempdir_in(below)?;
    tar::Archive::new(zstd::Decoder::new(bytes.as_slice())?).unpack(fresh.path())?;
    match std::fs::rename(fresh.path(), &unpacked) {
        Err(error) if !unpacked.exists() => Err(error),
        _ => Ok(unpacked),
    }
}

/// A tensor of a golden file.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values; bytes become numbers from 0 to 255.
    pub values: Vec<f32>,
    /// Its bytes as stored.
    pub bytes: Vec<u8>,
}

/// All tensors of `golden/<name>`.
pub fn read(name: &str) -> BTreeMap<String, Golden> {
    let path = folder().join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let golden = |(name, tensor): (&str, safetensors::tensor::TensorView<'_>)| {
        let values = match tensor.dtype() {
            Dtype::U8 => tensor.data().iter().map(|byte| f32::from(*byte)).collect(),
            Dtype::F32 => {
                tensor.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        (name.to_owned(), Golden { shape: tensor.shape().to_vec(), values, bytes: tensor.data().to_vec() })
    };
    file.iter().map(golden).collect()
}

/// The largest absolute difference; a NaN on either side is infinite.
pub fn max_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len(), "another number of values");
    let difference =
        |(a, b): (&f32, &f32)| if a.is_finite() && b.is_finite() { (a - b).abs() } else { f32::INFINITY };
    ours.iter().zip(theirs).map(difference).fold(0.0, f32::max)
}
