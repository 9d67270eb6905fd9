//! A plan made ready to run: runtime, engine and context, each holding its parent.

use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use network::Network;
use perception::EngineError;

use crate::cuda::{CudaError, Device, Memory, Stream};
use crate::library::{Flavour, Library};
use crate::messages::Logger;
use crate::sys;

/// What deserializes plans.
#[derive(Debug)]
pub struct Runtime {
    handle: NonNull<c_void>,
    library: Arc<Library>,
    logger: &'static Logger,
    /// None only for [`check_plan`] without a GPU.
    device: Option<Arc<Device>>,
}

// SAFETY: TensorRT's runtime and engines may be used from any thread; what is not thread-safe takes `&mut` here.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

impl Runtime {
    /// A runtime. That there is a device is what the library must not be asked without.
    pub fn new(library: &Arc<Library>, device: &Arc<Device>) -> Result<Arc<Self>, EngineError> {
        Self::create(library, Some(device))
    }

    fn create(library: &Arc<Library>, device: Option<&Arc<Device>>) -> Result<Arc<Self>, EngineError> {
        let unavailable = |reason: String| library.flavour().unavailable(reason);
        if device.is_none() && library.flavour() != Flavour::TensorRtRtx {
            return Err(unavailable("the library is not asked without a GPU".to_owned()));
        }
        let logger = Logger::of(library)?;
        bind(device).map_err(|error| unavailable(error.to_string()))?;
        // SAFETY: the entry points are those of this library, the logger lives as long as the process.
        let handle = unsafe { (library.table().runtime_create)(library.entry(), logger.handle()) };
        match NonNull::new(handle) {
            Some(handle) => {
                let library = library.clone();
                Ok(Arc::new(Self { handle, library, logger, device: device.cloned() }))
            }
            None => Err(unavailable(format!("no runtime came: {}", logger.take_errors()))),
        }
    }

    /// Makes the calling thread use the runtime's device.
    fn bind(&self) -> Result<(), CudaError> {
        bind(self.device.as_ref())
    }

    fn table(&self) -> &'static sys::Table {
        self.library.table()
    }

    /// What the library warned of since the last call of this, for example that a plan is of another GPU.
    pub fn take_warnings(&self) -> Vec<String> {
        self.logger.take_warnings()
    }
}

fn bind(device: Option<&Arc<Device>>) -> Result<(), CudaError> {
    device.map_or(Ok(()), |device| device.bind())
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.bind();
        // SAFETY: made by `runtime_create`; every engine holds an `Arc` of this and is gone.
        unsafe { (self.table().runtime_destroy)(self.handle.as_ptr()) };
    }
}

/// A deserialized plan.
#[derive(Debug)]
struct Loaded {
    handle: NonNull<c_void>,
    runtime: Arc<Runtime>,
}

// SAFETY: as for `Runtime`.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = self.runtime.bind();
        // SAFETY: made by `engine_create`; every context holds an `Arc` of this and is gone.
        unsafe { (self.runtime.table().engine_destroy)(self.handle.as_ptr()) };
    }
}

/// A tensor of a plan.
#[derive(Debug, PartialEq, Eq)]
struct Binding {
    name: String,
    shape: Vec<usize>,
    is_input: bool,
}

impl Loaded {
    fn new(runtime: &Arc<Runtime>, plan: &[u8]) -> Result<Arc<Self>, String> {
        // Errors that nobody asked for are of something before.
        drop(runtime.logger.take_errors());
        // SAFETY: the bytes are read during the call only; junk is refused by the library.
        let handle = unsafe {
            (runtime.table().engine_create)(runtime.handle.as_ptr(), plan.as_ptr().cast(), plan.len())
        };
        match NonNull::new(handle) {
            Some(handle) => Ok(Arc::new(Self { handle, runtime: runtime.clone() })),
            None => Err(format!("the plan was refused: {}", runtime.logger.take_errors())),
        }
    }

