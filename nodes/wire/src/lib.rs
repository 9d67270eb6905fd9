//! Images and point clouds as the bytes that travel: read where they lie, written straight into what is published.
//!
//! Classic CDR (OMG DDSI-RTPS, encapsulation `CDR_LE` or `CDR_BE`), as every ROS 2 middleware sends it: a header of four bytes, then
//! fields aligned to their size, counted from after the header. A typed message costs a copy from the wire into C, one into Rust, and
//! the same on the way out; these cost none and one. Nothing here needs ROS; that the bytes are the middleware's own is tested in
//! `pixio_ros`.

pub mod results;

mod reader;
mod writer;

pub use reader::{CompressedImageView, Header, ImageMessageView, ReadError};
pub use writer::{CloudLayout, Written};

/// Bytes of the encapsulation header.
const ENCAPSULATION: usize = 4;
