//! Camera frame to features and depth, on any engine. No ROS, no CUDA, no unsafe code.
//!
//! The data path reads top to bottom in [`pipeline`]: preprocess, backbone, heads, decode.

pub mod compressed;
pub mod confidence;
pub mod depth;
pub mod dummy;
pub mod either;
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
pub mod scale;
pub mod upsample;
pub mod view;

pub use compressed::{CompressedError, Decompressor};
pub use confidence::ConfidenceMap;
pub use depth::{DepthMap, FarPolicy};
pub use either::Either;
pub use engine::{Engine, EngineError, EngineIdentity};
pub use features::FeatureMap;
pub use frame::{FrameId, Stamp};
pub use geometry::{GeometryError, ImageGeometry};
pub use image::{Encoding, ImageError, ImageView};
pub use pipeline::{Outputs, Pipeline, PipelineError, Timings, Wanted};
pub use points::PointMap;
pub use preprocess::Preprocessing;
pub use scale::{RelativeDepth, ScaleMode, Scaling};
pub use view::{CameraView, OutputSize, ViewOptions};
