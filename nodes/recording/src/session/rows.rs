//! The thread that makes rows while an episode is recorded.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::SessionError;
use crate::align::{Aligner, BagRows, Bytes, Quality};
use crate::bag::BagReader;
use crate::contract::Contract;
use crate::dataset::{Committed, DatasetWriter};
use crate::message::Definition;

enum Command {
    Define(usize, Definition),
    Begin(String, Sender<Result<(), String>>),
    Message(usize, u64, Bytes),
    Pause(u64),
    Resume,
    End(u64, Sender<RowsOutcome>),
    Commit(String, serde_json::Value, Sender<Result<Committed, String>>),
    Remake(PathBuf, String, Sender<RowsOutcome>),
    Discard(Sender<Result<(), String>>),
    TakeBack(Sender<Result<(), String>>),
    Leave,
}

/// What the rows of an episode came to, before they are committed.
#[derive(Debug, Clone)]
pub(super) struct RowsOutcome {
    pub rows: u64,
    pub quality: Quality,
    pub fell_behind: bool,
    /// Why there are none, or not all of them.
    pub problem: Option<String>,
}

impl RowsOutcome {
    /// When there is no thread any more.
    fn none(quality: Quality) -> Self {
        Self { rows: 0, quality, fell_behind: false, problem: Some(GONE.to_owned()) }
    }
}

/// What both threads see.
struct Shared {
    waiting: AtomicUsize,
    fell_behind: AtomicBool,
    episodes: AtomicU64,
    seen: Mutex<Seen>,
}

struct Seen {
    quality: Quality,
    problems: Vec<String>,
    awaited: Vec<String>,
    /// Why the present episode gets no more rows.
    failed: Option<String>,
}

/// The handle of the thread.
pub(super) struct Rows {
    commands: Option<Sender<Command>>,
    shared: Arc<Shared>,
    budget: usize,
    thread: Option<JoinHandle<()>>,
}

/// What a thread that ended by a panic would leave unanswered.
const GONE: &str = "the thread that makes rows has ended";

