//! From a graph's operations to ONNX nodes of opset 18.

use super::schema::{self, Attribute, Model, Node, OperatorSet, Tensor, Value};
use crate::graph::{self, Graph, Network, Op, ValueId};

/// Both TensorRT 10 and ONNX Runtime read it; LayerNormalization came with 17.
const OPSET: i64 = 18;

/// The IR version that came with ONNX 1.13, as opset 18 did.
const IR_VERSION: i64 = 8;

/// The whole model around initializers for the graph's constants.
pub(super) fn model(network: &Network, initializers: Vec<Tensor>) -> Model {
    let graph = network.graph();
    let mut lowering = Lowering::new(graph, initializers);
    graph.nodes().iter().for_each(|node| lowering.lower(node));
    let port = |port: &graph::Port| schema::value_info(&port.name, &port.shape);
    let graph = schema::Graph {
        node: lowering.nodes,
        name: network.name().to_owned(),
        initializer: lowering.initializers,
        input: network.inputs().iter().map(port).collect(),
        output: network.outputs().iter().map(port).collect(),
    };
    Model {
        ir_version: IR_VERSION,
        producer_name: "pixio".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    }
}

struct Lowering<'g> {
    graph: &'g Graph,
    /// ONNX name of every value.
    names: Vec<String>,
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, initializers: Vec<Tensor>) -> Self {
        let mut names = vec![String::new(); graph.value_count()];
        graph.nodes().iter().for_each(|node| names[node.result.index()].clone_from(&node.name));
        graph
            .constants()
            .iter()
            .for_each(|constant| names[constant.value.index()].clone_from(&constant.name));
        let ports = graph.inputs().iter().chain(graph.outputs());
        ports.for_each(|(port, value)| names[value.index()].clone_from(&port.name));
        Self { graph, names, nodes: Vec::new(), initializers }
    }

    fn name(&self, value: ValueId) -> String {
        self.names[value.index()].clone()
    }

    fn lower(&mut self, node: &graph::Node) {
        let operand_shapes: Vec<_> = node.operands.iter().map(|value| self.graph.shape(*value)).collect();
        match form(&node.op, &operand_shapes) {
            Form::Gelu => self.gelu(node),
            Form::Resize => self.resize(node),
            Form::Node { op_type, attributes, integers } => {
                let mut inputs: Vec<_> = node.operands.iter().map(|value| self.name(*value)).collect();
                for (suffix, values) in integers {
                    let name = format!("{}.{suffix}", node.name);
                    self.initializers.push(schema::integers(&name, &values));
                    inputs.push(name);
                }
                self.push(&node.name, op_type, inputs, self.name(node.result), attributes);
            }
        }
    }

    fn push(
        &mut self,
        name: &str,
        op_type: &str,
        input: Vec<String>,
        output: String,
        attributes: Vec<(&str, Value<'_>)>,
    ) {
        let attribute = attributes.into_iter().map(Attribute::from).collect();
        let (name, op_type) = (name.to_owned(), op_type.to_owned());
        self.nodes.push(Node { input, output: vec![output], name, op_type, attribute });
    }

    /// `x * (1 + erf(x / sqrt 2)) * 0.5`, the form that both ONNX Runtime and TensorRT fuse.
    fn gelu(&mut self, node: &graph::Node) {
        let constants = [("gelu.sqrt2", std::f32::consts::SQRT_2), ("gelu.one", 1.0), ("gelu.half", 0.5)];
        for (name, value) in constants {
            if !self.initializers.iter().any(|tensor| tensor.name == name) {
                let raw_data = Some(value.to_le_bytes().to_vec());
                self.initializers.push(Tensor { raw_data, ..schema::tensor(name, &[]) });
            }
        }
        let (x, result) = (self.name(node.operands[0]), self.name(node.result));
        let at = |step: &str| format!("{}.{step}", node.name);
        let mut step = |name: &str, op_type: &str, inputs: Vec<String>, output: String| {
            self.push(name, op_type, inputs, output, vec![]);
        };
        step(&at("div"), "Div", vec![x.clone(), "gelu.sqrt2".into()], at("div"));
        step(&at("erf"), "Erf", vec![at("div")], at("erf"));
        step(&at("add"), "Add", vec![at("erf"), "gelu.one".into()], at("add"));
        step(&at("mul"), "Mul", vec![x, at("add")], at("mul"));
        step(&node.name, "Mul", vec![at("mul"), "gelu.half".into()], result);
    }

    fn resize(&mut self, node: &graph::Node) {
        let sizes = self.graph.shape(node.result).to_vec();
        let name = format!("{}.sizes", node.name);
        self.initializers.push(schema::integers(&name, &sizes));
        let inputs = vec![self.name(node.operands[0]), String::new(), String::new(), name];
        let attributes = vec![
            ("mode", Value::Text("linear")),
            ("coordinate_transformation_mode", Value::Text("align_corners")),
        ];
        self.push(&node.name, "Resize", inputs, self.name(node.result), attributes);
    }
}

