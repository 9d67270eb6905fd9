//! The thread that records: takes messages from the queue, obeys, ends episodes when their time is up.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use recording::Stamps;
use recording::Topic;
use recording::align::Quality;
use recording::bag::Durability;
use recording::contract::{Align, Stream};
use recording::session::{Bytes, Outcome, Session, SessionError, State};

use super::latest::Latest;
use super::ring::Ring;
use super::settings::Settings;
use super::status::{Board, Snapshot};
use crate::clock::RosClock;
use crate::raw::{Message, Queue};
use crate::ros_node::RosNode;
use crate::rosout::Logger;
use crate::spin::Stop;
use crate::throttle::Throttle;

/// How long one wait for a message lasts.
const WAIT: Duration = Duration::from_millis(20);
/// How often flushes, times and the status are seen to.
const TICK: Duration = Duration::from_millis(100);
/// How often the disk is looked at.
const DISK_PERIOD: Duration = Duration::from_secs(1);
/// How often warnings are repeated.
const WARN_PERIOD: Duration = Duration::from_secs(5);

/// What the desk can be asked to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// Begin an episode, or go on.
    Start,
    /// End the episode.
    Stop,
    /// Throw it away.
    Discard,
    /// Record nothing for a while, or go on.
    Pause,
    /// Save what the ring holds.
    Highlight,
    /// Right arrow: end the episode, or the pause between episodes, or begin one.
    Next,
    /// Left arrow: throw the episode away, or take back the one that has just ended, and record it again.
    Again,
    /// Esc: end the episode and the node.
    Finish,
    /// The task of the next episodes.
    Task(String),
    /// What a stream's topic is like now.
    Define(usize, Box<Topic>),
    /// Another type that a stream's topic is published as.
    Foreign(usize, Option<String>),
    /// Another encoder than the contract's that a stream's tokens come from now.
    Encoder(usize, Option<String>),
}

/// A command, and who waits for its end.
pub(super) struct Ask {
    pub command: Command,
    pub reply: Option<oneshot::Sender<Result<String, String>>>,
}

/// Between episodes of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Waiting,
    Episode,
    Reset(Instant),
}

/// A message that the session may keep as long as it likes.
struct Kept(Message);

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// Records.
pub(super) struct Desk {
    session: Session,
    settings: Settings,
    queue: Arc<Queue>,
    board: Arc<Board>,
    clock: RosClock,
    logger: Logger,
    stop: Stop,
    phase: Phase,
    run_left: u64,
    task: String,
    ring: Ring,
    latest: Latest,
    /// Streams that every publisher offers to late listeners.
    latched: Vec<bool>,
    watch: Quality,
    missed: Vec<u64>,
    foreign: Vec<Option<String>>,
    encoders: Vec<Option<String>>,
    disk: (Instant, Option<u64>),
    warnings: Throttle,
    last: String,
    newest_log: u64,
}

impl Desk {
    pub fn new(
        session: Session,
        settings: &Settings,
        ros: &RosNode,
        queue: Arc<Queue>,
        board: Arc<Board>,
        stop: Stop,
    ) -> Self {
        let streams = settings.contract.streams.len();
        Self {
            session,
            queue,
            board,
            clock: ros.clock.clone(),
            logger: ros.logger.clone(),
            stop,
            phase: Phase::Waiting,
            run_left: 0,
            task: settings.task.clone(),
            ring: Ring::new(settings.highlight, settings.highlight_bytes),
            latest: Latest::new(streams),
            latched: vec![false; streams],
            watch: Quality::new(&settings.contract),
            missed: vec![0; streams],
            foreign: vec![None; streams],
            encoders: vec![None; streams],
            disk: (Instant::now(), free_bytes(&settings.root)),
            warnings: Throttle::new(WARN_PERIOD),
            last: String::new(),
            newest_log: 0,
            settings: settings.clone(),
        }
    }

