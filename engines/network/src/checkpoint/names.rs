//! The names of a Pixio model's tensors: official, with prefixes of trainers, and Hugging Face's.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::{CheckpointError, StateDict, open};
use crate::architecture::Architecture;
use crate::manifest::HeadKind;
use crate::modules::trunk_tensors;
use crate::weights::Tensor;

/// The encoder of a checkpoint, under official names.
#[derive(Debug)]
pub struct Backbone {
    /// What the tensors' shapes (and Hugging Face's configuration) say.
    pub architecture: Architecture,
    /// Encoder tensors by official name.
    pub tensors: StateDict,
}

/// Reads a backbone: an official `.pth`, a trainer's checkpoint (`encoder.*`, `module.*`), or a Hugging Face folder or file.
///
/// `heads` is the number of attention heads, which a state dict does not say; without it the published table or
/// Hugging Face's `config.json` must.
///
/// # Errors
/// When the file is refused, tensors are missing, unknown or misshaped (all of them are named), or the heads are not known.
pub fn backbone(path: &Path, heads: Option<usize>) -> Result<Backbone, CheckpointError> {
    let content = |reason: String| CheckpointError::content(path, reason);
    let mut tensors = strip(open(path)?, "module.");
    if tensors.keys().any(|name| name.starts_with("encoder.patch_embed.")) {
        tensors = below(tensors, "encoder.");
    }
    let config = HuggingFaceConfig::beside(path)?;
    if tensors.keys().any(|name| name.contains("embeddings.cls_token")) {
        tensors = official_names(tensors).map_err(content)?;
    }
    // A pre-training checkpoint also carries the decoder and the mask token, which are of no use on a robot.
    tensors.retain(|name, _| !name.starts_with("decoder_") && name != "mask_token");
    let architecture = infer(&tensors, heads, config.as_ref()).map_err(content)?;
    check(&tensors, &architecture.tensors()).map_err(content)?;
    Ok(Backbone { architecture, tensors })
}

/// A head of the official trainer.
#[derive(Debug)]
pub struct OfficialHead {
    /// A depth head where there is one output, else a segmentation head.
    pub kind: HeadKind,
    /// Outputs per pixel: 1 for depth, the classes for segmentation.
    pub outputs: usize,
    /// Tensors below `head.`, without it.
    pub tensors: StateDict,
}

/// Reads a head of the official trainer: the tensors below `head.`, and which head they make.
///
/// # Errors
/// When the file is refused, or its tensors are not those of a linear or DPT head for a backbone of width `dim`.
pub fn head(path: &Path, dim: usize) -> Result<OfficialHead, CheckpointError> {
    let content = |reason: String| CheckpointError::content(path, reason);
    let mut tensors = below(strip(open(path)?, "module."), "head.");
    let (kind, outputs) = head_kind(&tensors).map_err(content)?;
    // The official module carries this unit; its forward pass never reaches it.
    tensors.retain(|name, _| !name.starts_with("scratch.refinenet4.resConfUnit1."));
    check(&tensors, &trunk_tensors(&kind, dim, outputs)).map_err(content)?;
    Ok(OfficialHead { kind, outputs, tensors })
}

fn head_kind(tensors: &StateDict) -> Result<(HeadKind, usize), String> {
    let first = |name: &str| tensors.get(name).and_then(|tensor| tensor.shape().first().copied());
    if tensors.is_empty() {
        return Err("expected tensors below head., found none".to_owned());
    }
    if let Some(outputs) = first("1.weight") {
        let kind = if outputs == 1 { HeadKind::LinearDepth {} } else { HeadKind::LinearSegmentation {} };
        return Ok((kind, outputs));
    }
    if tensors.keys().any(|name| name.contains(".bn1.")) {
        return Err(
            "expected a DPT head without batch normalisation, as the official configurations make it"
                .to_owned(),
        );
    }
    let channels = |level: usize| {
        first(&format!("projects.{level}.weight"))
            .ok_or_else(|| format!("projects.{level}.weight is missing"))
    };
    let features = first("scratch.output_conv.0.weight").ok_or("expected a linear or a DPT head")?;
    let outputs = first("scratch.output_conv.2.weight").ok_or("scratch.output_conv.2.weight is missing")?;
    let out_channels = [channels(0)?, channels(1)?, channels(2)?, channels(3)?];
    let kind = if outputs == 1 {
        HeadKind::DptDepth { features, out_channels }
    } else {
        HeadKind::DptSegmentation { features, out_channels }
    };
    Ok((kind, outputs))
}

/// Removes a prefix that every name carries.
fn strip(tensors: StateDict, prefix: &str) -> StateDict {
    if tensors.keys().all(|name| name.starts_with(prefix)) { below(tensors, prefix) } else { tensors }
}

