//! Safetensors: single files, shards, and writing without holding the tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::tensor::{Dtype as FileDtype, Metadata, TensorInfo};
use serde::Deserialize;

use super::{CheckpointError, StateDict};
use crate::Weights;
use crate::weights::{Dtype, SharedFile, Tensor};

/// The longest header that is read, as in the safetensors crate.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The longest index of shards that is read.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Reads the header of a safetensors file; tensors of other than float types are left out.
pub(crate) fn read(path: &Path) -> Result<StateDict, CheckpointError> {
    let file = SharedFile::open(path).map_err(CheckpointError::io(path))?;
    let (metadata, data_start) = header(path, &file)?;
    let mut tensors = StateDict::new();
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            FileDtype::F32 => Dtype::F32,
            FileDtype::F16 => Dtype::F16,
            FileDtype::BF16 => Dtype::Bf16,
            _ => continue,
        };
        let tensor = Tensor::in_file(&file, dtype, &info.shape, data_start + info.data_offsets.0 as u64)
            .map_err(|reason| CheckpointError::format(path, format!("tensor {name}: {reason}")))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The checked header, and where the tensors' bytes begin.
fn header(path: &Path, file: &SharedFile) -> Result<(Metadata, u64), CheckpointError> {
    let mut length = [0; 8];
    let too_short =
        |_| CheckpointError::format(path, format!("expected a header, the file has {} bytes", file.len));
    file.file.read_exact_at(&mut length, 0).map_err(too_short)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > file.len - 8 {
        let reason = format!("expected a header inside the file's {} bytes, it claims {length}", file.len);
        return Err(CheckpointError::format(path, reason));
    }
    let mut json = vec![0; length as usize];
    file.file.read_exact_at(&mut json, 8).map_err(CheckpointError::io(path))?;
    let metadata: Metadata = serde_json::from_slice(&json)
        .map_err(|error| CheckpointError::format(path, format!("not a safetensors header: {error}")))?;
    let data_start = 8 + length;
    if data_start.checked_add(metadata.data_len() as u64) != Some(file.len) {
        let reason =
            format!("expected {} bytes of tensors, got {}", metadata.data_len(), file.len - data_start);
        return Err(CheckpointError::format(path, reason));
    }
    Ok((metadata, data_start))
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads the shards that an index names.
pub(super) fn read_sharded(path: &Path) -> Result<StateDict, CheckpointError> {
    let file = SharedFile::open(path).map_err(CheckpointError::io(path))?;
    if file.len > MAX_INDEX_BYTES {
        return Err(CheckpointError::format(
            path,
            format!("expected an index below {MAX_INDEX_BYTES} bytes"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(CheckpointError::io(path))?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| CheckpointError::format(path, format!("not an index of shards: {error}")))?;
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    let mut tensors = StateDict::new();
    for shard in shards {
        if Path::new(shard).components().count() != 1 || shard.starts_with('.') {
            return Err(CheckpointError::format(
                path,
                format!("expected shards beside the index, got {shard:?}"),
            ));
        }
        tensors.extend(read(&path.with_file_name(shard))?);
    }
    let missing: Vec<_> = index.weight_map.keys().filter(|name| !tensors.contains_key(*name)).collect();
    if missing.is_empty() {
        return Ok(tensors);
    }
    Err(CheckpointError::format(path, format!("tensors named here are in no shard: {missing:?}")))
}

/// Streams weights into a safetensors file, one megabyte at a time; `written` hears of the bytes done.
///
/// # Errors
/// When reading or writing fails.
pub(crate) fn write(
    path: &Path,
    weights: &Weights,
    mut written: impl FnMut(u64),
) -> Result<(), CheckpointError> {
    let mut offset = 0;
    let mut infos = Vec::with_capacity(weights.tensors().len());
    for (name, tensor) in weights.tensors() {
        let dtype = match tensor.dtype() {
            Dtype::F32 => FileDtype::F32,
            Dtype::F16 => FileDtype::F16,
            Dtype::Bf16 => FileDtype::BF16,
        };
        let end = offset + tensor.byte_len();
        infos.push((
            name.clone(),
            TensorInfo { dtype, shape: tensor.shape().to_vec(), data_offsets: (offset, end) },
        ));
        offset = end;
    }
    let format = |error: String| CheckpointError::format(path, error);
    let metadata = Metadata::new(None, infos).map_err(|error| format(error.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| format(error.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::new(File::create(path).map_err(CheckpointError::io(path))?);
    out.write_all(&(json.len() as u64).to_le_bytes()).map_err(CheckpointError::io(path))?;
    out.write_all(&json).map_err(CheckpointError::io(path))?;
    for (name, tensor) in weights.tensors() {
        weights.copy(name, tensor.shape(), &mut out).map_err(|error| format(error.to_string()))?;
        written(tensor.byte_len() as u64);
    }
    let file = out.into_inner().map_err(|error| CheckpointError::io(path)(error.into_error()))?;
    file.sync_all().map_err(CheckpointError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn with_header(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn hostile_headers_are_refused() {
        let cases = [
            (vec![1, 2, 3], "header"),
            (u64::MAX.to_le_bytes().to_vec(), "claims"),
            (with_header("{", 0), "not a safetensors header"),
            (with_header(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4), "bytes of tensors"),
            (with_header(r#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}"#, 8), "header"),
            (
                with_header(
                    r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#,
                    8,
                ),
                "header",
            ),
        ];
        for (bytes, reason) in cases {
            let error = read(file(&bytes).path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_index_may_not_leave_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors.index.json");
        std::fs::write(&path, r#"{"weight_map": {"norm.weight": "../../etc/passwd"}}"#).unwrap();
        let error = read_sharded(&path).unwrap_err().to_string();
        assert!(error.contains("beside the index"), "{error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let tensors = [
            ("a".to_owned(), Tensor::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap()),
            ("b".to_owned(), Tensor::from_f32(&[1], &[-1.0]).unwrap()),
        ];
        let out = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = 0;
        write(out.path(), &Weights::from_tensors(tensors.into()), |done| bytes += done).unwrap();
        assert_eq!(bytes, 20);
        let weights = Weights::from_tensors(read(out.path()).unwrap());
        assert_eq!(weights.read_f32("a", &[2, 2]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(weights.read_f32("b", &[1]).unwrap(), [-1.0]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(file(&bytes).path());
        }

        #[test]
        fn arbitrary_headers_never_panic(json in "\\{(\"[ab]\":\\{\"dtype\":\"(F32|F16|U8)\",\"shape\":\\[[0-9]{1,20}\\],\"data_offsets\":\\[[0-9]{1,3},[0-9]{1,20}\\]\\},?){0,3}\\}") {
            let _ = read(file(&with_header(&json, 64)).path());
        }
    }
}
