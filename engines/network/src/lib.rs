//! Pixio and its heads, each defined once: checkpoints in, ONNX out.
//!
//! A checkpoint (official `.pth` or Hugging Face safetensors) is imported into a [`Bundle`]; a bundle builds a
//! [`Network`] for an input size: the backbone, or one head. A network is a plain [`Graph`] of about 25 operations with static
//! shapes and named weights; everything else is a pass over it.

pub mod bundle;
pub mod checkpoint;
pub mod graph;
pub mod modules;
pub mod onnx;
mod weights;

pub use bundle::{Bundle, Manifest};
pub use graph::{Graph, Network};
pub use weights::{Weights, WeightsError};
