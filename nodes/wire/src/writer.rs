//! Serialised messages, written in place.

use calibration::Size;

use super::ENCAPSULATION;
use super::reader::Header;

/// A message being written or ready to be published. Its memory is used again and again: a message no larger than the ones
/// before allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Written {
    bytes: Vec<u8>,
    /// Bytes of the message; what lies beyond is of longer ones before it.
    len: usize,
}

/// Fields of a point, `float32` each, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloudLayout<'a> {
    /// Names of the fields, for example `x y z rgb`.
    pub fields: &'a [&'a str],
}

impl CloudLayout<'_> {
    /// Bytes of one point.
    pub fn point_step(&self) -> usize {
        4 * self.fields.len()
    }
}

/// `sensor_msgs/PointField`'s number for `float32`.
const FLOAT32: u8 = 7;

impl Written {
    /// The serialised message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether nothing was written since it was made or cleared.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the message, not the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Begins a `sensor_msgs/Image` and returns its pixels, rows `step` bytes apart and little endian, to be filled. What is not
    /// filled holds bytes of an earlier message.
    pub fn image(&mut self, header: Header<'_>, size: Size, encoding: &str, step: usize) -> &mut [u8] {
        self.begin(header);
        self.u32(size.height);
        self.u32(size.width);
        self.text(encoding);
        self.put(&[0]);
        self.u32(step);
        self.sequence(step * size.height)
    }

    /// Writes an organised `sensor_msgs/PointCloud2` of `float32` fields; `fill` gets its points, row by row.
    ///
    /// # Errors
    /// What `fill` says; the message is then not whole.
    pub fn cloud<E>(
        &mut self,
        header: Header<'_>,
        size: Size,
        layout: CloudLayout<'_>,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.begin(header);
        self.u32(size.height);
        self.u32(size.width);
        self.u32(layout.fields.len());
        for (index, name) in layout.fields.iter().enumerate() {
            self.text(name);
            self.u32(4 * index);
            self.put(&[FLOAT32]);
            self.u32(1);
        }
        self.put(&[0]); // is_bigendian
        let step = layout.point_step();
        self.u32(step);
        self.u32(step * size.width);
        fill(self.sequence(step * size.area()))?;
        self.put(&[0]); // is_dense: points may be NaN
        Ok(())
    }

    fn begin(&mut self, header: Header<'_>) {
        self.len = 0;
        self.put(&[0, 1, 0, 0]);
        self.put(&header.stamp.sec.to_le_bytes());
        self.put(&header.stamp.nanosec.to_le_bytes());
        self.text(header.frame_id);
    }

    /// Room for so many bytes more. Nothing large is cleared: the caller overwrites what earlier messages left.
    fn room(&mut self, count: usize) -> &mut [u8] {
        let from = self.len;
        self.len += count;
        if self.bytes.len() < self.len {
            self.bytes.resize(self.len, 0);
        }
        &mut self.bytes[from..self.len]
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// A number of 32 bits, aligned.
    fn u32(&mut self, value: usize) {
        let padding = (self.len - ENCAPSULATION).next_multiple_of(4) + ENCAPSULATION - self.len;
        self.room(padding).fill(0);
        self.put(&(value as u32).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() + 1);
        self.put(text.as_bytes());
        self.put(&[0]);
    }

    fn sequence(&mut self, count: usize) -> &mut [u8] {
        self.u32(count);
        self.room(count)
    }
}
