//! A recording session: episodes, each as a bag with everything and as rows of a dataset, from the same messages.
//!
//! ```text
//! <root>/bags/episode_000000/          finished bags; episode_000001.recording/ is the one in progress
//!        dataset/                      the LeRobot dataset
//!        rejected/                     bags of episodes that failed the gate
//!        recovered/                    what a crash left of a bag, as a bag
//! ```
//!
//! Bags are written on the thread that calls; rows on one of their own ([`rows`]). When that one falls behind by more than its
//! budget, the episode's rows are made from the finished bag instead: the same code on the same messages, so the same rows.

mod rows;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::align::{EVENT_DEFINITION, EVENT_TOPIC, EVENT_TYPE, Event, Failure, Quality, layout};
use crate::bag::{BagError, BagOptions, BagWriter, ChannelId, Distro, IN_PROGRESS, recover_bag};
use crate::contract::{Contract, Failing};
use crate::dataset::{DatasetError, DatasetWriter, LayoutError};
use crate::message::{Definition, Stamps, Topic};

pub use crate::align::Bytes;
use rows::{Rows, RowsOutcome};

/// A clock that goes back by less is only jitter.
const BACK_NANOS: u64 = 1_000_000_000;

/// A session could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A bag.
    #[error(transparent)]
    Bag(#[from] BagError),
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The contract makes no dataset.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The rows.
    #[error("{0}")]
    Rows(String),
    /// The file system said no.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        reason: std::io::Error,
    },
    /// Asked at the wrong time.
    #[error("expected {expected}, now {now}")]
    State {
        /// When it can be asked.
        expected: &'static str,
        /// What is going on.
        now: &'static str,
    },
    /// Somebody else records there.
    #[error("{}: another recorder records there", path.display())]
    Locked {
        /// The root.
        path: PathBuf,
    },
    /// The clock went back, so that the episode's messages are in no order any more.
    #[error("the clock jumped back by {0} s: the episode ends here")]
    ClockBack(u64),
}

/// How a session records.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything goes.
    pub root: PathBuf,
    /// Whether rows are made, beside bags.
    pub dataset: bool,
    /// The ROS distribution that is to read the bags.
    pub distro: Distro,
    /// Most bytes of messages that wait for becoming rows.
    pub rows_budget: usize,
    /// Who records, for provenance.
    pub recorder: String,
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Idle,
    /// An episode is being recorded.
    Recording,
    /// An episode is open, nothing is recorded.
    Paused,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Recording => "recording",
            Self::Paused => "paused",
        }
    }
}

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

/// What a crash left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftBehind {
    /// The bag that was cut off.
    pub bag: PathBuf,
    /// Where it was saved, or why not.
    pub saved: Result<PathBuf, String>,
}

struct Episode {
    bag: BagWriter,
    place: PathBuf,
    task: String,
    events: ChannelId,
    channels: BTreeMap<usize, ChannelId>,
    quality: Quality,
    messages: u64,
    paused: bool,
}

/// Records episodes.
pub struct Session {
    contract: Contract,
    contract_text: String,
    settings: Settings,
    rows: Option<Rows>,
    topics: BTreeMap<usize, Topic>,
    episode: Option<Episode>,
    /// The bag of the last episode, if that was kept.
    last_kept: Option<PathBuf>,
    newest: u64,
    left_behind: Vec<LeftBehind>,
    spools: Vec<String>,
    /// Held against a second recorder, whose start would take the open bag for one that a crash left.
    _lock: File,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session in {}", self.settings.root.display())
    }
}

impl Session {
    /// Opens a session; continues the dataset that is there. Bags that a crash cut off are saved to `recovered/`.
    ///
    /// # Errors
    /// Another session records there, the folders cannot be made, or the dataset has another rate, robot or features than the contract.
    pub fn open(contract: Contract, contract_text: &str, settings: Settings) -> Result<Self, SessionError> {
        let bags = settings.root.join("bags");
        std::fs::create_dir_all(&bags).map_err(|reason| SessionError::Io { path: bags.clone(), reason })?;
        let lock = lock(&settings.root)?;
        let left_behind = recover_all(&bags, &settings)?;
        let (mut rows, mut spools) = (None, Vec::new());
        if settings.dataset {
            let writer = DatasetWriter::open(&settings.root.join("dataset"), layout(&contract)?)?;
            let tell =
                |left: crate::dataset::LeftOver| format!("{} ({} rows)", left.path.display(), left.rows);
            spools = writer.left_over()?.into_iter().map(tell).collect();
            rows = Some(Rows::start(writer, &contract, settings.rows_budget)?);
        }
        let topics = BTreeMap::new();
        let contract_text = contract_text.to_owned();
        Ok(Self {
            contract,
            contract_text,
            settings,
            rows,
            topics,
            episode: None,
            last_kept: None,
            newest: 0,
            left_behind,
            spools,
            _lock: lock,
        })
    }

