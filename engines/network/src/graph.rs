//! The graph of a network: operations with static shapes and named weights.

use std::sync::Arc;

use crate::Weights;

/// A named input or output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name in the ONNX file and in errors.
    pub name: String,
    /// Static shape, batch first.
    pub shape: Vec<usize>,
}

/// Operations, values and weights of one network, in an order in which they can run.
#[derive(Clone, Debug)]
pub struct Graph {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// A graph with the weights it names: what an engine loads.
#[derive(Clone, Debug)]
pub struct Network {
    graph: Graph,
    weights: Arc<Weights>,
}

impl Network {
    /// Name, for errors and file names: `backbone`, or the head's.
    pub fn name(&self) -> &str {
        &self.graph.name
    }

    /// Inputs in the order in which an engine binds them.
    pub fn inputs(&self) -> &[Port] {
        &self.graph.inputs
    }

    /// Outputs in the order in which an engine returns them.
    pub fn outputs(&self) -> &[Port] {
        &self.graph.outputs
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The weights that the graph names.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }
}
