//! A chunking policy: a transformer decoder whose learned queries, one per action, attend to the image's tokens and the robot's
//! state (the decoder of ACT, Zhao et al. 2023, arXiv 2304.13705, with normalisation first).

use super::{actions, linear_tensors, state};
use crate::architecture::Architecture;
use crate::graph::{GraphError, Op, ValueId};
use crate::manifest::{Memory, PolicySpec};
use crate::modules::{Grid, Scope};

/// LayerNorm's default epsilon in PyTorch.
const LAYER_NORM_EPSILON: f32 = 1e-5;

/// The form of the network.
pub(super) struct Form {
    pub(super) reads: Memory,
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) mlp_hidden: usize,
}

/// Tokens flow as matrices `[batch * tokens, width]`; this says how many there are of which.
struct Flow {
    batch: usize,
    queries: usize,
    memory: usize,
}

pub(super) fn build(
    scope: &mut Scope<'_>,
    policy: &PolicySpec,
    tokens: ValueId,
    form: &Form,
    grid: Grid,
) -> Result<(), GraphError> {
    let batch = scope.shape(tokens)[0];
    let (memory, count) = memory(scope, policy, tokens, form, grid)?;
    let flow = Flow { batch, queries: policy.steps, memory: count };
    let width = form.width;
    let queries = scope.weight("queries", &[policy.steps, width]);
    let one = scope.node("queries.one", Op::Reshape { shape: vec![1, policy.steps, width] }, &[queries])?;
    let each = scope.node("queries.each", Op::Expand { shape: vec![batch, policy.steps, width] }, &[one])?;
    let mut x =
        scope.node("queries.flat", Op::Reshape { shape: vec![batch * policy.steps, width] }, &[each])?;
    for index in 0..form.layers {
        x = layer(&mut scope.within(&format!("layers.{index}")), x, memory, form, &flow)?;
    }
    let normalised = scope.layer_norm("norm", x, LAYER_NORM_EPSILON)?;
    let out = scope.linear("actions", normalised, policy.actions.len())?;
    actions(scope, policy, out, batch)
}

/// What the queries attend to, `[batch * tokens, width]`, and how many tokens that are: the image's, then the state's.
fn memory(
    scope: &mut Scope<'_>,
    policy: &PolicySpec,
    tokens: ValueId,
    form: &Form,
    grid: Grid,
) -> Result<(ValueId, usize), GraphError> {
    let (batch, dim, width) = (scope.shape(tokens)[0], scope.shape(tokens)[2], form.width);
    let (start, count) = match form.reads {
        Memory::Class => (0, grid.class_tokens),
        Memory::Patches => (grid.class_tokens, grid.patches()),
    };
    let seen = scope.node("seen", Op::Slice { axis: 1, start, end: start + count }, &[tokens])?;
    let flat = scope.node("seen.flat", Op::Reshape { shape: vec![batch * count, dim] }, &[seen])?;
    let narrow = scope.linear("memory", flat, width)?;
    let apart = scope.node("memory.apart", Op::Reshape { shape: vec![batch, count, width] }, &[narrow])?;
    let positions = match form.reads {
        Memory::Class => scope.weight("memory_positions", &[count, width]),
        Memory::Patches => {
            let path = scope.path("patch_positions");
            scope.builder.constant(path, &[count, width], sinusoids(grid, width))?
        }
    };
    let placed = scope.node("memory.placed", Op::Add, &[apart, positions])?;
    let (all, count) = match state(scope, policy, batch) {
        None => (placed, count),
        Some(state) => {
            let token = scope.linear("state", state, width)?;
            let token = scope.node("state.token", Op::Reshape { shape: vec![batch, 1, width] }, &[token])?;
            (scope.node("memory.all", Op::Concat { axis: 1 }, &[placed, token])?, count + 1)
        }
    };
    let flat = scope.node("memory.flat", Op::Reshape { shape: vec![batch * count, width] }, &[all])?;
    Ok((flat, count))
}

/// Positions of patches: the first half of the width for the row, the second for the column, each as sines and cosines.
fn sinusoids(grid: Grid, width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let mut values = Vec::with_capacity(grid.patches() * width);
    for patch in 0..grid.patches() {
        for place in [patch / grid.columns, patch % grid.columns] {
            for index in 0..quarter {
                let frequency = 10_000_f64.powf(-(index as f64) / quarter as f64);
                let (sine, cosine) = (place as f64 * frequency).sin_cos();
                values.extend([sine as f32, cosine as f32]);
            }
        }
    }
    values
}

