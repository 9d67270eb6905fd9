//! Layer and batch normalisation, softmax.

use super::{Call, Operand};
use crate::lanes;

/// Mean and reciprocal deviation of a row.
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = lanes::sum(row, |x| x) / count;
    let variance = lanes::sum(row, |x| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

pub(super) fn layer_norm(call: &Call<'_>, epsilon: f32) -> Vec<f32> {
    let [x, scale, bias] = [0, 1, 2].map(|i| call.operands[i]);
    let mut out = Vec::with_capacity(x.values.len());
    for row in x.values.chunks_exact(x.last()) {
        let (mean, inverse) = moments(row, epsilon);
        let affine = row.iter().zip(scale.values).zip(bias.values);
        out.extend(affine.map(|((x, scale), bias)| (x - mean) * inverse * scale + bias));
    }
    out
}

pub(super) fn layer_norm_backward(
    call: &Call<'_>,
    epsilon: f32,
    index: usize,
    gradient: &[f32],
    into: &mut [f32],
) {
    let [x, scale, _] = [0, 1, 2].map(|i| call.operands[i]);
    let width = x.last();
    let rows = x.values.chunks_exact(width).zip(gradient.chunks_exact(width));
    match index {
        0 => {
            let mut scaled = vec![0.0; width];
            for ((row, gradient), into) in rows.zip(into.chunks_exact_mut(width)) {
                let (mean, inverse) = moments(row, epsilon);
                for ((scaled, g), scale) in scaled.iter_mut().zip(gradient).zip(scale.values) {
                    *scaled = g * scale;
                }
                let mean_gradient = lanes::sum(&scaled, |g| g) / width as f32;
                let along = lanes::sum_pairs(&scaled, row, |g, x| g * (x - mean)) * inverse / width as f32;
                for ((into, g), x) in into.iter_mut().zip(&scaled).zip(row) {
                    *into += inverse * (g - mean_gradient - (x - mean) * inverse * along);
                }
            }
        }
        1 => {
            for (row, gradient) in rows {
                let (mean, inverse) = moments(row, epsilon);
                for ((into, g), x) in into.iter_mut().zip(gradient).zip(row) {
                    *into += g * (x - mean) * inverse;
                }
            }
        }
        _ => gradient.chunks_exact(width).for_each(|row| lanes::add(into, row)),
    }
}

pub(super) fn softmax(x: &Operand<'_>) -> Vec<f32> {
    let width = x.last();
    let mut out = Vec::with_capacity(x.values.len());
    for row in x.values.chunks_exact(width) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let start = out.len();
        out.extend(row.iter().map(|x| lanes::exp(x - largest)));
        let inverse = 1.0 / lanes::sum(&out[start..], |x| x);
        out[start..].iter_mut().for_each(|x| *x *= inverse);
    }
    out
}

pub(super) fn softmax_backward(x: &Operand<'_>, result: &[f32], gradient: &[f32], into: &mut [f32]) {
    let width = x.last();
    let rows = result.chunks_exact(width).zip(gradient.chunks_exact(width));
    for ((share, gradient), into) in rows.zip(into.chunks_exact_mut(width)) {
        let along = lanes::sum_pairs(share, gradient, |y, g| y * g);
        for ((into, y), g) in into.iter_mut().zip(share).zip(gradient) {
            *into += y * (g - along);
        }
    }
}

/// Channel by channel statistics of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BatchStatistics {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances over all values, as the normalisation takes them.
    pub variance: Vec<f32>,
    /// Values per channel.
    pub count: usize,
}

/// Images, channels, and values of one channel of one image.
fn layout(x: &Operand<'_>) -> (usize, usize, usize) {
    let (channels, inner) = (x.shape[1], x.shape[2..].iter().product::<usize>());
    (x.values.len() / (channels * inner).max(1), channels, inner)
}

/// Statistics over the whole batch of axis 1.
pub(crate) fn batch_statistics(x: &Operand<'_>) -> BatchStatistics {
    let (images, channels, inner) = layout(x);
    let count = images * inner;
    let over = |f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        let mut sums = vec![0.0_f64; channels];
        for (at, run) in x.values.chunks_exact(inner).enumerate() {
            let channel = at % channels;
            sums[channel] += run.iter().map(|x| f64::from(f(channel, *x))).sum::<f64>();
        }
        sums.iter().map(|sum| (sum / count as f64) as f32).collect()
    };
    let mean = over(&|_, x| x);
    let variance = over(&|channel, x| (x - mean[channel]) * (x - mean[channel]));
    BatchStatistics { mean, variance, count }
}

/// The statistics that this call normalises with.
fn statistics(call: &Call<'_>) -> BatchStatistics {
    if call.training {
        return batch_statistics(&call.operands[0]);
    }
    let [mean, variance] = [3, 4].map(|i| call.operands[i].values.to_vec());
    BatchStatistics { mean, variance, count: 0 }
}

pub(super) fn batch_norm(call: &Call<'_>, epsilon: f32) -> Vec<f32> {
    let [x, scale, bias] = [0, 1, 2].map(|i| call.operands[i]);
    let (_, channels, inner) = layout(&x);
    let statistics = statistics(call);
    let mut out = Vec::with_capacity(x.values.len());
    for (at, run) in x.values.chunks_exact(inner).enumerate() {
        let channel = at % channels;
        let factor = scale.values[channel] / (statistics.variance[channel] + epsilon).sqrt();
        let (mean, bias) = (statistics.mean[channel], bias.values[channel]);
        out.extend(run.iter().map(|x| (x - mean) * factor + bias));
    }
    out
}

pub(super) fn batch_norm_backward(
    call: &Call<'_>,
    epsilon: f32,
    index: usize,
    gradient: &[f32],
    into: &mut [f32],
) {
    let [x, scale, _] = [0, 1, 2].map(|i| call.operands[i]);
    let (_, channels, inner) = layout(&x);
    let statistics = statistics(call);
    let inverse: Vec<f32> = statistics.variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    let runs = || x.values.chunks_exact(inner).zip(gradient.chunks_exact(inner)).enumerate();
    // Sums over each channel of the gradient, and of the gradient times the normalised value.
    let (mut sums, mut along) = (vec![0.0_f32; channels], vec![0.0_f32; channels]);
    for (at, (run, gradient)) in runs() {
        let channel = at % channels;
        let (mean, inverse) = (statistics.mean[channel], inverse[channel]);
        sums[channel] += lanes::sum(gradient, |g| g);
        along[channel] += lanes::sum_pairs(gradient, run, |g, x| g * (x - mean) * inverse);
    }
    match index {
        0 => {
            let share = if call.training { 1.0 / statistics.count as f32 } else { 0.0 };
            for ((at, (run, gradient)), into) in runs().zip(into.chunks_exact_mut(inner)) {
                let channel = at % channels;
                let (mean, inverse) = (statistics.mean[channel], inverse[channel]);
                let (common, along) = (sums[channel] * share, along[channel] * share);
                for ((into, g), x) in into.iter_mut().zip(gradient).zip(run) {
                    *into += scale.values[channel] * inverse * (g - common - (x - mean) * inverse * along);
                }
            }
        }
        1 => lanes::add(into, &along),
        2 => lanes::add(into, &sums),
        // Running statistics are counted, not learnt.
        _ => {}
    }
}
