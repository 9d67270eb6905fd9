//! Convolutions as matrix products over unrolled patches, a strip of output rows at a time so that a strip stays in the cache.

use super::{Call, Operand};
use crate::lanes;
use crate::matrix::{Matrix, MatrixMut};

/// Numbers of an unrolled strip: about half a megabyte.
const STRIP: usize = 1 << 17;

/// How a small grid (the side that a kernel slides over step by step) lies on a large one.
#[derive(Clone, Copy)]
struct Sliding {
    channels: usize,
    height: usize,
    width: usize,
    kernel: (usize, usize),
    stride: usize,
    padding: usize,
    rows: usize,
    columns: usize,
}

impl Sliding {
    /// Rows of the unrolled matrix.
    fn depth(&self) -> usize {
        self.channels * self.kernel.0 * self.kernel.1
    }

    fn strip_rows(&self) -> usize {
        (STRIP / (self.depth() * self.columns).max(1)).clamp(1, self.rows)
    }

    /// First row and number of rows of each strip.
    fn strips(self) -> impl Iterator<Item = (usize, usize)> {
        let step = self.strip_rows();
        (0..self.rows).step_by(step).map(move |first| (first, step.min(self.rows - first)))
    }

    /// Columns of the small grid whose tap `kx` lies inside the image: a range, and the image column of its first.
    fn inside(&self, kx: usize) -> (usize, usize) {
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride).min(self.columns);
        let room = (self.width + self.padding).saturating_sub(kx);
        (first, room.div_ceil(self.stride).min(self.columns).max(first))
    }

    /// Calls `each` with every run of one tap and one small row: place in the unrolled strip, image offset, length.
    fn runs(&self, (first, count): (usize, usize), mut each: impl FnMut(usize, usize, usize)) {
        let (kh, kw) = self.kernel;
        for tap in 0..self.depth() {
            let (channel, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let (from, to) = self.inside(kx);
            for row in 0..count {
                let y = (first + row) * self.stride + ky;
                if y < self.padding || y - self.padding >= self.height || from == to {
                    continue;
                }
                let x = from * self.stride + kx - self.padding;
                let offset = (channel * self.height + y - self.padding) * self.width + x;
                each((tap * count + row) * self.columns + from, offset, to - from);
            }
        }
    }

    /// Unrolls a strip of an image: `[depth, rows of the strip x columns]`.
    fn unroll(&self, image: &[f32], strip: (usize, usize), out: &mut [f32]) {
        out.fill(0.0);
        self.runs(strip, |place, offset, length| {
            let out = &mut out[place..][..length];
            if self.stride == 1 {
                out.copy_from_slice(&image[offset..][..length]);
            } else {
                out.iter_mut().zip(image[offset..].iter().step_by(self.stride)).for_each(|(o, x)| *o = *x);
            }
        });
    }

    /// Adds an unrolled strip back into an image.
    fn roll(&self, unrolled: &[f32], strip: (usize, usize), image: &mut [f32]) {
        self.runs(strip, |place, offset, length| {
            let unrolled = &unrolled[place..][..length];
            if self.stride == 1 {
                lanes::add(&mut image[offset..][..length], unrolled);
            } else {
                let image = image[offset..].iter_mut().step_by(self.stride);
                image.zip(unrolled).for_each(|(into, x)| *into += x);
            }
        });
    }
}

/// The sliding window of a convolution: small is its output, large its input.
fn window(large: &[usize], small: &[usize], kernel: &[usize], stride: usize, padding: usize) -> Sliding {
    Sliding {
        channels: large[1],
        height: large[2],
        width: large[3],
        kernel: (kernel[2], kernel[3]),
        stride,
        padding,
        rows: small[2],
        columns: small[3],
    }
}

/// `small = weight x unrolled(large)`, added to what is there; `weight` is `[small channels, depth]`.
fn gather(window: Sliding, weight: &[f32], large: &[f32], small: &mut [f32]) {
    let (depth, plane) = (window.depth(), window.rows * window.columns);
    let channels = weight.len() / depth;
    let mut unrolled = vec![0.0; depth * window.strip_rows() * window.columns];
    for strip in window.strips() {
        let (start, run) = (strip.0 * window.columns, strip.1 * window.columns);
        window.unroll(large, strip, &mut unrolled[..depth * run]);
        MatrixMut::strided(&mut small[start..], channels, run, plane).multiply(
            Matrix::new(weight, channels, depth),
            Matrix::new(&unrolled[..depth * run], depth, run),
            true,
        );
    }
}

