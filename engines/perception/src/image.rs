//! Pixels as a camera delivers them.

/// A checked view of camera pixels.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    /// Pixel bytes.
    pub data: &'a [u8],
}
