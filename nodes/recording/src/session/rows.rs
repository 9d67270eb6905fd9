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
    Pause,
    Resume,
    End(Sender<RowsOutcome>),
    Commit(String, serde_json::Value, Sender<Result<Committed, String>>),
    FromBag(PathBuf, String, serde_json::Value, Sender<Result<Committed, String>>),
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
        let seen = Seen { quality: Quality::new(contract), problems: Vec::new(), awaited: Vec::new() };
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
            failed: None,
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

    pub fn pause(&self) {
        self.send(Command::Pause);
    }

    pub fn resume(&self) {
        self.send(Command::Resume);
    }

    /// Waits until all messages that were handed over are rows.
    pub fn end(&mut self) -> RowsOutcome {
        let nothing = || RowsOutcome { rows: 0, quality: self.quality(), fell_behind: true };
        self.ask(Command::End).unwrap_or_else(nothing)
    }

    pub fn commit(&mut self, task: &str, provenance: serde_json::Value) -> Result<Committed, String> {
        self.ask(|reply| Command::Commit(task.to_owned(), provenance, reply))
            .unwrap_or_else(|| Err(GONE.to_owned()))
    }

    pub fn commit_from_bag(
        &mut self,
        bag: &Path,
        task: &str,
        provenance: serde_json::Value,
    ) -> Result<Committed, String> {
        self.ask(|reply| Command::FromBag(bag.to_owned(), task.to_owned(), provenance, reply))
            .unwrap_or_else(|| Err(GONE.to_owned()))
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
    /// Why the present episode's rows cannot be committed.
    failed: Option<String>,
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
                Command::Pause => self.aligner.pause(),
                Command::Resume => self.aligner.resume(),
                Command::End(reply) => drop(reply.send(self.outcome())),
                Command::Commit(task, provenance, reply) => {
                    drop(reply.send(self.commit(&task, &provenance)));
                }
                Command::FromBag(bag, task, provenance, reply) => {
                    drop(reply.send(self.commit_from_bag(&bag, &task, &provenance)));
                }
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
        self.failed = None;
        self.aligner = Aligner::new(&self.contract);
        for (stream, definition) in std::mem::take(&mut self.definitions) {
            self.define(stream, &definition);
            self.definitions.push((stream, definition));
        }
        self.seen().quality = Quality::new(&self.contract);
        self.writer.begin_episode(task).map_err(|error| error.to_string())
    }

    fn message(&mut self, stream: usize, log_nanos: u64, bytes: &Bytes) {
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self.aligner.push(stream, log_nanos, bytes) {
            self.problem(error.to_string());
        }
        while let Some(row) = self.aligner.row() {
            self.seen().quality.row(&row);
            if let Err(error) = self.writer.push(&row) {
                self.problem(error.to_string());
                self.failed = Some(error.to_string());
                return;
            }
        }
        let errors = self.aligner.take_errors();
        errors.into_iter().for_each(|error| self.problem(error.to_string()));
        let awaited = self.aligner.awaited().into_iter().map(str::to_owned).collect();
        self.seen().awaited = awaited;
    }

    fn outcome(&mut self) -> RowsOutcome {
        let fell_behind = self.shared.fell_behind.load(Ordering::Relaxed);
        RowsOutcome { rows: self.writer.rows(), quality: self.seen().quality.clone(), fell_behind }
    }

    fn commit(&mut self, task: &str, provenance: &serde_json::Value) -> Result<Committed, String> {
        if let Some(reason) = self.failed.take() {
            return Err(reason);
        }
        if self.writer.rows() == 0 {
            let awaited = self.aligner.awaited().join(", ");
            self.writer.discard().map_err(|error| error.to_string())?;
            return Err(format!("no row could be made; no message that can be used came from: {awaited}"));
        }
        let committed = self.writer.commit(task, provenance).map_err(|error| error.to_string())?;
        self.shared.episodes.store(self.writer.episodes(), Ordering::Relaxed);
        Ok(committed)
    }

    /// Makes the rows anew, from the bag.
    fn commit_from_bag(
        &mut self,
        bag: &Path,
        task: &str,
        provenance: &serde_json::Value,
    ) -> Result<Committed, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        self.failed = None;
        self.writer.discard().map_err(|error| text(&error))?;
        self.writer.begin_episode(task).map_err(|error| text(&error))?;
        let bag = BagReader::open(bag).map_err(|error| text(&error))?;
        for row in BagRows::new(&bag, &self.contract).map_err(|error| text(&error))? {
            self.writer.push(&row.map_err(|error| text(&error))?).map_err(|error| text(&error))?;
        }
        self.commit(task, provenance)
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
