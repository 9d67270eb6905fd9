//! Choosing the number format of every operation: a pass over a graph.
//!
//! The result is written into the ONNX file as typed operations and casts, so that an engine which obeys the types (a
//! strongly typed TensorRT network, ONNX Runtime) has no choice left. Ports stay float32 at every precision: the seam
//! between engine and pipeline knows one format, and normalised tokens leave the backbone as LayerNorm made them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Node, Op, ValueId};

/// The format of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Number {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16: 11 bits of significand, magnitudes up to 65504.
    Fp16,
    /// The upper half of a binary32: 8 bits of significand, the range of binary32.
    Bf16,
}

/// What a network is asked to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// Everything in float32.
    Fp32,
    /// float16, but for what needs more: see [`Typing::new`].
    Fp16,
}

impl Precision {
    /// `fp32` or `fp16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = [Precision::Fp32, Precision::Fp16];
        let found = known.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| format!("expected fp32 or fp16, got {name:?}"))
    }
}

/// Operations that keep more than float16, by the manifest: patterns over node names such as
/// `encoder.blocks.11.attn.scores`, where `*` stands for any characters and a module's name for all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionSpec {
    /// Computed in float32.
    #[serde(default)]
    pub fp32: Vec<String>,
    /// Computed in bfloat16, unless `fp32` names them too.
    #[serde(default)]
    pub bf16: Vec<String>,
}

impl PrecisionSpec {
    /// Whether the manifest names nothing.
    pub fn is_empty(&self) -> bool {
        self.fp32.is_empty() && self.bf16.is_empty()
    }

    /// The patterns that name no operation of any of these graphs: misspelt, or of another model.
    pub fn unmatched(&self, graphs: &[&Graph]) -> Vec<String> {
        let matched = |pattern: &String| {
            graphs.iter().any(|graph| graph.nodes().iter().any(|node| names(pattern, &node.name)))
        };
        self.fp32.iter().chain(&self.bf16).filter(|pattern| !matched(pattern)).cloned().collect()
    }

    fn asked(&self, node: &str) -> Option<Number> {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| names(pattern, node));
        if listed(&self.fp32) {
            return Some(Number::Fp32);
        }
        listed(&self.bf16).then_some(Number::Bf16)
    }
}

/// Whether a pattern names a node: all of it, or the module that it stands in.
fn names(pattern: &str, node: &str) -> bool {
    let (mut pieces, mut rest) = (pattern.split('*'), node);
    let Some(after) = pieces.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = after;
    let mut open = false;
    for piece in pieces {
        open = piece.is_empty();
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    open || rest.is_empty() || rest.starts_with('.')
}

/// The number format in which each operation of one graph computes; its result has that format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typing {
    numbers: Vec<Number>,
    precision: Precision,
}

impl Typing {
    /// Types a graph. At `fp16` float32 is kept by LayerNorm and softmax, whose sums run over hundreds of terms, and by the
    /// last sum before each output with all that follows it: that is where metres are made. Operations that only
    /// move numbers take the format of what they move, so that nothing is cast for them.
    pub fn new(graph: &Graph, precision: Precision, spec: &PrecisionSpec) -> Self {
        let numbers = match precision {
            Precision::Fp32 => vec![Number::Fp32; graph.nodes().len()],
            Precision::Fp16 => fp16(graph, spec),
        };
        Self { numbers, precision }
    }

    /// What was asked for.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The format of each node of the graph, in its order.
    pub fn numbers(&self) -> &[Number] {
        &self.numbers
    }
}

fn fp16(graph: &Graph, spec: &PrecisionSpec) -> Vec<Number> {
    let producers = producers(graph);
    let last = last_sums(graph);
    let mut numbers: Vec<Number> = Vec::with_capacity(graph.nodes().len());
    for (index, node) in graph.nodes().iter().enumerate() {
        let moved = || node.operands.iter().find_map(|value| producers.get(value)).map(|at| numbers[*at]);
        let number = match spec.asked(&node.name) {
            Some(number) => number,
            None if last[index] || needs_range(&node.op) => Number::Fp32,
            // What comes straight from an input is float32, and is cast where it is first computed with.
            None if moves(&node.op) => moved().unwrap_or(Number::Fp32),
            None => Number::Fp16,
        };
        numbers.push(number);
    }
    numbers
}

/// Whether an operation's sums or exponentials are beyond float16.
fn needs_range(op: &Op) -> bool {
    matches!(op, Op::LayerNorm { .. } | Op::Softmax | Op::Exp)
}

