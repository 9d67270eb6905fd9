//! Depth at the size of the camera's image.

use calibration::Size;

use crate::depth::DepthMap;
use crate::geometry::ImageGeometry;

/// Neighbouring depths that differ by more than this share belong to two surfaces; between them nothing is made up.
const SAME_SURFACE: f32 = 1.05;

/// Where a camera pixel's coordinate lies between two of the network's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tap {
    /// The pixel before and the one after; the same at the border.
    pixels: [usize; 2],
    /// Share of the one after.
    share: f32,
}

/// The way from depth at the network's size to depth at the camera's.
///
/// Four neighbours of one surface (finite, and none more than 5 % beyond another) are mixed bilinearly; across a
/// discontinuity, or beside an unknown or infinite depth, the nearest one is taken as it is, so that no point hangs in the air
/// between foreground and background. What the network's crop left out is NaN.
#[derive(Clone, Debug)]
pub struct Upsampling {
    network: Size,
    camera: Size,
    columns: Vec<Option<Tap>>,
    rows: Vec<Option<Tap>>,
}

impl Upsampling {
    /// The way back through one geometry.
    pub fn new(geometry: &ImageGeometry) -> Self {
        let (network, camera) = (geometry.network(), geometry.camera_size());
        let at = |axis: usize, pixel: usize, side: usize| {
            let mut pixels = [0.0; 2];
            pixels[axis] = pixel as f64;
            tap(geometry.network_from_camera(pixels)[axis], side)
        };
        Self {
            network,
            camera,
            columns: (0..camera.width).map(|column| at(0, column, network.width)).collect(),
            rows: (0..camera.height).map(|row| at(1, row, network.height)).collect(),
        }
    }

    /// Size of the camera's image.
    pub fn camera_size(&self) -> Size {
        self.camera
    }

    /// Fills `full`, of the camera's size, from `depth`, of the network's.
    ///
    /// # Errors
    /// When one of them is of another size.
    pub fn run(&self, depth: &DepthMap, full: &mut DepthMap) -> Result<(), String> {
        if depth.size() != self.network || full.size() != self.camera {
            let (network, camera) = (self.network, self.camera);
            return Err(format!(
                "expected depth of {network} to be brought to {camera}, got {} and {}",
                depth.size(),
                full.size()
            ));
        }
        let meters = depth.meters();
        let rows = full.meters_mut().chunks_exact_mut(self.camera.width).zip(&self.rows);
        for (out, row) in rows {
            let Some(row) = row else {
                out.fill(f32::NAN);
                continue;
            };
            let [upper, lower] =
                row.pixels.map(|at| &meters[at * self.network.width..][..self.network.width]);
            for (out, column) in out.iter_mut().zip(&self.columns) {
                *out = column.map_or(f32::NAN, |column| mixed(upper, lower, column, row.share));
            }
        }
        Ok(())
    }
}

/// The neighbours of a coordinate; none outside the pixels, each of which is one wide.
fn tap(coordinate: f64, side: usize) -> Option<Tap> {
    let last = side as f64 - 1.0;
    if !(-0.5..last + 0.5).contains(&coordinate) {
        return None;
    }
    let inside = coordinate.clamp(0.0, last);
    let before = inside.floor();
    let pixels = [before as usize, (before as usize + 1).min(side - 1)];
    Some(Tap { pixels, share: (inside - before) as f32 })
}

#[inline]
fn mixed(upper: &[f32], lower: &[f32], column: Tap, down: f32) -> f32 {
    let [left, right] = column.pixels;
    let four = [upper[left], upper[right], lower[left], lower[right]];
    let near = four.iter().copied().fold(f32::INFINITY, f32::min);
    let far = four.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // NaN is skipped by min and max, so it is looked for by itself.
    let known = four.iter().all(|depth| depth.is_finite());
    if known && far <= near * SAME_SURFACE {
        let above = four[0] + (four[1] - four[0]) * column.share;
        let below = four[2] + (four[3] - four[2]) * column.share;
        return above + (below - above) * down;
    }
    four[usize::from(column.share >= 0.5) + 2 * usize::from(down >= 0.5)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depth::{DepthRange, FarPolicy};

    const RANGE: DepthRange = DepthRange { min_meters: 0.1, max_meters: 100.0 };

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    fn upsampled(network: Size, camera: Size, depth: impl Fn(usize, usize) -> f32) -> DepthMap {
        let geometry = ImageGeometry::new(camera, network).unwrap();
        let meters = (0..network.area()).map(|at| depth(at % network.width, at / network.width)).collect();
        let depth = DepthMap::new(network, meters, RANGE, FarPolicy::Inf).unwrap();
        let mut full = DepthMap::unknown(camera);
        Upsampling::new(&geometry).run(&depth, &mut full).unwrap();
        full
    }

    #[test]
    fn a_plane_stays_a_plane() {
        // Depth that rises by 1 cm a network pixel; a camera pixel is half as large.
        let full = upsampled(size(16, 16), size(32, 32), |column, _| 2.0 + column as f32 * 0.01);
        for (at, depth) in full.meters().iter().enumerate() {
            let coordinate = (((at % 32) as f32 + 0.5) / 2.0 - 0.5).clamp(0.0, 15.0);
            assert!((depth - (2.0 + coordinate * 0.01)).abs() < 1e-5, "{at}: {depth}");
        }
    }

    #[test]
    fn nothing_is_made_up_between_two_surfaces() {
        let full = upsampled(size(16, 16), size(48, 48), |column, _| if column < 8 { 1.0 } else { 5.0 });
        assert!(full.meters().iter().all(|depth| *depth == 1.0 || *depth == 5.0), "{full:?}");
        let near = full.meters()[..48].iter().filter(|depth| **depth == 1.0).count();
        assert_eq!(near, 24, "the edge stays where it was");
    }

    #[test]
    fn unknown_and_infinite_do_not_spread_and_are_not_filled() {
        let full = upsampled(size(16, 16), size(32, 32), |column, row| match (column, row) {
            (4, 4) => f32::NAN,
            (9, 9) => f32::INFINITY,
            _ => 2.0,
        });
        let count = |wanted: fn(&f32) -> bool| full.meters().iter().filter(|depth| wanted(depth)).count();
        assert_eq!(count(|depth| depth.is_nan()), 4);
        assert_eq!(count(|depth| depth.is_infinite()), 4);
        assert_eq!(count(|depth| *depth == 2.0), 32 * 32 - 8);
    }

    #[test]
    fn what_was_cropped_is_unknown() {
        // 64x32 is scaled by a half and cropped to the middle 16 columns: 32 of 64 camera columns remain.
        let full = upsampled(size(16, 16), size(64, 32), |_, _| 2.0);
        for (at, depth) in full.meters().iter().enumerate() {
            assert_eq!(depth.is_nan(), !(16..48).contains(&(at % 64)), "{at}");
        }
        let geometry = ImageGeometry::new(size(64, 32), size(16, 16)).unwrap();
        let wrong = Upsampling::new(&geometry)
            .run(&DepthMap::unknown(size(16, 16)), &mut DepthMap::unknown(size(1, 1)));
        assert!(wrong.unwrap_err().contains("64x32"));
    }
}
