//! Photographs from files, and those that golden outputs are made of when none are given.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use calibration::Size;
use image::{DynamicImage, ImageReader, Limits};
use perception::parity::Photograph;

use crate::infer::sources::{self, Source};

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

/// Reads a JPEG or PNG file as grey levels, row by row.
///
/// # Errors
/// When the file cannot be read or decoded.
pub fn read_grey(path: &Path) -> Result<(Size, Vec<u8>)> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let grey = picture(&bytes).with_context(|| path.display().to_string())?.into_luma8();
    Ok((Size { width: grey.width() as usize, height: grey.height() as usize }, grey.into_raw()))
}

/// Reads the pictures named, and those in the folders named.
///
/// # Errors
/// When a file cannot be read or decoded or is a video, or a folder holds no picture.
pub fn read_all(named: &[PathBuf]) -> Result<Vec<Photograph>> {
    let pictures = sources::find(named)?;
    pictures
        .iter()
        .map(|source| match source {
            Source::Picture(path) => read(path),
            Source::Video(path) => bail!("{}: expected a picture, found a video", path.display()),
        })
        .collect()
}

/// Decodes a JPEG or PNG as RGB.
///
/// # Errors
/// When the bytes are neither, or damaged.
pub fn decode(bytes: &[u8]) -> Result<Photograph> {
    let rgb = picture(bytes)?.into_rgb8();
    let size = Size { width: rgb.width() as usize, height: rgb.height() as usize };
    Ok(Photograph { size, rgb: rgb.into_raw() })
}

/// A decoded picture, whatever its colours.
///
/// # Errors
/// When the bytes are no JPEG or PNG picture, or a larger one than is decoded.
pub fn picture(bytes: &[u8]) -> Result<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    reader.decode().context("expected a JPEG or PNG picture")
}
