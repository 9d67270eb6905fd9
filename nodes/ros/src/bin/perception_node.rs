//! `perception_node`: images in, depth and points out, on the engine that parameters choose.

use std::process::ExitCode;

use anyhow::{Context, Result};
use network::Bundle;
use onnx::{OnnxOptions, OnnxRuntime};
use perception::Either;
use pixio_ros::perception::{EngineChoice, REFERENCE, Settings, run};
use pixio_ros::rosout::Logger;
use pixio_ros::spin::Stop;
use tensorrt::{Cache, Flavour, TensorRt, TensorRtOptions};

fn main() -> ExitCode {
    pixio_ros::spin::main(&REFERENCE, |ros, stop| {
        let asked = stop.clone();
        run(ros, move |settings, logger| engine(settings, logger, &asked), stop)
    })
}

/// The engine that the parameters choose.
fn engine(settings: &Settings, logger: &Logger, stop: &Stop) -> Result<Either<OnnxRuntime, TensorRt>> {
    match settings.engine {
        EngineChoice::Onnx => on_cpu(settings).map(Either::First),
        EngineChoice::TensorRt(flavour) => on_gpu(flavour, settings, logger, stop).map(Either::Second),
    }
}

fn on_cpu(settings: &Settings) -> Result<OnnxRuntime> {
    let library = onnx::library(settings.onnxruntime.as_deref())?;
    let engine = OnnxRuntime::new(OnnxOptions { library, threads: settings.threads, int8: settings.int8 });
    engine.context("cannot start the engine")
}

fn on_gpu(flavour: Flavour, settings: &Settings, logger: &Logger, stop: &Stop) -> Result<TensorRt> {
    let bundle = Bundle::open(&settings.bundle)?;
    let cache = settings.engine_cache.clone().map_or_else(Cache::of_user, |folder| Ok(Cache::new(folder)))?;
    let options = TensorRtOptions {
        flavour,
        library: settings.tensorrt.clone(),
        precision: settings.precision,
        kept: bundle.manifest().precision.clone(),
        model: bundle.hash().to_owned(),
        cache,
        is_on_trial: false,
    };
    let (logger, stop) = (logger.clone(), stop.clone());
    let watch = move |told: &str, progress: Option<tensorrt::Progress<'_>>| {
        if progress.is_none() {
            logger.info(format!("{told}; this takes minutes, `pixio build` does it beforehand"));
        }
        !stop.is_set()
    };
    TensorRt::watched(options, Box::new(watch)).context("cannot start the engine")
}
