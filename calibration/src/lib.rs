//! What is known about each camera: image size, intrinsics, distortion, and the files they come from.

mod size;

pub use size::Size;
