use thiserror::Error;

use crate::lens::Lens;
use crate::{Distortion, Intrinsics, Size};

/// The largest width or height of a camera image, in pixels.
pub const MAX_SIDE: usize = 65_535;

/// Intrinsics that differ by less, in pixels, are the same: calibrations do not know more.
const SAME_PIXELS: f64 = 1e-6;

/// A camera: image size, intrinsics and distortion, checked to be usable.
///
/// Pixel centres are at integers; points and rays are in the camera's optical frame (x right, y down, z forward).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraModel {
    size: Size,
    intrinsics: Intrinsics,
    distortion: Distortion,
    lens: Lens,
}

/// Why numbers do not make a camera.
#[derive(Debug, Error, PartialEq)]
pub enum CameraModelError {
    /// A side of the image is empty or beyond [`MAX_SIDE`].
    #[error("image size: expected 1 to {MAX_SIDE} pixels a side, got {came}")]
    Size {
        /// The size that came.
        came: Size,
    },
    /// A focal length is not a finite number above 0.
    #[error("{field}: expected a focal length above 0 pixels, got {came}")]
    FocalLength {
        /// `fx` or `fy`.
        field: &'static str,
        /// The value that came.
        came: f64,
    },
    /// A coordinate of the principal point is not finite.
    #[error("{field}: expected a finite principal point in pixels, got {came}")]
    PrincipalPoint {
        /// `cx` or `cy`.
        field: &'static str,
        /// The value that came.
        came: f64,
    },
    /// A distortion coefficient is not finite.
    #[error("distortion coefficient {index} of {model}: expected a finite number, got {came}")]
    Coefficient {
        /// The model's ROS name.
        model: &'static str,
        /// Which coefficient, from 0.
        index: usize,
        /// The value that came.
        came: f64,
    },
    /// The sensor's tilt is a right angle or more.
    #[error(
        "distortion coefficient {index} (sensor tilt): expected less than pi / 2 radians either way, got {came}"
    )]
    Tilt {
        /// Which coefficient, from 0: 12 about x, 13 about y.
        index: usize,
        /// The value that came.
        came: f64,
    },
}

impl CameraModel {
    /// Checks the numbers and works out what [`project`](Self::project) and [`ray`](Self::ray) need.
    ///
    /// # Errors
    /// An empty or absurd size, a focal length that is not above 0, or a number that is not finite.
    pub fn new(size: Size, intrinsics: Intrinsics, distortion: Distortion) -> Result<Self, CameraModelError> {
        check_size(size)?;
        check_intrinsics(intrinsics)?;
        check_distortion(&distortion)?;
        Ok(Self { size, intrinsics, distortion, lens: Lens::new(&distortion) })
    }

    /// Width and height of the image.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Focal lengths and principal point.
    pub fn intrinsics(&self) -> Intrinsics {
        self.intrinsics
    }

    /// The distortion model and its coefficients.
    pub fn distortion(&self) -> &Distortion {
        &self.distortion
    }

    /// The pixel of a point in the camera's optical frame, in metres (or any unit: only its direction counts).
    ///
    /// None outside the model's domain: points not in front of the camera (a fisheye sees behind itself, up to where
    /// its polynomial stops growing, at most pi), and points so far off the axis that the polynomial is no longer one
    /// to one or lies more than 89.5 degrees off. A pixel outside the image is a pixel: see
    /// [`contains`](Self::contains).
    pub fn project(&self, point_in_camera: [f64; 3]) -> Option<[f64; 2]> {
        finite(self.intrinsics.pixel(self.lens.distort(point_in_camera)?))
    }

    /// The unit direction, in the camera's optical frame, of the points that are seen at a pixel.
    ///
    /// None where no point of the model's domain lands: the inverse of [`project`](Self::project), found by Newton's
    /// method and checked to land on the pixel.
    pub fn ray(&self, pixel: [f64; 2]) -> Option<[f64; 3]> {
        self.lens.direction(finite(self.intrinsics.normalized(pixel))?)
    }

    /// Whether a pixel lies between the centres of the image's corner pixels, where it can be interpolated.
    pub fn contains(&self, pixel: [f64; 2]) -> bool {
        let within = |value: f64, side: usize| value >= 0.0 && value <= side as f64 - 1.0;
        within(pixel[0], self.size.width) && within(pixel[1], self.size.height)
    }

