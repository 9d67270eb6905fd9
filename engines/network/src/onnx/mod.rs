//! A network as an ONNX file: clean graph, static shapes, opset 18, typed.

mod int8;
mod lower;
mod schema;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;

pub use self::int8::WeightBits;
use self::schema::Tensor;
use crate::WeightsError;
use crate::graph::{Constant, Network, ValueId};
use crate::precision::{Number, Precision, PrecisionSpec, Typing};

/// Above this many bytes of weights an ONNX file needs external data: protobuf ends at 2 GiB.
pub const MAX_EMBEDDED_BYTES: u64 = 2_000_000_000;

/// External tensors begin at multiples of this, so that they can be mapped into memory.
const ALIGNMENT: u64 = 4096;

/// Why an ONNX file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// A weight could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The network does not fit into one protobuf message.
    #[error("{network}: {bytes} bytes of weights do not fit into an ONNX file without external data")]
    TooLarge {
        /// Name of the network.
        network: String,
        /// Bytes of weights in float32.
        bytes: u64,
    },
    /// A weight is too large for float16.
    #[error(
        "{weight}: {value} is beyond float16 (65504); the manifest's precision.fp32 or bf16 must keep its layer"
    )]
    Range {
        /// Canonical name of the weight.
        weight: String,
        /// Its number.
        value: f32,
    },
    /// The file could not be written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

/// Bytes of a network's constants in float32.
pub fn weight_bytes(network: &Network) -> u64 {
    let graph = network.graph();
    let elements = |value| graph.shape(value).iter().product::<usize>() as u64;
    graph.constants().iter().map(|constant| 4 * elements(constant.value)).sum()
}

/// The float32 ONNX file with all weights inside, in memory.
///
/// # Errors
/// When the weights exceed [`MAX_EMBEDDED_BYTES`] or cannot be read.
pub fn encode(network: &Network) -> Result<Vec<u8>, OnnxError> {
    let bytes = weight_bytes(network);
    if bytes > MAX_EMBEDDED_BYTES {
        return Err(OnnxError::TooLarge { network: network.name().to_owned(), bytes });
    }
    encode_typed(network, &fp32(network))
}

fn encode_typed(network: &Network, typing: &Typing) -> Result<Vec<u8>, OnnxError> {
    let whole = BTreeSet::new();
    let initializers = embedded(network, typing, &whole)?;
    Ok(lower::model(network, typing, initializers, &whole).encode_to_vec())
}

/// As [`encode`], with the products of linear layers in 8 bits, but for the last before each output: for ONNX Runtime only, whose own
/// operator it uses.
///
/// # Errors
/// As [`encode`].
pub fn encode_int8(network: &Network, bits: WeightBits) -> Result<Vec<u8>, OnnxError> {
    int8::check_size(network, MAX_EMBEDDED_BYTES)?;
    let (typing, graph) = (fp32(network), network.graph());
    let chosen = int8::chosen(graph);
    let mut initializers = embedded(network, &typing, &chosen)?;
    let weights: BTreeSet<_> = chosen.iter().map(|index| graph.nodes()[*index].operands[1]).collect();
    for weight in graph.constants().iter().filter(|constant| weights.contains(&constant.value)) {
        initializers.extend(int8::tensors(network, weight, bits)?);
    }
    Ok(lower::model(network, &typing, initializers, &chosen).encode_to_vec())
}

/// Initializers with their numbers, of all that nodes take but for the weights that `in_int8` has in 8 bits.
fn embedded(network: &Network, typing: &Typing, in_int8: &BTreeSet<usize>) -> Result<Vec<Tensor>, OnnxError> {
    let mut initializers = Vec::new();
    for (constant, number) in used_constants(network, typing, in_int8) {
        let raw_data = Some(numbers(network, constant, number)?);
        initializers.push(Tensor { raw_data, ..initializer(network, constant, number) });
    }
    Ok(initializers)
}

fn fp32(network: &Network) -> Typing {
    Typing::new(network.graph(), Precision::Fp32, &PrecisionSpec::default())
}

/// Writes the float32 ONNX file, and beside it `<file>.data` with the weights when they exceed `embedded_limit` bytes
/// (usually [`MAX_EMBEDDED_BYTES`]), one tensor at a time. Returns the files written.
///
/// # Errors
/// When a weight cannot be read or a file cannot be written.
pub fn write(network: &Network, path: &Path, embedded_limit: u64) -> Result<Vec<PathBuf>, OnnxError> {
    write_typed(network, &fp32(network), path, embedded_limit)
}