impl Rows {
    pub fn start(writer: DatasetWriter, contract: &Contract, budget: usize) -> Result<Self, SessionError> {
        let quality = Quality::new(contract);
        let seen = Seen { quality, problems: Vec::new(), awaited: Vec::new(), failed: None };
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            fell_behind: AtomicBool::new(false),
            episodes: AtomicU64::new(writer.episodes()),
            seen: Mutex::new(seen),
        });
        let (commands, inbox) = mpsc::channel();
        let worker = Worker {
            aligner: Aligner::new(contract),
            definitions: Vec::new(),
            contract: contract.clone(),
            writer,
            shared: shared.clone(),
        };
        let thread =
            std::thread::Builder::new().name("rows".to_owned()).spawn(move || worker.run(&inbox)).map_err(
                |error| SessionError::Rows(format!("cannot start the thread that makes rows: {error}")),
            )?;
        Ok(Self { commands: Some(commands), shared, budget, thread: Some(thread) })
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // Whoever waits for an answer learns that there is none.
            let _ = commands.send(command);
        }
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = mpsc::channel();
        self.send(command(reply));
        answer.recv().ok()
    }

    pub fn define(&self, stream: usize, definition: Definition) {
        self.send(Command::Define(stream, definition));
    }

    pub fn begin(&mut self, task: &str) -> Result<(), String> {
        self.shared.fell_behind.store(false, Ordering::Relaxed);
        self.ask(|reply| Command::Begin(task.to_owned(), reply)).unwrap_or_else(|| Err(GONE.to_owned()))
    }

    /// Hands a message over, unless too many wait already; then the episode gets no more rows this way.
    pub fn message(&self, stream: usize, log_nanos: u64, bytes: &Bytes) {
        if self.shared.fell_behind.load(Ordering::Relaxed) {
            return;
        }
        let size = (**bytes).as_ref().len();
        if self.shared.waiting.load(Ordering::Relaxed).saturating_add(size) > self.budget {
            self.shared.fell_behind.store(true, Ordering::Relaxed);
            return;
        }
        self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        self.send(Command::Message(stream, log_nanos, bytes.clone()));
    }

    pub fn pause(&self, log_nanos: u64) {
        self.send(Command::Pause(log_nanos));
    }

    pub fn resume(&self) {
        self.send(Command::Resume);
    }

    /// Waits until all messages that were handed over are rows, the last of them due at the end.
    pub fn end(&mut self, log_nanos: u64) -> RowsOutcome {
        let nothing = || RowsOutcome::none(self.quality());
        self.ask(|reply| Command::End(log_nanos, reply)).unwrap_or_else(nothing)
    }

    pub fn commit(&mut self, task: &str, provenance: serde_json::Value) -> Result<Committed, String> {
        self.ask(|reply| Command::Commit(task.to_owned(), provenance, reply))
            .unwrap_or_else(|| Err(GONE.to_owned()))
    }

    /// Makes the rows anew, from the finished bag, to be committed or thrown away as others.
    pub fn remake(&mut self, bag: &Path, task: &str) -> RowsOutcome {
        let nothing = || RowsOutcome::none(self.quality());
        self.ask(|reply| Command::Remake(bag.to_owned(), task.to_owned(), reply)).unwrap_or_else(nothing)
    }

    pub fn discard(&mut self) -> Result<(), String> {
        self.ask(Command::Discard).unwrap_or_else(|| Err(GONE.to_owned()))
    }

    /// Takes the last committed episode out of the dataset.
    pub fn take_back(&mut self) -> Result<(), String> {
        self.ask(Command::TakeBack).unwrap_or_else(|| Err(GONE.to_owned()))
    }

    /// Leaves what there is of the episode on the disk.
    pub fn leave(&self) {
        self.send(Command::Leave);
    }

    pub fn episodes(&self) -> u64 {
        self.shared.episodes.load(Ordering::Relaxed)
    }

    pub fn quality(&self) -> Quality {
        self.seen().quality.clone()
    }

    /// Why the present episode gets no more rows.
    pub fn failed(&self) -> Option<String> {
        self.seen().failed.clone()
    }

    pub fn take_problems(&self) -> (Vec<String>, Vec<String>) {
        let mut seen = self.seen();
        (std::mem::take(&mut seen.problems), seen.awaited.clone())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    contract: Contract,
    aligner: Aligner,
    definitions: Vec<(usize, Definition)>,
    writer: DatasetWriter,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<Command>) {
        while let Ok(command) = inbox.recv() {
            match command {
                Command::Define(stream, definition) => {
                    self.define(stream, &definition);
                    self.definitions.retain(|(known, _)| *known != stream);
                    self.definitions.push((stream, definition));
                }
                Command::Begin(task, reply) => drop(reply.send(self.begin(&task))),
                Command::Message(stream, log_nanos, bytes) => {
                    self.message(stream, log_nanos, &bytes);
                    self.shared.waiting.fetch_sub((*bytes).as_ref().len(), Ordering::Relaxed);
                }
                Command::Pause(log_nanos) => {
                    self.settle(log_nanos);
                    self.aligner.pause();
                }
                Command::Resume => self.aligner.resume(),
                Command::End(log_nanos, reply) => drop(reply.send(self.outcome(log_nanos))),
                Command::Commit(task, provenance, reply) => {
                    drop(reply.send(self.commit(&task, &provenance)));
                }
                Command::Remake(bag, task, reply) => drop(reply.send(self.remake(&bag, &task))),
                Command::Leave => self.writer.leave(),
                Command::Discard(reply) => {
                    drop(reply.send(self.writer.discard().map_err(|error| error.to_string())));
                }
                Command::TakeBack(reply) => {
                    let taken = self.writer.take_back().map_err(|error| error.to_string());
                    self.shared.episodes.store(self.writer.episodes(), Ordering::Relaxed);
                    drop(reply.send(taken));
                }
            }
        }
    }

    fn define(&mut self, stream: usize, definition: &Definition) {
        if let Err(error) = self.aligner.define(stream, definition) {
            self.problem(error.to_string());
        }
    }

    fn begin(&mut self, task: &str) -> Result<(), String> {
        self.aligner = Aligner::new(&self.contract);
        for (stream, definition) in std::mem::take(&mut self.definitions) {
            self.define(stream, &definition);
            self.definitions.push((stream, definition));
        }
        let quality = Quality::new(&self.contract);
        {
            let mut seen = self.seen();
            (seen.quality, seen.failed) = (quality, None);
        }
        self.writer.begin_episode(task).map_err(|error| error.to_string())
    }

    fn message(&mut self, stream: usize, log_nanos: u64, bytes: &Bytes) {
        if self.has_failed() {
            return;
        }
        if let Err(error) = self.aligner.push(stream, log_nanos, bytes) {
            self.problem(error.to_string());
        }
        self.push_rows();
    }

    /// Makes the rows until a moment that nothing more comes from.
    fn settle(&mut self, log_nanos: u64) {
        if !self.has_failed() && !self.shared.fell_behind.load(Ordering::Relaxed) {
            self.aligner.settle(log_nanos);
            self.push_rows();
        }
    }

    fn has_failed(&self) -> bool {
        self.seen().failed.is_some()
    }

    fn push_rows(&mut self) {
        while let Some(row) = self.aligner.row() {
            self.seen().quality.row(&row);
            if let Err(error) = self.writer.push(&row) {
                self.problem(error.to_string());
                self.seen().failed = Some(error.to_string());
                return;
            }
        }
        self.seen().quality.misses(self.aligner.misses());
        let errors = self.aligner.take_errors();
        errors.into_iter().for_each(|error| self.problem(error.to_string()));
        let awaited = self.aligner.awaited().into_iter().map(str::to_owned).collect();
        self.seen().awaited = awaited;
    }

    fn outcome(&mut self, log_nanos: u64) -> RowsOutcome {
        self.settle(log_nanos);
        let fell_behind = self.shared.fell_behind.load(Ordering::Relaxed);
        let rows = self.writer.rows();
        let seen = self.seen();
        let problem = match &seen.failed {
            Some(reason) => Some(format!("rows could not be written: {reason}")),
            None if rows == 0 => Some(no_rows(&self.aligner.awaited())),
            None => None,
        };
        RowsOutcome { rows, quality: seen.quality.clone(), fell_behind, problem }
    }

    fn commit(&mut self, task: &str, provenance: &serde_json::Value) -> Result<Committed, String> {
        let committed = self.writer.commit(task, provenance).map_err(|error| error.to_string())?;
        self.shared.episodes.store(self.writer.episodes(), Ordering::Relaxed);
        Ok(committed)
    }

    /// Makes the rows anew, from the bag. What was made until an error can be recovered.
    fn remake(&mut self, bag: &Path, task: &str) -> RowsOutcome {
        let mut quality = Quality::new(&self.contract);
        let problem = self.rows_of(bag, task, &mut quality).err();
        let rows = self.writer.rows();
        self.seen().failed = problem.clone().filter(|_| rows > 0);
        RowsOutcome { rows, quality, fell_behind: true, problem }
    }

    fn rows_of(&mut self, bag: &Path, task: &str, quality: &mut Quality) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        self.writer.discard().map_err(|error| text(&error))?;
        self.writer.begin_episode(task).map_err(|error| text(&error))?;
        let bag = BagReader::open(bag).map_err(|error| text(&error))?;
        let mut rows = BagRows::new(&bag, &self.contract).map_err(|error| text(&error))?;
        for row in rows.by_ref() {
            self.writer.push(&row.map_err(|error| text(&error))?).map_err(|error| text(&error))?;
        }
        *quality = rows.quality().clone();
        if self.writer.rows() == 0 { Err(no_rows(&rows.awaited())) } else { Ok(()) }
    }

    fn problem(&self, text: String) {
        let mut seen = self.seen();
        // The first ones tell; thousands of the same would only fill memory.
        if seen.problems.len() < 100 {
            seen.problems.push(text);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is not one row.
fn no_rows(awaited: &[&str]) -> String {
    match awaited {
        [] => "no row could be made: the episode was too short for one".to_owned(),
        streams => {
            format!("no row could be made: no message that can be used came from: {}", streams.join(", "))
        }
    }
}
