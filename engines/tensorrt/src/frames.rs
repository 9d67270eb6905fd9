//! Camera frames on the GPU: pinned pixels, and the kernels that make the network's input of them, distortion taken out.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use calibration::{RectifyMap, Size};
use perception::preprocess::Span;
use perception::{Encoding, EngineError, ImageGeometry, ImageView, Preprocessing};

use crate::cuda::{CudaError, Device, Kernel, Memory, Module, Pinned, Stream};
use crate::queue::{Sequence, forget, lock, unique};
use crate::resample::Axis;

/// The kernels, as NVRTC 12.6 makes them of `kernels/preprocess.cuh`: PTX for every GPU from Turing on, and every driver from
/// CUDA 12.6 on. `scripts/kernels.py check` compares both.
const PTX: &str = include_str!("../kernels/preprocess.ptx");

/// Encodings by their ROS names, with the numbers of `PixioEncoding`.
const ENCODINGS: [(&str, i32); 17] = [
    ("rgb8", 0),
    ("bgr8", 1),
    ("mono8", 2),
    ("rgba8", 3),
    ("bgra8", 4),
    ("mono16", 5),
    ("yuv422", 6),
    ("uyvy", 6),
    ("yuv422_yuy2", 7),
    ("yuyv", 7),
    ("nv12", 8),
    ("nv21", 9),
    ("nv24", 10),
    ("bayer_rggb8", 11),
    ("bayer_bggr8", 12),
    ("bayer_gbrg8", 13),
    ("bayer_grbg8", 14),
];

/// `PixioAxis`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct AxisArgument {
    spans: *const c_void,
    weights: *const c_void,
    taps: i32,
    precision: i32,
}

/// `PixioRows`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct RowsArgument {
    source: *const c_void,
    map: *const c_void,
    rows: *mut c_void,
    axis: AxisArgument,
    width: i32,
    height: i32,
    step: i32,
    map_width: i32,
    encoding: i32,
    first_row: i32,
    row_count: i32,
    columns: i32,
}

/// `PixioColumns`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct ColumnsArgument {
    rows: *const c_void,
    planes: *mut c_void,
    levels: *const c_void,
    axis: AxisArgument,
    lines: i32,
    columns: i32,
}

/// The two passes of the preprocessing.
#[derive(Debug)]
pub struct Kernels {
    rows: Kernel<RowsArgument>,
    columns: Kernel<ColumnsArgument>,
}

impl Kernels {
    pub fn load(device: &Arc<Device>) -> Result<Arc<Self>, CudaError> {
        let module = Module::load(device, PTX)?;
        // SAFETY: `kernels/preprocess.cuh` declares both with one argument of these layouts.
        unsafe {
            let rows = Kernel::find(&module, "pixio_rows")?;
            let columns = Kernel::find(&module, "pixio_columns")?;
            Ok(Arc::new(Self { rows, columns }))
        }
    }
}

/// An axis in the device's memory.
#[derive(Debug)]
struct DeviceAxis {
    spans: Arc<Memory>,
    weights: Arc<Memory>,
    taps: i32,
    precision: i32,
}

impl DeviceAxis {
    fn new(device: &Arc<Device>, axis: &Axis) -> Result<Self, CudaError> {
        Ok(Self {
            spans: Memory::of(device, &axis.spans)?,
            weights: Memory::of(device, &axis.weights)?,
            taps: axis.taps as i32,
            precision: axis.precision as i32,
        })
    }

    fn argument(&self) -> AxisArgument {
        AxisArgument {
            spans: self.spans.pointer(),
            weights: self.weights.pointer(),
            taps: self.taps,
            precision: self.precision,
        }
    }
}

/// A camera's map; another object is another map.
#[derive(Clone, Debug)]
struct SharedMap(Arc<RectifyMap>);

impl PartialEq for SharedMap {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What makes two frames go the same way.
#[derive(Clone, Debug, PartialEq)]
struct Way {
    geometry: ImageGeometry,
    map: Option<SharedMap>,
    /// Of the image as the camera delivers it.
    frame: Size,
    encoding: Encoding,
    step: usize,
    bytes: usize,
    seen: [Span; 2],
    rows: Range<usize>,
    levels: [[f32; 256]; 3],
}

/// The way of one camera's frames: buffers of fixed addresses, so that it can be captured.
#[derive(Debug)]
pub struct Frame {
    id: u64,
    way: Way,
    code: i32,
    sequences: Arc<Mutex<Vec<Sequence>>>,
    stream: Arc<Stream>,
    kernels: Arc<Kernels>,
    pinned: Mutex<Pinned>,
    /// The pixels in the device's memory; none where the device reads the pinned memory itself.
    pixels: Option<Arc<Memory>>,
    map: Option<Arc<Memory>>,
    rows: Arc<Memory>,
    levels: Arc<Memory>,
    horizontal: DeviceAxis,
    vertical: DeviceAxis,
}

impl Frame {
    fn new(
        way: Way,
        kernels: &Arc<Kernels>,
        stream: &Arc<Stream>,
        sequences: &Arc<Mutex<Vec<Sequence>>>,
    ) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::Run { network: "preprocess".to_owned(), reason };
        let code = code(way.encoding).ok_or_else(|| {
            failed(format!("{:?}: the GPU's kernel does not know this encoding", way.encoding))
        })?;
        let device = stream.device();
        let (camera, network) = (way.geometry.camera_size(), way.geometry.network());
        let [columns, rows] = way.seen;
        let horizontal = Axis::new(camera.width, columns.start, columns.length, network.width);
        let first = way.rows.start as f64;
        let vertical = Axis::new(way.rows.len(), rows.start - first, rows.length, network.height);
        let cuda = |error: CudaError| failed(error.to_string());
        let pinned = Pinned::new(device, way.bytes).map_err(cuda)?;
        let pixels = match pinned.mapped() {
            Some(_) => None,
            None => Some(Memory::zeros(device, way.bytes).map_err(cuda)?),
        };
        let taps = |map: &SharedMap| Memory::of(device, &map.0.taps().collect::<Vec<_>>());
        Ok(Self {
            id: unique(),
            code,
            map: way.map.as_ref().map(taps).transpose().map_err(cuda)?,
            sequences: sequences.clone(),
            stream: stream.clone(),
            kernels: kernels.clone(),
            pixels,
            rows: Memory::zeros(device, 3 * way.rows.len() * network.width).map_err(cuda)?,
            levels: Memory::of(device, way.levels.as_flattened()).map_err(cuda)?,
            horizontal: DeviceAxis::new(device, &horizontal).map_err(cuda)?,
            vertical: DeviceAxis::new(device, &vertical).map_err(cuda)?,
            pinned: Mutex::new(pinned),
            way,
        })
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Takes a frame's pixels. Nothing that reads the last ones may be running.
    fn fill(&self, image: &ImageView<'_>) -> Result<(), CudaError> {
        lock(&self.pinned).fill(image.bytes())
    }

