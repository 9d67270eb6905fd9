//! A bundle with one more head.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use calibration::Size;
use network::bundle::Model;
use network::manifest::Manifest;
use network::modules::{self, Grid};
use network::weights::{Dtype, Tensor};
use network::{Bundle, HeadSpec};
use onnx::OnnxRuntime;
use perception::Engine;
use perception::geometry::ImageGeometry;
use perception::image::{Encoding, ImageView};
use perception::parity;
use perception::preprocess::Preprocessing;
use training::features::{Features, FeaturesOf, FeaturesWriter};
use training::{Parameters, Program};

use super::stream::{self, Digest, Pictures};
use crate::{photographs, progress};

/// Which bundle gets which head.
#[derive(Debug, Clone, clap::Args)]
pub struct HeadArguments {
    /// Bundle whose encoder is frozen
    #[arg(long, value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Bundle to write: the same, and the new head
    #[arg(long, value_name = "BUNDLE")]
    pub out: PathBuf,
    /// Keep the head's weights in half precision
    #[arg(long)]
    half: bool,
    /// Replace a bundle that is there
    #[arg(long)]
    pub force: bool,
}

impl HeadArguments {
    /// Opens the bundle, before anything else is done.
    ///
    /// # Errors
    /// When it is refused, or something lies where the new one goes.
    pub fn open(&self) -> Result<Bundle> {
        ensure!(
            self.force || !self.out.exists(),
            "{} exists; give --force to replace it",
            self.out.display()
        );
        Ok(Bundle::open(&self.bundle)?)
    }

    /// Writes the bundle with the trained head, with golden outputs of all its heads.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(
        &self,
        engine: &mut OnnxRuntime,
        bundle: &Bundle,
        (name, spec): (&str, &HeadSpec),
        parameters: &Parameters,
    ) -> Result<Bundle> {
        for (camera, section) in &bundle.manifest().cameras {
            if section.depth.contains_key(name) {
                eprintln!(
                    "{name}: the calibration of camera {camera} was measured with the head before and is left out; see pixio calibrate depth"
                );
            }
        }
        let manifest = with_head(bundle.manifest(), name, spec);
        let mut model = Model { manifest, weights: bundle.weights().as_ref().clone() };
        // A head of that name may have been of another form: nothing of it stays.
        model.weights.remove_below(&format!("heads.{name}."));
        let dtype = if self.half { Dtype::F16 } else { Dtype::F32 };
        for (name, parameter) in parameters.iter() {
            let tensor = Tensor::rounded(&parameter.shape, &parameter.values, dtype);
            model.weights.insert(name.clone(), tensor.map_err(|reason| anyhow!("{name}: {reason}"))?);
        }
        let photographs = photographs::built_in()?;
        model.write_with(
            &self.out,
            self.force,
            |_| (),
            |bundle| -> Result<()> {
                let count = photographs.len() * bundle.manifest().sizes.len();
                let bar = progress::items(count as u64, "golden outputs");
                let golden = parity::make_golden(engine, bundle, &photographs, || bar.inc(1))?;
                bar.finish_and_clear();
                Ok(bundle.write_golden(&golden)?)
            },
        )
    }
}

/// Checks a head before anything is computed for it: what writing the bundle would refuse at the end is refused now.
///
/// # Errors
/// What does not suit the bundle.
pub fn check(bundle: &Bundle, name: &str, spec: &HeadSpec) -> Result<()> {
    let manifest = bundle.manifest();
    if let Some(missing) = spec.taps.iter().find(|tap| !manifest.taps.contains(tap)) {
        return Err(anyhow!(
            "{}: expected a bundle that delivers the tokens of block {missing}, this one delivers {:?}; give --tap to pixio pretrain or import",
            bundle.folder().display(),
            manifest.taps
        ));
    }
    with_head(manifest, name, spec).validate().map_err(|reason| anyhow!(reason))
}

/// A bundle's manifest with one more head. What was measured with a head that had its name is not true of it.
fn with_head(manifest: &Manifest, name: &str, spec: &HeadSpec) -> Manifest {
    let mut whole = manifest.clone();
    whole.cameras.values_mut().for_each(|section| drop(section.depth.remove(name)));
    whole.cameras.retain(|_, section| !section.depth.is_empty());
    whole.heads.insert(name.to_owned(), spec.clone());
    whole
}

/// The program of a head on a bundle's encoder, and fresh parameters for it.
///
/// # Errors
/// When the head does not suit the bundle.
pub fn program(
    bundle: &Bundle,
    name: &str,
    spec: &HeadSpec,
    grid: Grid,
    seed: u64,
) -> Result<(Program, Parameters)> {
    let graph = modules::head(name, spec, &bundle.manifest().architecture, grid, 1)?;
    let program = Program::new(graph, |_| true);
    let parameters = training::fresh(&program.tensors(), seed);
    Ok((program, parameters))
}

