//! Camera frame to features and depth, on any engine. No ROS, no CUDA, no unsafe code.
//!
//! The data path reads top to bottom in [`pipeline`]: preprocess, backbone, heads, decode.

pub mod depth;
pub mod dummy;
pub mod engine;
pub mod features;
pub mod frame;
pub mod geometry;
pub mod image;
pub mod parity;
pub mod picture;
pub mod pipeline;
pub mod points;
pub mod preprocess;

pub use depth::DepthMap;
pub use engine::{Engine, EngineError, EngineIdentity};
pub use features::FeatureMap;
pub use frame::{FrameId, Stamp};
pub use geometry::{GeometryError, ImageGeometry};
pub use image::{Encoding, ImageError, ImageView};
pub use pipeline::{CameraView, Outputs, Pipeline, PipelineError, Timings, Wanted};
pub use points::PointMap;
pub use preprocess::Preprocessing;
