//! Scale and shift that follow a sparse metric reference.

use std::time::Duration;

use super::{AffineFit, Fit, FitError, Sample, fit};
use crate::frame::Stamp;

/// How an [`Anchor`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnchorOptions {
    /// What is fitted.
    pub fit: Fit,
    /// Largest time from the reference that a scale rests on to the image that it is used for.
    pub max_age: Duration,
    /// Largest residual that is believed: median of `|error| / depth`.
    pub max_residual: f64,
}

impl Default for AnchorOptions {
    fn default() -> Self {
        Self { fit: Fit::ScaleAndShift, max_age: Duration::from_secs(1), max_residual: 0.1 }
    }
}

/// Follows the scale of one camera's relative depth.
#[derive(Clone, Debug)]
pub struct Anchor {
    options: AnchorOptions,
    last: Option<(Stamp, AffineFit)>,
    /// Why references since then gave no scale.
    refused: Option<AnchorError>,
}

/// Why a reference gave no scale.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum AnchorError {
    /// No scale fits it.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The best scale is too far off.
    #[error("the depth is off by {:.0} % after the best scale, expected at most {:.0} %", 100.0 * .residual, 100.0 * .allowed)]
    TooFarOff {
        /// Median of `|error| / depth`.
        residual: f64,
        /// What is believed.
        allowed: f64,
    },
}

/// Whether there is a scale for an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AnchorState {
    /// There is.
    Anchored(AffineFit),
    /// There is not: nothing metric may be said of the image.
    Unanchored(Unanchored),
}

/// Why there is no scale.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unanchored {
    /// No reference was ever seen.
    #[error("no metric reference yet: depth is relative, no metres are claimed")]
    NoReference,
    /// References came, none gave a scale.
    #[error("no usable metric reference yet: {0}; depth is relative, no metres are claimed")]
    Refused(AnchorError),
    /// The last good reference is too old.
    #[error(
        "the last good metric reference is {seconds:.1} s from this image, more than allowed{}: depth is relative, no metres are claimed",
        since(.refused.as_ref())
    )]
    Stale {
        /// Time between them.
        seconds: f64,
        /// Why references since then gave no scale, if some came.
        refused: Option<AnchorError>,
    },
}

/// What came after the last good reference, in words.
fn since(refused: Option<&AnchorError>) -> String {
    refused.map_or(String::new(), |why| format!("; since then: {why}"))
}

impl Anchor {
    /// An anchor that has seen nothing.
    pub fn new(options: AnchorOptions) -> Self {
        Self { options, last: None, refused: None }
    }

    /// Takes what a reference says of the image of a stamp. A reference that gives no scale leaves the last one in place,
    /// which grows old.
    ///
    /// # Errors
    /// Why these samples give no scale.
    pub fn observe(&mut self, stamp: Stamp, samples: &[Sample]) -> Result<AffineFit, AnchorError> {
        let allowed = self.options.max_residual;
        let found = fit(samples, self.options.fit).map_err(AnchorError::from).and_then(|found| {
            let believed = found.residual <= allowed;
            believed.then_some(found).ok_or(AnchorError::TooFarOff { residual: found.residual, allowed })
        });
        match found {
            Ok(found) => (self.last, self.refused) = (Some((stamp, found)), None),
            Err(error) => self.refused = Some(error),
        }
        found
    }

    /// The scale for the image of a stamp. A clock that jumps is an age like any other, in either direction.
    pub fn at(&self, stamp: Stamp) -> AnchorState {
        let Some((seen, found)) = self.last else {
            return AnchorState::Unanchored(
                self.refused.map_or(Unanchored::NoReference, Unanchored::Refused),
            );
        };
        let seconds = stamp.nanoseconds().abs_diff(seen.nanoseconds()) as f64 * 1e-9;
        if seconds > self.options.max_age.as_secs_f64() {
            return AnchorState::Unanchored(Unanchored::Stale { seconds, refused: self.refused });
        }
        AnchorState::Anchored(found)
    }

    /// Forgets everything, as after a jump of the clock.
    pub fn clear(&mut self) {
        (self.last, self.refused) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sec: i32) -> Stamp {
        Stamp { sec, nanosec: 0 }
    }

    fn samples(scale: f64, wrong: usize) -> Vec<Sample> {
        let sample = |index: usize| {
            let raw = 0.1 + 0.02 * index as f64;
            let meters = if index % 10 < wrong { 9.0 - 0.1 * index as f64 } else { scale * raw + 0.3 };
            Sample { raw, meters: meters.max(0.2) }
        };
        (0..60).map(sample).collect()
    }

    #[test]
    fn without_a_reference_it_says_so() {
        let mut anchor = Anchor::new(AnchorOptions::default());
        let unanchored = |anchor: &Anchor, sec| match anchor.at(stamp(sec)) {
            AnchorState::Unanchored(why) => why.to_string(),
            AnchorState::Anchored(found) => panic!("{found:?}"),
        };
        assert!(unanchored(&anchor, 5).contains("no metric reference yet"));
        assert!(anchor.observe(stamp(5), &samples(2.0, 0)[..3]).is_err());
        assert!(unanchored(&anchor, 5).contains("at least 8 samples"));
        anchor.observe(stamp(5), &samples(2.0, 0)).unwrap();
        assert!(matches!(anchor.at(stamp(6)), AnchorState::Anchored(_)));
        assert!(unanchored(&anchor, 9).contains("4.0 s") && !unanchored(&anchor, 9).contains("since then"));
        assert!(anchor.observe(stamp(9), &samples(2.0, 0)[..3]).is_err());
        assert!(unanchored(&anchor, 9).contains("since then: expected at least 8 samples"));
        assert!(unanchored(&anchor, 1).contains("4.0 s"));
        anchor.clear();
        assert_eq!(anchor.at(stamp(5)), AnchorState::Unanchored(Unanchored::NoReference));
    }

    #[test]
    fn it_follows_a_scale_that_changes_and_keeps_it_through_a_bad_reference() {
        let mut anchor = Anchor::new(AnchorOptions::default());
        for (sec, scale) in [(1, 2.0), (2, 5.0)] {
            anchor.observe(stamp(sec), &samples(scale, 3)).unwrap();
            let AnchorState::Anchored(found) = anchor.at(stamp(sec)) else { panic!() };
            for raw in [0.2, 0.7, 1.2] {
                let expected = scale * raw + 0.3;
                assert!((found.affine.meters(raw) / expected - 1.0).abs() < 0.01, "{found:?}");
            }
        }
        assert!(anchor.observe(stamp(3), &samples(5.0, 10)).is_err());
        assert!(
            matches!(anchor.at(stamp(3)), AnchorState::Anchored(found) if (found.affine.scale - 5.0).abs() < 0.05)
        );
    }
}
