//! Segmentation heads: the official Pixio heads, an output per class.

use super::Scope;
use crate::graph::ValueId;

/// Raw maps to port `logits` `[batch, classes, height, width]`: the pixel's class is that of the largest.
pub(super) fn outputs(scope: &mut Scope<'_>, raw: ValueId) {
    scope.builder.output("logits", raw);
}
