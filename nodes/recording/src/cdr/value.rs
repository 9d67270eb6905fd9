//! A decoded message: a tree that borrows from its bytes and its definition.

use std::borrow::Cow;

/// The primitive number types of ROS messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// One byte, not 0 is true.
    Bool,
    /// Signed, this many bytes.
    Int(usize),
    /// Unsigned, this many bytes; `byte` and `char` are of one byte.
    Uint(usize),
    /// 4 bytes.
    Float32,
    /// 8 bytes.
    Float64,
}

impl Number {
    /// Its size in bytes, which is also its alignment.
    pub fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Int(size) | Self::Uint(size) => size,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// The value of exactly `size` bytes.
    pub(super) fn read(self, bytes: &[u8], little: bool) -> Value<'static> {
        let mut wide = [0; 8];
        for (index, byte) in bytes.iter().take(8).enumerate() {
            let place = if little { index } else { bytes.len() - 1 - index };
            wide[place] = *byte;
        }
        let raw = u64::from_le_bytes(wide);
        match self {
            Self::Bool => Value::Bool(raw != 0),
            Self::Uint(_) => Value::Uint(raw),
            Self::Int(size) => {
                let unused = 64 - 8 * size as u32;
                Value::Int(((raw << unused) as i64) >> unused)
            }
            Self::Float32 => Value::Float(f32::from_bits(raw as u32).into()),
            Self::Float64 => Value::Float(f64::from_bits(raw)),
        }
    }
}

/// An array of numbers, still as bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers<'a> {
    pub(super) kind: Number,
    pub(super) bytes: &'a [u8],
    pub(super) little: bool,
}

impl<'a> Numbers<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.size()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The number at `index` as f64 (64-bit integers beyond 2^53 lose digits); true is 1.
    pub fn get(&self, index: usize) -> Option<f64> {
        let size = self.kind.size();
        let start = index.checked_mul(size)?;
        self.kind.read(self.bytes.get(start..start.checked_add(size)?)?, self.little).number()
    }

    /// All of them, as [`Numbers::get`] gives them.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        let read = |chunk| self.kind.read(chunk, self.little).number().unwrap_or(f64::NAN);
        self.bytes.chunks_exact(self.kind.size()).map(read)
    }

    /// The bytes themselves, when the elements are single bytes (an image's data).
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        (self.kind.size() == 1).then_some(self.bytes)
    }
}

/// One decoded field or message.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A truth.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A float, of 4 or 8 bytes.
    Float(f64),
    /// Text; what is not UTF-8 in it is replaced.
    Text(Cow<'a, str>),
    /// An array of numbers.
    Numbers(Numbers<'a>),
    /// An array of texts or messages.
    List(Vec<Value<'a>>),
    /// A message: field names with values, in the order of the definition.
    Message(Vec<(&'a str, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// A field of a message.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        match self {
            Self::Message(fields) => fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A single number as f64 (64-bit integers beyond 2^53 lose digits); true is 1.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(truth) => Some(f64::from(u8::from(*truth))),
            Self::Int(number) => Some(*number as f64),
            Self::Uint(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// An unsigned integer, as sizes and indexes are.
    pub fn uint(&self) -> Option<u64> {
        match self {
            Self::Uint(number) => Some(*number),
            _ => None,
        }
    }

    /// Text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An array of numbers.
    pub fn numbers(&self) -> Option<Numbers<'a>> {
        match self {
            Self::Numbers(numbers) => Some(*numbers),
            _ => None,
        }
    }

    /// `header.stamp` of a message in nanoseconds since 1970; `None` without a header, or before 1970.
    pub fn header_stamp_nanos(&self) -> Option<u64> {
        let stamp = self.get("header")?.get("stamp")?;
        let (Value::Int(sec), Value::Uint(nanosec)) = (stamp.get("sec")?, stamp.get("nanosec")?) else {
            return None;
        };
        u64::try_from(*sec).ok()?.checked_mul(1_000_000_000)?.checked_add(*nanosec)
    }
}
