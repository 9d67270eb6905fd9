//! What a point map head gives: a ray, the distance along it and a confidence for every pixel, and the intrinsics that the rays
//! imply.

use calibration::{Intrinsics, Size};

use crate::confidence::ConfidenceMap;
use crate::depth::DepthRange;
use crate::points::PointMap;

/// A point map head's output, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadPoints {
    points: PointMap,
    confidence: ConfidenceMap,
    implied: Option<ImpliedIntrinsics>,
}

/// The pinhole that a head's rays are closest to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImpliedIntrinsics {
    /// Focal lengths and principal point at the network's size, pixels.
    pub intrinsics: Intrinsics,
    /// Root of the mean square of what the rays deviate from that pinhole, weighted by confidence, pixels: some tenths where the
    /// head is sure of one camera, more where its rays are of no pinhole.
    pub deviation_pixels: f64,
}

/// A head's raw outputs for one image.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Unit vectors: all x, all y, all z.
    pub rays: &'a [f32],
    /// Metres along the ray.
    pub distance: &'a [f32],
    /// 0 to 1.
    pub confidence: &'a [f32],
}

impl HeadPoints {
    /// What a head's outputs say of an image of this size; a distance outside the range is unknown.
    ///
    /// # Errors
    /// When there are not as many numbers as pixels.
    pub fn new(size: Size, raw: Raw<'_>, range: DepthRange) -> Result<Self, String> {
        let mut points = Self::unknown(size);
        points.decode(raw, range)?;
        Ok(points)
    }

    /// Points that are not known yet.
    pub(crate) fn unknown(size: Size) -> Self {
        let (points, confidence) = (PointMap::unknown(size), ConfidenceMap::unknown(size));
        Self { points, confidence, implied: None }
    }

    /// Takes a head's outputs; a distance outside the range is unknown.
    ///
    /// # Errors
    /// When there are not as many numbers as pixels.
    pub(crate) fn decode(&mut self, raw: Raw<'_>, range: DepthRange) -> Result<(), String> {
        let (size, area) = (self.points.size(), self.points.size().area());
        let came = [raw.rays.len(), raw.distance.len(), raw.confidence.len()];
        if came != [3 * area, area, area] {
            return Err(format!("expected rays, distances and confidences of {size}, got {came:?} numbers"));
        }
        let (x, yz) = raw.rays.split_at(area);
        let (y, z) = yz.split_at(area);
        for (index, point) in self.points.points_mut().iter_mut().enumerate() {
            let distance = raw.distance[index];
            let known = (range.min_meters..range.max_meters).contains(&distance);
            *point = if known { [x, y, z].map(|axis| axis[index] * distance) } else { [f32::NAN; 3] };
        }
        self.confidence.refill(raw.confidence)?;
        self.implied = implied(size, [x, y, z], self.confidence.values());
        Ok(())
    }

    /// Points in the camera's optical frame.
    pub fn points(&self) -> &PointMap {
        &self.points
    }

    /// How sure the head is of each.
    pub fn confidence(&self) -> &ConfidenceMap {
        &self.confidence
    }

    /// The pinhole that the rays imply; nothing when they are of none.
    pub fn implied(&self) -> Option<&ImpliedIntrinsics> {
        self.implied.as_ref()
    }

    /// Makes unknown the points of these pixels.
    pub(crate) fn forget(&mut self, pixels: impl Iterator<Item = usize>) {
        let points = self.points.points_mut();
        pixels.for_each(|pixel| points[pixel] = [f32::NAN; 3]);
    }
}

/// Weighted least squares of `x / z = (column - cx) / fx`, and of rows alike.
fn implied(size: Size, [x, y, z]: [&[f32]; 3], confidence: &[f32]) -> Option<ImpliedIntrinsics> {
    let (mut across, mut down) = (Line::default(), Line::default());
    for (index, share) in confidence.iter().enumerate() {
        let weight = f64::from(*share);
        let forward = f64::from(z[index]);
        if weight > 0.0 && forward > 0.0 {
            let slope = |axis: &[f32]| f64::from(axis[index]) / forward;
            across.add((index % size.width) as f64, slope(x), weight);
            down.add((index / size.width) as f64, slope(y), weight);
        }
    }
    let (columns, rows) = (across.fit()?, down.fit()?);
    let square = (columns.2 + rows.2) / 2.0;
    let intrinsics = Intrinsics { fx: columns.0, fy: rows.0, cx: columns.1, cy: rows.1 };
    Some(ImpliedIntrinsics { intrinsics, deviation_pixels: square.sqrt() })
}

