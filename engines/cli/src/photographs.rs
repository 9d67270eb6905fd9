//! Photographs from files, and those that golden outputs are made of when none are given.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result};
use calibration::Size;
use image::{ImageReader, Limits};
use perception::parity::Photograph;

/// Largest photograph that is decoded, in bytes of pixels.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// Real pictures, free of copyright (`tests/photos/README.md` names their makers).
const BUILT_IN: [(&str, &[u8]); 3] = [
    ("coffee.jpg", include_bytes!("../../../tests/photos/coffee.jpg")),
    ("chelsea.jpg", include_bytes!("../../../tests/photos/chelsea.jpg")),
    ("rocket.jpg", include_bytes!("../../../tests/photos/rocket.jpg")),
];

/// The photographs that come with the tool.
///
/// # Errors
/// When one cannot be decoded.
pub fn built_in() -> Result<Vec<Photograph>> {
    BUILT_IN.iter().map(|(name, bytes)| decode(bytes).context(*name)).collect()
}

/// Reads a JPEG or PNG file as RGB.
///
/// # Errors
/// When the file cannot be read or decoded.
pub fn read(path: &Path) -> Result<Photograph> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    decode(&bytes).with_context(|| path.display().to_string())
}

fn decode(bytes: &[u8]) -> Result<Photograph> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let rgb = reader.decode().context("expected a JPEG or PNG picture")?.into_rgb8();
    let size = Size { width: rgb.width() as usize, height: rgb.height() as usize };
    Ok(Photograph { size, rgb: rgb.into_raw() })
}
