//! Built engines on disk: a plan and, beside it, its certificate, which says what it was built from and how it did.
//!
//! A plan counts only with its certificate, which is renamed into place last and holds the plan's hash; so nothing half
//! written is ever taken for whole. The key holds everything that changes the result.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::hex;
use crate::layers::Layer;
use crate::library::{Flavour, Version};

pub use crate::key::Key;

/// The environment variable that names the cache's folder.
pub const CACHE_VARIABLE: &str = "PIXIO_CACHE";

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No folder is named, and there is no home to put one in.
    #[error("engine cache: set {CACHE_VARIABLE} to a folder: neither it nor XDG_CACHE_HOME nor HOME is set")]
    NoFolder,
    /// A file could not be read or written.
    #[error("engine cache: {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A certificate could not be written as text.
    #[error("engine cache: {0}")]
    Text(toml::ser::Error),
}

/// An output against golden, as measured when the engine was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredOutput {
    /// `<network>/<port>`.
    pub output: String,
    /// Largest error over all photographs, as a share of golden's largest magnitude.
    pub relative: f64,
    /// Least cosine over all photographs.
    pub cosine: f64,
}

/// What an engine was built from, how long that took, and how it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// What decides the engine.
    pub key: Key,
    /// SHA-256 of the plan.
    pub plan_sha256: String,
    /// Bytes of the plan.
    pub plan_bytes: u64,
    /// When it was built, seconds since 1970 UTC.
    pub built_unix_secs: u64,
    /// How long the build took.
    pub build_secs: f64,
    /// Kernels by kind, as the builder lists them; empty when it did not.
    #[serde(default)]
    pub kernels: BTreeMap<String, usize>,
    /// What the library warned of.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Against golden; empty when no GPU was there to measure on.
    #[serde(default)]
    pub parity: Vec<MeasuredOutput>,
}

/// That a version known to be bad was right over many photographs, on one machine and for one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// Hash of the bundle's manifest.
    pub model: String,
    /// `tensorrt`.
    pub flavour: String,
    /// The library's version.
    pub library: String,
    /// The GPU.
    pub target: String,
    /// `fp32` or `fp16`.
    pub precision: String,
    /// SHA-256 of every plan that agreed.
    pub plans: Vec<String>,
    /// How many photographs agreed.
    pub photographs: usize,
    /// The worst error among them, as a share of the range.
    pub worst_relative: f64,
}

impl Acceptance {
    /// Whether it is of this library in this version.
    pub fn is_of(&self, (flavour, version): (Flavour, Version)) -> bool {
        self.flavour == flavour.name() && self.library == version.to_string()
    }
}