    /// What a crash left of bags, found when the session was opened.
    pub fn left_behind(&self) -> &[LeftBehind] {
        &self.left_behind
    }

    /// Rows that a crash left in the dataset's spool; `pixio dataset recover` commits them.
    pub fn left_over_rows(&self) -> &[String] {
        &self.spools
    }

    /// What is going on.
    pub fn state(&self) -> State {
        match &self.episode {
            None => State::Idle,
            Some(episode) if episode.paused => State::Paused,
            Some(_) => State::Recording,
        }
    }

    /// Says what a stream's topic is like; before its first message, and again when publishers offer something else.
    ///
    /// # Errors
    /// The open episode has the topic with another type.
    pub fn define(&mut self, stream: usize, topic: Topic) -> Result<(), SessionError> {
        if let Some(episode) = &mut self.episode {
            match episode.channels.get(&stream) {
                Some(channel) => episode.bag.set_offered_qos(*channel, topic.offered_qos.clone()),
                None => drop(episode.channels.insert(stream, episode.bag.channel(&topic)?)),
            }
        }
        if let Some(rows) = &self.rows {
            rows.define(stream, topic.definition.clone());
        }
        self.topics.insert(stream, topic);
        Ok(())
    }

    /// Begins an episode.
    ///
    /// # Errors
    /// One is open, or the file system says no.
    pub fn start(&mut self, task: &str, log_nanos: u64) -> Result<(), SessionError> {
        self.expect(&[State::Idle], "no episode in progress")?;
        let bags = self.settings.root.join("bags");
        let place = bags.join(format!("episode_{:06}", next_number(&bags)));
        let custom_data = BTreeMap::from([("task".to_owned(), task.to_owned())]);
        let options = BagOptions { distro: self.settings.distro, custom_data, ..BagOptions::default() };
        let mut bag = BagWriter::create(&place, options)?;
        let definition = Definition { text: EVENT_DEFINITION.to_owned(), hash: String::new() };
        let (name, type_name) = (EVENT_TOPIC.to_owned(), EVENT_TYPE.to_owned());
        let events = bag.channel(&Topic { name, type_name, definition, offered_qos: Vec::new() })?;
        let mut channels = BTreeMap::new();
        for (stream, topic) in &self.topics {
            channels.insert(*stream, bag.channel(topic)?);
        }
        let mut quality = Quality::new(&self.contract);
        quality.resume(log_nanos);
        if let Some(Err(error)) = self.rows.as_mut().map(|rows| rows.begin(task)) {
            bag.discard()?;
            return Err(SessionError::Rows(error));
        }
        self.last_kept = None;
        self.newest = log_nanos;
        self.episode = Some(Episode {
            bag,
            place,
            task: task.to_owned(),
            events,
            channels,
            quality,
            messages: 0,
            paused: false,
        });
        let (contract, recorder) = (self.contract_text.clone(), self.settings.recorder.clone());
        let told = self.event(log_nanos, &Event::Start { task: task.to_owned(), contract, recorder });
        // On the disk at once, so that a crash in the first moments leaves the task.
        let begun = told.and_then(|()| self.flush());
        if begun.is_err() {
            // Nothing is in it. What cannot be removed is saved as an empty bag when a session opens again.
            let _ = self.discard();
        }
        begun
    }

    /// Records a message of a stream that was defined; outside an episode it is ignored.
    ///
    /// # Errors
    /// The clock went back by more than a second, or the disk is full or gone. The episode should be ended then.
    pub fn message(&mut self, stream: usize, mut stamps: Stamps, bytes: &Bytes) -> Result<(), SessionError> {
        let Some(episode) = self.episode.as_mut().filter(|episode| !episode.paused) else { return Ok(()) };
        let Some(channel) = episode.channels.get(&stream) else { return Ok(()) };
        if let Some(back) = self.newest.checked_sub(stamps.log_nanos).filter(|back| *back > BACK_NANOS) {
            return Err(SessionError::ClockBack(back / 1_000_000_000));
        }
        // Stamps that never go back make the bag's order that of the rows.
        stamps.log_nanos = stamps.log_nanos.max(self.newest);
        self.newest = stamps.log_nanos;
        episode.bag.write(*channel, stamps, (**bytes).as_ref())?;
        episode.messages += 1;
        episode.quality.message(stream, stamps.log_nanos);
        if let Some(rows) = &self.rows {
            rows.message(stream, stamps.log_nanos, bytes);
        }
        Ok(())
    }

