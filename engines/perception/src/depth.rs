//! Depth maps.

use calibration::Size;

use crate::confidence::ConfidenceMap;
use crate::scale::Affine;

/// Depth along the camera's optical axis (Z-depth, REP 118), metres, row by row; NaN where it is not known, infinite where
/// [`FarPolicy::Inf`] says that it is too far (REP 117).
///
/// A map without metric scale is another type, so that it cannot be published as metres.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthMap {
    size: Size,
    meters: Vec<f32>,
}

/// Depths that a head can mean, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthRange {
    /// Below this a value means nothing.
    pub min_meters: f32,
    /// The value of a saturated output; what lies further away is reported as this.
    pub max_meters: f32,
}

/// What becomes of a depth at or beyond [`DepthRange::max_meters`]: the output is saturated, so the surface is at least that far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FarPolicy {
    /// Not known: consumers that build maps of it (nvblox, Open3D) then leave it alone.
    #[default]
    Nan,
    /// Infinity, which REP 117 defines as too far to measure.
    Inf,
    /// The largest depth, as if a wall stood there.
    Clamp,
}

impl FarPolicy {
    /// All policies by the names that parameters and arguments use.
    pub const ALL: [(&'static str, FarPolicy); 3] =
        [("nan", FarPolicy::Nan), ("inf", FarPolicy::Inf), ("clamp", FarPolicy::Clamp)];

    /// What is written for a depth too far.
    fn meters(self, range: DepthRange) -> f32 {
        match self {
            FarPolicy::Nan => f32::NAN,
            FarPolicy::Inf => f32::INFINITY,
            FarPolicy::Clamp => range.max_meters,
        }
    }
}

impl std::str::FromStr for FarPolicy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy);
        found.ok_or_else(|| format!("far policy: expected nan, inf or clamp, got {name:?}"))
    }
}

impl DepthMap {
    /// A map that knows nothing yet.
    pub fn unknown(size: Size) -> Self {
        Self { size, meters: vec![f32::NAN; size.area()] }
    }

    /// A map of a head's output; values below the range and NaN become NaN, those too far what `far` says.
    ///
    /// # Errors
    /// When there are not as many values as pixels.
    pub fn new(size: Size, meters: Vec<f32>, range: DepthRange, far: FarPolicy) -> Result<Self, String> {
        if meters.len() != size.area() {
            return Err(format!("expected {} depths for {size}, got {}", size.area(), meters.len()));
        }
        let mut map = Self { size, meters };
        map.decode(range, far);
        Ok(map)
    }

    /// Replaces all values by what `fill` writes, without allocating.
    ///
    /// # Errors
    /// What `fill` says; the map then knows nothing.
    pub fn refill<E>(
        &mut self,
        range: DepthRange,
        far: FarPolicy,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let filled = fill(&mut self.meters);
        match &filled {
            Ok(()) => self.decode(range, far),
            Err(_) => self.meters.fill(f32::NAN),
        }
        filled
    }

    fn decode(&mut self, range: DepthRange, far: FarPolicy) {
        let too_far = far.meters(range);
        for depth in &mut self.meters {
            if *depth >= range.max_meters {
                *depth = too_far;
            } else if *depth < range.min_meters {
                *depth = f32::NAN;
            }
        }
    }

    /// Makes unknown the pixels that are marked, row by row.
    ///
    /// # Errors
    /// When there is not one mark for every pixel.
    pub fn forget(&mut self, marked: &[bool]) -> Result<(), String> {
        if marked.len() != self.size.area() {
            return Err(format!(
                "expected {} marks for {}, got {}",
                self.size.area(),
                self.size,
                marked.len()
            ));
        }
        let depths = self.meters.iter_mut().zip(marked).filter(|(_, marked)| **marked);
        depths.for_each(|(depth, _)| *depth = f32::NAN);
        Ok(())
    }

    /// Makes unknown what a head is less sure of than `least`, and what it says nothing about.
    ///
    /// # Errors
    /// When the confidence is of another size.
    pub fn require_confidence(&mut self, confidence: &ConfidenceMap, least: f32) -> Result<(), String> {
        if confidence.size() != self.size {
            return Err(format!("expected a confidence map of {}, got {}", self.size, confidence.size()));
        }
        let is_unsure = |share: f32| share.is_nan() || share < least;
        let unsure = self.meters.iter_mut().zip(confidence.values()).filter(|(_, share)| is_unsure(**share));
        unsure.for_each(|(depth, _)| *depth = f32::NAN);
        Ok(())
    }

    /// Replaces every known depth by `affine` of it; what is then not in front of the camera is unknown.
    pub(crate) fn rescale(&mut self, affine: Affine) {
        if affine == Affine::IDENTITY {
            return;
        }
        let Affine { scale, shift } = affine;
        for depth in &mut self.meters {
            let meters = (scale * f64::from(*depth) + shift) as f32;
            *depth = if meters > 0.0 { meters } else { f32::NAN };
        }
    }

