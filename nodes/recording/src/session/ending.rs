//! How an episode ends: the gate is asked, its bag gets its name and place, its rows are committed or thrown away.

use std::path::{Path, PathBuf};

use super::places::rejected_place;
use super::rows::{Rows, RowsOutcome};
use super::{Episode, Event, Session, SessionError, State};
use crate::align::{Failure, Quality};
use crate::bag::{BagMetadata, BagWriter, Distro};
use crate::contract::Failing;

/// What became of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether it was kept.
    pub kept: bool,
    /// Its bag.
    pub bag: PathBuf,
    /// Its number in the dataset, if it is in one.
    pub episode: Option<u64>,
    /// Its rows.
    pub rows: u64,
    /// Its messages.
    pub messages: u64,
    /// Its length.
    pub seconds: f64,
    /// What the gate found.
    pub failures: Vec<Failure>,
    /// Whether the rows were made from the bag, because making them live fell behind.
    pub rows_from_bag: bool,
}

/// A bag that waits for the gate's verdict.
enum Bag {
    Open(Box<BagWriter>),
    /// Whole already, because its rows were made of it.
    Finished(BagMetadata),
}

impl Session {
    /// Ends the episode: asks the gate, then finishes the bag and commits the rows, or puts the bag aside.
    ///
    /// # Errors
    /// None is open, or the disk is full or gone; what was written is kept for recovery.
    pub fn stop(&mut self, reason: &str, log_nanos: u64) -> Result<Outcome, SessionError> {
        self.expect(&[State::Recording, State::Paused], "an episode in progress")?;
        let told = self.event(log_nanos, &Event::Stop { reason: reason.to_owned() });
        let closed = told.and_then(|()| self.close());
        if closed.is_err() {
            self.abandon();
        }
        closed
    }

    fn close(&mut self) -> Result<Outcome, SessionError> {
        let Some(episode) = self.episode.take() else {
            return Err(SessionError::State { expected: "an episode in progress", now: "idle" });
        };
        let Episode { bag, place, task, mut quality, messages, .. } = episode;
        quality.pause(self.newest);
        let newest = self.newest;
        let mut made = self.rows.as_mut().map(|rows| rows.end(newest));
        let mut bag = Bag::Open(Box::new(bag));
        let rows_from_bag = made.as_ref().is_some_and(|made| made.fell_behind);
        if rows_from_bag {
            bag = bag.finished()?;
            made = self.rows.as_mut().map(|rows| rows.remake(&place, &task));
        }
        let failures = judge(&mut quality, made.as_ref());
        let no_rows = made.as_ref().is_some_and(|made| made.problem.is_some());
        let rejected = no_rows || (!failures.is_empty() && self.contract.gate.failing == Failing::Reject);
        let verdict = verdict(&failures);
        bag.judged(&verdict, &place, self.settings.distro)?;
        let bag = if rejected { self.put_aside(&place)? } else { place };
        let provenance = serde_json::json!({
            "bag": bag.file_name().unwrap_or_default().to_string_lossy(),
            "contract": self.contract_text,
            "gate": verdict,
            "rows_from_bag": rows_from_bag,
        });
        let committed = match (&mut self.rows, rejected) {
            // What was made until then can be recovered.
            (Some(rows), true) if rows.failed().is_some() => {
                rows.leave();
                Ok(None)
            }
            (Some(rows), true) => rows.discard().map(|()| None),
            (Some(rows), false) => rows.commit(&task, provenance).map(Some),
            (None, _) => Ok(None),
        };
        let committed = committed.map_err(SessionError::Rows)?;
        let rows =
            committed.as_ref().map_or_else(|| made.map_or(0, |made| made.rows), |committed| committed.frames);
        self.last_kept = (!rejected).then(|| bag.clone());
        let (episode, seconds) = (committed.map(|committed| committed.episode), quality.seconds(newest));
        Ok(Outcome { kept: !rejected, bag, episode, rows, messages, seconds, failures, rows_from_bag })
    }

    /// Takes the last episode back, if it was kept and none was begun since: out of the dataset, and its bag into `rejected/`.
    /// Says where that is now.
    ///
    /// # Errors
    /// There is no such episode, or the disk is full or gone.
    pub fn take_back(&mut self) -> Result<PathBuf, SessionError> {
        self.expect(&[State::Idle], "no episode in progress")?;
        let nothing =
            SessionError::State { expected: "an episode that was kept just now", now: "there is none" };
        let bag = self.last_kept.take().ok_or(nothing)?;
        if let Some(rows) = &mut self.rows {
            rows.take_back().map_err(SessionError::Rows)?;
        }
        self.put_aside(&bag)
    }

    /// Throws the episode away.
    ///
    /// # Errors
    /// None is open, or the file system says no.
    pub fn discard(&mut self) -> Result<(), SessionError> {
        self.expect(&[State::Recording, State::Paused], "an episode in progress")?;
        let bag = self.episode.take().map_or(Ok(()), |episode| episode.bag.discard());
        let rows = self.rows.as_mut().map_or(Ok(()), Rows::discard);
        bag?;
        rows.map_err(SessionError::Rows)
    }

    /// Lets go of an episode whose disk is full or gone; what was written stays for recovery.
    pub fn abandon(&mut self) {
        if let Some(rows) = &self.rows {
            rows.leave();
        }
        self.episode = None;
    }

    /// Moves a bag to `rejected/`; says where it is then.
    fn put_aside(&self, bag: &Path) -> Result<PathBuf, SessionError> {
        let place = rejected_place(&self.settings.root, bag)?;
        std::fs::rename(bag, &place).map_err(|reason| SessionError::Io { path: place.clone(), reason })?;
        Ok(place)
    }
}

impl Bag {
    fn finished(self) -> Result<Self, SessionError> {
        match self {
            Self::Open(bag) => Ok(Self::Finished(bag.finish()?)),
            finished => Ok(finished),
        }
    }

    /// Writes the verdict, and gives the bag its name if it has none yet.
    fn judged(self, verdict: &str, place: &Path, distro: Distro) -> Result<(), SessionError> {
        match self {
            Self::Open(mut bag) => {
                bag.set_custom_data("gate", verdict);
                bag.finish()?;
            }
            Self::Finished(mut metadata) => {
                metadata.custom_data.insert("gate".to_owned(), verdict.to_owned());
                metadata.write(place, distro)?;
            }
        }
        Ok(())
    }
}

/// What the gate finds against the episode, rows included.
fn judge(quality: &mut Quality, made: Option<&RowsOutcome>) -> Vec<Failure> {
    if let Some(made) = made {
        quality.add_rows(&made.quality);
    }
    let mut failures = quality.failures();
    let problem = made.and_then(|made| made.problem.clone());
    failures.extend(problem.map(|reason| Failure::Rows { reason }));
    failures
}

fn verdict(failures: &[Failure]) -> String {
    match failures {
        [] => "passed".to_owned(),
        failures => failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("; "),
    }
}
