//! What was taken and waits to be used: bounded in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Buffer;
use super::subscription::Publisher;

/// The encapsulation header that CDR begins with. Fast DDS was seen to hand over messages without a byte (a busy machine, an earlier
/// subscriber killed); they count as lost.
const HEADER: usize = 4;

/// A serialised message with what the middleware knows of it.
#[derive(Debug)]
pub struct Message {
    /// Which subscription it came by, as its maker numbered it.
    pub stream: usize,
    /// CDR with its encapsulation header.
    pub bytes: Buffer,
    /// When its publisher published it, nanoseconds since 1970 of the publisher's machine; 0 when unknown.
    pub source_ns: i64,
    /// When it arrived here, nanoseconds since 1970.
    pub received_ns: i64,
    /// Who published it.
    pub publisher: Publisher,
    /// Its number among its publisher's messages, where the middleware numbers them.
    pub sequence: Option<u64>,
}

/// What became of a subscription's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken from the middleware, those dropped here included.
    pub received: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that did not fit into the queue.
    pub dropped: u64,
    /// Messages that never reached us, by gaps in their publishers' numbers.
    pub lost: u64,
}

/// A queue between the receiver and whoever uses the messages.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    budget: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Message>,
    bytes: usize,
    peak: usize,
    closed: bool,
    counts: BTreeMap<usize, Counts>,
}

impl Queue {
    /// A queue of at most so many bytes of messages.
    pub fn new(budget: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), budget }
    }

    /// Adds a message, or drops it when it does not fit. `lost` is how many went missing before it.
    pub(super) fn put(&self, message: Message, lost: u64) {
        let mut state = self.lock();
        let size = message.bytes.len();
        let fits = state.bytes.saturating_add(size) <= self.budget && !state.closed;
        let counts = state.counts.entry(message.stream).or_default();
        counts.received += 1;
        counts.bytes += size as u64;
        counts.lost += lost;
        if size < HEADER {
            counts.lost += 1;
            return;
        }
        if !fits {
            counts.dropped += 1;
            return;
        }
        state.bytes += size;
        state.peak = state.peak.max(state.bytes);
        state.waiting.push_back(message);
        drop(state);
        self.filled.notify_one();
    }

    /// The oldest message; nothing when none comes within `patience`, or the queue is closed and empty.
    pub fn take(&self, patience: Duration) -> Option<Message> {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(message) = state.waiting.pop_front() {
                state.bytes -= message.bytes.len();
                return Some(message);
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return None;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets nothing more in; what waits can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// What became of a subscription's messages so far.
    pub fn counts(&self, stream: usize) -> Counts {
        self.lock().counts.get(&stream).copied().unwrap_or_default()
    }

    /// Bytes that wait now, and the most that ever did.
    pub fn bytes(&self) -> (usize, usize) {
        let state = self.lock();
        (state.bytes, state.peak)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::{Pool, filled};
    use super::*;

    fn message(stream: usize, size: usize) -> Message {
        let bytes = filled(&Pool::new(0), &vec![7; size]);
        Message {
            stream,
            bytes,
            source_ns: 1,
            received_ns: 2,
            publisher: Publisher::default(),
            sequence: Some(3),
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::new(100);
        for size in [60, 40, 4] {
            queue.put(message(4, size), 0);
        }
        assert_eq!(queue.counts(4), Counts { received: 3, bytes: 104, dropped: 1, lost: 0 });
        assert_eq!(queue.bytes(), (100, 100));
        assert_eq!(queue.take(Duration::ZERO).map(|m| m.bytes.len()), Some(60));
        queue.put(message(4, 60), 5);
        assert_eq!(queue.counts(4), Counts { received: 4, bytes: 164, dropped: 1, lost: 5 });
        queue.put(message(7, 3), 0);
        assert_eq!(queue.counts(7), Counts { received: 1, bytes: 3, dropped: 0, lost: 1 }, "no message");
        assert_eq!(queue.counts(9), Counts::default());
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = Queue::new(100);
        queue.put(message(0, 4), 0);
        queue.close();
        queue.put(message(0, 4), 0);
        assert!(queue.take(Duration::from_secs(60)).is_some());
        assert!(queue.take(Duration::from_secs(60)).is_none());
        assert_eq!(queue.counts(0).dropped, 1);
    }
}
