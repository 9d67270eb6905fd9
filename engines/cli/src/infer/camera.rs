//! What is known of the camera that took the pictures.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use calibration::{CameraInfo, CameraModel, Distortion, Intrinsics, RectifyMap, Size};

use super::Arguments;

/// Where the camera of a picture comes from; points need one.
pub enum Camera {
    /// Nothing is known.
    Unknown,
    /// A calibration, and its file.
    Calibrated(PathBuf, Box<CameraInfo>),
    /// A horizontal field of view, degrees, of a pinhole with its axis in the middle.
    Assumed(f64),
}

impl Camera {
    /// As the arguments say.
    ///
    /// # Errors
    /// A calibration that is refused, or an angle that no pinhole has.
    pub fn of(arguments: &Arguments) -> Result<Self> {
        if let Some(path) = &arguments.camera {
            let info = crate::camera_file::read(path)?;
            return Ok(Self::Calibrated(path.clone(), Box::new(info)));
        }
        let Some(degrees) = arguments.field_of_view else { return Ok(Self::Unknown) };
        if !(1.0..=170.0).contains(&degrees) {
            bail!("--field-of-view: expected 1 to 170 degrees, got {degrees}");
        }
        Ok(Self::Assumed(degrees))
    }

    /// The rectified camera of a picture, as far as it is known, and what takes the picture there.
    ///
    /// # Errors
    /// When the calibration is for another size, or cannot be rectified.
    pub fn rectification(&self, size: Size) -> Result<Option<(CameraModel, Option<RectifyMap>)>> {
        match self {
            Self::Unknown => Ok(None),
            Self::Calibrated(path, info) => {
                let of = info.size;
                ensure!(
                    of == size,
                    "{}: expected a calibration for {size}, got one for {of}",
                    path.display()
                );
                Ok(Some(info.rectification().with_context(|| path.display().to_string())?))
            }
            Self::Assumed(degrees) => {
                let focal = size.width as f64 / 2.0 / (degrees.to_radians() / 2.0).tan();
                let centre = |side: usize| (side as f64 - 1.0) / 2.0;
                let (cx, cy) = (centre(size.width), centre(size.height));
                let intrinsics = Intrinsics { fx: focal, fy: focal, cx, cy };
                Ok(Some((CameraModel::new(size, intrinsics, Distortion::None)?, None)))
            }
        }
    }
}
