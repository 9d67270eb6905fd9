//! PNG of every kind: grey, palette, colours, opacity, 8 and 16 bit.

use std::io::Cursor;

use calibration::Size;
use png::{BitDepth, ColorType, Decoder, Transformations};

use super::{CompressedError, Decoded, reserve};
use crate::image::Encoding;

pub const MAGIC: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];

/// Decodes a picture of so many pixels `most` into `pixels`, replacing what was there; the first of an animation.
pub fn decode(data: &[u8], most: usize, pixels: &mut Vec<u8>) -> Result<Decoded, CompressedError> {
    let damaged = |error: png::DecodingError| CompressedError::Damaged {
        kind: "PNG",
        came: data.len(),
        reason: error.to_string(),
    };
    let mut decoder = Decoder::new(Cursor::new(data));
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = Size { width: reader.info().width as usize, height: reader.info().height as usize };
    reserve("PNG", (size, most), reader.output_buffer_size().unwrap_or(usize::MAX), pixels)?;
    let info = reader.next_frame(pixels).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    pixels.truncate(info.buffer_size());
    let encoding = match (info.color_type, info.bit_depth) {
        (ColorType::Grayscale, BitDepth::Eight) => Encoding::Mono8,
        (ColorType::Rgb, BitDepth::Eight) => Encoding::Rgb8,
        (ColorType::Rgba, BitDepth::Eight) => Encoding::Rgba8,
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => {
            keep(pixels, |[grey, _]| [grey]);
            Encoding::Mono8
        }
        (ColorType::Grayscale, BitDepth::Sixteen) => {
            keep(pixels, |[high, low]| [low, high]);
            Encoding::Mono16
        }
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => {
            keep(pixels, |[high, low, _, _]| [low, high]);
            Encoding::Mono16
        }
        (ColorType::Rgb, BitDepth::Sixteen) => {
            keep(pixels, eight_bit);
            Encoding::Rgb8
        }
        (ColorType::Rgba, BitDepth::Sixteen) => {
            keep(pixels, eight_bit);
            Encoding::Rgba8
        }
        other => return Err(CompressedError::Colours { kind: "PNG", came: format!("{other:?}") }),
    };
    Ok(Decoded { size, encoding })
}

/// Replaces every `FROM` bytes by `TO` made of them, in place.
fn keep<const FROM: usize, const TO: usize>(pixels: &mut Vec<u8>, made: impl Fn([u8; FROM]) -> [u8; TO]) {
    let count = pixels.len() / FROM;
    for index in 0..count {
        let mut from = [0; FROM];
        from.copy_from_slice(&pixels[index * FROM..][..FROM]);
        pixels[index * TO..][..TO].copy_from_slice(&made(from));
    }
    pixels.truncate(count * TO);
}

/// A big-endian 16-bit level, times 255 / 65535, rounded.
fn eight_bit(level: [u8; 2]) -> [u8; 1] {
    [((u32::from(u16::from_be_bytes(level)) + 128) / 257) as u8]
}
