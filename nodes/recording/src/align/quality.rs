//! How good an episode is: rates, gaps, skew, missing messages, against the contract.

use std::collections::VecDeque;
use std::fmt;

use super::Misses;
use crate::contract::{Align, Contract, Gate, Role, Stream};
use crate::dataset::Row;

/// The window of a stream's present rate.
const WINDOW_NANOS: u64 = 2_000_000_000;
/// Rows before which the share of them that miss a message is not warned of.
const FEW_ROWS: u64 = 20;

/// What was seen of one stream in an episode.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamState {
    /// Its messages.
    pub messages: u64,
    /// Messages that were lost on the way or dropped here.
    pub lost: u64,
    /// When the newest was received.
    pub newest_nanos: u64,
    /// Longest time between two messages.
    pub longest_gap_nanos: u64,
    /// Rows in which it was older than its tolerance.
    pub stale_rows: u64,
    /// Rows that were left out for want of it.
    pub left_out_rows: u64,
    /// Rows that show an older message than there was, because newer ones could not be used.
    pub outdated_rows: u64,
    recent: VecDeque<u64>,
}

impl StreamState {
    /// Messages per second over the last two seconds before `now_nanos`.
    pub fn rate_hz(&self, now_nanos: u64) -> f64 {
        let since = now_nanos.saturating_sub(WINDOW_NANOS);
        let count = self.recent.iter().filter(|stamp| **stamp > since).count();
        count as f64 * 1e9 / WINDOW_NANOS as f64
    }
}

/// A reason not to keep an episode.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Too short.
    Short {
        /// How long it is, in seconds.
        seconds: f64,
        /// How long it must be.
        expected: f64,
    },
    /// A stream was slower than it should be.
    Rate {
        /// The stream.
        stream: String,
        /// Its messages per second.
        hz: f64,
        /// The lowest allowed.
        expected: f64,
    },
    /// A stream paused.
    Gap {
        /// The stream.
        stream: String,
        /// For how long, in seconds.
        seconds: f64,
        /// The longest allowed.
        expected: f64,
    },
    /// A stream was missing in too many rows.
    Missing {
        /// The stream.
        stream: String,
        /// In which share of the rows.
        share: f64,
        /// The largest allowed.
        expected: f64,
    },
    /// Too many rows were left out for want of a stream.
    LeftOut {
        /// The stream.
        stream: String,
        /// Which share of those that were due.
        share: f64,
        /// The largest allowed.
        expected: f64,
    },
    /// Too many rows hold an older message of a stream, because newer ones could not be used.
    Outdated {
        /// The stream.
        stream: String,
        /// Which share of the rows.
        share: f64,
        /// The largest allowed.
        expected: f64,
    },
    /// The observations of a row were taken too far apart.
    Skew {
        /// How far, in seconds.
        seconds: f64,
        /// The farthest allowed.
        expected: f64,
    },
    /// There are no rows, or not all of them.
    Rows {
        /// Why.
        reason: String,
    },
    /// Messages were lost.
    Lost {
        /// The stream.
        stream: String,
        /// How many.
        messages: u64,
        /// The most allowed.
        expected: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { seconds, expected } => {
                write!(f, "{seconds:.2} s long, expected at least {expected:.2}")
            }
            Self::Rate { stream, hz, expected } => {
                write!(f, "{stream}: {hz:.1} messages per second, expected at least {expected:.1}")
            }
            Self::Gap { stream, seconds, expected } => {
                write!(f, "{stream}: a gap of {seconds:.3} s, expected at most {expected:.3}")
            }
            Self::Missing { stream, share, expected } => {
                write!(f, "{stream}: missing in {}", of_rows(*share, *expected))
            }
            Self::LeftOut { stream, share, expected } => {
                write!(f, "{stream}: its absence left out {}", of_rows(*share, *expected))
            }
            Self::Outdated { stream, share, expected } => {
                let rows = of_rows(*share, *expected);
                write!(f, "{stream}: newer messages could not be used in {rows}")
            }
            Self::Skew { seconds, expected } => {
                write!(f, "observations of a row {seconds:.3} s apart, expected at most {expected:.3}")
            }
            Self::Rows { reason } => f.write_str(reason),
            Self::Lost { stream, messages, expected } => {
                write!(f, "{stream}: {messages} messages lost, expected at most {expected}")
            }
        }
    }
}

fn of_rows(share: f64, expected: f64) -> String {
    format!("{:.1} % of the rows, expected at most {:.1}", 100.0 * share, 100.0 * expected)
}

