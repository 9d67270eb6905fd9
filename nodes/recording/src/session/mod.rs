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

mod ending;
mod places;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::align::{EVENT_DEFINITION, EVENT_TOPIC, EVENT_TYPE, Event, Quality, layout};
use crate::bag::{BagError, BagOptions, BagWriter, ChannelId, Distro};
use crate::contract::Contract;
use crate::dataset::{DatasetError, DatasetWriter, LayoutError};
use crate::files::Lock;
use crate::message::{Definition, Stamps, Topic};

pub use crate::align::Bytes;
pub use ending::Outcome;
pub use places::LeftBehind;
use places::{lock, next_number, recover_all};
use rows::Rows;

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
    /// Held against a second recorder, whose start would take the open bag for one that a crash left. The dataset has another
    /// lock: it can be opened without the bags.
    _lock: Lock,
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
}

#[cfg(test)]
mod tests;
