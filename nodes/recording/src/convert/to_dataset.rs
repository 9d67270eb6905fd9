//! Bags into the episodes of a dataset, several at a time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::ConvertError;
use crate::align::{BagRows, Event, Failure, layout};
use crate::bag::BagReader;
use crate::contract::{Contract, Failing};
use crate::dataset::{Committed, DatasetWriter, OpenEpisode};

/// How many words about messages that could not be used are kept of each bag.
const MOST_PROBLEMS: usize = 5;

/// How bags become episodes.
#[derive(Debug, Clone)]
pub struct BagsToDataset {
    /// What to take and how to align it.
    pub contract: Contract,
    /// Its text, for the episodes' provenance.
    pub contract_text: String,
    /// The task of all episodes; that which each bag names when not given.
    pub task: Option<String>,
    /// Whether episodes that fail the contract's gate are taken all the same.
    pub ignore_gate: bool,
    /// Bags that are read at the same time.
    pub jobs: NonZeroUsize,
}

/// What became of one bag.
#[derive(Debug)]
pub struct Converted {
    /// The bag.
    pub bag: PathBuf,
    /// Whether it is an episode now.
    pub outcome: Outcome,
    /// Messages that could not be used.
    pub unusable: u64,
    /// Words about the first of them.
    pub problems: Vec<String>,
}

/// Whether a bag became an episode.
#[derive(Debug)]
pub enum Outcome {
    /// It did.
    Committed(Committed),
    /// The contract's gate left it out.
    Rejected(Vec<Failure>),
    /// It cannot become one.
    Failed(ConvertError),
}

/// Rows that are made and not yet committed.
struct Made {
    episode: OpenEpisode,
    failures: Vec<Failure>,
    unusable: u64,
    problems: Vec<String>,
}

/// The contract that a bag was recorded by, and its text.
///
/// # Errors
/// The bag cannot be read, or names none: it was not recorded by `recorder_node`.
pub fn contract_of(bag: &Path) -> Result<(Contract, String), ConvertError> {
    let Some(Event::Start { contract: text, .. }) = BagRows::start_event(&BagReader::open(bag)?)? else {
        let expected = "a contract to be given: the bag names none".to_owned();
        return Err(ConvertError::Missing { bag: bag.to_owned(), expected });
    };
    let contract =
        Contract::parse(&text).map_err(|problem| ConvertError::Contract { bag: bag.to_owned(), problem })?;
    Ok((contract, text))
}

