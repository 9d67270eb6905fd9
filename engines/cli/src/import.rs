//! `pixio import`: checkpoints to a bundle.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use calibration::Size;
use network::bundle::{HeadSource, ImportRequest, Model, random_model};
use network::manifest::{Memory, Pooling};
use network::{Architecture, Bundle, HeadKind};
use perception::parity::{self, Photograph};

use crate::engine::ReferenceArguments;
use crate::{info, photographs, progress};

/// Turn checkpoints into a bundle: Meta's .pth, Hugging Face safetensors, heads of the official trainer
///
/// The bundle gets golden outputs, computed in float32 by the reference engine, against which every engine is checked
/// later. A .pth is read without executing its pickle.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Backbone: a .pth, .safetensors or index file, or a Hugging Face folder
    #[arg(required_unless_present = "random_weights")]
    checkpoint: Option<PathBuf>,
    /// Folder to write the bundle to
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
    /// Depth or segmentation head of the official trainer, as NAME=FILE or NAME=FILE:MAX_DEPTH in metres
    /// [default maximum: 10, as for NYUv2; KITTI has 80]. With random weights NAME=FORM: linear, dpt, linear-points, dpt-points,
    /// linear-segmentation, dpt-segmentation, mlp-policy or chunk-policy
    #[arg(long = "head", value_name = "NAME=FILE[:MAX_DEPTH]", value_parser = parse_head)]
    heads: Vec<HeadArgument>,
    /// Names of a segmentation head's classes, as NAME=FILE with one name a line [default: class_0, class_1, ...]
    #[arg(long = "labels", value_name = "NAME=FILE", value_parser = parse_labels)]
    labels: Vec<LabelArgument>,
    /// Input size of the network, sides divisible by the patch; the first is the default
    #[arg(long = "size", value_name = "WxH", default_values = ["256x256", "384x256"])]
    sizes: Vec<Size>,
    /// Deliver the tokens after these blocks too, counted from 0
    #[arg(long = "tap", value_name = "BLOCK")]
    taps: Vec<usize>,
    /// Attention heads of the encoder, where the checkpoint is no published model and does not say
    #[arg(long, value_name = "COUNT")]
    attention_heads: Option<usize>,
    /// Name of the model, for people [default: the checkpoint's file name]
    #[arg(long)]
    name: Option<String>,
    /// Licence of the weights, kept with them
    #[arg(long, default_value = "FAIR Noncommercial Research License (Meta's published Pixio weights)")]
    licence: String,
    /// Photographs for the golden outputs [default: three that come with the tool]
    #[arg(long = "photo", value_name = "FILE")]
    photographs: Vec<PathBuf>,
    /// Replace a bundle that is there
    #[arg(long)]
    force: bool,
    /// Make random weights from this seed instead of reading a checkpoint: real shapes and speed, meaningless depth
    #[arg(long, value_name = "SEED", conflicts_with_all = ["checkpoint", "taps"], requires = "architecture")]
    random_weights: Option<u64>,
    /// Architecture of random weights: pixio-tiny16, pixio-b16, pixio-l16, ...
    #[arg(long, value_name = "NAME", requires = "random_weights")]
    architecture: Option<String>,
    #[command(flatten)]
    engine: ReferenceArguments,
}

#[derive(Clone, Debug)]
struct HeadArgument {
    name: String,
    file: String,
    max_depth_meters: f32,
}

#[derive(Clone, Debug)]
struct LabelArgument {
    head: String,
    labels: Vec<String>,
}

fn parse_labels(text: &str) -> Result<LabelArgument, String> {
    let (head, file) = text.split_once('=').ok_or("expected NAME=FILE")?;
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let labels = text.lines().map(|line| line.trim().to_owned()).collect();
    Ok(LabelArgument { head: head.to_owned(), labels })
}

/// Maximum depth of the official NYUv2 heads, metres.
const DEFAULT_MAX_DEPTH_METERS: f32 = 10.0;

fn parse_head(text: &str) -> Result<HeadArgument, String> {
    let (name, rest) = text.split_once('=').ok_or("expected NAME=FILE or NAME=FILE:MAX_DEPTH")?;
    let (file, max_depth_meters) = match rest.rsplit_once(':').map(|(file, depth)| (file, depth.parse())) {
        Some((file, Ok(depth))) => (file, depth),
        _ => (rest, DEFAULT_MAX_DEPTH_METERS),
    };
    Ok(HeadArgument { name: name.to_owned(), file: file.to_owned(), max_depth_meters })
}