/// The tensors below a prefix, without it.
fn below(tensors: StateDict, prefix: &str) -> StateDict {
    let inner = |(name, tensor): (String, Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor));
    tensors.into_iter().filter_map(inner).collect()
}

/// Hugging Face's `config.json`, as far as the encoder is concerned.
#[derive(Debug, Deserialize)]
pub struct HuggingFaceConfig {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    layer_norm_eps: f32,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default = "yes")]
    apply_layernorm: bool,
}

fn yes() -> bool {
    true
}

impl HuggingFaceConfig {
    /// The configuration in or beside a checkpoint, if there is one.
    fn beside(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let file = if path.is_dir() { path.join("config.json") } else { path.with_file_name("config.json") };
        if !file.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&file).map_err(CheckpointError::io(&file))?;
        let config: Self = serde_json::from_str(&text)
            .map_err(|error| CheckpointError::format(&file, format!("not a Pixio configuration: {error}")))?;
        config.check().map_err(|reason| CheckpointError::content(&file, reason))?;
        Ok(Some(config))
    }

    fn check(&self) -> Result<(), String> {
        if self.model_type != "pixio" {
            return Err(format!("expected model_type \"pixio\", got {:?}", self.model_type));
        }
        if self.hidden_act.as_deref().is_some_and(|act| act != "gelu") {
            return Err(format!("expected hidden_act \"gelu\" (exact), got {:?}", self.hidden_act));
        }
        if !self.apply_layernorm {
            return Err("expected apply_layernorm true: the heads take normalised tokens".to_owned());
        }
        Ok(())
    }
}

/// Hugging Face's names on disk and in memory to the official ones.
const BLOCK_NAMES: [(&str, &str); 12] = [
    ("norm1", "norm1"),
    ("layernorm_before", "norm1"),
    ("norm2", "norm2"),
    ("layernorm_after", "norm2"),
    ("attention.output.dense", "attn.proj"),
    ("attention.o_proj", "attn.proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("mlp.fc1", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("mlp.fc2", "mlp.fc2"),
    ("mlp.up_proj", "mlp.fc1"),
    ("mlp.down_proj", "mlp.fc2"),
];

/// Where Hugging Face keeps query, key and value, on disk and in memory.
const QKV_NAMES: [(&str, usize); 6] = [
    ("attention.attention.query", 0),
    ("attention.attention.key", 1),
    ("attention.attention.value", 2),
    ("attention.q_proj", 0),
    ("attention.k_proj", 1),
    ("attention.v_proj", 2),
];

const OUTER_NAMES: [(&str, &str); 6] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight"),
    ("embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"),
    ("layernorm.weight", "norm.weight"),
    ("layernorm.bias", "norm.bias"),
];

/// Hugging Face's tensors under official names, query, key and value joined.
fn official_names(tensors: StateDict) -> Result<StateDict, String> {
    let mut official = StateDict::new();
    let mut parts = std::collections::BTreeMap::<String, [Option<Tensor>; 3]>::new();
    for (name, tensor) in strip(tensors, "pixio.") {
        let outer =
            OUTER_NAMES.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| (*ours).to_owned());
        match outer.map_or_else(|| block_name(&name), |ours| Some((ours, None))) {
            Some((ours, None)) => drop(official.insert(ours, tensor)),
            Some((ours, Some(part))) => parts.entry(ours).or_default()[part] = Some(tensor),
            None => drop(official.insert(name, tensor)),
        }
    }
    for (name, parts) in parts {
        let [Some(query), Some(key), Some(value)] = parts else {
            return Err(format!("{name}: expected query, key and value, one or two are missing"));
        };
        let joined = Tensor::stack(vec![query, key, value]).map_err(|reason| format!("{name}: {reason}"))?;
        official.insert(name, joined);
    }
    Ok(official)
}

/// Official name of a tensor of a block, and which third of the joined query-key-value it is.
fn block_name(name: &str) -> Option<(String, Option<usize>)> {
    let inner = name.strip_prefix("encoder.layer.").or_else(|| name.strip_prefix("layers."))?;
    let (index, rest) = inner.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let block: usize = index.parse().ok()?;
    if let Some((_, part)) = QKV_NAMES.iter().find(|(theirs, _)| *theirs == module) {
        return Some((format!("blocks.{block}.attn.qkv.{kind}"), Some(*part)));
    }
    let (_, ours) = BLOCK_NAMES.iter().find(|(theirs, _)| *theirs == module)?;
    Some((format!("blocks.{block}.{ours}.{kind}"), None))
}

