//! Points from depth.

use calibration::{CameraModel, Size};

use crate::depth::DepthMap;

/// Points in the camera's optical frame (x right, y down, z forward), metres, organised like the image; NaN where
/// unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct PointMap {
    size: Size,
    points: Vec<[f32; 3]>,
}

impl PointMap {
    /// A map that knows nothing yet.
    pub(crate) fn unknown(size: Size) -> Self {
        Self { size, points: vec![[f32::NAN; 3]; size.area()] }
    }

    /// The points, to be filled by another part of this crate.
    pub(crate) fn points_mut(&mut self) -> &mut [[f32; 3]] {
        &mut self.points
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Points in metres, row by row.
    pub fn points(&self) -> &[[f32; 3]] {
        &self.points
    }
}

/// Where each column and row of a pinhole camera looks: `x / z` and `y / z`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rays {
    size: Size,
    columns: Vec<f32>,
    rows: Vec<f32>,
}

impl Rays {
    /// The rays of a camera without distortion; its image is taken as rectified.
    pub fn new(camera: &CameraModel) -> Self {
        let (size, intrinsics) = (camera.size(), camera.intrinsics());
        let ray = |at: usize, centre: f64, focal: f64| ((at as f64 - centre) / focal) as f32;
        Self {
            size,
            columns: (0..size.width).map(|column| ray(column, intrinsics.cx, intrinsics.fx)).collect(),
            rows: (0..size.height).map(|row| ray(row, intrinsics.cy, intrinsics.fy)).collect(),
        }
    }

    /// Size of the image that they belong to.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The point of every pixel, row by row, in metres; NaN where the depth is unknown or too far.
    ///
    /// # Errors
    /// When the depth map is of another size.
    pub fn points<'a>(&'a self, depth: &'a DepthMap) -> Result<impl Iterator<Item = [f32; 3]> + 'a, String> {
        if depth.size() != self.size {
            return Err(format!("expected a depth map of {}, got {}", self.size, depth.size()));
        }
        let rows = depth.meters().chunks_exact(self.size.width).zip(&self.rows);
        let point = |x: f32, y: f32, z: f32| if z.is_finite() { [x * z, y * z, z] } else { [f32::NAN; 3] };
        Ok(rows.flat_map(move |(depths, y)| {
            depths.iter().zip(&self.columns).map(move |(z, x)| point(*x, *y, *z))
        }))
    }

    /// All points at once.
    ///
    /// # Errors
    /// As [`Rays::points`].
    pub fn point_map(&self, depth: &DepthMap) -> Result<PointMap, String> {
        Ok(PointMap { size: self.size, points: self.points(depth)?.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depth::{DepthRange, FarPolicy};
    use calibration::{Distortion, Intrinsics};

    #[test]
    fn points_project_onto_their_pixels() {
        let size = Size { width: 8, height: 6 };
        let intrinsics = Intrinsics { fx: 7.0, fy: 6.5, cx: 3.7, cy: 2.2 };
        let camera = CameraModel::new(size, intrinsics, Distortion::None).unwrap();
        let depths = (0..size.area()).map(|i| 1.0 + i as f32 * 0.1).collect();
        let range = DepthRange { min_meters: 0.1, max_meters: 100.0 };
        let depth = DepthMap::new(size, depths, range, FarPolicy::Nan).unwrap();
        let map = Rays::new(&camera).point_map(&depth).unwrap();
        for (index, [x, y, z]) in map.points().iter().map(|point| point.map(f64::from)).enumerate() {
            let pixel = intrinsics.pixel([x / z, y / z]);
            assert!((pixel[0] - (index % 8) as f64).abs() < 1e-5, "{pixel:?}");
            assert!((pixel[1] - (index / 8) as f64).abs() < 1e-5, "{pixel:?}");
        }
        let far = vec![f32::INFINITY; size.area()];
        let far = DepthMap::new(size, far, range, FarPolicy::Inf).unwrap();
        let map = Rays::new(&camera).point_map(&far).unwrap();
        assert!(map.points().iter().flatten().all(|value| value.is_nan()), "no point lies at infinity");
        let other = DepthMap::unknown(Size { width: 6, height: 8 });
        assert!(Rays::new(&camera).point_map(&other).is_err());
    }
}
