//! From an ONNX file to a plan.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use perception::EngineError;

use crate::cuda::Device;
use crate::layers::Layer;
use crate::library::{Flavour, Library};
use crate::messages::Logger;
use crate::sys;

/// Where a plan will run.
#[derive(Clone, Debug)]
pub enum Target {
    /// On this machine's GPU.
    Device(Arc<Device>),
    /// On GPUs of these compute capabilities, for example 89; TensorRT-RTX only, and no GPU is needed to build.
    Capabilities(Vec<i32>),
}

impl Target {
    /// As it stands in the key of a cached engine: name, multiprocessors and at the end capability of the GPU; or the capabilities.
    pub fn describe(&self) -> String {
        match self {
            Target::Device(device) => {
                format!("{} {} SMs sm_{}", device.name(), device.multiprocessors(), device.capability())
            }
            Target::Capabilities(list) => {
                list.iter().map(|capability| format!("sm_{capability}")).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// What the builder reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A phase of so many steps began.
    Started {
        /// Its name.
        phase: &'a str,
        /// The phase that it is part of.
        parent: Option<&'a str>,
        /// Its steps.
        steps: i32,
    },
    /// A step was done, counted from 0.
    Step {
        /// Name of the phase.
        phase: &'a str,
        /// The step.
        step: i32,
    },
    /// A phase ended, perhaps early.
    Finished {
        /// Its name.
        phase: &'a str,
    },
    /// The builder is done, or gave up; a plan that it made is in the cache.
    Ended,
}

/// Hears of progress, from any of the builder's threads; answers whether to go on.
pub type Watch<'a> = dyn Fn(Progress<'_>) -> bool + Sync + 'a;

/// A serialized engine, in the library's memory.
#[derive(Debug)]
pub struct Plan {
    library: Arc<Library>,
    handle: NonNull<c_void>,
    /// The layers as the builder listed them; none if it did not.
    pub layers: Vec<Layer>,
    /// What the library warned of.
    pub warnings: Vec<String>,
}

impl Plan {
    /// The plan's bytes.
    pub fn bytes(&self) -> &[u8] {
        let mut size = 0;
        // SAFETY: the handle is a plan until it is dropped, and its memory does not move.
        unsafe {
            let data = (self.library.table().plan_data)(self.handle.as_ptr(), &raw mut size);
            if data.is_null() { &[] } else { std::slice::from_raw_parts(data.cast(), size) }
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `build`, dropped once; the library is held.
        unsafe { (self.library.table().plan_destroy)(self.handle.as_ptr()) };
    }
}

/// Held by the build that is running.
static BUILDING: Mutex<()> = Mutex::new(());

/// Builds a plan from a typed ONNX file; its types decide every precision.
///
/// # Errors
/// [`EngineError::Load`] of `network` with what the library said; or that `watch` stopped it.
pub fn build_plan(
    library: &Arc<Library>,
    network: &str,
    onnx: &Path,
    target: &Target,
    watch: &Watch<'_>,
) -> Result<Plan, EngineError> {
    let failed = |reason: String| EngineError::Load { network: network.to_owned(), reason };
    let targets = match target {
        Target::Device(device) => {
            device.bind().map_err(|error| failed(error.to_string()))?;
            Vec::new()
        }
        Target::Capabilities(list) if library.flavour() == Flavour::TensorRtRtx && !list.is_empty() => {
            list.clone()
        }
        Target::Capabilities(_) => {
            return Err(failed(format!("only {} builds for named GPUs", Flavour::TensorRtRtx)));
        }
    };
    let path = CString::new(onnx.as_os_str().as_encoded_bytes())
        .map_err(|_| failed(format!("{}: the name holds a zero byte", onnx.display())))?;
    // One after another: they share the logger, and would spoil each other's timing of kernels.
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let logger = Logger::of(library)?;
    logger.forget();
    let watching = Watching { watch, stopped: std::sync::atomic::AtomicBool::new(false) };
    let request = sys::Build {
        onnx_path: path.as_ptr(),
        targets: targets.as_ptr(),
        target_count: targets.len() as i32,
        progress,
        progress_user: std::ptr::from_ref(&watching).cast_mut().cast(),
    };
    let mut plan = std::ptr::null_mut();
    // SAFETY: everything the request points to lives until the call returns, and the library keeps none of it.
    let status = unsafe {
        (library.table().build)(library.entry(), logger.handle(), &raw const request, &raw mut plan)
    };
    if watching.stopped.load(std::sync::atomic::Ordering::Relaxed) {
        if let Some(handle) = NonNull::new(plan) {
            drop(Plan { library: library.clone(), handle, layers: vec![], warnings: vec![] });
        }
        return Err(failed("the build was stopped".to_owned()));
    }
    match (status, NonNull::new(plan)) {
        (0, Some(handle)) => {
            let (layers, warnings) = (logger.take_layers(), logger.take_warnings());
            Ok(Plan { library: library.clone(), handle, layers, warnings })
        }
        (status, _) => Err(failed(format!("{}: {}", step(status), logger.take_errors()))),
    }
}

/// Where a build failed, by `PixioStatus`.
fn step(status: i32) -> &'static str {
    match status {
        1 => "the library threw an exception",
        2 => "no builder came",
        3 => "no network came",
        4 => "no ONNX parser came",
        5 => "the ONNX file was not parsed",
        6 => "the ONNX file has no outputs",
        7 => "no builder configuration came",
        8 => {
            "a target was refused (TensorRT-RTX knows no Jetson; engines for one are built on it, by TensorRT)"
        }
        _ => "no plan was built",
    }
}

struct Watching<'a> {
    watch: &'a Watch<'a>,
    stopped: std::sync::atomic::AtomicBool,
}

/// Called by the builder, from any of its threads.
unsafe extern "C" fn progress(
    user: *mut c_void,
    kind: i32,
    phase: *const c_char,
    parent: *const c_char,
    step: i32,
) -> i32 {
    // SAFETY: `user` is the `Watching` of the build that is running.
    let watching = unsafe { &*user.cast::<Watching<'_>>() };
    let heard = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // SAFETY: the names are strings of the library's, or null.
        let text = |name: *const c_char| {
            (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
        };
        let (phase, parent) = (text(phase).unwrap_or_default(), text(parent));
        let event = match kind {
            0 => Progress::Started { phase: &phase, parent: parent.as_deref(), steps: step },
            1 => Progress::Step { phase: &phase, step },
            _ => Progress::Finished { phase: &phase },
        };
        (watching.watch)(event)
    }));
    // A watcher that panicked has stopped the build: a panic must not reach C++.
    if !heard.unwrap_or(false) {
        watching.stopped.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    i32::from(!watching.stopped.load(std::sync::atomic::Ordering::Relaxed))
}
