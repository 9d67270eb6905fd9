//! The CUDA driver: device, stream, memory, kernels, graphs. `cudarc` declares and loads the functions.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};

/// What the driver refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CUDA: {call}: {reason}")]
pub struct CudaError {
    call: &'static str,
    reason: String,
}

/// The first CUDA version of a driver that reads the kernels' PTX, which is of ISA 8.5; as the driver counts.
const OLDEST_DRIVER: i32 = 12_050;

/// Names the call that failed.
fn at(call: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |error| CudaError { call, reason: error.to_string() }
}

/// A GPU and its primary context, which the libraries share.
#[derive(Debug)]
pub struct Device {
    handle: sys::CUdevice,
    context: sys::CUcontext,
    name: String,
    capability: i32,
    multiprocessors: i32,
    driver: i32,
    is_integrated: bool,
}

// SAFETY: handles of the driver may be used from any thread; a thread binds the context before it calls.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// The first GPU. This is the first step of every start: nothing else of NVIDIA's is touched before.
    ///
    /// # Errors
    /// When there is no driver, or it has no device.
    pub fn first() -> Result<Arc<Self>, CudaError> {
        // SAFETY: looks for libcuda; cudarc would panic on the first call without it.
        if !unsafe { sys::is_culib_present() } {
            return Err(missing(
                "there is no libcuda.so; install NVIDIA's driver (a container gets it by docker run --gpus all, on a Jetson \
                 --runtime nvidia), or use the engine onnx",
            ));
        }
        result::init().map_err(at("cuInit"))?;
        if result::device::get_count().map_err(at("cuDeviceGetCount"))? < 1 {
            return Err(missing(
                "the driver is there, but no GPU: nvidia-smi shows why; or use the engine onnx",
            ));
        }
        let handle = result::device::get(0).map_err(at("cuDeviceGet"))?;
        let name = result::device::get_name(handle).map_err(at("cuDeviceGetName"))?;
        let attribute = |which| {
            // SAFETY: the device is there.
            unsafe { result::device::get_attribute(handle, which) }.map_err(at("cuDeviceGetAttribute"))
        };
        use sys::CUdevice_attribute_enum as Attribute;
        let capability = 10 * attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
            + attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let is_integrated = attribute(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0;
        let multiprocessors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let driver = driver()?;
        // SAFETY: the device is there; released once, by `drop`.
        let context =
            unsafe { result::primary_ctx::retain(handle) }.map_err(at("cuDevicePrimaryCtxRetain"))?;
        let device =
            Arc::new(Self { handle, context, name, capability, multiprocessors, driver, is_integrated });
        device.bind()?;
        Ok(device)
    }

    /// The GPU's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compute capability, for example 87 for Orin.
    pub fn capability(&self) -> i32 {
        self.capability
    }

    /// Multiprocessors in use: all Jetsons of a generation share one name, and power modes switch some off.
    pub fn multiprocessors(&self) -> i32 {
        self.multiprocessors
    }

    /// The CUDA version that the driver knows, for example 12.6.
    pub fn driver(&self) -> String {
        cuda_version(self.driver)
    }

    /// Whether GPU and CPU share their memory, as on Jetson.
    pub fn is_integrated(&self) -> bool {
        self.is_integrated
    }

    /// Makes the calling thread use this device.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained until `drop`.
        unsafe { result::ctx::set_current(self.context) }.map_err(at("cuCtxSetCurrent"))
    }
}

/// What stands in the way of a first call.
fn missing(reason: impl Into<String>) -> CudaError {
    CudaError { call: "looking for a GPU", reason: reason.into() }
}

/// The CUDA version of the driver, as it counts.
fn driver() -> Result<i32, CudaError> {
    let mut driver = 0;
    // SAFETY: writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result().map_err(at("cuDriverGetVersion"))?;
    if driver >= OLDEST_DRIVER {
        return Ok(driver);
    }
    Err(missing(format!(
        "expected a driver for CUDA {} or later, got one for CUDA {}; update NVIDIA's driver to 555 or later, JetPack to 6.1 \
         or later",
        cuda_version(OLDEST_DRIVER),
        cuda_version(driver)
    )))
}