    /// The same camera after its image is scaled, then cropped to `size`; see [`Intrinsics::resampled`].
    ///
    /// # Errors
    /// A scale that is not above 0 or a crop that is not finite (they end in the intrinsics), or an empty size.
    pub fn resampled(&self, scale: [f64; 2], crop: [f64; 2], size: Size) -> Result<Self, CameraModelError> {
        Self::new(size, self.intrinsics.resampled(scale, crop), self.distortion)
    }

    /// The pinhole camera with the same size and intrinsics.
    pub fn without_distortion(&self) -> Self {
        Self { distortion: Distortion::None, lens: Lens::Pinhole, ..*self }
    }

    /// Whether both have one size and, within a millionth of a pixel, the same intrinsics, whatever their distortion.
    pub fn is_same_pinhole(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.intrinsics, other.intrinsics);
        let pairs = [(ours.fx, theirs.fx), (ours.fy, theirs.fy), (ours.cx, theirs.cx), (ours.cy, theirs.cy)];
        self.size == other.size && pairs.iter().all(|(one, other)| (one - other).abs() <= SAME_PIXELS)
    }
}

fn finite(pixel: [f64; 2]) -> Option<[f64; 2]> {
    pixel.iter().all(|value| value.is_finite()).then_some(pixel)
}

fn check_size(size: Size) -> Result<(), CameraModelError> {
    let fits = |side: usize| (1..=MAX_SIDE).contains(&side);
    if fits(size.width) && fits(size.height) {
        return Ok(());
    }
    Err(CameraModelError::Size { came: size })
}

fn check_intrinsics(intrinsics: Intrinsics) -> Result<(), CameraModelError> {
    for (field, came) in [("fx", intrinsics.fx), ("fy", intrinsics.fy)] {
        if !(came.is_finite() && came > 0.0) {
            return Err(CameraModelError::FocalLength { field, came });
        }
    }
    for (field, came) in [("cx", intrinsics.cx), ("cy", intrinsics.cy)] {
        if !came.is_finite() {
            return Err(CameraModelError::PrincipalPoint { field, came });
        }
    }
    Ok(())
}