/// Features of pictures at the network's size, from the run's folder or computed now. The pictures are looked at once to know that they
/// are those of the folder's features, and once more to compute some.
///
/// # Errors
/// When those in the folder are another encoder's or other pictures', a picture cannot be read, or the engine does not run.
pub fn features<P: Pictures + ?Sized>(
    engine: &mut OnnxRuntime,
    bundle: &Bundle,
    (taps, classes_only): (&[usize], bool),
    size: Size,
    pictures: &P,
    folder: &Path,
) -> Result<Features> {
    let architecture = &bundle.manifest().architecture;
    let tokens = if classes_only {
        architecture.class_tokens
    } else {
        architecture.tokens(size).map_err(|reason| anyhow!(reason))?
    };
    let tap_len = tokens * architecture.dim;
    let digest = Digest::of(pictures, size)?;
    let of = FeaturesOf {
        encoder_id: bundle.manifest().encoder_id.clone(),
        taps: taps.to_vec(),
        tap_len,
        samples: digest.pictures(),
        data: digest.words(size),
    };
    let path = folder.join("features.f16");
    if let Some(features) = Features::open(&path, &of)? {
        return Ok(features);
    }
    let mut encoder = Encoder::load(engine, bundle, size)?;
    stream::write(&path, of, (pictures, size), |picture, writer| {
        encoder.run(engine, picture)?;
        for tap in taps {
            writer.push(&encoder.tokens(engine, *tap)?[..tap_len])?;
        }
        Ok(())
    })
}

/// Class tokens that were recorded, as the features of every sample.
///
/// # Errors
/// When those in the folder are another encoder's or other recordings', or a head reads another tap than the last.
pub fn recorded_features(bundle: &Bundle, taps: &[usize], tokens: &[f32], folder: &Path) -> Result<Features> {
    let manifest = bundle.manifest();
    let last: Vec<usize> = manifest.taps.last().copied().into_iter().collect();
    ensure!(
        taps == last,
        "expected a head on the last tap {last:?}, whose tokens are recorded, got {taps:?}"
    );
    let tap_len = manifest.architecture.class_tokens * manifest.architecture.dim;
    let sum =
        tokens.iter().fold(0_u64, |sum, value| sum.wrapping_mul(31).wrapping_add(value.to_bits().into()));
    let of = FeaturesOf {
        encoder_id: manifest.encoder_id.clone(),
        taps: taps.to_vec(),
        tap_len,
        samples: tokens.len() / tap_len,
        data: format!("recorded, {sum:016x}"),
    };
    let path = folder.join("features.f16");
    if let Some(features) = Features::open(&path, &of)? {
        return Ok(features);
    }
    let mut writer = FeaturesWriter::create(&path, of)?;
    for sample in tokens.chunks_exact(tap_len) {
        writer.push(sample)?;
    }
    Ok(writer.finish()?)
}

/// A backbone on an engine, for pictures of the network's size.
pub struct Encoder<E: Engine> {
    network: network::Network,
    loaded: E::Network,
    input: E::Tensor,
    preprocessing: Preprocessing,
    size: Size,
}

impl<E: Engine> Encoder<E> {
    /// Loads it.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub fn load(engine: &mut E, bundle: &Bundle, size: Size) -> Result<Self> {
        let network = bundle.backbone(size)?;
        let input = engine.allocate(&network.inputs()[0].shape)?;
        let loaded = engine.load(&network, std::slice::from_ref(&input))?;
        let preprocessing =
            Preprocessing::new(ImageGeometry::new(size, size)?, &bundle.manifest().preprocessing);
        Ok(Self { network, loaded, input, preprocessing, size })
    }

    /// Runs it on a picture.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&mut self, engine: &mut E, rgb: &[u8]) -> Result<()> {
        let view = ImageView::new(rgb, self.size, 3 * self.size.width, Encoding::Rgb8)?;
        engine.preprocess(&view, &mut self.preprocessing, &self.input)?;
        Ok(engine.run(&mut self.loaded)?)
    }

    /// The tensors that a network's inputs are bound to.
    ///
    /// # Errors
    /// When the backbone does not deliver one.
    pub fn bound(&self, engine: &E, head: &network::Network) -> Result<Vec<E::Tensor>> {
        head.inputs().iter().map(|port| self.tensor(engine, &port.name)).collect()
    }

    fn tensor(&self, engine: &E, name: &str) -> Result<E::Tensor> {
        let at = self.network.outputs().iter().position(|output| output.name == name);
        let tensor = at.and_then(|at| engine.outputs(&self.loaded).get(at));
        tensor.cloned().with_context(|| format!("expected the backbone to deliver {name}"))
    }

    /// Tokens of a tap of the picture last run.
    ///
    /// # Errors
    /// When the backbone does not deliver them.
    pub fn tokens(&self, engine: &mut E, tap: usize) -> Result<Vec<f32>> {
        let tensor = self.tensor(engine, &network::modules::encoder::Tokens::Normalised.port(tap))?;
        let mut values = vec![0.0; engine.shape(&tensor).iter().product()];
        engine.download(&tensor, &mut values)?;
        Ok(values)
    }
}
