//! Numbers of the last seconds: rates and percentiles that follow what happens now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// At most so many numbers are kept, whatever comes.
const MOST: usize = 4096;

/// Numbers of the last seconds, each with the moment it came.
#[derive(Debug)]
pub struct Window {
    length: Duration,
    held: VecDeque<(Instant, f64)>,
}

impl Window {
    /// An empty window of so many seconds.
    pub fn new(length: Duration) -> Self {
        Self { length, held: VecDeque::new() }
    }

    /// Adds a number that came now.
    pub fn push(&mut self, now: Instant, value: f64) {
        self.forget(now);
        if self.held.len() == MOST {
            self.held.pop_front();
        }
        self.held.push_back((now, value));
    }

    /// Drops what is too old.
    pub fn forget(&mut self, now: Instant) {
        let length = self.length;
        while self.held.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > length) {
            self.held.pop_front();
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.held.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many come a second, between the first and the last; nothing for fewer than two.
    pub fn rate(&self) -> Option<f64> {
        let ((first, _), (last, _)) = (self.held.front()?, self.held.back()?);
        let seconds = last.saturating_duration_since(*first).as_secs_f64();
        (seconds > 0.0).then(|| (self.held.len() - 1) as f64 / seconds)
    }

    /// The number below which a share of them lies, by nearest rank; nothing when there is none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut values: Vec<f64> = self.held.iter().map(|(_, value)| *value).collect();
        let index = ((values.len().checked_sub(1)?) as f64 * share.clamp(0.0, 1.0)).round() as usize;
        Some(*values.select_nth_unstable_by(index, f64::total_cmp).1)
    }

    /// The numbers, oldest first.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.held.iter().map(|(_, value)| *value)
    }
}

/// Messages that did not arrive, from the stamps in seconds of those that did: a gap of about n periods hides n - 1. The period
/// is the mean of those gaps that are no longer than one and a half times their lower quartile: of a stream that loses half its
/// messages, the median would be two periods. Nothing when too few came to tell a period. Stamps that go back tell nothing, nor
/// does a loss of every second message, which looks like half the rate.
pub fn lost(stamps: impl Iterator<Item = f64>) -> Option<usize> {
    let stamps: Vec<f64> = stamps.collect();
    let gaps: Vec<f64> = stamps.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0.0).collect();
    if gaps.len() < 4 {
        return None;
    }
    let mut sorted = gaps.clone();
    let quarter = sorted.len() / 4;
    let short = 1.5 * *sorted.select_nth_unstable_by(quarter, f64::total_cmp).1;
    let single: Vec<f64> = gaps.iter().copied().filter(|gap| *gap <= short).collect();
    let period = single.iter().sum::<f64>() / single.len() as f64;
    Some(gaps.iter().map(|gap| ((gap / period).round() as usize).saturating_sub(1)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_seconds_count() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let mut window = Window::new(Duration::from_secs(1));
        assert_eq!((window.rate(), window.quantile(0.5)), (None, None));
        for tenths in 0..30 {
            window.push(at(tenths), tenths as f64);
        }
        assert_eq!(window.len(), 11);
        assert!((window.rate().unwrap() - 10.0).abs() < 1e-6);
        assert_eq!(
            (window.quantile(0.0), window.quantile(0.5), window.quantile(1.0)),
            (Some(19.0), Some(24.0), Some(29.0))
        );
        window.forget(at(100));
        assert!(window.is_empty());
    }

    /// Messages at 30 Hz of which a random share is lost; the estimate is of what is missing between the first and the last.
    #[test]
    fn losses_of_half_and_more_are_counted() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        };
        for share in [0.0, 0.1, 0.3, 0.5, 0.65] {
            let came: Vec<u32> = (0..600).filter(|_| random() >= share).collect();
            let missing = (came[came.len() - 1] - came[0] + 1) as usize - came.len();
            let found = lost(came.iter().map(|index| f64::from(*index) / 30.0)).unwrap();
            assert_eq!(found, missing, "{share}");
        }
    }

    #[test]
    fn losses_are_gaps_in_periods() {
        let every = |seconds: &[f64]| lost(seconds.iter().copied());
        assert_eq!(every(&[0.0, 0.1, 0.2, 0.3, 0.4]), Some(0));
        assert_eq!(every(&[0.0, 0.1, 0.2, 0.5, 0.6, 0.71, 0.79]), Some(2));
        assert_eq!(every(&[0.0, 0.1, 0.2]), None);
        assert_eq!(every(&[0.01, 0.1, 0.21, 0.3, 0.4, 0.51, 0.6]), Some(0), "stamps that jitter");
        assert_eq!(every(&[5.0, 5.1, 5.2, 0.0, 0.1, 0.2, 0.3]), Some(0), "a jump back is no loss");
        assert_eq!(every(&[1.0; 9]), None, "equal stamps tell no period");
    }
}
