//! One head: its form, what it reads, and what its numbers mean.

use serde::{Deserialize, Serialize};

use super::{HeadScale, PolicySpec};
use crate::architecture::Architecture;

/// One head: its form, what it reads, and what its numbers mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct HeadSpec {
    /// The form of the trunk.
    pub kind: HeadKind,
    /// Blocks whose normalised tokens it reads, in the order in which it reads them.
    pub taps: Vec<usize>,
    /// What its numbers mean; must suit the kind.
    pub meaning: Meaning,
}

/// What a head's numbers mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// Of a depth head: metres along Z. Of a point head: metres along each pixel's ray.
    Depth(DepthMeaning),
    /// Of a segmentation head: the names of its classes; label k of the image is the k-th name.
    Labels(Vec<String>),
    /// Of a policy head.
    Policy(PolicySpec),
}

/// The range and unit of depths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthMeaning {
    /// Depth below this is not valid, metres.
    pub min_depth_meters: f32,
    /// Depth of a fully saturated output, metres.
    pub max_depth_meters: f32,
    /// What the numbers mean; the range above is in the same unit.
    pub scale: HeadScale,
}

/// What a head is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Depth along Z.
    Depth,
    /// A ray, the distance along it and a confidence for every pixel.
    Points,
    /// A class for every pixel.
    Segmentation,
    /// The robot's next actions.
    Policy,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Task::Depth => "depth",
            Task::Points => "points",
            Task::Segmentation => "segmentation",
            Task::Policy => "policy",
        })
    }
}

/// The form of a head's trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HeadKind {
    /// Batch normalisation and one 1x1 convolution on the last tap.
    LinearDepth {},
    /// The DPT trunk on four taps.
    DptDepth {
        /// Channels of the fused maps.
        features: usize,
        /// Channels of the four projected taps.
        out_channels: [usize; 4],
    },
    /// As [`HeadKind::LinearDepth`], for rays, distances and confidences.
    LinearPoints {},
    /// As [`HeadKind::DptDepth`], for rays, distances and confidences.
    DptPoints {
        /// Channels of the fused maps.
        features: usize,
        /// Channels of the four projected taps.
        out_channels: [usize; 4],
    },
    /// As [`HeadKind::LinearDepth`], with an output per class.
    LinearSegmentation {},
    /// As [`HeadKind::DptDepth`], with an output per class.
    DptSegmentation {
        /// Channels of the fused maps.
        features: usize,
        /// Channels of the four projected taps.
        out_channels: [usize; 4],
    },
    /// CortexBench's policy: the class tokens of the last images as differences and last, the state appended, batch
    /// normalisation, then layers with ReLU.
    MlpPolicy {
        /// How class tokens become one vector.
        pooling: Pooling,
        /// Images that it sees, the current one and those before it, a period apart.
        history: usize,
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
    },
    /// A transformer decoder whose learned queries, one per action, attend to tokens of the image and to the state.
    ChunkPolicy {
        /// The tokens it attends to.
        reads: Memory,
        /// Width of its tokens.
        width: usize,
        /// Decoder layers.
        layers: usize,
        /// Attention heads; divides the width.
        heads: usize,
        /// Hidden width of each layer's MLP.
        mlp_hidden: usize,
    },
}

/// How class tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Their mean: as wide as a token.
    Mean,
    /// One after another.
    Concatenated,
}

/// The tokens that a chunking policy attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// The class tokens.
    Class,
    /// The patch tokens, with fixed sinusoidal positions.
    Patches,
}

/// The trunk that heads with an output per pixel share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trunk {
    Linear,
    Dpt { features: usize, out_channels: [usize; 4] },
}

impl HeadKind {
    /// The taps that the official head reads from an encoder of so many blocks; a policy reads the last.
    pub fn official_taps(&self, blocks: usize) -> Vec<usize> {
        match self.trunk() {
            Some(Trunk::Dpt { .. }) => (1..=4).map(|k| (blocks / 4 * k).saturating_sub(1)).collect(),
            Some(Trunk::Linear) | None => vec![blocks.saturating_sub(1)],
        }
    }

