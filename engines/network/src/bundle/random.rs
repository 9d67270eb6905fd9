//! Models with random weights, for demonstrations and tests: shapes and speed are real, depths are not.

use std::collections::BTreeMap;

use calibration::Size;

use super::expected_tensors;
use super::import::{ImportError, Model, all_taps, numbered_labels};
use crate::Weights;
use crate::architecture::Architecture;
use crate::manifest::{
    ActionChannel, DepthMeaning, FORMAT, HeadKind, HeadScale, HeadSpec, Manifest, Meaning, PolicySpec,
    PreprocessingSpec, Quantity, Scaling, SpaceKind, StateChannel, Task, Unit,
};
use crate::precision::PrecisionSpec;
use crate::weights::Tensor;

/// A model of this architecture with weights drawn from `seed`, and one head per name and form: depths up to 10 m, four classes,
/// a policy for seven joints (`joint_1` and so on) that reads their positions.
///
/// # Errors
/// When architecture, sizes or heads do not hold together.
pub fn random_model(
    architecture: Architecture,
    heads: &[(String, HeadKind)],
    sizes: &[Size],
    seed: u64,
) -> Result<Model, ImportError> {
    architecture.validate().map_err(ImportError::Request)?;
    let head = |kind: &HeadKind| HeadSpec {
        kind: kind.clone(),
        taps: kind.official_taps(architecture.blocks),
        meaning: meaning(kind),
    };
    let heads: BTreeMap<_, _> = heads.iter().map(|(name, kind)| (name.clone(), head(kind))).collect();
    let manifest = Manifest {
        format: FORMAT,
        name: "random".to_owned(),
        origin: format!("random weights, seed {seed}"),
        licence: "none: random numbers".to_owned(),
        encoder_id: String::new(),
        weights_sha256: String::new(),
        sizes: sizes.to_vec(),
        taps: all_taps(&[], &heads, architecture.blocks),
        architecture,
        preprocessing: PreprocessingSpec::default(),
        precision: PrecisionSpec::default(),
        tolerance: BTreeMap::new(),
        heads,
        cameras: BTreeMap::new(),
    };
    manifest.validate().map_err(ImportError::Request)?;
    let mut numbers = SplitMix(seed);
    let mut weights = Weights::default();
    for (name, shape) in expected_tensors(&manifest) {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| number(&name, &shape, &mut numbers)).collect();
        weights.insert(name, Tensor::from_f32(&shape, &values).map_err(ImportError::Request)?);
    }
    Ok(Model { manifest, weights })
}

/// What the numbers of a head without training could mean.
fn meaning(kind: &HeadKind) -> Meaning {
    match kind.task() {
        Task::Depth | Task::Points => Meaning::Depth(DepthMeaning {
            min_depth_meters: 0.001,
            max_depth_meters: 10.0,
            scale: HeadScale::Metric,
        }),
        Task::Segmentation => numbered_labels(4),
        Task::Policy => Meaning::Policy(policy(kind)),
    }
}

/// A policy for seven turning joints at 10 Hz, whose actions are positions within a radian or so.
fn policy(kind: &HeadKind) -> PolicySpec {
    let scaling = Scaling::MeanStd { mean: 0.0, std: 0.5 };
    let name = |joint: usize| format!("joint_{joint}");
    let action = |joint| ActionChannel { name: name(joint), unit: Unit::Radians, scaling };
    let quantity = Quantity::Position;
    let state = |joint| StateChannel { name: name(joint), quantity, unit: Unit::Radians, scaling };
    PolicySpec {
        period_secs: 0.1,
        steps: if matches!(kind, HeadKind::ChunkPolicy { .. }) { 16 } else { 1 },
        space: SpaceKind::JointPositions,
        frame: None,
        actions: (1..=7).map(action).collect(),
        state: (1..=7).map(state).collect(),
        contract: None,
    }
}

/// One number of a tensor, spread so that signals neither vanish nor explode through the layers.
fn number(name: &str, shape: &[usize], numbers: &mut SplitMix) -> f32 {
    let uniform = numbers.uniform();
    let inner: usize = shape.iter().skip(1).product();
    match () {
        () if name.ends_with("running_var") => 1.0 + 0.5 * uniform.abs(),
        () if name.contains("norm") && name.ends_with("weight") => 1.0 + 0.1 * uniform,
        () if shape.len() == 1 => 0.1 * uniform,
        () if shape.len() == 3 => 0.5 * uniform,
        () => uniform * (3.0 / inner as f32).sqrt(),
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
struct SplitMix(u64);

impl SplitMix {
    /// A number between -1 and 1.
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let top = (z ^ (z >> 31)) >> 40;
        top as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;

    #[test]
    fn a_random_bundle_is_whole_and_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let heads = [
            ("depth".to_owned(), HeadKind::LinearDepth {}),
            ("dpt".to_owned(), HeadKind::DptDepth { features: 8, out_channels: [4, 8, 12, 12] }),
        ];
        let size = Size { width: 64, height: 48 };
        let write = |name: &str| {
            let model =
                random_model(Architecture::named("pixio-tiny16").unwrap(), &heads, &[size], 7).unwrap();
            model.write(&folder.path().join(name), false, |_| ()).unwrap()
        };
        let (first, second) = (write("a"), write("b"));
        assert_eq!(first.hash(), second.hash());
        first.verify_weights().unwrap();
        assert_eq!(first.backbone(size).unwrap().outputs().len(), 4);
        assert_eq!(first.head("dpt", size).unwrap().outputs()[0].shape, [1, 48, 64]);
        assert!(first.head("flow", size).unwrap_err().to_string().contains("flow"));
        assert!(first.golden().is_err());
    }

    #[test]
    fn calibrating_a_camera_leaves_the_model_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let heads = [("depth".to_owned(), HeadKind::LinearDepth {})];
        let architecture = Architecture::named("pixio-tiny16").unwrap();
        let model = random_model(architecture, &heads, &[Size { width: 64, height: 48 }], 7).unwrap();
        let bundle = model.write(&folder.path().join("a"), false, |_| ()).unwrap();
        let measured = crate::manifest::tests::measured();
        let calibrated = bundle.write_depth_calibration("front", "depth", measured.clone()).unwrap();
        assert_eq!(calibrated.hash(), bundle.hash());
        let read = Bundle::open(bundle.folder()).unwrap();
        assert_eq!(read.manifest().cameras["front"].depth["depth"], measured);
        read.verify_weights().unwrap();
        assert_eq!(read.manifest().encoder_id, bundle.manifest().encoder_id);
        let error = read.write_depth_calibration("front", "flow", measured).unwrap_err().to_string();
        assert!(error.contains("model.toml") && error.contains("flow"), "{error}");
        assert_eq!(Bundle::open(bundle.folder()).unwrap().manifest(), read.manifest());
    }
}