/// Queries among themselves, then to the memory, then each by itself; PyTorch's `TransformerDecoderLayer(norm_first=True)`.
fn layer(
    scope: &mut Scope<'_>,
    x: ValueId,
    memory: ValueId,
    form: &Form,
    flow: &Flow,
) -> Result<ValueId, GraphError> {
    let normalised = scope.layer_norm("norm1", x, LAYER_NORM_EPSILON)?;
    let to_queries =
        Attention { heads: form.heads, batch: flow.batch, asking: flow.queries, asked: flow.queries };
    let mixed = to_queries.build(&mut scope.within("self_attn"), normalised, normalised)?;
    let x = scope.node("self_attn.residual", Op::Add, &[x, mixed])?;
    let normalised = scope.layer_norm("norm2", x, LAYER_NORM_EPSILON)?;
    let to_memory = Attention { asked: flow.memory, ..to_queries };
    let mixed = to_memory.build(&mut scope.within("cross_attn"), normalised, memory)?;
    let x = scope.node("cross_attn.residual", Op::Add, &[x, mixed])?;
    let normalised = scope.layer_norm("norm3", x, LAYER_NORM_EPSILON)?;
    let hidden = scope.linear("mlp.fc1", normalised, form.mlp_hidden)?;
    let active = scope.node("mlp.relu", Op::Relu, &[hidden])?;
    let out = scope.linear("mlp.fc2", active, form.width)?;
    scope.node("mlp.residual", Op::Add, &[x, out])
}

/// Multi-head attention from `asking` tokens to `asked` tokens of each image.
#[derive(Clone, Copy)]
struct Attention {
    heads: usize,
    batch: usize,
    asking: usize,
    asked: usize,
}

impl Attention {
    fn build(self, scope: &mut Scope<'_>, x: ValueId, memory: ValueId) -> Result<ValueId, GraphError> {
        let width = scope.shape(x)[1];
        let queries = scope.linear("q", x, width)?;
        let queries = self.split(scope, "q", queries, self.asking, [0, 2, 1, 3])?;
        let both = scope.linear("kv", memory, 2 * width)?;
        let keys = scope.node("k", Op::Slice { axis: 1, start: 0, end: width }, &[both])?;
        let keys = self.split(scope, "k", keys, self.asked, [0, 2, 3, 1])?;
        let values = scope.node("v", Op::Slice { axis: 1, start: width, end: 2 * width }, &[both])?;
        let values = self.split(scope, "v", values, self.asked, [0, 2, 1, 3])?;
        let scores = scope.node("scores", Op::MatMul, &[queries, keys])?;
        let scale = scope.scalar("scale", ((width / self.heads) as f32).sqrt().recip());
        let scaled = scope.node("scaled", Op::Mul, &[scores, scale])?;
        let shares = scope.node("softmax", Op::Softmax, &[scaled])?;
        let mixed = scope.node("mix", Op::MatMul, &[shares, values])?;
        let joined = scope.node("join", Op::Transpose { order: vec![0, 2, 1, 3] }, &[mixed])?;
        let shape = vec![self.batch * self.asking, width];
        let flat = scope.node("flatten", Op::Reshape { shape }, &[joined])?;
        scope.linear("proj", flat, width)
    }

    /// `[batch * tokens, width]` to `[batch, tokens, heads, width / heads]`, then the axes in another order.
    fn split(
        self,
        scope: &mut Scope<'_>,
        name: &str,
        x: ValueId,
        tokens: usize,
        order: [usize; 4],
    ) -> Result<ValueId, GraphError> {
        let width = scope.shape(x)[1];
        let shape = vec![self.batch, tokens, self.heads, width / self.heads];
        let heads = scope.node(&format!("{name}.heads"), Op::Reshape { shape }, &[x])?;
        scope.node(&format!("{name}.split"), Op::Transpose { order: order.to_vec() }, &[heads])
    }
}

/// Names and shapes of the tensors.
pub(super) fn tensors(
    policy: &PolicySpec,
    form: &Form,
    architecture: &Architecture,
) -> Vec<(String, Vec<usize>)> {
    let width = form.width;
    let mut tensors: Vec<(String, Vec<usize>)> = linear_tensors("memory", architecture.dim, width).into();
    if form.reads == Memory::Class {
        tensors.push(("memory_positions".into(), vec![architecture.class_tokens, width]));
    }
    if !policy.state.is_empty() {
        tensors.extend(linear_tensors("state", policy.state.len(), width));
    }
    tensors.push(("queries".into(), vec![policy.steps, width]));
    for index in 0..form.layers {
        let at = |name: &str| format!("layers.{index}.{name}");
        for norm in ["norm1", "norm2", "norm3"] {
            tensors.extend(["weight", "bias"].map(|name| (at(&format!("{norm}.{name}")), vec![width])));
        }
        for attention in ["self_attn", "cross_attn"] {
            for (name, out) in [("q", width), ("kv", 2 * width), ("proj", width)] {
                tensors.extend(linear_tensors(&at(&format!("{attention}.{name}")), width, out));
            }
        }
        tensors.extend(linear_tensors(&at("mlp.fc1"), width, form.mlp_hidden));
        tensors.extend(linear_tensors(&at("mlp.fc2"), form.mlp_hidden, width));
    }
    tensors.extend(["weight", "bias"].map(|name| (format!("norm.{name}"), vec![width])));
    tensors.extend(linear_tensors("actions", width, policy.actions.len()));
    tensors
}
