//! Pictures between cameras and files: compression, checks, and what statistics need of their pixels.

use std::io::Cursor;

use calibration::Size;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{
    DynamicImage, ExtendedColorType, GenericImageView, ImageEncoder, ImageFormat, ImageReader, Limits,
};

use super::row::Picture;
use super::stats::Histogram;

/// JPEG quality of pictures that come uncompressed.
const QUALITY: u8 = 92;
/// Longest side of what statistics look at; larger pictures are taken every n-th pixel, as LeRobot does.
const STATISTICS_SIDE: usize = 150;
/// Values of 16-bit pictures are counted in steps of this many.
const GRAY16_STEP: u16 = 16;
/// What decoding one picture may take.
const MAX_DECODED: u64 = 512 << 20;

/// The scale of a depth map's histogram.
pub(super) const DEPTH_SCALE: f64 = GRAY16_STEP as f64;
/// The scale of an 8-bit picture's histogram: statistics are of 0..1.
pub(super) const COLOR_SCALE: f64 = 1.0 / 255.0;

/// Width, height and tightly packed RGB of any picture.
pub(super) fn rgb(picture: &Picture) -> Result<(Size, std::borrow::Cow<'_, [u8]>), String> {
    match picture {
        Picture::Rgb8 { size, pixels } => {
            check_length(*size, 3, pixels.len())?;
            Ok((*size, pixels.into()))
        }
        Picture::Gray16 { .. } => Err("expected a colour picture, got 16-bit depth".to_owned()),
        Picture::Encoded(bytes) => {
            let decoded = decode(bytes)?.into_rgb8();
            Ok((size_of(&decoded), decoded.into_raw().into()))
        }
    }
}

fn check_length(size: Size, per_pixel: usize, came: usize) -> Result<(), String> {
    let expected = size.width * size.height * per_pixel;
    match came == expected {
        true => Ok(()),
        false => Err(format!("expected {expected} values for {}x{}, got {came}", size.width, size.height)),
    }
}

/// Decodes a JPEG or PNG file.
pub(crate) fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let mut reader = open(bytes)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    reader.decode().map_err(|error| error.to_string())
}

fn open(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, String> {
    let reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    match reader.format() {
        Some(ImageFormat::Jpeg | ImageFormat::Png) => Ok(reader),
        other => Err(format!("expected JPEG or PNG bytes, got {other:?}")),
    }
}

/// Width and height by the file's header alone.
pub(crate) fn encoded_size(bytes: &[u8]) -> Result<Size, String> {
    let (width, height) = open(bytes)?.into_dimensions().map_err(|error| error.to_string())?;
    Ok(Size { width: width as usize, height: height as usize })
}

/// Width and height of a decoded picture.
pub(super) fn size_of(picture: &impl GenericImageView) -> Size {
    Size { width: picture.width() as usize, height: picture.height() as usize }
}

/// The bytes that a row of an `Image` feature keeps.
pub(super) fn compressed(picture: &Picture) -> Result<(Size, Vec<u8>), String> {
    if let Picture::Encoded(bytes) = picture {
        return Ok((encoded_size(bytes)?, bytes.clone()));
    }
    let (size, pixels) = rgb(picture)?;
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .write_image(&pixels, size.width as u32, size.height as u32, ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok((size, bytes))
}

/// The bytes that a row of a `Depth` feature keeps, a 16-bit PNG.
pub(super) fn compressed_depth(picture: &Picture) -> Result<(Size, Vec<u8>), String> {
    match picture {
        Picture::Gray16 { size, pixels } => {
            check_length(*size, 1, pixels.len())?;
            let raw: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_ne_bytes()).collect();
            let mut bytes = Vec::new();
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Sub)
                .write_image(&raw, size.width as u32, size.height as u32, ExtendedColorType::L16)
                .map_err(|error| error.to_string())?;
            Ok((*size, bytes))
        }
        Picture::Encoded(bytes) => match decode(bytes)? {
            DynamicImage::ImageLuma16(map) => Ok((size_of(&map), bytes.clone())),
            other => Err(format!("expected a 16-bit grey PNG, got {:?}", other.color())),
        },
        Picture::Rgb8 { .. } => Err("expected 16-bit depth, got a colour picture".to_owned()),
    }
}

fn stride(size: Size) -> usize {
    let side = size.width.max(size.height);
    if side < 2 * STATISTICS_SIDE { 1 } else { side / STATISTICS_SIDE }
}

/// How often each value comes, per channel, over a grid of pixels.
pub(super) fn color_histograms(size: Size, rgb: &[u8]) -> Vec<Histogram> {
    let step = stride(size);
    let mut counts = [[0_u64; 256]; 3];
    for row in rgb.chunks_exact(3 * size.width).step_by(step) {
        for pixel in row.chunks_exact(3).step_by(step) {
            for (channel, value) in counts.iter_mut().zip(pixel) {
                channel[usize::from(*value)] += 1;
            }
        }
    }
    let sparse = |channel: &[u64; 256]| {
        let counted = (0..).zip(channel).filter(|(_, count)| **count > 0);
        Histogram(counted.map(|(value, count)| (value, *count)).collect())
    };
    counts.iter().map(sparse).collect()
}

/// How often each step of depth comes, over a grid of pixels.
pub(super) fn depth_histogram(picture: &Picture) -> Result<Histogram, String> {
    let decoded;
    let (size, pixels) = match picture {
        Picture::Gray16 { size, pixels } => (*size, pixels),
        Picture::Encoded(bytes) => {
            let map = decode(bytes)?.into_luma16();
            let size = size_of(&map);
            decoded = map.into_raw();
            (size, &decoded)
        }
        Picture::Rgb8 { .. } => return Err("expected 16-bit depth, got a colour picture".to_owned()),
    };
    let step = stride(size);
    let mut histogram = Histogram::default();
    for row in pixels.chunks_exact(size.width.max(1)).step_by(step) {
        for pixel in row.iter().step_by(step) {
            *histogram.0.entry(pixel / GRAY16_STEP).or_default() += 1;
        }
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 40, height: 20 };

    #[test]
    fn colour_survives_jpeg_and_depth_survives_png() {
        let pixels: Vec<u8> = (0..40 * 20 * 3).map(|i| (i / 12) as u8).collect();
        let (size, bytes) = compressed(&Picture::Rgb8 { size: SIZE, pixels: pixels.clone() }).unwrap();
        assert_eq!((size, encoded_size(&bytes).unwrap()), (SIZE, SIZE));
        let encoded = Picture::Encoded(bytes);
        let (_, back) = rgb(&encoded).unwrap();
        let error: u32 = back.iter().zip(&pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        assert!(error / (pixels.len() as u32) < 4);

        let map: Vec<u16> = (0..40 * 20).map(|i| i * 80).collect();
        let (_, bytes) = compressed_depth(&Picture::Gray16 { size: SIZE, pixels: map.clone() }).unwrap();
        assert_eq!(decode(&bytes).unwrap().into_luma16().into_raw(), map);
    }

    #[test]
    fn wrong_lengths_and_kinds_are_refused() {
        let short = Picture::Rgb8 { size: SIZE, pixels: vec![0; 5] };
        assert_eq!(compressed(&short).unwrap_err(), "expected 2400 values for 40x20, got 5");
        assert!(compressed(&Picture::Encoded(b"GIF89a".to_vec())).unwrap_err().contains("JPEG or PNG"));
        assert!(compressed_depth(&short).is_err());
        assert!(rgb(&Picture::Gray16 { size: SIZE, pixels: vec![0; 800] }).is_err());
    }
}
