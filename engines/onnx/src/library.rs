//! Where ONNX Runtime's shared library is.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use perception::EngineError;

/// The environment variable that names the library.
pub const LIBRARY_VARIABLE: &str = "PIXIO_ONNXRUNTIME";

pub(crate) const FLAVOUR: &str = "onnxruntime-cpu";

/// The library that was asked for: the path given, else [`LIBRARY_VARIABLE`].
///
/// # Errors
/// [`EngineError::Unavailable`] when neither names a file, with the remedy.
pub fn library(given: Option<&Path>) -> Result<PathBuf, EngineError> {
    let named = given.map(Path::to_owned).or_else(|| std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from));
    let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) else {
        return Err(unavailable(format!(
            "no library was named; set {LIBRARY_VARIABLE} to libonnxruntime.so.* \
             (`pip install onnxruntime` brings it in onnxruntime/capi/; `make setup` does so here)"
        )));
    };
    if path.is_file() { Ok(path) } else { Err(unavailable(format!("there is no file {}", path.display()))) }
}

pub(crate) fn unavailable(reason: String) -> EngineError {
    EngineError::Unavailable { flavour: FLAVOUR, reason }
}

/// A process holds one ONNX Runtime: the first library loaded.
static LOADED: OnceLock<Result<(PathBuf, Environment), String>> = OnceLock::new();

/// Loads the library once per process.
pub(crate) fn environment(path: &Path) -> Result<Environment, EngineError> {
    let load = || {
        let failed = |error: String| format!("cannot load {}: {error}", path.display());
        let builder = ort::init_from(path).map_err(|error| failed(error.to_string()))?;
        let environment = builder.with_name("pixio").build().map_err(|error| failed(error.to_string()))?;
        Ok((path.to_owned(), environment))
    };
    match LOADED.get_or_init(load) {
        Err(reason) => Err(unavailable(reason.clone())),
        Ok((loaded, _)) if loaded != path => Err(unavailable(format!(
            "this process has loaded {}, so {} cannot be loaded too",
            loaded.display(),
            path.display()
        ))),
        Ok((_, environment)) => Ok(environment.clone()),
    }
}