fn check_distortion(distortion: &Distortion) -> Result<(), CameraModelError> {
    let model = distortion.ros_name();
    for (index, &came) in distortion.coefficients().iter().enumerate() {
        if !came.is_finite() {
            return Err(CameraModelError::Coefficient { model, index, came });
        }
        if index >= 12 && came.abs() >= std::f64::consts::FRAC_PI_2 {
            return Err(CameraModelError::Tilt { index, came });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size { width: 640, height: 480 };
    const GOOD: Intrinsics = Intrinsics { fx: 525.0, fy: 524.0, cx: 319.5, cy: 239.5 };

    #[test]
    fn what_is_not_a_camera_is_refused_by_name() {
        let tilted = {
            let mut k = [0.0; 14];
            k[13] = 1.6;
            Distortion::Tilted(k)
        };
        let cases = [
            (Size { width: 0, height: 480 }, GOOD, Distortion::None, "got 0x480"),
            (Size { width: 640, height: usize::MAX }, GOOD, Distortion::None, "1 to 65535 pixels"),
            (SIZE, Intrinsics { fx: 0.0, ..GOOD }, Distortion::None, "fx: expected a focal length above 0"),
            (SIZE, Intrinsics { fy: -1.0, ..GOOD }, Distortion::None, "fy: "),
            (SIZE, Intrinsics { fx: f64::INFINITY, ..GOOD }, Distortion::None, "fx: "),
            (SIZE, Intrinsics { cx: f64::NAN, ..GOOD }, Distortion::None, "cx: expected a finite"),
            (SIZE, GOOD, Distortion::PlumbBob([0.0, f64::NAN, 0.0, 0.0, 0.0]), "coefficient 1 of plumb_bob"),
            (SIZE, GOOD, tilted, "coefficient 13 (sensor tilt)"),
        ];
        for (size, intrinsics, distortion, expected) in cases {
            let error = CameraModel::new(size, intrinsics, distortion).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_seen_has_no_pixel() {
        let barrel = Distortion::PlumbBob([-0.3, 0.02, 1e-3, -1e-3, 0.0]);
        let fisheye = Distortion::Equidistant([0.0; 4]);
        let cases = [
            (Distortion::None, [0.0, 0.0, 0.0]),
            (Distortion::None, [0.1, 0.2, -1.0]),
            (Distortion::None, [f64::NAN, 0.0, 1.0]),
            (Distortion::None, [1.0, 0.0, 1e-320]),
            (Distortion::None, [f64::INFINITY, 0.0, f64::INFINITY]),
            (barrel, [3.0, 0.0, 1.0]),
            (barrel, [0.0, 0.0, -1.0]),
            (fisheye, [0.0, 0.0, 0.0]),
            (fisheye, [0.0, 0.0, -1.0]),
            (fisheye, [f64::NAN, 0.0, 1.0]),
        ];
        for (distortion, point) in cases {
            let camera = CameraModel::new(SIZE, GOOD, distortion).unwrap();
            assert_eq!(camera.project(point), None, "{distortion:?} {point:?}");
        }
    }

    #[test]
    fn a_pixel_no_point_lands_on_has_no_ray() {
        let barrel =
            CameraModel::new(SIZE, GOOD, Distortion::PlumbBob([-0.3, 0.02, 1e-3, -1e-3, 0.0])).unwrap();
        let pinhole = barrel.without_distortion();
        let cases = [(barrel, [5000.0, 0.0]), (pinhole, [f64::NAN, 0.0]), (pinhole, [0.0, f64::INFINITY])];
        for (camera, pixel) in cases {
            assert_eq!(camera.ray(pixel), None, "{pixel:?}");
        }
    }

    fn scaled<const N: usize>(scales: [f64; N]) -> impl Strategy<Value = [f64; N]> {
        proptest::array::uniform(-1.0..1.0)
            .prop_map(move |unit: [f64; N]| std::array::from_fn(|index| unit[index] * scales[index]))
    }

    fn distortions() -> impl Strategy<Value = Distortion> {
        let thin = [0.5, 0.3, 0.01, 0.01, 0.1, 0.5, 0.3, 0.1, 0.01, 0.01, 0.01, 0.01];
        let tilted = [0.5, 0.3, 0.01, 0.01, 0.1, 0.5, 0.3, 0.1, 0.01, 0.01, 0.01, 0.01, 0.2, 0.2];
        prop_oneof![
            Just(Distortion::None),
            scaled([0.5, 0.3, 0.01, 0.01, 0.1]).prop_map(Distortion::PlumbBob),
            scaled([0.5, 0.3, 0.01, 0.01, 0.1, 0.5, 0.3, 0.1]).prop_map(Distortion::RationalPolynomial),
            scaled([0.1, 0.05, 0.02, 0.01]).prop_map(Distortion::Equidistant),
            scaled(thin).prop_map(Distortion::ThinPrism),
            scaled(tilted).prop_map(Distortion::Tilted),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_ray_of_a_projection_is_the_direction(
            distortion in distortions(), angle in 0.0..3.1_f64, around in 0.0..6.3_f64, distance in 0.01..100.0_f64,
        ) {
            let camera = CameraModel::new(SIZE, GOOD, distortion).unwrap();
            let direction = [angle.sin() * around.cos(), angle.sin() * around.sin(), angle.cos()];
            if let Some(pixel) = camera.project(direction.map(|c| c * distance)) {
                let ray = camera.ray(pixel);
                prop_assert!(ray.is_some(), "{pixel:?} has no ray");
                let ray = ray.unwrap();
                // A millionth of a pixel on the image, whatever the model's slope there.
                let back = camera.project(ray).unwrap();
                let miss = (back[0] - pixel[0]).hypot(back[1] - pixel[1]);
                prop_assert!(miss <= 1e-6_f64.max(1e-9 * pixel[0].hypot(pixel[1])), "off by {miss} px");
                let turn = (0..3).map(|i| (ray[i] - direction[i]).powi(2)).sum::<f64>().sqrt();
                prop_assert!(turn < 1e-6, "{turn} from {direction:?}");
            }
        }

        #[test]
        fn the_projection_of_a_ray_is_the_pixel(
            distortion in distortions(), x in -100.0..740.0_f64, y in -100.0..580.0_f64,
        ) {
            let camera = CameraModel::new(SIZE, GOOD, distortion).unwrap();
            if let Some(ray) = camera.ray([x, y]) {
                let [u, v] = camera.project(ray).unwrap();
                prop_assert!((u - x).hypot(v - y) < 1e-7, "{u} {v}");
                let length = ray.iter().map(|c| c * c).sum::<f64>();
                prop_assert!((length - 1.0).abs() < 1e-12);
            }
        }
    }
}
