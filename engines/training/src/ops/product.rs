//! Matrix products and fully connected layers.

use super::{Call, Operand};
use crate::lanes;
use crate::matrix::{Matrix, MatrixMut};

/// Rows, inner length and columns of one product, and how many there are in a sample.
fn sides(call: &Call<'_>) -> (usize, usize, usize, usize) {
    let (left, right) = (call.operands[0].shape, call.operands[1].shape);
    let rank = left.len();
    (left[rank - 2], left[rank - 1], right[rank - 1], left[..rank - 2].iter().product())
}

/// The matrix number `index` of all samples' matrices, of `len` numbers each.
fn matrix<'a>(operand: &Operand<'a>, index: usize, per_sample: usize, len: usize) -> &'a [f32] {
    let index = if operand.batched { index } else { index % per_sample };
    &operand.values[index * len..][..len]
}

pub(super) fn mat_mul(call: &Call<'_>) -> Vec<f32> {
    let (m, k, n, per_sample) = sides(call);
    let mut out = vec![0.0; call.samples * call.len()];
    for (index, out) in out.chunks_exact_mut(m * n).enumerate() {
        let left = Matrix::new(matrix(&call.operands[0], index, per_sample, m * k), m, k);
        let right = Matrix::new(matrix(&call.operands[1], index, per_sample, k * n), k, n);
        MatrixMut::new(out, m, n).multiply(left, right, false);
    }
    out
}

pub(super) fn mat_mul_backward(call: &Call<'_>, index: usize, gradient: &[f32], into: &mut [f32]) {
    let (m, k, n, per_sample) = sides(call);
    for (at, gradient) in gradient.chunks_exact(m * n).enumerate() {
        let out = Matrix::new(gradient, m, n);
        let place = if call.operands[index].batched { at } else { at % per_sample };
        if index == 0 {
            let right = Matrix::new(matrix(&call.operands[1], at, per_sample, k * n), k, n);
            MatrixMut::new(&mut into[place * m * k..][..m * k], m, k).multiply(out, right.transposed(), true);
        } else {
            let left = Matrix::new(matrix(&call.operands[0], at, per_sample, m * k), m, k);
            MatrixMut::new(&mut into[place * k * n..][..k * n], k, n).multiply(left.transposed(), out, true);
        }
    }
}

pub(super) fn linear(call: &Call<'_>) -> Vec<f32> {
    let [x, weight, bias] = [0, 1, 2].map(|i| call.operands[i]);
    let (inner, outer) = (x.last(), bias.values.len());
    let rows = x.values.len() / inner.max(1);
    let mut out = Vec::with_capacity(rows * outer);
    (0..rows).for_each(|_| out.extend_from_slice(bias.values));
    let weight = Matrix::new(weight.values, outer, inner).transposed();
    MatrixMut::new(&mut out, rows, outer).multiply(Matrix::new(x.values, rows, inner), weight, true);
    out
}

pub(super) fn linear_backward(call: &Call<'_>, index: usize, gradient: &[f32], into: &mut [f32]) {
    let [x, weight, bias] = [0, 1, 2].map(|i| call.operands[i]);
    let (inner, outer) = (x.last(), bias.values.len());
    let rows = x.values.len() / inner.max(1);
    let out = Matrix::new(gradient, rows, outer);
    match index {
        0 => MatrixMut::new(into, rows, inner).multiply(out, Matrix::new(weight.values, outer, inner), true),
        1 => {
            MatrixMut::new(into, outer, inner).multiply(
                out.transposed(),
                Matrix::new(x.values, rows, inner),
                true,
            );
        }
        _ => gradient.chunks_exact(outer).for_each(|row| lanes::add(into, row)),
    }
}
