//! `pixio dataset check`: every rule of either format.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use recording::Report;
use recording::bag::{BagReader, check_bag};
use recording::dataset::{DatasetReader, check_dataset};

use super::Kind;
use crate::progress;

/// Check recordings against every rule of their format; exit code 1 when one is broken
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bags (folder or .mcap file) and datasets
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
    /// Fail on remarks too
    #[arg(long)]
    strict: bool,
}

/// Checks each recording and prints what is found.
///
/// # Errors
/// When a path is no recording; broken rules are exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut passed = true;
    for path in &arguments.recordings {
        let report = match check(path, Kind::of(path)?) {
            Ok(report) => report,
            Err(error) => {
                println!("{}: BROKEN: {error:#}", path.display());
                passed = false;
                continue;
            }
        };
        for finding in &report.findings {
            let word = if finding.broken { "BROKEN" } else { "remark" };
            println!("{}: {word}: {}: {}", path.display(), finding.place, finding.problem);
        }
        let verdict = if report.is_sound() { "sound" } else { "BROKEN" };
        println!("{}: {verdict}, {} episodes, {} items", path.display(), report.episodes, report.items);
        passed &= report.is_sound() && (!arguments.strict || report.findings.is_empty());
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn check(path: &Path, kind: Kind) -> Result<Report> {
    let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match kind {
        Kind::Bag => {
            let total = BagReader::open(path)?.message_count().unwrap_or(0);
            let bar = progress::items(total, &what);
            let report = check_bag(path, |done| bar.set_position(done))?;
            bar.finish_and_clear();
            Ok(report)
        }
        Kind::Dataset => {
            let bar = progress::items(DatasetReader::open(path)?.info().total_episodes, &what);
            let report = check_dataset(path, |done| bar.set_position(done))?;
            bar.finish_and_clear();
            Ok(report)
        }
    }
}
