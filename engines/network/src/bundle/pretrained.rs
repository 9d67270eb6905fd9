//! Models whose encoder was trained here.

use std::collections::BTreeMap;

use calibration::Size;

use super::import::{ImportError, Model};
use crate::Weights;
use crate::architecture::Architecture;
use crate::manifest::{FORMAT, HeadKind, Manifest, PreprocessingSpec};
use crate::precision::PrecisionSpec;
use crate::weights::Tensor;

/// A model without heads of an encoder whose tensors `tensor` gives, by canonical name (`encoder.*`) and shape. Without `taps` it
/// delivers those that a DPT head reads. `words` are name, origin and licence.
///
/// # Errors
/// When a tensor is refused, or the numbers do not hold together.
pub fn pretrained_model(
    architecture: Architecture,
    preprocessing: PreprocessingSpec,
    taps: &[usize],
    sizes: &[Size],
    words: [&str; 3],
    tensor: impl Fn(&str, &[usize]) -> Result<Tensor, String>,
) -> Result<Model, ImportError> {
    let mut weights = Weights::default();
    for (name, shape) in architecture.tensors() {
        let name = format!("encoder.{name}");
        let tensor =
            tensor(&name, &shape).map_err(|reason| ImportError::Request(format!("{name}: {reason}")))?;
        weights.insert(name, tensor);
    }
    let dpt = HeadKind::DptDepth { features: 1, out_channels: [1; 4] }.official_taps(architecture.blocks);
    let mut taps = if taps.is_empty() { dpt } else { taps.to_vec() };
    taps.sort_unstable();
    taps.dedup();
    let [name, origin, licence] = words.map(str::to_owned);
    let manifest = Manifest {
        format: FORMAT,
        name,
        origin,
        licence,
        encoder_id: String::new(),
        weights_sha256: String::new(),
        sizes: sizes.to_vec(),
        taps,
        architecture,
        preprocessing,
        heads: BTreeMap::new(),
        cameras: BTreeMap::new(),
        precision: PrecisionSpec::default(),
        tolerance: BTreeMap::new(),
    };
    manifest.validate().map_err(ImportError::Request)?;
    Ok(Model { manifest, weights })
}
