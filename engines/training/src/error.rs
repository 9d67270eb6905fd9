//! Why training stopped.

use std::path::PathBuf;

use network::WeightsError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// Something has another number of values than the network takes.
    #[error("{network}: {what}: expected {expected}, got {came}")]
    Misfit {
        /// The network.
        network: String,
        /// Which input, output or operand.
        what: String,
        /// How many it takes.
        expected: usize,
        /// How many came.
        came: usize,
    },
    /// A parameter is missing or has another shape.
    #[error("parameter {name}: expected shape {expected:?}, got {came:?}")]
    Parameter {
        /// Canonical name.
        name: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// What is there, if anything.
        came: Option<Vec<usize>>,
    },
    /// The loss is no number any more.
    #[error(
        "step {step}: the loss is {loss}; expected a finite number: lower the learning rate, or look for bad samples"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// What the loss became.
        loss: f64,
    },
    /// There is nothing to train on.
    #[error("{0}")]
    Data(String),
    /// The run's file is damaged, or of another run.
    #[error("{}: {reason}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A weight could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
