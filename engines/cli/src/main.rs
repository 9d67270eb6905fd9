//! `pixio`: import, inspect, export, build, verify, run and measure a Pixio model bundle; train it; calibrate cameras; look after recordings.

mod bench;
mod build;
mod calibrate;
mod camera_file;
mod dataset;
mod doctor;
mod engine;
mod export;
mod import;
mod infer;
mod info;
mod photographs;
mod pretrain;
mod progress;
mod train;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Pixio on the robot: checkpoints to bundles, bundles to depth.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Arguments),
    Info(info::Arguments),
    Export(export::Arguments),
    Build(build::Arguments),
    Verify(verify::Arguments),
    Infer(infer::Arguments),
    Bench(bench::Arguments),
    Calibrate(calibrate::Arguments),
    Doctor(doctor::Arguments),
    Dataset(dataset::Arguments),
    Pretrain(Box<pretrain::Arguments>),
    Train(Box<train::Arguments>),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Import(arguments) => import::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Infer(arguments) => infer::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Calibrate(arguments) => calibrate::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Dataset(arguments) => dataset::run(&arguments),
        Command::Pretrain(arguments) => pretrain::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) if progress::was_stopped() => {
            eprintln!("stopped: {error:#}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