/// Weighted sums for a line through slopes over pixels.
#[derive(Default)]
struct Line {
    weight: f64,
    pixel: f64,
    slope: f64,
    pixel_pixel: f64,
    pixel_slope: f64,
    slope_slope: f64,
}

impl Line {
    fn add(&mut self, pixel: f64, slope: f64, weight: f64) {
        self.weight += weight;
        self.pixel += weight * pixel;
        self.slope += weight * slope;
        self.pixel_pixel += weight * pixel * pixel;
        self.pixel_slope += weight * pixel * slope;
        self.slope_slope += weight * slope * slope;
    }

    /// Focal length, principal point, and mean square deviation in pixels; nothing when the slopes do not rise.
    fn fit(&self) -> Option<(f64, f64, f64)> {
        let (mean_pixel, mean_slope) = (self.pixel / self.weight, self.slope / self.weight);
        let variance = self.pixel_pixel / self.weight - mean_pixel * mean_pixel;
        let covariance = self.pixel_slope / self.weight - mean_pixel * mean_slope;
        let rise = covariance / variance;
        if !(rise.is_finite() && rise > 0.0) {
            return None;
        }
        let left = self.slope_slope / self.weight - mean_slope * mean_slope - rise * covariance;
        Some((1.0 / rise, mean_pixel - mean_slope / rise, left.max(0.0) / (rise * rise)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 24, height: 16 };
    const RANGE: DepthRange = DepthRange { min_meters: 0.1, max_meters: 10.0 };
    const TRUE: Intrinsics = Intrinsics { fx: 21.0, fy: 20.0, cx: 11.2, cy: 8.1 };

    /// Planes x, y, z of the rays of a pinhole.
    fn rays() -> Vec<f32> {
        let mut rays = vec![0.0; 3 * SIZE.area()];
        for index in 0..SIZE.area() {
            let at = [(index % SIZE.width) as f64, (index / SIZE.width) as f64];
            let [x, y] = TRUE.normalized(at);
            let length = (x * x + y * y + 1.0).sqrt();
            for (axis, value) in [x, y, 1.0].into_iter().enumerate() {
                rays[axis * SIZE.area() + index] = (value / length) as f32;
            }
        }
        rays
    }

    #[test]
    fn points_lie_on_their_rays_and_imply_the_camera() {
        let (rays, mut head) = (rays(), HeadPoints::unknown(SIZE));
        let mut distance: Vec<f32> = (0..SIZE.area()).map(|index| 1.0 + 0.01 * index as f32).collect();
        (distance[3], distance[4]) = (10.0, f32::NAN);
        let confidence = vec![0.5; SIZE.area()];
        let raw = Raw { rays: &rays, distance: &distance, confidence: &confidence };
        head.decode(raw, RANGE).unwrap();
        let points = head.points().points();
        assert!(points[3][0].is_nan() && points[4][2].is_nan());
        for (index, point) in points.iter().enumerate().filter(|(_, point)| !point[0].is_nan()) {
            let length = point.iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!((length - distance[index]).abs() < 1e-5, "{point:?}");
        }
        let implied = head.implied().unwrap();
        let Intrinsics { fx, fy, cx, cy } = implied.intrinsics;
        for (came, expected) in [(fx, TRUE.fx), (fy, TRUE.fy), (cx, TRUE.cx), (cy, TRUE.cy)] {
            assert!((came - expected).abs() < 1e-3, "{implied:?}");
        }
        assert!(implied.deviation_pixels < 1e-2, "{implied:?}");
        assert_eq!(head.confidence().values()[0], 0.5);
        let short = Raw { distance: &distance[1..], ..raw };
        assert!(head.decode(short, RANGE).is_err());
    }

    #[test]
    fn unsure_rays_count_less_and_rays_of_no_camera_imply_none() {
        let (mut rays, mut head) = (rays(), HeadPoints::unknown(SIZE));
        let distance = vec![1.0; SIZE.area()];
        // The lower half looks somewhere else, and the head says that it is not sure of it.
        let lower = SIZE.area() / 2..SIZE.area();
        rays[lower.clone()].iter_mut().for_each(|x| *x = -*x);
        let mut confidence = vec![1.0; SIZE.area()];
        confidence[lower].fill(0.0);
        let raw = Raw { rays: &rays, distance: &distance, confidence: &confidence };
        head.decode(raw, RANGE).unwrap();
        assert!((head.implied().unwrap().intrinsics.fx - TRUE.fx).abs() < 1e-3);
        let flat = vec![0.577; 3 * SIZE.area()];
        head.decode(Raw { rays: &flat, ..raw }, RANGE).unwrap();
        assert_eq!(head.implied(), None);
    }
}
