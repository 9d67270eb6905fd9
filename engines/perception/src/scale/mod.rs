//! What the numbers of a depth head mean, and the way from them to metres.
//!
//! A head is metric, metric for one focal length, or relative ([`network::manifest::HeadScale`]). Only what is known to be
//! metres becomes a [`DepthMap`](crate::DepthMap); everything else is a [`RelativeDepth`], which nothing here turns into metres without a
//! measured [`Affine`].

mod anchor;
mod anchoring;
mod fit;

use calibration::{CameraModel, Size};
use network::manifest::{DepthCalibration, HeadScale};

pub use anchor::{Anchor, AnchorError, AnchorOptions, AnchorState, Unanchored};
pub(crate) use anchoring::Anchoring;
pub use anchoring::{Known, samples};
pub use fit::{Affine, AffineFit, Fit, FitError, MIN_SAMPLES, Sample, fit};

use crate::depth::DepthRange;

/// How a camera's depth gets its scale; by these names in parameters, diagnostics and the latched topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleMode {
    /// The head gives metres.
    Metric,
    /// The head gives metres for the focal length it was trained at: `metres = raw * f / f_train`.
    FocalNormalised,
    /// Scale and shift follow a sparse metric reference, online.
    Anchored,
    /// There is no scale: no metres are published.
    Relative,
}

impl ScaleMode {
    /// All modes by their names.
    pub const ALL: [(&'static str, ScaleMode); 4] = [
        ("metric", ScaleMode::Metric),
        ("focal-normalised", ScaleMode::FocalNormalised),
        ("anchored", ScaleMode::Anchored),
        ("relative", ScaleMode::Relative),
    ];

    /// The mode that a head has by itself.
    pub fn of_head(scale: HeadScale) -> Self {
        match scale {
            HeadScale::Metric => Self::Metric,
            HeadScale::FocalNormalised { .. } => Self::FocalNormalised,
            HeadScale::Relative => Self::Relative,
        }
    }

    /// The mode's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

impl std::str::FromStr for ScaleMode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode);
        found.ok_or_else(|| {
            format!("scale mode: expected {}, got {name:?}", Self::ALL.map(|known| known.0).join(", "))
        })
    }
}

/// The way from a camera's raw depth to metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// `metres = scale * raw + shift`.
    Meters(Affine),
    /// Not known, or not yet: the depth is relative.
    Unknown,
}

impl Scaling {
    /// The scaling of a head that needs no reference: from its own meaning, the camera where that counts, and what was measured
    /// for this camera (which holds for the head's metres after focal normalisation).
    ///
    /// `network_camera` is the camera at the network's size, without distortion. Relative heads are unknown unless a
    /// calibration was measured.
    pub fn of(
        head: HeadScale,
        network_camera: Option<&CameraModel>,
        measured: Option<&DepthCalibration>,
    ) -> Self {
        let own = match head {
            HeadScale::Metric => Some(1.0),
            HeadScale::FocalNormalised { focal_pixels } => network_camera.map(|camera| {
                let intrinsics = camera.intrinsics();
                0.5 * (intrinsics.fx + intrinsics.fy) / focal_pixels
            }),
            HeadScale::Relative => measured.map(|_| 1.0),
        };
        let measured =
            measured.map_or(Affine::IDENTITY, |m| Affine { scale: m.scale, shift: m.shift_meters });
        own.map_or(Self::Unknown, |own| {
            Self::Meters(Affine { scale: own * measured.scale, shift: measured.shift })
        })
    }
}

/// Depth without a scale: larger is further, and that is all. Unknown is NaN. There is no way from here to metres but a
/// measured [`Affine`].
#[derive(Clone, Debug, PartialEq)]
pub struct RelativeDepth {
    size: Size,
    values: Vec<f32>,
}

impl RelativeDepth {
    /// A map that knows nothing yet.
    pub fn unknown(size: Size) -> Self {
        Self { size, values: vec![f32::NAN; size.area()] }
    }

    /// A map of a head's raw output; what is not finite becomes NaN.
    ///
    /// # Errors
    /// When there are not as many values as pixels.
    pub fn new(size: Size, mut values: Vec<f32>) -> Result<Self, String> {
        if values.len() != size.area() {
            return Err(format!("expected {} values for {size}, got {}", size.area(), values.len()));
        }
        values.iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = f32::NAN);
        Ok(Self { size, values })
    }

    /// Replaces all values by what `fill` writes; those outside the head's range are unknown.
    ///
    /// # Errors
    /// What `fill` says; the map then knows nothing.
    pub(crate) fn refill<E>(
        &mut self,
        range: DepthRange,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let filled = fill(&mut self.values);
        let means = range.min_meters..range.max_meters;
        let meant = |value: &f32| filled.is_ok() && means.contains(value);
        self.values.iter_mut().filter(|value| !meant(value)).for_each(|value| *value = f32::NAN);
        filled
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Values without unit, row by row; NaN where unknown.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calibration::{Distortion, Intrinsics};

    fn camera(f: f64) -> CameraModel {
        let size = Size { width: 256, height: 192 };
        let intrinsics = Intrinsics { fx: f, fy: f + 2.0, cx: 127.5, cy: 95.5 };
        CameraModel::new(size, intrinsics, Distortion::None).unwrap()
    }

    #[test]
    fn only_what_is_known_to_be_metres_has_a_scaling() {
        let focal = HeadScale::FocalNormalised { focal_pixels: 300.0 };
        let measured = DepthCalibration {
            scale: 1.1,
            shift_meters: -0.02,
            residual: 0.01,
            samples: 100,
            reference: "board".to_owned(),
        };
        let meters = |scale: f64, shift: f64| Scaling::Meters(Affine { scale, shift });
        let (near, long) = (camera(299.0), camera(599.0));
        assert_eq!(Scaling::of(HeadScale::Metric, None, None), meters(1.0, 0.0));
        assert_eq!(Scaling::of(HeadScale::Metric, None, Some(&measured)), meters(1.1, -0.02));
        assert_eq!(Scaling::of(focal, None, None), Scaling::Unknown);
        assert_eq!(Scaling::of(focal, Some(&near), None), meters(1.0, 0.0));
        assert_eq!(Scaling::of(focal, Some(&long), None), meters(2.0, 0.0));
        assert_eq!(Scaling::of(focal, Some(&long), Some(&measured)), meters(2.2, -0.02));
        assert_eq!(Scaling::of(HeadScale::Relative, Some(&near), None), Scaling::Unknown);
        assert_eq!(Scaling::of(HeadScale::Relative, None, Some(&measured)), meters(1.1, -0.02));
    }

    #[test]
    fn modes_have_names() {
        for (name, mode) in ScaleMode::ALL {
            assert_eq!((name.parse::<ScaleMode>().unwrap(), mode.name()), (mode, name));
        }
        assert!("metres".parse::<ScaleMode>().unwrap_err().contains("focal-normalised"));
        assert_eq!(ScaleMode::of_head(HeadScale::Relative), ScaleMode::Relative);
    }

    #[test]
    fn relative_depth_holds_finite_values_or_nothing() {
        let size = Size { width: 3, height: 1 };
        let map = RelativeDepth::new(size, vec![0.5, f32::INFINITY, f32::NAN]).unwrap();
        assert!(map.values()[0] == 0.5 && map.values()[1..].iter().all(|value| value.is_nan()));
        assert!(RelativeDepth::new(size, vec![0.5]).is_err());
    }
}
