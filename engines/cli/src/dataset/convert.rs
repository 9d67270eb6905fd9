//! `pixio dataset convert`: bags into a dataset, episodes of a dataset into bags.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use recording::bag::Distro;
use recording::contract::Contract;
use recording::convert::{BagsToDataset, Converted, Outcome, contract_of, episode_to_bag};
use recording::dataset::DatasetReader;

use super::Kind;
use crate::progress;

/// Convert bags into a LeRobot dataset, by the code that makes rows while recording, or episodes of a dataset into bags
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bags (folders or .mcap files), folders with bags in them, or one dataset
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
    /// The dataset that is made, or continued; or the folder that bags are put in
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Contract for bags [default: the one that they were recorded by]
    #[arg(long, value_name = "FILE")]
    contract: Option<PathBuf>,
    /// Task for bags [default: what each names]
    #[arg(long, value_name = "SENTENCE")]
    task: Option<String>,
    /// Only these: places in the list of bags, or episodes of the dataset, from 0, as 0,3-5 [default: all]
    #[arg(long, value_name = "LIST", value_parser = places)]
    episodes: Option<Places>,
    /// Take bags that fail the contract's gate too
    #[arg(long)]
    ignore_gate: bool,
    /// Bags that are read at the same time [default: one per processor]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZeroUsize>,
    /// The ROS distribution that is to read the bags: humble or jazzy
    #[arg(long, default_value = "jazzy", value_parser = super::recover::distro)]
    distro: Distro,
}

/// What was picked of a list: inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places(Vec<(u64, u64)>);

fn places(text: &str) -> Result<Places, String> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let range = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (range.0 <= range.1).then_some(range)
    };
    let ranges: Option<Vec<(u64, u64)>> = text.split(',').map(range).collect();
    ranges.map(Places).ok_or_else(|| format!("expected places as 0,3-5, got {text:?}"))
}

impl Places {
    /// Those that were picked, in the order of the list.
    fn pick<T>(&self, list: Vec<T>) -> Result<Vec<T>> {
        let length = list.len() as u64;
        if let Some((_, last)) = self.0.iter().find(|(_, last)| *last >= length) {
            bail!("--episodes: expected places below {length}, got {last}");
        }
        let picked = |place: u64| self.0.iter().any(|(from, to)| (*from..=*to).contains(&place));
        Ok((0..).zip(list).filter(|(place, _)| picked(*place)).map(|(_, item)| item).collect())
    }
}

/// Converts, and says what became of each episode; exit code 1 when the gate left some out or some cannot be converted.
///
/// # Errors
/// When nothing at all can be converted, or the dataset cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let [first, rest @ ..] = arguments.recordings.as_slice() else { bail!("expected a recording") };
    if matches!(Kind::of(first), Ok(Kind::Dataset)) {
        ensure!(rest.is_empty(), "expected one dataset, got {} recordings", arguments.recordings.len());
        return to_bags(first, arguments);
    }
    let mut bags = Vec::new();
    for path in &arguments.recordings {
        bags.extend(bags_at(path)?);
    }
    let bags = arguments.episodes.as_ref().map_or(Ok(bags.clone()), |places| places.pick(bags))?;
    to_dataset(&bags, arguments)
}

/// A bag, or the bags in a folder by their names.
fn bags_at(path: &Path) -> Result<Vec<PathBuf>> {
    if let Ok(kind) = Kind::of(path) {
        ensure!(kind == Kind::Bag, "{}: expected a bag, found a dataset", path.display());
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.read_dir().with_context(|| path.display().to_string())?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !path.to_string_lossy().ends_with(recording::bag::IN_PROGRESS))
        .filter(|path| matches!(Kind::of(path), Ok(Kind::Bag)))
        .collect();
    ensure!(!found.is_empty(), "{}: expected a bag, or a folder with bags", path.display());
    found.sort();
    Ok(found)
}

