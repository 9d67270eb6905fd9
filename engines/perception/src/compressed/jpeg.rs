//! JPEG, baseline and progressive.

use calibration::Size;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{CompressedError, Decoded, reserve};
use crate::image::{Encoding, MAX_SIDE};

pub const MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];

/// The marker that ends an image. Cameras pad behind it, so it is looked for in the last kilobyte.
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
const PADDING: usize = 1024;

/// Decodes a picture of so many pixels `most` into `pixels`, replacing what was there: grey as a byte, colours as RGB.
pub fn decode(data: &[u8], most: usize, pixels: &mut Vec<u8>) -> Result<Decoded, CompressedError> {
    let damaged = |reason: String| CompressedError::Damaged { kind: "JPEG", came: data.len(), reason };
    let options = DecoderOptions::default().set_max_width(MAX_SIDE).set_max_height(MAX_SIDE);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(data), options);
    decoder.decode_headers().map_err(|error| damaged(error.to_string()))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("it has no size".to_owned()))?;
    let size = Size { width, height };
    // The decoder fills what is missing with grey and says nothing.
    let tail = &data[data.len().saturating_sub(PADDING)..];
    if !tail.windows(2).any(|marker| marker == END_OF_IMAGE) {
        return Err(damaged("it is cut off: expected the marker of the end of the image".to_owned()));
    }
    let (colours, encoding, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, Encoding::Mono8, 1),
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => (ColorSpace::RGB, Encoding::Rgb8, 3),
        other => {
            let came = other.map_or_else(|| "unknown colours".to_owned(), |other| format!("{other:?}"));
            return Err(CompressedError::Colours { kind: "JPEG", came });
        }
    };
    reserve("JPEG", (size, most), channels * size.width * size.height, pixels)?;
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    decoder.decode_into(pixels).map_err(|error| damaged(error.to_string()))?;
    Ok(Decoded { size, encoding })
}