/// As [`write()`], with the number format of every operation that `typing` (of this network's graph) chose.
///
/// # Errors
/// As [`write()`], and when a weight is beyond the range of its format.
pub fn write_typed(
    network: &Network,
    typing: &Typing,
    path: &Path,
    embedded_limit: u64,
) -> Result<Vec<PathBuf>, OnnxError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |reason| OnnxError::Io { path, reason }
    };
    if weight_bytes(network) <= embedded_limit.min(MAX_EMBEDDED_BYTES) {
        std::fs::write(path, encode_typed(network, typing)?).map_err(io(path))?;
        return Ok(vec![path.to_owned()]);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let data_name = format!("{name}.data");
    let data_path = path.with_file_name(&data_name);
    let mut data = BufWriter::new(File::create(&data_path).map_err(io(&data_path))?);
    let mut end = 0_u64;
    let mut initializers = Vec::new();
    let whole = BTreeSet::new();
    for (constant, number) in used_constants(network, typing, &whole) {
        let offset = end.next_multiple_of(ALIGNMENT);
        let raw = numbers(network, constant, number)?;
        data.write_all(&vec![0; (offset - end) as usize]).map_err(io(&data_path))?;
        data.write_all(&raw).map_err(io(&data_path))?;
        let length = raw.len() as u64;
        end = offset + length;
        let tensor = initializer(network, constant, number);
        initializers.push(schema::external(tensor, &data_name, offset, length));
    }
    data.flush().map_err(io(&data_path))?;
    let model = lower::model(network, typing, initializers, &whole);
    std::fs::write(path, model.encode_to_vec()).map_err(io(path))?;
    Ok(vec![path.to_owned(), data_path])
}

/// Every constant in every format in which an operation takes it, in the graph's order; not the weights of `in_int8`.
fn used_constants<'n>(
    network: &'n Network,
    typing: &Typing,
    in_int8: &BTreeSet<usize>,
) -> Vec<(&'n Constant, Number)> {
    let graph = network.graph();
    let mut formats: HashMap<ValueId, BTreeSet<Number>> = HashMap::new();
    for (index, (node, number)) in graph.nodes().iter().zip(typing.numbers()).enumerate() {
        for (place, value) in node.operands.iter().enumerate() {
            if place != 1 || !in_int8.contains(&index) {
                formats.entry(*value).or_default().insert(*number);
            }
        }
    }
    let uses = |constant: &'n Constant| {
        let used = formats.get(&constant.value).into_iter().flatten();
        used.map(move |number| (constant, *number)).collect::<Vec<_>>()
    };
    graph.constants().iter().flat_map(uses).collect()
}

/// Name of a constant in a format: its own in float32, else with the format behind it.
fn initializer_name(constant: &str, number: Number) -> String {
    match number {
        Number::Fp32 => constant.to_owned(),
        _ => format!("{constant}.{}", lower::suffix(number)),
    }
}

fn initializer(network: &Network, constant: &Constant, number: Number) -> Tensor {
    let name = initializer_name(&constant.name, number);
    schema::tensor(&name, network.graph().shape(constant.value), number)
}

/// The little-endian numbers of a constant in a format.
fn numbers(network: &Network, constant: &Constant, number: Number) -> Result<Vec<u8>, OnnxError> {
    let values = network.read_constant(constant)?;
    let largest = f32::from(half::f16::MAX);
    match values.iter().find(|value| number == Number::Fp16 && value.is_finite() && value.abs() > largest) {
        Some(value) => Err(OnnxError::Range { weight: constant.name.clone(), value: *value }),
        None => Ok(bytes(number, &values)),
    }
}

