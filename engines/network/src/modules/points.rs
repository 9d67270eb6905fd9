//! Point map heads: where every pixel looks, how far it is along that ray, and how sure the head is. They need no
//! intrinsics; those that the rays imply are found in decoding.

use super::{Grid, Scope, depth};
use crate::graph::{GraphError, Op, ValueId};

/// Channels of the raw map: x and y of the ray where z is 1, the distance, the confidence.
pub(super) const OUTPUTS: usize = 4;

/// Raw maps `[batch, 4, height, width]` to the ports `rays` `[batch, 3, height, width]` (unit vectors, x right, y down, z forward
/// and above 0), `distance` `[batch, height, width]` (metres along the ray) and `confidence` `[batch, height, width]` (0 to 1).
pub(super) fn outputs(
    scope: &mut Scope<'_>,
    raw: ValueId,
    grid: Grid,
    max_depth_meters: f32,
) -> Result<(), GraphError> {
    let shape = vec![scope.shape(raw)[0], grid.pixels().height, grid.pixels().width];
    let slope = scope.node("slope", Op::Slice { axis: 1, start: 0, end: 2 }, &[raw])?;
    let rays = rays(scope, slope)?;
    let far = scope.node("far", Op::Slice { axis: 1, start: 2, end: 3 }, &[raw])?;
    let metres = depth::metres(scope, far, max_depth_meters)?;
    let distance = scope.node("distance", Op::Reshape { shape: shape.clone() }, &[metres])?;
    let sure = scope.node("sure", Op::Slice { axis: 1, start: 3, end: 4 }, &[raw])?;
    let share = scope.node("share", Op::Sigmoid, &[sure])?;
    let confidence = scope.node("confidence", Op::Reshape { shape }, &[share])?;
    scope.builder.output("rays", rays);
    scope.builder.output("distance", distance);
    scope.builder.output("confidence", confidence);
    Ok(())
}

/// `(x, y, 1) / |(x, y, 1)|` of slopes `[batch, 2, height, width]`. A pinhole's slopes are linear in the pixel, so that resizing
/// them bilinearly bends no ray.
fn rays(scope: &mut Scope<'_>, slope: ValueId) -> Result<ValueId, GraphError> {
    let (one, two) = (scope.scalar("one", 1.0), scope.scalar("two", 2.0));
    let squares = scope.node("squares", Op::Mul, &[slope, slope])?;
    let mean = scope.node("mean_square", Op::Mean { axis: 1 }, &[squares])?;
    let sum = scope.node("sum_square", Op::Mul, &[mean, two])?;
    let square = scope.node("square", Op::Add, &[sum, one])?;
    let length = scope.node("length", Op::Sqrt, &[square])?;
    let across = scope.node("across", Op::Div, &[slope, length])?;
    let forward = scope.node("forward", Op::Div, &[one, length])?;
    scope.node("rays", Op::Concat { axis: 1 }, &[across, forward])
}