/// What was seen of an episode.
#[derive(Debug, Clone)]
pub struct Quality {
    gate: Gate,
    contract: Vec<Stream>,
    streams: Vec<StreamState>,
    aligned: Vec<usize>,
    rows: u64,
    left_out: u64,
    worst_skew_nanos: u64,
    active_nanos: u64,
    active_since: Option<u64>,
}

impl Quality {
    /// Before an episode's first message.
    pub fn new(contract: &Contract) -> Self {
        let aligned = (0..contract.streams.len()).filter(|i| contract.streams[*i].is_aligned()).collect();
        Self {
            gate: contract.gate.clone(),
            contract: contract.streams.clone(),
            streams: vec![StreamState::default(); contract.streams.len()],
            aligned,
            rows: 0,
            left_out: 0,
            worst_skew_nanos: 0,
            active_nanos: 0,
            active_since: None,
        }
    }

    /// Notes a message.
    pub fn message(&mut self, stream: usize, log_nanos: u64) {
        let begun = *self.active_since.get_or_insert(log_nanos);
        let state = &mut self.streams[stream];
        let before = state.newest_nanos.max(begun);
        state.longest_gap_nanos = state.longest_gap_nanos.max(log_nanos.saturating_sub(before));
        state.newest_nanos = log_nanos;
        state.messages += 1;
        state.recent.push_back(log_nanos);
        while state.recent.front().is_some_and(|oldest| oldest.saturating_add(WINDOW_NANOS) < log_nanos) {
            state.recent.pop_front();
        }
    }

    /// Notes messages of a stream that were lost.
    pub fn lost(&mut self, stream: usize, messages: u64) {
        self.streams[stream].lost += messages;
    }

    /// Notes a row.
    pub fn row(&mut self, row: &Row) {
        self.rows += 1;
        let (mut first, mut last) = (u64::MAX, 0);
        for (truth, index) in row.streams.iter().zip(&self.aligned) {
            if truth.stale {
                self.streams[*index].stale_rows += 1;
            } else if self.contract[*index].role == Role::Observation {
                first = first.min(truth.stamp_nanos);
                last = last.max(truth.stamp_nanos);
            }
        }
        self.worst_skew_nanos = self.worst_skew_nanos.max(last.saturating_sub(first));
    }

    /// Notes what all rows so far had to do without.
    pub fn misses(&mut self, misses: &Misses) {
        self.left_out = misses.rows;
        for (of, index) in misses.streams.iter().zip(&self.aligned) {
            let state = &mut self.streams[*index];
            (state.left_out_rows, state.outdated_rows) = (of.left_out, of.outdated);
        }
    }

    /// Takes over what another thread saw of the rows.
    pub fn add_rows(&mut self, other: &Self) {
        self.rows = other.rows;
        self.left_out = other.left_out;
        self.worst_skew_nanos = other.worst_skew_nanos;
        for (state, other) in self.streams.iter_mut().zip(&other.streams) {
            state.stale_rows = other.stale_rows;
            state.left_out_rows = other.left_out_rows;
            state.outdated_rows = other.outdated_rows;
        }
    }

    /// Recording stops for a while, or ends.
    pub fn pause(&mut self, log_nanos: u64) {
        let Some(since) = self.active_since.take() else { return };
        self.active_nanos = self.active_nanos.saturating_add(log_nanos.saturating_sub(since));
        for state in self.streams.iter_mut() {
            let silence = log_nanos.saturating_sub(state.newest_nanos.max(since));
            state.longest_gap_nanos = state.longest_gap_nanos.max(silence);
        }
    }

    /// Recording begins, or goes on.
    pub fn resume(&mut self, log_nanos: u64) {
        self.active_since = Some(log_nanos);
    }

