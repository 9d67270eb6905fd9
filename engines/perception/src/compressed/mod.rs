//! JPEG and PNG, as they come in `sensor_msgs/CompressedImage`.

mod jpeg;
mod png;

use calibration::Size;

use crate::image::{Encoding, ImageError, ImageView};

/// The largest picture that is decompressed, in pixels; an 8K frame has a little less.
pub const MAX_PIXELS: usize = 1 << 25;

/// Why compressed bytes are not an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressedError {
    /// The format is of another kind of message.
    #[error("format {came:?}: {reason}")]
    Format {
        /// What the message says, its beginning.
        came: String,
        /// Why it is not used.
        reason: &'static str,
    },
    /// The bytes begin like neither JPEG nor PNG, whatever the format says.
    #[error("data: expected JPEG or PNG, got {came} bytes that begin with {head:02x?}{}", said(format))]
    Content {
        /// Bytes that came.
        came: usize,
        /// The first of them.
        head: Vec<u8>,
        /// What the message says, its beginning.
        format: String,
    },
    /// More pixels than are decompressed.
    #[error("{kind}: expected at most {most} pixels, got {came}")]
    Size {
        /// `JPEG` or `PNG`.
        kind: &'static str,
        /// Pixels that are decompressed at most.
        most: usize,
        /// Size that the file claims.
        came: Size,
    },
    /// A picture that is whole, but of a kind that cameras do not deliver.
    #[error("{kind}: expected grey or red, green and blue, got {came}")]
    Colours {
        /// `JPEG` or `PNG`.
        kind: &'static str,
        /// What the file holds.
        came: String,
    },
    /// The bytes are cut off or damaged.
    #[error("{kind} of {came} bytes: {reason}")]
    Damaged {
        /// `JPEG` or `PNG`.
        kind: &'static str,
        /// Bytes that came.
        came: usize,
        /// What the decoder says.
        reason: String,
    },
    /// The pixels do not make an image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Pixels that came out of a file: how they lie, and their size.
struct Decoded {
    size: Size,
    encoding: Encoding,
}

/// Decompresses frames into a buffer that it keeps.
#[derive(Debug)]
pub struct Decompressor {
    most: usize,
    pixels: Vec<u8>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::up_to(MAX_PIXELS)
    }
}

impl Decompressor {
    /// One for pictures of so many pixels at most, where [`MAX_PIXELS`], enough for frames, are not.
    pub fn up_to(most: usize) -> Self {
        Self { most, pixels: Vec::new() }
    }

    /// The pixels of a JPEG or PNG file. The content decides which it is; `format` is as ROS writes it (`jpeg`, `png`,
    /// `bgr8; jpeg compressed bgr8`, ...). 16-bit grey stays so, 16-bit colours become 8-bit as [`Encoding::Mono16`] does,
    /// opacity is not looked at. An EXIF orientation is not applied: CameraInfo is about the pixels as they lie, and
    /// `compressed_image_transport` does not apply it either. Grey pixels of a Bayer image, which the format names, are
    /// that Bayer image; those of 16 bit are not read, as they are not as raw images either.
    ///
    /// # Errors
    /// When the format is that of a depth image, the bytes are neither JPEG nor PNG, cut off, damaged, of four printing
    /// colours (CMYK), grey ones of a Bayer image of 16 bit, or of too many pixels ([`MAX_PIXELS`], or as
    /// [`Decompressor::up_to`] was told), which is found out before anything is allocated.
    pub fn decode(&mut self, format: &str, data: &[u8]) -> Result<ImageView<'_>, CompressedError> {
        let original = original_encoding(format)?;
        let decoded = if data.starts_with(&jpeg::MAGIC) {
            jpeg::decode(data, self.most, &mut self.pixels)?
        } else if data.starts_with(&png::MAGIC) {
            png::decode(data, self.most, &mut self.pixels)?
        } else {
            let head = data.iter().take(8).copied().collect();
            return Err(CompressedError::Content { came: data.len(), head, format: beginning(format) });
        };
        // Colours were made of the pattern before they were compressed.
        let encoding = match (original, decoded.encoding) {
            (Original::Bayer16, Encoding::Mono8 | Encoding::Mono16)
            | (Original::Bayer8(_), Encoding::Mono16) => {
                let reason = "expected a Bayer image of 8 bit, got one of 16 bit, which is not converted";
                return Err(CompressedError::Format { came: beginning(format), reason });
            }
            (Original::Bayer8(bayer), Encoding::Mono8) => bayer,
            (_, decoded) => decoded,
        };
        let step = encoding.row_bytes(decoded.size.width);
        Ok(ImageView::new(&self.pixels, decoded.size, step, encoding)?)
    }
}

