//! Pictures out of `sensor_msgs/Image` and `sensor_msgs/CompressedImage`.

use calibration::Size;

use super::Problem;
use crate::cdr::Value;
use crate::dataset::{Picture, decode, encoded_size};

/// Bytes behind the end of a JPEG.
const PADDING: usize = 1024;

fn wrong(expected: impl Into<String>, came: impl Into<String>) -> Problem {
    Problem::Message { expected: expected.into(), came: came.into() }
}

/// A picture of the contract's size.
///
/// # Errors
/// Another size, damage, or an encoding that is neither colour nor grey.
pub(super) fn picture(value: &Value<'_>, wanted: Size, video: bool) -> Result<Picture, Problem> {
    if let Some(format) = value.get("format").and_then(Value::text) {
        return compressed(value, format, wanted, video);
    }
    let (size, encoding, step, data) = raw(value)?;
    if size != wanted {
        return Err(wrong(format!("pictures of {wanted}"), size.to_string()));
    }
    let rows = || data.chunks_exact(step).take(size.height);
    let pixels = |bytes: usize, order: [usize; 3]| -> Vec<u8> {
        let row = |row: &[u8]| -> Vec<u8> {
            row[..bytes * size.width].chunks_exact(bytes).flat_map(|pixel| order.map(|c| pixel[c])).collect()
        };
        rows().flat_map(row).collect()
    };
    let rgb = match encoding {
        "rgb8" if step == 3 * size.width => data[..step * size.height].to_vec(),
        "rgb8" => pixels(3, [0, 1, 2]),
        "bgr8" => pixels(3, [2, 1, 0]),
        "rgba8" => pixels(4, [0, 1, 2]),
        "bgra8" => pixels(4, [2, 1, 0]),
        "mono8" | "8UC1" => pixels(1, [0, 0, 0]),
        other => {
            let known = "rgb8, bgr8, rgba8, bgra8, mono8 or a CompressedImage";
            return Err(wrong(format!("encoding {known}"), other));
        }
    };
    Ok(Picture::Rgb8 { size, pixels: rgb })
}

/// Size, encoding, step and data of an Image whose data are as long as they should be.
pub(super) fn raw<'v>(value: &'v Value<'_>) -> Result<(Size, &'v str, usize, &'v [u8]), Problem> {
    let uint = |name: &str| value.get(name).and_then(Value::uint).map(|number| number as usize);
    let fields = (uint("width"), uint("height"), uint("step"));
    let (Some(width), Some(height), Some(step)) = fields else {
        return Err(wrong("an Image with width, height and step", "another message"));
    };
    let data = value.get("data").and_then(Value::numbers).and_then(|numbers| numbers.as_bytes());
    let data = data.ok_or_else(|| wrong("an Image with bytes as data", "another message"))?;
    let encoding = value.get("encoding").and_then(Value::text).unwrap_or_default();
    let bytes = match encoding {
        "rgb8" | "bgr8" => 3,
        "rgba8" | "bgra8" | "32FC1" => 4,
        "16UC1" | "mono16" => 2,
        _ => 1,
    };
    let sound = width > 0 && height > 0 && step >= width.saturating_mul(bytes);
    if !sound || step.checked_mul(height).is_none_or(|needed| needed > data.len()) {
        let came = format!("{width}x{height} {encoding} with step {step} and {} bytes", data.len());
        return Err(wrong("step times height bytes of pixels", came));
    }
    Ok((Size { width, height }, encoding, step, data))
}

/// JPEG and PNG. What is damaged, or of another size, is told here, so that it costs its message and not the rows behind it.
/// Pictures for a video are decoded once for all rows that show them; others are kept as they came.
fn compressed(value: &Value<'_>, format: &str, wanted: Size, video: bool) -> Result<Picture, Problem> {
    let data = value.get("data").and_then(Value::numbers).and_then(|numbers| numbers.as_bytes());
    let data = data.ok_or_else(|| wrong("a CompressedImage with bytes as data", "another message"))?;
    // The decoder fills what is missing at the end with grey and says nothing. Cameras pad behind the end.
    let tail = &data[data.len().saturating_sub(PADDING)..];
    match data {
        [0xff, 0xd8, 0xff, ..] if tail.windows(2).any(|marker| marker == [0xff, 0xd9]) => {}
        [0xff, 0xd8, 0xff, ..] => return Err(wrong("a whole JPEG", "one that is cut off")),
        [0x89, b'P', b'N', b'G', ..] => {}
        _ => {
            let came = format!("format {format:?}, {} bytes of neither", data.len());
            return Err(wrong("JPEG or PNG in a CompressedImage", came));
        }
    }
    let damaged = |problem: String| wrong("a whole JPEG or PNG", problem);
    let size = encoded_size(data).map_err(damaged)?;
    if size != wanted {
        return Err(wrong(format!("pictures of {wanted}"), size.to_string()));
    }
    let decoded = decode(data).map_err(damaged)?;
    Ok(match video {
        true => Picture::Rgb8 { size, pixels: decoded.into_rgb8().into_raw() },
        false => Picture::Encoded(data.to_vec()),
    })
}
