//! Messages into bytes: little-endian CDR as ROS 2 sends it.

/// A message being written.
#[derive(Debug)]
pub(crate) struct CdrWriter {
    bytes: Vec<u8>,
}

/// Bytes before the message, which alignment does not count.
const ENCAPSULATION: [u8; 4] = [0, 1, 0, 0];

impl CdrWriter {
    pub(crate) fn new() -> Self {
        Self { bytes: ENCAPSULATION.to_vec() }
    }

    fn align(&mut self, size: usize) {
        let length = (self.bytes.len() - ENCAPSULATION.len()).next_multiple_of(size);
        self.bytes.resize(ENCAPSULATION.len() + length, 0);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.u32(text.len() as u32 + 1);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    pub(crate) fn texts(&mut self, texts: &[String]) {
        self.u32(texts.len() as u32);
        texts.iter().for_each(|text| self.text(text));
    }

    pub(crate) fn doubles(&mut self, values: &[f64]) {
        self.u32(values.len() as u32);
        if !values.is_empty() {
            self.align(8);
        }
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }

    pub(crate) fn octets(&mut self, octets: &[u8]) {
        self.u32(octets.len() as u32);
        self.bytes.extend(octets);
    }

    /// A `std_msgs/Header`.
    pub(crate) fn header(&mut self, stamp_nanos: u64, frame: &str) {
        self.u32((stamp_nanos / 1_000_000_000) as u32);
        self.u32((stamp_nanos % 1_000_000_000) as u32);
        self.text(frame);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::{Schema, Value};

    #[test]
    fn what_is_written_is_read() {
        let definition = "\
            H header\nuint8 flag\nstring[] names\nfloat64[] values\nfloat64[] none\nuint8[] octets\nstring end\n\
            ================================================================================\n\
            MSG: t/H\nint32 sec\nuint32 nanosec\nstring frame\n";
        let mut writer = CdrWriter::new();
        writer.header(7_000_000_009, "base");
        writer.u8(3);
        writer.texts(&["a".to_owned(), "bcd".to_owned()]);
        writer.doubles(&[0.5, -2.0]);
        writer.doubles(&[]);
        writer.octets(&[1, 2, 3]);
        writer.text("é");
        let bytes = writer.finish();
        let schema = Schema::parse("t/msg/T", definition).unwrap();
        let message = schema.decode(&bytes).unwrap();
        let header = message.get("header").unwrap();
        assert_eq!(header.get("sec").and_then(Value::number), Some(7.0));
        assert_eq!(header.get("nanosec").and_then(Value::uint), Some(9));
        assert_eq!(header.get("frame").and_then(Value::text), Some("base"));
        let values: Vec<f64> = message.get("values").and_then(Value::numbers).unwrap().iter().collect();
        assert_eq!(values, [0.5, -2.0]);
        assert_eq!(message.get("end").and_then(Value::text), Some("é"));
    }
}
