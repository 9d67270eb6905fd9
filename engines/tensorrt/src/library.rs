//! The library that was loaded at run time, and whether it suits the headers that this program was built against.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perception::EngineError;

use crate::sys;

/// Which of NVIDIA's two libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// `libnvinfer`: workstations, servers, and the only one on Jetson.
    TensorRt,
    /// `libtensorrt_rtx`: RTX GPUs in PCs; builds for GPUs that are not there.
    TensorRtRtx,
}

impl Flavour {
    /// Both.
    pub const ALL: [Self; 2] = [Self::TensorRt, Self::TensorRtRtx];

    /// `tensorrt` or `tensorrt-rtx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TensorRt => "tensorrt",
            Self::TensorRtRtx => "tensorrt-rtx",
        }
    }

    /// The environment variable that names the folder of its libraries.
    pub fn variable(self) -> &'static str {
        match self {
            Self::TensorRt => "PIXIO_TENSORRT",
            Self::TensorRtRtx => "PIXIO_TENSORRT_RTX",
        }
    }

    /// Names that people know it by.
    pub fn title(self) -> &'static str {
        match self {
            Self::TensorRt => "TensorRT",
            Self::TensorRtRtx => "TensorRT-RTX",
        }
    }

    /// Names of the library and its ONNX parser, as far as before `.so`.
    pub fn libraries(self) -> [&'static str; 2] {
        match self {
            Self::TensorRt => ["libnvinfer", "libnvonnxparser"],
            Self::TensorRtRtx => ["libtensorrt_rtx", "libtensorrt_onnxparser_rtx"],
        }
    }

    /// File names of the library and its ONNX parser, of a major version.
    fn files(self, major: i32) -> [String; 2] {
        self.libraries().map(|library| format!("{library}.so.{major}"))
    }

    /// An error that says what is missing.
    pub(crate) fn unavailable(self, reason: String) -> EngineError {
        EngineError::Unavailable { flavour: self.name(), reason }
    }

    /// Version of the headers that this program was built against.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when it was built without, with the remedy.
    pub fn headers(self) -> Result<Version, EngineError> {
        // SAFETY: takes nothing and returns a number.
        sys::table(self).map(|table| Version::from_number(unsafe { (table.header_version)() })).map_err(
            |reason| {
                self.unavailable(format!(
                    "{reason}; install {}'s headers and build this program again",
                    self.title()
                ))
            },
        )
    }
}

impl std::fmt::Display for Flavour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Flavour {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|flavour| flavour.name() == name);
        found.ok_or_else(|| format!("expected tensorrt or tensorrt-rtx, got {name:?}"))
    }
}

/// A version of a library or its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major number.
    pub major: i32,
    /// Minor number.
    pub minor: i32,
    /// Patch number.
    pub patch: i32,
}

impl Version {
    /// From TensorRT's number, `major * 10000 + minor * 100 + patch`.
    pub(crate) fn from_number(number: i32) -> Self {
        Self { major: number / 10_000, minor: number / 100 % 100, patch: number % 100 }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a loaded library does not suit the headers, if so. Within a major version TensorRT only appends to its classes, and with headers
/// from 10.1 on the shim calls what 10.1 appended; TensorRT-RTX promises nothing across minor versions.
pub fn misfit(flavour: Flavour, headers: Version, library: Version) -> Option<String> {
    let same_major = headers.major == library.major;
    let lacks_calls = |version: Version| (version.major, version.minor) < (10, 1);
    let wanted = match flavour {
        Flavour::TensorRtRtx if same_major && headers.minor == library.minor => return None,
        Flavour::TensorRtRtx => "the same minor version",
        Flavour::TensorRt if !same_major => "the same major version",
        Flavour::TensorRt if lacks_calls(library) && !lacks_calls(headers) => "10.1 or later",
        Flavour::TensorRt => return None,
    };
    Some(format!(
        "this program was built against the headers of {} {headers}, the library is {library}: expected {wanted}; build again \
         against the headers of {library}",
        flavour.title()
    ))
}

/// A loaded library. Nothing of it was called but for its version.
#[derive(Debug)]
pub struct Library {
    flavour: Flavour,
    version: Version,
    table: &'static sys::Table,
    entry: sys::Entry,
    path: PathBuf,
}

// SAFETY: addresses of functions and constants, which any thread may read.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a library from `folder`, else from the folder that [`Flavour::variable`] names, else from where the system finds
    /// libraries, and compares its version with that of the headers.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what is missing and the remedy.
    pub fn open(flavour: Flavour, folder: Option<&Path>) -> Result<Arc<Self>, EngineError> {
        let headers = flavour.headers()?;
        let table = sys::table(flavour).map_err(|reason| flavour.unavailable(reason.to_owned()))?;
        let named = std::env::var_os(flavour.variable()).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = folder.map(Path::to_owned).or(named);
        let [library, parser] = flavour
            .files(headers.major)
            .map(|file| folder.as_ref().map_or(file.clone().into(), |f| f.join(file)));
        let loaded = load(flavour, &library)?;
        // SAFETY: the function of this name has this type in every version; it neither needs nor touches a device.
        let version = unsafe {
            let function = loaded.get::<sys::LibraryVersion>(b"getInferLibVersion\0");
            function.map(|function| Version::from_number(function()))
        };
        let version = version
            .map_err(|error| flavour.unavailable(format!("{}: {}", library.display(), reason(&error))))?;
        if let Some(reason) = misfit(flavour, headers, version) {
            return Err(flavour.unavailable(reason));
        }
        let parsing = load(flavour, &parser)?;
        let entry = sys::Entry {
            create_builder: symbol(flavour, &library, &loaded, "createInferBuilder_INTERNAL")?,
            create_runtime: symbol(flavour, &library, &loaded, "createInferRuntime_INTERNAL")?,
            create_parser: symbol(flavour, &parser, &parsing, "createNvOnnxParser_INTERNAL")?,
        };
        // Libraries with threads and static objects of their own do not survive being unloaded.
        std::mem::forget((loaded, parsing));
        Ok(Arc::new(Self { flavour, version, table, entry, path: library }))
    }

    /// Which library this is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Its version, as it reports it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The file that was loaded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn table(&self) -> &'static sys::Table {
        self.table
    }