/// The architecture that the shapes (and the configuration) tell.
fn infer(
    tensors: &StateDict,
    heads: Option<usize>,
    config: Option<&HuggingFaceConfig>,
) -> Result<Architecture, String> {
    let (class, position) = (shape_of(tensors, "cls_token", 3)?, shape_of(tensors, "pos_embed", 3)?);
    let projection = shape_of(tensors, "patch_embed.proj.weight", 4)?;
    let mlp_hidden = shape_of(tensors, "blocks.0.mlp.fc1.weight", 2)?[0];
    let (class_tokens, dim, patch) = (class[1], class[2], projection[2]);
    let grid = grid_side(position[1], class_tokens)?;
    let block_index = |name: &String| name.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
    let blocks = tensors.keys().filter_map(block_index).collect::<BTreeSet<_>>().len();
    let configured = config.map(|config| config.num_attention_heads);
    let heads =
        heads.or(configured).or_else(|| Architecture::published_heads(dim, blocks)).ok_or_else(|| {
            format!(
                "width {dim} with {blocks} blocks is no published model, and the tensors do not say how many \
             attention heads it has: give the number (--heads)"
            )
        })?;
    let layer_norm_epsilon = config.map_or(1e-6, |config| config.layer_norm_eps);
    let architecture =
        Architecture { dim, blocks, heads, mlp_hidden, class_tokens, patch, grid, layer_norm_epsilon };
    architecture.validate()?;
    if let Some(config) =
        config.filter(|config| (config.hidden_size, config.num_hidden_layers) != (dim, blocks))
    {
        return Err(format!(
            "config.json says hidden_size {} and {} layers, the tensors {dim} and {blocks}",
            config.hidden_size, config.num_hidden_layers
        ));
    }
    Ok(architecture)
}

/// Shape of a tensor that must be there with so many axes.
fn shape_of<'t>(tensors: &'t StateDict, name: &str, rank: usize) -> Result<&'t [usize], String> {
    let shape = tensors.get(name).map(Tensor::shape).ok_or_else(|| {
        let some: Vec<_> = tensors.keys().take(5).collect();
        format!("expected a Pixio encoder with a tensor {name}; there is none among {some:?} ...")
    })?;
    if shape.len() == rank { Ok(shape) } else { Err(format!("{name}: expected {rank} axes, got {shape:?}")) }
}

/// Side of the square position grid that comes after the class tokens' positions.
fn grid_side(positions: usize, class_tokens: usize) -> Result<usize, String> {
    let grid = positions.checked_sub(class_tokens).ok_or("pos_embed: fewer positions than class tokens")?;
    let side = grid.isqrt();
    if side * side == grid {
        return Ok(side);
    }
    Err(format!(
        "pos_embed: expected a square grid besides {class_tokens} class tokens, got {grid} positions"
    ))
}

/// Names every tensor that is missing, unknown or of another shape.
fn check(tensors: &StateDict, expected: &[(String, Vec<usize>)]) -> Result<(), String> {
    let mut faults = Vec::new();
    for (name, shape) in expected {
        match tensors.get(name) {
            None => faults.push(format!("{name} {shape:?} is missing")),
            Some(tensor) if tensor.shape() != shape => {
                faults.push(format!("{name}: expected shape {shape:?}, got {:?}", tensor.shape()));
            }
            Some(_) => {}
        }
    }
    let known: BTreeSet<&String> = expected.iter().map(|(name, _)| name).collect();
    faults
        .extend(tensors.keys().filter(|name| !known.contains(name)).map(|name| format!("{name} is unknown")));
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_names_are_known() {
        let cases = [
            ("encoder.layer.3.attention.attention.key.bias", Some(("blocks.3.attn.qkv.bias", Some(1)))),
            ("layers.3.attention.v_proj.weight", Some(("blocks.3.attn.qkv.weight", Some(2)))),
            ("encoder.layer.0.output.dense.weight", Some(("blocks.0.mlp.fc2.weight", None))),
            ("encoder.layer.0.attention.output.dense.weight", Some(("blocks.0.attn.proj.weight", None))),
            ("layers.11.layernorm_after.bias", Some(("blocks.11.norm2.bias", None))),
            ("layers.x.layernorm_after.bias", None),
            ("pooler.weight", None),
        ];
        for (theirs, ours) in cases {
            let came = block_name(theirs);
            assert_eq!(came.as_ref().map(|(name, part)| (name.as_str(), *part)), ours, "{theirs}");
        }
    }

    #[test]
    fn every_fault_is_named() {
        let tensor = |shape: &[usize]| Tensor::from_f32(shape, &vec![0.0; shape.iter().product()]).unwrap();
        let tensors = [("a".to_owned(), tensor(&[2])), ("z".to_owned(), tensor(&[1]))].into();
        let expected = [("a".to_owned(), vec![3]), ("b".to_owned(), vec![1])];
        let faults = check(&tensors, &expected).unwrap_err();
        assert_eq!(faults, "a: expected shape [3], got [2]; b [1] is missing; z is unknown");
    }
}
