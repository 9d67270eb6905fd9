//! `pixio train`: heads on a frozen encoder; and what all training commands share.

pub mod bag;
pub mod curve;
mod dense;
pub mod drive;
mod evaluate;
mod folder;
mod head;
pub mod pictures;
mod points;
mod policy;
mod stream;

use std::process::ExitCode;

use anyhow::Result;

/// Train a head on the frozen encoder of a bundle
///
/// Features are computed once by the deployed engine and kept in the run's folder; then only the head learns. Interrupted at any
/// moment, the same command goes on to the same result.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Depth(dense::DepthArguments),
    Points(points::Arguments),
    Segmentation(dense::SegmentationArguments),
    Policy(policy::Arguments),
}

/// Runs the command.
///
/// # Errors
/// When data, bundle or run are refused.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Depth(arguments) => arguments.run(),
        Command::Points(arguments) => arguments.run(),
        Command::Segmentation(arguments) => arguments.run(),
        Command::Policy(arguments) => policy::run(arguments),
    }
}