fn to_dataset(bags: &[PathBuf], arguments: &Arguments) -> Result<ExitCode> {
    let mut failed = Vec::new();
    let (contract, contract_text, bags) = match &arguments.contract {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            (Contract::parse(&text).with_context(|| path.display().to_string())?, text, bags.to_owned())
        }
        None => own_contract(bags, &mut failed)?,
    };
    let jobs = arguments.jobs.or_else(|| std::thread::available_parallelism().ok());
    let conversion = BagsToDataset {
        contract,
        contract_text,
        task: arguments.task.clone(),
        ignore_gate: arguments.ignore_gate,
        jobs: jobs.unwrap_or(NonZeroUsize::MIN),
    };
    let bar = progress::items(bags.len() as u64, "bags");
    let converted = conversion.run(&bags, &arguments.out, |one| {
        bar.suspend(|| tell(one));
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let (mut more, mut rejected) = (0, 0);
    for one in converted {
        match one.outcome {
            Outcome::Committed(_) => more += 1,
            Outcome::Rejected(_) => rejected += 1,
            Outcome::Failed(error) => failed.push((one.bag, error.to_string())),
        }
    }
    println!(
        "{}: {more} episodes more, {rejected} left out, {} not converted",
        arguments.out.display(),
        failed.len()
    );
    tell_failed(&failed);
    Ok(if rejected == 0 && failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What could not be converted, and why.
type Failed = (PathBuf, String);

fn tell_failed(failed: &[Failed]) {
    for (place, problem) in failed {
        eprintln!("{}: NOT CONVERTED: {problem}", place.display());
    }
}

/// The contract that the bags name, with the bags that name it; those that cannot be read, or name none, are put with the failed.
fn own_contract(bags: &[PathBuf], failed: &mut Vec<Failed>) -> Result<(Contract, String, Vec<PathBuf>)> {
    let mut first: Option<(Contract, String, Vec<PathBuf>)> = None;
    for bag in bags {
        let (contract, text) = match contract_of(bag) {
            Ok(found) => found,
            Err(error) => {
                failed.push((bag.clone(), error.to_string()));
                continue;
            }
        };
        let (known, _, readable) = first.get_or_insert_with(|| (contract.clone(), text, Vec::new()));
        ensure!(
            *known == contract,
            "{}: expected the contract of {}, got another one; give a --contract, or convert them apart",
            bag.display(),
            readable[0].display()
        );
        readable.push(bag.clone());
    }
    first.ok_or_else(|| {
        let problem = failed.first().map_or("no bag was picked", |(_, problem)| problem);
        anyhow::anyhow!("{problem}").context("give a --contract")
    })
}

fn tell(one: &Converted) {
    let bag = one.bag.display();
    match &one.outcome {
        Outcome::Committed(committed) => {
            println!("{bag}: episode {}, {} frames", committed.episode, committed.frames);
        }
        Outcome::Rejected(failures) => {
            let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
            println!("{bag}: LEFT OUT by the gate: {}", reasons.join("; "));
        }
        // Told at the end, where it is not overlooked.
        Outcome::Failed(_) => {}
    }
    if one.unusable > 0 {
        println!("  {} messages could not be used: {}", one.unusable, one.problems.join("; "));
    }
}

fn to_bags(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        arguments.contract.is_none() && arguments.task.is_none(),
        "{}: expected neither --contract nor --task for a dataset: it has its own",
        root.display()
    );
    let dataset = DatasetReader::open(root)?;
    let all: Vec<usize> = (0..dataset.episodes().len()).collect();
    let picked = arguments.episodes.as_ref().map_or(Ok(all.clone()), |places| places.pick(all))?;
    let bar = progress::items(picked.len() as u64, "episodes");
    let mut failed: Vec<Failed> = Vec::new();
    for index in picked {
        let episode = &dataset.episodes()[index];
        let place = arguments.out.join(format!("episode_{:06}", episode.episode));
        match episode_to_bag(&dataset, episode, &place, arguments.distro) {
            Ok(metadata) => {
                bar.suspend(|| println!("{}: {} messages", place.display(), metadata.message_count));
            }
            Err(error) => failed.push((place, error.to_string())),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    tell_failed(&failed);
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_picked_in_the_order_of_the_list() {
        let pick = |text: &str| places(text).map(|places| places.pick(vec!['a', 'b', 'c', 'd', 'e']));
        assert_eq!(pick("3,0-1").unwrap().unwrap(), ['a', 'b', 'd']);
        assert_eq!(pick("2").unwrap().unwrap(), ['c']);
        let refused = pick("1-5").unwrap().unwrap_err().to_string();
        assert_eq!(refused, "--episodes: expected places below 5, got 5");
        for wrong in ["", "a", "2-1", "1,", "-1"] {
            assert!(pick(wrong).is_err(), "{wrong}");
        }
    }
}
