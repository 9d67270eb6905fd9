//! Loading and verifying a bundle on an engine: what configuration does.

use anyhow::{Context, Result, bail};
use network::Bundle;
use perception::{Engine, EngineIdentity, Pipeline, parity};

use super::{Parity, Settings};
use crate::diagnostics::Status;
use crate::rosout::Logger;

/// A bundle on an engine, verified.
pub struct Loaded<E: Engine> {
    pub pipeline: Pipeline<E>,
    pub settings: Settings,
    pub about: About,
}

/// What is told of it in log and diagnostics.
#[derive(Clone, Debug)]
pub struct About {
    pub model: String,
    pub engine: EngineIdentity,
    pub parity: Result<String, String>,
}

impl About {
    /// What diagnostics say of it.
    pub fn tell(&self, status: &mut Status) {
        status.value("model", &self.model);
        status.value("engine", format!("{} {}", self.engine.flavour, self.engine.version));
        status.value("device", &self.engine.device);
        status.value("precision", &self.engine.precision);
        match &self.parity {
            Ok(told) => status.value("parity", format!("passed, {told}")),
            Err(told) => {
                status.error(format!("the engine's numbers are out of tolerance: {told}"));
                status.value("parity", format!("FAILED, {told}"));
            }
        }
    }
}

/// Opens the bundle, and compares the engine with its golden outputs.
///
/// # Errors
/// When bundle, settings and engine do not go together, or the engine's numbers are out of tolerance.
pub fn load<E: Engine>(engine: E, settings: Settings, logger: &Logger) -> Result<Loaded<E>> {
    let bundle = Bundle::open(&settings.bundle)?;
    let manifest = bundle.manifest();
    logger.info(format!("model {} ({}), licence: {}", manifest.name, manifest.origin, manifest.licence));
    if manifest.origin.starts_with("random weights") {
        logger.warn("RANDOM WEIGHTS: shapes, stamps and rates are real, the results mean nothing");
    }
    let (model, sizes) = (manifest.name.clone(), manifest.sizes.clone());
    let mut pipeline = Pipeline::with_heads(engine, bundle, &settings.heads)?;
    if let Some(size) = settings.network_size {
        pipeline.check_size(size).context("parameter network_size")?;
    }
    let engine = pipeline.engine().identity().clone();
    let parity = self_test(&mut pipeline, &settings, logger)?;
    // When the test's own networks are gone, so that memory never holds both, and before the first image, which would wait. Of
    // several sizes the cameras' images choose.
    let only = if let [size] = sizes[..] { Some(size) } else { None };
    if let Some(size) = settings.network_size.or(only) {
        pipeline.load(size)?;
    }
    Ok(Loaded { pipeline, settings, about: About { model, engine, parity } })
}

/// Compares the engine with the bundle's golden outputs.
fn self_test<E: Engine>(
    pipeline: &mut Pipeline<E>,
    settings: &Settings,
    logger: &Logger,
) -> Result<Result<String, String>> {
    let bundle = pipeline.bundle().clone();
    let engine = pipeline.engine();
    let EngineIdentity { flavour, version, device, precision } = engine.identity();
    logger.info(format!("engine {flavour} {version} on {device}, {precision}"));
    let sizes = settings.network_size.map_or_else(|| bundle.manifest().sizes.clone(), |size| vec![size]);
    let report = parity::check(engine, &bundle, &sizes).context("parity self-test")?;
    engine.take_notices().iter().for_each(|notice| logger.warn(notice));
    let worst = report.worst().map_or(f64::NAN, |worst| worst.relative);
    let told = format!("worst error {worst:.1e} of the range, tolerance {:.0e}", report.tolerance.relative);
    if report.passed() {
        logger.info(format!("parity self-test passed, {told}"));
        return Ok(Ok(told));
    }
    logger.error(format!("parity self-test FAILED:\n{report}"));
    match settings.parity {
        Parity::Stop => {
            bail!("parity self-test failed, {told}; parameter parity:=warn publishes all the same")
        }
        Parity::Warn => {
            logger.warn("publishing numbers that differ from golden, as parity:=warn asks");
            Ok(Err(told))
        }
    }
}
