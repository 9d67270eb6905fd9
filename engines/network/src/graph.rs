//! The graph of a network: operations with static shapes and named weights.
//!
//! A graph is built by [`GraphBuilder`], which infers and checks every shape, and is read by passes: writing ONNX
//! ([`crate::onnx`]), choosing a precision, interpreting it for training.

use std::sync::Arc;

use crate::{Weights, WeightsError};

mod builder;
mod shapes;

pub use builder::{GraphBuilder, GraphError};

/// A named input or output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name in the ONNX file and in errors.
    pub name: String,
    /// Static shape, batch first.
    pub shape: Vec<usize>,
}

/// Names one value of a graph; only the graph's builder makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(usize);

impl ValueId {
    /// Position in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// What a node computes from its operands; all tensors are float32, axes count from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Matrix product over the last two axes, leading axes equal.
    MatMul,
    /// `x W^T + b` over the last axis of a matrix; `W` is `[out, in]` as PyTorch keeps it.
    Linear,
    /// Sum, with numpy's broadcasting.
    Add,
    /// Difference, with numpy's broadcasting.
    Sub,
    /// Product, with numpy's broadcasting.
    Mul,
    /// Quotient, with numpy's broadcasting.
    Div,
    /// Layer normalisation over the last axis: operands x, scale, bias.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Batch normalisation with fixed statistics: operands x, scale, bias, mean, variance.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Softmax over the last axis.
    Softmax,
    /// Exact GELU, `x (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `exp(x)`.
    Exp,
    /// Square root of a number that is not negative.
    Sqrt,
    /// Axes in a new order.
    Transpose {
        /// Which old axis stands at each new place.
        order: Vec<usize>,
    },
    /// The same values in another shape.
    Reshape {
        /// The new shape.
        shape: Vec<usize>,
    },
    /// Repeats axes of length 1.
    Expand {
        /// The new shape.
        shape: Vec<usize>,
    },
    /// Operands one after another along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// A range of one axis.
    Slice {
        /// The axis.
        axis: usize,
        /// First index kept.
        start: usize,
        /// First index no longer kept.
        end: usize,
    },
    /// Mean along one axis, which keeps length 1.
    Mean {
        /// The axis.
        axis: usize,
    },
    /// 2-D convolution: operands x `[n, in, h, w]`, weight `[out, in, kh, kw]` and perhaps a bias.
    Conv {
        /// Step in both directions, pixels.
        stride: usize,
        /// Zeros added on every side, pixels.
        padding: usize,
    },
    /// 2-D transposed convolution without padding: weight `[in, out, kh, kw]`, bias.
    ConvTranspose {
        /// Step in both directions, pixels.
        stride: usize,
    },
    /// Bilinear resize of the last two axes whose corner pixels stay at the corners (`align_corners=True`).
    ResizeBilinear {
        /// Rows of the result.
        height: usize,
        /// Columns of the result.
        width: usize,
    },
}

/// Where the numbers of a constant come from.
#[derive(Clone, Debug)]
pub enum Data {
    /// The tensor of the same name in the model's weights; read only when a pass needs it.
    Stored,
    /// Computed when the graph was built, for example the resized position embedding.
    Computed(Arc<[f32]>),
}

/// A constant operand.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Canonical name of the weight, or the name given to a computed constant.
    pub name: String,
    /// Where its numbers come from.
    pub data: Data,
    /// The value it defines.
    pub value: ValueId,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where in the network it stands, for example `blocks.0.attn.qkv`; unique.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its operands.
    pub operands: Vec<ValueId>,
    /// The value it defines.
    pub result: ValueId,
}

/// Operations, values and constants of one network, in an order in which they can run.
#[derive(Clone, Debug)]
pub struct Graph {
    name: String,
    shapes: Vec<Vec<usize>>,
    inputs: Vec<(Port, ValueId)>,
    outputs: Vec<(Port, ValueId)>,
    constants: Vec<Constant>,
    nodes: Vec<Node>,
}

impl Graph {
    /// Name, for errors and file names: `backbone`, or the head's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Inputs with the values they define.
    pub fn inputs(&self) -> &[(Port, ValueId)] {
        &self.inputs
    }

    /// Outputs with the values they take.
    pub fn outputs(&self) -> &[(Port, ValueId)] {
        &self.outputs
    }

    /// Constants, in the order in which they were first used.
    pub fn constants(&self) -> &[Constant] {
        &self.constants
    }

    /// Operations, in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Shape of a value of this graph.
    pub fn shape(&self, value: ValueId) -> &[usize] {
        &self.shapes[value.0]
    }

    /// Number of values.
    pub fn value_count(&self) -> usize {
        self.shapes.len()
    }
}

/// A graph with the weights it names: what an engine loads.
#[derive(Clone, Debug)]
pub struct Network {
    graph: Graph,
    weights: Arc<Weights>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Network {
    /// Joins a graph and the weights it names, which must all be there in the right shape.
    ///
    /// # Errors
    /// The first weight that is missing or has another shape.
    pub fn new(graph: Graph, weights: Arc<Weights>) -> Result<Self, WeightsError> {
        for constant in graph.constants.iter().filter(|constant| matches!(constant.data, Data::Stored)) {
            weights.check_shape(&constant.name, graph.shape(constant.value))?;
        }
        let ports = |named: &[(Port, ValueId)]| named.iter().map(|(port, _)| port.clone()).collect();
        Ok(Self { inputs: ports(&graph.inputs), outputs: ports(&graph.outputs), graph, weights })
    }

    /// Name, for errors and file names: `backbone`, or the head's.
    pub fn name(&self) -> &str {
        &self.graph.name
    }

    /// Inputs in the order in which an engine binds them.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Outputs in the order in which an engine returns them.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The weights that the graph names.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    /// The numbers of a constant of this network.
    ///
    /// # Errors
    /// When a stored weight cannot be read.
    pub fn read_constant(&self, constant: &Constant) -> Result<Arc<[f32]>, WeightsError> {
        match &constant.data {
            Data::Computed(values) => Ok(values.clone()),
            Data::Stored => {
                Ok(self.weights.read_f32(&constant.name, self.graph.shape(constant.value))?.into())
            }
        }
    }
}
