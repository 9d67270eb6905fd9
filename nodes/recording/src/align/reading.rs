//! What a row takes out of a message.

use std::sync::Arc;

use calibration::Size;

use super::Problem;
use super::picture;
use crate::cdr::{FieldPath, Schema, Value};
use crate::contract::{Pictures, Stream};
use crate::dataset::Picture;
use crate::message::Definition;

/// What a message gives a row.
#[derive(Debug, Clone)]
pub(super) enum Decoded {
    Numbers(Arc<Vec<f32>>),
    Picture(Arc<Picture>),
}

/// How a stream's messages are read.
pub(super) struct Reading {
    schema: Schema,
    wanted: Wanted,
}

enum Wanted {
    Numbers { paths: Vec<FieldPath>, count: usize, each_one: bool },
    Picture { size: Size, video: bool },
    Tokens { count: usize, dim: usize },
}

impl Reading {
    pub fn new(stream: &Stream, definition: &Definition) -> Result<Self, Problem> {
        let schema = Schema::parse(&stream.kind, &definition.text)?;
        let wanted = if let Some(size) = stream.size {
            Wanted::Picture { size, video: stream.pictures == Pictures::Video }
        } else if let Some(tokens) = &stream.tokens {
            Wanted::Tokens { count: tokens.count as usize, dim: tokens.dim as usize }
        } else {
            let paths =
                stream.fields.iter().map(|field| FieldPath::parse(field)).collect::<Result<_, _>>()?;
            Wanted::Numbers { paths, count: stream.number_names().len(), each_one: stream.names.is_empty() }
        };
        Ok(Self { schema, wanted })
    }

    /// # Errors
    /// The message is damaged, or not what the contract says.
    pub fn decode(&self, message: &[u8]) -> Result<Decoded, Problem> {
        let value = self.schema.decode(message)?;
        match &self.wanted {
            Wanted::Numbers { paths, count, each_one } => numbers(&value, paths, *count, *each_one),
            Wanted::Picture { size, video } => {
                picture::picture(&value, *size, *video).map(|p| Decoded::Picture(Arc::new(p)))
            }
            Wanted::Tokens { count, dim } => tokens(&value, *count, *dim),
        }
    }
}

fn numbers(value: &Value<'_>, paths: &[FieldPath], count: usize, each_one: bool) -> Result<Decoded, Problem> {
    let mut numbers = Vec::with_capacity(count);
    for path in paths {
        let before = numbers.len();
        path.numbers(value, &mut numbers)?;
        if each_one && numbers.len() != before + 1 {
            let came = format!("{}", numbers.len() - before);
            return Err(Problem::Message {
                expected: format!("one number at {path} (or names for several)"),
                came,
            });
        }
    }
    if numbers.len() != count {
        let expected = format!("{count} numbers in its fields, as many as names");
        return Err(Problem::Message { expected, came: numbers.len().to_string() });
    }
    finite(numbers.into_iter().map(|number| number as f32).collect())
}

/// A dataset holds no NaN: one would spoil the statistics of the whole feature.
fn finite(numbers: Vec<f32>) -> Result<Decoded, Problem> {
    match numbers.iter().find(|number| !number.is_finite()) {
        Some(came) => Err(Problem::Message { expected: "finite numbers".to_owned(), came: came.to_string() }),
        None => Ok(Decoded::Numbers(Arc::new(numbers))),
    }
}

/// Class tokens as `~/features/cls` publishes them: an Image 32FC1 with a row for each token.
fn tokens(value: &Value<'_>, count: usize, dim: usize) -> Result<Decoded, Problem> {
    let (size, encoding, step, data) = picture::raw(value)?;
    let little = value.get("is_bigendian").and_then(Value::uint) == Some(0);
    if encoding != "32FC1" || !little || (size.height, size.width) != (count, dim) || step < 4 * dim {
        let came = format!("{encoding} {} x {}", size.height, size.width);
        return Err(Problem::Message {
            expected: format!("tokens 32FC1, {count} rows of {dim}, little-endian"),
            came,
        });
    }
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let row = |row: &[u8]| row[..4 * dim].chunks_exact(4).map(number).collect::<Vec<_>>();
    finite(data.chunks_exact(step).take(count).flat_map(row).collect())
}
