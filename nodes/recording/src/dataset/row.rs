//! One frame of an episode, as the alignment makes it and the dataset keeps it.

use std::sync::Arc;

use calibration::Size;

/// One frame: a value for each feature of the layout, and what is true about the streams it was taken from.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When the frame was due, nanoseconds since 1970.
    pub time_nanos: u64,
    /// One value per [`super::Layout::features`], in that order.
    pub values: Vec<Cell>,
    /// One entry per [`super::Layout::streams`], in that order.
    pub streams: Vec<StreamTruth>,
}

/// Where the values of one stream came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTruth {
    /// The capture stamp of the message that the frame shows, nanoseconds since 1970.
    pub stamp_nanos: u64,
    /// Whether the frame before shows the same message.
    pub repeated: bool,
    /// Whether the message is older than the contract allows.
    pub stale: bool,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// For [`super::FeatureKind::Float32`]; finite.
    Float32(Vec<f32>),
    /// For [`super::FeatureKind::Float64`]; finite.
    Float64(Vec<f64>),
    /// For [`super::FeatureKind::Int64`].
    Int64(Vec<i64>),
    /// For [`super::FeatureKind::Bool`].
    Bool(Vec<bool>),
    /// For [`super::FeatureKind::Text`].
    Text(String),
    /// For `Image`, `Video` and `Depth`; shared with whoever else shows it.
    Picture(Arc<Picture>),
}

/// A picture on its way into a dataset. What is compressed already is kept as it came where the format allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    /// Rows from the top, three bytes per pixel, tightly packed.
    Rgb8 {
        /// Width and height.
        size: Size,
        /// `3 * width * height` bytes.
        pixels: Vec<u8>,
    },
    /// One 16-bit number per pixel, millimetres of depth with 0 for unknown: for `Depth` only.
    Gray16 {
        /// Width and height.
        size: Size,
        /// `width * height` numbers.
        pixels: Vec<u16>,
    },
    /// The bytes of a JPEG or PNG file, kept as they came for `Image` (and 16-bit PNG for `Depth`).
    Encoded(Vec<u8>),
}
