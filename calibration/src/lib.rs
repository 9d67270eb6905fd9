//! What is known about each camera: image size, intrinsics, distortion, and the files they come from.
//!
//! Conventions, everywhere in this crate: pixel centres at integers (the first pixel covers -0.5..0.5), x to the
//! right, y down, z forward (the optical frame of REP 103), lengths in metres.

mod camera;
mod distortion;
mod intrinsics;
mod lens;
mod size;

pub use camera::{CameraModel, CameraModelError, MAX_SIDE};
pub use distortion::{Distortion, DistortionError};
pub use intrinsics::Intrinsics;
pub use size::Size;
