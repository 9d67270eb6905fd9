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
pub mod heads;
pub mod image;
pub mod labels;
pub mod parity;
pub mod picture;
pub mod pipeline;
pub mod point_head;
pub mod points;
pub mod policy;
pub mod preprocess;
pub mod scale;
pub mod timings;
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
pub use heads::HeadNames;
pub use image::{Encoding, ImageError, ImageView};
pub use labels::LabelMap;
pub use pipeline::{Outputs, Pipeline, PipelineError, Wanted};
pub use point_head::{HeadPoints, ImpliedIntrinsics};
pub use points::PointMap;
pub use policy::{Observation, Policy, PolicyError};
pub use preprocess::Preprocessing;
pub use scale::{RelativeDepth, ScaleMode, Scaling};
pub use timings::{HeadTimings, Timings};
pub use view::{CameraView, OutputSize, ViewOptions};
