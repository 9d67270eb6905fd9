//! Log lines that do not flood.

use std::time::{Duration, Instant};

/// Lets one event through per period and counts the others.
#[derive(Debug)]
pub struct Throttle {
    period: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// One event per `period`.
    pub fn new(period: Duration) -> Self {
        Self { period, last: None, suppressed: 0 }
    }

    /// Whether this event may be logged; if so, how many were not since the last that was.
    pub fn ready(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < self.period) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_holds_back() {
        let (start, mut throttle) = (Instant::now(), Throttle::new(Duration::from_secs(5)));
        let at = |secs| start + Duration::from_secs(secs);
        let came = [0, 1, 4, 5, 11].map(|secs| throttle.ready(at(secs)));
        assert_eq!(came, [Some(0), None, None, Some(2), Some(0)]);
    }
}
