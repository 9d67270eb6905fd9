//! The bytes of a message into a [`Value`].

use std::borrow::Cow;

use super::CdrError;
use super::schema::{Count, Element, Field, Schema};
use super::value::{Numbers, Value};

/// Bytes of the encapsulation header; alignment counts from behind it.
const HEADER: usize = 4;

impl Schema {
    /// Decodes a message with its encapsulation header; bytes behind its end (padding) are ignored.
    ///
    /// Time and memory grow with the bytes, whatever counts they hold: each element takes at least one of them.
    ///
    /// # Errors
    /// Not plain CDR, too short, or a count above the definition's bound.
    pub fn decode<'a>(&'a self, bytes: &'a [u8]) -> Result<Value<'a>, CdrError> {
        let little = match bytes {
            [0, 0, _, _, ..] => false,
            [0, 1, _, _, ..] => true,
            _ => return Err(CdrError::Encapsulation { came: bytes.iter().take(HEADER).copied().collect() }),
        };
        Cursor { schema: self, bytes: &bytes[HEADER..], at: 0, little }.message(self.root)
    }
}

struct Cursor<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl<'a> Cursor<'a> {
    fn message(&mut self, index: usize) -> Result<Value<'a>, CdrError> {
        let schema: &'a Schema = self.schema;
        let mut fields = Vec::with_capacity(schema.types[index].fields.len());
        for field in &schema.types[index].fields {
            fields.push((field.name.as_str(), self.field(field)?));
        }
        Ok(Value::Message(fields))
    }

    fn field(&mut self, field: &'a Field) -> Result<Value<'a>, CdrError> {
        let count = match field.count {
            Count::One => return self.element(field),
            Count::Fixed(count) => count,
            Count::UpTo(limit) => {
                let came = self.uint32(field)? as usize;
                if came > limit {
                    return Err(CdrError::Bound { field: field.name.clone(), limit, came });
                }
                came
            }
        };
        if let Element::Number(kind) = field.element {
            if count > 0 {
                self.align(kind.size());
            }
            let bytes = self.take(count.saturating_mul(kind.size()), field)?;
            return Ok(Value::Numbers(Numbers { kind, bytes, little: self.little }));
        }
        if count > self.bytes.len().saturating_sub(self.at) {
            return Err(self.short(count, field));
        }
        // Room grows with what is really there: a lying count costs nothing.
        let mut list = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            list.push(self.element(field)?);
        }
        Ok(Value::List(list))
    }

    fn element(&mut self, field: &'a Field) -> Result<Value<'a>, CdrError> {
        match field.element {
            Element::Number(kind) => {
                self.align(kind.size());
                Ok(kind.read(self.take(kind.size(), field)?, self.little))
            }
            Element::Text => self.text(field).map(Value::Text),
            Element::Struct(index) => self.message(index),
        }
    }

    fn text(&mut self, field: &Field) -> Result<Cow<'a, str>, CdrError> {
        let length = self.uint32(field)? as usize;
        let bytes = self.take(length, field)?;
        // The length counts a closing zero; some writers leave both out of an empty text.
        Ok(String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)))
    }

    fn uint32(&mut self, field: &Field) -> Result<u32, CdrError> {
        self.align(4);
        let bytes = self.take(4, field)?;
        let word = [bytes[0], bytes[1], bytes[2], bytes[3]];
        Ok(if self.little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
    }

    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn take(&mut self, count: usize, field: &Field) -> Result<&'a [u8], CdrError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        // An empty array at the very end may leave the cursor aligned beyond it.
        let Some(end) = end else {
            return if count == 0 { Ok(&[]) } else { Err(self.short(count, field)) };
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn short(&self, needed: usize, field: &Field) -> CdrError {
        let left = self.bytes.len().saturating_sub(self.at);
        CdrError::Short { field: field.name.clone(), at: HEADER + self.at, needed, left }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOINTS: &str = "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\n\
        ================================================================================\nMSG: std_msgs/Header\n\
        builtin_interfaces/Time stamp\nstring frame_id\n";

    /// Two joints, written by hand after the rules of CDR.
    fn joints() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend(7_i32.to_le_bytes());
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend([6, 0, 0, 0, b'x', b'y', b'z', b'1', b'2', 0, 0, 0]); // "xyz12" and padding
        bytes.extend([2, 0, 0, 0]);
        bytes.extend([2, 0, 0, 0, b'a', 0, 0, 0]);
        bytes.extend([2, 0, 0, 0, b'b', 0, 0, 0]);
        bytes.extend([2, 0, 0, 0]);
        bytes.extend([0; 4]); // doubles are aligned to 8
        bytes.extend(1.5_f64.to_le_bytes());
        bytes.extend((-2.0_f64).to_le_bytes());
        bytes.extend([0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_joint_state_is_read() {
        let schema = Schema::parse("sensor_msgs/msg/JointState", JOINTS).unwrap();
        let bytes = joints();
        let value = schema.decode(&bytes).unwrap();
        assert_eq!(value.header_stamp_nanos(), Some(7_000_000_009));
        let position: Vec<f64> = value.get("position").unwrap().numbers().unwrap().iter().collect();
        assert_eq!(position, [1.5, -2.0]);
        assert_eq!(
            value.get("name").unwrap(),
            &Value::List(vec![Value::Text("a".into()), Value::Text("b".into())])
        );
        assert!(value.get("velocity").unwrap().numbers().unwrap().is_empty());
    }

    #[test]
    fn every_cut_is_refused_by_field() {
        let schema = Schema::parse("sensor_msgs/msg/JointState", JOINTS).unwrap();
        let bytes = joints();
        for length in 0..bytes.len() {
            assert!(schema.decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let error = schema.decode(&bytes[..60]).unwrap_err().to_string();
        assert!(error.starts_with("message: field position: expected 16 bytes at offset 52"), "{error}");
    }

    #[test]
    fn signs_sizes_and_byte_order_are_kept() {
        let schema = Schema::parse("a/msg/A", "int16 a\nuint64 b\nfloat32 c\nbool d\nint8[2] e").unwrap();
        let mut bytes = vec![0, 0, 0, 0];
        bytes.extend((-3_i16).to_be_bytes());
        bytes.extend([0; 6]);
        bytes.extend(u64::MAX.to_be_bytes());
        bytes.extend(0.5_f32.to_be_bytes());
        bytes.extend([1, 0xff, 5]);
        let value = schema.decode(&bytes).unwrap();
        assert_eq!(value.get("a"), Some(&Value::Int(-3)));
        assert_eq!(value.get("b"), Some(&Value::Uint(u64::MAX)));
        assert_eq!(value.get("c"), Some(&Value::Float(0.5)));
        assert_eq!(value.get("d"), Some(&Value::Bool(true)));
        assert_eq!(value.get("e").unwrap().numbers().unwrap().iter().collect::<Vec<_>>(), [-1.0, 5.0]);
    }

    #[test]
    fn a_tree_that_doubles_at_every_level_costs_no_more_than_the_bytes() {
        let rule = "=".repeat(80);
        let mut text = "T0 a\nT0 b".to_owned();
        for level in 0..25 {
            text.push_str(&format!("\n{rule}\nMSG: a/T{level}\nT{} a\nT{} b", level + 1, level + 1));
        }
        text.push_str(&format!("\n{rule}\nMSG: a/T25\nint8 x"));
        let schema = Schema::parse("a/msg/A", &text).unwrap();
        assert!(matches!(schema.decode(&[0, 1, 0, 0, 1, 2, 3]), Err(CdrError::Short { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~\n]{0,200}") {
            let known = Schema::parse("sensor_msgs/msg/JointState", JOINTS).unwrap();
            let mut framed = vec![0, 1, 0, 0];
            framed.extend(&bytes);
            let _ = known.decode(&framed);
            if let Ok(schema) = Schema::parse("a/msg/A", &text) {
                let _ = schema.decode(&framed);
            }
        }
    }
}