    /// Notes messages of a stream that were lost on the way.
    pub fn lost(&mut self, stream: usize, messages: u64) {
        if let Some(episode) = &mut self.episode {
            episode.quality.lost(stream, messages);
        }
    }

    /// To be called some times per second.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn tick(&mut self) -> Result<(), SessionError> {
        match &mut self.episode {
            Some(episode) => Ok(episode.bag.flush_if_due()?),
            None => Ok(()),
        }
    }

    /// Records nothing until [`Session::resume`].
    ///
    /// # Errors
    /// Nothing is being recorded, or the disk is full or gone.
    pub fn pause(&mut self, log_nanos: u64) -> Result<(), SessionError> {
        self.expect(&[State::Recording], "an episode being recorded")?;
        self.event(log_nanos, &Event::Pause)?;
        let log_nanos = self.newest;
        if let Some(episode) = &mut self.episode {
            episode.paused = true;
            episode.quality.pause(log_nanos);
        }
        if let Some(rows) = &self.rows {
            rows.pause(log_nanos);
        }
        Ok(())
    }

    /// Goes on.
    ///
    /// # Errors
    /// Nothing is paused, or the disk is full or gone.
    pub fn resume(&mut self, log_nanos: u64) -> Result<(), SessionError> {
        self.expect(&[State::Paused], "a paused episode")?;
        self.event(log_nanos, &Event::Resume)?;
        let log_nanos = self.newest;
        if let Some(episode) = &mut self.episode {
            episode.paused = false;
            episode.quality.resume(log_nanos);
        }
        if let Some(rows) = &self.rows {
            rows.resume();
        }
        Ok(())
    }

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
        let Some(mut episode) = self.episode.take() else {
            return Err(SessionError::State { expected: "an episode in progress", now: "idle" });
        };
        episode.quality.pause(self.newest);
        let newest = self.newest;
        let mut made = self.rows.as_mut().map(|rows| rows.end(newest));
        let mut rows_from_bag = false;
        if let Some(outcome) = &made {
            episode.quality.add_rows(&outcome.quality);
            rows_from_bag = outcome.fell_behind;
        }
        let mut failures = episode.quality.failures();
        // Rows that are still to be made count only in what the bag tells.
        let problem = made.as_mut().filter(|_| !rows_from_bag).and_then(|outcome| outcome.problem.take());
        let no_rows = problem.is_some();
        failures.extend(problem.map(|reason| Failure::Rows { reason }));
        let mut rejected = no_rows || (!failures.is_empty() && self.contract.gate.failing == Failing::Reject);
        let seconds = episode.quality.seconds(self.newest);
        let messages = episode.messages;
        let mut place = if rejected { self.rejected_place(&episode.place)? } else { episode.place.clone() };
        episode.bag.set_custom_data("gate", &verdict(&failures));
        let task = episode.task.clone();
        episode.bag.finish()?;
        if rejected {
            std::fs::rename(&episode.place, &place)
                .map_err(|reason| SessionError::Io { path: place.clone(), reason })?;
        }
        let provenance = provenance(&place, &self.contract_text, &failures, rows_from_bag);
        let committed = match (&mut self.rows, rejected) {
            (Some(rows), true) if rows.failed().is_some() => {
                // What was made until then can be recovered.
                rows.leave();
                Ok(None)
            }
            (Some(rows), true) => rows.discard().map(|()| None),
            (Some(rows), false) if rows_from_bag => rows.commit_from_bag(&place, &task, provenance).map(Some),
            (Some(rows), false) => rows.commit(&task, provenance).map(Some),
            (None, _) => Ok(None),
        };
        let committed = match committed {
            Err(reason) if rows_from_bag => {
                let aside = self.rejected_place(&place)?;
                std::fs::rename(&place, &aside)
                    .map_err(|reason| SessionError::Io { path: aside.clone(), reason })?;
                (rejected, place) = (true, aside);
                failures.push(Failure::Rows { reason });
                self.rows.iter().for_each(Rows::leave);
                None
            }
            committed => committed.map_err(SessionError::Rows)?,
        };
        let rows = committed.as_ref().map_or_else(
            || made.take().map_or(0, |outcome: RowsOutcome| outcome.rows),
            |committed| committed.frames,
        );
        let episode = committed.map(|committed| committed.episode);
        self.last_kept = (!rejected).then(|| place.clone());
        Ok(Outcome { kept: !rejected, bag: place, episode, rows, messages, seconds, failures, rows_from_bag })
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
        let place = self.rejected_place(&bag)?;
        std::fs::rename(&bag, &place).map_err(|reason| SessionError::Io { path: place.clone(), reason })?;
        Ok(place)
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

    /// Episodes that the dataset has, or bags when there is none.
    pub fn episodes(&self) -> u64 {
        self.rows.as_ref().map_or_else(|| next_number(&self.settings.root.join("bags")), Rows::episodes)
    }

    /// What was seen of the open episode.
    pub fn quality(&self) -> Option<Quality> {
        let mut quality = self.episode.as_ref()?.quality.clone();
        if let Some(rows) = &self.rows {
            quality.add_rows(&rows.quality());
        }
        Some(quality)
    }

    /// The newest receive stamp of the episode.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Messages of the open episode.
    pub fn messages(&self) -> u64 {
        self.episode.as_ref().map_or(0, |episode| episode.messages)
    }

    /// Why the open episode gets no more rows, as long as it is open.
    pub fn rows_failed(&self) -> Option<String> {
        self.episode.as_ref().and(self.rows.as_ref())?.failed()
    }

    /// What went wrong with rows since this was last asked, in words; and the streams that rows still wait for.
    pub fn take_row_problems(&self) -> (Vec<String>, Vec<String>) {
        self.rows.as_ref().map_or((Vec::new(), Vec::new()), Rows::take_problems)
    }

    fn event(&mut self, log_nanos: u64, event: &Event) -> Result<(), SessionError> {
        let Some(episode) = &mut self.episode else { return Ok(()) };
        self.newest = self.newest.max(log_nanos);
        let stamps = Stamps { log_nanos: self.newest, publish_nanos: self.newest, sequence: 0 };
        Ok(episode.bag.write(episode.events, stamps, &event.to_cdr())?)
    }

    fn flush(&mut self) -> Result<(), SessionError> {
        self.episode.as_mut().map_or(Ok(()), |episode| Ok(episode.bag.flush()?))
    }

    fn expect(&self, allowed: &[State], expected: &'static str) -> Result<(), SessionError> {
        let now = self.state();
        if allowed.contains(&now) { Ok(()) } else { Err(SessionError::State { expected, now: now.name() }) }
    }

    /// A free name in `rejected/`.
    fn rejected_place(&self, place: &Path) -> Result<PathBuf, SessionError> {
        let folder = self.settings.root.join("rejected");
        std::fs::create_dir_all(&folder)
            .map_err(|reason| SessionError::Io { path: folder.clone(), reason })?;
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(free_name(&folder, &name))
    }
}

