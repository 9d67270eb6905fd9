//! `pixio calibrate`: what is to be known about a camera, measured.

mod boards;
mod depth;
mod hand_eye;
mod intrinsics;
mod live;

use std::process::ExitCode;

use anyhow::Result;

/// Measure a camera: its lens from pictures of a board, its mount from robot poses, the scale of its depth
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Intrinsics(intrinsics::Arguments),
    HandEye(hand_eye::Arguments),
    Depth(depth::Arguments),
}

/// Runs what was asked for.
///
/// # Errors
/// When files are refused or the measurements do not determine the answer.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Intrinsics(arguments) => intrinsics::run(arguments),
        Command::HandEye(arguments) => hand_eye::run(arguments),
        Command::Depth(arguments) => depth::run(arguments),
    }
}
