//! Policy heads: from tokens and the robot's state to its next actions, all as numbers normalised by the statistics of the
//! training data.

mod chunk;
mod mlp;

use super::{Grid, Scope};
use crate::architecture::Architecture;
use crate::graph::{GraphError, Op, ValueId};
use crate::manifest::{HeadKind, PolicySpec};

/// Port of the state: `[batch, numbers]`, normalised.
pub const STATE: &str = "state";
/// Port of what earlier images became, oldest first: `[batch, history - 1, embedding]`.
pub const PAST: &str = "past";
/// Port of the actions: `[batch, steps, dimensions]`, normalised.
pub const ACTIONS: &str = "actions";
/// Port of what the current image becomes, for the history of the images to come: `[batch, embedding]`.
pub const EMBEDDING: &str = "embedding";

/// The form of a policy's network.
enum Form<'a> {
    Mlp(mlp::Form<'a>),
    Chunk(chunk::Form),
}

/// The form that a kind says; nothing for the kinds that are no policy.
fn form(kind: &HeadKind) -> Option<Form<'_>> {
    match kind {
        HeadKind::MlpPolicy { pooling, history, hidden } => {
            Some(Form::Mlp(mlp::Form { pooling: *pooling, history: *history, hidden }))
        }
        HeadKind::ChunkPolicy { reads, width, layers, heads, mlp_hidden } => Some(Form::Chunk(chunk::Form {
            reads: *reads,
            width: *width,
            layers: *layers,
            heads: *heads,
            mlp_hidden: *mlp_hidden,
        })),
        _ => None,
    }
}

/// Builds a policy on tokens `[batch, tokens, dim]` of its tap.
pub(super) fn build(
    scope: &mut Scope<'_>,
    kind: &HeadKind,
    policy: &PolicySpec,
    tokens: ValueId,
    grid: Grid,
) -> Result<(), GraphError> {
    match form(kind) {
        Some(Form::Mlp(form)) => mlp::build(scope, policy, tokens, &form, grid),
        Some(Form::Chunk(form)) => chunk::build(scope, policy, tokens, &form, grid),
        None => Ok(()),
    }
}

/// Names and shapes of a policy's tensors.
pub(super) fn tensors(
    kind: &HeadKind,
    policy: &PolicySpec,
    architecture: &Architecture,
) -> Vec<(String, Vec<usize>)> {
    match form(kind) {
        Some(Form::Mlp(form)) => mlp::tensors(policy, &form, architecture),
        Some(Form::Chunk(form)) => chunk::tensors(policy, &form, architecture),
        None => Vec::new(),
    }
}

/// The port of the robot's state, if the policy reads any.
fn state(scope: &mut Scope<'_>, policy: &PolicySpec, batch: usize) -> Option<ValueId> {
    (!policy.state.is_empty()).then(|| scope.builder.input(STATE, &[batch, policy.state.len()]))
}

/// The last layer's numbers as port `actions`.
fn actions(
    scope: &mut Scope<'_>,
    policy: &PolicySpec,
    flat: ValueId,
    batch: usize,
) -> Result<(), GraphError> {
    let shape = vec![batch, policy.steps, policy.actions.len()];
    let actions = scope.node("by_step", Op::Reshape { shape }, &[flat])?;
    scope.builder.output(ACTIONS, actions);
    Ok(())
}

/// Name and shapes of a fully connected layer's tensors.
fn linear_tensors(name: &str, inner: usize, out: usize) -> [(String, Vec<usize>); 2] {
    [(format!("{name}.weight"), vec![out, inner]), (format!("{name}.bias"), vec![out])]
}
