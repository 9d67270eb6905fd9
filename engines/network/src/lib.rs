//! Pixio and its heads, each defined once: checkpoints in, ONNX out.
//!
//! A checkpoint (official `.pth` or Hugging Face safetensors) is imported into a [`Bundle`]; a bundle builds a
//! [`Network`] for an input size: the backbone, or one head. A network is a plain [`Graph`] of about 25 operations with
//! static shapes and named weights; everything else is a pass over it.

pub mod architecture;
pub mod bundle;
pub mod checkpoint;
pub mod graph;
pub mod manifest;
pub mod modules;
pub mod onnx;
pub mod precision;
pub mod weights;

pub use architecture::Architecture;
pub use bundle::{Bundle, BundleError, Golden};
pub use graph::{Graph, Network};
pub use manifest::{HeadKind, HeadSpec, Manifest, Meaning, PolicySpec, Task};
pub use modules::BuildError;
pub use precision::{Precision, PrecisionSpec, Typing};
pub use weights::{Weights, WeightsError};
