//! What a ROS CameraInfo message says, and the camera models it means.

use thiserror::Error;

use crate::{CameraModel, CameraModelError, Distortion, DistortionError, Intrinsics, RectifyError, Size};

/// How far a rotation's rows may be from orthonormal: files keep about six digits.
const ROTATION_TOLERANCE: f64 = 1e-3;
const IDENTITY: [f64; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

/// The calibration fields of `sensor_msgs/CameraInfo`, unchecked as they came.
///
/// The matrices, row-major, refer to the full image of the sensor; the image delivered is cut out by `roi`, then
/// reduced by `binning`.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraInfo {
    /// Size of the full image in pixels.
    pub size: Size,
    /// Name of the distortion model.
    pub distortion_model: String,
    /// Distortion coefficients.
    pub d: Vec<f64>,
    /// Intrinsics of the raw image, 3x3; all 0 when the camera is not calibrated.
    pub k: [f64; 9],
    /// `rectified_from_camera`: the rotation from the camera's frame to the rectified one, 3x3.
    pub r: [f64; 9],
    /// Projection of the rectified image, 3x4; its last column is the stereo baseline times the focal length.
    pub p: [f64; 12],
    /// Sensor pixels along x and y in one pixel of the image; 0 means 1.
    pub binning: [u32; 2],
    /// The part of the full image that is delivered; all 0 means the whole.
    pub roi: Roi,
}

/// `sensor_msgs/RegionOfInterest`, in pixels of the full image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roi {
    /// First column.
    pub x_offset: u32,
    /// First row.
    pub y_offset: u32,
    /// Columns; with `height`, 0 means the whole image.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Whether the rectified image has its own region; passed through.
    pub do_rectify: bool,
}

/// Why a CameraInfo does not describe a camera.
#[derive(Debug, Error, PartialEq)]
pub enum CameraInfoError {
    /// K is all zeros.
    #[error("K: all zeros, which means that the camera is not calibrated")]
    Uncalibrated,
    /// K or P does not have the shape of a camera matrix.
    #[error("{field}: expected {expected} at row {row}, column {column}, got {came}")]
    Matrix {
        /// `K` or `P`.
        field: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value that came.
        came: f64,
    },
    /// R is not a rotation.
    #[error("R: expected a rotation matrix, got {came:?}")]
    Rotation {
        /// The matrix that came, row-major.
        came: [f64; 9],
    },
    /// The region does not lie in the image.
    #[error("roi: expected a region inside the image of {size}, got {roi:?}")]
    Roi {
        /// The full image.
        size: Size,
        /// The region that came.
        roi: Roi,
    },
    /// The distortion model is not known or its coefficients do not go with it.
    #[error("D: {0}")]
    Distortion(DistortionError),
    /// The numbers do not make a camera.
    #[error("{field}: {reason}")]
    Camera {
        /// `K` or `P`, for what came from it.
        field: &'static str,
        /// What is wrong.
        reason: CameraModelError,
    },
    /// The raw image cannot be rectified.
    #[error(transparent)]
    Rectify(Box<RectifyError>),
}