/// A version as people read it, from the driver's number: 12060 is 12.6.
fn cuda_version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// As [`at`], of memory that was asked for.
fn no_memory(call: &'static str, bytes: usize) -> impl Fn(DriverError) -> CudaError {
    move |error| CudaError { call, reason: format!("{bytes} bytes: {error}") }
}

/// Waits for the default stream. Fills and copies that name no stream go there: they may return before the device's memory
/// has changed, and the engine's stream, which does not block, does not wait for them.
fn finish_default_stream() -> Result<(), CudaError> {
    // SAFETY: null names the default stream of the context that is bound.
    unsafe { result::stream::synchronize(std::ptr::null_mut()) }.map_err(at("cuStreamSynchronize"))
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once by `first`; everything made in the context holds an `Arc` of this and is gone.
        let _ = unsafe { result::primary_ctx::release(self.handle) };
    }
}

/// A queue of work.
#[derive(Debug)]
pub struct Stream {
    handle: sys::CUstream,
    device: Arc<Device>,
}

// SAFETY: as for `Device`.
unsafe impl Send for Stream {}
// SAFETY: the driver's calls on a stream may come from any thread; only the queue's owner puts work on it.
unsafe impl Sync for Stream {}

impl Stream {
    pub fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        let handle =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(at("cuStreamCreate"))?;
        Ok(Self { handle, device: device.clone() })
    }

    pub fn pointer(&self) -> *mut c_void {
        self.handle.cast()
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the stream lives.
        unsafe { result::stream::synchronize(self.handle) }.map_err(at("cuStreamSynchronize"))
    }

    /// Records what `enqueue` puts on the stream instead of running it. Whatever happens, the stream is as before.
    pub fn capture<E>(
        &self,
        enqueue: impl FnOnce() -> Result<(), E>,
        failed: impl Fn(CudaError) -> E,
    ) -> Result<Graph, E> {
        // Only calls of this thread are watched: another camera node's allocation must not spoil the capture.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives and is not capturing: this is the only place that begins.
        unsafe { result::stream::begin_capture(self.handle, mode) }
            .map_err(|error| failed(at("cuStreamBeginCapture")(error)))?;
        let queued = enqueue();
        // SAFETY: the stream is capturing. After a failed call the driver ends the capture with an error or a null graph.
        let ended = unsafe { result::stream::end_capture(self.handle) };
        let recorded = ended.ok().filter(|graph| !graph.is_null()).map(|graph| Recorded { graph });
        queued?;
        match (recorded, ended) {
            (Some(recorded), _) => recorded.instantiate(&self.device).map_err(failed),
            (None, Err(error)) => Err(failed(at("cuStreamEndCapture")(error))),
            (None, Ok(_)) => {
                let reason = "the capture was broken off".to_owned();
                Err(failed(CudaError { call: "cuStreamEndCapture", reason }))
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.device.bind();
        // SAFETY: made by `new`, dropped once; the driver finishes what is queued.
        let _ = unsafe { result::stream::destroy(self.handle) };
    }
}

/// A captured sequence, not yet ready to run.
struct Recorded {
    graph: sys::CUgraph,
}

impl Recorded {
    fn instantiate(self, device: &Arc<Device>) -> Result<Graph, CudaError> {
        // SAFETY: the graph lives until the end of this function, an executable one does not need it.
        let handle = unsafe { result::graph::instantiate(self.graph, sys::CUgraphInstantiate_flags(0)) };
        handle.map(|handle| Graph { handle, device: device.clone() }).map_err(at("cuGraphInstantiate"))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: made by the end of a capture, dropped once.
        let _ = unsafe { result::graph::destroy(self.graph) };
    }
}

/// A captured sequence that can be launched as one.
#[derive(Debug)]
pub struct Graph {
    handle: sys::CUgraphExec,
    device: Arc<Device>,
}

// SAFETY: as for `Device`.
unsafe impl Send for Graph {}

impl Graph {
    /// Launches the sequence. What it reads and writes must live: the queue that keeps it sees to that.
    pub fn launch(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: graph and stream live.
        unsafe { result::graph::launch(self.handle, stream.handle) }.map_err(at("cuGraphLaunch"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.device.bind();
        // SAFETY: made by `instantiate`, dropped once.
        let _ = unsafe { result::graph::exec_destroy(self.handle) };
    }
}

/// Memory of the device.
#[derive(Debug)]
pub struct Memory {
    address: sys::CUdeviceptr,
    bytes: usize,
    device: Arc<Device>,
}

impl Memory {
    /// Memory filled with zeros; at least one byte, so that every memory has an address.
    pub fn zeros(device: &Arc<Device>, bytes: usize) -> Result<Arc<Self>, CudaError> {
        let bytes = bytes.max(1);
        // SAFETY: freed once, by `drop`.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(no_memory("cuMemAlloc", bytes))?;
        let memory = Arc::new(Self { address, bytes, device: device.clone() });
        // SAFETY: the memory is of that size.
        unsafe { result::memset_d8_sync(address, 0, bytes) }.map_err(at("cuMemsetD8"))?;
        finish_default_stream()?;
        Ok(memory)
    }

    /// Memory that holds these numbers.
    pub fn of<T: Copy>(device: &Arc<Device>, values: &[T]) -> Result<Arc<Self>, CudaError> {
        let memory = Self::zeros(device, size_of_val(values))?;
        memory.write(values)?;
        Ok(memory)
    }

    pub fn pointer(&self) -> *mut c_void {
        self.address as *mut c_void
    }

    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    /// Copies numbers in, and waits. The caller has waited for what is queued.
    pub fn write<T: Copy>(&self, values: &[T]) -> Result<(), CudaError> {
        self.check(size_of_val(values))?;
        // SAFETY: the memory is at least of that size.
        unsafe { result::memcpy_htod_sync(self.address, values) }.map_err(at("cuMemcpyHtoD"))?;
        finish_default_stream()
    }

    /// Copies numbers out behind everything queued, and waits.
    pub fn read(&self, stream: &Stream, values: &mut [f32]) -> Result<(), CudaError> {
        self.check(size_of_val(values))?;
        // SAFETY: the memory is at least of that size, and `values` outlives the copy, which is waited for.
        let queued = unsafe { result::memcpy_dtoh_async(values, self.address, stream.handle) };
        let waited = stream.synchronize();
        queued.map_err(at("cuMemcpyDtoH"))?;
        waited
    }

    fn check(&self, bytes: usize) -> Result<(), CudaError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let reason = format!("{bytes} bytes do not fit into {}", self.bytes);
        Err(CudaError { call: "copy", reason })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = self.device.bind();
        // SAFETY: made by `zeros`, dropped once. Freeing waits for what is queued.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// Memory of the host that the device reaches: pinned, and mapped where the two share memory.
#[derive(Debug)]
pub struct Pinned {
    host: *mut c_void,
    mapped: Option<sys::CUdeviceptr>,
    bytes: usize,
    device: Arc<Device>,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Pinned {}
// SAFETY: shared references give no access to its bytes.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub fn new(device: &Arc<Device>, bytes: usize) -> Result<Self, CudaError> {
        let flags = if device.is_integrated() { sys::CU_MEMHOSTALLOC_DEVICEMAP } else { 0 };
        // SAFETY: freed once, by `drop`.
        let host = unsafe { result::malloc_host(bytes.max(1), flags) }
            .map_err(no_memory("cuMemHostAlloc", bytes))?;
        let mut pinned = Self { host, mapped: None, bytes, device: device.clone() };
        if device.is_integrated() {
            let mut address = 0;
            // SAFETY: the memory was allocated mapped.
            unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut address, host, 0) }
                .result()
                .map_err(at("cuMemHostGetDevicePointer"))?;
            pinned.mapped = Some(address);
        }
        Ok(pinned)
    }

    /// Where the device sees the memory itself, if it does.
    pub fn mapped(&self) -> Option<*mut c_void> {
        self.mapped.map(|address| address as *mut c_void)
    }

    /// Fills the memory from the host. The caller has waited for every copy and kernel that reads it.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<(), CudaError> {
        if bytes.len() != self.bytes {
            let reason = format!("expected {} bytes, got {}", self.bytes, bytes.len());
            return Err(CudaError { call: "copy", reason });
        }
        // SAFETY: the memory is of that size, and nobody else has it: `&mut`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.host.cast(), bytes.len()) };
        Ok(())
    }

    /// Queues a copy to the device.
    pub fn upload(&self, into: &Memory, stream: &Stream) -> Result<(), CudaError> {
        into.check(self.bytes)?;
        // SAFETY: both are at least of that size, and the queue's owner keeps them until it has waited.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.host.cast::<u8>(), self.bytes);
            result::memcpy_htod_async(into.address, bytes, stream.handle).map_err(at("cuMemcpyHtoDAsync"))
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.device.bind();
        // SAFETY: made by `new`, dropped once.
        let _ = unsafe { result::free_host(self.host) };
    }
}

