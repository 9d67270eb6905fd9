//! What the golden and end-to-end checks in this package's `tests/` folder share.

pub mod conformance;
pub mod golden;

use onnx::{OnnxOptions, OnnxRuntime};

/// The reference engine. The environment names its library (`make unit` sets it); without it the test fails and says so.
pub fn onnx_runtime() -> OnnxRuntime {
    let library = onnx::library(None).unwrap_or_else(|error| panic!("{error}"));
    OnnxRuntime::new(OnnxOptions::new(library, 2)).unwrap_or_else(|error| panic!("{error}"))
}
