//! The ROS arguments of a process, before r2r reads them: it panics on those that rcl refuses.
#![allow(unsafe_code)]

use std::ffi::CString;

use super::RawError;
use super::error::check;
use super::participant::c_text;

/// Has rcl read arguments (remaps, parameters, parameter files, log levels) and forget them.
///
/// # Errors
/// What rcl refuses, in its words: for example a parameter file that is not there or has no form of one.
pub fn check_arguments(arguments: impl IntoIterator<Item = String>) -> Result<(), RawError> {
    let texts: Vec<CString> =
        arguments.into_iter().map(|argument| c_text(&argument)).collect::<Result<_, _>>()?;
    let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    let count = i32::try_from(pointers.len()).map_err(|_| RawError::Name("arguments".to_owned()))?;
    // SAFETY: texts and pointers outlive the call, which copies what it keeps; the output is zero-initialised and finalised once,
    // where rcl filled it.
    unsafe {
        let mut parsed = r2r_rcl::rcl_get_zero_initialized_arguments();
        let allocator = r2r_rcl::rcutils_get_default_allocator();
        let code = r2r_rcl::rcl_parse_arguments(count, pointers.as_ptr(), allocator, &mut parsed);
        check(code, || "ROS arguments".to_owned())?;
        r2r_rcl::rcl_arguments_fini(&mut parsed);
    }
    Ok(())
}
