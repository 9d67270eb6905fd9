//! What was said before an episode and holds in it: the newest message of each publisher.

use std::collections::VecDeque;

use recording::Stamps;
use recording::session::Bytes;

/// Publishers of a stream whose newest message is held; of more, those that have been silent longest are left out.
const MOST_PUBLISHERS: usize = 32;

struct Entry {
    publisher: [u8; 16],
    stamps: Stamps,
    bytes: Bytes,
    /// Whether the open episode has it.
    recorded: bool,
}

/// The newest messages of all streams, of each the one heard last at the end.
pub(super) struct Latest {
    streams: Vec<VecDeque<Entry>>,
}

impl Latest {
    pub fn new(streams: usize) -> Self {
        Self { streams: (0..streams).map(|_| VecDeque::new()).collect() }
    }

    pub fn note(&mut self, stream: usize, publisher: [u8; 16], stamps: Stamps, bytes: Bytes, recorded: bool) {
        let entries = &mut self.streams[stream];
        entries.retain(|entry| entry.publisher != publisher);
        if entries.len() == MOST_PUBLISHERS {
            entries.pop_front();
        }
        entries.push_back(Entry { publisher, stamps, bytes, recorded });
    }

    /// Nothing of it is in the episode that begins.
    pub fn begin(&mut self) {
        self.streams.iter_mut().flatten().for_each(|entry| entry.recorded = false);
    }

    /// What the open episode does not have yet of what came until then: of each publisher, or only the newest. It counts as
    /// recorded from now.
    pub fn take(&mut self, stream: usize, each: bool, until_nanos: u64) -> Vec<(Stamps, Bytes)> {
        let entries = &mut self.streams[stream];
        let skipped = if each { 0 } else { entries.len().saturating_sub(1) };
        let missing = |entry: &&mut Entry| !entry.recorded && entry.stamps.log_nanos <= until_nanos;
        let take = |entry: &mut Entry| {
            entry.recorded = true;
            (entry.stamps, entry.bytes.clone())
        };
        entries.iter_mut().skip(skipped).filter(missing).map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_publisher_s_newest_is_given_once_an_episode() {
        let mut latest = Latest::new(2);
        let note = |latest: &mut Latest, publisher: u8, number: u64, recorded: bool| {
            let stamps = Stamps { log_nanos: number, ..Stamps::default() };
            latest.note(0, [publisher; 16], stamps, Arc::new(vec![publisher]), recorded);
        };
        let taken = |latest: &mut Latest, each: bool, until: u64| -> Vec<u64> {
            latest.take(0, each, until).iter().map(|(stamps, _)| stamps.log_nanos).collect()
        };
        for (publisher, number) in [(1, 10), (2, 20), (1, 30)] {
            note(&mut latest, publisher, number, false);
        }
        assert_eq!(taken(&mut latest, true, 25), [20], "30 came later");
        latest.begin();
        assert_eq!(taken(&mut latest, false, u64::MAX), [30]);
        assert_eq!(taken(&mut latest, true, u64::MAX), [20]);
        note(&mut latest, 2, 40, true);
        assert!(taken(&mut latest, true, u64::MAX).is_empty(), "the episode has it");
        note(&mut latest, 2, 50, false);
        assert_eq!(taken(&mut latest, true, u64::MAX), [50], "of a pause");
        assert!(latest.take(1, true, u64::MAX).is_empty());
        (0..40).for_each(|publisher| note(&mut latest, publisher, 60, false));
        assert_eq!(taken(&mut latest, true, u64::MAX).len(), MOST_PUBLISHERS);
    }
}
