//! Named tensors of a model, read from their files only when they are needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;

/// Bytes moved at a time when a tensor is copied.
const CHUNK_BYTES: usize = 1 << 20;

/// Number format of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// Little-endian bytes to numbers.
    fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let halves = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        match self {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect(),
            Dtype::F16 => halves().map(half::f16::from_bits).collect::<Vec<_>>().to_f32_vec(),
            Dtype::Bf16 => halves().map(half::bf16::from_bits).collect::<Vec<_>>().to_f32_vec(),
        }
    }
}

/// Why weights could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// No tensor of that name.
    #[error("expected a tensor {name}, of shape {expected:?}; there is none")]
    Missing {
        /// Canonical name.
        name: String,
        /// The shape that the architecture gives it.
        expected: Vec<usize>,
    },
    /// The tensor has another shape.
    #[error("tensor {name}: expected shape {expected:?}, got {actual:?}")]
    Shape {
        /// Canonical name.
        name: String,
        /// The shape that the architecture gives it.
        expected: Vec<usize>,
        /// The shape in the file.
        actual: Vec<usize>,
    },
    /// A tensor holds a number that is not finite.
    #[error("tensor {name} holds a number that is not finite")]
    NotFinite {
        /// Canonical name.
        name: String,
    },
    /// The file could not be read where the tensor lies.
    #[error("tensor {name} in {}: {reason}", path.display())]
    Read {
        /// Canonical name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

/// A file that tensors lie in.
#[derive(Clone, Debug)]
pub(crate) struct SharedFile {
    pub(crate) file: Arc<File>,
    pub(crate) path: Arc<Path>,
    pub(crate) len: u64,
}

impl SharedFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), path: path.into(), len })
    }
}

/// A contiguous run of a tensor's bytes.
#[derive(Clone, Debug)]
enum Part {
    /// In a file; the range was checked against the file's length when it was opened.
    File { file: SharedFile, offset: u64, len: usize },
    /// In memory.
    Memory(Arc<[u8]>),
}

/// One tensor: where its bytes are, little-endian, row by row.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    parts: Vec<Part>,
}

