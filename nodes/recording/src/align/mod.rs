//! Messages into rows, by a contract: the same code while recording and afterwards, so that both give the same rows.
//!
//! Everything follows from the messages in the order of their receive stamps; no clock is looked at. Row `k` is due at `start +
//! k / fps`, where `start` is the newest of the streams' stamps when each has a message; it is made as soon as a message has
//! been received `settle_ms` later than that, and takes of each stream the message that the contract's `align` names.
//! A row is never left out because a message is missing (unless the contract says `drop`): the last one is repeated and flagged.

mod bag;
mod events;
mod layout;
mod picture;
mod quality;
mod reading;
mod track;

use std::sync::Arc;

use crate::cdr::{CdrError, FieldError};
use crate::contract::{Align, Contract, Timeline};
use crate::dataset::{Row, StreamTruth};
use crate::message::Definition;

pub use bag::{BagRows, RowsError};
pub use events::{EVENT_DEFINITION, EVENT_TOPIC, EVENT_TYPE, Event};
pub use layout::layout;
pub use quality::{Failure, Quality, StreamState};

use reading::Reading;
use track::Track;

/// A message's bytes, wherever they are kept.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Stamps further than this from the receive clock are of another clock.
const FARTHEST_NANOS: u64 = 10_000_000_000;

/// A message or a stream that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("stream {stream}: {problem}")]
pub struct AlignError {
    /// The stream's name in the contract.
    pub stream: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a message or a stream.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Its type is not described, or a message does not fit the description.
    #[error(transparent)]
    Cdr(#[from] CdrError),
    /// A field that the contract names is not there.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Something else about the message.
    #[error("expected {expected}, got {came}")]
    Message {
        /// What a message must have.
        expected: String,
        /// What it has.
        came: String,
    },
    /// A header's stamp that cannot be of the receive clock.
    #[error(
        "expected a stamp within 10 s of its arrival, got one {seconds} s from it: is the publisher's clock another one? \
         `timeline: receive` takes the arrival instead"
    )]
    Clock {
        /// Stamp less arrival.
        seconds: i64,
    },
    /// The type has no header to take a stamp from.
    #[error("expected a type that begins with a std_msgs/Header, or `timeline: receive`")]
    NoHeader,
    /// A message received before the one before it, by more than a second.
    #[error("the clock jumped back by {seconds} s")]
    ClockBack {
        /// By how much.
        seconds: u64,
    },
}

/// Makes rows of messages.
pub struct Aligner {
    contract: Contract,
    /// The streams that become part of rows, by their index in the contract.
    tracks: Vec<Track>,
    track_of: Vec<Option<usize>>,
    /// Which tracks each feature takes.
    plan: Vec<Vec<usize>>,
    /// Time and number of the row that the present segment began with.
    start: Option<(u64, u64)>,
    next: u64,
    newest: u64,
    /// Rows before then wait no longer for messages under way: recording stopped there.
    settled: u64,
    /// When the present segment's first message came: none of its rows is before that. Nothing until it comes.
    floor: Option<u64>,
    paused: bool,
    errors: Vec<AlignError>,
    misses: Misses,
}

/// What the rows so far had to do without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Misses {
    /// Rows that were left out.
    pub rows: u64,
    /// Of each stream that becomes part of rows, in the contract's order.
    pub streams: Vec<StreamMisses>,
}

/// What the rows so far had to do without of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamMisses {
    /// Rows that were left out, because its message was too old (`align: drop`) or none could be used yet.
    pub left_out: u64,
    /// Rows that show an older message than there was, because newer ones could not be used.
    pub outdated: u64,
}

impl std::fmt::Debug for Aligner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Aligner at row {}", self.next)
    }
}

/// A silence of all streams longer than this ends a segment: its rows would repeat one message for ever.
const LONGEST_SILENCE_NANOS: u64 = 10_000_000_000;
/// A clock that goes back by less is only jitter.
const BACK_NANOS: u64 = 1_000_000_000;

