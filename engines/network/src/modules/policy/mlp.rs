//! CortexBench's policy (Majumdar et al. 2023, arXiv 2303.18240): a small network on frozen class tokens, with the history fused
//! as FLARE does (Shang et al. 2021, arXiv 2101.01857).

use super::{EMBEDDING, PAST, actions, linear_tensors, state};
use crate::architecture::Architecture;
use crate::graph::{GraphError, Op, ValueId};
use crate::manifest::{PolicySpec, Pooling};
use crate::modules::{Grid, Scope};

/// The form of the network.
pub(super) struct Form<'a> {
    pub(super) pooling: Pooling,
    pub(super) history: usize,
    pub(super) hidden: &'a [usize],
}

impl Form<'_> {
    fn embedding(&self, dim: usize, class_tokens: usize) -> usize {
        match self.pooling {
            Pooling::Mean => dim,
            Pooling::Concatenated => dim * class_tokens,
        }
    }
}

pub(super) fn build(
    scope: &mut Scope<'_>,
    policy: &PolicySpec,
    tokens: ValueId,
    form: &Form<'_>,
    grid: Grid,
) -> Result<(), GraphError> {
    let (batch, dim) = (scope.shape(tokens)[0], scope.shape(tokens)[2]);
    let width = form.embedding(dim, grid.class_tokens);
    let current = pooled(scope, tokens, form, grid, width)?;
    let mut parts = Vec::new();
    if form.history > 1 {
        scope.builder.output(EMBEDDING, current);
        parts = differences(scope, current, form.history)?;
    }
    parts.push(current);
    parts.extend(state(scope, policy, batch));
    let input = match parts.as_slice() {
        [only] => *only,
        several => scope.node("input", Op::Concat { axis: 1 }, several)?,
    };
    let mut x = scope.batch_norm("norm", input)?;
    for (index, hidden) in form.hidden.iter().enumerate() {
        let layer = scope.linear(&format!("layers.{index}"), x, *hidden)?;
        x = scope.node(&format!("relu.{index}"), Op::Relu, &[layer])?;
    }
    let out =
        scope.linear(&format!("layers.{}", form.hidden.len()), x, policy.steps * policy.actions.len())?;
    actions(scope, policy, out, batch)
}

/// The class tokens as one vector per image, `[batch, width]`.
fn pooled(
    scope: &mut Scope<'_>,
    tokens: ValueId,
    form: &Form<'_>,
    grid: Grid,
    width: usize,
) -> Result<ValueId, GraphError> {
    let batch = scope.shape(tokens)[0];
    let mut class =
        scope.node("class", Op::Slice { axis: 1, start: 0, end: grid.class_tokens }, &[tokens])?;
    if form.pooling == Pooling::Mean {
        class = scope.node("class_mean", Op::Mean { axis: 1 }, &[class])?;
    }
    scope.node("pooled", Op::Reshape { shape: vec![batch, width] }, &[class])
}

/// What changed from image to image, oldest first: `history - 1` vectors `[batch, width]`.
fn differences(scope: &mut Scope<'_>, current: ValueId, history: usize) -> Result<Vec<ValueId>, GraphError> {
    let (batch, width) = (scope.shape(current)[0], scope.shape(current)[1]);
    let past = scope.builder.input(PAST, &[batch, history - 1, width]);
    let mut images = Vec::with_capacity(history);
    for index in 0..history - 1 {
        let one = Op::Slice { axis: 1, start: index, end: index + 1 };
        let one = scope.node(&format!("past.{index}.slice"), one, &[past])?;
        images.push(scope.node(
            &format!("past.{index}"),
            Op::Reshape { shape: vec![batch, width] },
            &[one],
        )?);
    }
    images.push(current);
    let pairs = images.windows(2).enumerate();
    pairs.map(|(index, pair)| scope.node(&format!("change.{index}"), Op::Sub, &[pair[1], pair[0]])).collect()
}

/// Names and shapes of the tensors.
pub(super) fn tensors(
    policy: &PolicySpec,
    form: &Form<'_>,
    architecture: &Architecture,
) -> Vec<(String, Vec<usize>)> {
    let embedding = form.embedding(architecture.dim, architecture.class_tokens);
    let mut inner = form.history * embedding + policy.state.len();
    let statistics = ["weight", "bias", "running_mean", "running_var"];
    let mut tensors: Vec<_> = statistics.map(|name| (format!("norm.{name}"), vec![inner])).into();
    let out = policy.steps * policy.actions.len();
    for (index, width) in form.hidden.iter().copied().chain([out]).enumerate() {
        tensors.extend(linear_tensors(&format!("layers.{index}"), inner, width));
        inner = width;
    }
    tensors
}