    /// All tensors; only float32 in rows is known here.
    fn bindings(&self) -> Result<Vec<Binding>, String> {
        let table = self.runtime.table();
        // SAFETY: the handle is an engine.
        let count = unsafe { (table.engine_tensor_count)(self.handle.as_ptr()) };
        (0..count).map(|index| self.binding(index)).collect()
    }

    fn binding(&self, index: i32) -> Result<Binding, String> {
        let mut tensor = sys::Tensor {
            name: std::ptr::null(),
            is_input: 0,
            is_float32: 0,
            is_linear: 0,
            rank: 0,
            sides: [0; 8],
        };
        let table = self.runtime.table();
        // SAFETY: the handle is an engine, `tensor` is written to during the call only.
        let there = unsafe { (table.engine_tensor)(self.handle.as_ptr(), index, &raw mut tensor) };
        if there == 0 || tensor.name.is_null() {
            return Err(format!("the plan does not tell its tensor {index}"));
        }
        // SAFETY: the name is the engine's, which lives.
        let name = unsafe { CStr::from_ptr(tensor.name) }.to_string_lossy().into_owned();
        if tensor.is_float32 == 0 || tensor.is_linear == 0 {
            return Err(format!("{name}: expected float32 in rows"));
        }
        let rank = usize::try_from(tensor.rank).unwrap_or(0).min(tensor.sides.len());
        let side = |side: &i64| {
            usize::try_from(*side).map_err(|_| format!("{name}: expected fixed sides, got {side}"))
        };
        let shape = tensor.sides[..rank].iter().map(side).collect::<Result<_, _>>()?;
        Ok(Binding { name, shape, is_input: tensor.is_input != 0 })
    }
}

/// An engine with its tensors bound: ready to be enqueued.
#[derive(Debug)]
pub struct Context {
    handle: NonNull<c_void>,
    name: String,
    loaded: Arc<Loaded>,
    /// Memory that the bound addresses name.
    _held: Vec<Arc<Memory>>,
}

// SAFETY: a context may be used from any thread, one at a time: everything that changes it takes `&mut`.
unsafe impl Send for Context {}

