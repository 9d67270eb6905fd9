//! Whether an engine reproduces a bundle's golden outputs.

use calibration::Size;
use network::bundle::{GoldenCase, GoldenOutput};
use network::{Bundle, BundleError, Golden, Network};

use crate::engine::{Engine, EngineError};
use crate::geometry::ImageGeometry;
use crate::heads::bind;
use crate::image::{Encoding, ImageView};
use crate::pipeline::PipelineError;
use crate::preprocess::Preprocessing;

/// How far an engine's numbers may be from golden.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Largest error, as a share of the golden output's largest magnitude.
    pub relative: f64,
    /// Least cosine between output and golden.
    pub cosine: f64,
}

impl Tolerance {
    /// Tolerance by precision. All fp32 engines tried agree to some 1e-6 of the range, so a thousandth is drift. fp16 has
    /// 11 bits: through some dozens of layers 2 % of the range at the worst value and a cosine of 0.999 (what NVIDIA asks
    /// of its own policies) tell rounding from the known failures, which end near cosine 0. int8 has 255 steps for the range of each
    /// tensor, and what they cost is measured in docs/speed.md; its tolerance finds what is broken, not what is coarse.
    pub fn of(precision: &str) -> Self {
        match precision {
            "fp32" => Self { relative: 1e-3, cosine: 0.999_99 },
            "int8" => Self { relative: 0.1, cosine: 0.995 },
            _ => Self { relative: 2e-2, cosine: 0.999 },
        }
    }

    /// The bundle's own tolerance at a precision, else [`Tolerance::of`].
    pub fn of_bundle(bundle: &Bundle, precision: &str) -> Self {
        let own = bundle.manifest().tolerance.get(precision);
        own.map_or_else(|| Self::of(precision), |own| Self { relative: own.relative, cosine: own.cosine })
    }
}

/// One output of one photograph against golden.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Input size.
    pub size: Size,
    /// `<network>/<port>`.
    pub output: String,
    /// Largest absolute error, in the output's unit (metres for depth); NaN when a value is not finite.
    pub max_abs: f64,
    /// [`Difference::max_abs`] as a share of golden's largest magnitude.
    pub relative: f64,
    /// Cosine between output and golden.
    pub cosine: f64,
}

/// An engine against a bundle's golden outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct ParityReport {
    /// Every output of every photograph.
    pub differences: Vec<Difference>,
    /// What was allowed.
    pub tolerance: Tolerance,
}

impl ParityReport {
    /// Whether every output is within tolerance; a report of nothing has not passed.
    pub fn passed(&self) -> bool {
        !self.differences.is_empty() && self.differences.iter().all(|difference| self.holds(difference))
    }

    fn holds(&self, difference: &Difference) -> bool {
        difference.relative <= self.tolerance.relative && difference.cosine >= self.tolerance.cosine
    }

    /// The worst output, the first of those that are not finite.
    pub fn worst(&self) -> Option<&Difference> {
        let badness = |difference: &Difference| {
            if difference.relative.is_nan() { f64::INFINITY } else { difference.relative }
        };
        self.differences.iter().max_by(|a, b| badness(a).total_cmp(&badness(b)))
    }
}

impl std::fmt::Display for ParityReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{:>9}  {:24} {:>10} {:>10} {:>11}",
            "size", "output", "max error", "of range", "cosine"
        )?;
        for difference in &self.differences {
            let verdict = if self.holds(difference) { "" } else { "  OUT OF TOLERANCE" };
            let Difference { size, output, max_abs, relative, cosine } = difference;
            let size = size.to_string();
            writeln!(f, "{size:>9}  {output:24} {max_abs:>10.2e} {relative:>10.2e} {cosine:>11.8}{verdict}")?;
        }
        let Tolerance { relative, cosine } = self.tolerance;
        write!(f, "tolerance: {relative:.0e} of the range, cosine {cosine}")
    }
}

/// Why parity could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// The golden outputs could not be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The networks could not be run.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Nothing would be compared at a size.
    #[error("golden outputs: expected those of input size {size}, there are those of {there}")]
    NoCase {
        /// The size that was asked for.
        size: Size,
        /// The sizes that there are.
        there: String,
    },
}

impl From<EngineError> for ParityError {
    fn from(error: EngineError) -> Self {
        Self::Pipeline(error.into())
    }
}

/// All networks of one size on an engine, with every tap and every head.
struct Model<E: Engine> {
    input: E::Tensor,
    networks: Vec<(Network, E::Network)>,
    preprocessing: Preprocessing,
    size: Size,
}

