//! The Pixio encoder: image to tokens at the taps.

use std::sync::Arc;

use calibration::Size;

use super::{BuildError, Scope, position};
use crate::architecture::Architecture;
use crate::graph::{GraphBuilder, GraphError, Network, Op, ValueId};
use crate::{Weights, WeightsError};

/// Which tokens a tap delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// After the encoder's final LayerNorm: what the official heads take. Port `tokens_<block>`.
    Normalised,
    /// As the block leaves them. Port `tokens_<block>_raw`.
    Raw,
}

impl Tokens {
    /// Name of the port of a tap after `block`.
    pub fn port(self, block: usize) -> String {
        match self {
            Tokens::Normalised => format!("tokens_{block}"),
            Tokens::Raw => format!("tokens_{block}_raw"),
        }
    }
}

/// Builds the backbone for an input size: port `image` `[1, 3, height, width]` (RGB, normalised) to one port per tap,
/// `[1, class tokens + patches, dim]`: class tokens first, then patches row by row.
///
/// # Errors
/// When the size does not divide by the patch, or the weights are not those of the architecture.
pub fn backbone(
    architecture: &Architecture,
    weights: &Arc<Weights>,
    size: Size,
    taps: &[(usize, Tokens)],
) -> Result<Network, BuildError> {
    let (rows, columns) = architecture.patches(size).map_err(BuildError::Size)?;
    let mut builder = GraphBuilder::new("backbone");
    let image = builder.input("image", &[1, 3, size.height, size.width]);
    let encoder =
        Encoder { place: "encoder", architecture, tokens: architecture.class_tokens + rows * columns };
    let folded = Folded::read(architecture, weights, rows, columns)?;
    let mut x = encoder.embed(&mut builder, image, folded, rows * columns)?;
    let last = taps.iter().map(|(block, _)| block + 1).max().unwrap_or(0);
    for block in 0..last.min(architecture.blocks) {
        x = encoder.block(&mut Scope::new(&mut builder, format!("encoder.blocks.{block}")), x)?;
        for (_, tokens) in taps.iter().filter(|(tap, _)| *tap == block) {
            encoder.tap(&mut builder, x, block, *tokens)?;
        }
    }
    Ok(Network::new(builder.finish(), weights.clone())?)
}

/// Constants of one input size: class tokens with their positions, and the patch positions.
struct Folded {
    class: Vec<f32>,
    patches: Vec<f32>,
}

impl Folded {
    fn read(
        architecture: &Architecture,
        weights: &Weights,
        rows: usize,
        columns: usize,
    ) -> Result<Self, WeightsError> {
        let (classes, dim, grid) = (architecture.class_tokens, architecture.dim, architecture.grid);
        let mut class = weights.read_f32("encoder.cls_token", &[1, classes, dim])?;
        let positions = weights.read_f32("encoder.pos_embed", &[1, classes + grid * grid, dim])?;
        let (class_positions, patch_positions) = positions.split_at(classes * dim);
        class.iter_mut().zip(class_positions).for_each(|(token, position)| *token += position);
        Ok(Self { class, patches: position::resize(patch_positions, grid, dim, rows, columns) })
    }
}

/// Tokens flow as a matrix `[tokens, dim]`; the batch of one appears only at the ports.
pub(super) struct Encoder<'a> {
    /// Where it stands: `encoder`, or another transformer of the same form.
    pub(super) place: &'static str,
    pub(super) architecture: &'a Architecture,
    pub(super) tokens: usize,
}

