//! The model bundle: the directory that is trained, shared, built and run.

use std::collections::BTreeMap;

use calibration::Size;
use serde::{Deserialize, Serialize};

/// An opened and verified bundle.
#[derive(Debug)]
pub struct Bundle {}

/// `model.toml`: everything about a model but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Input sizes with golden outputs, the first is the default; sides divide by the patch size.
    pub sizes: Vec<Size>,
    /// Heads by name.
    #[serde(default)]
    pub heads: BTreeMap<String, ()>,
}
