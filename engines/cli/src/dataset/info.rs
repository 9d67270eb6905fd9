//! `pixio dataset info`: what a recording holds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use recording::bag::BagReader;
use recording::dataset::DatasetReader;

use super::Kind;

/// Say what recordings hold: topics, rates and provenance, or features, episodes and tasks
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bags (folder or .mcap file) and datasets
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
}

/// Prints what each recording holds.
///
/// # Errors
/// When a recording is refused.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    for path in &arguments.recordings {
        match Kind::of(path)? {
            Kind::Bag => bag(path)?,
            Kind::Dataset => dataset(path)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bag(path: &Path) -> Result<()> {
    let bag = BagReader::open(path)?;
    let count = bag.message_count().map_or("unknown number of".to_owned(), |count| count.to_string());
    println!("{}: bag, {count} messages, {} topics", path.display(), bag.topics().len());
    let Some(metadata) = bag.metadata() else {
        bag.topics().iter().for_each(|topic| println!("  {:32} {}", topic.name, topic.type_name));
        return Ok(());
    };
    let seconds = metadata.duration_nanos as f64 * 1e-9;
    println!(
        "  {seconds:.3} s from {} ns, for {} (version {})",
        metadata.start_nanos, metadata.ros_distro, metadata.version
    );
    println!("  {:32} {:32} {:>8} {:>9}", "topic", "type", "messages", "Hz");
    for topic in &metadata.topics {
        let rate = topic.message_count.saturating_sub(1) as f64 / seconds.max(1e-9);
        println!("  {:32} {:32} {:>8} {rate:>9.2}", topic.name, topic.type_name, topic.message_count);
    }
    for (key, value) in &metadata.custom_data {
        let first = value.lines().next().unwrap_or_default();
        let more = if value.lines().count() > 1 { " ..." } else { "" };
        println!("  {key}: {first}{more}");
    }
    Ok(())
}

fn dataset(path: &Path) -> Result<()> {
    let reader = DatasetReader::open(path)?;
    let info = reader.info();
    println!(
        "{}: LeRobotDataset {}, robot {}, {} Hz, {} episodes, {} frames ({:.1} s)",
        path.display(),
        info.codebase_version,
        info.robot_type.as_deref().unwrap_or("unnamed"),
        info.fps,
        info.total_episodes,
        info.total_frames,
        info.total_frames as f64 / info.fps,
    );
    for (key, feature) in &info.features.0 {
        let names = feature.names.as_array().map_or(String::new(), |names| {
            names.iter().filter_map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
        });
        println!("  {key:32} {:8} {:16} {names}", feature.dtype, format!("{:?}", feature.shape));
    }
    for episode in reader.episodes() {
        let seconds = episode.frames as f64 / info.fps;
        println!(
            "  episode {:4}  {:6} frames {seconds:8.2} s  {}",
            episode.episode,
            episode.frames,
            episode.tasks.join("; ")
        );
    }
    Ok(())
}