/// Whether an operation only moves numbers.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Transpose { .. } | Op::Reshape { .. } | Op::Expand { .. } | Op::Concat { .. } | Op::Slice { .. }
    )
}

/// Whether an operation sums over channels.
fn sums(op: &Op) -> bool {
    matches!(op, Op::MatMul | Op::Linear | Op::LayerNorm { .. } | Op::Conv { .. } | Op::ConvTranspose { .. })
}

/// Which node makes each value.
fn producers(graph: &Graph) -> HashMap<ValueId, usize> {
    graph.nodes().iter().enumerate().map(|(index, node)| (node.result, index)).collect()
}

/// Marks, back from every output, the last operation that sums and all that follow it.
pub(crate) fn last_sums(graph: &Graph) -> Vec<bool> {
    let producers = producers(graph);
    let mut marked = vec![false; graph.nodes().len()];
    let mut queue: Vec<ValueId> = graph.outputs().iter().map(|(_, value)| *value).collect();
    while let Some(value) = queue.pop() {
        let Some(&index) = producers.get(&value) else { continue };
        let node: &Node = &graph.nodes()[index];
        if !std::mem::replace(&mut marked[index], true) && !sums(&node.op) {
            queue.extend(&node.operands);
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;

    #[test]
    fn patterns_name_nodes_and_modules() {
        let cases = [
            ("encoder.blocks.1.attn", "encoder.blocks.1.attn.scores", true),
            ("encoder.blocks.1", "encoder.blocks.11.attn", false),
            ("encoder.blocks.*.attn.scores", "encoder.blocks.7.attn.scores", true),
            ("encoder.blocks.*.attn.scores", "encoder.blocks.7.attn.mix", false),
            ("*.residual", "encoder.blocks.0.mlp.residual", true),
            ("*", "anything", true),
            ("heads.depth*", "heads.depth_far.1", true),
            ("", "x", false),
        ];
        for (pattern, node, expected) in cases {
            assert_eq!(names(pattern, node), expected, "{pattern} {node}");
        }
    }

    /// conv -> layer norm -> softmax -> linear -> relu -> linear -> sigmoid -> reshape
    fn graph() -> Graph {
        let mut builder = GraphBuilder::new("head");
        let x = builder.input("x", &[2, 4]);
        let scale = builder.weight("norm.weight", &[4]);
        let square = builder.weight("square", &[4, 4]);
        let bias = builder.weight("bias", &[4]);
        let chain: [(&str, Op, &[ValueId]); 8] = [
            ("turned", Op::Transpose { order: vec![0, 1] }, &[]),
            ("first", Op::Linear, &[square, bias]),
            ("moved", Op::Reshape { shape: vec![2, 4] }, &[]),
            ("norm", Op::LayerNorm { epsilon: 1e-6 }, &[scale, scale]),
            ("softmax", Op::Softmax, &[]),
            ("relu", Op::Relu, &[]),
            ("last", Op::Linear, &[square, bias]),
            ("sigmoid", Op::Sigmoid, &[]),
        ];
        let mut value = x;
        for (name, op, more) in chain {
            let operands: Vec<_> = [value].into_iter().chain(more.iter().copied()).collect();
            value = builder.node(name, op, &operands).unwrap();
        }
        builder.output("y", value);
        builder.finish()
    }

    #[test]
    fn norms_softmax_and_the_last_sum_stay_in_fp32() {
        use Number::{Fp16, Fp32};
        let typing = Typing::new(&graph(), Precision::Fp16, &PrecisionSpec::default());
        assert_eq!(typing.numbers(), [Fp32, Fp16, Fp16, Fp32, Fp32, Fp16, Fp32, Fp32]);
        let typing = Typing::new(&graph(), Precision::Fp32, &PrecisionSpec::default());
        assert!(typing.numbers().iter().all(|number| *number == Fp32));
    }

    #[test]
    fn the_manifest_keeps_more() {
        let spec = PrecisionSpec { fp32: vec!["first".into()], bf16: vec!["relu".into(), "firs*".into()] };
        let numbers = Typing::new(&graph(), Precision::Fp16, &spec).numbers().to_vec();
        assert_eq!((numbers[1], numbers[2], numbers[5]), (Number::Fp32, Number::Fp32, Number::Bf16));
        let wrong = PrecisionSpec { fp32: vec!["blocks.99".into()], bf16: vec![] };
        assert_eq!(wrong.unmatched(&[&graph()]), ["blocks.99"]);
        assert!(spec.unmatched(&[&graph()]).is_empty());
    }
}
