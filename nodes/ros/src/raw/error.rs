//! What can go wrong below rcl.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::path::PathBuf;

/// A raw subscription, publisher or type could not be had.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RawError {
    /// Not the name of a message type.
    #[error("type {0:?}: expected package/msg/Name, for example sensor_msgs/msg/Image")]
    TypeName(String),
    /// No ament prefix has the file of a type.
    #[error("type {kind}: {file} is in none of the ament prefixes ({}); is its package installed and sourced?", list(.prefixes))]
    NotInstalled {
        /// The type.
        kind: String,
        /// What was looked for, below a prefix.
        file: String,
        /// Where it was looked for.
        prefixes: Vec<PathBuf>,
    },
    /// A file of a type could not be read or understood.
    #[error("type {kind}: {}: {reason}", .file.display())]
    Definition {
        /// The type.
        kind: String,
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A call of rcl failed.
    #[error("{what}: {reason} (rcl code {code})")]
    Rcl {
        /// What was being done.
        what: String,
        /// rcl's return code.
        code: i32,
        /// rcl's own words.
        reason: String,
    },
    /// A name holds a zero byte.
    #[error("name {0:?}: expected text without a zero byte")]
    Name(String),
    /// The system gave no thread.
    #[error("cannot start the receiving thread: {0}")]
    Thread(String),
}

fn list(prefixes: &[PathBuf]) -> String {
    let names: Vec<_> = prefixes.iter().map(|prefix| prefix.display().to_string()).collect();
    if names.is_empty() { "AMENT_PREFIX_PATH is empty".to_owned() } else { names.join(", ") }
}

/// Turns rcl's return code into a result, with its words of the error, which are this thread's own.
pub(super) fn check(code: i32, what: impl FnOnce() -> String) -> Result<(), RawError> {
    if code == r2r_rcl::RCL_RET_OK as i32 {
        return Ok(());
    }
    // SAFETY: both functions only touch the calling thread's error state; the text is a terminated array in a value that
    // lives until the end of this function.
    let reason = unsafe {
        let text = r2r_rcl::rcutils_get_error_string();
        r2r_rcl::rcutils_reset_error();
        CStr::from_ptr(text.str_.as_ptr()).to_string_lossy().into_owned()
    };
    Err(RawError::Rcl { what: what(), code, reason })
}

/// Forgets an error that was expected, so that rcl does not warn of overwriting it.
pub(super) fn forget() {
    // SAFETY: only touches the calling thread's error state.
    unsafe { r2r_rcl::rcutils_reset_error() }
}