/// Loaded device code.
#[derive(Debug)]
pub struct Module {
    handle: sys::CUmodule,
    device: Arc<Device>,
}

// SAFETY: as for `Device`.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads PTX, which the driver compiles for the device.
    pub fn load(device: &Arc<Device>, ptx: &str) -> Result<Arc<Self>, CudaError> {
        let invalid =
            |_| CudaError { call: "cuModuleLoadData", reason: "the PTX holds a zero byte".to_owned() };
        let text = CString::new(ptx).map_err(invalid)?;
        // SAFETY: the text ends with a zero and is read during the call only.
        let handle =
            unsafe { result::module::load_data(text.as_ptr().cast()) }.map_err(at("cuModuleLoadData"))?;
        Ok(Arc::new(Self { handle, device: device.clone() }))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ = self.device.bind();
        // SAFETY: made by `load`; kernels hold an `Arc` of this and are gone.
        let _ = unsafe { result::module::unload(self.handle) };
    }
}

/// A kernel that takes one argument, a `T` as the device code declares it.
#[derive(Debug)]
pub struct Kernel<T> {
    function: sys::CUfunction,
    _module: Arc<Module>,
    _argument: std::marker::PhantomData<fn(T)>,
}

// SAFETY: as for `Device`.
unsafe impl<T> Send for Kernel<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Kernel<T> {}

