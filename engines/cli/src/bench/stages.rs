//! How long the stages of the frames took.

use std::time::Duration;

use perception::Timings;

/// One frame, stage by stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame {
    /// From the message's bytes to a checked view of its pixels.
    pub read: Duration,
    /// What the pipeline did.
    pub pipeline: Timings,
    /// From results to the bytes that are published.
    pub encode: Duration,
    /// From bytes to bytes.
    pub whole: Duration,
}

/// A stage by its name in reports, and how to find it in a frame.
type Stage = (&'static str, fn(&Frame) -> Duration);

/// All stages, in order; the last two are sums.
const STAGES: [Stage; 11] = [
    ("read", |frame| frame.read),
    ("preprocess", |frame| frame.pipeline.preprocess),
    ("backbone", |frame| frame.pipeline.backbone),
    ("head_depth", |frame| frame.pipeline.heads.depth),
    ("head_points", |frame| frame.pipeline.heads.points),
    ("head_segmentation", |frame| frame.pipeline.heads.segmentation),
    ("head_policy", |frame| frame.pipeline.heads.policy),
    ("decode", |frame| frame.pipeline.decode),
    ("encode", |frame| frame.encode),
    ("without_networks", |frame| {
        frame.whole.saturating_sub(frame.pipeline.backbone + frame.pipeline.heads.total())
    }),
    ("end_to_end", |frame| frame.whole),
];

/// What one stage took over all frames, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub min_ms: f64,
    pub mean_ms: f64,
}

impl Spread {
    /// Of durations; nothing of none. A quantile is the least duration that this share of frames does not exceed.
    pub fn of(durations: impl Iterator<Item = Duration>) -> Option<Self> {
        let mut millis: Vec<f64> = durations.map(|duration| 1e3 * duration.as_secs_f64()).collect();
        millis.sort_by(f64::total_cmp);
        let (min_ms, max_ms) = (*millis.first()?, *millis.last()?);
        let quantile = |share: f64| {
            let rank = (share * millis.len() as f64).ceil() as usize;
            millis[rank.clamp(1, millis.len()) - 1]
        };
        let mean_ms = millis.iter().sum::<f64>() / millis.len() as f64;
        let [p50_ms, p95_ms, p99_ms] = [0.5, 0.95, 0.99].map(quantile);
        Some(Self { p50_ms, p95_ms, p99_ms, max_ms, min_ms, mean_ms })
    }
}

/// Every stage that took any time, by name and in order.
pub fn spreads(frames: &[Frame]) -> Vec<(&'static str, Spread)> {
    let of = |(name, find): &Stage| Some((*name, Spread::of(frames.iter().map(find))?));
    STAGES.iter().filter_map(of).filter(|(_, spread)| spread.max_ms > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_durations_that_were_measured() {
        let of = |count: u64| Spread::of((1..=count).rev().map(Duration::from_millis)).unwrap();
        let spread = of(200);
        assert_eq!([spread.p50_ms, spread.p95_ms, spread.p99_ms], [100.0, 190.0, 198.0]);
        assert_eq!([spread.min_ms, spread.mean_ms, spread.max_ms], [1.0, 100.5, 200.0]);
        assert_eq!([of(1).p50_ms, of(1).p99_ms, of(3).p50_ms, of(3).p99_ms], [1.0, 1.0, 2.0, 3.0]);
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn stages_that_did_not_run_are_not_listed() {
        let mut frame = Frame { whole: Duration::from_millis(9), ..Frame::default() };
        frame.pipeline.backbone = Duration::from_millis(4);
        frame.pipeline.heads.points = Duration::from_millis(3);
        let named = spreads(&[frame, frame]);
        let names: Vec<_> = named.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["backbone", "head_points", "without_networks", "end_to_end"]);
        assert_eq!(named[2].1.p50_ms, 2.0);
    }
}