    /// Works until it is asked to stop or nobody is left to ask; what is being recorded then is kept.
    pub fn run(mut self, inbox: &Receiver<Ask>) {
        let mut tick = Instant::now();
        loop {
            match inbox.try_recv() {
                Ok(ask) => self.obey(ask),
                Err(TryRecvError::Disconnected) => break,
                // The services keep their ends of the channel for as long as the node lives.
                Err(TryRecvError::Empty) if self.stop.is_set() => break,
                Err(TryRecvError::Empty) => {
                    if let Some(message) = self.queue.take(WAIT) {
                        self.message(message);
                    }
                }
            }
            if tick.elapsed() >= TICK {
                tick = Instant::now();
                self.tick();
            }
        }
        if self.session.state() != State::Idle {
            let _ = self.end("the node stopped");
        }
        let (_, peak) = self.queue.bytes();
        self.logger.info(format!("at most {:.1} MB waited to be written", peak as f64 / 1e6));
    }

    fn obey(&mut self, ask: Ask) {
        let outcome = match ask.command {
            Command::Start if self.session.state() == State::Paused => self.resume(),
            Command::Start => self.begin(),
            Command::Stop => self.end("asked to stop"),
            Command::Discard => self.discard(),
            Command::Pause if self.session.state() == State::Paused => self.resume(),
            Command::Pause => self.pause(),
            Command::Highlight => self.highlight(),
            Command::Next if self.phase == Phase::Episode => self.end("the operator ended it"),
            Command::Next => self.begin(),
            Command::Again => self.again(),
            Command::Finish => self.finish(),
            Command::Task(task) => self.set_task(task),
            Command::Define(stream, topic) => self.define(stream, *topic),
            Command::Foreign(stream, kind) => {
                self.foreign[stream] = kind;
                Ok(String::new())
            }
            Command::Encoder(stream, id) => {
                self.encoders[stream] = id;
                self.encoder_problems().into_iter().for_each(|problem| self.logger.error(problem));
                Ok(String::new())
            }
        };
        match (&outcome, ask.reply.is_some()) {
            (Err(reason), false) => self.logger.warn(reason),
            (Ok(message), false) if !message.is_empty() => self.logger.info(message),
            _ => {}
        }
        self.show();
        if let Some(reply) = ask.reply {
            // Who asked may be gone.
            let _ = reply.send(outcome);
        }
    }

    fn begin(&mut self) -> Result<String, String> {
        self.disk = (Instant::now(), free_bytes(&self.settings.root));
        if let Some(problem) = self.disk_problem() {
            return Err(problem);
        }
        if let Some(problem) = self.encoder_problems().pop() {
            return Err(problem);
        }
        // What waits was received before the episode.
        while let Some(message) = self.queue.take(Duration::ZERO) {
            self.message(message);
        }
        let number = self.session.episodes();
        self.session.start(&self.task, self.now()).map_err(|error| error.to_string())?;
        self.latest.begin();
        self.record_latest(u64::MAX)?;
        if self.run_left == 0 {
            self.run_left = self.settings.episodes;
        }
        self.phase = Phase::Episode;
        self.count_missed();
        Ok(format!("recording episode {number}: {}", self.task))
    }

    fn end(&mut self, reason: &str) -> Result<String, String> {
        self.drain();
        self.count_missed();
        let outcome = self.session.stop(reason, self.now()).map_err(|error| error.to_string());
        self.phase = Phase::Waiting;
        if outcome.as_ref().is_ok_and(|outcome| outcome.kept) {
            self.run_left = self.run_left.saturating_sub(1);
        }
        if self.run_left > 0 {
            self.phase = Phase::Reset(Instant::now() + self.settings.reset);
        }
        let outcome = outcome?;
        let text = describe(&outcome);
        self.last.clone_from(&text);
        // A rejected episode is an answer that fails, whoever asked.
        if outcome.kept { Ok(text) } else { Err(text) }
    }

