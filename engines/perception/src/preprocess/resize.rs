//! PIL's antialiased bicubic (a = -0.5, which is Catmull-Rom), rounded to 8 bit after each direction.
//!
//! The two directions are two calls, columns of a row first, as in PIL: one call of the library would do them in the other
//! order, which clips differently by up to 7 levels at edges.

use std::ops::Range;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::engine::EngineError;
use crate::geometry::ImageGeometry;

/// How far the kernel reaches, in pixels of the smaller scale.
const REACH: f64 = 2.0;

/// The camera's rows that the network's input is made of.
pub fn rows_seen(geometry: &ImageGeometry) -> Range<usize> {
    let Span { start, length } = span(geometry, 1);
    let reach = REACH * (length / geometry.network().height as f64).max(1.0) + 1.0;
    let first = (start - reach).floor().max(0.0) as usize;
    let last = ((start + length + reach).ceil() as usize).min(geometry.camera_size().height);
    first..last
}

/// Resizes the columns of whole camera rows to the network's.
pub fn columns(
    resizer: &mut Resizer,
    geometry: &ImageGeometry,
    pixels: &[u8],
    out: &mut [u8],
) -> Result<(), EngineError> {
    let (from, to) = (geometry.camera_size().width, geometry.network().width);
    let Span { start, length } = span(geometry, 0);
    let rows = out.len() / (3 * to);
    let options = bicubic().crop(start, 0.0, length, rows as f64);
    resize(resizer, (pixels, from, rows), (out, to, rows), &options)
}

/// Resizes rows to the network's; `first` is the camera's row that `pixels` begin with.
pub fn rows(
    resizer: &mut Resizer,
    geometry: &ImageGeometry,
    first: usize,
    pixels: &[u8],
    out: &mut [u8],
) -> Result<(), EngineError> {
    let network = geometry.network();
    let Span { start, length } = span(geometry, 1);
    let options = bicubic().crop(0.0, start - first as f64, network.width as f64, length);
    let from = pixels.len() / (3 * network.width);
    resize(resizer, (pixels, network.width, from), (out, network.width, network.height), &options)
}

/// The part of the camera's image that the network sees, along one axis, in camera pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Where it begins; pixel edges at integers.
    pub start: f64,
    /// How long it is.
    pub length: f64,
}

pub fn span(geometry: &ImageGeometry, axis: usize) -> Span {
    let side = |size: calibration::Size| [size.width, size.height][axis] as f64;
    let (camera, resized) = (side(geometry.camera_size()), side(geometry.resized()));
    let start = geometry.crop()[axis] as f64 * camera / resized;
    let length = side(geometry.network()) * camera / resized;
    // Rounding must not lead beyond the image.
    Span { start, length: length.min(camera - start) }
}

fn bicubic() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false)
}

/// Pixels, columns and rows of `from` to those of `to`.
fn resize(
    resizer: &mut Resizer,
    from: (&[u8], usize, usize),
    to: (&mut [u8], usize, usize),
    options: &ResizeOptions,
) -> Result<(), EngineError> {
    let failed = |reason: String| EngineError::Run { network: "preprocessing".to_owned(), reason };
    // The typed call: the other one compiles the resizers of all thirteen pixel types, which takes a minute.
    let source = TypedImageRef::<U8x3>::from_buffer(from.1 as u32, from.2 as u32, from.0)
        .map_err(|error| failed(error.to_string()))?;
    let mut target = TypedImage::<U8x3>::from_buffer(to.1 as u32, to.2 as u32, to.0)
        .map_err(|error| failed(error.to_string()))?;
    resizer.resize_typed(&source, &mut target, options).map_err(|error| failed(error.to_string()))
}
