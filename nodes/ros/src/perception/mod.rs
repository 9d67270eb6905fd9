//! `perception_node`: images in, depth and points out.

mod inference;
mod inputs;
mod outputs;
mod settings;

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use futures::executor::LocalPool;
use network::Bundle;
use perception::{Engine, Pipeline, parity};

use crate::latest::Latest;
use crate::spin::{Stop, until_stopped};

pub use settings::{EngineChoice, Parity, Settings};

use inference::Inference;
use inputs::Inputs;
use outputs::{Outputs, Results};

/// Runs the node on an engine until `stop`.
///
/// # Errors
/// When the bundle, the settings or the engine do not go together; all of it before the first frame.
pub fn run<E>(mut node: r2r::Node, settings: &Settings, engine: E, stop: &Stop) -> Result<()>
where
    E: Engine + Send,
    E::Tensor: Send,
    E::Network: Send,
{
    let logger = node.logger().to_owned();
    let bundle = Bundle::open(&settings.bundle)?;
    let manifest = bundle.manifest();
    r2r::log_info!(&logger, "model {} ({}), licence: {}", manifest.name, manifest.origin, manifest.licence);
    if manifest.origin.starts_with("random weights") {
        r2r::log_warn!(&logger, "RANDOM WEIGHTS: shapes, stamps and rates are real, the depth means nothing");
    }
    let mut pipeline = Pipeline::new(engine, bundle, settings.depth_head.as_deref())?;
    let may_publish = self_test(&mut pipeline, settings, &logger)?;
    if let Some(size) = settings.network_size {
        pipeline.view(size, Some(size)).context("parameter network_size")?;
    }

    let cameras = settings.camera_names();
    let frames = Arc::new(Latest::new(cameras.len()));
    let results = Arc::new(Latest::<Results>::new(cameras.len()));
    let outputs = cameras.iter().map(|name| Outputs::new(&mut node, name)).collect::<Result<Vec<_>>>()?;
    let mut inputs = Inputs::new(&mut node, &cameras, frames.clone())?;
    let mut tasks = LocalPool::new();
    inputs.subscribe_infos(&mut node, &tasks.spawner())?;
    let inference = Inference::new(pipeline, settings, &logger, outputs.clone(), may_publish);

    let failed = Stop::default();
    thread::scope(|scope| {
        let guard = ClosesAll { frames: &frames, results: &results };
        let (frames, results, logger) = (&*frames, &*results, &*logger);
        scope.spawn(move || inference.run(frames, results));
        scope.spawn(move || outputs::publish_all(outputs, results, logger));
        r2r::log_info!(logger, "ready: {} camera(s)", cameras.len());
        let spawner = tasks.spawner();
        until_stopped(&mut node, &mut tasks, stop, |node| {
            if let Err(error) = inputs.follow_publishers(node, &spawner) {
                r2r::log_error!(logger, "{error:#}");
                failed.set();
                stop.set();
            }
        });
        drop(guard);
    });
    r2r::log_info!(&logger, "stopped");
    if failed.is_set() {
        Err(anyhow::anyhow!("stopped because an input could not be subscribed"))
    } else {
        Ok(())
    }
}

/// Wakes the threads, whatever ended the spinning.
struct ClosesAll<'a, F> {
    frames: &'a Latest<F>,
    results: &'a Latest<Results>,
}

impl<F> Drop for ClosesAll<'_, F> {
    fn drop(&mut self) {
        self.frames.close();
        self.results.close();
    }
}

/// Compares the engine with the bundle's golden outputs. Whether the node may publish.
fn self_test<E: Engine>(pipeline: &mut Pipeline<E>, settings: &Settings, logger: &str) -> Result<bool> {
    let bundle = pipeline.bundle().clone();
    let engine = pipeline.engine();
    let identity = engine.identity().clone();
    r2r::log_info!(
        logger,
        "engine {} {} on {}, {}",
        identity.flavour,
        identity.version,
        identity.device,
        identity.precision
    );
    let sizes = settings.network_size.map_or_else(|| bundle.manifest().sizes.clone(), |size| vec![size]);
    let report = parity::check(engine, &bundle, &sizes).context("parity self-test")?;
    if report.passed() {
        let worst = report.worst().map_or(0.0, |worst| worst.relative);
        r2r::log_info!(logger, "parity self-test passed, worst error {worst:.1e} of the range");
        return Ok(true);
    }
    r2r::log_error!(logger, "parity self-test FAILED:\n{report}");
    match settings.parity {
        Parity::Stop => {
            r2r::log_error!(
                logger,
                "nothing will be published; parameter parity:=warn publishes all the same"
            );
            Ok(false)
        }
        Parity::Warn => {
            r2r::log_warn!(logger, "publishing numbers that differ from golden, as parity:=warn asks");
            Ok(true)
        }
    }
}