impl CameraInfo {
    /// The message of a camera whose rectified image keeps the raw one's intrinsics: R identity, P like K, no
    /// binning, no region. For a pinhole this describes an already rectified image.
    pub fn of(camera: &CameraModel) -> Self {
        let Intrinsics { fx, fy, cx, cy } = camera.intrinsics();
        Self {
            size: camera.size(),
            distortion_model: camera.distortion().ros_name().to_owned(),
            d: camera.distortion().ros_coefficients(),
            k: camera.intrinsics().matrix(),
            r: IDENTITY,
            p: [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
            binning: [0; 2],
            roi: Roi::default(),
        }
    }

    /// Size of the image that is delivered, after region and binning.
    ///
    /// # Errors
    /// A region that does not lie in the full image.
    pub fn delivered_size(&self) -> Result<Size, CameraInfoError> {
        let region = self.region()?;
        let [across, down] = self.bins();
        Ok(Size {
            width: region.width as usize / across as usize,
            height: region.height as usize / down as usize,
        })
    }

    /// The camera of the delivered raw image: K and D, after region and binning.
    ///
    /// Binning b takes a coordinate to `(c - offset + 0.5) / b - 0.5`, as the centre of the bin has it. This differs from ROS's
    /// `image_geometry` on purpose: it divides without the halves, which is 0.25 pixels off at a binning of 2.
    ///
    /// # Errors
    /// A camera that is not calibrated, or the first field that does not make sense, by name.
    pub fn raw(&self) -> Result<CameraModel, CameraInfoError> {
        if self.k.iter().all(|value| *value == 0.0) {
            return Err(CameraInfoError::Uncalibrated);
        }
        let distortion =
            Distortion::from_ros(&self.distortion_model, &self.d).map_err(CameraInfoError::Distortion)?;
        self.delivered("K", camera_matrix("K", self.k)?, distortion)
    }

    /// The camera of the delivered rectified image: the left 3x3 part of P, no distortion, after region and binning. P's last
    /// column, a right stereo camera's baseline, moves the camera and not its rays: it is left out.
    ///
    /// # Errors
    /// The first field that does not make sense, by name.
    pub fn rectified(&self) -> Result<CameraModel, CameraInfoError> {
        let [a, b, c, shift_x, d, e, f, shift_y, g, h, i, shift_z] = self.p;
        for (row, came) in [shift_x, shift_y, shift_z].into_iter().enumerate() {
            if !came.is_finite() {
                return Err(CameraInfoError::Matrix {
                    field: "P",
                    expected: "a finite number",
                    row,
                    column: 3,
                    came,
                });
            }
        }
        self.delivered("P", camera_matrix("P", [a, b, c, d, e, f, g, h, i])?, Distortion::None)
    }

    /// `rectified_from_camera`, row-major, checked to be a rotation.
    ///
    /// # Errors
    /// A matrix that is none, all zeros included.
    pub fn rectified_from_camera(&self) -> Result<[f64; 9], CameraInfoError> {
        let rotation = nalgebra::Matrix3::from_row_slice(&self.r);
        let off = (rotation * rotation.transpose() - nalgebra::Matrix3::identity()).abs().max();
        let close = self.r.iter().all(|value| value.is_finite()) && off <= ROTATION_TOLERANCE;
        if close && rotation.determinant() > 0.0 {
            return Ok(self.r);
        }
        Err(CameraInfoError::Rotation { came: self.r })
    }

    fn delivered(
        &self,
        field: &'static str,
        intrinsics: Intrinsics,
        distortion: Distortion,
    ) -> Result<CameraModel, CameraInfoError> {
        let region = self.region()?;
        let scale = self.bins().map(|bin| 1.0 / f64::from(bin));
        let crop = [f64::from(region.x_offset) * scale[0], f64::from(region.y_offset) * scale[1]];
        CameraModel::new(self.delivered_size()?, intrinsics.resampled(scale, crop), distortion)
            .map_err(|reason| CameraInfoError::Camera { field, reason })
    }

    fn bins(&self) -> [u32; 2] {
        self.binning.map(|bin| bin.max(1))
    }

    /// The region of interest with the meaning of zeros resolved, inside the image.
    fn region(&self) -> Result<Roi, CameraInfoError> {
        let refusal = CameraInfoError::Roi { size: self.size, roi: self.roi };
        let (Ok(width), Ok(height)) = (u32::try_from(self.size.width), u32::try_from(self.size.height))
        else {
            return Err(refusal);
        };
        let given = self.roi;
        if [given.x_offset, given.y_offset, given.width, given.height] == [0; 4] {
            return Ok(Roi { width, height, ..given });
        }
        let inside = |offset: u32, extent: u32, side: u32| {
            extent > 0 && offset.checked_add(extent).is_some_and(|end| end <= side)
        };
        let fits = inside(given.x_offset, given.width, width) && inside(given.y_offset, given.height, height);
        if fits { Ok(given) } else { Err(refusal) }
    }
}

/// The intrinsics of a 3x3 camera matrix without skew; their values are for [`CameraModel::new`] to check.
fn camera_matrix(field: &'static str, matrix: [f64; 9]) -> Result<Intrinsics, CameraInfoError> {
    for (index, expected) in [(1, 0.0), (3, 0.0), (6, 0.0), (7, 0.0), (8, 1.0)] {
        if matrix[index] != expected {
            let (row, column, came) = (index / 3, index % 3, matrix[index]);
            let expected = if index == 8 { "1" } else { "0 (no skew)" };
            return Err(CameraInfoError::Matrix { field, expected, row, column, came });
        }
    }
    Ok(Intrinsics { fx: matrix[0], fy: matrix[4], cx: matrix[2], cy: matrix[5] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> CameraInfo {
        let camera = CameraModel::new(
            Size { width: 640, height: 480 },
            Intrinsics { fx: 525.0, fy: 520.0, cx: 321.5, cy: 241.5 },
            Distortion::PlumbBob([-0.3, 0.1, 1e-3, -1e-3, 0.0]),
        );
        CameraInfo::of(&camera.unwrap())
    }

    #[test]
    fn a_camera_and_its_message_say_the_same() {
        let raw = info().raw().unwrap();
        assert_eq!(CameraInfo::of(&raw), info());
        assert_eq!(info().rectified().unwrap(), raw.without_distortion());
    }

    #[test]
    fn a_point_is_seen_at_the_pixel_of_the_bin_in_the_region() {
        let full = info();
        let roi = Roi { x_offset: 100, y_offset: 60, width: 400, height: 301, do_rectify: false };
        let reduced = CameraInfo { binning: [2, 4], roi, ..full.clone() };
        assert_eq!(reduced.delivered_size(), Ok(Size { width: 200, height: 75 }));
        let point = [0.1, -0.05, 1.0];
        for (whole, part) in [(full.raw(), reduced.raw()), (full.rectified(), reduced.rectified())] {
            let [u, v] = whole.unwrap().project(point).unwrap();
            let [x, y] = part.unwrap().project(point).unwrap();
            assert!((x - ((u - 100.0 + 0.5) / 2.0 - 0.5)).abs() < 1e-9);
            assert!((y - ((v - 60.0 + 0.5) / 4.0 - 0.5)).abs() < 1e-9);
        }
    }

    #[test]
    fn refusals_name_the_field() {
        type Change = fn(&mut CameraInfo);
        let cases: [(Change, &str); 11] = [
            (|i| i.k = [0.0; 9], "not calibrated"),
            (|i| i.k[1] = 0.5, "K: expected 0 (no skew) at row 0, column 1, got 0.5"),
            (|i| i.k[8] = 2.0, "K: expected 1 at row 2, column 2, got 2"),
            (|i| i.k[0] = -525.0, "K: fx: expected a focal length above 0 pixels, got -525"),
            (|i| i.k[2] = f64::NAN, "K: cx: expected a finite principal point"),
            (|i| i.d[3] = f64::NAN, "coefficient 3 of plumb_bob"),
            (|i| i.d.truncate(2), "D: distortion coefficients: expected 4 or 5"),
            (|i| i.distortion_model = "omni".into(), "got \"omni\""),
            (|i| i.roi.width = 700, "inside the image of 640x480"),
            (|i| i.roi.x_offset = u32::MAX, "inside the image of 640x480"),
            (|i| i.binning = [1000, 1], "got 0x480"),
        ];
        for (change, expected) in cases {
            let mut changed = info();
            change(&mut changed);
            let error = changed.raw().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn refusals_of_the_rectified_image_name_the_field() {
        let no_projection = CameraInfo { p: [0.0; 12], ..info() };
        assert!(no_projection.rectified().unwrap_err().to_string().starts_with("P: expected 1 at row 2"));
        let mut endless = info();
        endless.p[3] = f64::INFINITY;
        assert!(endless.rectified().unwrap_err().to_string().contains("row 0, column 3"));
        let mirror = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
        for r in [[0.0; 9], [f64::NAN; 9], mirror] {
            let error = CameraInfo { r, ..info() }.rectified_from_camera().unwrap_err();
            assert!(error.to_string().starts_with("R: expected a rotation"));
        }
    }
}