impl<E: Engine> Model<E> {
    fn load(engine: &mut E, bundle: &Bundle, size: Size) -> Result<Self, ParityError> {
        let backbone = bundle.backbone(size).map_err(PipelineError::from)?;
        let input = engine.allocate(&backbone.inputs()[0].shape)?;
        let loaded = engine.load(&backbone, std::slice::from_ref(&input))?;
        let mut networks = vec![(backbone, loaded)];
        for name in bundle.manifest().heads.keys() {
            let head = bundle.head(name, size).map_err(PipelineError::from)?;
            let inputs = inputs(engine, &networks[0].0, &networks[0].1, &head)?;
            let loaded = engine.load(&head, &inputs)?;
            networks.push((head, loaded));
        }
        let geometry = ImageGeometry::new(size, size).map_err(PipelineError::from)?;
        let preprocessing = Preprocessing::new(geometry, &bundle.manifest().preprocessing);
        Ok(Self { input, networks, preprocessing, size })
    }

    /// Every output for an RGB image of the network's size.
    fn outputs(&mut self, engine: &mut E, rgb: &[u8]) -> Result<Vec<GoldenOutput>, ParityError> {
        let broken = |error: crate::ImageError| EngineError::Run {
            network: "golden image".to_owned(),
            reason: error.to_string(),
        };
        let image = ImageView::new(rgb, self.size, 3 * self.size.width, Encoding::Rgb8).map_err(broken)?;
        engine.preprocess(&image, &mut self.preprocessing, &self.input)?;
        let mut outputs = Vec::new();
        for (network, loaded) in &mut self.networks {
            engine.run(loaded)?;
            let tensors = engine.outputs(loaded).to_vec();
            for (port, tensor) in network.outputs().iter().zip(&tensors) {
                let mut values = vec![0.0; port.shape.iter().product()];
                engine.download(tensor, &mut values)?;
                let name = format!("{}/{}", network.name(), port.name);
                outputs.push(GoldenOutput { name, shape: port.shape.clone(), values });
            }
        }
        Ok(outputs)
    }
}

/// A head's inputs; those that do not come of the image (a policy's state and past) hold fixed numbers.
fn inputs<E: Engine>(
    engine: &mut E,
    backbone: &Network,
    loaded: &E::Network,
    head: &Network,
) -> Result<Vec<E::Tensor>, EngineError> {
    let inputs = bind(engine, backbone, loaded, head)?;
    for (port, tensor) in head.inputs().iter().zip(&inputs) {
        if !backbone.outputs().iter().any(|output| output.name == port.name) {
            let count = port.shape.iter().product::<usize>() as u32;
            let numbers: Vec<f32> = (0..count).map(|index| (f64::from(index) * 0.7).sin() as f32).collect();
            engine.upload(&numbers, tensor)?;
        }
    }
    Ok(inputs)
}

/// An RGB photograph, three bytes a pixel.
#[derive(Clone, Debug)]
pub struct Photograph {
    /// Its size.
    pub size: Size,
    /// Its pixels, row by row.
    pub rgb: Vec<u8>,
}

/// Computes golden outputs on an engine: every photograph at every size of the bundle. `done` is called after each.
///
/// # Errors
/// When a photograph does not suit a size, or the networks do not run.
pub fn make_golden<E: Engine>(
    engine: &mut E,
    bundle: &Bundle,
    photographs: &[Photograph],
    mut done: impl FnMut(),
) -> Result<Golden, ParityError> {
    let mut golden = Golden::default();
    for size in &bundle.manifest().sizes {
        let mut model = Model::load(engine, bundle, *size)?;
        for photograph in photographs {
            let geometry = ImageGeometry::new(photograph.size, *size).map_err(PipelineError::from)?;
            let step = 3 * photograph.size.width;
            let view =
                ImageView::new(&photograph.rgb, photograph.size, step, Encoding::Rgb8).map_err(|error| {
                    EngineError::Run { network: "photograph".into(), reason: error.to_string() }
                })?;
            let mut image = vec![0; 3 * size.area()];
            Preprocessing::new(geometry, &bundle.manifest().preprocessing).picture(&view, &mut image)?;
            let outputs = model.outputs(engine, &image)?;
            golden.cases.push(GoldenCase { size: *size, image, outputs });
            done();
        }
    }
    Ok(golden)
}

