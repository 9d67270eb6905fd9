//! The thread that records: takes messages from the queue, obeys, ends episodes when their time is up.

mod episodes;
mod telling;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use recording::Stamps;
use recording::Topic;
use recording::align::Quality;
use recording::bag::Durability;
use recording::session::{Bytes, Session, State};

use super::latest::Latest;
use super::ring::Ring;
use super::settings::Settings;
use super::status::Board;
use crate::clock::RosClock;
use crate::raw::{Message, Queue};
use crate::ros_node::RosNode;
use crate::rosout::Logger;
use crate::spin::Stop;
use crate::throttle::Throttle;
use telling::free_bytes;

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
    /// End the episode, or, between the episodes of a run, the run.
    Stop,
    /// Throw the episode away, and end the run if it was of one.
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
            Command::Stop | Command::Discard if matches!(self.phase, Phase::Reset(_)) => self.end_run(),
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
            Phase::Reset(until) if Instant::now() >= until => Some(self.begin_next()),
            _ => None,
        };
        match ended {
            Some(Ok(text)) => self.logger.info(text),
            Some(Err(text)) => self.logger.warn(text),
            None => {}
        }
        self.show();
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
}