impl BagsToDataset {
    /// Makes an episode of each bag, in the order of the bags, in the dataset at `root`; one that is there is continued. A bag that
    /// cannot be converted does not keep the others from it. `done` is called after each bag.
    ///
    /// # Errors
    /// The dataset has another layout, or cannot be written; then the bags before are committed.
    pub fn run(
        &self,
        bags: &[PathBuf],
        root: &Path,
        mut done: impl FnMut(&Converted),
    ) -> Result<Vec<Converted>, ConvertError> {
        let writer = Mutex::new(DatasetWriter::open(root, layout(&self.contract)?)?);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (sender, made) = mpsc::channel();
            for _ in 0..self.jobs.get().min(bags.len()) {
                let sender = sender.clone();
                let work = || self.work(bags, &writer, &next, &stop, sender);
                std::thread::Builder::new().spawn_scoped(scope, work).map_err(ConvertError::Thread)?;
            }
            drop(sender);
            let committed = self.commit_all(bags, &writer, &made, &mut done);
            // Nothing new is begun after a failure, and what is under way is waited for and thrown away.
            stop.store(true, Ordering::Relaxed);
            for made in made.iter().filter_map(|(_, made)| made.ok()) {
                let _ = made.episode.discard();
            }
            committed
        })
    }

    /// Takes bags until there are none left.
    fn work(
        &self,
        bags: &[PathBuf],
        writer: &Mutex<DatasetWriter>,
        next: &AtomicUsize,
        stop: &AtomicBool,
        made: Sender<(usize, Result<Made, ConvertError>)>,
    ) {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(bag) = bags.get(index) else { return };
            // Nobody listens any more once one has failed.
            if made.send((index, self.make(bag, writer))).is_err() {
                return;
            }
        }
    }

    fn make(&self, bag: &Path, writer: &Mutex<DatasetWriter>) -> Result<Made, ConvertError> {
        let reader = BagReader::open(bag)?;
        let task = self.task_of(&reader, bag)?;
        let mut episode = lock(writer).separate_episode(&task)?;
        let made = self.make_rows(&reader, bag, &mut episode);
        match made {
            Ok((failures, unusable, problems)) => Ok(Made { episode, failures, unusable, problems }),
            Err(error) => {
                // What came first is what is told.
                let _ = episode.discard();
                Err(error)
            }
        }
    }

    fn task_of(&self, reader: &BagReader, bag: &Path) -> Result<String, ConvertError> {
        if let Some(task) = &self.task {
            return Ok(task.clone());
        }
        match BagRows::start_event(reader)? {
            Some(Event::Start { task, .. }) => Ok(task),
            _ => {
                let expected = "a task to be given: the bag names none".to_owned();
                Err(ConvertError::Missing { bag: bag.to_owned(), expected })
            }
        }
    }

    fn make_rows(
        &self,
        reader: &BagReader,
        bag: &Path,
        episode: &mut OpenEpisode,
    ) -> Result<(Vec<Failure>, u64, Vec<String>), ConvertError> {
        let refuse = |problem| ConvertError::Rows { bag: bag.to_owned(), problem: Box::new(problem) };
        let mut rows = BagRows::new(reader, &self.contract).map_err(refuse)?;
        let (mut unusable, mut problems) = (0, Vec::new());
        loop {
            let row = rows.next();
            for error in rows.take_errors() {
                unusable += 1;
                if problems.len() < MOST_PROBLEMS {
                    problems.push(error.to_string());
                }
            }
            let Some(row) = row else { break };
            episode.push(&row.map_err(refuse)?)?;
        }
        if episode.rows() == 0 {
            let mut expected = match rows.awaited().join(", ") {
                awaited if awaited.is_empty() => "messages for at least one row".to_owned(),
                awaited => format!("messages that can be used of each stream, none came of {awaited}"),
            };
            problems.iter().for_each(|problem| expected.push_str(&format!("; {problem}")));
            return Err(ConvertError::Missing { bag: bag.to_owned(), expected });
        }
        Ok((rows.quality().failures(), unusable, problems))
    }

    /// Commits in the order of the bags, however long each took.
    fn commit_all(
        &self,
        bags: &[PathBuf],
        writer: &Mutex<DatasetWriter>,
        made: &Receiver<(usize, Result<Made, ConvertError>)>,
        done: &mut impl FnMut(&Converted),
    ) -> Result<Vec<Converted>, ConvertError> {
        let (mut early, mut converted) = (BTreeMap::new(), Vec::new());
        let committed = made.iter().try_for_each(|(index, made)| {
            early.insert(index, made);
            while let Some(made) = early.remove(&converted.len()) {
                let one = self.commit(&bags[converted.len()], made, writer)?;
                done(&one);
                converted.push(one);
            }
            Ok(())
        });
        for made in early.into_values().flatten() {
            // After a failure what was made beside it is thrown away.
            let _ = made.episode.discard();
        }
        committed.map(|()| converted)
    }

    fn commit(
        &self,
        bag: &Path,
        made: Result<Made, ConvertError>,
        writer: &Mutex<DatasetWriter>,
    ) -> Result<Converted, ConvertError> {
        let Made { episode, failures, unusable, problems } = match made {
            Ok(made) => made,
            // What the dataset refuses, or its disk, the other bags meet too.
            Err(error @ (ConvertError::Dataset(_) | ConvertError::Thread(_))) => return Err(error),
            Err(error) => {
                let (bag, problems) = (bag.to_owned(), Vec::new());
                return Ok(Converted { bag, outcome: Outcome::Failed(error), unusable: 0, problems });
            }
        };
        let rejected =
            !failures.is_empty() && !self.ignore_gate && self.contract.gate.failing == Failing::Reject;
        let outcome = if rejected {
            episode.discard()?;
            Outcome::Rejected(failures)
        } else {
            let provenance = json!({
                "bag": bag.file_name().unwrap_or_default().to_string_lossy(),
                "contract": self.contract_text,
                "gate": failures.iter().map(Failure::to_string).collect::<Vec<_>>(),
                "rows_from_bag": true,
            });
            Outcome::Committed(lock(writer).commit_separate(&episode, &provenance)?)
        };
        Ok(Converted { bag: bag.to_owned(), outcome, unusable, problems })
    }
}

fn lock(writer: &Mutex<DatasetWriter>) -> MutexGuard<'_, DatasetWriter> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}
