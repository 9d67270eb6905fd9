//! `perception_node`: images in, depth and points out, on the engine that parameters choose.

use std::process::ExitCode;

use anyhow::{Context, Result};
use onnx::{OnnxOptions, OnnxRuntime};
use pixio_ros::perception::{EngineChoice, Settings, run};
use pixio_ros::spin::Stop;

fn main() -> ExitCode {
    pixio_ros::spin::main("perception_node", start)
}

fn start(node: r2r::Node, stop: &Stop) -> Result<()> {
    let settings = Settings::read(&node)?;
    match settings.engine {
        EngineChoice::Onnx => {
            let library = onnx::library(settings.onnxruntime.as_deref())?;
            let engine = OnnxRuntime::new(OnnxOptions { library, threads: settings.threads });
            run(node, &settings, engine.context("cannot start the engine")?, stop)
        }
    }
}
