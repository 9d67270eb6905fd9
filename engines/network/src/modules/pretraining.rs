//! Masked-pixel pre-training: the encoder on the patches that are seen, a decoder that paints the others (arXiv 2512.15715;
//! He et al. 2022, arXiv 2111.06377).

use serde::{Deserialize, Serialize};

use super::encoder::Encoder;
use super::{BuildError, Scope};
use crate::architecture::Architecture;
use crate::graph::{Graph, GraphBuilder, GraphError, Op, ValueId};

/// The decoder, which pre-training throws away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoder {
    /// Width of a token.
    pub dim: usize,
    /// Number of transformer blocks; Pixio's decoders are as deep as 32.
    pub blocks: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
}

impl Decoder {
    /// Checks that the numbers make a decoder at all.
    ///
    /// # Errors
    /// The first number that does not fit, with what was expected.
    pub fn validate(&self) -> Result<(), String> {
        self.transformer(&Architecture {
            dim: self.dim,
            blocks: self.blocks,
            heads: self.heads,
            mlp_hidden: 4 * self.dim,
            class_tokens: 1,
            patch: 1,
            grid: 1,
            layer_norm_epsilon: 1e-6,
        })
        .validate()
    }

    /// The decoder's blocks in the form of an encoder's.
    fn transformer(&self, encoder: &Architecture) -> Architecture {
        let (dim, blocks, heads) = (self.dim, self.blocks, self.heads);
        Architecture { dim, blocks, heads, mlp_hidden: 4 * dim, ..encoder.clone() }
    }

    /// Names and shapes of the decoder's tensors below `pretraining.`, as the official code has them.
    pub fn tensors(&self, encoder: &Architecture) -> Vec<(String, Vec<usize>)> {
        let (dim, places) = (self.dim, encoder.class_tokens + encoder.grid * encoder.grid);
        let mut tensors: Vec<(String, Vec<usize>)> = vec![
            ("decoder_embed.weight".into(), vec![dim, encoder.dim]),
            ("decoder_embed.bias".into(), vec![dim]),
            ("mask_token".into(), vec![1, 1, dim]),
            ("decoder_pos_embed".into(), vec![1, places, dim]),
            ("decoder_norm.weight".into(), vec![dim]),
            ("decoder_norm.bias".into(), vec![dim]),
            ("decoder_pred.weight".into(), vec![patch_len(encoder), dim]),
            ("decoder_pred.bias".into(), vec![patch_len(encoder)]),
        ];
        let blocks = self.transformer(encoder).tensors().into_iter();
        let blocks = blocks.filter(|(name, _)| name.starts_with("blocks."));
        tensors.extend(blocks.map(|(name, shape)| (format!("decoder_{name}"), shape)));
        tensors
    }
}

/// Numbers of one patch.
pub fn patch_len(encoder: &Architecture) -> usize {
    3 * encoder.patch * encoder.patch
}

/// Builds the network of pre-training at the encoder's native size, for one image of which `seen` patches are seen.
///
/// Inputs: `patches` `[seen, 3 patch patch]`, the normalised pixels of the patches that are seen, channels first as the patch
/// embedding takes them; `places` `[seen, patches]`, 1 where a row's patch stands in the image; `masked` `[patches, 1]`, 1 for
/// patches that are not seen. Output: `pixels` `[patches, patch patch 3]`, channels last as the official decoder predicts them.
/// The encoder's weights are below `encoder.`, the decoder's below `pretraining.`.
///
/// # Errors
/// When the numbers do not make a network.
pub fn graph(architecture: &Architecture, decoder: &Decoder, seen: usize) -> Result<Graph, BuildError> {
    decoder.validate().map_err(BuildError::Decoder)?;
    let patches = architecture.grid * architecture.grid;
    let mut builder = GraphBuilder::new("pretraining");
    let pixels = builder.input("patches", &[seen, patch_len(architecture)]);
    let places = builder.input("places", &[seen, patches]);
    let masked = builder.input("masked", &[patches, 1]);
    let x = embed(&mut builder, architecture, pixels, places)?;
    let latent = encode(&mut builder, architecture, x, seen)?;
    let x = restore(&mut builder, architecture, decoder, latent, places, masked)?;
    let painted = decode(&mut builder, architecture, decoder, x)?;
    builder.output("pixels", painted);
    Ok(builder.finish())
}

/// Class tokens and the seen patches, each with its position.
fn embed(
    builder: &mut GraphBuilder,
    architecture: &Architecture,
    pixels: ValueId,
    places: ValueId,
) -> Result<ValueId, GraphError> {
    let (dim, patch) = (architecture.dim, architecture.patch);
    let mut scope = Scope::new(builder, "encoder");
    let kernel = scope.weight("patch_embed.proj.weight", &[dim, 3, patch, patch]);
    let shape = vec![dim, patch_len(architecture)];
    let matrix = scope.node("patch_embed.matrix", Op::Reshape { shape }, &[kernel])?;
    let bias = scope.weight("patch_embed.proj.bias", &[dim]);
    let tokens = scope.node("patch_embed.proj", Op::Linear, &[pixels, matrix, bias])?;
    let class = scope.weight("cls_token", &[1, architecture.class_tokens, dim]);
    let shape = vec![architecture.class_tokens, dim];
    let class = scope.node("cls_tokens", Op::Reshape { shape }, &[class])?;
    let (class_positions, patch_positions) = positions(&mut scope, "pos_embed", architecture, dim)?;
    let class = scope.node("cls_tokens.position", Op::Add, &[class, class_positions])?;
    let seen_positions = scope.node("pos_embed.seen", Op::MatMul, &[places, patch_positions])?;
    let placed = scope.node("patch_embed.position", Op::Add, &[tokens, seen_positions])?;
    scope.node("tokens", Op::Concat { axis: 0 }, &[class, placed])
}