    /// Queues copy and kernels. `into` holds the network's input.
    pub fn enqueue(&self, into: &Memory, stream: &Stream) -> Result<(), CudaError> {
        let pinned = lock(&self.pinned);
        let source = match (&self.pixels, pinned.mapped()) {
            (Some(pixels), _) => {
                pinned.upload(pixels, stream)?;
                pixels.pointer()
            }
            (None, mapped) => mapped.unwrap_or(std::ptr::null_mut()),
        };
        let (Way { frame, geometry, .. }, network) = (&self.way, self.way.geometry.network());
        let rows = RowsArgument {
            source,
            map: self.map.as_ref().map_or(std::ptr::null(), |map| map.pointer().cast_const()),
            rows: self.rows.pointer(),
            axis: self.horizontal.argument(),
            width: frame.width as i32,
            height: frame.height as i32,
            step: self.way.step as i32,
            map_width: geometry.camera_size().width as i32,
            encoding: self.code,
            first_row: self.way.rows.start as i32,
            row_count: self.way.rows.len() as i32,
            columns: network.width as i32,
        };
        let columns = ColumnsArgument {
            rows: self.rows.pointer(),
            planes: into.pointer(),
            levels: self.levels.pointer(),
            axis: self.vertical.argument(),
            lines: network.height as i32,
            columns: network.width as i32,
        };
        // SAFETY: all addresses are of this frame's buffers, whose sizes follow from the same geometry, and of `into`, whose
        // size the engine has checked; the queue holds both until it has waited.
        unsafe {
            self.kernels.rows.launch(stream, [network.width, self.way.rows.len()], &rows)?;
            self.kernels.columns.launch(stream, [network.width, network.height], &columns)
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        forget(&self.stream, &self.sequences, self.id);
    }
}

fn code(encoding: Encoding) -> Option<i32> {
    let mut names = Encoding::ALL.iter().filter(|(_, known)| *known == encoding).map(|(name, _)| name);
    names.find_map(|name| ENCODINGS.iter().find(|(known, _)| known == name)).map(|(_, code)| *code)
}

/// Ways that are kept; a camera that changes its size or encoding makes a new one.
const MOST_FRAMES: usize = 16;

/// The ways of all cameras.
#[derive(Debug)]
pub struct Frames {
    kernels: Arc<Kernels>,
    frames: Vec<Arc<Frame>>,
}

impl Frames {
    pub fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        Ok(Self { kernels: Kernels::load(device)?, frames: Vec::new() })
    }

    /// The way of an image, with its pixels taken. The queue must be idle.
    pub fn take(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &Preprocessing,
        stream: &Arc<Stream>,
        sequences: &Arc<Mutex<Vec<Sequence>>>,
    ) -> Result<Arc<Frame>, EngineError> {
        let (geometry, seen) = (*preprocessing.geometry(), preprocessing.seen());
        let (rows, levels) = (preprocessing.rows(), *preprocessing.levels());
        preprocessing.check_frame(image)?;
        let (map, frame) = (preprocessing.rectify_map().cloned().map(SharedMap), image.size());
        let (encoding, step, bytes) = (image.encoding(), image.step(), image.bytes().len());
        let way = Way { geometry, map, frame, encoding, step, bytes, seen, rows, levels };
        let frame = match self.frames.iter().position(|frame| frame.way == way) {
            Some(index) => self.frames.remove(index),
            None => Arc::new(Frame::new(way, &self.kernels, stream, sequences)?),
        };
        frame.fill(image).map_err(|error| crate::queue::run_error("preprocess", &error))?;
        if self.frames.len() == MOST_FRAMES {
            self.frames.remove(0);
        }
        self.frames.push(frame.clone());
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_every_encoding() {
        for (name, encoding) in Encoding::ALL {
            assert!(code(encoding).is_some(), "{name}");
        }
    }

    #[test]
    fn arguments_have_the_sizes_that_the_ptx_declares() {
        for (kernel, bytes) in
            [("pixio_rows", size_of::<RowsArgument>()), ("pixio_columns", size_of::<ColumnsArgument>())]
        {
            let declared = format!("{kernel}_param_0[{bytes}]");
            assert!(PTX.contains(&declared), "{declared}");
        }
        assert!(PTX.contains(".version 8.5") && PTX.contains(".target sm_75"));
    }
}
