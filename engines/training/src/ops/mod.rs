//! What each operation of a graph computes, and how it hands a gradient on to its operands.
//!
//! A value that depends on the network's inputs is *batched*: its samples lie one after another, each of the graph's static
//! shape. Everything else (weights, and what is computed of weights alone) is there once.

mod arrange;
mod convolve;
mod normalise;
mod pointwise;
mod product;
mod resize;

use network::graph::Op;

pub(crate) use normalise::{BatchStatistics, batch_statistics};

/// A value as an operation sees it.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    /// One sample's shape, as the graph has it.
    pub shape: &'a [usize],
    /// All samples.
    pub values: &'a [f32],
    /// Whether there is one per sample of the batch.
    pub batched: bool,
}

impl<'a> Operand<'a> {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The numbers of one sample.
    fn sample(&self, index: usize) -> &'a [f32] {
        let len = self.len();
        if self.batched { &self.values[index * len..][..len] } else { self.values }
    }
}

/// One operation at one place, with its operands and what is known of the result.
pub(crate) struct Call<'a> {
    pub op: &'a Op,
    pub operands: &'a [Operand<'a>],
    /// One sample's shape of the result.
    pub shape: &'a [usize],
    /// Samples of the result: 1 when it is not batched.
    pub samples: usize,
    /// Whether batch normalisation takes the batch's own statistics.
    pub training: bool,
}

impl<'a> Call<'a> {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The result's values.
    pub(crate) fn forward(&self) -> Vec<f32> {
        let x = &self.operands[0];
        match self.op {
            Op::MatMul => product::mat_mul(self),
            Op::Linear => product::linear(self),
            Op::Add => pointwise::binary(self, |a, b| a + b),
            Op::Sub => pointwise::binary(self, |a, b| a - b),
            Op::Mul => pointwise::binary(self, |a, b| a * b),
            Op::Div => pointwise::binary(self, |a, b| a / b),
            Op::LayerNorm { epsilon } => normalise::layer_norm(self, *epsilon),
            Op::BatchNorm { epsilon } => normalise::batch_norm(self, *epsilon),
            Op::Softmax => normalise::softmax(x),
            Op::Gelu | Op::Relu | Op::Sigmoid | Op::Tanh | Op::Exp | Op::Sqrt => {
                pointwise::unary(self.op, x.values)
            }
            Op::Transpose { order } => arrange::transpose(x.values, x.shape, order),
            Op::Reshape { .. } => x.values.to_vec(),
            Op::Expand { .. } => arrange::expand(self, x),
            Op::Concat { axis } => arrange::concat(self, *axis),
            Op::Slice { axis, start, .. } => arrange::slice(self, *axis, *start),
            Op::Mean { axis } => arrange::mean(self, *axis),
            Op::Conv { stride, padding } => convolve::conv(self, *stride, *padding),
            Op::ConvTranspose { stride } => convolve::conv_transpose(self, *stride),
            Op::ResizeBilinear { .. } => resize::forward(self),
        }
    }

    /// Adds to `into` what operand `index` gets of the result's gradient.
    pub(crate) fn backward(&self, index: usize, result: &[f32], gradient: &[f32], into: &mut [f32]) {
        match self.op {
            Op::MatMul => product::mat_mul_backward(self, index, gradient, into),
            Op::Linear => product::linear_backward(self, index, gradient, into),
            Op::Add | Op::Sub | Op::Mul | Op::Div => {
                pointwise::binary_backward(self, index, result, gradient, into)
            }
            Op::LayerNorm { epsilon } => {
                normalise::layer_norm_backward(self, *epsilon, index, gradient, into)
            }
            Op::BatchNorm { epsilon } => {
                normalise::batch_norm_backward(self, *epsilon, index, gradient, into)
            }
            Op::Softmax => normalise::softmax_backward(&self.operands[0], result, gradient, into),
            Op::Gelu | Op::Relu | Op::Sigmoid | Op::Tanh | Op::Exp | Op::Sqrt => {
                pointwise::unary_backward(self.op, self.operands[0].values, result, gradient, into);
            }
            Op::Transpose { order } => arrange::transpose_backward(self, order, gradient, into),
            Op::Reshape { .. } => crate::lanes::add(into, gradient),
            Op::Expand { .. } => arrange::collapse(self, &self.operands[0], gradient, into),
            Op::Concat { axis } => arrange::concat_backward(self, *axis, index, gradient, into),
            Op::Slice { axis, start, .. } => arrange::slice_backward(self, *axis, *start, gradient, into),
            Op::Mean { axis } => arrange::mean_backward(self, *axis, gradient, into),
            Op::Conv { stride, padding } => {
                convolve::conv_backward(self, *stride, *padding, index, gradient, into);
            }
            Op::ConvTranspose { stride } => {
                convolve::conv_transpose_backward(self, *stride, index, gradient, into);
            }
            Op::ResizeBilinear { .. } => resize::backward(self, gradient, into),
        }
    }
}
