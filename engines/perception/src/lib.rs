//! Camera frame to features and depth, on any engine. No ROS, no CUDA, no unsafe code.

pub mod engine;
pub mod image;
pub mod preprocess;

pub use engine::{Engine, EngineError, EngineIdentity};
