//! Products of 8 bit, for ONNX Runtime on the CPU: its operator `com.microsoft::DynamicQuantizeMatMul` (contrib operators,
//! ContribOperators.md). Weights become signed integers with a scale for each output, when the file is made; what flows is
//! quantised with one scale and zero point for each tensor, when it is computed; sums are exact, in 32 bits.

use std::collections::BTreeSet;

use super::schema::{self, Tensor};
use super::{OnnxError, OnnxError::TooLarge};
use crate::graph::{Constant, Graph, Network, Op, ValueId};

/// How many bits of a weight are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightBits {
    /// -127 to 127.
    Eight,
    /// -63 to 63: for x86 processors without VNNI, whose instruction adds pairs of products in 16 bits and would saturate.
    Seven,
}

impl WeightBits {
    fn largest(self) -> f32 {
        match self {
            Self::Eight => 127.0,
            Self::Seven => 63.0,
        }
    }
}

/// The nodes whose products are taken in 8 bits: linear layers with weights of their own, but for the last sum before an output, where
/// tokens, metres and actions are made.
pub(super) fn chosen(graph: &Graph) -> BTreeSet<usize> {
    let last = crate::precision::last_sums(graph);
    let is_constant = |value: &ValueId| graph.constants().iter().any(|constant| constant.value == *value);
    let nodes = graph.nodes().iter().enumerate();
    let suits = nodes
        .filter(|(index, node)| node.op == Op::Linear && !last[*index] && is_constant(&node.operands[1]));
    suits.map(|(index, _)| index).collect()
}

/// The file's name for what a weight became.
pub(super) fn names(weight: &str) -> [String; 3] {
    ["int8", "int8_scale", "int8_zero"].map(|suffix| format!("{weight}.{suffix}"))
}

/// The integers of a weight `[out, in]` as `[in, out]`, their scales and zero points.
pub(super) fn tensors(
    network: &Network,
    weight: &Constant,
    bits: WeightBits,
) -> Result<[Tensor; 3], OnnxError> {
    let shape = network.graph().shape(weight.value);
    let (outputs, inputs) = (shape[0], shape[1]);
    let (integers, scales) = quantise(&network.read_constant(weight)?, inputs, bits);
    let mut turned = vec![0_u8; integers.len()];
    for (output, row) in integers.chunks_exact(inputs).enumerate() {
        for (input, value) in row.iter().enumerate() {
            turned[input * outputs + output] = value.cast_unsigned();
        }
    }
    let scales = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let [name, scale, zero] = names(&weight.name);
    Ok([
        schema::int8(&name, &[inputs, outputs], turned),
        Tensor {
            raw_data: Some(scales),
            ..schema::tensor(&scale, &[outputs], crate::precision::Number::Fp32)
        },
        schema::int8(&zero, &[outputs], vec![0; outputs]),
    ])
}

/// Each row as integers times its scale, to nearest.
fn quantise(values: &[f32], columns: usize, bits: WeightBits) -> (Vec<i8>, Vec<f32>) {
    let mut integers = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / columns.max(1));
    for row in values.chunks_exact(columns) {
        let most = row.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let scale = if most > 0.0 { most / bits.largest() } else { 1.0 };
        integers.extend(row.iter().map(|value| (value / scale).round() as i8));
        scales.push(scale);
    }
    (integers, scales)
}

/// Refuses a network that does not fit into one file even so.
pub(super) fn check_size(network: &Network, limit: u64) -> Result<(), OnnxError> {
    let graph = network.graph();
    let area = |value: ValueId| graph.shape(value).iter().product::<usize>() as u64;
    let all: u64 = graph.constants().iter().map(|constant| 4 * area(constant.value)).sum();
    let weights: BTreeSet<_> =
        chosen(graph).into_iter().map(|index| graph.nodes()[index].operands[1]).collect();
    let bytes = all - weights.into_iter().map(|value| 3 * area(value)).sum::<u64>();
    if bytes > limit { Err(TooLarge { network: network.name().to_owned(), bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_largest_and_the_rest_to_half_a_step() {
        let values = [0.5, -1.27, 0.004, 0.0, 0.0, 0.0, -3.0, 2.0, 1.0];
        for (bits, largest) in [(WeightBits::Eight, 127), (WeightBits::Seven, 63)] {
            let (integers, scales) = quantise(&values, 3, bits);
            assert_eq!([integers[1], integers[6]], [-largest, -largest]);
            assert_eq!(integers[3..6], [0; 3]);
            for (index, value) in values.iter().enumerate() {
                let scale = scales[index / 3];
                assert!((f32::from(integers[index]) * scale - value).abs() <= 0.5001 * scale, "{index}");
            }
        }
    }
}
