//! Features: the encoder's tokens.

/// Tokens of one tap: class tokens, then patches row by row, each of `dim` numbers, after the final LayerNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    /// Block that the tokens were taken after, counted from 0.
    pub block: usize,
    /// Number of class tokens.
    pub class_tokens: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub columns: usize,
    /// Width of a token.
    pub dim: usize,
    /// Side of a patch in network pixels.
    pub patch: usize,
    /// Which encoder made them: features of two encoders are not comparable.
    pub encoder_id: String,
    /// `(class_tokens + rows * columns) * dim` numbers.
    values: Vec<f32>,
}

impl FeatureMap {
    /// Room for the tokens of one tap, zero until they come.
    pub(crate) fn zeros(block: usize, grid: (usize, usize), model: &network::Manifest) -> Self {
        let (rows, columns) = grid;
        let architecture = &model.architecture;
        let (class_tokens, dim) = (architecture.class_tokens, architecture.dim);
        let values = vec![0.0; (class_tokens + rows * columns) * dim];
        let (patch, encoder_id) = (architecture.patch, model.encoder_id.clone());
        Self { block, class_tokens, rows, columns, dim, patch, encoder_id, values }
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Class tokens, one after another.
    pub fn class(&self) -> &[f32] {
        &self.values[..self.class_tokens * self.dim]
    }

    /// Patch tokens, row by row.
    pub fn patches(&self) -> &[f32] {
        &self.values[self.class_tokens * self.dim..]
    }
}