    /// What was seen of each stream of the contract.
    pub fn streams(&self) -> &[StreamState] {
        &self.streams
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Seconds recorded until now, pauses left out.
    pub fn seconds(&self, now_nanos: u64) -> f64 {
        let running = self.active_since.map_or(0, |since| now_nanos.saturating_sub(since));
        self.active_nanos.saturating_add(running) as f64 / 1e9
    }

    /// What is wrong at this moment, streams that are silent or slow; and what the episode will be refused for already: a
    /// gap that was too long, lost messages, skew, too many rows with a message missing, outdated or left out.
    pub fn warnings(&self, now_nanos: u64) -> Vec<Failure> {
        let Some(since) = self.active_since else { return Vec::new() };
        let mut found = Vec::new();
        for (stream, state) in self.expected() {
            let name = || stream.name.clone();
            let silence = now_nanos.saturating_sub(state.newest_nanos.max(since));
            let gap = silence.max(state.longest_gap_nanos) as f64 / 1e9;
            let longest = self.gate.max_gap_periods / stream.rate_hz;
            let hz = state.rate_hz(now_nanos);
            let slowest = self.gate.min_rate * stream.rate_hz;
            if gap > longest {
                found.push(Failure::Gap { stream: name(), seconds: gap, expected: longest });
            } else if now_nanos.saturating_sub(since) > WINDOW_NANOS && hz < slowest && slowest > 1.0 {
                found.push(Failure::Rate { stream: name(), hz, expected: slowest });
            }
        }
        // A share of few rows says nothing yet.
        let is_share = |failure: &Failure| {
            matches!(failure, Failure::Missing { .. } | Failure::LeftOut { .. } | Failure::Outdated { .. })
        };
        let says = |failure: &Failure| self.rows + self.left_out >= FEW_ROWS || !is_share(failure);
        found.extend(self.row_failures().into_iter().filter(says));
        found
    }

    /// Why the episode should not be kept; nothing when it is good. After [`Quality::pause`].
    pub fn failures(&self) -> Vec<Failure> {
        let mut found = Vec::new();
        let seconds = self.active_nanos as f64 / 1e9;
        if seconds < self.gate.min_seconds {
            found.push(Failure::Short { seconds, expected: self.gate.min_seconds });
        }
        for (stream, state) in self.expected() {
            let name = || stream.name.clone();
            let (hz, slowest) =
                (state.messages as f64 / seconds.max(1e-9), self.gate.min_rate * stream.rate_hz);
            // One message more or less is the episode's edge, not the stream's rate.
            if (state.messages + 1) as f64 / seconds.max(1e-9) < slowest {
                found.push(Failure::Rate { stream: name(), hz, expected: slowest });
            }
            let gap = state.longest_gap_nanos as f64 / 1e9;
            let longest = self.gate.max_gap_periods / stream.rate_hz;
            if gap > longest {
                found.push(Failure::Gap { stream: name(), seconds: gap, expected: longest });
            }
        }
        found.extend(self.row_failures());
        found
    }

    /// What rows and losses tell against the episode so far.
    fn row_failures(&self) -> Vec<Failure> {
        let mut found = Vec::new();
        for (stream, state) in self.contract.iter().zip(&self.streams) {
            let name = || stream.name.clone();
            found.extend(self.missing(stream, state));
            if state.lost > self.gate.max_lost {
                let (messages, expected) = (state.lost, self.gate.max_lost);
                found.push(Failure::Lost { stream: name(), messages, expected });
            }
        }
        let skew = self.worst_skew_nanos as f64 / 1e9;
        if skew > self.gate.max_skew_ms / 1e3 {
            found.push(Failure::Skew { seconds: skew, expected: self.gate.max_skew_ms / 1e3 });
        }
        found
    }

    /// Whether too many rows had to do without a stream; what that means depends on how it is aligned.
    fn missing(&self, stream: &Stream, state: &StreamState) -> Vec<Failure> {
        let expected = self.gate.max_missing;
        let share =
            |rows: u64, of: u64| Some(rows as f64 / of.max(1) as f64).filter(|share| *share > expected);
        let stream_name = || stream.name.clone();
        let mut found = Vec::new();
        if let Some(share) = share(state.left_out_rows, self.rows + self.left_out) {
            found.push(Failure::LeftOut { stream: stream_name(), share, expected });
        }
        match stream.align {
            Some(Align::AsOf | Align::Next) => {
                found.extend(share(state.stale_rows, self.rows).map(|share| Failure::Missing {
                    stream: stream_name(),
                    share,
                    expected,
                }))
            }
            // However old what it holds may be, it must be the newest there was.
            Some(Align::Hold) => {
                found.extend(share(state.outdated_rows, self.rows).map(|share| Failure::Outdated {
                    stream: stream_name(),
                    share,
                    expected,
                }))
            }
            Some(Align::Drop) | None => {}
        }
        found
    }

    /// Streams that are expected at a rate.
    fn expected(&self) -> impl Iterator<Item = (&Stream, &StreamState)> {
        self.contract.iter().zip(&self.streams).filter(|(stream, _)| stream.rate_hz > 0.0)
    }
}
