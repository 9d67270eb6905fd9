//! What decides a built engine: everything that changes its result, by the names that people read.

use network::graph::Data;
use network::{Network, Precision, PrecisionSpec, Typing};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::library::{Flavour, Version};

/// Version of the shim's choices (flags, types); part of every key.
const SHIM: &str = "1";

/// What decides an engine, by the names that people read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Hash of the bundle's manifest, which holds that of its weights.
    pub model: String,
    /// Name of the network.
    pub network: String,
    /// Inputs and outputs with their shapes.
    pub ports: String,
    /// Hash of operations with their number formats, ports and computed constants: another program version may build a bundle otherwise.
    pub graph: String,
    /// `tensorrt` or `tensorrt-rtx`.
    pub flavour: String,
    /// The library's version.
    pub library: String,
    /// The GPU, or the compute capabilities.
    pub target: String,
    /// `fp32` or `fp16`.
    pub precision: String,
    /// The manifest's list of operations that keep more.
    pub kept: String,
    /// Version of the builder's settings in this program.
    pub shim: String,
}

impl Key {
    /// The key of a network.
    pub(crate) fn new(
        network: &Network,
        model: &str,
        library: (Flavour, Version),
        target: String,
        precision: Precision,
        kept: &PrecisionSpec,
    ) -> Self {
        let port = |port: &network::graph::Port| format!("{}{:?}", port.name, port.shape);
        let list = |ports: &[network::graph::Port]| ports.iter().map(port).collect::<Vec<_>>().join(" ");
        Self {
            model: model.to_owned(),
            network: network.name().to_owned(),
            ports: format!("{} -> {}", list(network.inputs()), list(network.outputs())),
            graph: graph_hash(network, &Typing::new(network.graph(), precision, kept)),
            flavour: library.0.name().to_owned(),
            library: library.1.to_string(),
            target,
            precision: precision.name().to_owned(),
            kept: format!("fp32 {:?} bf16 {:?}", kept.fp32, kept.bf16),
            shim: SHIM.to_owned(),
        }
    }

    fn fields(&self) -> [(&'static str, &str); 10] {
        [
            ("model", &self.model),
            ("network", &self.network),
            ("ports", &self.ports),
            ("graph", &self.graph),
            ("flavour", &self.flavour),
            ("library", &self.library),
            ("target", &self.target),
            ("precision", &self.precision),
            ("kept", &self.kept),
            ("shim", &self.shim),
        ]
    }

    /// Names the files.
    pub(crate) fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, value) in self.fields() {
            hasher.update(format!("{name}={value}\n"));
        }
        hex(&hasher.finalize())[..16].to_owned()
    }

    /// What changed since another key of the same network, for people; nothing when both are equal.
    pub(crate) fn changes_since(&self, old: &Self) -> Vec<String> {
        let pairs = old.fields().into_iter().zip(self.fields()).filter(|(old, new)| old.1 != new.1);
        pairs
            .map(|((name, old), (_, new))| match name {
                "library" => format!("{} {old} -> {new}", self.flavour),
                "model" | "graph" => format!("{name} {:.12} -> {:.12}", old, new),
                _ => format!("{name} {old} -> {new}"),
            })
            .collect()
    }

    /// Whether an engine of `other` would do: the same, but built for several GPUs, all that this target names among them.
    pub(crate) fn is_met_by(&self, other: &Self) -> bool {
        let Some(built_for) = capabilities(&other.target) else { return self == other };
        // A machine's GPU is its name and, at the end, its capability.
        let wanted = capabilities(&self.target).unwrap_or_else(|| self.target.rsplit(' ').take(1).collect());
        let same = Self { target: other.target.clone(), ..self.clone() } == *other;
        same && wanted.iter().all(|capability| built_for.contains(capability))
    }
}

/// The compute capabilities of a target that is a list of them; none if it is a machine's GPU.
fn capabilities(target: &str) -> Option<Vec<&str>> {
    target.split(' ').map(|word| word.starts_with("sm_").then_some(word)).collect()
}

/// Operations with the formats in which they compute, shapes, computed constants, and which values the ports are. The stored weights are named
/// by the model's hash.
fn graph_hash(network: &Network, typing: &Typing) -> String {
    let graph = network.graph();
    let mut hasher = Sha256::new();
    for (node, number) in graph.nodes().iter().zip(typing.numbers()) {
        let operands: Vec<_> = node.operands.iter().map(|value| value.index()).collect();
        let (name, op, result) = (&node.name, &node.op, node.result.index());
        let shape = graph.shape(node.result);
        hasher.update(format!("{name} {op:?} {number:?} {operands:?} {result} {shape:?}\n"));
    }
    for (port, value) in graph.inputs().iter().chain(graph.outputs()) {
        hasher.update(format!("{} {}\n", port.name, value.index()));
    }
    for constant in graph.constants() {
        hasher.update(format!("{} {}\n", constant.name, constant.value.index()));
        if let Data::Computed(values) = &constant.data {
            values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        }
    }
    hex(&hasher.finalize())
}

/// Bytes as people write a hash.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use network::Weights;
    use network::graph::{GraphBuilder, Op};

    use super::*;

    /// Of another program version, or of another output: `x -> relu -> sigmoid`, of which `output` gives one.
    fn network(output: usize) -> Network {
        let mut builder = GraphBuilder::new("head");
        let x = builder.input("x", &[4]);
        let a = builder.node("a", Op::Relu, &[x]).unwrap();
        let b = builder.node("b", Op::Sigmoid, &[a]).unwrap();
        builder.output("y", [a, b][output]);
        Network::new(builder.finish(), Arc::new(Weights::default())).unwrap()
    }

    #[test]
    fn what_the_ports_are_and_how_operations_compute_decides() {
        let hash = |output, precision| {
            let network = network(output);
            graph_hash(&network, &Typing::new(network.graph(), precision, &PrecisionSpec::default()))
        };
        let same = hash(1, Precision::Fp32);
        assert_eq!(same, hash(1, Precision::Fp32));
        assert_ne!(same, hash(0, Precision::Fp32), "the same operations, another output");
        let network = network(1);
        let kept = PrecisionSpec { fp32: Vec::new(), bf16: vec!["a".to_owned()] };
        let typed = graph_hash(&network, &Typing::new(network.graph(), Precision::Fp16, &kept));
        assert_ne!(hash(1, Precision::Fp16), typed, "the same operations, another number format");
    }

    #[test]
    fn a_list_of_gpus_is_met_by_a_list_that_holds_it() {
        let key = |target: &str| {
            let version = Version { major: 1, minor: 7, patch: 1 };
            let (library, kept) = ((Flavour::TensorRtRtx, version), PrecisionSpec::default());
            Key::new(&network(1), "m", library, target.to_owned(), Precision::Fp16, &kept)
        };
        let cases = [
            ("sm_89", "sm_86 sm_89", true),
            ("sm_89 sm_86", "sm_86 sm_89", true),
            ("sm_86 sm_89", "sm_89", false),
            ("NVIDIA RTX 4090 sm_89", "sm_86 sm_89", true),
            ("NVIDIA RTX 5090 sm_120", "sm_86 sm_89", false),
            ("sm_89", "NVIDIA RTX 4090 sm_89", false),
            ("A GPU sm_89", "Another GPU sm_89", false),
        ];
        for (wanted, there, met) in cases {
            assert_eq!(key(wanted).is_met_by(&key(there)), met, "{wanted} by {there}");
        }
    }
}
