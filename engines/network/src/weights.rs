//! Named tensors of a model, mapped from a file or held in memory.

/// Named tensors of a model.
#[derive(Debug)]
pub struct Weights {}

/// Why weights could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {}