    /// What was received before the end, or a pause, belongs to the episode.
    fn drain(&mut self) {
        let end = self.now() as i64;
        while self.session.state() == State::Recording
            && let Some(message) = self.queue.take(Duration::ZERO)
        {
            let later = !self.clock.is_simulated() && message.received_ns > end;
            self.message(message);
            if later {
                break;
            }
        }
    }

    /// Records what was said before and still holds, as received now: of latched topics the newest of each publisher, of streams
    /// that hold the newest. Late listeners would get it too, and nobody says it again.
    fn record_latest(&mut self, until_nanos: u64) -> Result<(), String> {
        for (stream, of) in self.settings.contract.streams.iter().enumerate() {
            if !self.latched[stream] && of.align != Some(Align::Hold) {
                continue;
            }
            for (stamps, bytes) in self.latest.take(stream, self.latched[stream], until_nanos) {
                // The session takes no stamp before its newest: that of the start.
                let stamps = Stamps { log_nanos: self.session.newest(), ..stamps };
                if let Err(error) = self.session.message(stream, stamps, &bytes) {
                    self.session.abandon();
                    self.phase = Phase::Waiting;
                    return Err(error.to_string());
                }
            }
        }
        Ok(())
    }

    fn discard(&mut self) -> Result<String, String> {
        self.session.discard().map_err(|error| error.to_string())?;
        self.phase = Phase::Waiting;
        self.run_left = 0;
        Ok("episode thrown away".to_owned())
    }

    fn again(&mut self) -> Result<String, String> {
        if let Phase::Reset(_) = self.phase {
            return self.take_back();
        }
        self.session.discard().map_err(|error| error.to_string())?;
        self.run_left = self.run_left.max(1);
        self.phase = Phase::Reset(Instant::now() + self.settings.reset);
        Ok("episode thrown away; it is recorded again".to_owned())
    }

    /// Between the episodes of a run the last one can still be taken back.
    fn take_back(&mut self) -> Result<String, String> {
        let bag = self.session.take_back().map_err(|error| error.to_string())?;
        self.run_left += 1;
        self.phase = Phase::Reset(Instant::now() + self.settings.reset);
        let text =
            format!("the last episode is taken back, its bag is now {}; it is recorded again", bag.display());
        self.last.clone_from(&text);
        Ok(text)
    }

    fn pause(&mut self) -> Result<String, String> {
        self.drain();
        self.session.pause(self.now()).map_err(|error| error.to_string())?;
        Ok("paused".to_owned())
    }

    fn resume(&mut self) -> Result<String, String> {
        while let Some(message) = self.queue.take(Duration::ZERO) {
            self.message(message);
        }
        self.session.resume(self.now()).map_err(|error| error.to_string())?;
        self.record_latest(u64::MAX)?;
        Ok("recording goes on".to_owned())
    }

    fn highlight(&mut self) -> Result<String, String> {
        if self.settings.highlight.is_zero() {
            return Err("expected parameter highlight_seconds above 0: nothing is held".to_owned());
        }
        let entries = self.ring.take();
        let Some((_, stamps, _)) = entries.first() else { return Err("nothing has come yet".to_owned()) };
        self.session.start(&self.task, stamps.log_nanos).map_err(|error| error.to_string())?;
        self.latest.begin();
        self.record_latest(stamps.log_nanos)?;
        let mut last = stamps.log_nanos;
        for (stream, stamps, bytes) in &entries {
            last = last.max(stamps.log_nanos);
            if let Err(error) = self.session.message(*stream, *stamps, bytes) {
                self.session.abandon();
                return Err(error.to_string());
            }
        }
        let outcome = self.session.stop("highlight", last).map_err(|error| error.to_string())?;
        let text = describe(&outcome);
        self.last.clone_from(&text);
        if outcome.kept { Ok(text) } else { Err(text) }
    }

    fn finish(&mut self) -> Result<String, String> {
        self.stop.set();
        match self.session.state() {
            State::Idle => Ok("stopping".to_owned()),
            _ => self.end("the operator stopped"),
        }
    }

