//! `model.toml`: everything about a model but its weights.

use std::collections::BTreeMap;

use calibration::Size;
use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::precision::{Precision, PrecisionSpec};

mod head;
mod policy;

pub(crate) use head::Trunk;
pub use head::{DepthMeaning, HeadKind, HeadSpec, Meaning, Memory, Pooling, Task};
pub use policy::{ActionChannel, PolicySpec, Quantity, Scaling, SpaceKind, StateChannel, Unit};

/// `model.toml`: everything about a model but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's form.
    pub format: u32,
    /// Name of the model, for people.
    pub name: String,
    /// Where the weights come from, for people: file names, or the words `random weights`.
    pub origin: String,
    /// Licence of the weights, as the importer was told.
    pub licence: String,
    /// SHA-256 over encoder, preprocessing and taps: features of two models with one id are the same.
    pub encoder_id: String,
    /// SHA-256 of `weights.safetensors`.
    pub weights_sha256: String,
    /// Input sizes that have golden outputs; the first is the default.
    pub sizes: Vec<Size>,
    /// Blocks whose tokens are delivered, counted from 0, ascending.
    pub taps: Vec<usize>,
    /// The encoder.
    pub architecture: Architecture,
    /// What is done to an image before the network sees it.
    pub preprocessing: PreprocessingSpec,
    /// Operations that keep more than float16 in an engine built with it.
    #[serde(default, skip_serializing_if = "PrecisionSpec::is_empty")]
    pub precision: PrecisionSpec,
    /// How far an engine may be from golden, by its precision; what is not given has the program's limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tolerance: BTreeMap<String, ToleranceSpec>,
    /// Heads by name.
    #[serde(default)]
    pub heads: BTreeMap<String, HeadSpec>,
    /// What was measured for single cameras, by the camera's name. Not part of the model's identity: see
    /// [`Bundle::hash`](crate::Bundle::hash).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cameras: BTreeMap<String, CameraSection>,
}

/// What was measured for one camera.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSection {
    /// Depth heads by name.
    #[serde(default)]
    pub depth: BTreeMap<String, DepthCalibration>,
}

/// A depth head's scale and shift for one camera, from a metric reference: `metres = scale * depth + shift`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthCalibration {
    /// Metres per unit of the head's depth (after focal normalisation), above 0.
    pub scale: f64,
    /// Metres added.
    pub shift_meters: f64,
    /// Median of `|error| / depth` over the reference samples that agreed.
    pub residual: f64,
    /// Reference samples that agreed.
    pub samples: usize,
    /// What the reference was, for people.
    pub reference: String,
}

/// What a depth head's numbers mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HeadScale {
    /// Metres.
    #[default]
    Metric,
    /// Metres for one focal length: `metres = raw * f / focal_pixels`, f that of the camera at the network's size.
    FocalNormalised {
        /// Focal length at the network's size that the head was trained for, pixels.
        focal_pixels: f64,
    },
    /// Depth up to an unknown scale and shift: no metres without a reference.
    Relative,
}

impl HeadScale {
    fn is_metric(&self) -> bool {
        *self == Self::Metric
    }
}

/// How far an engine's outputs may be from golden.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToleranceSpec {
    /// Largest error, as a share of the golden output's largest magnitude.
    pub relative: f64,
    /// Least cosine between output and golden.
    pub cosine: f64,
}

/// What is done to an image before the network sees it: antialiased bicubic resize that covers the input size, centred
/// crop, then `(value / 255 - mean) / std` per channel, in the order red, green, blue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessingSpec {
    /// Order of the channels; `rgb` is the only one.
    pub colour_order: ColourOrder,
    /// Resampling filter; `bicubic-antialiased` is the only one.
    pub resample: Resample,
    /// Mean per channel, of values in 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation per channel, of values in 0 to 1.
    pub std: [f32; 3],
}

/// Order of the channels of the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColourOrder {
    /// Red, green, blue.
    Rgb,
}

/// How an image is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resample {
    /// PIL's `BICUBIC` (a = -0.5, support grows with the reduction).
    BicubicAntialiased,
}

