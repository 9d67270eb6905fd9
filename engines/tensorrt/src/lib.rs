//! The engine on NVIDIA GPUs: TensorRT (on JetPack too) and TensorRT-RTX, loaded at run time, so that one program starts
//! where neither is.
//!
//! Layers: `sys` (the declarations of `shim/shim.h`), safe handles around it ([`library`], `build`, `runtime`, and
//! `cuda` around the driver), and the [`TensorRt`] engine. A handle owns an `Arc` of its parent, so none outlives what it
//! was made from; no exception and no panic crosses the border. Start order: libcuda, a device, the library's version
//! against the headers', then the library's first call; TensorRT 11.4 dies if asked before a driver is there.
//!
//! Why not a binding from the registry: `tensorrt-rs` reads only UFF, with TensorRT 5 to 7. `trtx` (0.9.1) lets children
//! outlive their parents in safe code (a program without `unsafe` was seen to crash), wants libclang at every build, and its
//! headers are those of 11.4 alone, which no JetPack ships as its own. The shim here is one file of C++ that compiles against
//! whatever is installed from 10.0 to 11.x, and TensorRT-RTX from 1.5.
#![allow(unsafe_code)]

mod build;
pub mod cache;
mod cuda;
mod engine;
mod frames;
pub mod gate;
mod key;
pub mod layers;
pub mod library;
mod messages;
pub mod plans;
mod queue;
mod resample;
mod runtime;
mod sys;

pub use build::{Plan, Progress, Target, Watch, build_plan};
pub use cache::{Cache, CacheError, Certificate};
pub use cuda::{CudaError, Device};
pub use engine::{BuildWatch, TensorRt, TensorRtNetwork, TensorRtOptions, TensorRtTensor};
pub use layers::Layer;
pub use library::{Flavour, Library, Version};
pub use plans::Plans;
pub use runtime::check_plan;