impl Tensor {
    /// A tensor in memory.
    ///
    /// # Errors
    /// When `values` do not fill `shape`.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Self, String> {
        if element_count(shape) != Some(values.len()) {
            return Err(format!("expected values that fill {shape:?}, got {}", values.len()));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Self { dtype: Dtype::F32, shape: shape.to_vec(), parts: vec![Part::Memory(bytes.into())] })
    }

    /// A tensor in memory, its numbers rounded to `dtype`.
    ///
    /// # Errors
    /// When `values` do not fill `shape`, or one is too large for half precision.
    pub fn rounded(shape: &[usize], values: &[f32], dtype: Dtype) -> Result<Self, String> {
        let bytes: Vec<u8> = match dtype {
            Dtype::F32 => return Self::from_f32(shape, values),
            Dtype::F16 => values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
            Dtype::Bf16 => {
                values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
            }
        };
        if element_count(shape) != Some(values.len()) {
            return Err(format!("expected values that fill {shape:?}, got {}", values.len()));
        }
        let tensor = Self { dtype, shape: shape.to_vec(), parts: vec![Part::Memory(bytes.clone().into())] };
        if dtype
            .decode(&bytes)
            .iter()
            .zip(values)
            .any(|(rounded, value)| value.is_finite() && !rounded.is_finite())
        {
            return Err(format!("a number is too large for {dtype:?}"));
        }
        Ok(tensor)
    }

    /// A tensor in a file, checked against the file's length.
    pub(crate) fn in_file(
        file: &SharedFile,
        dtype: Dtype,
        shape: &[usize],
        offset: u64,
    ) -> Result<Self, String> {
        let len = element_count(shape)
            .and_then(|count| count.checked_mul(dtype.size()))
            .ok_or_else(|| format!("shape {shape:?} has too many elements"))?;
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > file.len) {
            return Err(format!("expected {len} bytes at {offset}, but the file ends at {}", file.len));
        }
        let parts = vec![Part::File { file: file.clone(), offset, len }];
        Ok(Self { dtype, shape: shape.to_vec(), parts })
    }

    /// Tensors stacked along their first axis, for example query, key and value into one weight.
    pub(crate) fn stack(tensors: Vec<Tensor>) -> Result<Self, String> {
        let Some(first) = tensors.first() else {
            return Err("nothing to stack".to_owned());
        };
        let (dtype, mut shape) = (first.dtype, first.shape.clone());
        let fits = |t: &&Tensor| t.dtype == dtype && !t.shape.is_empty() && t.shape[1..] == shape[1..];
        if shape.is_empty() || tensors.iter().filter(fits).count() != tensors.len() {
            let shapes: Vec<_> = tensors.iter().map(|tensor| (tensor.dtype, &tensor.shape)).collect();
            return Err(format!("expected tensors of one type and row shape, got {shapes:?}"));
        }
        shape[0] = tensors.iter().map(|tensor| tensor.shape[0]).sum();
        let parts = tensors.into_iter().flat_map(|tensor| tensor.parts).collect();
        Ok(Self { dtype, shape, parts })
    }

    /// Number format in storage.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Length of the stored bytes.
    pub fn byte_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// Hands the stored bytes out in pieces of at most a megabyte.
    fn for_each_chunk(
        &self,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let mut buffer = vec![0; CHUNK_BYTES.min(self.byte_len())];
        for part in &self.parts {
            match part {
                Part::Memory(bytes) => each(bytes).map_err(|error| (PathBuf::from("memory"), error))?,
                Part::File { file, offset, len } => {
                    let mut done = 0;
                    while done < *len {
                        let piece = &mut buffer[..CHUNK_BYTES.min(len - done)];
                        file.file
                            .read_exact_at(piece, offset + done as u64)
                            .and_then(|()| each(piece))
                            .map_err(|error| (file.path.to_path_buf(), error))?;
                        done += piece.len();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Number of elements of a shape, unless it overflows.
fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side))
}

/// Named tensors of a model. Names are those of the official code, below `encoder.` and `heads.<name>.`.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Weights made of these tensors.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors }
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: String, tensor: Tensor) {
        self.tensors.insert(name, tensor);
    }

    /// Removes every tensor whose name begins so.
    pub fn remove_below(&mut self, prefix: &str) {
        self.tensors.retain(|name, _| !name.starts_with(prefix));
    }

    /// The tensor of this name, which must have this shape.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub fn check_shape(&self, name: &str, expected: &[usize]) -> Result<&Tensor, WeightsError> {
        let (name, expected) = (name.to_owned(), expected.to_vec());
        match self.tensors.get(&name) {
            None => Err(WeightsError::Missing { name, expected }),
            Some(tensor) if tensor.shape != expected => {
                Err(WeightsError::Shape { name, expected, actual: tensor.shape.clone() })
            }
            Some(tensor) => Ok(tensor),
        }
    }

    /// The numbers of a tensor as float32; every one is finite.
    ///
    /// # Errors
    /// When it is missing, has another shape, cannot be read, or holds a NaN or an infinity.
    pub fn read_f32(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.check_shape(name, expected)?;
        let mut values = Vec::with_capacity(tensor.byte_len() / tensor.dtype.size());
        self.copy_chunks(name, tensor, |bytes| {
            values.extend(tensor.dtype.decode(bytes));
            Ok(())
        })?;
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(WeightsError::NotFinite { name: name.to_owned() })
    }

    /// Streams a tensor's stored bytes into `out`.
    ///
    /// # Errors
    /// When it is missing, has another shape, or reading or writing fails.
    pub fn copy(&self, name: &str, expected: &[usize], out: &mut impl Write) -> Result<(), WeightsError> {
        let tensor = self.check_shape(name, expected)?;
        self.copy_chunks(name, tensor, |bytes| out.write_all(bytes))
    }

    fn copy_chunks(
        &self,
        name: &str,
        tensor: &Tensor,
        each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), WeightsError> {
        tensor.for_each_chunk(each).map_err(|(path, reason)| WeightsError::Read {
            name: name.to_owned(),
            path,
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_every_stored_type() {
        let cases: [(Dtype, &[u8]); 3] = [
            (Dtype::F32, &[0, 0, 0xc0, 0xbf, 0, 0, 0, 0x40]),
            (Dtype::F16, &[0x00, 0xbe, 0x00, 0x40]),
            (Dtype::Bf16, &[0xc0, 0xbf, 0x00, 0x40]),
        ];
        for (dtype, bytes) in cases {
            assert_eq!(dtype.decode(bytes), [-1.5, 2.0], "{dtype:?}");
        }
    }

    #[test]
    fn stacks_rows() {
        let row = |value: f32| Tensor::from_f32(&[1, 2], &[value, value]).unwrap();
        let stacked = Tensor::stack(vec![row(1.0), row(2.0), row(3.0)]).unwrap();
        let weights = Weights::from_tensors([("qkv".to_owned(), stacked)].into());
        assert_eq!(weights.read_f32("qkv", &[3, 2]).unwrap(), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_by_name() {
        let tensor = Tensor::from_f32(&[2], &[0.0, f32::NAN]).unwrap();
        let weights = Weights::from_tensors([("norm.bias".to_owned(), tensor)].into());
        let error = weights.read_f32("norm.bias", &[2]).unwrap_err().to_string();
        assert!(error.contains("norm.bias"), "{error}");
    }
}