impl Encoder<'_> {
    fn embed(
        &self,
        builder: &mut GraphBuilder,
        image: ValueId,
        folded: Folded,
        patches: usize,
    ) -> Result<ValueId, GraphError> {
        let (dim, patch, classes) =
            (self.architecture.dim, self.architecture.patch, self.architecture.class_tokens);
        let class = builder.constant("encoder.class_tokens", &[classes, dim], folded.class)?;
        let positions = builder.constant("encoder.patch_positions", &[patches, dim], folded.patches)?;
        let mut scope = Scope::new(builder, "encoder");
        let kernel = super::Kernel { side: patch, stride: patch, padding: 0, bias: true };
        let map = scope.conv("patch_embed.proj", image, dim, kernel)?;
        let columns = scope.node("patch_embed.flatten", Op::Reshape { shape: vec![dim, patches] }, &[map])?;
        let tokens = scope.node("patch_embed.tokens", Op::Transpose { order: vec![1, 0] }, &[columns])?;
        let placed = scope.node("patch_embed.position", Op::Add, &[tokens, positions])?;
        scope.node("tokens", Op::Concat { axis: 0 }, &[class, placed])
    }

    /// Pre-norm transformer block.
    pub(super) fn block(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let epsilon = self.architecture.layer_norm_epsilon;
        let normalised = scope.layer_norm("norm1", x, epsilon)?;
        let attended = self.attention(&mut scope.within("attn"), normalised)?;
        let x = scope.node("attn.residual", Op::Add, &[x, attended])?;
        let normalised = scope.layer_norm("norm2", x, epsilon)?;
        let hidden = scope.linear("mlp.fc1", normalised, self.architecture.mlp_hidden)?;
        let active = scope.node("mlp.gelu", Op::Gelu, &[hidden])?;
        let out = scope.linear("mlp.fc2", active, self.architecture.dim)?;
        scope.node("mlp.residual", Op::Add, &[x, out])
    }

    /// Multi-head self-attention, written out (no fused operator), so that every engine can match its own pattern.
    fn attention(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let (dim, heads) = (self.architecture.dim, self.architecture.heads);
        let head_dim = dim / heads;
        let qkv = scope.linear("qkv", x, 3 * dim)?;
        let split =
            scope.node("split", Op::Reshape { shape: vec![1, self.tokens, 3 * heads, head_dim] }, &[qkv])?;
        let mut part = |name: &str, first: usize, order: &[usize]| {
            let slice = Op::Slice { axis: 2, start: first * heads, end: (first + 1) * heads };
            let sliced = scope.node(&format!("{name}.slice"), slice, &[split])?;
            scope.node(name, Op::Transpose { order: order.to_vec() }, &[sliced])
        };
        let query = part("query", 0, &[0, 2, 1, 3])?;
        let key = part("key", 1, &[0, 2, 3, 1])?;
        let value = part("value", 2, &[0, 2, 1, 3])?;
        let scale = format!("{}.attention_scale", self.place);
        let scale = scope.builder.scalar(scale, (head_dim as f32).powf(-0.5));
        let query = scope.node("scale", Op::Mul, &[query, scale])?;
        let scores = scope.node("scores", Op::MatMul, &[query, key])?;
        let shares = scope.node("softmax", Op::Softmax, &[scores])?;
        let mixed = scope.node("mix", Op::MatMul, &[shares, value])?;
        let joined = scope.node("join", Op::Transpose { order: vec![0, 2, 1, 3] }, &[mixed])?;
        let flat = scope.node("flatten", Op::Reshape { shape: vec![self.tokens, dim] }, &[joined])?;
        scope.linear("proj", flat, dim)
    }

    fn tap(
        &self,
        builder: &mut GraphBuilder,
        x: ValueId,
        block: usize,
        tokens: Tokens,
    ) -> Result<(), GraphError> {
        let mut scope = Scope::new(builder, format!("encoder.{}", tokens.port(block)));
        let delivered = match tokens {
            Tokens::Raw => x,
            Tokens::Normalised => {
                let dim = self.architecture.dim;
                let scale = scope.builder.weight("encoder.norm.weight", &[dim]);
                let bias = scope.builder.weight("encoder.norm.bias", &[dim]);
                let epsilon = self.architecture.layer_norm_epsilon;
                scope.node("norm", Op::LayerNorm { epsilon }, &[x, scale, bias])?
            }
        };
        let shape = vec![1, self.tokens, self.architecture.dim];
        let batched = scope.node("batch", Op::Reshape { shape }, &[delivered])?;
        builder.output(tokens.port(block), batched);
        Ok(())
    }
}
