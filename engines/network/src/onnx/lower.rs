//! From a graph's operations to ONNX nodes of opset 18.

use std::collections::{BTreeSet, HashMap};

use super::schema::{self, Attribute, Model, Node, OperatorSet, Tensor, Value};
use super::{initializer_name, int8};
use crate::graph::{self, Graph, Network, Op, ValueId};
use crate::precision::{Number, Typing};

/// Both TensorRT 10 and ONNX Runtime read it; LayerNormalization came with 17.
const OPSET: i64 = 18;

/// ONNX Runtime's own operators, and their version.
const CONTRIB: (&str, i64) = ("com.microsoft", 1);

/// The IR version that came with ONNX 1.13, as opset 18 did.
const IR_VERSION: i64 = 8;

/// The whole model around initializers for the graph's constants; the nodes of `in_int8` take their products in 8 bits.
pub(super) fn model(
    network: &Network,
    typing: &Typing,
    initializers: Vec<Tensor>,
    in_int8: &BTreeSet<usize>,
) -> Model {
    let graph = network.graph();
    let mut lowering = Lowering::new(graph, typing, initializers);
    for (index, (node, number)) in graph.nodes().iter().zip(typing.numbers()).enumerate() {
        if in_int8.contains(&index) { lowering.linear_in_int8(node) } else { lowering.lower(node, *number) }
    }
    lowering.deliver();
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
        opset_import: operators(!in_int8.is_empty()),
    }
}

/// The sets of operators that a file uses.
fn operators(contrib: bool) -> Vec<OperatorSet> {
    let sets = [("", OPSET)].into_iter().chain(contrib.then_some(CONTRIB));
    sets.map(|(domain, version)| OperatorSet { domain: domain.to_owned(), version }).collect()
}

struct Lowering<'g> {
    graph: &'g Graph,
    /// ONNX name and format of every value; constants have a name in each format, see [`Lowering::operand`].
    names: Vec<(String, Number)>,
    constants: HashMap<ValueId, &'g str>,
    /// Values that were cast, so that each is cast once.
    casts: HashMap<(ValueId, Number), String>,
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, typing: &Typing, initializers: Vec<Tensor>) -> Self {
        let mut names = vec![(String::new(), Number::Fp32); graph.value_count()];
        for (node, number) in graph.nodes().iter().zip(typing.numbers()) {
            names[node.result.index()] = (node.name.clone(), *number);
        }
        for (port, value) in graph.inputs() {
            names[value.index()].0.clone_from(&port.name);
        }
        // An output in float32 takes its port's name; another is cast to it at the end.
        for (port, value) in graph.outputs() {
            let (name, number) = &mut names[value.index()];
            if *number == Number::Fp32 {
                name.clone_from(&port.name);
            }
        }
        let constants = graph.constants().iter().map(|c| (c.value, c.name.as_str())).collect();
        Self { graph, names, constants, casts: HashMap::new(), nodes: Vec::new(), initializers }
    }

    fn name(&self, value: ValueId) -> String {
        self.names[value.index()].0.clone()
    }

    /// The name under which a value is there in a format; casts it if need be.
    fn operand(&mut self, value: ValueId, number: Number) -> String {
        if let Some(constant) = self.constants.get(&value) {
            return initializer_name(constant, number);
        }
        let (name, own) = self.names[value.index()].clone();
        if own == number {
            return name;
        }
        if let Some(cast) = self.casts.get(&(value, number)) {
            return cast.clone();
        }
        let cast = format!("{name}.{}", suffix(number));
        self.cast(name, cast.clone(), number);
        self.casts.insert((value, number), cast.clone());
        cast
    }

    fn cast(&mut self, from: String, to: String, number: Number) {
        let kind = Value::Int(i64::from(schema::data_type(number)));
        self.push(&to.clone(), "Cast", vec![from], to, vec![("to", kind)]);
    }

    /// Casts the outputs that are not float32 to their ports.
    fn deliver(&mut self) {
        for (port, value) in self.graph.outputs() {
            let (name, number) = self.names[value.index()].clone();
            if number != Number::Fp32 {
                self.cast(name, port.name.clone(), Number::Fp32);
            }
        }
    }

    fn lower(&mut self, node: &graph::Node, number: Number) {
        let operand_shapes: Vec<_> = node.operands.iter().map(|value| self.graph.shape(*value)).collect();
        let form = form(&node.op, &operand_shapes);
        let mut inputs: Vec<_> = node.operands.iter().map(|value| self.operand(*value, number)).collect();
        match form {
            Form::Gelu => self.gelu(node, inputs.remove(0), number),
            Form::Resize => self.resize(node, inputs.remove(0)),
            Form::Node { op_type, attributes, integers } => {
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
        self.nodes.push(Node {
            input,
            output: vec![output],
            name,
            op_type,
            attribute,
            domain: String::new(),
        });
    }

    /// A linear layer whose weight is there as integers, see [`int8`].
    fn linear_in_int8(&mut self, node: &graph::Node) {
        let [x, weight, bias] = [0, 1, 2].map(|at| self.operand(node.operands[at], Number::Fp32));
        let input = [vec![x], int8::names(&weight).into(), vec![bias]].concat();
        self.push(&node.name, "DynamicQuantizeMatMul", input, self.name(node.result), vec![]);
        if let Some(pushed) = self.nodes.last_mut() {
            pushed.domain = CONTRIB.0.to_owned();
        }
    }

    /// `x * (1 + erf(x / sqrt 2)) * 0.5`, the form that both ONNX Runtime and TensorRT fuse.
    fn gelu(&mut self, node: &graph::Node, x: String, number: Number) {
        let constants = [("gelu.sqrt2", std::f32::consts::SQRT_2), ("gelu.one", 1.0), ("gelu.half", 0.5)];
        let [sqrt2, one, half] = constants.map(|(name, value)| {
            let name = initializer_name(name, number);
            if !self.initializers.iter().any(|tensor| tensor.name == name) {
                let raw_data = Some(super::bytes(number, &[value]));
                self.initializers.push(Tensor { raw_data, ..schema::tensor(&name, &[], number) });
            }
            name
        });
        let result = self.name(node.result);
        let at = |step: &str| format!("{}.{step}", node.name);
        let mut step = |name: &str, op_type: &str, inputs: Vec<String>, output: String| {
            self.push(name, op_type, inputs, output, vec![]);
        };
        step(&at("div"), "Div", vec![x.clone(), sqrt2], at("div"));
        step(&at("erf"), "Erf", vec![at("div")], at("erf"));
        step(&at("add"), "Add", vec![at("erf"), one], at("add"));
        step(&at("mul"), "Mul", vec![x, at("add")], at("mul"));
        step(&node.name, "Mul", vec![at("mul"), half], result);
    }

    fn resize(&mut self, node: &graph::Node, x: String) {
        let sizes = self.graph.shape(node.result).to_vec();
        let name = format!("{}.sizes", node.name);
        self.initializers.push(schema::integers(&name, &sizes));
        let inputs = vec![x, String::new(), String::new(), name];
        let attributes = vec![
            ("mode", Value::Text("linear")),
            ("coordinate_transformation_mode", Value::Text("align_corners")),
        ];
        self.push(&node.name, "Resize", inputs, self.name(node.result), attributes);
    }
}

/// What a name gets that stands for a value in another format.
pub(super) fn suffix(number: Number) -> &'static str {
    match number {
        Number::Fp32 => "fp32",
        Number::Fp16 => "fp16",
        Number::Bf16 => "bf16",
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
        Op::Sqrt => node("Sqrt", vec![]),
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
