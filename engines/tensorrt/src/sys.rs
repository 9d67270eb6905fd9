//! The declarations of `shim/shim.h`, in its order.

use std::ffi::{c_char, c_int, c_void};

use crate::library::Flavour;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub create_builder: *mut c_void,
    pub create_runtime: *mut c_void,
    pub create_parser: *mut c_void,
}

pub type Log = unsafe extern "C" fn(user: *mut c_void, severity: i32, text: *const c_char);
pub type Progress = unsafe extern "C" fn(
    user: *mut c_void,
    kind: i32,
    phase: *const c_char,
    parent: *const c_char,
    step: i32,
) -> i32;

#[repr(C)]
pub struct Build {
    pub onnx_path: *const c_char,
    pub targets: *const i32,
    pub target_count: i32,
    pub progress: Progress,
    pub progress_user: *mut c_void,
}

#[repr(C)]
#[derive(Debug)]
pub struct Tensor {
    pub name: *const c_char,
    pub is_input: i32,
    pub is_float32: i32,
    pub is_linear: i32,
    pub rank: i32,
    pub sides: [i64; 8],
}

#[repr(C)]
#[derive(Debug)]
pub struct Table {
    pub header_version: unsafe extern "C" fn() -> i32,
    pub logger_create: unsafe extern "C" fn(Log, *mut c_void) -> *mut c_void,
    pub build: unsafe extern "C" fn(*const Entry, *mut c_void, *const Build, *mut *mut c_void) -> i32,
    pub plan_data: unsafe extern "C" fn(*mut c_void, *mut usize) -> *const c_void,
    pub plan_destroy: unsafe extern "C" fn(*mut c_void),
    pub runtime_create: unsafe extern "C" fn(*const Entry, *mut c_void) -> *mut c_void,
    pub runtime_destroy: unsafe extern "C" fn(*mut c_void),
    pub engine_create: unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> *mut c_void,
    pub engine_destroy: unsafe extern "C" fn(*mut c_void),
    pub engine_tensor_count: unsafe extern "C" fn(*mut c_void) -> i32,
    pub engine_tensor: unsafe extern "C" fn(*mut c_void, i32, *mut Tensor) -> i32,
    pub engine_scratch: unsafe extern "C" fn(*mut c_void) -> i64,
    pub context_create: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    pub context_destroy: unsafe extern "C" fn(*mut c_void),
    pub context_scratch: unsafe extern "C" fn(*mut c_void, *mut c_void, i64) -> i32,
    pub context_bind: unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void) -> i32,
    pub context_capturable: unsafe extern "C" fn(*mut c_void, *mut c_void) -> i32,
    pub context_enqueue: unsafe extern "C" fn(*mut c_void, *mut c_void) -> i32,
}

/// `getInferLibVersion` of every library.
pub type LibraryVersion = unsafe extern "C" fn() -> c_int;

/// The shim of a flavour, or why this program has none.
pub fn table(flavour: Flavour) -> Result<&'static Table, &'static str> {
    match flavour {
        Flavour::TensorRt => tensorrt(),
        Flavour::TensorRtRtx => tensorrt_rtx(),
    }
}

#[cfg(pixio_tensorrt)]
fn tensorrt() -> Result<&'static Table, &'static str> {
    unsafe extern "C" {
        fn pixio_tensorrt_table() -> *const Table;
    }
    // SAFETY: the shim returns the address of a constant of the type that `shim.h` and this file declare alike.
    Ok(unsafe { &*pixio_tensorrt_table() })
}

#[cfg(not(pixio_tensorrt))]
fn tensorrt() -> Result<&'static Table, &'static str> {
    Err(env!("PIXIO_TENSORRT_HEADERS"))
}

#[cfg(pixio_tensorrt_rtx)]
fn tensorrt_rtx() -> Result<&'static Table, &'static str> {
    unsafe extern "C" {
        fn pixio_tensorrt_rtx_table() -> *const Table;
    }
    // SAFETY: as above.
    Ok(unsafe { &*pixio_tensorrt_rtx_table() })
}

#[cfg(not(pixio_tensorrt_rtx))]
fn tensorrt_rtx() -> Result<&'static Table, &'static str> {
    Err(env!("PIXIO_TENSORRT_RTX_HEADERS"))
}