    fn set_task(&mut self, task: String) -> Result<String, String> {
        if task.trim().is_empty() {
            return Err("~/task: expected a sentence, got nothing".to_owned());
        }
        self.task = task;
        Ok(format!("task: {}", self.task))
    }

    fn define(&mut self, stream: usize, topic: Topic) -> Result<String, String> {
        let offered = &topic.offered_qos;
        self.latched[stream] =
            !offered.is_empty() && offered.iter().all(|qos| qos.durability == Durability::TransientLocal);
        self.session.define(stream, topic).map(|()| String::new()).map_err(|error| error.to_string())
    }

    fn message(&mut self, message: Message) {
        let stamps = Stamps {
            log_nanos: self.log_nanos(message.received_ns),
            publish_nanos: u64::try_from(message.source_ns).unwrap_or(0),
            sequence: message.sequence.map_or(0, |number| number as u32),
        };
        let stream = message.stream;
        if self.encoders[stream].is_some() {
            return; // Tokens that mean something else than the dataset's.
        }
        self.watch.message(stream, stamps.log_nanos);
        let publisher = message.publisher.0;
        let bytes: Bytes = Arc::new(Kept(message));
        let recorded = self.session.state() == State::Recording;
        self.latest.note(stream, publisher, stamps, bytes.clone(), recorded);
        match self.session.state() {
            State::Recording => {
                if let Err(error) = self.session.message(stream, stamps, &bytes) {
                    self.cannot_go_on(&error);
                }
            }
            _ => self.ring.push(stream, stamps, bytes),
        }
    }

    /// When a message counts as received. Streams are taken in turns, so that one may have waited in the middleware while newer
    /// messages of others were taken: it is never before those, unless the clock itself went back.
    fn log_nanos(&mut self, received_ns: i64) -> u64 {
        let now = self.now();
        let received = if self.clock.is_simulated() { now } else { u64::try_from(received_ns).unwrap_or(0) };
        self.newest_log = received.max(self.newest_log).min(now);
        self.newest_log
    }

    /// Ends an episode that cannot be continued: keeps what there is if the disk lets it.
    fn cannot_go_on(&mut self, error: &SessionError) {
        self.logger.error(error.to_string());
        self.phase = Phase::Waiting;
        self.run_left = 0;
        if matches!(error, SessionError::ClockBack(_)) {
            let stopped = self.session.stop(&error.to_string(), 0).map(|outcome| describe(&outcome));
            self.last = stopped.unwrap_or_else(|error| error.to_string());
            self.logger.warn(&self.last);
        } else {
            self.session.abandon();
            self.last = format!("{error}; what was written is saved when the node starts again");
        }
    }

    fn tick(&mut self) {
        if let Err(error) = self.session.tick() {
            self.cannot_go_on(&error);
        }
        self.count_missed();
        if self.disk.0.elapsed() >= DISK_PERIOD {
            self.disk = (Instant::now(), free_bytes(&self.settings.root));
        }
        let ended = match self.phase {
            Phase::Episode => match (self.disk_problem(), self.is_time_up()) {
                (Some(problem), _) => Some(self.end(&problem)),
                (None, true) => Some(self.end("its time was up")),
                _ => None,
            },
            Phase::Reset(until) if Instant::now() >= until => Some(self.begin()),
            _ => None,
        };
        match ended {
            Some(Ok(text)) => self.logger.info(text),
            Some(Err(text)) => self.logger.warn(text),
            None => {}
        }
        if self.settings.episodes > 0
            && self.run_left == 0
            && !self.last.is_empty()
            && self.phase == Phase::Waiting
        {
            self.logger.info("all episodes of the run are recorded");
            self.last.clear();
        }
        self.show();
    }

    fn is_time_up(&self) -> bool {
        let seconds = self.session.quality().map_or(0.0, |quality| quality.seconds(self.now()));
        self.settings.episode.is_some_and(|longest| seconds >= longest.as_secs_f64())
    }