/// The adjoint of [`gather`]: adds `weight^T x small`, rolled up, to `large`.
fn scatter(window: Sliding, weight: &[f32], small: &[f32], large: &mut [f32]) {
    let (depth, plane) = (window.depth(), window.rows * window.columns);
    let channels = weight.len() / depth;
    let mut unrolled = vec![0.0; depth * window.strip_rows() * window.columns];
    for strip in window.strips() {
        let (start, run) = (strip.0 * window.columns, strip.1 * window.columns);
        MatrixMut::new(&mut unrolled[..depth * run], depth, run).multiply(
            Matrix::new(weight, channels, depth).transposed(),
            Matrix::strided(&small[start..], channels, run, plane),
            false,
        );
        window.roll(&unrolled[..depth * run], strip, large);
    }
}

/// Adds `small x unrolled(large)^T` to the weight's gradient `[small channels, depth]`.
fn correlate(window: Sliding, large: &[f32], small: &[f32], into: &mut [f32]) {
    let (depth, plane) = (window.depth(), window.rows * window.columns);
    let channels = into.len() / depth;
    let mut unrolled = vec![0.0; depth * window.strip_rows() * window.columns];
    for strip in window.strips() {
        let (start, run) = (strip.0 * window.columns, strip.1 * window.columns);
        window.unroll(large, strip, &mut unrolled[..depth * run]);
        MatrixMut::new(into, channels, depth).multiply(
            Matrix::strided(&small[start..], channels, run, plane),
            Matrix::new(&unrolled[..depth * run], depth, run).transposed(),
            true,
        );
    }
}

/// A result filled with its channels' biases.
fn with_bias(call: &Call<'_>) -> Vec<f32> {
    let plane = call.shape[2] * call.shape[3];
    let mut out = vec![0.0; call.samples * call.len()];
    if let Some(bias) = call.operands.get(2) {
        for (at, run) in out.chunks_exact_mut(plane).enumerate() {
            run.fill(bias.values[at % bias.values.len()]);
        }
    }
    out
}

fn bias_backward(call: &Call<'_>, gradient: &[f32], into: &mut [f32]) {
    let channels = into.len();
    for (at, run) in gradient.chunks_exact(call.shape[2] * call.shape[3]).enumerate() {
        into[at % channels] += lanes::sum(run, |g| g);
    }
}

/// Numbers of one image of a map `[n, channels, height, width]`.
fn image_len(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}

fn images<'a>(operand: &Operand<'a>) -> std::slice::ChunksExact<'a, f32> {
    operand.values.chunks_exact(image_len(operand.shape))
}

pub(super) fn conv(call: &Call<'_>, stride: usize, padding: usize) -> Vec<f32> {
    let (x, weight) = (&call.operands[0], &call.operands[1]);
    let window = window(x.shape, call.shape, weight.shape, stride, padding);
    let mut out = with_bias(call);
    for (large, small) in images(x).zip(out.chunks_exact_mut(image_len(call.shape))) {
        gather(window, weight.values, large, small);
    }
    out
}

pub(super) fn conv_backward(
    call: &Call<'_>,
    stride: usize,
    padding: usize,
    index: usize,
    gradient: &[f32],
    into: &mut [f32],
) {
    let (x, weight) = (&call.operands[0], &call.operands[1]);
    let window = window(x.shape, call.shape, weight.shape, stride, padding);
    let gradients = gradient.chunks_exact(image_len(call.shape));
    match index {
        0 => {
            for (small, large) in gradients.zip(into.chunks_exact_mut(image_len(x.shape))) {
                scatter(window, weight.values, small, large);
            }
        }
        1 => gradients.zip(images(x)).for_each(|(small, large)| correlate(window, large, small, into)),
        _ => bias_backward(call, gradient, into),
    }
}

pub(super) fn conv_transpose(call: &Call<'_>, stride: usize) -> Vec<f32> {
    let (x, weight) = (&call.operands[0], &call.operands[1]);
    let window = window(call.shape, x.shape, weight.shape, stride, 0);
    let mut out = with_bias(call);
    for (small, large) in images(x).zip(out.chunks_exact_mut(image_len(call.shape))) {
        scatter(window, weight.values, small, large);
    }
    out
}

pub(super) fn conv_transpose_backward(
    call: &Call<'_>,
    stride: usize,
    index: usize,
    gradient: &[f32],
    into: &mut [f32],
) {
    let (x, weight) = (&call.operands[0], &call.operands[1]);
    let window = window(call.shape, x.shape, weight.shape, stride, 0);
    let gradients = gradient.chunks_exact(image_len(call.shape));
    match index {
        0 => {
            for (large, small) in gradients.zip(into.chunks_exact_mut(image_len(x.shape))) {
                gather(window, weight.values, large, small);
            }
        }
        1 => gradients.zip(images(x)).for_each(|(large, small)| correlate(window, large, small, into)),
        _ => bias_backward(call, gradient, into),
    }
}
