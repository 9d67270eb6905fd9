//! How long a frame took, stage by stage.

use std::time::{Duration, Instant};

/// How long the stages of one frame took. An engine with a queue (a GPU's) takes note of the networks only, and computes when
/// results are copied out: there all of it is in [`Timings::decode`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Colour order, resize, crop, normalisation.
    pub preprocess: Duration,
    /// The encoder.
    pub backbone: Duration,
    /// The heads that were wanted.
    pub heads: HeadTimings,
    /// Copying results out and marking what is not valid.
    pub decode: Duration,
}

impl Timings {
    /// The whole frame.
    pub fn total(&self) -> Duration {
        self.preprocess + self.backbone + self.heads.total() + self.decode
    }
}

/// How long the heads of one frame took; zero where one did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadTimings {
    /// The head for depth.
    pub depth: Duration,
    /// The head for point maps.
    pub points: Duration,
    /// The head for segments.
    pub segmentation: Duration,
    /// The policy, with its state going in and its actions coming out.
    pub policy: Duration,
}

impl HeadTimings {
    /// All heads.
    pub fn total(&self) -> Duration {
        self.depth + self.points + self.segmentation + self.policy
    }
}

/// Measures one stage after another.
pub(crate) struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
