//! The engine that a command was asked to use.

use std::path::PathBuf;

use anyhow::{Context, Result};
use onnx::{OnnxOptions, OnnxRuntime};

/// Which engine, and where its library is.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArguments {
    /// ONNX Runtime's shared library (libonnxruntime.so.*)
    #[arg(long, value_name = "FILE", env = "PIXIO_ONNXRUNTIME", help_heading = "Engine")]
    onnxruntime: Option<PathBuf>,
    /// Threads that one network may use
    #[arg(long, default_value_t = default_threads(), help_heading = "Engine")]
    threads: usize,
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl EngineArguments {
    /// Starts the engine.
    ///
    /// # Errors
    /// When the library is not named or cannot be loaded.
    pub fn start(&self) -> Result<OnnxRuntime> {
        let library = onnx::library(self.onnxruntime.as_deref())?;
        OnnxRuntime::new(OnnxOptions { library, threads: self.threads }).context("cannot start the engine")
    }
}