    /// Number of taps that the trunk reads.
    fn tap_count(&self) -> usize {
        if matches!(self.trunk(), Some(Trunk::Dpt { .. })) { 4 } else { 1 }
    }

    /// What the head is for.
    pub fn task(&self) -> Task {
        match self {
            Self::LinearDepth {} | Self::DptDepth { .. } => Task::Depth,
            Self::LinearPoints {} | Self::DptPoints { .. } => Task::Points,
            Self::LinearSegmentation {} | Self::DptSegmentation { .. } => Task::Segmentation,
            Self::MlpPolicy { .. } | Self::ChunkPolicy { .. } => Task::Policy,
        }
    }

    /// Images that the head sees: the current one, and for some policies those before it.
    pub fn history(&self) -> usize {
        match self {
            Self::MlpPolicy { history, .. } => *history,
            _ => 1,
        }
    }

    pub(crate) fn trunk(&self) -> Option<Trunk> {
        match *self {
            Self::LinearDepth {} | Self::LinearPoints {} | Self::LinearSegmentation {} => Some(Trunk::Linear),
            Self::DptDepth { features, out_channels }
            | Self::DptPoints { features, out_channels }
            | Self::DptSegmentation { features, out_channels } => Some(Trunk::Dpt { features, out_channels }),
            Self::MlpPolicy { .. } | Self::ChunkPolicy { .. } => None,
        }
    }

    fn validate(&self) -> Result<(), String> {
        let channels: Vec<usize> = match (self.trunk(), self) {
            (Some(Trunk::Dpt { features, out_channels }), _) => {
                out_channels.into_iter().chain([features]).collect()
            }
            (_, Self::MlpPolicy { hidden, history, .. }) => {
                if !(1..=MAX_HISTORY).contains(history) || hidden.len() > MAX_LAYERS {
                    return Err(format!(
                        "kind: expected a history of 1 to {MAX_HISTORY} and at most {MAX_LAYERS} layers, got {history} and {}",
                        hidden.len()
                    ));
                }
                hidden.clone()
            }
            (_, Self::ChunkPolicy { width, layers, heads, mlp_hidden, .. }) => {
                let divides = *heads > 0 && width.is_multiple_of(*heads) && width.is_multiple_of(4);
                if !divides || !(1..=MAX_LAYERS).contains(layers) {
                    return Err(format!(
                        "kind: expected 1 to {MAX_LAYERS} layers and a width that divides by 4 and by the attention \
                         heads, got {layers} layers, width {width} and {heads} heads"
                    ));
                }
                vec![*width, *mlp_hidden]
            }
            _ => Vec::new(),
        };
        match channels.iter().find(|channels| **channels == 0 || **channels > MAX_WIDTH) {
            Some(_) => Err(format!("kind: expected 1 to {MAX_WIDTH} channels, got {channels:?}")),
            None => Ok(()),
        }
    }
}

/// The widest layer of a head.
const MAX_WIDTH: usize = 1 << 14;
/// The most layers of a policy.
const MAX_LAYERS: usize = 32;
/// The most images that a policy sees.
const MAX_HISTORY: usize = 64;
/// The most classes: their ids fit into 16 bits.
const MAX_LABELS: usize = 1 << 12;

impl HeadSpec {
    /// What the head is for.
    pub fn task(&self) -> Task {
        self.kind.task()
    }

    /// Whether it is a head for rays and distances.
    pub(crate) fn is_points(&self) -> bool {
        self.task() == Task::Points
    }