/// Threads of a block, along x and y.
const BLOCK: [u32; 2] = [32, 8];

impl<T: Copy> Kernel<T> {
    /// Finds a kernel by name.
    ///
    /// # Safety
    /// The kernel takes exactly one argument, of the layout of `T`.
    pub unsafe fn find(module: &Arc<Module>, name: &str) -> Result<Self, CudaError> {
        let call = "cuModuleGetFunction";
        let invalid = |_| CudaError { call, reason: "the name holds a zero byte".to_owned() };
        let name = CString::new(name).map_err(invalid)?;
        // SAFETY: the module lives, and is held.
        let function = unsafe { result::module::get_function(module.handle, name) }.map_err(at(call))?;
        Ok(Self { function, _module: module.clone(), _argument: std::marker::PhantomData })
    }

    /// Queues a launch with at least one thread for each of `width` times `height` places.
    ///
    /// # Safety
    /// The argument's addresses are valid for what the kernel does, until the stream was waited for.
    pub unsafe fn launch(
        &self,
        stream: &Stream,
        [width, height]: [usize; 2],
        argument: &T,
    ) -> Result<(), CudaError> {
        let [blocks_x, blocks_y] =
            [(width, BLOCK[0]), (height, BLOCK[1])].map(|(side, block)| (side as u32).div_ceil(block));
        let mut argument = *argument;
        let mut arguments = [(&raw mut argument).cast::<c_void>()];
        let (grid, block) = ((blocks_x, blocks_y, 1), (BLOCK[0], BLOCK[1], 1));
        // SAFETY: the caller vouches for the argument, which the driver copies during the call.
        unsafe { result::launch_kernel(self.function, grid, block, 0, stream.handle, &mut arguments) }
            .map_err(at("cuLaunchKernel"))
    }
}
