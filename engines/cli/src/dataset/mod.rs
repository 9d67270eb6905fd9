//! `pixio dataset`: check, convert, recover, describe and draw recordings, bags and LeRobot datasets alike.

pub(crate) mod canvas;
mod check;
mod convert;
mod info;
mod plot;
mod recover;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

/// Check, convert, recover, describe and draw recordings: MCAP bags and LeRobot datasets
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Arguments),
    Convert(convert::Arguments),
    Recover(recover::Arguments),
    Info(info::Arguments),
    Plot(plot::Arguments),
}

/// Runs the command.
///
/// # Errors
/// When the recording is refused.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Check(arguments) => check::run(arguments),
        Command::Convert(arguments) => convert::run(arguments),
        Command::Recover(arguments) => recover::run(arguments),
        Command::Info(arguments) => info::run(arguments),
        Command::Plot(arguments) => plot::run(arguments),
    }
}

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bag,
    Dataset,
}

impl Kind {
    /// Decides by what is there, not by names.
    fn of(path: &Path) -> Result<Self> {
        if path.join("meta").is_dir() || path.join(".rec").is_dir() {
            return Ok(Self::Dataset);
        }
        if path.is_file() {
            return Ok(Self::Bag);
        }
        let entries = path.read_dir().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let is_mcap = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|e| e == "mcap");
        if path.join("metadata.yaml").is_file() || entries.flatten().any(is_mcap) {
            return Ok(Self::Bag);
        }
        bail!(
            "{}: expected a bag (an .mcap file, or a folder with one) or a dataset (meta/), found neither",
            path.display()
        );
    }
}
