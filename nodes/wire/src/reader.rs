//! Serialised messages, read where they lie.

use perception::Stamp;

use super::ENCAPSULATION;

/// Why bytes are not the message that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The encapsulation is another one.
    #[error("serialised message: expected an encapsulation of CDR (0, 0 or 0, 1), got {0:?}")]
    Encapsulation(Vec<u8>),
    /// The bytes end before the field does.
    #[error("{field}: expected {expected} more bytes, got {left}")]
    Short {
        /// The field.
        field: &'static str,
        /// Bytes that it needs.
        expected: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A text that is none.
    #[error("{field}: expected UTF-8 text with a zero byte at its end")]
    Text {
        /// The field.
        field: &'static str,
    },
}

/// `std_msgs/Header`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// When it was taken.
    pub stamp: Stamp,
    /// Frame of its coordinates.
    pub frame_id: &'a str,
}

/// `sensor_msgs/Image`; the fields are as they came and checked by whoever uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageMessageView<'a> {
    /// Stamp and frame.
    pub header: Header<'a>,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Name of the encoding.
    pub encoding: &'a str,
    /// Whether numbers of more than one byte are big endian.
    pub is_bigendian: bool,
    /// Bytes from row to row.
    pub step: u32,
    /// The rows.
    pub data: &'a [u8],
}

/// `sensor_msgs/CompressedImage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedImageView<'a> {
    /// Stamp and frame.
    pub header: Header<'a>,
    /// What image_transport says of the bytes.
    pub format: &'a str,
    /// A file of that format.
    pub data: &'a [u8],
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn new(message: &'a [u8]) -> Result<Self, ReadError> {
        let Some((encapsulation, bytes)) = message.split_at_checked(ENCAPSULATION) else {
            return Err(ReadError::Short {
                field: "encapsulation",
                expected: ENCAPSULATION,
                left: message.len(),
            });
        };
        match encapsulation {
            [0, endian @ (0 | 1), ..] => Ok(Self { bytes, at: 0, big_endian: *endian == 0 }),
            other => Err(ReadError::Encapsulation(other.to_vec())),
        }
    }

    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], ReadError> {
        let left = &self.bytes[self.at.min(self.bytes.len())..];
        let taken = left.get(..count).ok_or(ReadError::Short { field, expected: count, left: left.len() })?;
        self.at += count;
        Ok(taken)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, ReadError> {
        self.at = self.at.next_multiple_of(4);
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(field, 4)?);
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, ReadError> {
        Ok(self.take(field, 1)?[0])
    }

    fn sequence(&mut self, field: &'static str) -> Result<&'a [u8], ReadError> {
        let count = self.u32(field)? as usize;
        self.take(field, count)
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, ReadError> {
        let bytes = self.sequence(field)?;
        let text = match bytes {
            // Some writers send an empty text without its zero byte.
            [] => bytes,
            [text @ .., 0] => text,
            _ => return Err(ReadError::Text { field }),
        };
        std::str::from_utf8(text).map_err(|_| ReadError::Text { field })
    }

    fn header(&mut self) -> Result<Header<'a>, ReadError> {
        let sec = self.u32("header.stamp.sec")?.cast_signed();
        let nanosec = self.u32("header.stamp.nanosec")?;
        Ok(Header { stamp: Stamp { sec, nanosec }, frame_id: self.text("header.frame_id")? })
    }
}

impl<'a> ImageMessageView<'a> {
    /// Reads a serialised `sensor_msgs/Image`.
    ///
    /// # Errors
    /// When the bytes are no such message, or end too early.
    pub fn read(message: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(message)?;
        Ok(Self {
            header: reader.header()?,
            height: reader.u32("height")?,
            width: reader.u32("width")?,
            encoding: reader.text("encoding")?,
            is_bigendian: reader.u8("is_bigendian")? != 0,
            step: reader.u32("step")?,
            data: reader.sequence("data")?,
        })
    }
}

impl<'a> CompressedImageView<'a> {
    /// Reads a serialised `sensor_msgs/CompressedImage`.
    ///
    /// # Errors
    /// When the bytes are no such message, or end too early.
    pub fn read(message: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(message)?;
        Ok(Self { header: reader.header()?, format: reader.text("format")?, data: reader.sequence("data")? })
    }
}
