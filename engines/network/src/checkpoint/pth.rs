//! PyTorch's zip checkpoints: a pickle that names storages, and the storages beside it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::pickle::{Id, Object, Pickle};
use super::{CheckpointError, StateDict};
use crate::weights::{Dtype, SharedFile, Tensor};

/// The largest pickle that is read; the largest published checkpoint's is below 100 kB.
const MAX_PICKLE_BYTES: u64 = 64 << 20;

/// Keys below which trainers keep the state dict.
const NESTED: [&str; 4] = ["model", "state_dict", "model_state_dict", "module"];

/// Reads the float tensors of a state dict; integer tensors such as `num_batches_tracked` are left out.
pub(super) fn read(path: &Path) -> Result<StateDict, CheckpointError> {
    let archive = Archive::open(path)?;
    let pickle =
        Pickle::parse(&archive.pickle).map_err(|error| CheckpointError::format(path, error.to_string()))?;
    let reader = Reader { archive: &archive, objects: &pickle.objects };
    reader.state_dict(pickle.root).map_err(|reason| CheckpointError::format(path, reason))
}

/// Where the entries of a zip archive lie.
struct Archive {
    file: SharedFile,
    pickle: Vec<u8>,
    /// Storage key to offset and length in the file.
    storages: BTreeMap<String, (u64, u64)>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = SharedFile::open(path).map_err(CheckpointError::io(path))?;
        let legacy = "expected a zip archive as torch.save writes it since PyTorch 1.6; \
                      older files must be saved again with a newer PyTorch";
        let mut zip = zip::ZipArchive::new(&*file.file)
            .map_err(|error| CheckpointError::format(path, format!("{legacy} ({error})")))?;
        let mut pickle = None;
        let mut storages = BTreeMap::new();
        for index in 0..zip.len() {
            let failed = |error: zip::result::ZipError| CheckpointError::format(path, error.to_string());
            let mut entry = zip.by_index_raw(index).map_err(failed)?;
            let name = entry.name().map_err(failed)?.into_owned();
            let inner = name.split_once('/').map_or(name.as_str(), |(_, inner)| inner);
            if entry.compression() != zip::CompressionMethod::Stored {
                return Err(CheckpointError::format(
                    path,
                    format!("{name}: expected a stored entry, it is compressed"),
                ));
            }
            match inner {
                "data.pkl" => pickle = Some(read_entry(path, &name, &mut entry)?),
                "byteorder" => check_byte_order(path, &read_entry(path, &name, &mut entry)?)?,
                _ => {
                    let start = entry.data_start();
                    if let (Some(key), Some(start)) = (inner.strip_prefix("data/"), start) {
                        storages.insert(key.to_owned(), (start, entry.size()));
                    }
                }
            }
        }
        let pickle = pickle.ok_or_else(|| CheckpointError::format(path, "expected an entry data.pkl"))?;
        Ok(Self { file, pickle, storages })
    }
}

fn read_entry(path: &Path, name: &str, entry: &mut impl Read) -> Result<Vec<u8>, CheckpointError> {
    let mut bytes = Vec::new();
    entry.take(MAX_PICKLE_BYTES + 1).read_to_end(&mut bytes).map_err(CheckpointError::io(path))?;
    if bytes.len() as u64 > MAX_PICKLE_BYTES {
        return Err(CheckpointError::format(
            path,
            format!("{name}: expected at most {MAX_PICKLE_BYTES} bytes"),
        ));
    }
    Ok(bytes)
}

fn check_byte_order(path: &Path, order: &[u8]) -> Result<(), CheckpointError> {
    if order == b"little" {
        return Ok(());
    }
    let came = String::from_utf8_lossy(&order[..order.len().min(16)]).into_owned();
    Err(CheckpointError::format(path, format!("expected little-endian storages, got byteorder {came:?}")))
}

/// Interprets the pickle's calls as what PyTorch means by them.
struct Reader<'a> {
    archive: &'a Archive,
    objects: &'a [Object],
}

