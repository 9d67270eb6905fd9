//! `pixio pretrain`: masked-pixel pre-training on any pictures.

mod curated;
mod paintings;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};
use calibration::Size;
use network::bundle::pretrained_model;
use network::manifest::PreprocessingSpec;
use network::modules::pretraining::{self, Decoder};
use network::weights::Dtype;
use network::{Architecture, Bundle};
use perception::parity;
use training::optimiser::{AdamW, Schedule};
use training::pretrain::{self, Colours, Images, MaskedImages, Showing};
use training::{Learner, Learning, Parameters, Program};

use self::curated::Sources;
use crate::engine::ReferenceArguments;
use crate::train::bag::ImageArguments;
use crate::train::drive::{RunArguments, check_rate};
use crate::train::pictures;
use crate::{info, photographs, progress};

/// Pre-train an encoder on pictures alone: it sees a quarter of each and learns to paint the rest, as Pixio does
///
/// Starts from random weights, or goes on from a bundle (domain adaptation on the robot's own images; its heads are left behind,
/// for they were trained on other features). A deep decoder paints; it is thrown away at the end. Interrupted at any
/// moment, the same command goes on to the same result.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folders of PNG or JPEG pictures (or with rgb/ inside), LeRobot datasets, or recordings (MCAP files, bags, folders of bags)
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Pictures never trained on, for the loss and the pictures at the end
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
    #[command(flatten)]
    recorded: ImageArguments,
    /// Bundle to write
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
    /// Bundle to go on from [default: random weights]
    #[arg(long, value_name = "BUNDLE")]
    from: Option<PathBuf>,
    /// Encoder: width, blocks, attention heads
    #[arg(long, value_name = "WIDTHxBLOCKSxHEADS", default_value = "192x8x3", conflicts_with = "from", value_parser = three)]
    encoder: [usize; 3],
    /// Side of the pictures, pixels: 16 times the encoder's position grid
    #[arg(long, value_name = "PIXELS", default_value_t = 256, conflicts_with = "from")]
    side: usize,
    /// Decoder: width, blocks, attention heads
    #[arg(long, value_name = "WIDTHxBLOCKSxHEADS", default_value = "128x6x4", value_parser = three)]
    decoder: [usize; 3],
    /// Steps; 0 writes the weights as they are drawn, the control that every pre-trained encoder must beat
    #[arg(long, default_value_t = 10_000)]
    steps: u64,
    /// Pictures of a step
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Highest learning rate [Pixio: 2.5e-5 times batch / 256, for a batch of 8192]
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    /// Share of the steps in which the learning rate climbs
    #[arg(long, default_value_t = 0.05)]
    warm_up: f64,
    /// Weight decay
    #[arg(long, default_value_t = 0.05)]
    weight_decay: f32,
    /// Share of the picture that is masked
    #[arg(long, default_value_t = 0.75)]
    mask_ratio: f64,
    /// Side of the blocks of patches that are masked together [default: a quarter of the grid, as Pixio's 4 of 16]
    #[arg(long, value_name = "PATCHES")]
    mask_block: Option<usize>,
    /// Least area of the random crops, as a share of the picture
    #[arg(long, default_value_t = 0.2)]
    smallest_crop: f64,
    /// Never mirror pictures: for a fixed camera, whose cell has a left and a right
    #[arg(long)]
    no_mirror: bool,
    /// Show every picture equally often, instead of those that are painted badly more often
    #[arg(long)]
    no_curation: bool,
    /// Blocks whose tokens the bundle delivers [default: those that a DPT head reads]
    #[arg(long = "tap", value_name = "BLOCK")]
    taps: Vec<usize>,
    /// Further input sizes of the bundle, besides the native one
    #[arg(long = "size", value_name = "WxH")]
    sizes: Vec<Size>,
    /// Name of the model, for people
    #[arg(long, default_value = "pre-trained here")]
    name: String,
    /// Licence of the weights, kept with them [default: with --from that bundle's, else whatever the pictures' owner says]
    #[arg(long)]
    licence: Option<String>,
    /// Keep the weights in half precision
    #[arg(long)]
    half: bool,
    /// Replace a bundle that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    engine: ReferenceArguments,
}

fn three(text: &str) -> Result<[usize; 3], String> {
    let numbers: Option<Vec<usize>> = text.split('x').map(|part| part.parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| <[usize; 3]>::try_from(numbers).ok());
    numbers.ok_or_else(|| format!("expected WIDTHxBLOCKSxHEADS, for example 192x8x3, got {text:?}"))
}

/// What is trained, before any picture is read.
struct Plan {
    architecture: Architecture,
    decoder: Decoder,
    preprocessing: PreprocessingSpec,
    showing: Showing,
    parameters: Parameters,
    origin: String,
    licence: String,
    /// What it goes on from: name, and the encoder's hash.
    from: String,
}

impl Plan {
    fn colours(&self) -> Colours {
        Colours { mean: self.preprocessing.mean, std: self.preprocessing.std }
    }
}