    /// Names of the ports that every engine must reproduce.
    pub fn outputs(&self) -> &'static [&'static str] {
        match self.task() {
            Task::Depth => &["depth"],
            Task::Points => &["rays", "distance", "confidence"],
            Task::Segmentation => &["logits"],
            Task::Policy => &["actions"],
        }
    }

    /// Range and unit of a depth or point head.
    pub fn depth(&self) -> Option<&DepthMeaning> {
        if let Meaning::Depth(depth) = &self.meaning { Some(depth) } else { None }
    }

    /// Class names of a segmentation head.
    pub fn labels(&self) -> Option<&[String]> {
        if let Meaning::Labels(labels) = &self.meaning { Some(labels) } else { None }
    }

    /// What a policy head reads and predicts.
    pub fn policy(&self) -> Option<&PolicySpec> {
        if let Meaning::Policy(policy) = &self.meaning { Some(policy) } else { None }
    }

    /// Numbers that an image becomes in the history of a policy: its pooled class tokens.
    pub fn embedding(&self, architecture: &Architecture) -> Option<usize> {
        let HeadKind::MlpPolicy { pooling, .. } = &self.kind else { return None };
        Some(match pooling {
            Pooling::Mean => architecture.dim,
            Pooling::Concatenated => architecture.dim * architecture.class_tokens,
        })
    }

    pub(super) fn validate(&self, name: &str, taps: &[usize]) -> Result<(), String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name == "backbone" || !name.chars().all(allowed) {
            return Err("name: expected lower-case letters, digits and underscores".to_owned());
        }
        if self.taps.len() != self.kind.tap_count() || self.taps.iter().any(|tap| !taps.contains(tap)) {
            let count = self.kind.tap_count();
            return Err(format!("taps: expected {count} of the model's taps {taps:?}, got {:?}", self.taps));
        }
        self.kind.validate()?;
        match (self.task(), &self.meaning) {
            (Task::Points, Meaning::Depth(depth)) if !depth.scale.is_metric() => {
                Err(format!("scale: expected a metric head for points, got {:?}", depth.scale))
            }
            (Task::Depth | Task::Points, Meaning::Depth(depth)) => depth.validate(),
            (Task::Segmentation, Meaning::Labels(labels)) => validate_labels(labels),
            (Task::Policy, Meaning::Policy(policy)) => {
                policy.validate().map_err(|reason| format!("policy.{reason}"))
            }
            (task, _) => Err(format!("kind: expected a head for {task} to say what its numbers mean")),
        }
    }
}

impl DepthMeaning {
    fn validate(&self) -> Result<(), String> {
        let (low, high) = (self.min_depth_meters, self.max_depth_meters);
        if !(low.is_finite() && high.is_finite() && 0.0 < low && low < high) {
            return Err(format!("depth range: expected 0 < min < max in metres, got {low} and {high}"));
        }
        if let HeadScale::FocalNormalised { focal_pixels } = self.scale
            && !(focal_pixels.is_finite() && focal_pixels > 0.0)
        {
            return Err(format!("scale: expected a focal length above 0 pixels, got {focal_pixels}"));
        }
        Ok(())
    }
}

fn validate_labels(labels: &[String]) -> Result<(), String> {
    if !(2..=MAX_LABELS).contains(&labels.len()) {
        return Err(format!("labels: expected 2 to {MAX_LABELS}, got {}", labels.len()));
    }
    match labels.iter().find(|label| label.is_empty() || label.chars().any(char::is_control)) {
        Some(label) => Err(format!("labels: expected names without control characters, got {label:?}")),
        None => Ok(()),
    }
}

/// A head as `model.toml` has it: the fields of every task, of which one task's are there.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: HeadKind,
    taps: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_depth_meters: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_depth_meters: Option<f32>,
    #[serde(default, skip_serializing_if = "HeadScale::is_metric")]
    scale: HeadScale,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicySpec>,
}

