//! The last seconds, held in memory in case they turn out to be worth keeping.

use std::collections::VecDeque;
use std::time::Duration;

use recording::Stamps;
use recording::session::Bytes;

/// Messages of the last so many seconds, at most so many bytes.
pub(super) struct Ring {
    entries: VecDeque<(usize, Stamps, Bytes)>,
    bytes: usize,
    span_nanos: u64,
    budget: usize,
}

impl Ring {
    pub fn new(span: Duration, budget: usize) -> Self {
        let span_nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self { entries: VecDeque::new(), bytes: 0, span_nanos, budget }
    }

    pub fn push(&mut self, stream: usize, stamps: Stamps, bytes: Bytes) {
        if self.span_nanos == 0 {
            return;
        }
        // A clock that went back makes what is held worthless.
        if self
            .entries
            .back()
            .is_some_and(|(_, newest, _)| newest.log_nanos > stamps.log_nanos + 1_000_000_000)
        {
            self.take();
        }
        self.bytes += size(&bytes);
        self.entries.push_back((stream, stamps, bytes));
        while let Some((_, oldest, bytes)) = self.entries.front() {
            let old = oldest.log_nanos.saturating_add(self.span_nanos) < stamps.log_nanos;
            if !old && self.bytes <= self.budget {
                break;
            }
            self.bytes -= size(bytes);
            self.entries.pop_front();
        }
    }

    /// All of it; nothing is left.
    pub fn take(&mut self) -> Vec<(usize, Stamps, Bytes)> {
        self.bytes = 0;
        std::mem::take(&mut self.entries).into()
    }
}

fn size(bytes: &Bytes) -> usize {
    (**bytes).as_ref().len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn time_and_memory_are_bounded() {
        let mut ring = Ring::new(Duration::from_secs(2), 1000);
        let push = |ring: &mut Ring, second: u64, bytes: usize| {
            let stamps = Stamps { log_nanos: second * 1_000_000_000, ..Stamps::default() };
            ring.push(0, stamps, Arc::new(vec![0_u8; bytes]));
        };
        (0..10).for_each(|second| push(&mut ring, second, 10));
        let held: Vec<_> = ring.take().iter().map(|entry| entry.1.log_nanos / 1_000_000_000).collect();
        assert_eq!(held, [7, 8, 9]);
        (0..5).for_each(|_| push(&mut ring, 10, 300));
        assert_eq!(ring.take().len(), 3);
        push(&mut ring, 10, 5);
        push(&mut ring, 3, 5);
        assert_eq!(ring.take().len(), 1, "the clock went back");
        let mut none = Ring::new(Duration::ZERO, 1000);
        push(&mut none, 1, 1);
        assert!(none.take().is_empty());
    }
}