/// What the image was before it was compressed, as far as its format says so and it matters.
enum Original {
    /// One colour a pixel, of 8 bit.
    Bayer8(Encoding),
    /// One colour a pixel, of 16 bit.
    Bayer16,
    /// Anything else: the file says what it is.
    Other,
}

fn original_encoding(format: &str) -> Result<Original, CompressedError> {
    let original = format.split(';').next().unwrap_or_default().trim();
    let refused = |reason| CompressedError::Format { came: beginning(format), reason };
    if format.contains("compressedDepth") {
        return Err(refused("expected a picture, got a compressed depth image, which is not one"));
    }
    if matches!(original, "16UC1" | "32FC1") {
        return Err(refused(
            "expected a picture, got measurements of no stated brightness (depth, disparity)",
        ));
    }
    if original.starts_with("bayer_") && original.ends_with("16") {
        return Ok(Original::Bayer16);
    }
    let bayer = original.parse().ok().filter(|encoding: &Encoding| encoding.is_bayer());
    Ok(bayer.map_or(Original::Other, Original::Bayer8))
}

/// The format as errors say it, if there is one.
fn said(format: &str) -> String {
    if format.is_empty() { String::new() } else { format!(" (format {format:?})") }
}

fn beginning(format: &str) -> String {
    format.chars().take(64).collect()
}