/// Numbers in a format, rounded to nearest, little-endian.
fn bytes(number: Number, values: &[f32]) -> Vec<u8> {
    match number {
        Number::Fp32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Number::Fp16 => values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
        Number::Bf16 => values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::random_model;
    use crate::{Architecture, HeadKind};
    use calibration::Size;
    use schema::data_type;

    /// Operation, name and number format of every node of a typed file, in order.
    fn types(network: &Network, spec: &PrecisionSpec) -> Vec<(String, String, i32)> {
        let typing = Typing::new(network.graph(), Precision::Fp16, spec);
        let file = encode_typed(network, &typing).unwrap();
        let graph = schema::Model::decode(file.as_slice()).unwrap().graph.unwrap();
        let float = |kind: i32| [Number::Fp32, Number::Fp16, Number::Bf16].map(data_type).contains(&kind);
        let mut known: HashMap<String, i32> =
            graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.data_type)).collect();
        for (port, way) in
            graph.input.iter().map(|p| (p, "in")).chain(graph.output.iter().map(|p| (p, "out")))
        {
            let kind = port.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()).unwrap().elem_type;
            assert_eq!(kind, data_type(Number::Fp32), "{way} {}", port.name);
        }
        known.extend(graph.input.iter().map(|port| (port.name.clone(), data_type(Number::Fp32))));
        let mut rows = Vec::new();
        for node in &graph.node {
            let inputs: BTreeSet<i32> =
                node.input.iter().filter_map(|name| known.get(name)).copied().filter(|k| float(*k)).collect();
            assert_eq!(inputs.len(), 1, "{} mixes formats", node.name);
            let own = *inputs.first().unwrap();
            let to = node.attribute.iter().find(|attribute| attribute.name == "to").and_then(|a| a.i);
            known.insert(node.output[0].clone(), to.map_or(own, |to| to as i32));
            rows.push((node.op_type.clone(), node.name.clone(), own));
        }
        for port in &graph.output {
            assert_eq!(known[&port.name], data_type(Number::Fp32), "{}", port.name);
        }
        rows
    }

    fn networks() -> Vec<Network> {
        let size = Size { width: 64, height: 48 };
        let dpt = HeadKind::DptDepth { features: 8, out_channels: [8, 8, 8, 8] };
        let heads = [("depth".to_owned(), HeadKind::LinearDepth {}), ("dpt".to_owned(), dpt)];
        let model = random_model(Architecture::named("pixio-tiny16").unwrap(), &heads, &[size], 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bundle = model.write(&folder.path().join("bundle"), false, |_| ()).unwrap();
        // Weights are read when they are needed, so the folder has to stay.
        std::mem::forget(folder);
        vec![
            bundle.backbone(size).unwrap(),
            bundle.head("depth", size).unwrap(),
            bundle.head("dpt", size).unwrap(),
        ]
    }

    #[test]
    fn what_must_be_fp32_is_fp32_in_the_file_and_the_rest_is_not() {
        let (half, single) = (data_type(Number::Fp16), data_type(Number::Fp32));
        for network in networks() {
            let rows = types(&network, &PrecisionSpec::default());
            for (op, name, kind) in &rows {
                if ["LayerNormalization", "Softmax"].contains(&op.as_str()) {
                    assert_eq!(*kind, single, "{name}");
                }
            }
            let products: Vec<_> =
                rows.iter().filter(|row| ["Gemm", "MatMul", "Conv"].contains(&row.0.as_str())).collect();
            let last = products.last().unwrap();
            let is_head = network.name() != "backbone";
            assert_eq!(last.2, if is_head { single } else { half }, "{}", last.1);
            let others = &products[..products.len() - 1];
            assert!(others.iter().all(|row| row.2 == half), "{others:?}");
            if is_head {
                let after: Vec<_> = rows.iter().skip_while(|row| row.1 != last.1).collect();
                assert!(after.iter().all(|row| row.2 == single), "{after:?}");
            }
        }
    }

    #[test]
    fn the_list_of_the_manifest_reaches_the_file() {
        let spec =
            PrecisionSpec { fp32: vec!["encoder.blocks.1".into()], bf16: vec!["*.attn.scores".into()] };
        for (op, name, kind) in types(&networks()[0], &spec) {
            if op != "Cast" && name.starts_with("encoder.blocks.1.") {
                assert_eq!(kind, data_type(Number::Fp32), "{name}");
            } else if name.ends_with("attn.scores") {
                assert_eq!(kind, data_type(Number::Bf16), "{name}");
            }
        }
    }

    #[test]
    fn a_weight_beyond_float16_is_refused_by_name() {
        let mut builder = crate::graph::GraphBuilder::new("huge");
        let x = builder.input("x", &[2]);
        let huge = builder.constant("gain", &[1], vec![7e4_f32]).unwrap();
        let y = builder.node("mul", crate::graph::Op::Mul, &[x, huge]).unwrap();
        let z = builder.weight("w", &[1, 2]);
        let b = builder.constant("b", &[1], vec![0.0_f32]).unwrap();
        let row = builder.node("row", crate::graph::Op::Reshape { shape: vec![1, 2] }, &[y]).unwrap();
        let out = builder.node("last", crate::graph::Op::Linear, &[row, z, b]).unwrap();
        builder.output("y", out);
        let graph = builder.finish();
        let weights = crate::Weights::from_tensors(
            [("w".to_owned(), crate::weights::Tensor::from_f32(&[1, 2], &[1.0, 1.0]).unwrap())].into(),
        );
        let network = Network::new(graph, std::sync::Arc::new(weights)).unwrap();
        let typing = Typing::new(network.graph(), Precision::Fp16, &PrecisionSpec::default());
        let error = encode_typed(&network, &typing).unwrap_err().to_string();
        assert!(error.contains("gain") && error.contains("precision.fp32"), "{error}");
        let spec = PrecisionSpec { fp32: vec!["mul".into()], bf16: vec![] };
        assert!(encode_typed(&network, &Typing::new(network.graph(), Precision::Fp16, &spec)).is_ok());
    }
}