impl Default for PreprocessingSpec {
    /// ImageNet's statistics, with which Pixio was trained.
    fn default() -> Self {
        Self {
            colour_order: ColourOrder::Rgb,
            resample: Resample::BicubicAntialiased,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

/// The form of `model.toml` that this version writes and reads.
pub const FORMAT: u32 = 1;

impl Manifest {
    /// Checks what the types do not hold.
    ///
    /// # Errors
    /// The first field that does not fit, with what was expected and what came.
    pub fn validate(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format: expected {FORMAT}, got {}", self.format));
        }
        self.architecture.validate().map_err(|reason| format!("architecture.{reason}"))?;
        if self.sizes.is_empty() {
            return Err("sizes: expected at least one".to_owned());
        }
        for size in &self.sizes {
            self.architecture.patches(*size).map_err(|reason| format!("sizes: {reason}"))?;
            if size.width.max(size.height) > MAX_SIDE {
                return Err(format!("sizes: expected sides of at most {MAX_SIDE}, got {size}"));
            }
        }
        self.preprocessing.validate()?;
        self.tolerance.iter().try_for_each(|(precision, limits)| limits.validate(precision))?;
        let blocks = self.architecture.blocks;
        if self.taps.is_empty()
            || !self.taps.is_sorted_by(|a, b| a < b)
            || self.taps.iter().any(|tap| *tap >= blocks)
        {
            return Err(format!("taps: expected ascending blocks below {blocks}, got {:?}", self.taps));
        }
        self.heads.iter().try_for_each(|(name, head)| {
            head.validate(name, &self.taps).map_err(|reason| format!("heads.{name}.{reason}"))
        })?;
        self.cameras.iter().try_for_each(|(camera, section)| {
            section.validate(&self.heads).map_err(|reason| format!("cameras.{camera:?}.depth.{reason}"))
        })
    }
}

/// The longest side of an input, in pixels; far above what one forward pass can hold.
const MAX_SIDE: usize = 8192;

impl CameraSection {
    fn validate(&self, heads: &BTreeMap<String, HeadSpec>) -> Result<(), String> {
        self.depth.iter().try_for_each(|(head, measured)| {
            if heads.get(head).is_none_or(|spec| spec.task() != Task::Depth) {
                let depth = heads.iter().filter(|(_, spec)| spec.task() == Task::Depth);
                let known: Vec<_> = depth.map(|(name, _)| name.as_str()).collect();
                return Err(format!("{head}: expected one of the depth heads {}", known.join(", ")));
            }
            let DepthCalibration { scale, shift_meters, residual, .. } = measured;
            if !(scale.is_finite() && *scale > 0.0 && shift_meters.is_finite()) {
                return Err(format!(
                    "{head}: expected a scale above 0 and a finite shift, got {scale} and {shift_meters}"
                ));
            }
            if !(residual.is_finite() && *residual >= 0.0) {
                return Err(format!("{head}.residual: expected a finite number from 0, got {residual}"));
            }
            Ok(())
        })
    }
}

impl ToleranceSpec {
    /// Limits that nothing could break are no limits.
    fn validate(&self, precision: &str) -> Result<(), String> {
        precision.parse::<Precision>().map_err(|reason| format!("tolerance: {reason}"))?;
        let ranges = self.relative > 0.0 && self.relative <= 0.5 && self.cosine >= 0.9 && self.cosine < 1.0;
        if ranges {
            return Ok(());
        }
        let Self { relative, cosine } = self;
        Err(format!(
            "tolerance.{precision}: expected relative above 0 and up to 0.5, cosine from 0.9 to below 1, \
             got {relative} and {cosine}"
        ))
    }
}

impl PreprocessingSpec {
    fn validate(&self) -> Result<(), String> {
        let finite = |values: &[f32; 3]| values.iter().all(|value| value.is_finite());
        if !finite(&self.mean) || !finite(&self.std) || self.std.iter().any(|value| *value <= 0.0) {
            return Err("preprocessing: expected finite means and standard deviations above 0".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn depth(scale: HeadScale, max_depth_meters: f32) -> Meaning {
        Meaning::Depth(DepthMeaning { min_depth_meters: 0.001, max_depth_meters, scale })
    }

    /// A manifest of the tiny model with a linear head.
    pub(crate) fn tiny() -> Manifest {
        let head = HeadSpec {
            kind: HeadKind::LinearDepth {},
            taps: vec![3],
            meaning: depth(HeadScale::Metric, 10.0),
        };
        Manifest {
            format: FORMAT,
            name: "tiny".into(),
            origin: "random weights".into(),
            licence: "none".into(),
            encoder_id: String::new(),
            weights_sha256: String::new(),
            sizes: vec![Size { width: 64, height: 48 }],
            taps: vec![3],
            architecture: Architecture::named("pixio-tiny16").unwrap(),
            preprocessing: PreprocessingSpec::default(),
            precision: PrecisionSpec::default(),
            tolerance: BTreeMap::new(),
            heads: [("depth".to_owned(), head)].into(),
            cameras: BTreeMap::new(),
        }
    }

    pub(crate) fn measured() -> DepthCalibration {
        let reference = "a board of 9x6 corners".to_owned();
        DepthCalibration { scale: 1.25, shift_meters: -0.03, residual: 0.012, samples: 810, reference }
    }

    fn with_camera(manifest: &mut Manifest, head: &str, measured: DepthCalibration) {
        let section = CameraSection { depth: [(head.to_owned(), measured)].into() };
        manifest.cameras.insert("front".to_owned(), section);
    }

    #[test]
    fn faults_name_their_field() {
        type Fault = fn(&mut Manifest);
        let cases: &[(Fault, &str)] = &[
            (|m| m.format = 2, "format"),
            (|m| m.sizes.clear(), "sizes"),
            (|m| m.sizes[0].width = 60, "sizes"),
            (|m| m.taps = vec![4], "taps"),
            (|m| m.taps = vec![3, 1], "taps"),
            (|m| m.preprocessing.std[1] = 0.0, "preprocessing"),
            (
                |m| _ = m.tolerance.insert("fp16".into(), ToleranceSpec { relative: 0.1, cosine: 0.1 }),
                "tolerance.fp16",
            ),
            (
                |m| _ = m.tolerance.insert("int8".into(), ToleranceSpec { relative: 0.1, cosine: 0.99 }),
                "tolerance",
            ),
            (|m| m.architecture.heads = 5, "architecture.heads"),
            (|m| m.heads.get_mut("depth").unwrap().taps = vec![2], "heads.depth.taps"),
            (
                |m| m.heads.get_mut("depth").unwrap().meaning = depth(HeadScale::Metric, f32::NAN),
                "heads.depth.depth range",
            ),
            (
                |m| {
                    let scale = HeadScale::FocalNormalised { focal_pixels: 0.0 };
                    m.heads.get_mut("depth").unwrap().meaning = depth(scale, 10.0);
                },
                "heads.depth.scale",
            ),
            (|m| with_camera(m, "depths", measured()), "cameras.\"front\".depth.depths"),
            (
                |m| with_camera(m, "depth", DepthCalibration { scale: -1.0, ..measured() }),
                "cameras.\"front\".depth.depth",
            ),
            (
                |m| with_camera(m, "depth", DepthCalibration { residual: f64::NAN, ..measured() }),
                "cameras.\"front\".depth.depth.residual",
            ),
        ];
        tiny().validate().unwrap();
        for (fault, field) in cases {
            let mut manifest = tiny();
            fault(&mut manifest);
            let reason = manifest.validate().unwrap_err();
            assert!(reason.starts_with(field), "{reason}");
        }
    }

    #[test]
    fn survives_toml() {
        let scales =
            [HeadScale::Metric, HeadScale::FocalNormalised { focal_pixels: 300.0 }, HeadScale::Relative];
        for scale in scales {
            let mut manifest = tiny();
            manifest.heads.get_mut("depth").unwrap().meaning = depth(scale, 10.0);
            with_camera(&mut manifest, "depth", measured());
            manifest.validate().unwrap();
            let text = toml::to_string_pretty(&manifest).unwrap();
            assert_eq!(toml::from_str::<Manifest>(&text).unwrap(), manifest, "{text}");
        }
        // What a bundle made before these fields holds stays as it is.
        let text = toml::to_string_pretty(&tiny()).unwrap();
        assert!(!text.contains("scale") && !text.contains("cameras"), "{text}");
    }
}