/// A learnt position embedding `[1, class tokens + patches, dim]` as two matrices.
fn positions(
    scope: &mut Scope<'_>,
    name: &str,
    architecture: &Architecture,
    dim: usize,
) -> Result<(ValueId, ValueId), GraphError> {
    let classes = architecture.class_tokens;
    let all = classes + architecture.grid * architecture.grid;
    let stored = scope.weight(name, &[1, all, dim]);
    let matrix = scope.node(&format!("{name}.matrix"), Op::Reshape { shape: vec![all, dim] }, &[stored])?;
    let mut rows = |part: &str, start, end| {
        scope.node(&format!("{name}.{part}"), Op::Slice { axis: 0, start, end }, &[matrix])
    };
    Ok((rows("class", 0, classes)?, rows("patches", classes, all)?))
}

fn encode(
    builder: &mut GraphBuilder,
    architecture: &Architecture,
    mut x: ValueId,
    seen: usize,
) -> Result<ValueId, GraphError> {
    let encoder = Encoder { place: "encoder", architecture, tokens: architecture.class_tokens + seen };
    for block in 0..architecture.blocks {
        x = encoder.block(&mut Scope::new(builder, format!("encoder.blocks.{block}")), x)?;
    }
    Scope::new(builder, "encoder").layer_norm("norm", x, architecture.layer_norm_epsilon)
}

/// The decoder's tokens at every place: what was seen where it was seen, the mask token elsewhere, and positions.
fn restore(
    builder: &mut GraphBuilder,
    architecture: &Architecture,
    decoder: &Decoder,
    latent: ValueId,
    places: ValueId,
    masked: ValueId,
) -> Result<ValueId, GraphError> {
    let (dim, classes) = (decoder.dim, architecture.class_tokens);
    let mut scope = Scope::new(builder, "pretraining");
    let embedded = scope.linear("decoder_embed", latent, dim)?;
    let all = scope.shape(embedded)[0];
    let class = scope.node("class", Op::Slice { axis: 0, start: 0, end: classes }, &[embedded])?;
    let seen = scope.node("seen", Op::Slice { axis: 0, start: classes, end: all }, &[embedded])?;
    let back = scope.node("places.back", Op::Transpose { order: vec![1, 0] }, &[places])?;
    let seen = scope.node("seen.restored", Op::MatMul, &[back, seen])?;
    let mask = scope.weight("mask_token", &[1, 1, dim]);
    let mask = scope.node("mask_token.row", Op::Reshape { shape: vec![1, dim] }, &[mask])?;
    let hidden = scope.node("masked.tokens", Op::MatMul, &[masked, mask])?;
    let patches = scope.node("patches", Op::Add, &[seen, hidden])?;
    let (class_positions, patch_positions) = positions(&mut scope, "decoder_pos_embed", architecture, dim)?;
    let class = scope.node("class.position", Op::Add, &[class, class_positions])?;
    let patches = scope.node("patches.position", Op::Add, &[patches, patch_positions])?;
    scope.node("tokens", Op::Concat { axis: 0 }, &[class, patches])
}

fn decode(
    builder: &mut GraphBuilder,
    architecture: &Architecture,
    decoder: &Decoder,
    mut x: ValueId,
) -> Result<ValueId, GraphError> {
    let transformer = decoder.transformer(architecture);
    let (classes, all) = (architecture.class_tokens, builder.shape(x)[0]);
    let blocks = Encoder { place: "pretraining", architecture: &transformer, tokens: all };
    for block in 0..decoder.blocks {
        x = blocks.block(&mut Scope::new(builder, format!("pretraining.decoder_blocks.{block}")), x)?;
    }
    let mut scope = Scope::new(builder, "pretraining");
    let x = scope.layer_norm("decoder_norm", x, architecture.layer_norm_epsilon)?;
    let patches = scope.node("painted", Op::Slice { axis: 0, start: classes, end: all }, &[x])?;
    scope.linear("decoder_pred", patches, patch_len(architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_tensor_of_encoder_and_decoder_once() {
        let architecture = Architecture { grid: 8, ..Architecture::named("pixio-tiny16").unwrap() };
        let decoder = Decoder { dim: 64, blocks: 2, heads: 2 };
        let graph = graph(&architecture, &decoder, 16).unwrap();
        let mut named: Vec<_> =
            graph.constants().iter().filter(|constant| !constant.name.ends_with("attention_scale")).collect();
        named.sort_by(|a, b| a.name.cmp(&b.name));
        let below = |prefix: &str, (name, shape): (String, Vec<usize>)| (format!("{prefix}.{name}"), shape);
        let mut expected: Vec<_> = architecture.tensors().into_iter().map(|t| below("encoder", t)).collect();
        expected.extend(decoder.tensors(&architecture).into_iter().map(|t| below("pretraining", t)));
        expected.sort();
        let came: Vec<_> = named.iter().map(|c| (c.name.clone(), graph.shape(c.value).to_vec())).collect();
        assert_eq!(came, expected);
        assert_eq!(graph.outputs()[0].0.shape, [64, 768]);
        let error = super::graph(&architecture, &Decoder { heads: 3, ..decoder }, 16).unwrap_err();
        assert_eq!(error.to_string(), "decoder: heads: expected a divisor of dim 64, got 3");
    }
}