type Attributes = Vec<(&'static str, Value<'static>)>;

/// How an operation looks in ONNX.
enum Form {
    /// One node; `integers` are operands that ONNX wants as tensors.
    Node { op_type: &'static str, attributes: Attributes, integers: Vec<(&'static str, Vec<usize>)> },
    /// Several nodes.
    Gelu,
    /// A node with absent operands.
    Resize,
}

fn form(op: &Op, operand_shapes: &[&[usize]]) -> Form {
    let node = |op_type, attributes: Attributes| Form::Node { op_type, attributes, integers: vec![] };
    let shaped = |op_type, attributes, integers| Form::Node { op_type, attributes, integers };
    match op {
        Op::MatMul => node("MatMul", vec![]),
        Op::Linear => node("Gemm", vec![("transB", Value::Int(1))]),
        Op::Add => node("Add", vec![]),
        Op::Sub => node("Sub", vec![]),
        Op::Mul => node("Mul", vec![]),
        Op::Div => node("Div", vec![]),
        Op::LayerNorm { epsilon } => {
            node("LayerNormalization", vec![("axis", Value::Int(-1)), ("epsilon", Value::Float(*epsilon))])
        }
        Op::BatchNorm { epsilon } => node("BatchNormalization", vec![("epsilon", Value::Float(*epsilon))]),
        Op::Softmax => node("Softmax", vec![("axis", Value::Int(-1))]),
        Op::Gelu => Form::Gelu,
        Op::Relu => node("Relu", vec![]),
        Op::Sigmoid => node("Sigmoid", vec![]),
        Op::Tanh => node("Tanh", vec![]),
        Op::Exp => node("Exp", vec![]),
        Op::Transpose { order } => node("Transpose", vec![("perm", Value::Ints(signed(order)))]),
        Op::Reshape { shape } => shaped("Reshape", vec![], vec![("shape", shape.clone())]),
        Op::Expand { shape } => shaped("Expand", vec![], vec![("shape", shape.clone())]),
        Op::Concat { axis } => node("Concat", vec![("axis", Value::Int(*axis as i64))]),
        Op::Slice { axis, start, end } => {
            shaped("Slice", vec![], vec![("start", vec![*start]), ("end", vec![*end]), ("axis", vec![*axis])])
        }
        Op::Mean { axis } => {
            shaped("ReduceMean", vec![("keepdims", Value::Int(1))], vec![("axes", vec![*axis])])
        }
        Op::Conv { stride, padding } => node("Conv", window(operand_shapes[1], *stride, *padding)),
        Op::ConvTranspose { stride } => node("ConvTranspose", window(operand_shapes[1], *stride, 0)),
        Op::ResizeBilinear { .. } => Form::Resize,
    }
}

fn signed(values: &[usize]) -> Vec<i64> {
    values.iter().map(|value| *value as i64).collect()
}

/// Attributes of a convolution.
fn window(weight: &[usize], stride: usize, padding: usize) -> Attributes {
    vec![
        ("kernel_shape", Value::Ints(signed(&weight[2..]))),
        ("strides", Value::Ints(vec![stride as i64; 2])),
        ("pads", Value::Ints(vec![padding as i64; 4])),
    ]
}
