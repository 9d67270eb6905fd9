//! `pixio verify`: an engine against a bundle's golden outputs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use calibration::Size;
use network::Bundle;
use perception::{Engine, parity};

use crate::engine::{EngineArguments, tell_notices};

/// Check an engine against a bundle's golden outputs: error per output; exit code 1 when out of tolerance
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// Only this input size [default: all of the bundle's]
    #[arg(long, value_name = "WxH")]
    size: Vec<Size>,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Verifies the weights' hash and every golden output.
///
/// # Errors
/// When the bundle is refused or the engine does not run; numbers out of tolerance are exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bundle = Bundle::open(&arguments.bundle)?;
    bundle.verify_weights()?;
    let mut engine = arguments.engine.start(&bundle)?;
    let sizes = if arguments.size.is_empty() { &bundle.manifest().sizes } else { &arguments.size };
    let report = parity::check(&mut engine, &bundle, sizes)?;
    tell_notices(&mut engine);
    let identity = engine.identity();
    println!("{} {} on {}, {}", identity.flavour, identity.version, identity.device, identity.precision);
    println!("{report}");
    println!("{}", if report.passed() { "passed" } else { "FAILED" });
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
