use thiserror::Error;

use crate::{Distortion, Intrinsics, Size};

/// The largest width or height of a camera image, in pixels.
pub const MAX_SIDE: usize = 65_535;

/// A camera: image size, intrinsics and distortion, checked to be usable.
///
/// Pixel centres are at integers; points and rays are in the camera's optical frame (x right, y down, z forward).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraModel {
    size: Size,
    intrinsics: Intrinsics,
    distortion: Distortion,
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
    /// Checks the numbers and keeps them.
    ///
    /// # Errors
    /// An empty or absurd size, a focal length that is not above 0, or a number that is not finite.
    pub fn new(size: Size, intrinsics: Intrinsics, distortion: Distortion) -> Result<Self, CameraModelError> {
        check_size(size)?;
        check_intrinsics(intrinsics)?;
        check_distortion(&distortion)?;
        Ok(Self {
            size,
            intrinsics,
            distortion,
        })
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

    /// The same camera after its image is scaled, then cropped to `size`; see [`Intrinsics::resampled`].
    ///
    /// # Errors
    /// A scale that is not above 0 or a crop that is not finite (they end in the intrinsics), or an empty size.
    pub fn resampled(&self, scale: [f64; 2], crop: [f64; 2], size: Size) -> Result<Self, CameraModelError> {
        Self::new(size, self.intrinsics.resampled(scale, crop), self.distortion)
    }

    /// The pinhole camera with the same size and intrinsics.
    pub fn without_distortion(&self) -> Self {
        Self {
            distortion: Distortion::None,
            ..*self
        }
    }
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
    use super::*;

    const SIZE: Size = Size {
        width: 640,
        height: 480,
    };
    const GOOD: Intrinsics = Intrinsics {
        fx: 525.0,
        fy: 524.0,
        cx: 319.5,
        cy: 239.5,
    };

    #[test]
    fn what_is_not_a_camera_is_refused_by_name() {
        let tilted = {
            let mut k = [0.0; 14];
            k[13] = 1.6;
            Distortion::Tilted(k)
        };
        let cases = [
            (
                Size {
                    width: 0,
                    height: 480,
                },
                GOOD,
                Distortion::None,
                "got 0x480",
            ),
            (
                Size {
                    width: 640,
                    height: usize::MAX,
                },
                GOOD,
                Distortion::None,
                "1 to 65535 pixels",
            ),
            (
                SIZE,
                Intrinsics { fx: 0.0, ..GOOD },
                Distortion::None,
                "fx: expected a focal length above 0",
            ),
            (SIZE, Intrinsics { fy: -1.0, ..GOOD }, Distortion::None, "fy: "),
            (
                SIZE,
                Intrinsics {
                    fx: f64::INFINITY,
                    ..GOOD
                },
                Distortion::None,
                "fx: ",
            ),
            (
                SIZE,
                Intrinsics { cx: f64::NAN, ..GOOD },
                Distortion::None,
                "cx: expected a finite",
            ),
            (
                SIZE,
                GOOD,
                Distortion::PlumbBob([0.0, f64::NAN, 0.0, 0.0, 0.0]),
                "coefficient 1 of plumb_bob",
            ),
            (SIZE, GOOD, tilted, "coefficient 13 (sensor tilt)"),
        ];
        for (size, intrinsics, distortion, expected) in cases {
            let error = CameraModel::new(size, intrinsics, distortion)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
