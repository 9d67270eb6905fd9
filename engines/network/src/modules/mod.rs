//! The modules of a network, each defined once on a [`GraphBuilder`].

pub mod depth;
pub mod dpt;
pub mod encoder;
mod position;

use crate::graph::{GraphBuilder, GraphError, Op, ValueId};
use crate::{WeightsError, manifest::HeadKind};

/// Why a network could not be built from a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The input size does not suit the architecture.
    #[error("input size: {0}")]
    Size(String),
    /// No such head in the bundle.
    #[error("expected a head among {known:?}, got {asked:?}")]
    NoSuchHead {
        /// What was asked for.
        asked: String,
        /// The heads that the bundle has.
        known: Vec<String>,
    },
    /// The definition does not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight is missing or has another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Where a module stands: the graph under construction, where its weights are, and the name of the place.
pub(crate) struct Scope<'g> {
    builder: &'g mut GraphBuilder,
    prefix: String,
}

impl<'g> Scope<'g> {
    pub(crate) fn new(builder: &'g mut GraphBuilder, prefix: impl Into<String>) -> Self {
        Self { builder, prefix: prefix.into() }
    }

    /// The scope of a part of this module.
    fn within(&mut self, name: &str) -> Scope<'_> {
        let prefix = self.path(name);
        Scope { builder: self.builder, prefix }
    }

    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    fn shape(&self, value: ValueId) -> &[usize] {
        self.builder.shape(value)
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let path = self.path(name);
        self.builder.weight(path, shape)
    }

    fn node(&mut self, name: &str, op: Op, operands: &[ValueId]) -> Result<ValueId, GraphError> {
        let path = self.path(name);
        self.builder.node(path, op, operands)
    }

    /// A fully connected layer with bias over a matrix.
    fn linear(&mut self, name: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        let inner = self.shape(x).last().copied().unwrap_or(0);
        let weight = self.weight(&format!("{name}.weight"), &[out, inner]);
        let bias = self.weight(&format!("{name}.bias"), &[out]);
        self.node(name, Op::Linear, &[x, weight, bias])
    }

    fn layer_norm(&mut self, name: &str, x: ValueId, epsilon: f32) -> Result<ValueId, GraphError> {
        let dim = self.shape(x).last().copied().unwrap_or(0);
        let scale = self.weight(&format!("{name}.weight"), &[dim]);
        let bias = self.weight(&format!("{name}.bias"), &[dim]);
        self.node(name, Op::LayerNorm { epsilon }, &[x, scale, bias])
    }

    /// A square convolution with bias.
    fn conv(&mut self, name: &str, x: ValueId, out: usize, kernel: Kernel) -> Result<ValueId, GraphError> {
        let inner = self.shape(x).get(1).copied().unwrap_or(0);
        let weight = self.weight(&format!("{name}.weight"), &[out, inner, kernel.side, kernel.side]);
        let mut operands = vec![x, weight];
        if kernel.bias {
            operands.push(self.weight(&format!("{name}.bias"), &[out]));
        }
        self.node(name, Op::Conv { stride: kernel.stride, padding: kernel.padding }, &operands)
    }
}

/// A square convolution kernel.
#[derive(Clone, Copy)]
struct Kernel {
    side: usize,
    stride: usize,
    padding: usize,
    bias: bool,
}

impl Kernel {
    const ONE: Self = Self { side: 1, stride: 1, padding: 0, bias: true };
    const THREE: Self = Self { side: 3, stride: 1, padding: 1, bias: true };
}

/// Names and shapes of a head's tensors, as the official trainer keeps them below `head.`.
pub(crate) fn head_tensors(kind: &HeadKind, dim: usize) -> Vec<(String, Vec<usize>)> {
    match kind {
        HeadKind::LinearDepth {} => depth::linear_tensors(dim),
        HeadKind::DptDepth { features, out_channels } => dpt::tensors(dim, *features, out_channels),
    }
}
