//! Training: the networks' own graphs run forward and backward on the CPU.
//!
//! A network is defined once, as a [`network::Graph`]; a [`Program`] interprets that same graph on batches, with gradients,
//! so that what is trained is what is exported. There is no tape of a general autodiff library: some 25 operations
//! have their gradients in `ops/`, each tested against PyTorch, and products run through `matrixmultiply`.

pub mod dense;
mod error;
pub mod features;
mod lanes;
pub mod learner;
pub mod loss;
mod matrix;
pub mod metrics;
pub mod numbers;
mod ops;
pub mod optimiser;
mod parameters;
pub mod points;
pub mod policy;
pub mod pretrain;
mod program;
pub mod state;
pub mod step;

pub use error::TrainingError;
pub use learner::{Learner, Learning, Task};
pub use numbers::Numbers;
pub use parameters::{Parameter, Parameters, fresh};
pub use program::{Gradients, Mode, Program, RunningStatistics, Trace};