    pub(crate) fn entry(&self) -> &sys::Entry {
        &self.entry
    }
}

fn load(flavour: Flavour, path: &Path) -> Result<libloading::Library, EngineError> {
    // SAFETY: the initialisers of NVIDIA's libraries run; they are what the user asked for by name.
    unsafe { libloading::Library::new(path) }.map_err(|error| {
        flavour.unavailable(format!(
            "cannot load {}: {}; install {}, or name the folder of its libraries in {}",
            path.display(),
            reason(&error),
            flavour.title(),
            flavour.variable()
        ))
    })
}

/// What the loader said, for example which other library is missing; the error itself says only who was asked.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn symbol(
    flavour: Flavour,
    path: &Path,
    library: &libloading::Library,
    name: &str,
) -> Result<*mut c_void, EngineError> {
    // SAFETY: only the address is taken; the shim calls it by the type that the headers give it.
    let found = unsafe { library.get::<*mut c_void>(name.as_bytes()) };
    // SAFETY: as above.
    found.map(|symbol| unsafe { symbol.try_as_raw_ptr().unwrap_or(std::ptr::null_mut()) }).map_err(|error| {
        flavour.unavailable(format!("{}: expected the function {name}: {}", path.display(), reason(&error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_must_suit_the_headers() {
        let version = |number| Version::from_number(number);
        let (t, r) = (Flavour::TensorRt, Flavour::TensorRtRtx);
        let cases = [
            (t, 101_602, 101_300, true),
            (t, 101_602, 110_400, false),
            (t, 110_400, 101_602, false),
            (t, 101_602, 100_001, false),
            (t, 100_001, 100_001, true),
            (t, 100_001, 101_602, true),
            (r, 10_701, 10_702, true),
            (r, 10_601, 10_701, false),
        ];
        for (flavour, headers, library, fits) in cases {
            let misfit = misfit(flavour, version(headers), version(library));
            assert_eq!(misfit.is_none(), fits, "{misfit:?}");
        }
        assert_eq!(version(101_602).to_string(), "10.16.2");
    }

    /// Where `make setup` has fetched headers, this program is built against them: the tests on the stand-in are not empty.
    #[test]
    fn headers_that_were_fetched_are_used() {
        if std::env::var_os("PIXIO_TENSORRT_CHECKS").is_some() {
            Flavour::ALL.into_iter().for_each(|flavour| assert!(flavour.headers().is_ok(), "{flavour}"));
        }
    }

    #[test]
    fn an_absent_library_is_named_with_the_remedy() {
        for flavour in Flavour::ALL {
            let error = Library::open(flavour, Some(Path::new("/nowhere"))).unwrap_err().to_string();
            let remedies = if flavour.headers().is_ok() {
                ["/nowhere/lib", "No such file"]
            } else {
                ["headers", "build this"]
            };
            let told = remedies.iter().all(|remedy| error.contains(remedy)) && error.contains(flavour.name());
            assert!(told, "{error}");
        }
    }
}
