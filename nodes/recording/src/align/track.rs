//! One stream's messages on their way into rows.

use std::collections::VecDeque;

use super::reading::{Decoded, Reading};
use super::{AlignError, Bytes};
use crate::contract::{Align, Stream};

/// Messages that cannot be used of which the stamps are kept while no row is due.
const MOST_REFUSED: usize = 1000;

/// The messages of one stream that rows may still show, by stamp, and what the last row showed.
pub(super) struct Track {
    name: String,
    align: Align,
    tolerance_nanos: u64,
    pub reading: Option<Reading>,
    waiting: VecDeque<(u64, Bytes)>,
    shown: Option<(u64, Decoded)>,
    /// The stamp that the row before showed.
    before: Option<u64>,
    /// Whether a message could not be read, and none could be yet.
    unreadable: bool,
    /// Stamps of messages that could not be used, the oldest first; none before the newest that the last row was due after.
    refused: VecDeque<u64>,
}

impl Track {
    pub fn new(stream: &Stream) -> Self {
        Self {
            name: stream.name.clone(),
            align: stream.align.unwrap_or(Align::Hold),
            tolerance_nanos: u64::from(stream.tolerance_ms) * 1_000_000,
            reading: None,
            waiting: VecDeque::new(),
            shown: None,
            before: None,
            unreadable: false,
            refused: VecDeque::new(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn align(&self) -> Align {
        self.align
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.shown.is_none()
    }

    /// Whether messages came, and none of them could be read.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable && self.shown.is_none()
    }

    /// Forgets what was before a pause; only what holds until something newer comes goes on to hold.
    pub fn clear(&mut self) {
        if self.align == Align::Hold {
            self.keep_newest();
            return;
        }
        self.waiting.clear();
        self.shown = None;
    }

    /// Stamps may come out of order; of equal ones the later message counts.
    pub fn insert(&mut self, stamp: u64, bytes: Bytes) {
        let place = self.waiting.partition_point(|(earlier, _)| *earlier <= stamp);
        self.waiting.insert(place, (stamp, bytes));
    }

    /// Notes a message that cannot be used.
    pub fn refuse(&mut self, stamp: u64) {
        if self.refused.len() == MOST_REFUSED {
            self.refused.pop_front();
        }
        let place = self.refused.partition_point(|earlier| *earlier <= stamp);
        self.refused.insert(place, stamp);
    }

    /// Whether a message between the one that is shown and the row's time could not be used.
    pub fn is_outdated(&mut self, due: u64) -> bool {
        let past = self.refused.partition_point(|stamp| *stamp <= due);
        self.refused.drain(..past.saturating_sub(1));
        let shown = self.shown.as_ref().map(|(stamp, _)| *stamp);
        past > 0 && self.refused.front().copied() > shown
    }

    pub fn keep_newest(&mut self) {
        while self.waiting.len() > 1 {
            self.waiting.pop_front();
        }
    }

    pub fn newest(&self) -> Option<u64> {
        let shown = self.shown.as_ref().map(|(stamp, _)| *stamp);
        self.waiting.back().map(|(stamp, _)| *stamp).max(shown)
    }

    /// What the last row showed.
    pub fn decoded(&self) -> Option<&Decoded> {
        self.shown.as_ref().map(|(_, decoded)| decoded)
    }

    /// Chooses the message for a row: its stamp, whether the row before showed it too, whether it is too old (or, for `next`,
    /// not the one that was asked for). Nothing when there is none at all.
    pub fn show(&mut self, due: u64, errors: &mut Vec<AlignError>) -> Option<(u64, bool, bool)> {
        if self.align == Align::Next && self.show_next(due, errors) {
            return self.truth(false);
        }
        // The newest that is not later, skipping those that cannot be decoded.
        loop {
            let until = self.waiting.partition_point(|(stamp, _)| *stamp <= due);
            let Some((stamp, bytes)) = until.checked_sub(1).and_then(|last| self.waiting.remove(last)) else {
                break;
            };
            if let Some(decoded) = self.decode(stamp, &bytes, errors) {
                self.waiting.drain(..until - 1);
                self.shown = Some((stamp, decoded));
                break;
            }
        }
        let age = self.shown.as_ref().map(|(stamp, _)| due.saturating_sub(*stamp))?;
        self.truth(self.align == Align::Next || age > self.tolerance_nanos)
    }

    /// Shows the first message at or after the row's time, if it is within the tolerance.
    fn show_next(&mut self, due: u64, errors: &mut Vec<AlignError>) -> bool {
        loop {
            let first = self.waiting.partition_point(|(stamp, _)| *stamp < due);
            let latest = due.saturating_add(self.tolerance_nanos);
            let Some((stamp, bytes)) = self.waiting.get(first).filter(|(stamp, _)| *stamp <= latest).cloned()
            else {
                return false;
            };
            if self.shown.as_ref().is_some_and(|(shown, _)| *shown == stamp) {
                return true;
            }
            match self.decode(stamp, &bytes, errors) {
                Some(decoded) => {
                    // It stays: the next row may be due before it, too.
                    self.waiting.drain(..first);
                    self.shown = Some((stamp, decoded));
                    return true;
                }
                None => drop(self.waiting.remove(first)),
            }
        }
    }

    fn truth(&mut self, stale: bool) -> Option<(u64, bool, bool)> {
        let stamp = self.shown.as_ref().map(|(stamp, _)| *stamp)?;
        let repeated = self.before.replace(stamp) == Some(stamp);
        Some((stamp, repeated, stale))
    }

    fn decode(&mut self, stamp: u64, bytes: &Bytes, errors: &mut Vec<AlignError>) -> Option<Decoded> {
        let decoded = self.reading.as_ref()?.decode((**bytes).as_ref());
        self.unreadable = decoded.is_err();
        if decoded.is_err() {
            self.refuse(stamp);
        }
        let refused = |problem| errors.push(AlignError { stream: self.name.clone(), problem });
        decoded.map_err(refused).ok()
    }
}