impl Context {
    /// Deserializes the plan of `network` and binds it to `tensors`, inputs first, then outputs, in the order of its ports.
    /// `scratch` gives memory of at least so many bytes, for the values between.
    pub fn new(
        runtime: &Arc<Runtime>,
        network: &Network,
        plan: &[u8],
        tensors: &[Arc<Memory>],
        scratch: impl FnOnce(usize) -> Result<Arc<Memory>, EngineError>,
    ) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::Load { network: network.name().to_owned(), reason };
        runtime.bind().map_err(|error| failed(error.to_string()))?;
        let loaded = Loaded::new(runtime, plan).map_err(failed)?;
        check_bindings(network, &loaded.bindings().map_err(failed)?).map_err(failed)?;
        let table = runtime.table();
        // SAFETY: the handle is an engine, and the context holds it.
        let handle = NonNull::new(unsafe { (table.context_create)(loaded.handle.as_ptr()) });
        let handle =
            handle.ok_or_else(|| failed(format!("no context came: {}", runtime.logger.take_errors())))?;
        let mut context = Self { handle, name: network.name().to_owned(), loaded, _held: tensors.to_vec() };
        // SAFETY: the handle is an engine.
        let bytes = unsafe { (table.engine_scratch)(context.loaded.handle.as_ptr()) };
        let bytes =
            usize::try_from(bytes).map_err(|_| failed("the plan does not tell its memory".to_owned()))?;
        let scratch = scratch(bytes)?;
        context.set_scratch(&scratch, failed)?;
        context._held.push(scratch);
        let ports = network.inputs().iter().chain(network.outputs());
        for (port, memory) in ports.zip(tensors) {
            context.bind(&port.name, memory, failed)?;
        }
        Ok(context)
    }

    fn set_scratch(
        &mut self,
        scratch: &Memory,
        failed: impl Fn(String) -> EngineError,
    ) -> Result<(), EngineError> {
        let table = self.loaded.runtime.table();
        // SAFETY: the memory is held as long as the context. Contexts that share it run one after another on one stream.
        let set = unsafe {
            (table.context_scratch)(self.handle.as_ptr(), scratch.pointer(), scratch.byte_len() as i64)
        };
        if set != 0 { Ok(()) } else { Err(failed("the context's memory was refused".to_owned())) }
    }

    fn bind(
        &mut self,
        port: &str,
        memory: &Memory,
        failed: impl Fn(String) -> EngineError,
    ) -> Result<(), EngineError> {
        let name = CString::new(port).map_err(|_| failed(format!("{port:?} holds a zero byte")))?;
        let runtime = &self.loaded.runtime;
        // SAFETY: the memory has the size of the port (checked against the plan) and is held as long as the context.
        let bound =
            unsafe { (runtime.table().context_bind)(self.handle.as_ptr(), name.as_ptr(), memory.pointer()) };
        if bound != 0 {
            return Ok(());
        }
        Err(failed(format!("{port}: the address was refused: {}", runtime.logger.take_errors())))
    }

    /// Whether the library says that a run can be captured; TensorRT always does, and the capture tells.
    pub fn is_capturable(&mut self, stream: &Stream) -> bool {
        let table = self.loaded.runtime.table();
        // SAFETY: context and stream live.
        unsafe { (table.context_capturable)(self.handle.as_ptr(), stream.pointer()) != 0 }
    }

    /// Puts a run on the stream.
    pub fn enqueue(&mut self, stream: &Stream) -> Result<(), EngineError> {
        let runtime = &self.loaded.runtime;
        // SAFETY: context and stream live; bound memory and scratch are held; runs are in order on this one stream.
        let queued = unsafe { (runtime.table().context_enqueue)(self.handle.as_ptr(), stream.pointer()) };
        if queued != 0 {
            return Ok(());
        }
        Err(EngineError::Run { network: self.name.clone(), reason: runtime.logger.take_errors() })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = self.loaded.runtime.bind();
        // SAFETY: made by `context_create`, dropped once.
        unsafe { (self.loaded.runtime.table().context_destroy)(self.handle.as_ptr()) };
    }
}

/// Whether a plan's tensors are the network's ports.
fn check_bindings(network: &Network, bindings: &[Binding]) -> Result<(), String> {
    let ports = network.inputs().iter().map(|port| (port, true));
    let ports: Vec<_> = ports.chain(network.outputs().iter().map(|port| (port, false))).collect();
    for (port, is_input) in &ports {
        let Some(binding) = bindings.iter().find(|binding| binding.name == port.name) else {
            return Err(format!("expected the plan to have a tensor {}", port.name));
        };
        if binding.shape != port.shape || binding.is_input != *is_input {
            return Err(format!(
                "{}: expected {:?} as {}, the plan has {:?} as {}",
                port.name,
                port.shape,
                side(*is_input),
                binding.shape,
                side(binding.is_input)
            ));
        }
    }
    if bindings.len() == ports.len() {
        return Ok(());
    }
    Err(format!("expected {} tensors, the plan has {}", ports.len(), bindings.len()))
}

fn side(is_input: bool) -> &'static str {
    if is_input { "input" } else { "output" }
}

/// Whether a library takes these bytes as a plan; for checks with damaged files. TensorRT-RTX reads them without a GPU as far
/// as to refuse what is no plan.
///
/// # Errors
/// [`EngineError::Unavailable`] without a runtime, [`EngineError::Load`] with what the library said of the plan.
pub fn check_plan(
    library: &Arc<Library>,
    device: Option<&Arc<Device>>,
    plan: &[u8],
) -> Result<(), EngineError> {
    let runtime = Runtime::create(library, device)?;
    let failed = |reason: String| EngineError::Load { network: "plan".to_owned(), reason };
    Loaded::new(&runtime, plan).map(drop).map_err(failed)
}
