//! The reference engine: ONNX Runtime on the CPU.
//!
//! The library is loaded at run time from an explicit path (the shared library of the `onnxruntime` package on PyPI
//! serves); nothing is searched for and nothing is fallen back to.

mod engine;
mod library;
mod memory;

pub use engine::{OnnxNetwork, OnnxOptions, OnnxRuntime, OnnxTensor};
pub use library::{LIBRARY_VARIABLE, library};