fn lock(root: &Path) -> Result<File, SessionError> {
    let path = root.join(".lock");
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|reason| SessionError::Io { path: path.clone(), reason })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SessionError::Locked { path: root.to_owned() }),
        Err(TryLockError::Error(reason)) => Err(SessionError::Io { path, reason }),
    }
}

/// A name that nothing has in a folder yet: `name`, `name_1`, ...
fn free_name(folder: &Path, name: &str) -> PathBuf {
    let mut place = folder.join(name);
    let mut number = 0;
    while place.symlink_metadata().is_ok() {
        number += 1;
        place = folder.join(format!("{name}_{number}"));
    }
    place
}

fn verdict(failures: &[Failure]) -> String {
    match failures {
        [] => "passed".to_owned(),
        failures => failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("; "),
    }
}

fn provenance(bag: &Path, contract: &str, failures: &[Failure], from_bag: bool) -> serde_json::Value {
    serde_json::json!({
        "bag": bag.file_name().unwrap_or_default().to_string_lossy(),
        "contract": contract,
        "gate": verdict(failures),
        "rows_from_bag": from_bag,
    })
}

/// One more than the largest number among `episode_NNNNNN` and `episode_NNNNNN.recording`.
fn next_number(bags: &Path) -> u64 {
    let entries = std::fs::read_dir(bags).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(IN_PROGRESS).unwrap_or(&name);
        name.strip_prefix("episode_")?.parse::<u64>().ok()
    };
    entries.filter_map(number).max().map_or(0, |largest| largest + 1)
}

/// Saves every bag that was cut off; its remains are removed once they are saved whole.
fn recover_all(bags: &Path, settings: &Settings) -> Result<Vec<LeftBehind>, SessionError> {
    let io = |reason| SessionError::Io { path: bags.to_owned(), reason };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(bags).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(IN_PROGRESS) else { continue };
        let folder = settings.root.join("recovered");
        let place = free_name(&folder, name);
        let saved = std::fs::create_dir_all(&folder).map_err(|error| error.to_string()).and_then(|()| {
            recover_bag(&path, &place, settings.distro, BTreeMap::new()).map_err(|error| error.to_string())
        });
        let saved = saved.map(|recovery| recovery.place);
        if saved.is_ok() {
            std::fs::remove_dir_all(&path).map_err(io)?;
        }
        found.push(LeftBehind { bag: path, saved });
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