/// Pictures that are computed together on a thread.
const PART: usize = 8;
/// Pictures painted at the end.
const PAINTED: usize = 8;
/// Held-out pictures that the loss is taken of.
const COMPARED: usize = 512;

/// Pre-trains, writes the bundle, and says what came of it.
///
/// # Errors
/// When the data is refused, the run diverges, or the bundle cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        arguments.force || !arguments.out.exists(),
        "{} exists; give --force to replace it",
        arguments.out.display()
    );
    let sources = arguments.data.iter().chain(&arguments.held_out);
    arguments.recorded.check(sources.map(PathBuf::as_path))?;
    let mut engine = arguments.engine.start()?;
    let plan = arguments.plan()?;
    let side = plan.architecture.grid * plan.architecture.patch;
    let size = Size { width: side, height: side };
    let (sources, rgb) = Sources::read(&arguments.data, size, &arguments.recorded)?;
    let images = Images { side, rgb };
    let held_out = arguments.read_held_out(&images)?;
    let (count, about) = (images.count(), arguments.about(&plan, &images));
    let task = MaskedImages::new(images, &plan.architecture, plan.colours(), plan.showing)?;
    eprintln!("{}", arguments.announce(&plan, count));
    let graph = pretraining::graph(&plan.architecture, &plan.decoder, task.seen())?;
    let program = Program::new(graph, |_| true);
    let mut learner = Learner::new(program, plan.parameters.clone(), arguments.learning(), about, task);
    let folder = arguments.run.begin()?;
    arguments.run.drive(&folder, &mut learner, "pre-training")?;
    arguments.finish(&plan, &learner, held_out)?;
    sources.write(folder.path(), &learner.task)?;
    let model = pretrained_model(
        plan.architecture.clone(),
        plan.preprocessing.clone(),
        &arguments.taps,
        &[&[size], arguments.sizes.as_slice()].concat(),
        [&arguments.name, &plan.origin, &plan.licence].map(String::as_str),
        |name, shape| {
            let values = learner.parameters().get(name).map(|parameter| parameter.values.as_slice());
            let dtype = if arguments.half { Dtype::F16 } else { Dtype::F32 };
            network::weights::Tensor::rounded(shape, values.unwrap_or_default(), dtype)
        },
    )?;
    let photographs = photographs::built_in()?;
    let bundle = model.write_with(
        &arguments.out,
        arguments.force,
        |_| (),
        |bundle: &Bundle| -> Result<()> {
            let bar =
                progress::items((photographs.len() * bundle.manifest().sizes.len()) as u64, "golden outputs");
            let golden = parity::make_golden(&mut engine, bundle, &photographs, || bar.inc(1))?;
            Ok(bundle.write_golden(&golden)?)
        },
    )?;
    info::print(&bundle);
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn plan(&self) -> Result<Plan> {
        let [dim, blocks, heads] = self.decoder;
        let decoder = Decoder { dim, blocks, heads };
        decoder.validate().map_err(|reason| anyhow!("--decoder: {reason}"))?;
        let from = self.from.as_ref().map(|path| Bundle::open(path)).transpose()?;
        let architecture = from
            .as_ref()
            .map_or_else(|| self.architecture(), |from| Ok(from.manifest().architecture.clone()))?;
        let block = self.mask_block.unwrap_or((architecture.grid / 4).max(1));
        pretrain::check_mask(&architecture, block, self.mask_ratio)
            .map_err(|reason| anyhow!("mask: {reason}"))?;
        self.check(&architecture)?;
        let mut parameters = pretrain::initial(&architecture, &decoder, self.run.seed);
        if let Some(from) = &from {
            let named = |(name, shape): (String, Vec<usize>)| (format!("encoder.{name}"), shape);
            let tensors: Vec<_> = architecture.tensors().into_iter().map(named).collect();
            for (name, parameter) in Parameters::read(from.weights(), &tensors)?.iter() {
                parameters.insert(name.clone(), parameter.shape.clone(), parameter.values.to_vec());
            }
        }
        let showing = Showing {
            batch: self.batch,
            part: PART,
            block,
            ratio: self.mask_ratio,
            smallest_crop: self.smallest_crop,
            mirror: !self.no_mirror,
            curate: !self.no_curation,
            seed: self.run.seed,
        };
        let origin = match &from {
            Some(from) if self.steps == 0 => from.manifest().name.clone(),
            Some(from) => format!("{}, then masked pixels of {}", from.manifest().name, self.data_names()),
            None if self.steps == 0 => {
                format!("weights as they were drawn (seed {}), never trained", self.run.seed)
            }
            None => format!("masked pixels of {}, from random weights", self.data_names()),
        };
        let begins = from
            .as_ref()
            .map_or("random".to_owned(), |from| format!("{origin}, encoder {}", from.manifest().encoder_id));
        let licence = match (&self.licence, &from) {
            (Some(licence), _) => licence.clone(),
            (None, Some(from)) => from.manifest().licence.clone(),
            (None, None) => "whatever the pictures' owner says".to_owned(),
        };
        let preprocessing =
            from.map_or_else(PreprocessingSpec::default, |from| from.manifest().preprocessing.clone());
        Ok(Plan { architecture, decoder, preprocessing, showing, parameters, origin, licence, from: begins })
    }

    /// Checks the numbers that were typed, also those that only the bundle at the end needs.
    fn check(&self, architecture: &Architecture) -> Result<()> {
        check_rate(self.rate)?;
        ensure!(self.batch > 0, "--batch: expected at least 1");
        let shares = [("--smallest-crop", 0.01, self.smallest_crop), ("--warm-up", 0.0, self.warm_up)];
        for (name, least, share) in shares {
            ensure!((least..=1.0).contains(&share), "{name}: expected {least} to 1, got {share}");
        }
        let decay = self.weight_decay;
        ensure!(decay.is_finite() && decay >= 0.0, "--weight-decay: expected 0 or more, got {decay}");
        let blocks = architecture.blocks;
        if let Some(tap) = self.taps.iter().find(|tap| **tap >= blocks) {
            bail!("--tap: expected blocks below {blocks}, got {tap}");
        }
        for size in &self.sizes {
            architecture.patches(*size).map_err(|reason| anyhow!("--size: {reason}"))?;
        }
        Ok(())
    }

    /// The pictures that are never trained on, before anything is trained.
    fn read_held_out(&self, images: &Images) -> Result<Option<Images>> {
        let Some(path) = &self.held_out else { return Ok(None) };
        let side = images.side;
        let size = Size { width: side, height: side };
        let mut rgb = Vec::new();
        pictures::read_source(path, size, &self.recorded, &mut rgb)?;
        let held_out = Images { side, rgb };
        pictures::warn_of_trained(path, &images.rgb, &held_out.rgb, size);
        Ok(Some(held_out))
    }

    fn data_names(&self) -> String {
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.data.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn architecture(&self) -> Result<Architecture> {
        let base = Architecture::named("pixio-tiny16").context("no tiny architecture")?;
        let [dim, blocks, heads] = self.encoder;
        let size = Size { width: self.side, height: self.side };
        let (grid, _) = base.patches(size).map_err(|reason| anyhow!("--side: {reason}"))?;
        let architecture = Architecture { dim, blocks, heads, mlp_hidden: 4 * dim, grid, ..base };
        architecture.validate().map_err(|reason| anyhow!("--encoder: {reason}"))?;
        Ok(architecture)
    }

    fn learning(&self) -> Learning {
        let warm_up = (self.steps as f64 * self.warm_up) as u64;
        Learning {
            // Betas of the official trainer.
            optimiser: AdamW { beta2: 0.95, weight_decay: self.weight_decay, ..AdamW::default() },
            schedule: Schedule { peak: self.rate, warm_up, steps: self.steps, floor: 0.0 },
            longest_gradient: 3.0,
            threads: self.engine.threads,
        }
    }

    /// Everything that the result depends on.
    fn about(&self, plan: &Plan, images: &Images) -> String {
        let sum =
            images.rgb.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        format!(
            "pre-training {:?} {:?} {:?} {:?} from {}, {} images {sum:016x}",
            plan.architecture,
            plan.decoder,
            plan.showing,
            self.learning_words(),
            plan.from,
            images.count()
        )
    }

    fn learning_words(&self) -> (u64, f64, f64, f32) {
        (self.steps, self.rate, self.warm_up, self.weight_decay)
    }

    fn announce(&self, plan: &Plan, count: usize) -> String {
        let Showing { block, ratio, curate, .. } = plan.showing;
        let g = plan.architecture.grid;
        let seen = pretrain::seen_blocks(g, block, ratio) * block * block;
        let scaled = if g == 16 && block == 4 { "" } else { " (Pixio: 4x4 of 16x16; scaled to this size)" };
        format!(
            "{count} pictures, grid {g}x{g}, masks of {block}x{block} patches{scaled}, {:.0} % masked, {}",
            100.0 * (1.0 - seen as f64 / (g * g) as f64),
            if curate { "self-curated" } else { "every picture equally often" },
        )
    }

    /// Paints, and says what the loss is on pictures never trained on.
    fn finish(&self, plan: &Plan, learner: &Learner<MaskedImages>, held_out: Option<Images>) -> Result<()> {
        let side = learner.task.images().side;
        let colours = plan.colours();
        let shown = match held_out {
            None => learner.task.fixed(PAINTED),
            Some(images) => {
                let all = MaskedImages::new(images, &plan.architecture, colours, plan.showing)?;
                let (_, loss) = pretrain::paint(
                    learner.program(),
                    learner.parameters(),
                    &all.fixed(COMPARED),
                    &plan.architecture,
                    &colours,
                )?;
                println!("loss on held-out pictures: {loss:.4} (a grey patch: 1)");
                all.fixed(PAINTED)
            }
        };
        let (paintings, _) =
            pretrain::paint(learner.program(), learner.parameters(), &shown, &plan.architecture, &colours)?;
        paintings::write(&self.run.run.join("paintings.png"), &paintings, side)?;
        let written = "loss.json, loss.png, paintings.png, curation.json and curation.png";
        println!("{written} in {}", self.run.run.display());
        Ok(())
    }
}
