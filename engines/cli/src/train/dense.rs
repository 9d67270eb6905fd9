//! `pixio train depth` and `pixio train segmentation`: heads with an output per pixel.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use calibration::Size;
use image::DynamicImage;
use network::manifest::{DepthMeaning, HeadScale};
use network::modules::Grid;
use network::{Bundle, HeadKind, HeadSpec, Meaning};
use onnx::OnnxRuntime;
use serde_json::json;
use training::dense::{Dense, Drawing, Target};
use training::metrics::DepthMetrics;
use training::optimiser::{AdamW, Schedule};
use training::{Learner, Learning};

use super::drive::{RunArguments, RunFolder, check_rate};
use super::folder::{self, Pairs};
use super::{bag, evaluate, head, pictures};
use crate::engine::ReferenceArguments;
use crate::info;

/// What both commands share.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// Folder with rgb/NAME.png and beside it depth/NAME.png (16 bit, mm, 0 unknown) or label/NAME.png (8 bit, 255 no class); of depth also a
    /// recording: an MCAP file, a bag's folder, or a folder of bags
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// The same, never trained on: what the evaluation is on
    #[arg(long, value_name = "PATH")]
    pub held_out: Vec<PathBuf>,
    /// Form of the head
    #[arg(long, value_enum, default_value_t = Form::Dpt)]
    form: Form,
    /// Channels of a DPT head's fused maps [default: 32; official: 256]
    #[arg(long)]
    features: Option<usize>,
    /// Channels of a DPT head's four projected taps [default: 32,64,96,96; official: 256,512,1024,1024]
    #[arg(long, value_delimiter = ',')]
    out_channels: Vec<usize>,
    /// Steps
    #[arg(long, default_value_t = 5000)]
    steps: u64,
    /// Pictures of a step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Highest learning rate [official: 1e-4 for DPT, 2e-4 for linear, for batches of 16 on large encoders]
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    #[command(flatten)]
    pub head: head::HeadArguments,
    #[command(flatten)]
    pub run: RunArguments,
    #[command(flatten)]
    pub engine: ReferenceArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Linear,
    Dpt,
}

/// Train a depth head: scale-invariant log loss, evaluated as the official code does
#[derive(Debug, clap::Args)]
pub struct DepthArguments {
    /// Name of the head
    #[arg(long, default_value = "depth")]
    name: String,
    /// Depth of a saturated output, metres
    #[arg(long, default_value_t = 10.0)]
    max_depth: f32,
    #[command(flatten)]
    recording: bag::PairArguments,
    #[command(flatten)]
    common: Common,
}

/// Train a segmentation head: cross-entropy, evaluated by the mean intersection over union
#[derive(Debug, clap::Args)]
pub struct SegmentationArguments {
    /// Name of the head
    #[arg(long, default_value = "segmentation")]
    name: String,
    /// JSON list of the classes' names [default: labels.json in the data's folder]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Pictures that are computed together on a thread.
const PART: usize = 4;
/// Channels of a DPT head's fused maps, unless others are asked for.
const FEATURES: usize = 32;
/// Channels of its projected taps.
const OUT_CHANNELS: [usize; 4] = [32, 64, 96, 96];
/// The smallest depth that the official evaluation counts, metres.
pub(super) const MIN_DEPTH_METERS: f32 = 0.001;

impl Common {
    /// The head's form.
    ///
    /// # Errors
    /// When a DPT head's channels are not four, or a linear head is given some.
    pub fn kind(&self, linear: HeadKind, dpt: impl Fn(usize, [usize; 4]) -> HeadKind) -> Result<HeadKind> {
        if self.form == Form::Linear {
            let given = self.features.is_some() || !self.out_channels.is_empty();
            ensure!(!given, "--features, --out-channels: expected --form dpt, a linear head has no channels");
            return Ok(linear);
        }
        let asked = match self.out_channels.as_slice() {
            [] => OUT_CHANNELS.as_slice(),
            asked => asked,
        };
        let channels = <[usize; 4]>::try_from(asked).ok().context("--out-channels: expected four numbers")?;
        Ok(dpt(self.features.unwrap_or(FEATURES), channels))
    }

    /// Trains the head and writes the bundle with it.
    ///
    /// # Errors
    /// When data, bundle or run are refused.
    pub fn train(
        &self,
        folder: &RunFolder,
        engine: &mut OnnxRuntime,
        bundle: &Bundle,
        (name, spec): (&str, &HeadSpec),
        rgb: &[u8],
        target: Target,
    ) -> Result<Bundle> {
        let size = self.size(bundle);
        let grid = Grid::new(&bundle.manifest().architecture, size)?;
        let (program, parameters) = head::program(bundle, name, spec, grid, self.run.seed)?;
        let features = head::features(engine, bundle, (&spec.taps, false), size, rgb, folder.path())?;
        let about = format!(
            "{name} {spec:?} on {:?}, {:?}, seed {}{}",
            features.of(),
            (self.steps, self.batch, self.rate),
            self.run.seed,
            target_words(&target)
        );
        let part = if program.couples_samples() { self.batch } else { PART };
        let drawing = Drawing { batch: self.batch, part, seed: self.run.seed };
        let task = Dense::new(features, target, size.area(), drawing)?;
        let learning = Learning {
            optimiser: AdamW::default(),
            schedule: Schedule { peak: self.rate, warm_up: self.steps / 20, steps: self.steps, floor: 0.01 },
            longest_gradient: 5.0,
            threads: self.engine.threads,
        };
        let mut learner = Learner::new(program, parameters, learning, about, task);
        self.run.drive(folder, &mut learner, name)?;
        self.head.write(engine, bundle, (name, spec), learner.parameters())
    }

