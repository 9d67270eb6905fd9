//! Depth arrays as numpy saves them: `.npy`, and the first array of an `.npz`.

use std::io::{Cursor, Read};

use anyhow::{Context, Result, bail};
use calibration::Size;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

/// The largest array that is read, in bytes: 64 Mi pixels of 8 bytes.
const MAX_BYTES: u64 = 512 << 20;
/// What an `.npy` file starts with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// Two-dimensional numbers, row by row.
#[derive(Debug, PartialEq)]
pub struct Array {
    /// Columns and rows.
    pub size: Size,
    /// The numbers.
    pub values: Vec<f64>,
}

/// Reads an array of rows x columns numbers of float32, float64 or uint16 from the bytes of an `.npy` or `.npz` file.
///
/// # Errors
/// When the bytes are something else, or larger than any depth image.
pub fn read(bytes: &[u8]) -> Result<Array> {
    if bytes.starts_with(MAGIC) { parse(bytes) } else { parse(&first_of_archive(bytes)?) }
}

fn first_of_archive(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).context("expected an .npy or .npz file")?;
    let entry = archive.by_index_raw(0).context("expected an array in the .npz file")?;
    let compression = entry.compression();
    let mut array = Vec::new();
    match compression {
        CompressionMethod::Stored => entry.take(MAX_BYTES + 1).read_to_end(&mut array)?,
        // numpy.savez_compressed deflates (method 8).
        CompressionMethod::DEFLATE => {
            DeflateDecoder::new(entry).take(MAX_BYTES + 1).read_to_end(&mut array)?
        }
        method => bail!("expected stored or deflated arrays in the .npz file, got {method}"),
    };
    if array.len() as u64 > MAX_BYTES {
        bail!("expected an array of at most {MAX_BYTES} bytes");
    }
    Ok(array)
}

fn parse(bytes: &[u8]) -> Result<Array> {
    let bad = || "expected an .npy header";
    let rest = bytes.strip_prefix(MAGIC).with_context(bad)?;
    let (version, rest) = rest.split_first_chunk::<2>().with_context(bad)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk().map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest)),
        _ => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest)),
    }
    .with_context(bad)?;
    let (header, data) = rest.split_at_checked(length as usize).with_context(bad)?;
    let header = std::str::from_utf8(header).with_context(bad)?;
    let size = shape(header)?;
    let values = match field(header, "descr")? {
        "'<f4'" => numbers(data, |b: &[u8; 4]| f64::from(f32::from_le_bytes(*b))),
        "'<f8'" => numbers(data, |b: &[u8; 8]| f64::from_le_bytes(*b)),
        "'<u2'" => numbers(data, |b: &[u8; 2]| f64::from(u16::from_le_bytes(*b))),
        other => bail!("expected numbers of <f4, <f8 or <u2, got {other}"),
    };
    if values.len() != size.area() {
        bail!("expected {} numbers for {size}, got {}", size.area(), values.len());
    }
    Ok(Array { size, values })
}

fn numbers<const N: usize>(data: &[u8], number: impl Fn(&[u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks::<N>().0.iter().map(number).collect()
}

fn shape(header: &str) -> Result<Size> {
    if field(header, "fortran_order")? != "False" {
        bail!("expected rows one after another (fortran_order False)");
    }
    let (_, rest) = header.split_once("'shape':").context("expected a shape in the .npy header")?;
    let inner =
        rest.trim_start().strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inner, _)| inner);
    let sides: Vec<usize> = inner
        .into_iter()
        .flat_map(|inner| inner.split(','))
        .filter_map(|side| side.trim().parse().ok())
        .collect();
    match sides[..] {
        [height, width] if (1..=1 << 16).contains(&height) && (1..=1 << 16).contains(&width) => {
            Ok(Size { width, height })
        }
        _ => bail!("expected an array of rows x columns, got the shape {:?}", inner.unwrap_or_default()),
    }
}

/// A value of the header's Python dictionary, as text up to the next comma.
fn field<'h>(header: &'h str, name: &str) -> Result<&'h str> {
    let found = header.split_once(&format!("'{name}':")).and_then(|(_, rest)| rest.split_once(','));
    found.map(|(value, _)| value.trim()).with_context(|| format!("expected {name} in the .npy header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.array([[1.5, 2.5, 3.5]], "<f4")`, as numpy writes it.
    fn file(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_are_read_or_refused() {
        let data: Vec<u8> = [1.5_f32, 2.5, 3.5].iter().flat_map(|value| value.to_le_bytes()).collect();
        let read_back = read(&file("<f4", "(1, 3)", &data)).unwrap();
        assert_eq!(read_back, Array { size: Size { width: 3, height: 1 }, values: vec![1.5, 2.5, 3.5] });
        let cases = [
            (file("<f4", "(3,)", &data), "rows x columns"),
            (file("<f4", "(1, 4)", &data), "expected 4 numbers"),
            (file("<f4", "(0, 3)", &data), "rows x columns"),
            (file("<f4", "(99999999999, 3)", &data), "rows x columns"),
            (file("<i8", "(1, 3)", &data), "expected numbers of"),
            (b"\x93NUMPY\x01\x00\xff\xff".to_vec(), ".npy header"),
            (b"PK".to_vec(), ".npy or .npz"),
            (Vec::new(), ".npy or .npz"),
        ];
        for (bytes, expected) in cases {
            let error = format!("{:#}", read(&bytes).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
