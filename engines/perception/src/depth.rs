//! Depth maps.

use calibration::Size;

/// Depth along the camera's optical axis (Z-depth, REP 118), metres, row by row; NaN where it is not known.
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

impl DepthMap {
    /// A map that knows nothing yet.
    pub fn unknown(size: Size) -> Self {
        Self { size, meters: vec![f32::NAN; size.area()] }
    }

    /// A map of a head's output; values outside the range and those that are not finite become NaN.
    ///
    /// # Errors
    /// When there are not as many values as pixels.
    pub fn new(size: Size, meters: Vec<f32>, range: DepthRange) -> Result<Self, String> {
        if meters.len() != size.area() {
            return Err(format!("expected {} depths for {size}, got {}", size.area(), meters.len()));
        }
        let mut map = Self { size, meters };
        map.invalidate(range);
        Ok(map)
    }

    /// Replaces all values by what `fill` writes, without allocating.
    ///
    /// # Errors
    /// What `fill` says; the map then knows nothing.
    pub fn refill<E>(
        &mut self,
        range: DepthRange,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let filled = fill(&mut self.meters);
        match &filled {
            Ok(()) => self.invalidate(range),
            Err(_) => self.meters.fill(f32::NAN),
        }
        filled
    }

    fn invalidate(&mut self, range: DepthRange) {
        let valid = range.min_meters..=range.max_meters;
        self.meters.iter_mut().filter(|depth| !valid.contains(*depth)).for_each(|depth| *depth = f32::NAN);
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Depths in metres, row by row; NaN where unknown.
    pub fn meters(&self) -> &[f32] {
        &self.meters
    }

    /// Depths in millimetres for 16-bit images; 0 where unknown, and beyond 65.534 m.
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
        let size = Size { width: 6, height: 1 };
        let raw = vec![0.0, 0.1, 80.0, 80.1, f32::INFINITY, -1.0];
        let map = DepthMap::new(size, raw, RANGE).unwrap();
        let known: Vec<_> = map.meters().iter().map(|depth| depth.is_finite()).collect();
        assert_eq!(known, [false, true, true, false, false, false]);
        assert_eq!(map.millimeters().collect::<Vec<_>>(), [0, 100, 0, 0, 0, 0]);
        assert_eq!(map.quantile_meters(0.0), Some(0.1));
        assert!(DepthMap::new(size, vec![1.0; 5], RANGE).is_err());
    }

    #[test]
    fn a_failed_fill_leaves_nothing_stale() {
        let mut map = DepthMap::new(Size { width: 1, height: 1 }, vec![2.0], RANGE).unwrap();
        assert_eq!(map.refill(RANGE, |_| Err("broken")), Err("broken"));
        assert!(map.meters()[0].is_nan());
        assert_eq!(map.quantile_meters(0.5), None);
    }
}