impl Aligner {
    /// An aligner before the first message.
    pub fn new(contract: &Contract) -> Self {
        let aligned = contract.streams.iter().filter(|stream| stream.is_aligned());
        let tracks: Vec<_> = aligned.map(Track::new).collect();
        let mut next = 0..;
        let track_of =
            contract.streams.iter().map(|stream| stream.is_aligned().then(|| next.next()).flatten());
        Self {
            contract: contract.clone(),
            plan: layout::plan(contract),
            track_of: track_of.collect(),
            misses: Misses { rows: 0, streams: vec![StreamMisses::default(); tracks.len()] },
            tracks,
            start: None,
            next: 0,
            newest: 0,
            settled: 0,
            floor: Some(0),
            paused: false,
            errors: Vec::new(),
        }
    }

    /// Says what a stream's messages are made of; before its first message.
    ///
    /// # Errors
    /// The definition is not understood, or does not go with the contract.
    pub fn define(&mut self, stream: usize, definition: &Definition) -> Result<(), AlignError> {
        let Some(track) = self.track_of[stream] else { return Ok(()) };
        let stream = &self.contract.streams[stream];
        let wrong = |problem| AlignError { stream: stream.name.clone(), problem };
        if stream.timeline == Timeline::Header && !begins_with_header(&definition.text) {
            return Err(wrong(Problem::NoHeader));
        }
        self.tracks[track].reading = Some(Reading::new(stream, definition).map_err(wrong)?);
        Ok(())
    }

    /// Takes in a message: its stream's index in the contract, when it was received, its bytes. Then [`Aligner::row`] is to be
    /// asked until it gives nothing.
    ///
    /// # Errors
    /// The message cannot be used, and is not; it counts as one that never came. After [`Problem::ClockBack`] no message can be
    /// used any more.
    pub fn push(&mut self, stream: usize, log_nanos: u64, bytes: &Bytes) -> Result<(), AlignError> {
        if let Some(back) = self.newest.checked_sub(log_nanos).filter(|back| *back > BACK_NANOS) {
            return Err(self.refusal(stream, Problem::ClockBack { seconds: back / 1_000_000_000 }));
        }
        if self.newest > 0 && log_nanos.saturating_sub(self.newest) > LONGEST_SILENCE_NANOS {
            self.new_segment();
        }
        self.newest = self.newest.max(log_nanos);
        let Some(track) = self.track_of[stream].filter(|_| !self.paused) else { return Ok(()) };
        self.floor.get_or_insert(log_nanos);
        let stamp = stamp(self.contract.streams[stream].timeline, log_nanos, (**bytes).as_ref());
        let stamp = stamp.map_err(|problem| {
            // Its own stamp says nothing.
            self.tracks[track].refuse(log_nanos);
            self.refusal(stream, problem)
        })?;
        self.tracks[track].insert(stamp, bytes.clone());
        if self.start.is_none() {
            self.begin();
        }
        Ok(())
    }

    /// Nothing received later belongs to the rows before this moment: they wait for nothing more. [`Aligner::row`] is to be
    /// asked until it gives nothing.
    pub fn settle(&mut self, log_nanos: u64) {
        // After a long silence there are no rows, as between messages.
        let silent = log_nanos.saturating_sub(self.newest) > LONGEST_SILENCE_NANOS;
        self.settled = if silent { self.newest } else { log_nanos };
    }

    /// Ends the rows until [`Aligner::resume`]; what has not settled yet is left out, see [`Aligner::settle`].
    pub fn pause(&mut self) {
        self.paused = true;
        self.new_segment();
    }

    /// Goes on after [`Aligner::pause`], with a new start.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// The next row that is settled.
    pub fn row(&mut self) -> Option<Row> {
        loop {
            let segment = self.start?;
            let due = self.due(segment, self.next)?;
            let settled = due.checked_add(u64::from(self.contract.settle_ms) * 1_000_000)?;
            if settled > self.newest && due >= self.settled {
                return None;
            }
            if let Some(row) = self.make(due) {
                self.next += 1;
                return Some(row);
            }
            // A row that is left out moves the start, so that the next one has its number.
            self.start = self.due(segment, self.next + 1).map(|due| (due, self.next));
        }
    }

    /// When a row of a segment is due; nothing when the clock ends before.
    fn due(&self, (start, first): (u64, u64), row: u64) -> Option<u64> {
        start.checked_add((self.contract.row_offset_ns(row) - self.contract.row_offset_ns(first)) as u64)
    }

    fn refusal(&self, stream: usize, problem: Problem) -> AlignError {
        AlignError { stream: self.contract.streams[stream].name.clone(), problem }
    }

