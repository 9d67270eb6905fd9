//! `pixio dataset recover`: what a crash left, as a recording that others read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use recording::bag::{Distro, IN_PROGRESS, recover_bag};
use recording::dataset::DatasetWriter;

use super::Kind;

/// Save what a crash left: a cut-off bag as a whole one, episodes of a dataset that were not committed
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Cut-off bags (`<name>.recording`, a folder or an .mcap file) and datasets
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
    /// Where the recovered bag goes [default: `<name>`, or `<name>_recovered` when that is taken]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The ROS distribution that is to read the bag: humble or jazzy
    #[arg(long, default_value = "jazzy", value_parser = distro)]
    distro: Distro,
    /// Remove a cut-off bag once it is recovered
    #[arg(long)]
    remove: bool,
}

pub(super) fn distro(name: &str) -> Result<Distro, String> {
    Distro::parse(name).ok_or_else(|| "expected humble or jazzy".to_owned())
}

/// Recovers each recording and says what was saved and what was lost.
///
/// # Errors
/// When there is nothing to recover, or the disk is full.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    for path in &arguments.recordings {
        match Kind::of(path)? {
            Kind::Bag => bag(path, arguments)?,
            Kind::Dataset => dataset(path)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `x.recording` becomes `x`; anything else, or when that is taken, `x_recovered`.
fn place_for(source: &Path) -> PathBuf {
    let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(finished) = name.strip_suffix(IN_PROGRESS) {
        let place = source.with_file_name(finished);
        if !place.exists() {
            return place;
        }
    }
    let stem = name.strip_suffix(IN_PROGRESS).or(name.strip_suffix(".mcap")).unwrap_or(&name);
    source.with_file_name(format!("{stem}_recovered"))
}

fn bag(source: &Path, arguments: &Arguments) -> Result<()> {
    let place = arguments.out.clone().unwrap_or_else(|| place_for(source));
    let recovery = recover_bag(source, &place, arguments.distro, BTreeMap::new())?;
    let seconds = recovery.metadata.duration_nanos as f64 * 1e-9;
    println!("{}: {} messages, {seconds:.3} s", place.display(), recovery.metadata.message_count);
    for (file, why) in &recovery.torn {
        println!("  {file} ends early: {why}");
    }
    if arguments.remove {
        let removed =
            if source.is_dir() { std::fs::remove_dir_all(source) } else { std::fs::remove_file(source) };
        removed.with_context(|| format!("removing {}", source.display()))?;
    }
    Ok(())
}

fn dataset(root: &Path) -> Result<()> {
    let mut writer = DatasetWriter::reopen(root)?;
    for file in writer.quarantined() {
        println!("{}: set aside in .rec/orphans: no committed episode has it", file.display());
    }
    let left_over = writer.left_over()?;
    for log in &left_over {
        if log.rows == 0 {
            println!("{}: no whole row in it", log.path.display());
            continue;
        }
        let committed = writer.recover(log)?;
        println!(
            "{}: episode {}, {} frames, task {:?}",
            root.display(),
            committed.episode,
            committed.frames,
            log.task
        );
    }
    if left_over.is_empty() && writer.quarantined().is_empty() {
        println!("{}: nothing to recover, {} episodes are committed", root.display(), writer.episodes());
    }
    Ok(())
}
