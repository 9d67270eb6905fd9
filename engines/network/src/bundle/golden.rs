//! Golden inputs and outputs: what every engine must reproduce.

use std::collections::BTreeMap;
use std::path::Path;

use calibration::Size;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::BundleError;
use crate::manifest::Manifest;

/// The largest golden file that is read.
const MAX_GOLDEN_BYTES: u64 = 1 << 30;

/// One output of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenOutput {
    /// `<network>/<port>`, for example `backbone/tokens_11` or `depth/depth`.
    pub name: String,
    /// The port's shape.
    pub shape: Vec<usize>,
    /// float32 values, as the reference engine computed them at import.
    pub values: Vec<f32>,
}

/// One photograph at one size, and what the networks make of it.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenCase {
    /// The network's input size.
    pub size: Size,
    /// Pixels at that size: RGB, 8 bit, row by row.
    pub image: Vec<u8>,
    /// Outputs of backbone and heads.
    pub outputs: Vec<GoldenOutput>,
}

/// Golden inputs and outputs of a bundle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Golden {
    /// All cases; several photographs per size.
    pub cases: Vec<GoldenCase>,
}

impl Golden {
    /// The cases of one size.
    pub fn of_size(&self, size: Size) -> impl Iterator<Item = &GoldenCase> {
        self.cases.iter().filter(move |case| case.size == size)
    }

    /// Checks that every size of the manifest has a case and every case its image.
    pub(super) fn check(&self, manifest: &Manifest) -> Result<(), String> {
        for case in &self.cases {
            if case.image.len() != 3 * case.size.area() {
                return Err(format!(
                    "expected an image of {} pixels, got {} bytes",
                    case.size,
                    case.image.len()
                ));
            }
            let names: Vec<_> = case.outputs.iter().map(|output| output.name.as_str()).collect();
            let taps = manifest.taps.iter().map(|tap| format!("backbone/tokens_{tap}"));
            let outputs = |(name, head): (&String, &'static [&'static str])| {
                let name = name.clone();
                head.iter().map(move |output| format!("{name}/{output}"))
            };
            let heads = manifest.heads.iter().flat_map(|(name, head)| outputs((name, head.outputs())));
            if let Some(missing) = taps.chain(heads).find(|name| !names.contains(&name.as_str())) {
                return Err(format!("{}: expected an output {missing}, there are {names:?}", case.size));
            }
        }
        match manifest.sizes.iter().find(|size| self.of_size(**size).next().is_none()) {
            Some(size) => Err(format!("expected golden outputs for every size; {size} has none")),
            None => Ok(()),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), BundleError> {
        let bytes: Vec<Vec<Vec<u8>>> = self.cases.iter().map(GoldenCase::output_bytes).collect();
        let mut views = BTreeMap::new();
        let view = |dtype, shape: &[usize], bytes| {
            TensorView::new(dtype, shape.to_vec(), bytes)
                .map_err(|error| BundleError::Golden { path: path.to_owned(), reason: error.to_string() })
        };
        for (index, (case, outputs)) in self.cases.iter().zip(&bytes).enumerate() {
            let prefix = format!("{index:02}/{}", case.size);
            let shape = [case.size.height, case.size.width, 3];
            views.insert(format!("{prefix}/image"), view(Dtype::U8, &shape, &case.image)?);
            for (output, bytes) in case.outputs.iter().zip(outputs) {
                views.insert(format!("{prefix}/{}", output.name), view(Dtype::F32, &output.shape, bytes)?);
            }
        }
        let temporary = path.with_extension("partial");
        safetensors::serialize_to_file(views, None, &temporary)
            .map_err(|error| BundleError::Golden { path: path.to_owned(), reason: error.to_string() })?;
        std::fs::rename(&temporary, path).map_err(|reason| BundleError::Io { path: path.to_owned(), reason })
    }

    pub(super) fn read(path: &Path) -> Result<Self, BundleError> {
        let io = |reason| BundleError::Io { path: path.to_owned(), reason };
        let refused = |reason: String| BundleError::Golden { path: path.to_owned(), reason };
        let len = std::fs::metadata(path).map_err(io)?.len();
        if len > MAX_GOLDEN_BYTES {
            return Err(refused(format!("expected at most {MAX_GOLDEN_BYTES} bytes, got {len}")));
        }
        let bytes = std::fs::read(path).map_err(io)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| refused(error.to_string()))?;
        let mut tensors: Vec<_> = file.iter().collect();
        tensors.sort_by_key(|(name, _)| *name);
        let mut cases = BTreeMap::<&str, GoldenCase>::new();
        for (name, tensor) in tensors {
            let mut parts = name.splitn(3, '/');
            let (Some(index), Some(size), Some(output)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(refused(format!("expected tensors named case/size/output, got {name:?}")));
            };
            let size: Size = size.parse().map_err(|reason| refused(format!("{name}: {reason}")))?;
            let case =
                cases.entry(index).or_insert(GoldenCase { size, image: Vec::new(), outputs: Vec::new() });
            case.take(output, &tensor).map_err(|reason| refused(format!("{name}: {reason}")))?;
        }
        Ok(Self { cases: cases.into_values().collect() })
    }
}

impl GoldenCase {
    fn output_bytes(&self) -> Vec<Vec<u8>> {
        let bytes =
            |output: &GoldenOutput| output.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.outputs.iter().map(bytes).collect()
    }

    fn take(&mut self, name: &str, tensor: &TensorView<'_>) -> Result<(), String> {
        match (name, tensor.dtype()) {
            ("image", Dtype::U8) => self.image = tensor.data().to_vec(),
            (_, Dtype::F32) => {
                let values =
                    tensor.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
                self.outputs.push(GoldenOutput {
                    name: name.to_owned(),
                    shape: tensor.shape().to_vec(),
                    values,
                });
            }
            (_, other) => {
                return Err(format!("expected float32 outputs and a uint8 image, got {other:?}"));
            }
        }
        Ok(())
    }
}