impl TryFrom<Written> for HeadSpec {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { kind, taps, min_depth_meters, max_depth_meters, scale, labels, policy } = written;
        let range = min_depth_meters.zip(max_depth_meters);
        let alone = min_depth_meters.is_some() != max_depth_meters.is_some();
        let meaning = match (kind.task(), range, labels, policy) {
            (Task::Depth | Task::Points, Some((min_depth_meters, max_depth_meters)), None, None) => {
                Meaning::Depth(DepthMeaning { min_depth_meters, max_depth_meters, scale })
            }
            (Task::Segmentation, None, Some(labels), None) if !alone && scale.is_metric() => {
                Meaning::Labels(labels)
            }
            (Task::Policy, None, None, Some(policy)) if !alone && scale.is_metric() => {
                Meaning::Policy(policy)
            }
            (task, ..) => {
                let fields = match task {
                    Task::Depth | Task::Points => "min_depth_meters, max_depth_meters and perhaps scale",
                    Task::Segmentation => "labels",
                    Task::Policy => "policy",
                };
                return Err(format!(
                    "a head for {task}: expected {fields} besides kind and taps, and nothing else"
                ));
            }
        };
        Ok(Self { kind, taps, meaning })
    }
}

impl From<HeadSpec> for Written {
    fn from(head: HeadSpec) -> Self {
        let HeadSpec { kind, taps, meaning } = head;
        let mut written = Self {
            kind,
            taps,
            min_depth_meters: None,
            max_depth_meters: None,
            scale: HeadScale::Metric,
            labels: None,
            policy: None,
        };
        match meaning {
            Meaning::Depth(depth) => {
                written.min_depth_meters = Some(depth.min_depth_meters);
                written.max_depth_meters = Some(depth.max_depth_meters);
                written.scale = depth.scale;
            }
            Meaning::Labels(labels) => written.labels = Some(labels),
            Meaning::Policy(policy) => written.policy = Some(policy),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_means_suits_its_kind() {
        let cases = [
            ("taps = [3]\nmin_depth_meters = 0.1\nmax_depth_meters = 10.0\n[kind.linear-depth]", None),
            ("taps = [3]\nlabels = [\"floor\", \"cup\"]\n[kind.linear-segmentation]", None),
            ("taps = [3]\n[kind.linear-depth]", Some("min_depth_meters")),
            ("taps = [3]\nmin_depth_meters = 0.1\n[kind.linear-points]", Some("max_depth_meters")),
            ("taps = [3]\nlabels = []\nmin_depth_meters = 0.1\n[kind.linear-segmentation]", Some("labels")),
            (
                "taps = [3]\nlabels = [\"a\"]\n[kind.mlp-policy]\npooling = \"mean\"\nhistory = 3\nhidden = []",
                Some("policy"),
            ),
        ];
        for (text, fault) in cases {
            let came = toml::from_str::<HeadSpec>(text);
            match fault {
                None => {
                    let head = came.unwrap_or_else(|error| panic!("{text}: {error}"));
                    assert_eq!(toml::from_str::<HeadSpec>(&toml::to_string_pretty(&head).unwrap()), Ok(head));
                }
                Some(fault) => assert!(came.as_ref().unwrap_err().to_string().contains(fault), "{came:?}"),
            }
        }
    }

    #[test]
    fn forms_that_cannot_be_are_refused() {
        let chunk = |width, heads, layers| HeadKind::ChunkPolicy {
            reads: Memory::Class,
            width,
            layers,
            heads,
            mlp_hidden: 8,
        };
        let mlp = |history| HeadKind::MlpPolicy { pooling: Pooling::Mean, history, hidden: vec![8] };
        chunk(8, 2, 1).validate().unwrap();
        mlp(3).validate().unwrap();
        for refused in [chunk(8, 3, 1), chunk(6, 2, 1), chunk(8, 0, 1), chunk(8, 2, 0), mlp(0), mlp(1000)] {
            assert!(refused.validate().unwrap_err().starts_with("kind: "), "{refused:?}");
        }
        assert!(HeadKind::DptPoints { features: 0, out_channels: [1; 4] }.validate().is_err());
    }
}