    /// Size of the network's input.
    pub fn size(&self, bundle: &Bundle) -> Size {
        bundle.manifest().sizes[0]
    }

    /// Reads a folder of pictures with maps.
    ///
    /// # Errors
    /// The file that is refused.
    pub fn read<T: Copy>(
        &self,
        root: &Path,
        maps: &str,
        bundle: &Bundle,
        decode: impl Fn(DynamicImage) -> Result<(Size, Vec<T>)>,
    ) -> Result<Pairs<T>> {
        folder::read(root, maps, self.size(bundle), decode)
    }

    /// What is trained on, and what the evaluation is on.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.data).chain(&self.held_out).map(PathBuf::as_path)
    }

    /// Reads what the evaluation is on, before anything is trained, so that what is wrong with it is said at once.
    ///
    /// # Errors
    /// What `read` refuses.
    pub fn read_held_out<T>(&self, read: impl Fn(&Path) -> Result<T>) -> Result<Vec<(&Path, T)>> {
        self.held_out.iter().map(|root| read(root).map(|came| (root.as_path(), came))).collect()
    }

    /// Checks the numbers that were typed.
    ///
    /// # Errors
    /// What was expected.
    pub fn check(&self) -> Result<()> {
        ensure!(self.batch > 0 && self.steps > 0, "expected a batch and steps of at least 1");
        check_rate(self.rate)
    }
}

/// What a head learns from beside the pictures: depth, cameras and settings of the loss, or labels. A run whose maps were mended
/// meanwhile is another run.
fn target_words(target: &Target) -> String {
    let mixed = |sum: u64, word: u64| sum.wrapping_mul(31).wrapping_add(word);
    let of_depth = |maps: &[u16]| maps.iter().fold(0, |sum, mm| mixed(sum, u64::from(*mm)));
    match target {
        Target::Depth { millimeters, .. } => format!(", depth {:016x}", of_depth(millimeters)),
        Target::Points { millimeters, cameras, loss, .. } => {
            let numbers = cameras.iter().flat_map(|camera| [camera.fx, camera.fy, camera.cx, camera.cy]);
            let pinholes = numbers.fold(0, |sum, number| mixed(sum, number.to_bits()));
            format!(", {loss:?}, depth {:016x}, cameras {pinholes:016x}", of_depth(millimeters))
        }
        Target::Labels { labels } => {
            let sum = labels.iter().fold(0, |sum, label| mixed(sum, u64::from(*label)));
            format!(", labels {sum:016x}")
        }
    }
}

impl DepthArguments {
    /// Trains, writes the bundle, and evaluates it on held-out pictures beside predictors that see nothing.
    ///
    /// # Errors
    /// When data, bundle or run are refused.
    pub fn run(&self) -> Result<ExitCode> {
        let common = &self.common;
        common.check()?;
        self.recording.check(None, common.sources())?;
        let bundle = common.head.open()?;
        let mut engine = common.engine.start()?;
        let kind = common.kind(HeadKind::LinearDepth {}, |features, out_channels| HeadKind::DptDepth {
            features,
            out_channels,
        })?;
        let range = DepthMeaning {
            min_depth_meters: MIN_DEPTH_METERS,
            max_depth_meters: self.max_depth,
            scale: HeadScale::Metric,
        };
        let spec = HeadSpec {
            taps: kind.official_taps(bundle.manifest().architecture.blocks),
            kind,
            meaning: Meaning::Depth(range),
        };
        head::check(&bundle, &self.name, &spec)?;
        let valid = (MIN_DEPTH_METERS, self.max_depth);
        let read = |root: &Path| -> Result<Pairs<u16>> {
            let pairs = match self.recording.read(root, common.size(&bundle), None)? {
                Some(recorded) => recorded.pairs,
                None => common.read(root, "depth", &bundle, folder::millimeters)?,
            };
            let maps = evaluate::counted(&pairs.maps, valid).with_context(|| root.display().to_string())?;
            Ok(Pairs { maps, ..pairs })
        };
        let pairs = read(&common.data)?;
        let held_out = common.read_held_out(read)?;
        let target = Target::Depth { millimeters: pairs.maps.clone(), range: valid };
        let folder = common.run.begin()?;
        let trained = common.train(&folder, &mut engine, &bundle, (&self.name, &spec), &pairs.rgb, target)?;
        info::print(&trained);
        let mut found = serde_json::Map::new();
        for (root, truth) in &held_out {
            let rows = self.evaluate(&mut engine, &trained, &pairs, truth, valid)?;
            println!("\n{} ({} pictures)", root.display(), truth.count);
            pictures::warn_of_trained(root, &pairs.rgb, &truth.rgb, common.size(&bundle));
            print_depth(&rows);
            let named: serde_json::Map<_, _> =
                rows.iter().map(|(name, row)| (name.clone(), json!(row))).collect();
            found.insert(root.display().to_string(), named.into());
        }
        folder.keep(&found.into())?;
        Ok(ExitCode::SUCCESS)
    }

