//! Plans of networks: from the cache, or built from typed ONNX and stored.

use std::sync::Arc;
use std::time::Instant;

use network::{Network, Precision, PrecisionSpec, Typing};
use perception::EngineError;

use crate::build::{Progress, Target, Watch, build_plan};
use crate::cache::{Cache, Certificate, Key, certificate};
use crate::gate;
use crate::library::Library;

/// What decides the engines of one model, and where they are kept.
#[derive(Clone, Debug)]
pub struct Plans {
    /// The library that builds.
    pub library: Arc<Library>,
    /// Where plans are kept.
    pub cache: Cache,
    /// Where they will run.
    pub target: Target,
    /// What the networks compute in.
    pub precision: Precision,
    /// What keeps more than float16.
    pub kept: PrecisionSpec,
    /// Names the model; [`network::Bundle::hash`].
    pub model: String,
}

/// A plan and where it came from.
#[derive(Debug)]
pub struct Found {
    /// The plan.
    pub plan: Vec<u8>,
    /// Its certificate.
    pub certificate: Certificate,
    /// Why it was built, if it was; none when it was in the cache.
    pub built_because: Option<String>,
}

impl Plans {
    /// The key of a network's engine.
    pub fn key(&self, network: &Network) -> Key {
        let library = (self.library.flavour(), self.library.version());
        Key::new(network, &self.model, library, self.target.describe(), self.precision, &self.kept)
    }

    /// The plan of a network: from the cache, else built and stored. `announce` hears why before a build begins.
    ///
    /// # Errors
    /// [`EngineError::Load`] when it cannot be built, or was stopped by `watch`.
    pub fn get(
        &self,
        network: &Network,
        announce: &dyn Fn(&str),
        watch: &Watch<'_>,
    ) -> Result<Found, EngineError> {
        let key = self.key(network);
        let reason = match self.cache.get(&key) {
            Ok((plan, certificate)) => return Ok(Found { plan, certificate, built_because: None }),
            Err(reason) => reason,
        };
        announce(&reason);
        self.build(network, key, reason, watch)
    }

    /// The plan of a network from the cache, if it is one of those that were accepted, by their hashes.
    ///
    /// # Errors
    /// [`EngineError::Load`] with what to do when there is none.
    pub fn get_accepted(&self, network: &Network, accepted: &[String]) -> Result<Found, EngineError> {
        match self.cache.get_accepted(&self.key(network), accepted) {
            Ok((plan, certificate)) => Ok(Found { plan, certificate, built_because: None }),
            Err(reason) => Err(EngineError::Load {
                network: network.name().to_owned(),
                reason: format!(
                    "{reason}; of a TensorRT version known to be bad only engines that were compared with many photographs \
                     may run: {}",
                    gate::remedy()
                ),
            }),
        }
    }

    /// Builds a network's engine, whatever the cache holds.
    ///
    /// # Errors
    /// As [`Plans::get`].
    pub fn rebuild(
        &self,
        network: &Network,
        reason: String,
        watch: &Watch<'_>,
    ) -> Result<Found, EngineError> {
        self.build(network, self.key(network), reason, watch)
    }

    fn build(
        &self,
        network: &Network,
        key: Key,
        reason: String,
        watch: &Watch<'_>,
    ) -> Result<Found, EngineError> {
        let found = self.build_and_store(network, key, reason, watch);
        // Asked once more: whoever wants no more after the builder's last step is heard before the next network.
        match (watch(Progress::Ended), found) {
            (false, Ok(found)) => {
                let reason =
                    format!("stopped; {} is built", self.cache.plan_path(&found.certificate.key).display());
                Err(EngineError::Load { network: network.name().to_owned(), reason })
            }
            (_, found) => found,
        }
    }

    fn build_and_store(
        &self,
        network: &Network,
        key: Key,
        reason: String,
        watch: &Watch<'_>,
    ) -> Result<Found, EngineError> {
        let failed = |reason: String| EngineError::Load { network: network.name().to_owned(), reason };
        let start = Instant::now();
        let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let onnx = folder.path().join(format!("{}.onnx", network.name()));
        let typing = Typing::new(network.graph(), self.precision, &self.kept);
        network::onnx::write_typed(network, &typing, &onnx, network::onnx::MAX_EMBEDDED_BYTES)
            .map_err(|error| failed(error.to_string()))?;
        let plan = build_plan(&self.library, network.name(), &onnx, &self.target, watch)?;
        let secs = start.elapsed().as_secs_f64();
        let bytes = plan.bytes().to_vec();
        let certificate = certificate(key, &bytes, secs, &plan.layers, plan.warnings.clone());
        self.cache.put(&certificate, &bytes).map_err(|error| failed(error.to_string()))?;
        Ok(Found { plan: bytes, certificate, built_because: Some(reason) })
    }
}
