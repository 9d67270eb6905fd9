//! The DPT trunk (Ranftl et al. 2021, arXiv 2103.13413), in the form the official Pixio heads use.

use super::{Kernel, Scope};
use crate::graph::{GraphError, Op, ValueId};

/// Four feature maps to raw maps `[batch, outputs, rows, columns]` at twice the resolution of the finest level.
pub(super) fn trunk(
    scope: &mut Scope<'_>,
    maps: &[ValueId],
    features: usize,
    out_channels: &[usize; 4],
    outputs: usize,
) -> Result<ValueId, GraphError> {
    let mut levels = Vec::with_capacity(4);
    for (level, (map, channels)) in maps.iter().zip(out_channels).enumerate() {
        levels.push(reassemble(scope, level, *map, *channels, features)?);
    }
    let mut path: Option<ValueId> = None;
    for level in (0..levels.len()).rev() {
        let next = level.checked_sub(1).map(|finer| spatial(scope, levels[finer]));
        let mut block = scope.within(&format!("scratch.refinenet{}", level + 1));
        path = Some(fuse(&mut block, path, levels[level], next)?);
    }
    let path = path.unwrap_or(maps[0]);
    let hidden = scope.conv("scratch.output_conv.0", path, features, Kernel::THREE)?;
    let active = scope.node("scratch.output_conv.1", Op::Relu, &[hidden])?;
    scope.conv("scratch.output_conv.2", active, outputs, Kernel::ONE)
}

fn spatial(scope: &Scope<'_>, map: ValueId) -> (usize, usize) {
    let shape = scope.shape(map);
    (shape[2], shape[3])
}

/// Projects a tap and brings it to its level's resolution: 4x, 2x, 1x and 1/2 of the patch grid.
fn reassemble(
    scope: &mut Scope<'_>,
    level: usize,
    map: ValueId,
    channels: usize,
    features: usize,
) -> Result<ValueId, GraphError> {
    let projected = scope.conv(&format!("projects.{level}"), map, channels, Kernel::ONE)?;
    let name = format!("resize_layers.{level}");
    let resized = match level {
        0 => enlarge(scope, &name, projected, 4)?,
        1 => enlarge(scope, &name, projected, 2)?,
        2 => projected,
        _ => scope.conv(&name, projected, channels, Kernel { stride: 2, ..Kernel::THREE })?,
    };
    let without_bias = Kernel { bias: false, ..Kernel::THREE };
    scope.conv(&format!("scratch.layer{}_rn", level + 1), resized, features, without_bias)
}

fn enlarge(scope: &mut Scope<'_>, name: &str, map: ValueId, factor: usize) -> Result<ValueId, GraphError> {
    let channels = scope.shape(map)[1];
    let weight = scope.weight(&format!("{name}.weight"), &[channels, channels, factor, factor]);
    let bias = scope.weight(&format!("{name}.bias"), &[channels]);
    scope.node(name, Op::ConvTranspose { stride: factor }, &[map, weight, bias])
}

/// Adds the coarser path to a level, refines, and resizes to the finer level (the last one to twice its size).
fn fuse(
    scope: &mut Scope<'_>,
    coarser: Option<ValueId>,
    level: ValueId,
    finer: Option<(usize, usize)>,
) -> Result<ValueId, GraphError> {
    let mut x = level;
    if let Some(coarser) = coarser {
        let refined = residual(&mut scope.within("resConfUnit1"), level)?;
        x = scope.node("sum", Op::Add, &[coarser, refined])?;
    }
    let refined = residual(&mut scope.within("resConfUnit2"), x)?;
    let (rows, columns) = spatial(scope, refined);
    let (height, width) = finer.unwrap_or((2 * rows, 2 * columns));
    let resized = scope.node("resize", Op::ResizeBilinear { height, width }, &[refined])?;
    let features = scope.shape(resized)[1];
    scope.conv("out_conv", resized, features, Kernel::ONE)
}

fn residual(scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
    let features = scope.shape(x)[1];
    let active = scope.node("relu1", Op::Relu, &[x])?;
    let hidden = scope.conv("conv1", active, features, Kernel::THREE)?;
    let active = scope.node("relu2", Op::Relu, &[hidden])?;
    let out = scope.conv("conv2", active, features, Kernel::THREE)?;
    scope.node("add", Op::Add, &[out, x])
}

/// Names and shapes of the trunk's tensors. The official module also carries `refinenet4.resConfUnit1`, which nothing uses.
pub(super) fn tensors(
    dim: usize,
    features: usize,
    out_channels: &[usize; 4],
    outputs: usize,
) -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    let mut layer = |name: String, weight: Vec<usize>, bias: Option<usize>| {
        tensors.push((format!("{name}.weight"), weight));
        tensors.extend(bias.map(|length| (format!("{name}.bias"), vec![length])));
    };
    for (level, &channels) in out_channels.iter().enumerate() {
        layer(format!("projects.{level}"), vec![channels, 2 * dim, 1, 1], Some(channels));
        layer(format!("scratch.layer{}_rn", level + 1), vec![features, channels, 3, 3], None);
    }
    for (level, side) in [(0, 4), (1, 2), (3, 3)] {
        let channels = out_channels[level];
        layer(format!("resize_layers.{level}"), vec![channels, channels, side, side], Some(channels));
    }
    let square = vec![features, features, 3, 3];
    for level in 1..=4 {
        let block = format!("scratch.refinenet{level}");
        for unit in if level == 4 { 2..=2 } else { 1..=2 } {
            for conv in 1..=2 {
                layer(format!("{block}.resConfUnit{unit}.conv{conv}"), square.clone(), Some(features));
            }
        }
        layer(format!("{block}.out_conv"), vec![features, features, 1, 1], Some(features));
    }
    layer("scratch.output_conv.0".into(), square, Some(features));
    layer("scratch.output_conv.2".into(), vec![outputs, features, 1, 1], Some(outputs));
    tensors
}