/// Makes room for a picture, or refuses it for its size.
fn reserve(
    kind: &'static str,
    (size, most): (Size, usize),
    bytes: usize,
    pixels: &mut Vec<u8>,
) -> Result<(), CompressedError> {
    // The most that a pixel takes while it is decoded: four channels of 16 bit.
    if size.width.saturating_mul(size.height) > most || bytes > most.saturating_mul(8) {
        return Err(CompressedError::Size { kind, most, came: size });
    }
    pixels.clear();
    pixels.resize(bytes, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{DynamicImage, ImageFormat};
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Even sides, a ramp in each channel.
    fn picture() -> DynamicImage {
        let pixel = |x: u32, y: u32| ::image::Rgba([(x * 9) as u8, (y * 11) as u8, (x + y) as u8 * 5, 200]);
        DynamicImage::ImageRgba8(::image::RgbaImage::from_fn(24, 18, pixel))
    }

    fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn rgb(view: &ImageView<'_>) -> Vec<u8> {
        let mut rgb = vec![0; 3 * view.size().area()];
        view.write_rgb(&mut rgb);
        rgb
    }

    #[test]
    fn every_kind_of_png_gives_its_pixels() {
        let source = picture();
        let eight = source.to_rgb8();
        let grey = DynamicImage::ImageLuma8(source.to_luma8());
        let cases = [
            (source.clone(), Encoding::Rgba8, eight.as_raw().clone()),
            (DynamicImage::ImageRgb8(eight.clone()), Encoding::Rgb8, eight.as_raw().clone()),
            (DynamicImage::ImageRgb16(source.to_rgb16()), Encoding::Rgb8, eight.as_raw().clone()),
            (DynamicImage::ImageRgba16(source.to_rgba16()), Encoding::Rgba8, eight.as_raw().clone()),
            (grey.clone(), Encoding::Mono8, grey.to_rgb8().into_raw()),
            (DynamicImage::ImageLumaA8(grey.to_luma_alpha8()), Encoding::Mono8, grey.to_rgb8().into_raw()),
            (DynamicImage::ImageLuma16(grey.to_luma16()), Encoding::Mono16, grey.to_rgb8().into_raw()),
            (DynamicImage::ImageLumaA16(grey.to_luma_alpha16()), Encoding::Mono16, grey.to_rgb8().into_raw()),
        ];
        let mut decompressor = Decompressor::default();
        for (picture, encoding, expected) in cases {
            let bytes = file(&picture, ImageFormat::Png);
            let view = decompressor.decode("rgb8; png compressed bgr8", &bytes).unwrap();
            assert_eq!(view.encoding(), encoding, "{:?}", picture.color());
            assert_eq!(rgb(&view), expected, "{:?}", picture.color());
        }
    }

    #[test]
    fn a_jpeg_is_what_another_reader_makes_of_it_whatever_the_format_says() {
        let bytes = file(&DynamicImage::ImageRgb8(picture().to_rgb8()), ImageFormat::Jpeg);
        let expected = ::image::load_from_memory(&bytes).unwrap().into_rgb8().into_raw();
        let mut decompressor = Decompressor::default();
        for format in ["jpeg", "jpg", "png", "", "rgb8; jpeg compressed bgr8"] {
            let view = decompressor.decode(format, &bytes).unwrap();
            assert_eq!((view.size(), rgb(&view)), (Size { width: 24, height: 18 }, expected.clone()));
        }
        let grey = file(&DynamicImage::ImageLuma8(picture().to_luma8()), ImageFormat::Jpeg);
        assert_eq!(
            decompressor.decode("mono8; jpeg compressed ", &grey).unwrap().encoding(),
            Encoding::Mono8
        );
    }

    #[test]
    fn a_compressed_bayer_image_stays_one() {
        let grey = file(&DynamicImage::ImageLuma8(picture().to_luma8()), ImageFormat::Png);
        let mut decompressor = Decompressor::default();
        let view = decompressor.decode("bayer_grbg8; png compressed ", &grey).unwrap();
        assert_eq!(view.encoding(), Encoding::BayerGrbg8);
    }

    #[test]
    fn a_bayer_image_of_16_bit_is_refused_unless_colours_were_made_of_it() {
        let grey = DynamicImage::ImageLuma8(picture().to_luma8());
        let colours = file(&DynamicImage::ImageRgb8(picture().to_rgb8()), ImageFormat::Png);
        let deep = file(&DynamicImage::ImageLuma16(grey.to_luma16()), ImageFormat::Png);
        let grey = file(&grey, ImageFormat::Png);
        let mut decompressor = Decompressor::default();
        for pattern in ["rggb", "bggr", "gbrg", "grbg"] {
            let (eight, sixteen) =
                (format!("bayer_{pattern}8; png compressed "), format!("bayer_{pattern}16; png compressed "));
            for (format, data) in [(&sixteen, &deep), (&sixteen, &grey), (&eight, &deep)] {
                let error = decompressor.decode(format, data).unwrap_err().to_string();
                assert!(
                    error.contains(pattern) && error.contains("expected a Bayer image of 8 bit"),
                    "{error}"
                );
            }
            assert_eq!(decompressor.decode(&sixteen, &colours).unwrap().encoding(), Encoding::Rgb8);
        }
        assert_eq!(
            decompressor.decode("mono16; png compressed ", &deep).unwrap().encoding(),
            Encoding::Mono16
        );
    }

    #[test]
    fn the_most_pixels_are_as_told() {
        let png = file(&picture(), ImageFormat::Png);
        assert!(Decompressor::up_to(24 * 18).decode("", &png).is_ok());
        let error = Decompressor::up_to(24 * 18 - 1).decode("", &png).unwrap_err().to_string();
        assert_eq!(error, "PNG: expected at most 431 pixels, got 24x18");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        let jpeg = file(&DynamicImage::ImageRgb8(picture().to_rgb8()), ImageFormat::Jpeg);
        let png = file(&picture(), ImageFormat::Png);
        let cases: &[(&str, &[u8], &str)] = &[
            ("32FC1; compressedDepth png", &png, "compressed depth"),
            ("16UC1; png compressed ", &png, "measurements"),
            ("jpeg", b"GIF89a", "expected JPEG or PNG, got 6 bytes"),
            ("jpeg", &[], "got 0 bytes"),
            ("jpeg", &jpeg[..jpeg.len() / 2], "JPEG of"),
            ("jpeg", &jpeg[..jpeg.len() - 2], "end of the image"),
            ("png", &png[..png.len() / 2], "PNG of"),
            ("png", &png[..png.len() - 12], "PNG of"),
        ];
        for (format, data, reason) in cases {
            let error = Decompressor::default().decode(format, data).unwrap_err().to_string();
            assert!(error.contains(reason), "{format}: {error}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        // The size stands in the first chunk: 20 years of camera frames from a hundred bytes.
        let mut png = file(&picture(), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let sum = crc(&png[12..29]).to_be_bytes();
        png[29..33].copy_from_slice(&sum);
        let mut jpeg = file(&DynamicImage::ImageRgb8(picture().to_rgb8()), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
        for bytes in [png, jpeg] {
            let error = Decompressor::default().decode("", &bytes).unwrap_err();
            assert!(matches!(error, CompressedError::Size { .. }), "{error}");
        }
    }

    /// The check sum of a PNG chunk (ISO 3309), bit by bit.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(
            png in any::<bool>(),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<proptest::sample::Index>(),
        ) {
            let format = if png { ImageFormat::Png } else { ImageFormat::Jpeg };
            let mut bytes = file(&DynamicImage::ImageRgb8(picture().to_rgb8()), format);
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(2 * bytes.len()));
            if let Ok(view) = Decompressor::default().decode("jpeg", &bytes) {
                rgb(&view);
            }
        }
    }
}
