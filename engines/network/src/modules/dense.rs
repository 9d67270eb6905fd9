//! What heads with an output per pixel share: feature maps of the taps, the trunks, and the way to the input's size.

use super::{Grid, Kernel, Scope, dpt};
use crate::graph::{GraphError, Op, ValueId};
use crate::manifest::Trunk;

/// BatchNorm2d's default epsilon in PyTorch.
pub(super) const BATCH_NORM_EPSILON: f32 = 1e-5;

/// Tokens of the taps `[batch, tokens, dim]` to raw maps `[batch, outputs, height, width]` of the network's input size.
pub(super) fn maps(
    scope: &mut Scope<'_>,
    tokens: &[(usize, ValueId)],
    trunk: Trunk,
    grid: Grid,
    outputs: usize,
) -> Result<ValueId, GraphError> {
    let mut taps = Vec::with_capacity(tokens.len());
    for (tap, tokens) in tokens {
        taps.push(feature_map(&mut scope.within(&format!("tap_{tap}")), *tokens, grid)?);
    }
    let raw = match trunk {
        Trunk::Linear => linear(scope, taps[0], outputs)?,
        Trunk::Dpt { features, out_channels } => dpt::trunk(scope, &taps, features, &out_channels, outputs)?,
    };
    let size = grid.pixels();
    scope.node("resize", Op::ResizeBilinear { height: size.height, width: size.width }, &[raw])
}

/// Names and shapes of a trunk's tensors.
pub(super) fn tensors(trunk: Trunk, dim: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
    match trunk {
        Trunk::Linear => linear_tensors(dim, outputs),
        Trunk::Dpt { features, out_channels } => dpt::tensors(dim, features, &out_channels, outputs),
    }
}

/// Patch tokens, each with the mean class token appended, as an image `[batch, 2 dim, rows, columns]`.
fn feature_map(scope: &mut Scope<'_>, tokens: ValueId, grid: Grid) -> Result<ValueId, GraphError> {
    let (batch, dim) = (scope.shape(tokens)[0], scope.shape(tokens)[2]);
    let (classes, patches) = (grid.class_tokens, grid.patches());
    let class = scope.node("class", Op::Slice { axis: 1, start: 0, end: classes }, &[tokens])?;
    let mean = scope.node("class_mean", Op::Mean { axis: 1 }, &[class])?;
    let everywhere =
        scope.node("class_everywhere", Op::Expand { shape: vec![batch, patches, dim] }, &[mean])?;
    let patches = Op::Slice { axis: 1, start: classes, end: classes + patches };
    let patches = scope.node("patches", patches, &[tokens])?;
    let both = scope.node("concat", Op::Concat { axis: 2 }, &[patches, everywhere])?;
    let channels_first = scope.node("channels_first", Op::Transpose { order: vec![0, 2, 1] }, &[both])?;
    let shape = vec![batch, 2 * dim, grid.rows, grid.columns];
    scope.node("map", Op::Reshape { shape }, &[channels_first])
}

/// Batch normalisation and one 1x1 convolution.
fn linear(scope: &mut Scope<'_>, map: ValueId, outputs: usize) -> Result<ValueId, GraphError> {
    let normalised = scope.batch_norm("0", map)?;
    scope.conv("1", normalised, outputs, Kernel::ONE)
}

/// Names and shapes of the linear trunk's tensors.
fn linear_tensors(dim: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
    let statistics = ["weight", "bias", "running_mean", "running_var"];
    let mut tensors: Vec<_> = statistics.map(|name| (format!("0.{name}"), vec![2 * dim])).into();
    tensors.extend([("1.weight".into(), vec![outputs, 2 * dim, 1, 1]), ("1.bias".into(), vec![outputs])]);
    tensors
}
