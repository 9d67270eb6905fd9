//! Where the depth's metres come from: for diagnostics, and for the latched `~/depth/scale`.

use std::sync::{Arc, PoisonError};

use calibration::Size;
use perception::scale::{Affine, AnchorState, Known, ScaleMode, Scaling};
use perception::{CameraView, Engine, Pipeline, Stamp};
use r2r::sensor_msgs::msg::Image;
use serde_json::json;

use super::inputs::FrameIn;
use crate::convert;

/// Name, in the bundle, of the camera of a node without names.
const UNNAMED: &str = "camera";

/// Seconds from a reference to the image that it speaks of.
pub const SAME_MOMENT_SECS: f64 = 0.05;

/// Where the metres of a frame came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub mode: ScaleMode,
    /// The way from the head's numbers to metres; none: there are no metres.
    pub affine: Option<Affine>,
    /// Median of `|error| / depth` of the reference, where there was one.
    pub residual: Option<f64>,
    /// Why there are no metres.
    pub reason: Option<String>,
}

/// The name under which the bundle keeps what was measured for a camera.
pub fn name_in_bundle(camera: &str) -> &str {
    if camera.is_empty() { UNNAMED } else { camera }
}

impl Told {
    /// What there is to tell of the last frame of a view.
    pub fn of<E: Engine>(pipeline: &Pipeline<E>, view: &CameraView, camera: &str) -> Self {
        let measured = pipeline.measured(name_in_bundle(camera));
        match (view.anchor_state(), view.scaling()) {
            (Some(AnchorState::Anchored(found)), _) => Self {
                mode: ScaleMode::Anchored,
                affine: Some(found.affine),
                residual: Some(found.residual),
                reason: None,
            },
            (Some(AnchorState::Unanchored(why)), _) => {
                Self { mode: ScaleMode::Anchored, affine: None, residual: None, reason: Some(why.to_string()) }
            }
            (None, Scaling::Meters(affine)) => Self {
                mode: ScaleMode::of_head(pipeline.head_scale()),
                affine: Some(affine),
                residual: measured.map(|measured| measured.residual),
                reason: None,
            },
            (None, Scaling::Unknown) => Self {
                mode: ScaleMode::of_head(pipeline.head_scale()),
                affine: None,
                residual: None,
                reason: Some(
                    "the depth head is relative: no metres are published; anchor it (scale:=anchored) or measure it \
                     (pixio calibrate depth)"
                        .to_owned(),
                ),
            },
        }
    }

    /// What `~/depth/scale` says; docs/calibration.md has its schema.
    pub fn json(&self) -> String {
        json!({
            "schema": "pixio/scale/1",
            "mode": self.mode.name(),
            "metric": self.affine.is_some(),
            "scale": self.affine.map(|affine| affine.scale),
            "shift_meters": self.affine.map(|affine| affine.shift),
            "residual": self.residual,
            "reason": self.reason,
        })
        .to_string()
    }

    /// Whether subscribers of `~/depth/scale` must hear of it after `before`: an anchor's numbers change with every frame and
    /// stand in diagnostics.
    pub fn is_news(&self, before: Option<&Self>) -> bool {
        let Some(before) = before else { return true };
        let follows = self.mode == ScaleMode::Anchored;
        self.mode != before.mode
            || self.affine.is_some() != before.affine.is_some()
            || (!follows && self.affine != before.affine)
    }
}

/// What the references that came lately say.
pub enum Reference {
    /// This one, not used before, speaks of the moment of a frame.
    Of(Arc<Image>, Stamp),
    /// None speaks of a frame; the nearest is so many seconds away from one.
    Away(f64),
    /// None came since the last one that was used.
    None,
}

/// The newest reference of a frame's camera that speaks of the frame's moment or of a remembered one, and was not used before.
pub fn reference(
    frame: &FrameIn,
    remembered: impl Iterator<Item = Stamp>,
    used: &mut Option<Arc<Image>>,
) -> Reference {
    let moments: Vec<Stamp> = std::iter::once(frame.picture.stamp()).chain(remembered).collect();
    let mut nearest = None;
    for reference in frame.references.lock().unwrap_or_else(PoisonError::into_inner).iter().rev() {
        if used.as_ref().is_some_and(|used| Arc::ptr_eq(used, reference)) {
            break;
        }
        let stamp = convert::stamp(&reference.header.stamp).nanoseconds();
        let apart = |moment: &Stamp| stamp.abs_diff(moment.nanoseconds());
        let Some(moment) = moments.iter().min_by_key(|moment| apart(moment)) else { break };
        let seconds = apart(moment) as f64 * 1e-9;
        if seconds <= SAME_MOMENT_SECS {
            return Reference::Of(used.insert(reference.clone()).clone(), *moment);
        }
        nearest = Some(nearest.map_or(seconds, |before: f64| before.min(seconds)));
    }
    nearest.map_or(Reference::None, Reference::Away)
}

/// What a reference knows of an image's pixels.
///
/// # Errors
/// When it is no depth image of the image's frame and shape.
pub fn known(reference: &Image, frame_id: &str, image: Size) -> Result<Vec<Known>, String> {
    if reference.header.frame_id != frame_id {
        return Err(format!(
            "reference/depth: frame_id: expected the image's {frame_id:?}, got {:?}: give the depth that is aligned to the image",
            reference.header.frame_id
        ));
    }
    convert::known_depth(reference, image).map_err(|reason| format!("reference/depth: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_hear_of_changes_of_meaning_not_of_every_number() {
        let told = |mode, scale: Option<f64>| Told {
            mode,
            affine: scale.map(|scale| Affine { scale, shift: 0.0 }),
            residual: None,
            reason: None,
        };
        let anchored = told(ScaleMode::Anchored, Some(2.0));
        let cases = [
            (told(ScaleMode::Metric, Some(1.0)), None, true),
            (told(ScaleMode::Metric, Some(1.0)), Some(told(ScaleMode::Metric, Some(1.0))), false),
            (told(ScaleMode::Metric, Some(1.1)), Some(told(ScaleMode::Metric, Some(1.0))), true),
            (told(ScaleMode::Anchored, Some(2.1)), Some(anchored.clone()), false),
            (told(ScaleMode::Anchored, None), Some(anchored), true),
        ];
        for (now, before, news) in cases {
            assert_eq!(now.is_news(before.as_ref()), news, "{now:?} after {before:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&told(ScaleMode::Relative, None).json()).unwrap();
        assert_eq!((json["mode"].as_str(), json["metric"].as_bool()), (Some("relative"), Some(false)));
    }
}
