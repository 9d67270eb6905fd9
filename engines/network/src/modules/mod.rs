//! The modules of a network, each defined once on a [`GraphBuilder`].

mod dense;
mod depth;
mod dpt;
pub mod encoder;
mod points;
pub mod policy;
mod position;
pub mod pretraining;
mod segmentation;

use calibration::Size;

use crate::WeightsError;
use crate::architecture::Architecture;
use crate::graph::{Graph, GraphBuilder, GraphError, Op, ValueId};
use crate::manifest::{HeadKind, HeadSpec, Meaning};

/// Why a network could not be built from a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The input size does not suit the architecture.
    #[error("input size: {0}")]
    Size(String),
    /// The numbers make no decoder of pre-training.
    #[error("decoder: {0}")]
    Decoder(String),
    /// No such head in the bundle.
    #[error("expected a head among {}, got {asked:?}", known.join(", "))]
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

    /// A computed constant of one number.
    fn scalar(&mut self, name: &str, number: f32) -> ValueId {
        let path = self.path(name);
        self.builder.scalar(path, number)
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

    /// Batch normalisation of the second axis with fixed statistics.
    fn batch_norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let channels = self.shape(x).get(1).copied().unwrap_or(0);
        let statistics = ["weight", "bias", "running_mean", "running_var"];
        let mut operands = vec![x];
        operands.extend(statistics.map(|part| self.weight(&format!("{name}.{part}"), &[channels])));
        self.node(name, Op::BatchNorm { epsilon: dense::BATCH_NORM_EPSILON }, &operands)
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

/// Which tokens an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Class tokens, which come first.
    pub class_tokens: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Patches in a row.
    pub columns: usize,
    /// Side of a patch, in pixels.
    pub patch: usize,
}

impl Grid {
    /// The tokens of an image of this size.
    ///
    /// # Errors
    /// When a side does not divide by the patch.
    pub fn new(architecture: &Architecture, size: Size) -> Result<Self, BuildError> {
        let (rows, columns) = architecture.patches(size).map_err(BuildError::Size)?;
        Ok(Self { class_tokens: architecture.class_tokens, rows, columns, patch: architecture.patch })
    }

    /// Class tokens alone: all that an MLP policy, or a chunking one on class tokens, reads. Training then needs no patches.
    pub fn class_only(architecture: &Architecture) -> Self {
        Self { class_tokens: architecture.class_tokens, rows: 0, columns: 0, patch: architecture.patch }
    }

    /// Number of patches.
    pub fn patches(self) -> usize {
        self.rows * self.columns
    }

    /// Number of tokens.
    pub fn tokens(self) -> usize {
        self.class_tokens + self.patches()
    }

    /// Size of the image.
    pub fn pixels(self) -> Size {
        Size { width: self.columns * self.patch, height: self.rows * self.patch }
    }
}

/// The graph of a head for a batch of images (engines run batches of one): ports `tokens_<block>` `[batch, tokens, dim]` of its
/// taps, for a policy also those of [`policy`], to
///
/// - depth: `depth` `[batch, height, width]`, metres along Z at the network's input size;
/// - points: `rays` `[batch, 3, height, width]`, `distance` `[batch, height, width]` in metres along the ray, `confidence` likewise, 0 to 1;
/// - segmentation: `logits` `[batch, classes, height, width]`;
/// - policy: `actions` `[batch, steps, dimensions]`, normalised.
///
/// Weights are named `heads.<name>.*`.
///
/// # Errors
/// When the head's parts do not fit together.
pub fn head(
    name: &str,
    spec: &HeadSpec,
    architecture: &Architecture,
    grid: Grid,
    batch: usize,
) -> Result<Graph, GraphError> {
    let mut builder = GraphBuilder::new(name);
    let shape = [batch, grid.tokens(), architecture.dim];
    let port = |tap: &usize| (*tap, builder.input(encoder::Tokens::Normalised.port(*tap), &shape));
    let tokens: Vec<_> = spec.taps.iter().map(port).collect();
    let mut scope = Scope::new(&mut builder, format!("heads.{name}"));
    if let Meaning::Policy(policy) = &spec.meaning {
        policy::build(&mut scope, &spec.kind, policy, tokens[0].1, grid)?;
    } else if let Some(trunk) = spec.kind.trunk() {
        let raw = dense::maps(&mut scope, &tokens, trunk, grid, raw_outputs(spec))?;
        match &spec.meaning {
            Meaning::Labels(_) => segmentation::outputs(&mut scope, raw),
            Meaning::Depth(range) if spec.is_points() => {
                points::outputs(&mut scope, raw, grid, range.max_depth_meters)?;
            }
            Meaning::Depth(range) => depth::outputs(&mut scope, raw, grid, range.max_depth_meters)?,
            Meaning::Policy(_) => {}
        }
    }
    Ok(builder.finish())
}