impl Reader<'_> {
    fn state_dict(&self, root: Id) -> Result<StateDict, String> {
        let mut items = self.dict(root).ok_or("expected a dict of tensors")?;
        if let Some(nested) = NESTED.iter().find_map(|key| self.get(items, key).and_then(|id| self.dict(id)))
        {
            items = nested;
        }
        let mut tensors = StateDict::new();
        for (key, value) in items {
            let Object::Text(name) = &self.objects[*key] else {
                continue;
            };
            if let Some(tensor) = self.tensor(*value).map_err(|reason| format!("tensor {name}: {reason}"))? {
                tensors.insert(name.clone(), tensor);
            }
        }
        if tensors.is_empty() {
            return Err("expected a dict of tensors, found none".to_owned());
        }
        Ok(tensors)
    }

    fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match &self.objects[id] {
            Object::Dict(items) => Some(items),
            _ => None,
        }
    }

    fn get(&self, items: &[(Id, Id)], key: &str) -> Option<Id> {
        let is_key = |id: Id| matches!(&self.objects[id], Object::Text(text) if text == key);
        items.iter().rev().find(|(id, _)| is_key(*id)).map(|(_, value)| *value)
    }

    /// A call's function and arguments.
    fn call(&self, id: Id) -> Option<(&str, &[Id])> {
        let Object::Call { function, arguments } = &self.objects[id] else {
            return None;
        };
        match (&self.objects[*function], &self.objects[*arguments]) {
            (Object::Global(name), Object::Tuple(arguments)) => Some((name, arguments)),
            _ => None,
        }
    }

    /// A float tensor; nothing for an object that is no tensor, or a tensor of integers.
    fn tensor(&self, id: Id) -> Result<Option<Tensor>, String> {
        match self.call(id) {
            Some(("torch._utils _rebuild_tensor_v2", [storage, offset, shape, strides, ..])) => {
                self.rebuild(*storage, *offset, *shape, *strides)
            }
            Some(("torch._utils _rebuild_parameter", [data, ..])) => match self.call(*data) {
                Some(("torch._utils _rebuild_tensor_v2", _)) => self.tensor(*data),
                _ => Err("expected a parameter of a tensor".to_owned()),
            },
            Some((name, _)) if name.starts_with("torch._utils _rebuild") => {
                Err(format!("expected a dense tensor, got one made by {name}"))
            }
            _ => Ok(None),
        }
    }

    fn rebuild(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Option<Tensor>, String> {
        let Some((dtype, start, len)) = self.storage(storage)? else {
            return Ok(None);
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let offset = self.size(offset)?;
        if !is_contiguous(&shape, &strides) {
            return Err(format!(
                "expected a contiguous tensor, got shape {shape:?} with strides {strides:?}"
            ));
        }
        let within = (offset as u64).checked_mul(dtype.size() as u64);
        let needed =
            shape.iter().try_fold(dtype.size() as u64, |bytes, side| bytes.checked_mul(*side as u64));
        let end = within.zip(needed).and_then(|(within, needed)| within.checked_add(needed));
        let (Some(within), Some(_)) = (within, end.filter(|end| *end <= len)) else {
            return Err(format!(
                "expected shape {shape:?} at element {offset} inside a storage of {len} bytes"
            ));
        };
        Tensor::in_file(&self.archive.file, dtype, &shape, start + within).map(Some)
    }

    /// Type, offset in the file and length of a storage; nothing for integers.
    fn storage(&self, id: Id) -> Result<Option<(Dtype, u64, u64)>, String> {
        let expected = "expected a storage by persistent id";
        let Object::Persistent(id) = &self.objects[id] else {
            return Err(expected.to_owned());
        };
        let Object::Tuple(parts) = &self.objects[*id] else {
            return Err(expected.to_owned());
        };
        let [tag, class, key, ..] = parts.as_slice() else {
            return Err(expected.to_owned());
        };
        let (Object::Text(tag), Object::Global(class), Object::Text(key)) =
            (&self.objects[*tag], &self.objects[*class], &self.objects[*key])
        else {
            return Err(expected.to_owned());
        };
        if tag != "storage" {
            return Err(format!("{expected}, got {tag:?}"));
        }
        let dtype = match class.as_str() {
            "torch FloatStorage" => Dtype::F32,
            "torch HalfStorage" => Dtype::F16,
            "torch BFloat16Storage" => Dtype::Bf16,
            "torch LongStorage" | "torch IntStorage" | "torch ShortStorage" | "torch ByteStorage"
            | "torch CharStorage" | "torch BoolStorage" => return Ok(None),
            other => return Err(format!("expected float32, float16 or bfloat16, got {other}")),
        };
        let (start, len) =
            self.archive.storages.get(key).ok_or_else(|| format!("there is no storage data/{key}"))?;
        Ok(Some((dtype, *start, *len)))
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>, String> {
        let Object::Tuple(items) = &self.objects[id] else {
            return Err("expected a tuple of sizes".to_owned());
        };
        items.iter().map(|item| self.size(*item)).collect()
    }

    fn size(&self, id: Id) -> Result<usize, String> {
        match self.objects[id] {
            Object::Int(value) => usize::try_from(value).map_err(|_| format!("expected a size, got {value}")),
            _ => Err("expected a size".to_owned()),
        }
    }
}

/// Whether strides are those of rows one after another; the stride of an axis of length 1 does not matter.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1_usize;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(side, stride)| {
            let fits = *side == 1 || *stride == expected;
            expected = expected.saturating_mul(*side);
            fits
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contiguity_ignores_axes_of_one() {
        let cases: &[(&[usize], &[usize], bool)] = &[
            (&[2, 3], &[3, 1], true),
            (&[2, 3], &[1, 2], false),
            (&[1, 3], &[99, 1], true),
            (&[], &[], true),
            (&[2], &[1, 1], false),
        ];
        for (shape, strides, expected) in cases {
            assert_eq!(is_contiguous(shape, strides), *expected, "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.pth");
        std::fs::write(&path, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("old.pth") && error.contains("PyTorch 1.6"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            prop_assert!(read(file.path()).is_err());
        }
    }
}
