//! `perception_node`: images in, depth and points out, on the engine that parameters choose.

use std::process::ExitCode;

use anyhow::{Context, Result};
use onnx::{OnnxOptions, OnnxRuntime};
use pixio_ros::perception::{EngineChoice, REFERENCE, Settings, run};

fn main() -> ExitCode {
    pixio_ros::spin::main(&REFERENCE, |ros, stop| run(ros, |settings| engine(settings), stop))
}

/// The engine that the parameters choose.
fn engine(settings: &Settings) -> Result<OnnxRuntime> {
    match settings.engine {
        EngineChoice::Onnx => {
            let library = onnx::library(settings.onnxruntime.as_deref())?;
            let engine = OnnxRuntime::new(OnnxOptions { library, threads: settings.threads });
            engine.context("cannot start the engine")
        }
    }
}
