use serde::{Deserialize, Serialize};

/// Focal lengths and principal point of a camera without skew, in pixels, pixel centres at integers.
///
/// A plain record; [`CameraModel::new`](crate::CameraModel::new) is what checks it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intrinsics {
    /// Focal length along x, in pixels, above 0.
    pub fx: f64,
    /// Focal length along y, in pixels, above 0.
    pub fy: f64,
    /// Column of the principal point, in pixels.
    pub cx: f64,
    /// Row of the principal point, in pixels.
    pub cy: f64,
}

impl Intrinsics {
    /// The intrinsics of the same camera after the image is scaled, then cropped:
    /// `f' = f s` and `c' = (c + 0.5) s - 0.5 - crop`.
    ///
    /// `scale` is output pixels per input pixel along x and y; `crop` is the first column and row kept, in pixels
    /// of the scaled image.
    pub fn resampled(self, scale: [f64; 2], crop: [f64; 2]) -> Self {
        // The constant terms apart, so that a scale of 1 leaves every bit as it is.
        let shift = |scale: f64, crop: f64| 0.5 * scale - 0.5 - crop;
        Self {
            fx: self.fx * scale[0],
            fy: self.fy * scale[1],
            cx: self.cx * scale[0] + shift(scale[0], crop[0]),
            cy: self.cy * scale[1] + shift(scale[1], crop[1]),
        }
    }

    /// The row-major 3x3 camera matrix.
    pub fn matrix(self) -> [f64; 9] {
        [self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0]
    }

    /// The pixel of a point on the plane z = 1.
    pub fn pixel(self, normalized: [f64; 2]) -> [f64; 2] {
        [self.fx * normalized[0] + self.cx, self.fy * normalized[1] + self.cy]
    }

    /// The point on the plane z = 1 of a pixel.
    pub fn normalized(self, pixel: [f64; 2]) -> [f64; 2] {
        [(pixel[0] - self.cx) / self.fx, (pixel[1] - self.cy) / self.fy]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_of_the_image_stays_the_centre() {
        let centred = Intrinsics { fx: 525.0, fy: 525.0, cx: 319.5, cy: 239.5 };
        let half = centred.resampled([0.5, 0.5], [0.0, 8.0]);
        assert_eq!(half, Intrinsics { fx: 262.5, fy: 262.5, cx: 159.5, cy: 111.5 });
    }
}
