//! The numbers that define a Pixio encoder.

use calibration::Size;
use serde::{Deserialize, Serialize};

/// The numbers that define a Pixio encoder (arXiv 2512.15715).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Width of a token.
    pub dim: usize,
    /// Number of transformer blocks.
    pub blocks: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Hidden width of each block's MLP.
    pub mlp_hidden: usize,
    /// Class tokens, which come before the patch tokens.
    pub class_tokens: usize,
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Side of the learned position grid, in patches (16 for the published models: 256 pixels).
    pub grid: usize,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_epsilon: f32,
}

/// Name, dim, blocks and heads of the published sizes.
const PUBLISHED: [(&str, usize, usize, usize); 5] = [
    ("pixio-b16", 768, 12, 12),
    ("pixio-l16", 1024, 24, 16),
    ("pixio-h16", 1280, 32, 16),
    ("pixio-1b16", 1536, 48, 24),
    ("pixio-5b16", 3072, 48, 32),
];

/// A model so small that it serves only demonstrations and tests.
const TINY: (&str, usize, usize, usize) = ("pixio-tiny16", 96, 4, 3);

impl Architecture {
    /// The architecture of a published model, or of `pixio-tiny16`.
    pub fn named(name: &str) -> Option<Self> {
        let all = PUBLISHED.iter().chain([&TINY]);
        let (_, dim, blocks, heads) = *all.into_iter().find(|known| known.0 == name)?;
        Some(Self {
            dim,
            blocks,
            heads,
            mlp_hidden: 4 * dim,
            class_tokens: 8,
            patch: 16,
            grid: 16,
            layer_norm_epsilon: 1e-6,
        })
    }

    /// Names that [`Architecture::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PUBLISHED.iter().chain([&TINY]).map(|known| known.0)
    }

    /// Attention heads of the published model of this width and depth: a state dict does not say them.
    pub fn published_heads(dim: usize, blocks: usize) -> Option<usize> {
        PUBLISHED.iter().find(|known| (known.1, known.2) == (dim, blocks)).map(|known| known.3)
    }

    /// Rows and columns of patches of an image.
    ///
    /// # Errors
    /// When a side is zero or does not divide by the patch.
    pub fn patches(&self, size: Size) -> Result<(usize, usize), String> {
        let fits = |side: usize| side > 0 && side.is_multiple_of(self.patch);
        if fits(size.width) && fits(size.height) {
            return Ok((size.height / self.patch, size.width / self.patch));
        }
        Err(format!(
            "expected an input size whose sides divide by the patch of {} pixels, got {size}",
            self.patch
        ))
    }

    /// Tokens of an image: class tokens, then patches row by row.
    ///
    /// # Errors
    /// As [`Architecture::patches`].
    pub fn tokens(&self, size: Size) -> Result<usize, String> {
        self.patches(size).map(|(rows, columns)| self.class_tokens + rows * columns)
    }

    /// Checks that the numbers make an encoder at all, before anything is computed from them.
    ///
    /// # Errors
    /// The first number that does not fit, with what was expected.
    pub fn validate(&self) -> Result<(), String> {
        let bounds = [
            ("dim", self.dim, 1 << 16),
            ("blocks", self.blocks, 1 << 10),
            ("heads", self.heads, 1 << 10),
            ("mlp_hidden", self.mlp_hidden, 1 << 18),
            ("class_tokens", self.class_tokens, 1 << 10),
            ("patch", self.patch, 1 << 8),
            ("grid", self.grid, 1 << 10),
        ];
        if let Some((name, came, most)) = bounds.into_iter().find(|(_, came, most)| *came == 0 || came > most)
        {
            return Err(format!("{name}: expected 1 to {most}, got {came}"));
        }
        if !self.dim.is_multiple_of(self.heads) {
            return Err(format!("heads: expected a divisor of dim {}, got {}", self.dim, self.heads));
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return Err(format!("layer_norm_epsilon: expected 0 to 1, got {}", self.layer_norm_epsilon));
        }
        Ok(())
    }

    /// Names and shapes of the encoder's tensors, as the official state dict has them.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (d, hidden) = (self.dim, self.mlp_hidden);
        let mut tensors: Vec<(String, Vec<usize>)> = vec![
            ("cls_token".into(), vec![1, self.class_tokens, d]),
            ("pos_embed".into(), vec![1, self.class_tokens + self.grid * self.grid, d]),
            ("patch_embed.proj.weight".into(), vec![d, 3, self.patch, self.patch]),
            ("patch_embed.proj.bias".into(), vec![d]),
            ("norm.weight".into(), vec![d]),
            ("norm.bias".into(), vec![d]),
        ];
        let block: [(&str, Vec<usize>); 12] = [
            ("norm1.weight", vec![d]),
            ("norm1.bias", vec![d]),
            ("attn.qkv.weight", vec![3 * d, d]),
            ("attn.qkv.bias", vec![3 * d]),
            ("attn.proj.weight", vec![d, d]),
            ("attn.proj.bias", vec![d]),
            ("norm2.weight", vec![d]),
            ("norm2.bias", vec![d]),
            ("mlp.fc1.weight", vec![hidden, d]),
            ("mlp.fc1.bias", vec![hidden]),
            ("mlp.fc2.weight", vec![d, hidden]),
            ("mlp.fc2.bias", vec![d]),
        ];
        for index in 0..self.blocks {
            let named = block.iter().map(|(name, shape)| (format!("blocks.{index}.{name}"), shape.clone()));
            tensors.extend(named);
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Millions of parameters of the published models (facebookresearch/pixio README).
    #[test]
    fn published_sizes_have_their_parameter_counts() {
        for (name, millions) in [
            ("pixio-b16", 86),
            ("pixio-l16", 303),
            ("pixio-h16", 631),
            ("pixio-1b16", 1362),
            ("pixio-5b16", 5441),
        ] {
            let tensors = Architecture::named(name).unwrap().tensors();
            let count: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert!((count as f64 / 1e6 - f64::from(millions)).abs() < 1.0, "{name}: {count}");
        }
    }

    #[test]
    fn sizes_divide_by_the_patch() {
        let tiny = Architecture::named("pixio-tiny16").unwrap();
        assert_eq!(tiny.tokens(Size { width: 48, height: 32 }), Ok(8 + 6));
        assert!(tiny.tokens(Size { width: 50, height: 32 }).is_err());
        assert!(tiny.tokens(Size { width: 0, height: 32 }).is_err());
    }
}