/// Imports, computes golden outputs, and says what came of it.
///
/// # Errors
/// When a checkpoint is refused, the engine does not start, or the bundle cannot be written; nothing is left behind then.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut engine = arguments.engine.start()?;
    let photographs = arguments.photographs()?;
    let model = arguments.model()?;
    let bar = progress::bytes(model.byte_len(), "writing weights");
    let bundle = model.write_with(
        &arguments.out,
        arguments.force,
        |bytes| bar.inc(bytes),
        |bundle: &Bundle| -> Result<()> {
            bar.finish_and_clear();
            let count = photographs.len() * bundle.manifest().sizes.len();
            let bar = progress::items(count as u64, "golden outputs");
            let golden = parity::make_golden(&mut engine, bundle, &photographs, || bar.inc(1))?;
            bar.finish_and_clear();
            Ok(bundle.write_golden(&golden)?)
        },
    )?;
    info::print(&bundle);
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn photographs(&self) -> Result<Vec<Photograph>> {
        if self.photographs.is_empty() {
            return photographs::built_in();
        }
        self.photographs.iter().map(|path| photographs::read(path)).collect()
    }

    fn model(&self) -> Result<Model, anyhow::Error> {
        match (&self.checkpoint, self.random_weights) {
            (_, Some(seed)) => self.random(seed),
            (Some(checkpoint), None) => Ok(network::bundle::import(&self.request(checkpoint.clone())?)?),
            (None, None) => bail!("expected a checkpoint"),
        }
    }

    fn request(&self, backbone: PathBuf) -> Result<ImportRequest> {
        let is_head = |argument: &&LabelArgument| self.heads.iter().any(|head| head.name == argument.head);
        if let Some(stray) = self.labels.iter().find(|argument| !is_head(argument)) {
            let known: Vec<_> = self.heads.iter().map(|head| head.name.as_str()).collect();
            bail!("--labels {}: expected one of the heads {}", stray.head, known.join(", "));
        }
        let labels = |name: &str| self.labels.iter().find(|argument| argument.head == name);
        let stem = backbone.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let source = |head: &HeadArgument| HeadSource {
            name: head.name.clone(),
            path: PathBuf::from(&head.file),
            max_depth_meters: head.max_depth_meters,
            labels: labels(&head.name).map(|argument| argument.labels.clone()),
        };
        Ok(ImportRequest {
            backbone,
            attention_heads: self.attention_heads,
            heads: self.heads.iter().map(source).collect(),
            taps: self.taps.clone(),
            sizes: self.sizes.clone(),
            name: self.name.clone().unwrap_or(stem),
            licence: self.licence.clone(),
        })
    }

    /// A random model; its heads are named by their form, as in `--head depth=linear`.
    fn random(&self, seed: u64) -> Result<Model> {
        let name = self.architecture.as_deref().unwrap_or_default();
        let architecture = Architecture::named(name).with_context(|| {
            let known: Vec<_> = Architecture::names().collect();
            format!("--architecture: expected one of {}, got {name:?}", known.join(" "))
        })?;
        let form = |head: &HeadArgument| {
            let kind = random_form(&head.file).with_context(|| {
                let known: Vec<_> = random_forms().map(|(name, _)| name).into();
                format!("--head {}: expected one of {}, got {:?}", head.name, known.join(" "), head.file)
            })?;
            Ok((head.name.clone(), kind))
        };
        let heads = self.heads.iter().map(form).collect::<Result<Vec<_>>>()?;
        let mut model = random_model(architecture, &heads, &self.sizes, seed)?;
        model.manifest.name = self.name.clone().unwrap_or_else(|| format!("{name} with random weights"));
        Ok(model)
    }
}

/// The forms of heads with random weights, by name.
fn random_forms() -> [(&'static str, HeadKind); 8] {
    let (features, out_channels) = (256, [256, 512, 1024, 1024]);
    let mlp = HeadKind::MlpPolicy { pooling: Pooling::Mean, history: 3, hidden: vec![256; 3] };
    let chunk =
        HeadKind::ChunkPolicy { reads: Memory::Class, width: 256, layers: 2, heads: 8, mlp_hidden: 1024 };
    [
        ("linear", HeadKind::LinearDepth {}),
        ("dpt", HeadKind::DptDepth { features, out_channels }),
        ("linear-points", HeadKind::LinearPoints {}),
        ("dpt-points", HeadKind::DptPoints { features, out_channels }),
        ("linear-segmentation", HeadKind::LinearSegmentation {}),
        ("dpt-segmentation", HeadKind::DptSegmentation { features, out_channels }),
        ("mlp-policy", mlp),
        ("chunk-policy", chunk),
    ]
}

fn random_form(name: &str) -> Option<HeadKind> {
    random_forms().into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_name_file_and_perhaps_maximum() {
        let cases = [
            ("depth=linear.pth", "depth", "linear.pth", 10.0),
            ("kitti=a/b.pth:80", "kitti", "a/b.pth", 80.0),
            ("odd=C:x.pth", "odd", "C:x.pth", 10.0),
        ];
        for (text, name, file, depth) in cases {
            let head = parse_head(text).unwrap();
            assert_eq!((head.name.as_str(), head.file.as_str(), head.max_depth_meters), (name, file, depth));
        }
        assert!(parse_head("linear.pth").is_err());
    }
}
