//! What is known about each camera: image size, intrinsics, distortion, and the files they come from.
//!
//! Conventions, everywhere in this crate: pixel centres at integers (the first pixel covers -0.5..0.5), x to the
//! right, y down, z forward (the optical frame of REP 103), lengths in metres.

mod camera;
mod distortion;
mod files;
mod info;
mod intrinsics;
mod lens;
mod rectification;
mod rectify;
mod size;

pub use camera::{CameraModel, CameraModelError, MAX_SIDE};
pub use distortion::{Distortion, DistortionError};
pub use files::{
    CalibrationFileError, KalibrCamera, KalibrChain, NamedCameraInfo, read_camera_info_yaml,
    read_kalibr_camchain, write_camera_info_yaml, write_kalibr_camchain,
};
pub use info::{CameraInfo, CameraInfoError, Roi};
pub use intrinsics::Intrinsics;
pub use rectify::{RectifiedView, RectifyError, RectifyMap, rectified_camera};
pub use size::Size;