    /// Streams of tokens that come from another encoder than the contract's.
    fn encoder_problems(&self) -> Vec<String> {
        let streams = self.settings.contract.streams.iter().zip(&self.encoders);
        let problem = |(stream, came): (&Stream, &Option<String>)| {
            let (expected, came) = (&stream.tokens.as_ref()?.encoder_id, came.as_ref()?);
            Some(format!(
                "{}: expected tokens of encoder {expected}, as in the contract, got those of {came}; they are not recorded",
                stream.name
            ))
        };
        streams.filter_map(problem).collect()
    }

    fn disk_problem(&self) -> Option<String> {
        let free = self.disk.1.filter(|free| *free < self.settings.min_free_bytes)?;
        Some(format!(
            "{}: expected {} MB free (min_free_mb), there are {}",
            self.settings.root.display(),
            self.settings.min_free_bytes >> 20,
            free >> 20
        ))
    }

    /// Tells the session what the queue dropped and what never came.
    fn count_missed(&mut self) {
        for stream in 0..self.missed.len() {
            let counts = self.queue.counts(stream);
            let missed = counts.lost + counts.dropped;
            let more = missed - std::mem::replace(&mut self.missed[stream], missed);
            if more > 0 {
                self.session.lost(stream, more);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.nanoseconds()).unwrap_or(0)
    }

    /// Puts what is going on where the spinning thread sees it, and warns.
    fn show(&mut self) {
        let now = self.now();
        let quality = self.session.quality();
        let mut warnings: Vec<String> = quality
            .as_ref()
            .map_or(Vec::new(), |q| q.warnings(now).iter().map(ToString::to_string).collect());
        let (problems, awaited) = self.session.take_row_problems();
        for (stream, kind) in self.settings.contract.streams.iter().zip(&self.foreign) {
            let wrong = kind
                .as_ref()
                .map(|kind| format!("{}: published as {kind}, not {}", stream.name, stream.kind));
            warnings.extend(wrong);
        }
        warnings.extend(self.disk_problem());
        warnings.extend(self.encoder_problems());
        warnings.extend(self.session.rows_failed().map(|reason| format!("no more rows: {reason}")));
        let told: Vec<_> = problems.iter().chain(&warnings).cloned().collect();
        if self.session.state() == State::Recording
            && !told.is_empty()
            && let Some(more) = self.warnings.ready(Instant::now())
        {
            let more = if more == 0 { String::new() } else { format!(" ({more} more warnings not logged)") };
            self.logger.warn(format!("{}{more}", told.join("; ")));
        }
        let state = match self.phase {
            Phase::Reset(_) => "resetting",
            _ => self.session.state().name(),
        };
        self.board.show(Snapshot {
            state,
            task: self.task.clone(),
            episode: self.session.episodes(),
            seconds: quality.as_ref().map_or(0.0, |quality| quality.seconds(now)),
            rows: quality.as_ref().map_or(0, Quality::rows),
            messages: self.session.messages(),
            streams: self.watch.streams().to_vec(),
            missed: self.missed.clone(),
            now_nanos: now,
            awaited: if state == "recording" { awaited } else { Vec::new() },
            warnings,
            disk_free_bytes: self.disk.1,
            queue: self.queue.bytes(),
            last: self.last.clone(),
        });
    }
}

/// What became of an episode, in a sentence.
fn describe(outcome: &Outcome) -> String {
    let what = match (outcome.kept, outcome.episode) {
        (true, Some(episode)) => format!("episode {episode} kept"),
        (true, None) => "bag kept".to_owned(),
        (false, _) => "episode REJECTED by the gate".to_owned(),
    };
    let mut text = format!(
        "{what}: {:.1} s, {} messages, {} rows, {}",
        outcome.seconds,
        outcome.messages,
        outcome.rows,
        outcome.bag.display()
    );
    if outcome.rows_from_bag {
        text.push_str("; the rows were made from the bag, because making them live fell behind");
    }
    for failure in &outcome.failures {
        text.push_str(&format!("; {failure}"));
    }
    text
}

/// Bytes that are free where a folder is, or would be.
fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
