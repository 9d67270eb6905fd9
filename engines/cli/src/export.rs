//! `pixio export`: the ONNX files of a bundle.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use calibration::Size;
use network::{Bundle, Network};

use crate::progress;

/// Write the ONNX files of a bundle: backbone and every head, per input size
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// Folder to write to; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only this input size [default: all of the bundle's; any whose sides divide by the patch]
    #[arg(long, value_name = "WxH")]
    size: Vec<Size>,
}

/// Writes `<network>_<width>x<height>.onnx` for each network and size.
///
/// # Errors
/// When the bundle is refused or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bundle = Bundle::open(&arguments.bundle)?;
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let manifest = bundle.manifest();
    let sizes = if arguments.size.is_empty() { &manifest.sizes } else { &arguments.size };
    let bar = progress::items((sizes.len() * (1 + manifest.heads.len())) as u64, "writing ONNX");
    let mut written = Vec::new();
    for size in sizes {
        let mut networks: Vec<Network> = vec![bundle.backbone(*size)?];
        for name in manifest.heads.keys() {
            networks.push(bundle.head(name, *size)?);
        }
        for network in networks {
            let path = arguments.out.join(format!("{}_{size}.onnx", network.name()));
            written.extend(network::onnx::write(&network, &path, network::onnx::MAX_EMBEDDED_BYTES)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    written.iter().for_each(|path| println!("{}", path.display()));
    Ok(ExitCode::SUCCESS)
}