/// Compares an engine with a bundle's golden outputs at these sizes.
///
/// # Errors
/// When there is nothing to compare with, or the networks do not run; numbers that differ are no error but the report.
pub fn check<E: Engine>(
    engine: &mut E,
    bundle: &Bundle,
    sizes: &[Size],
) -> Result<ParityReport, ParityError> {
    check_against(engine, bundle, &bundle.golden()?, sizes)
}

/// As [`check`], against other golden outputs of the bundle than its own.
///
/// # Errors
/// As [`check`].
pub fn check_against<E: Engine>(
    engine: &mut E,
    bundle: &Bundle,
    golden: &Golden,
    sizes: &[Size],
) -> Result<ParityReport, ParityError> {
    let mut differences = Vec::new();
    for size in sizes {
        check_size(golden, *size)?;
        let mut model = Model::load(engine, bundle, *size)?;
        for case in golden.of_size(*size) {
            let outputs = model.outputs(engine, &case.image)?;
            differences.extend(outputs.iter().map(|output| compare(*size, output, case)));
        }
    }
    let tolerance = Tolerance::of_bundle(bundle, &engine.identity().precision);
    Ok(ParityReport { differences, tolerance })
}

/// That golden has a photograph of a size, which else would pass with the others.
fn check_size(golden: &Golden, size: Size) -> Result<(), ParityError> {
    if golden.of_size(size).next().is_some() {
        return Ok(());
    }
    let mut there: Vec<_> = golden.cases.iter().map(|case| case.size.to_string()).collect();
    there.dedup();
    Err(ParityError::NoCase { size, there: there.join(", ") })
}

/// An output against golden; everything is NaN when golden lacks it, which no tolerance passes.
fn compare(size: Size, output: &GoldenOutput, case: &GoldenCase) -> Difference {
    let mut difference = Difference {
        size,
        output: output.name.clone(),
        max_abs: f64::NAN,
        relative: f64::NAN,
        cosine: f64::NAN,
    };
    let golden =
        case.outputs.iter().find(|golden| golden.name == output.name && golden.shape == output.shape);
    let Some(golden) = golden else { return difference };
    let (mut max_abs, mut range, mut dot, mut ours, mut theirs) = (0.0_f64, 0.0_f64, 0.0, 0.0, 0.0);
    for (a, b) in output.values.iter().zip(&golden.values) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        let error = (a - b).abs();
        max_abs = if error.is_nan() { f64::NAN } else { max_abs.max(error) };
        if max_abs.is_nan() {
            return difference;
        }
        range = range.max(b.abs());
        dot += a * b;
        ours += a * a;
        theirs += b * b;
    }
    difference.max_abs = max_abs;
    difference.relative = max_abs / range.max(f64::MIN_POSITIVE);
    difference.cosine = dot / (ours.sqrt() * theirs.sqrt()).max(f64::MIN_POSITIVE);
    difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dummy::Dummy;
    use network::bundle::random_model;
    use network::{Architecture, HeadKind};

    const SIZE: Size = Size { width: 64, height: 48 };

    fn bundle(folder: &std::path::Path) -> Bundle {
        let heads = [("depth".to_owned(), HeadKind::LinearDepth {})];
        let model = random_model(Architecture::named("pixio-tiny16").unwrap(), &heads, &[SIZE], 1).unwrap();
        let bundle = model.write(&folder.join("bundle"), false, |_| ()).unwrap();
        let photograph = Photograph { size: Size { width: 20, height: 15 }, rgb: vec![99; 900] };
        let golden = make_golden(&mut Dummy::default(), &bundle, &[photograph], || ()).unwrap();
        bundle.write_golden(&golden).unwrap();
        bundle
    }

    #[test]
    fn the_same_engine_passes_and_a_drifted_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        let check = |engine: Dummy| check(&mut engine.clone(), &bundle, &[SIZE]).unwrap();
        assert!(check(Dummy::default()).passed());
        let drifted = check(Dummy::default().with_drift(0.1));
        assert!(!drifted.passed());
        assert!(drifted.to_string().contains("OUT OF TOLERANCE"), "{drifted}");
        assert!(!check(Dummy::default().with_drift(f32::NAN)).passed());
    }

    #[test]
    fn nothing_compared_is_not_passed() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        assert!(!check(&mut Dummy::default(), &bundle, &[]).unwrap().passed());
        let other = Size { width: 128, height: 48 };
        let error = check(&mut Dummy::default(), &bundle, &[SIZE, other]).unwrap_err().to_string();
        let expected = "golden outputs: expected those of input size 128x48, there are those of 64x48";
        assert_eq!(error, expected, "one size does not pass for another");
    }
}