    /// Messages that were to be shown in a row and could not be, since this was last asked; their rows repeat older ones.
    pub fn take_errors(&mut self) -> Vec<AlignError> {
        std::mem::take(&mut self.errors)
    }

    /// What the rows so far had to do without.
    pub fn misses(&self) -> &Misses {
        &self.misses
    }

    /// Names of the streams that no message has come from yet that can be used, so that rows cannot begin.
    pub fn awaited(&self) -> Vec<&str> {
        let awaited = |track: &&Track| track.is_unreadable() || (self.start.is_none() && track.is_empty());
        self.tracks.iter().filter(awaited).map(|track| track.name()).collect()
    }

    fn new_segment(&mut self) {
        (self.start, self.floor, self.settled) = (None, None, 0);
        self.tracks.iter_mut().for_each(Track::clear);
    }

    /// Begins a segment when every stream has a message.
    fn begin(&mut self) {
        self.tracks.iter_mut().for_each(Track::keep_newest);
        let stamps: Option<Vec<u64>> = self.tracks.iter().map(Track::newest).collect();
        // A value that holds from before a pause begins no row in it.
        let newest = stamps.and_then(|stamps| stamps.into_iter().chain(self.floor).max());
        self.start = newest.map(|start| (start, self.next));
    }

    /// The row that is due; nothing when the contract says to leave it out.
    fn make(&mut self, due: u64) -> Option<Row> {
        let mut streams = Vec::with_capacity(self.tracks.len());
        let mut left_out = false;
        for (track, misses) in self.tracks.iter_mut().zip(&mut self.misses.streams) {
            let Some((shown, repeated, stale)) = track.show(due, &mut self.errors) else {
                misses.left_out += 1;
                self.misses.rows += 1;
                return None;
            };
            let missing = stale && track.align() == Align::Drop;
            misses.left_out += u64::from(missing);
            left_out |= missing;
            streams.push(StreamTruth { stamp_nanos: shown, repeated, stale });
        }
        if left_out {
            self.misses.rows += 1;
            return None;
        }
        for (track, misses) in self.tracks.iter_mut().zip(&mut self.misses.streams) {
            misses.outdated += u64::from(track.is_outdated(due));
        }
        let values = layout::cells(&self.plan, &self.tracks);
        Some(Row { time_nanos: due, values, streams })
    }
}

fn stamp(timeline: Timeline, log_nanos: u64, message: &[u8]) -> Result<u64, Problem> {
    if timeline == Timeline::Receive {
        return Ok(log_nanos);
    }
    let stamp = header_stamp_nanos(message)?;
    let distance = stamp.saturating_sub(i64::try_from(log_nanos).unwrap_or(i64::MAX));
    match u64::try_from(stamp) {
        Ok(stamp) if distance.unsigned_abs() <= FARTHEST_NANOS => Ok(stamp),
        _ => Err(Problem::Clock { seconds: distance / 1_000_000_000 }),
    }
}

/// The stamp of a message that begins with a `std_msgs/Header`; the rest is not looked at, so that recording stays cheap.
fn header_stamp_nanos(message: &[u8]) -> Result<i64, Problem> {
    let [0, order @ (0 | 1), _, _, s0, s1, s2, s3, n0, n1, n2, n3, ..] = *message else {
        let came = message.iter().take(12).copied().collect();
        return Err(CdrError::Encapsulation { came }.into());
    };
    let (sec, nanosec) = ([s0, s1, s2, s3], [n0, n1, n2, n3]);
    let (sec, nanosec) = match order {
        1 => (i32::from_le_bytes(sec), u32::from_le_bytes(nanosec)),
        _ => (i32::from_be_bytes(sec), u32::from_be_bytes(nanosec)),
    };
    Ok(i64::from(sec) * 1_000_000_000 + i64::from(nanosec))
}

/// Whether the first field of a definition is a `std_msgs/Header`.
fn begins_with_header(definition: &str) -> bool {
    let code = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let is_field = |line: &String| !line.is_empty() && !line.contains('=');
    let first = definition.lines().map(code).find(is_field).unwrap_or_default();
    first
        .split_whitespace()
        .next()
        .is_some_and(|kind| matches!(kind, "std_msgs/Header" | "std_msgs/msg/Header"))
}

#[cfg(test)]
mod tests;
