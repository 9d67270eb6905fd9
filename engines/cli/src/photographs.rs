//! Photographs from files, and those that golden outputs are made of when none are given.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use calibration::Size;
use image::{DynamicImage, GrayImage, ImageBuffer, RgbImage, RgbaImage};
use perception::parity::Photograph;
use perception::{Decompressor, Encoding};

use crate::infer::sources::{self, Source};

/// Largest photograph that is decoded, in pixels; cameras of 200 million have been built into phones.
const MAX_PIXELS: usize = 1 << 28;

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

/// A decoded picture, whatever its colours: of 8 bit, or grey of 16 bit. By the rules of compressed frames (docs/images.md).
///
/// # Errors
/// When the bytes are no JPEG or PNG picture, cut off or damaged, or a larger one than is decoded.
pub fn picture(bytes: &[u8]) -> Result<DynamicImage> {
    let mut decompressor = Decompressor::up_to(MAX_PIXELS);
    let view = decompressor.decode("", bytes)?;
    let (width, height) = (view.size().width as u32, view.size().height as u32);
    let pixels = view.bytes().to_vec();
    let levels = |pixels: &[u8]| pixels.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
    let picture = match view.encoding() {
        Encoding::Mono8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        Encoding::Mono16 => {
            ImageBuffer::from_raw(width, height, levels(&pixels)).map(DynamicImage::ImageLuma16)
        }
        Encoding::Rgb8 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        Encoding::Rgba8 => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
        other => bail!("expected grey or colours, got {other:?}"),
    };
    picture.context("expected as many pixels as the size says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        for (name, bytes) in BUILT_IN {
            assert_eq!(
                decode(bytes).unwrap().rgb,
                image::load_from_memory(bytes).unwrap().into_rgb8().into_raw()
            );
            for whole in [5000, bytes.len() / 2, bytes.len() - 2] {
                let error = decode(&bytes[..whole]).err().unwrap().to_string();
                assert!(error.contains(&format!("JPEG of {whole} bytes: it is cut off")), "{name}: {error}");
            }
        }
        let error = decode(b"<html>").err().unwrap().to_string();
        assert_eq!(error, "data: expected JPEG or PNG, got 6 bytes that begin with [3c, 68, 74, 6d, 6c, 3e]");
    }

    #[test]
    fn maps_keep_their_16_bit() {
        let map: ImageBuffer<image::Luma<u16>, Vec<u16>> =
            ImageBuffer::from_raw(3, 2, vec![0, 1, 255, 256, 65534, 65535]).unwrap();
        let mut file = std::io::Cursor::new(Vec::new());
        map.write_to(&mut file, image::ImageFormat::Png).unwrap();
        assert_eq!(picture(file.get_ref()).unwrap(), DynamicImage::ImageLuma16(map));
    }
}
