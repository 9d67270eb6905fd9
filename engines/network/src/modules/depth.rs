//! Depth heads: what stands around the trunk, and the linear trunk.

use std::sync::Arc;

use calibration::Size;

use super::encoder::Tokens;
use super::{BuildError, Kernel, Scope, dpt};
use crate::Weights;
use crate::architecture::Architecture;
use crate::graph::{GraphBuilder, GraphError, Network, Op, ValueId};
use crate::manifest::{HeadKind, HeadSpec};

/// BatchNorm2d's default epsilon in PyTorch.
const BATCH_NORM_EPSILON: f32 = 1e-5;

/// Builds a depth head for an input size: ports `tokens_<block>` of its taps to port `depth` `[1, height, width]`, metres
/// along Z at the network's input size.
///
/// # Errors
/// When the size does not divide by the patch, or the weights are not those of the head.
pub fn head(
    name: &str,
    spec: &HeadSpec,
    architecture: &Architecture,
    weights: &Arc<Weights>,
    size: Size,
) -> Result<Network, BuildError> {
    let (rows, columns) = architecture.patches(size).map_err(BuildError::Size)?;
    let mut builder = GraphBuilder::new(name);
    let tokens = architecture.class_tokens + rows * columns;
    let mut scope = Scope::new(&mut builder, format!("heads.{name}"));
    let mut maps = Vec::with_capacity(spec.taps.len());
    for tap in &spec.taps {
        let port = scope.builder.input(Tokens::Normalised.port(*tap), &[1, tokens, architecture.dim]);
        maps.push(feature_map(
            &mut scope.within(&format!("tap_{tap}")),
            port,
            architecture.class_tokens,
            rows,
            columns,
        )?);
    }
    let raw = match &spec.kind {
        HeadKind::LinearDepth {} => linear(&mut scope, maps[0])?,
        HeadKind::DptDepth { features, out_channels } => {
            dpt::trunk(&mut scope, &maps, *features, out_channels)?
        }
    };
    let depth = metres(&mut scope, raw, size, spec.max_depth_meters)?;
    builder.output("depth", depth);
    Ok(Network::new(builder.finish(), weights.clone())?)
}

/// Patch tokens, each with the mean class token appended, as an image `[1, 2 dim, rows, columns]`.
fn feature_map(
    scope: &mut Scope<'_>,
    tokens: ValueId,
    classes: usize,
    rows: usize,
    columns: usize,
) -> Result<ValueId, GraphError> {
    let dim = scope.shape(tokens)[2];
    let all = classes + rows * columns;
    let class = scope.node("class", Op::Slice { axis: 1, start: 0, end: classes }, &[tokens])?;
    let mean = scope.node("class_mean", Op::Mean { axis: 1 }, &[class])?;
    let everywhere =
        scope.node("class_everywhere", Op::Expand { shape: vec![1, rows * columns, dim] }, &[mean])?;
    let patches = scope.node("patches", Op::Slice { axis: 1, start: classes, end: all }, &[tokens])?;
    let both = scope.node("concat", Op::Concat { axis: 2 }, &[patches, everywhere])?;
    let channels_first = scope.node("channels_first", Op::Transpose { order: vec![0, 2, 1] }, &[both])?;
    scope.node("map", Op::Reshape { shape: vec![1, 2 * dim, rows, columns] }, &[channels_first])
}

/// Batch normalisation and one 1x1 convolution.
fn linear(scope: &mut Scope<'_>, map: ValueId) -> Result<ValueId, GraphError> {
    let channels = scope.shape(map)[1];
    let statistics = ["weight", "bias", "running_mean", "running_var"];
    let mut operands = vec![map];
    operands.extend(statistics.map(|name| scope.weight(&format!("0.{name}"), &[channels])));
    let normalised = scope.node("0", Op::BatchNorm { epsilon: BATCH_NORM_EPSILON }, &operands)?;
    scope.conv("1", normalised, 1, Kernel::ONE)
}

/// Names and shapes of the linear trunk's tensors.
pub(super) fn linear_tensors(dim: usize) -> Vec<(String, Vec<usize>)> {
    let statistics = ["weight", "bias", "running_mean", "running_var"];
    let mut tensors: Vec<_> = statistics.map(|name| (format!("0.{name}"), vec![2 * dim])).into();
    tensors.extend([("1.weight".into(), vec![1, 2 * dim, 1, 1]), ("1.bias".into(), vec![1])]);
    tensors
}

/// Raw output to metres at the input size: bilinear resize, sigmoid, times the head's maximum.
fn metres(
    scope: &mut Scope<'_>,
    raw: ValueId,
    size: Size,
    max_depth_meters: f32,
) -> Result<ValueId, GraphError> {
    let resize = Op::ResizeBilinear { height: size.height, width: size.width };
    let full = scope.node("resize", resize, &[raw])?;
    let share = scope.node("sigmoid", Op::Sigmoid, &[full])?;
    let maximum = scope.path("max_depth_meters");
    let maximum = scope.builder.scalar(maximum, max_depth_meters);
    let metres = scope.node("metres", Op::Mul, &[share, maximum])?;
    scope.node("depth", Op::Reshape { shape: vec![1, size.height, size.width] }, &[metres])
}
