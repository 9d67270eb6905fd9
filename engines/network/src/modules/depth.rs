//! Depth heads: the official Pixio heads for metres along Z.

use super::{Grid, Scope};
use crate::graph::{GraphError, Op, ValueId};

/// Channels of the raw map.
pub(super) const OUTPUTS: usize = 1;

/// Raw maps `[batch, 1, height, width]` to port `depth` `[batch, height, width]`: sigmoid, times the head's maximum in
/// metres.
pub(super) fn outputs(
    scope: &mut Scope<'_>,
    raw: ValueId,
    grid: Grid,
    max_depth_meters: f32,
) -> Result<(), GraphError> {
    let metres = metres(scope, raw, max_depth_meters)?;
    let (batch, size) = (scope.shape(raw)[0], grid.pixels());
    let depth =
        scope.node("depth", Op::Reshape { shape: vec![batch, size.height, size.width] }, &[metres])?;
    scope.builder.output("depth", depth);
    Ok(())
}

/// A raw map to metres: sigmoid, times the maximum.
pub(super) fn metres(
    scope: &mut Scope<'_>,
    raw: ValueId,
    max_depth_meters: f32,
) -> Result<ValueId, GraphError> {
    let share = scope.node("sigmoid", Op::Sigmoid, &[raw])?;
    let maximum = scope.scalar("max_depth_meters", max_depth_meters);
    scope.node("metres", Op::Mul, &[share, maximum])
}
