//! Operations that move numbers: transpose, expand, concat, slice, and the mean along an axis.

use super::{Call, Operand};
use crate::lanes;

/// Which of an operand's numbers stands at each place of a larger shape (numpy's broadcasting).
fn places(from: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len() - from.len();
    let mut places = vec![0_usize];
    for (axis, &length) in to.iter().enumerate() {
        let own = if axis < missing { 1 } else { from[axis - missing] };
        let step = |place: usize, i: usize| place * own + if own == 1 { 0 } else { i };
        places = places.iter().flat_map(|place| (0..length).map(move |i| step(*place, i))).collect();
    }
    places
}

/// The operand in the result's shape, one per sample of the result.
pub(super) fn expand(call: &Call<'_>, operand: &Operand<'_>) -> Vec<f32> {
    let places = places(operand.shape, call.shape);
    let mut out = Vec::with_capacity(call.samples * places.len());
    for sample in 0..call.samples {
        let values = operand.sample(sample);
        out.extend(places.iter().map(|place| values[*place]));
    }
    out
}

/// Adds a gradient of the result's shape up into the operand's.
pub(super) fn collapse(call: &Call<'_>, operand: &Operand<'_>, gradient: &[f32], into: &mut [f32]) {
    let places = places(operand.shape, call.shape);
    for (sample, gradient) in gradient.chunks_exact(places.len()).enumerate() {
        let start = if operand.batched { sample * operand.len() } else { 0 };
        let into = &mut into[start..][..operand.len()];
        places.iter().zip(gradient).for_each(|(place, g)| into[*place] += g);
    }
}

/// Axes in a new order, sample by sample.
pub(super) fn transpose(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    let len: usize = shape.iter().product();
    let mut out = Vec::with_capacity(values.len());
    // Trailing axes that stay where they are move as one run.
    let fixed = (0..shape.len()).rev().take_while(|&axis| order[axis] == axis).count();
    let run: usize = shape[shape.len() - fixed..].iter().product();
    let starts = starts(shape, order, shape.len() - fixed);
    for sample in values.chunks_exact(len) {
        if run == 1 {
            out.extend(starts.iter().map(|start| sample[*start]));
        } else {
            starts.iter().for_each(|start| out.extend_from_slice(&sample[*start..][..run]));
        }
    }
    out
}

/// Where in the old layout each run of the new one begins.
fn starts(shape: &[usize], order: &[usize], moved: usize) -> Vec<usize> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let mut starts = vec![0_usize];
    for &axis in &order[..moved] {
        let (stride, length) = (stride(axis), shape[axis]);
        starts = starts.iter().flat_map(|start| (0..length).map(move |i| start + i * stride)).collect();
    }
    starts
}

pub(super) fn transpose_backward(call: &Call<'_>, order: &[usize], gradient: &[f32], into: &mut [f32]) {
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, old)| back[*old] = new);
    lanes::add(into, &transpose(gradient, call.shape, &back));
}

/// Outer count, and numbers per index of the axis.
fn around(shape: &[usize], axis: usize) -> (usize, usize) {
    (shape[..axis].iter().product(), shape[axis + 1..].iter().product())
}

pub(super) fn concat(call: &Call<'_>, axis: usize) -> Vec<f32> {
    let (outer, inner) = around(call.shape, axis);
    let mut out = Vec::with_capacity(call.samples * call.len());
    for sample in 0..call.samples {
        for block in 0..outer {
            for operand in call.operands {
                let run = operand.shape[axis] * inner;
                out.extend_from_slice(&operand.sample(sample)[block * run..][..run]);
            }
        }
    }
    out
}

pub(super) fn concat_backward(
    call: &Call<'_>,
    axis: usize,
    index: usize,
    gradient: &[f32],
    into: &mut [f32],
) {
    let (outer, inner) = around(call.shape, axis);
    let operand = &call.operands[index];
    let before: usize = call.operands[..index].iter().map(|operand| operand.shape[axis] * inner).sum();
    let (run, whole) = (operand.shape[axis] * inner, call.shape[axis] * inner);
    for (at, row) in gradient.chunks_exact(whole).enumerate() {
        let place = if operand.batched { at } else { at % outer };
        lanes::add(&mut into[place * run..][..run], &row[before..][..run]);
    }
}

pub(super) fn slice(call: &Call<'_>, axis: usize, start: usize) -> Vec<f32> {
    let (_, inner) = around(call.shape, axis);
    let (run, whole) = (call.shape[axis] * inner, call.operands[0].shape[axis] * inner);
    let mut out = Vec::with_capacity(call.samples * call.len());
    for row in call.operands[0].values.chunks_exact(whole) {
        out.extend_from_slice(&row[start * inner..][..run]);
    }
    out
}

pub(super) fn slice_backward(call: &Call<'_>, axis: usize, start: usize, gradient: &[f32], into: &mut [f32]) {
    let (_, inner) = around(call.shape, axis);
    let (run, whole) = (call.shape[axis] * inner, call.operands[0].shape[axis] * inner);
    for (row, gradient) in into.chunks_exact_mut(whole).zip(gradient.chunks_exact(run)) {
        lanes::add(&mut row[start * inner..][..run], gradient);
    }
}

pub(super) fn mean(call: &Call<'_>, axis: usize) -> Vec<f32> {
    let length = call.operands[0].shape[axis];
    let (_, inner) = around(call.shape, axis);
    let mut out = Vec::with_capacity(call.samples * call.len());
    for block in call.operands[0].values.chunks_exact(length * inner) {
        let start = out.len();
        out.extend_from_slice(&block[..inner]);
        block.chunks_exact(inner).skip(1).for_each(|row| lanes::add(&mut out[start..], row));
        out[start..].iter_mut().for_each(|value| *value /= length as f32);
    }
    out
}

pub(super) fn mean_backward(call: &Call<'_>, axis: usize, gradient: &[f32], into: &mut [f32]) {
    let length = call.operands[0].shape[axis];
    let (_, inner) = around(call.shape, axis);
    for (block, gradient) in into.chunks_exact_mut(length * inner).zip(gradient.chunks_exact(inner)) {
        for row in block.chunks_exact_mut(inner) {
            row.iter_mut().zip(gradient).for_each(|(into, g)| *into += g / length as f32);
        }
    }
}
