//! A network as an ONNX file: clean graph, static shapes, opset 18, float32.

mod lower;
mod schema;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::WeightsError;
use crate::graph::Network;

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
    /// The file could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Bytes of a network's constants in float32.
pub fn weight_bytes(network: &Network) -> u64 {
    let graph = network.graph();
    let elements = |value| graph.shape(value).iter().product::<usize>() as u64;
    graph.constants().iter().map(|constant| 4 * elements(constant.value)).sum()
}

/// The ONNX file with all weights inside, in memory.
///
/// # Errors
/// When the weights exceed [`MAX_EMBEDDED_BYTES`] or cannot be read.
pub fn encode(network: &Network) -> Result<Vec<u8>, OnnxError> {
    let bytes = weight_bytes(network);
    if bytes > MAX_EMBEDDED_BYTES {
        return Err(OnnxError::TooLarge { network: network.name().to_owned(), bytes });
    }
    let mut initializers = Vec::with_capacity(network.graph().constants().len());
    for constant in network.graph().constants() {
        let values = network.read_constant(constant)?;
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = network.graph().shape(constant.value);
        initializers.push(schema::Tensor { raw_data: Some(raw), ..schema::tensor(&constant.name, shape) });
    }
    Ok(lower::model(network, initializers).encode_to_vec())
}

/// Writes the ONNX file, and beside it `<file>.data` with the weights when they exceed `embedded_limit` bytes
/// (usually [`MAX_EMBEDDED_BYTES`]), one tensor at a time. Returns the files written.
///
/// # Errors
/// When a weight cannot be read or a file cannot be written.
pub fn write(network: &Network, path: &Path, embedded_limit: u64) -> Result<Vec<PathBuf>, OnnxError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OnnxError::Io { path, source }
    };
    if weight_bytes(network) <= embedded_limit.min(MAX_EMBEDDED_BYTES) {
        std::fs::write(path, encode(network)?).map_err(io(path))?;
        return Ok(vec![path.to_owned()]);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let data_name = format!("{name}.data");
    let data_path = path.with_file_name(&data_name);
    let mut data = BufWriter::new(File::create(&data_path).map_err(io(&data_path))?);
    let mut end = 0_u64;
    let mut initializers = Vec::with_capacity(network.graph().constants().len());
    for constant in network.graph().constants() {
        let offset = end.next_multiple_of(ALIGNMENT);
        let values = network.read_constant(constant)?;
        data.write_all(&vec![0; (offset - end) as usize]).map_err(io(&data_path))?;
        for value in values.iter() {
            data.write_all(&value.to_le_bytes()).map_err(io(&data_path))?;
        }
        let length = 4 * values.len() as u64;
        end = offset + length;
        let shape = network.graph().shape(constant.value);
        initializers.push(schema::external_tensor(&constant.name, shape, &data_name, offset, length));
    }
    data.flush().map_err(io(&data_path))?;
    std::fs::write(path, lower::model(network, initializers).encode_to_vec()).map_err(io(path))?;
    Ok(vec![path.to_owned(), data_path])
}