/// Channels of the raw map of a head with an output per pixel.
fn raw_outputs(spec: &HeadSpec) -> usize {
    match &spec.meaning {
        Meaning::Labels(labels) => labels.len(),
        Meaning::Depth(_) if spec.is_points() => points::OUTPUTS,
        Meaning::Depth(_) | Meaning::Policy(_) => depth::OUTPUTS,
    }
}

/// Names and shapes of a head's tensors, as the official trainer keeps them below `head.`.
pub(crate) fn head_tensors(spec: &HeadSpec, architecture: &Architecture) -> Vec<(String, Vec<usize>)> {
    match (&spec.meaning, spec.kind.trunk()) {
        (Meaning::Policy(policy), _) => policy::tensors(&spec.kind, policy, architecture),
        (_, Some(trunk)) => dense::tensors(trunk, architecture.dim, raw_outputs(spec)),
        (_, None) => Vec::new(),
    }
}

/// Names and shapes of the tensors of a depth or segmentation head with so many outputs.
pub(crate) fn trunk_tensors(kind: &HeadKind, dim: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
    kind.trunk().map_or_else(Vec::new, |trunk| dense::tensors(trunk, dim, outputs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::random_model;
    use crate::graph::Data;
    use crate::manifest::{Memory, Pooling};

    fn kinds() -> Vec<HeadKind> {
        let (features, out_channels) = (8, [4, 6, 8, 8]);
        let mlp = |pooling, history| HeadKind::MlpPolicy { pooling, history, hidden: vec![16, 12] };
        let chunk = |reads| HeadKind::ChunkPolicy { reads, width: 16, layers: 2, heads: 4, mlp_hidden: 24 };
        vec![
            HeadKind::LinearDepth {},
            HeadKind::DptDepth { features, out_channels },
            HeadKind::LinearPoints {},
            HeadKind::DptPoints { features, out_channels },
            HeadKind::LinearSegmentation {},
            HeadKind::DptSegmentation { features, out_channels },
            mlp(Pooling::Mean, 3),
            mlp(Pooling::Concatenated, 1),
            chunk(Memory::Class),
            chunk(Memory::Patches),
        ]
    }

    #[test]
    fn the_tensors_of_a_head_are_those_its_graph_names() {
        let architecture = Architecture::named("pixio-tiny16").unwrap();
        let size = Size { width: 64, height: 48 };
        for kind in kinds() {
            let heads = [("head".to_owned(), kind.clone())];
            let manifest = random_model(architecture.clone(), &heads, &[size], 1).unwrap().manifest;
            let spec = &manifest.heads["head"];
            for batch in [1, 3] {
                let grid = Grid::new(&architecture, size).unwrap();
                let graph = head("head", spec, &architecture, grid, batch).unwrap();
                let stored =
                    graph.constants().iter().filter(|constant| matches!(constant.data, Data::Stored));
                let mut named: Vec<_> = stored
                    .map(|constant| (constant.name.clone(), graph.shape(constant.value).to_vec()))
                    .collect();
                let mut listed: Vec<_> = head_tensors(spec, &architecture)
                    .into_iter()
                    .map(|(name, shape)| (format!("heads.head.{name}"), shape))
                    .collect();
                named.sort();
                listed.sort();
                assert_eq!(named, listed, "{kind:?}");
                let outputs: Vec<_> = graph.outputs().iter().map(|(port, _)| port.name.as_str()).collect();
                assert!(spec.outputs().iter().all(|output| outputs.contains(output)), "{outputs:?}");
                assert!(graph.outputs().iter().all(|(port, _)| port.shape[0] == batch), "{kind:?}");
                let names: std::collections::BTreeSet<_> =
                    graph.nodes().iter().map(|node| &node.name).collect();
                assert_eq!(names.len(), graph.nodes().len(), "{kind:?}: names of nodes repeat");
            }
        }
    }

    #[test]
    fn policies_on_class_tokens_need_no_patches() {
        let architecture = Architecture::named("pixio-tiny16").unwrap();
        let grid = Grid::class_only(&architecture);
        let kinds = kinds();
        for (kind, possible) in [(&kinds[6], true), (&kinds[8], true), (&kinds[9], false), (&kinds[0], false)]
        {
            let heads = [("head".to_owned(), kind.clone())];
            let size = Size { width: 64, height: 48 };
            let manifest = random_model(architecture.clone(), &heads, &[size], 1).unwrap().manifest;
            let graph = head("head", &manifest.heads["head"], &architecture, grid, 2);
            assert_eq!(graph.is_ok(), possible, "{kind:?}");
        }
    }
}