/// The folder of built engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in a folder, which is made when something is stored.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The user's cache: the folder in [`CACHE_VARIABLE`], else `pixio/engines` in the user's cache folder.
    ///
    /// # Errors
    /// When the environment names none.
    pub fn of_user() -> Result<Self, CacheError> {
        Self::of_environment(|name| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        })
    }

    /// The same in another environment than the process's: `named` is the folder that a variable names, if it does.
    ///
    /// # Errors
    /// When the environment names none.
    pub fn of_environment(named: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, CacheError> {
        let below = |folder: PathBuf| folder.join("pixio/engines");
        let home = || named("HOME").map(|home| below(home.join(".cache")));
        let found = named(CACHE_VARIABLE).or_else(|| named("XDG_CACHE_HOME").map(below)).or_else(home);
        found.map(Self::new).ok_or(CacheError::NoFolder)
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The plan's path of a key.
    pub fn plan_path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}-{}.plan", key.network, key.hash()))
    }

    fn certificate_path(&self, key: &Key) -> PathBuf {
        self.plan_path(key).with_extension("toml")
    }

    /// All certificates; what is not one is passed over.
    pub fn certificates(&self) -> Vec<Certificate> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let paths =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "toml"));
        let texts = paths.filter_map(|path| std::fs::read_to_string(path).ok());
        texts.filter_map(|text| toml::from_str(&text).ok()).collect()
    }

    /// A whole engine of a key (or one built for several GPUs that meets it), else why there is none.
    ///
    /// # Errors
    /// The reason for a build, for people.
    pub fn get(&self, key: &Key) -> Result<(Vec<u8>, Certificate), String> {
        let certificates = self.certificates();
        let exact = certificates.iter().find(|certificate| certificate.key == *key);
        let found = exact.or_else(|| certificates.iter().find(|certificate| key.is_met_by(&certificate.key)));
        let Some(certificate) = found else { return Err(explain(key, &certificates)) };
        let path = self.plan_path(&certificate.key);
        let plan = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if plan.len() as u64 == certificate.plan_bytes
            && hex(&Sha256::digest(&plan)) == certificate.plan_sha256
        {
            return Ok((plan, certificate.clone()));
        }
        Err(format!("{} is damaged: its hash is not that of its certificate", path.display()))
    }

    /// As [`Cache::get`], but only if the plan is one of `accepted`, by their hashes: another build picks other kernels, which nobody
    /// compared.
    ///
    /// # Errors
    /// Why there is none that may run, for people.
    pub fn get_accepted(&self, key: &Key, accepted: &[String]) -> Result<(Vec<u8>, Certificate), String> {
        let (plan, certificate) = self.get(key)?;
        if accepted.contains(&certificate.plan_sha256) {
            return Ok((plan, certificate));
        }
        Err(format!("{} is another build than the one that was accepted", self.plan_path(key).display()))
    }

    /// Stores an engine: plan, then certificate, each renamed into place when whole.
    ///
    /// # Errors
    /// When a file cannot be written; nothing counts then.
    pub fn put(&self, certificate: &Certificate, plan: &[u8]) -> Result<(), CacheError> {
        self.write(&self.plan_path(&certificate.key), plan)?;
        self.certify(certificate)
    }

    /// Replaces the certificate of a stored engine, for example when it has been measured.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn certify(&self, certificate: &Certificate) -> Result<(), CacheError> {
        let text = toml::to_string_pretty(certificate).map_err(CacheError::Text)?;
        self.write(&self.certificate_path(&certificate.key), text.as_bytes())
    }

    /// Forgets an engine: its certificate first.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<(), CacheError> {
        for path in [self.certificate_path(key), self.plan_path(key)] {
            match std::fs::remove_file(&path) {
                Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CacheError::Io { path, reason });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Stores that a version known to be bad was accepted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn accept(&self, acceptance: &Acceptance) -> Result<(), CacheError> {
        let Acceptance { model, flavour, library, target, precision, .. } = acceptance;
        let what = hex(&Sha256::digest(format!("{model}\n{flavour}\n{library}\n{target}\n{precision}")));
        let text = toml::to_string_pretty(acceptance).map_err(CacheError::Text)?;
        self.write(&self.folder.join(format!("{what:.16}.accepted")), text.as_bytes())
    }

    /// How versions known to be bad were accepted, each over enough photographs.
    pub fn acceptances(&self) -> Vec<Acceptance> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let texts = paths
            .filter(|path| path.extension().is_some_and(|e| e == "accepted"))
            .filter_map(|path| std::fs::read_to_string(path).ok());
        let found = texts.filter_map(|text| toml::from_str::<Acceptance>(&text).ok());
        found.filter(|accepted| accepted.photographs >= crate::gate::LEAST_PHOTOGRAPHS).collect()
    }

    /// How a version known to be bad was accepted, if it was, for exactly this.
    pub fn accepted(
        &self,
        model: &str,
        library: (Flavour, Version),
        target: &str,
        precision: &str,
    ) -> Option<Acceptance> {
        self.acceptances().into_iter().find(|accepted| {
            accepted.model == model
                && accepted.is_of(library)
                && accepted.target == target
                && accepted.precision == precision
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        let io = |reason| CacheError::Io { path: path.to_owned(), reason };
        std::fs::create_dir_all(&self.folder).map_err(io)?;
        // As any file of the user's, within the umask: a cache that root built may serve another user.
        let readable = std::fs::Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().permissions(readable).tempfile_in(&self.folder);
        let mut file = file.map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map(drop).map_err(|error| io(error.error))
    }
}

/// A certificate of a fresh plan.
pub(crate) fn certificate(
    key: Key,
    plan: &[u8],
    build_secs: f64,
    layers: &[Layer],
    warnings: Vec<String>,
) -> Certificate {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Certificate {
        key,
        plan_sha256: hex(&Sha256::digest(plan)),
        plan_bytes: plan.len() as u64,
        built_unix_secs: now.map_or(0, |since| since.as_secs()),
        build_secs,
        kernels: kernels(layers),
        warnings,
        parity: Vec::new(),
    }
}

/// Counts layers by kind.
fn kernels(layers: &[Layer]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    layers.iter().for_each(|layer| *counts.entry(layer.kind.clone()).or_insert(0) += 1);
    counts
}

/// Why an engine is built: what changed since the last one of the same network, or that there was none.
fn explain(key: &Key, certificates: &[Certificate]) -> String {
    let about = |key: &Key| (key.model.clone(), key.network.clone(), key.ports.clone());
    let same = certificates.iter().filter(|certificate| about(&certificate.key) == about(key));
    let nearest = same.min_by_key(|old| (key.changes_since(&old.key).len(), u64::MAX - old.built_unix_secs));
    match nearest {
        None => format!("no engine of {} was built yet", key.network),
        Some(old) => key.changes_since(&old.key).join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(library: &str, target: &str) -> Key {
        let text = |text: &str| text.to_owned();
        Key {
            model: text("0123456789abcdef"),
            network: text("backbone"),
            ports: text("image[1, 3, 16, 16] -> y[1]"),
            graph: text("feed"),
            flavour: text("tensorrt"),
            library: text(library),
            target: text(target),
            precision: text("fp16"),
            kept: text("fp32 [] bf16 []"),
            shim: text("1"),
        }
    }

    fn stored(cache: &Cache, key: &Key, plan: &[u8]) {
        let layer = |kind: &str| Layer { kind: kind.to_owned(), ..Layer::default() };
        let layers = ["gemm", "gemm", "_gemm_mha_v2"].map(layer);
        cache.put(&certificate(key.clone(), plan, 1.5, &layers, vec![]), plan).unwrap();
    }

    #[test]
    fn what_is_stored_comes_back_and_a_change_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("not/yet/there"));
        let old = key("10.3.0", "Orin sm_87");
        assert!(cache.get(&old).unwrap_err().contains("no engine of backbone"));
        stored(&cache, &old, b"plan");
        let (plan, certificate) = cache.get(&old).unwrap();
        assert_eq!(plan, b"plan");
        assert_eq!(certificate.kernels, [("_gemm_mha_v2".to_owned(), 1), ("gemm".to_owned(), 2)].into());
        assert_eq!(cache.get(&key("10.16.2", "Orin sm_87")).unwrap_err(), "tensorrt 10.3.0 -> 10.16.2");
        let both = cache.get(&key("10.16.2", "Thor sm_110")).unwrap_err();
        assert_eq!(both, "tensorrt 10.3.0 -> 10.16.2, target Orin sm_87 -> Thor sm_110");
        cache.remove(&old).unwrap();
        assert!(cache.get(&old).is_err());
    }

    #[test]
    fn damaged_and_half_written_engines_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let key = key("10.16.2", "Orin sm_87");
        stored(&cache, &key, b"plan");
        std::fs::write(cache.plan_path(&key), b"pla").unwrap();
        assert!(cache.get(&key).unwrap_err().contains("damaged"));
        stored(&cache, &key, b"plan");
        std::fs::remove_file(cache.certificate_path(&key)).unwrap();
        assert!(cache.get(&key).is_err(), "a plan alone is nothing");
        std::fs::write(cache.certificate_path(&key), "half = ").unwrap();
        assert!(cache.get(&key).is_err());
    }

    #[test]
    fn files_are_as_readable_as_the_umask_lets_them() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let key = key("10.16.2", "Orin sm_87");
        stored(&cache, &key, b"plan");
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&cache.plan_path(&key)), mode(&plain));
        assert_eq!(mode(&cache.certificate_path(&key)), mode(&plain));
    }

    #[test]
    fn a_plan_for_several_gpus_serves_each_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        stored(&cache, &key("1.7.1", "sm_86 sm_89"), b"portable");
        assert!(cache.get(&key("1.7.1", "NVIDIA RTX 4090 sm_89")).is_ok());
        assert!(cache.get(&key("1.7.1", "NVIDIA RTX 5090 sm_120")).is_err());
        assert!(cache.get(&key("1.6.0", "NVIDIA RTX 4090 sm_89")).is_err());
        stored(&cache, &key("10.16.2", "A GPU sm_89"), b"of that machine");
        assert!(cache.get(&key("10.16.2", "Another GPU sm_89")).is_err());
    }

    #[test]
    fn acceptance_is_for_one_model_machine_version_and_precision() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let text = |text: &str| text.to_owned();
        let mut acceptance = Acceptance {
            model: text("m"),
            flavour: text("tensorrt"),
            library: text("10.3.0"),
            target: text("Orin sm_87"),
            precision: text("fp16"),
            plans: vec![text("a plan's hash")],
            photographs: 16,
            worst_relative: 1e-3,
        };
        cache.accept(&acceptance).unwrap();
        let version = Version::from_number(100_300);
        let library = (Flavour::TensorRt, version);
        let accepted = |model, target, precision| cache.accepted(model, library, target, precision);
        assert_eq!(accepted("m", "Orin sm_87", "fp16"), Some(acceptance.clone()));
        assert_eq!(accepted("m", "Orin sm_87", "fp32"), None);
        assert_eq!(accepted("other", "Orin sm_87", "fp16"), None);
        let other = Acceptance { target: text("Thor sm_110"), ..acceptance.clone() };
        cache.accept(&other).unwrap();
        assert!(["Orin sm_87", "Thor sm_110"].iter().all(|gpu| accepted("m", gpu, "fp16").is_some()));
        acceptance.photographs = 2;
        cache.accept(&acceptance).unwrap();
        assert_eq!(accepted("m", "Orin sm_87", "fp16"), None, "too few photographs");
        assert_eq!(accepted("m", "Thor sm_110", "fp16"), Some(other), "of another machine");
    }

    #[test]
    fn acceptance_is_for_the_builds_that_were_compared() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let key = key("10.3.0", "Orin sm_87");
        assert!(cache.get_accepted(&key, &[]).unwrap_err().contains("no engine of backbone"));
        stored(&cache, &key, b"plan");
        let accepted = [cache.get(&key).unwrap().1.plan_sha256];
        assert_eq!(cache.get_accepted(&key, &accepted).unwrap().0, b"plan");
        stored(&cache, &key, b"the same, built again");
        let refused = cache.get_accepted(&key, &accepted).unwrap_err();
        assert!(refused.contains("another build than the one that was accepted"), "{refused}");
    }
}
