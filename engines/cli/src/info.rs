//! `pixio info`: what a bundle is.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use network::manifest::HeadScale;
use network::{Bundle, HeadKind};

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
        let form = match &head.kind {
            HeadKind::LinearDepth {} => "linear".to_owned(),
            HeadKind::DptDepth { features, .. } => format!("DPT, {features} features"),
        };
        let (low, high) = (head.min_depth_meters, head.max_depth_meters);
        let unit = match head.scale {
            HeadScale::Metric => "m".to_owned(),
            HeadScale::FocalNormalised { focal_pixels } => {
                format!("m at a focal length of {focal_pixels} pixels")
            }
            HeadScale::Relative => "without scale".to_owned(),
        };
        println!("head       {name}: depth, {form}, {low} to {high} {unit}, reads blocks {:?}", head.taps);
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