    fn evaluate(
        &self,
        engine: &mut OnnxRuntime,
        trained: &Bundle,
        training: &Pairs<u16>,
        truth: &Pairs<u16>,
        range: (f32, f32),
    ) -> Result<Vec<(String, DepthMetrics)>> {
        let size = self.common.size(trained);
        let pixels = size.area();
        let outputs = evaluate::outputs(engine, trained, &self.name, size, &truth.rgb)?;
        let (constant, medians) = evaluate::blind(&training.maps, pixels);
        let constant = vec![constant; pixels];
        let same =
            |map: &'_ [f32]| evaluate::depth(std::iter::repeat_n(map, truth.count), truth, pixels, range);
        let rows = [
            (self.name.clone(), evaluate::depth(outputs.iter().map(Vec::as_slice), truth, pixels, range)),
            ("constant median".to_owned(), same(&constant)),
            ("per-pixel median".to_owned(), same(&medians)),
        ];
        let known = |(name, row): (String, Option<DepthMetrics>)| {
            row.map(|row| (name, row)).context("expected held-out pictures with depth in the head's range")
        };
        rows.into_iter().map(known).collect()
    }
}

fn print_depth(rows: &[(String, DepthMetrics)]) {
    println!(
        "{:20} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
        "", "AbsRel", "delta1", "delta2", "delta3", "RMSE m", "log10", "SiLog"
    );
    for (name, m) in rows {
        let numbers = [m.abs_rel, m.delta1, m.delta2, m.delta3, m.rmse, m.log10, m.silog];
        println!("{name:20} {}", numbers.map(|n| format!("{n:7.4}")).join(" "));
    }
}

impl SegmentationArguments {
    /// Trains, writes the bundle, and evaluates it on held-out pictures.
    ///
    /// # Errors
    /// When data, bundle or run are refused.
    pub fn run(&self) -> Result<ExitCode> {
        let common = &self.common;
        common.check()?;
        let bundle = common.head.open()?;
        let mut engine = common.engine.start()?;
        let names = self.names()?;
        let kind = common.kind(HeadKind::LinearSegmentation {}, |features, out_channels| {
            HeadKind::DptSegmentation { features, out_channels }
        })?;
        let spec = HeadSpec {
            taps: kind.official_taps(bundle.manifest().architecture.blocks),
            kind,
            meaning: Meaning::Labels(names.clone()),
        };
        head::check(&bundle, &self.name, &spec)?;
        let read = |root: &Path| -> Result<Pairs<u8>> {
            let pairs =
                common.read(root, "label", &bundle, |picture| folder::labels(picture, names.len()))?;
            let any = pairs.maps.iter().any(|label| usize::from(*label) < names.len());
            ensure!(any, "{}: expected classes, every pixel is 255 (none)", root.join("label").display());
            Ok(pairs)
        };
        let pairs = read(&common.data)?;
        let held_out = common.read_held_out(read)?;
        let target = Target::Labels { labels: pairs.maps.clone() };
        let folder = common.run.begin()?;
        let trained = common.train(&folder, &mut engine, &bundle, (&self.name, &spec), &pairs.rgb, target)?;
        info::print(&trained);
        let mut found = serde_json::Map::new();
        for (root, truth) in &held_out {
            let size = common.size(&bundle);
            pictures::warn_of_trained(root, &pairs.rgb, &truth.rgb, size);
            let logits = evaluate::outputs(&mut engine, &trained, &self.name, size, &truth.rgb)?;
            let shares = evaluate::intersections(&logits, &truth.maps, size.area(), names.len());
            let mean = shares.iter().map(|(_, share)| share).sum::<f64>() / shares.len().max(1) as f64;
            println!(
                "\n{} ({} pictures): mIoU {mean:.4} over {} classes",
                root.display(),
                truth.count,
                shares.len()
            );
            shares.iter().for_each(|(class, share)| println!("  {:24} {share:.4}", names[*class]));
            let by_name: serde_json::Map<_, _> =
                shares.iter().map(|(class, share)| (names[*class].clone(), json!(share))).collect();
            found.insert(root.display().to_string(), json!({ "mIoU": mean, "IoU": by_name }));
        }
        folder.keep(&found.into())?;
        Ok(ExitCode::SUCCESS)
    }

    fn names(&self) -> Result<Vec<String>> {
        let path = self.labels.clone().unwrap_or_else(|| self.common.data.join("labels.json"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text)
            .with_context(|| format!("{}: expected a JSON list of names", path.display()))
    }
}
