//! `pixio info`: what a bundle is.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use network::manifest::HeadScale;
use network::{Bundle, HeadKind, HeadSpec, Meaning};

/// Say what a bundle is: architecture, sizes, heads and their units, licence, hashes
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// Print the manifest and the bundle's hash as JSON instead
    #[arg(long)]
    json: bool,
}

/// Prints what the bundle is.
///
/// # Errors
/// When the bundle is refused.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bundle = Bundle::open(&arguments.bundle)?;
    if arguments.json {
        let json = serde_json::json!({ "hash": bundle.hash(), "manifest": bundle.manifest() });
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        print(&bundle);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a bundle for people.
pub fn print(bundle: &Bundle) {
    let manifest = bundle.manifest();
    let a = &manifest.architecture;
    let parameters: usize =
        bundle.weights().tensors().values().map(|tensor| tensor.shape().iter().product::<usize>()).sum();
    println!("bundle     {}", bundle.folder().display());
    println!("name       {}", manifest.name);
    println!("origin     {}", manifest.origin);
    println!("licence    {}", manifest.licence);
    println!(
        "encoder    {} wide, {} blocks, {} attention heads, {} class tokens, patch {}, {:.1} M parameters with heads",
        a.dim,
        a.blocks,
        a.heads,
        a.class_tokens,
        a.patch,
        parameters as f64 / 1e6
    );
    let sizes: Vec<_> = manifest.sizes.iter().map(ToString::to_string).collect();
    println!("sizes      {} pixels", sizes.join(", "));
    println!("taps       after blocks {:?} (from 0)", manifest.taps);
    for (name, head) in &manifest.heads {
        let (form, means) = (form(&head.kind), means(head));
        println!("head       {name}: {}, {form}, {means}, reads blocks {:?}", head.task(), head.taps);
    }
    for (camera, section) in &manifest.cameras {
        for (head, measured) in &section.depth {
            let (scale, shift, percent) = (measured.scale, measured.shift_meters, 100.0 * measured.residual);
            let reference = &measured.reference;
            println!(
                "camera     {camera}: {head} times {scale:.4} plus {shift:.4} m, known to {percent:.1} % by {reference}"
            );
        }
    }
    println!("encoder id {}", manifest.encoder_id);
    println!("weights    sha256 {}", manifest.weights_sha256);
    println!("hash       {}", bundle.hash());
}

/// A head's form for people.
fn form(kind: &HeadKind) -> String {
    match kind {
        HeadKind::LinearDepth {} | HeadKind::LinearPoints {} | HeadKind::LinearSegmentation {} => {
            "linear".to_owned()
        }
        HeadKind::DptDepth { features, .. }
        | HeadKind::DptPoints { features, .. }
        | HeadKind::DptSegmentation { features, .. } => format!("DPT, {features} features"),
        HeadKind::MlpPolicy { history, hidden, .. } => format!("MLP {hidden:?} on {history} images"),
        HeadKind::ChunkPolicy { width, layers, .. } => {
            format!("transformer decoder, {layers} layers of {width}")
        }
    }
}

/// What a head's numbers mean, for people.
fn means(head: &HeadSpec) -> String {
    match &head.meaning {
        Meaning::Depth(depth) => {
            let unit = match depth.scale {
                HeadScale::Metric => "m".to_owned(),
                HeadScale::FocalNormalised { focal_pixels } => {
                    format!("m at a focal length of {focal_pixels} pixels")
                }
                HeadScale::Relative => "without scale".to_owned(),
            };
            format!("{} to {} {unit}", depth.min_depth_meters, depth.max_depth_meters)
        }
        Meaning::Labels(labels) => {
            let some: Vec<_> = labels.iter().take(6).map(String::as_str).collect();
            let more = if labels.len() > some.len() { ", ..." } else { "" };
            format!("{} classes ({}{more})", labels.len(), some.join(", "))
        }
        Meaning::Policy(policy) => {
            let names: Vec<_> = policy.actions.iter().map(|channel| channel.name.as_str()).collect();
            let (steps, period, state) = (policy.steps, policy.period_secs, policy.state.len());
            format!(
                "{steps} x {:?} of {} every {period} s, from {state} numbers of state",
                policy.space,
                names.join(" ")
            )
        }
    }
}