    /// The depths, to be filled by another part of this crate.
    pub(crate) fn meters_mut(&mut self) -> &mut [f32] {
        &mut self.meters
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Depths in metres, row by row; NaN where unknown, infinite where too far.
    pub fn meters(&self) -> &[f32] {
        &self.meters
    }

    /// Depths in millimetres for 16-bit images; 0 where unknown, too far, or beyond 65.534 m: the format has no infinity.
    pub fn millimeters(&self) -> impl Iterator<Item = u16> {
        self.meters.iter().map(|meters| {
            let millimeters = (meters * 1000.0).round();
            if (1.0..=65534.0).contains(&millimeters) { millimeters as u16 } else { 0 }
        })
    }

    /// Depth below which a share of the known pixels lies (0.5 is the median); nothing when none is known.
    pub fn quantile_meters(&self, share: f64) -> Option<f32> {
        let mut known: Vec<f32> = self.meters.iter().copied().filter(|depth| depth.is_finite()).collect();
        let index = ((known.len().checked_sub(1)?) as f64 * share.clamp(0.0, 1.0)).round() as usize;
        Some(*known.select_nth_unstable_by(index, f32::total_cmp).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: DepthRange = DepthRange { min_meters: 0.1, max_meters: 80.0 };

    #[test]
    fn what_a_head_cannot_mean_is_unknown() {
        let size = Size { width: 7, height: 1 };
        let raw = vec![0.0, 0.1, 79.9, 80.0, f32::INFINITY, -1.0, f32::NAN];
        let map = DepthMap::new(size, raw.clone(), RANGE, FarPolicy::Nan).unwrap();
        let known: Vec<_> = map.meters().iter().map(|depth| depth.is_finite()).collect();
        assert_eq!(known, [false, true, true, false, false, false, false]);
        assert_eq!(map.millimeters().collect::<Vec<_>>(), [0, 100, 0, 0, 0, 0, 0]);
        assert_eq!(map.quantile_meters(0.0), Some(0.1));
        assert!(DepthMap::new(size, raw[1..].to_vec(), RANGE, FarPolicy::Nan).is_err());
    }

    #[test]
    fn too_far_is_what_the_policy_says() {
        let size = Size { width: 4, height: 1 };
        for (name, expected) in [("nan", f32::NAN), ("inf", f32::INFINITY), ("clamp", 80.0)] {
            let raw = vec![79.9, 80.0, 1e9, f32::NAN];
            let map = DepthMap::new(size, raw, RANGE, name.parse().unwrap()).unwrap();
            let same = |ours: f32, theirs: f32| ours.to_bits() == theirs.to_bits();
            assert_eq!(map.meters()[0], 79.9);
            assert!(map.meters()[1..3].iter().all(|depth| same(*depth, expected)), "{name}: {map:?}");
            assert!(map.meters()[3].is_nan(), "{name}");
            assert_eq!(map.quantile_meters(0.0), Some(79.9));
        }
        assert!("far".parse::<FarPolicy>().unwrap_err().contains("nan, inf or clamp"));
    }

    #[test]
    fn unsure_depths_become_unknown() {
        let size = Size { width: 3, height: 1 };
        let mut map = DepthMap::new(size, vec![1.0, 2.0, 3.0], RANGE, FarPolicy::Nan).unwrap();
        let confidence = ConfidenceMap::new(size, vec![0.5, 0.49, f32::NAN]).unwrap();
        map.require_confidence(&confidence, 0.5).unwrap();
        assert_eq!(map.meters()[0], 1.0);
        assert!(map.meters()[1].is_nan() && map.meters()[2].is_nan());
        let other = ConfidenceMap::new(Size { width: 1, height: 1 }, vec![1.0]).unwrap();
        assert!(map.require_confidence(&other, 0.5).is_err());
    }

    #[test]
    fn rescaled_depths_stay_in_front_of_the_camera() {
        let size = Size { width: 4, height: 1 };
        let mut map = DepthMap::new(size, vec![0.2, 2.0, 90.0, f32::NAN], RANGE, FarPolicy::Inf).unwrap();
        map.rescale(Affine { scale: 1.5, shift: -0.5 });
        assert!(map.meters()[0].is_nan() && map.meters()[3].is_nan());
        assert_eq!(map.meters()[1..3], [2.5, f32::INFINITY]);
    }

    #[test]
    fn a_failed_fill_leaves_nothing_stale() {
        let mut map =
            DepthMap::new(Size { width: 1, height: 1 }, vec![2.0], RANGE, FarPolicy::Clamp).unwrap();
        assert_eq!(map.refill(RANGE, FarPolicy::Clamp, |_| Err("broken")), Err("broken"));
        assert!(map.meters()[0].is_nan());
        assert_eq!(map.quantile_meters(0.5), None);
    }
}
