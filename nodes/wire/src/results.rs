//! What the networks gave, as messages; and a message's pixels for the networks.

use calibration::Size;
use perception::points::Rays;
use perception::{
    ConfidenceMap, DepthMap, Encoding, FeatureMap, HeadPoints, ImageError, ImageView, LabelMap,
};

use crate::{CloudLayout, Header, ImageMessageView, Written};

/// A checked view of a message's pixels.
///
/// # Errors
/// When the encoding is not known, the byte order is big endian, or the data do not hold the image.
pub fn image<'a>(message: &ImageMessageView<'a>) -> Result<ImageView<'a>, ImageError> {
    let encoding = Encoding::of_message(message.encoding, message.is_bigendian)?;
    let size = Size { width: message.width as usize, height: message.height as usize };
    ImageView::new(message.data, size, message.step as usize, encoding)
}

/// Writes numbers, little endian, one after another.
fn put_floats(bytes: &mut [u8], values: impl Iterator<Item = f32>) {
    bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(four, value)| *four = value.to_le_bytes());
}

/// How depth is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthEncoding {
    /// `32FC1`: metres, NaN where unknown (REP 118).
    Meters,
    /// `16UC1`: millimetres, 0 where unknown or beyond 65.534 m.
    Millimeters,
}

/// Writes depth as an image, tightly packed.
pub fn write_depth(into: &mut Written, header: Header<'_>, depth: &DepthMap, encoding: DepthEncoding) {
    let size = depth.size();
    match encoding {
        DepthEncoding::Meters => {
            let pixels = into.image(header, size, "32FC1", 4 * size.width);
            put_floats(pixels, depth.meters().iter().copied());
        }
        DepthEncoding::Millimeters => {
            let pixels = into.image(header, size, "16UC1", 2 * size.width).as_chunks_mut().0;
            pixels.iter_mut().zip(depth.millimeters()).for_each(|(two, value)| *two = value.to_le_bytes());
        }
    }
}

/// Writes tokens as an image of `32FC1`, one a row; taps one below the other.
pub fn write_tokens(
    into: &mut Written,
    header: Header<'_>,
    taps: &[FeatureMap],
    part: impl Fn(&FeatureMap) -> &[f32],
) {
    let dim = taps.first().map_or(1, |tap| tap.dim).max(1);
    let count: usize = taps.iter().map(|tap| part(tap).len()).sum();
    let bytes = into.image(header, Size { width: dim, height: count / dim }, "32FC1", 4 * dim);
    put_floats(bytes, taps.iter().flat_map(part).copied());
}

/// Writes `rgb8`, tightly packed: three bytes for each pixel of `size`.
pub fn write_color(into: &mut Written, header: Header<'_>, size: Size, rgb: &[u8]) {
    let pixels = into.image(header, size, "rgb8", 3 * size.width);
    pixels.iter_mut().zip(rgb).for_each(|(byte, value)| *byte = *value);
}

/// Writes an organised cloud of a depth map, x, y, z and rgb: metres in the camera's optical frame, NaN where unknown; colours packed
/// as PCL and rviz read them.
///
/// # Errors
/// When depth and rays are of different sizes.
pub fn write_points(
    into: &mut Written,
    header: Header<'_>,
    rays: &Rays,
    depth: &DepthMap,
    rgb: &[u8],
) -> Result<(), String> {
    let points = rays.points(depth)?;
    into.cloud(header, depth.size(), CloudLayout { fields: &["x", "y", "z", "rgb"] }, |bytes| {
        let bytes = bytes.as_chunks_mut::<4>().0.chunks_exact_mut(4);
        for ((fields, point), [red, green, blue]) in bytes.zip(points).zip(rgb.as_chunks::<3>().0) {
            let [x, y, z] = point.map(f32::to_le_bytes);
            fields.copy_from_slice(&[x, y, z, [*blue, *green, *red, 0]]);
        }
        Ok(())
    })
}

/// As [`write_points`], of a point map head: with its confidence, 0 to 1. Points of pixels that are `covered` are unknown.
///
/// # Errors
/// When colours or covered pixels are not as many as points.
pub fn write_head_points(
    into: &mut Written,
    header: Header<'_>,
    head: &HeadPoints,
    rgb: &[u8],
    covered: Option<&[bool]>,
) -> Result<(), String> {
    let size = head.points().size();
    let (colors, marks) = (rgb.as_chunks::<3>().0, covered.unwrap_or(&[]));
    if colors.len() != size.area() || covered.is_some_and(|covered| covered.len() != size.area()) {
        return Err(format!(
            "expected colours and covered pixels of {size}, got {} and {}",
            colors.len(),
            marks.len()
        ));
    }
    let fields = CloudLayout { fields: &["x", "y", "z", "rgb", "confidence"] };
    into.cloud(header, size, fields, |bytes| {
        let bytes = bytes.as_chunks_mut::<4>().0.chunks_exact_mut(5);
        let points = head.points().points().iter().zip(head.confidence().values()).zip(colors);
        for (index, (fields, ((point, share), [red, green, blue]))) in bytes.zip(points).enumerate() {
            let is_covered = marks.get(index).copied().unwrap_or(false);
            let [x, y, z] = if is_covered { [f32::NAN; 3] } else { *point }.map(f32::to_le_bytes);
            fields.copy_from_slice(&[x, y, z, [*blue, *green, *red, 0], share.to_le_bytes()]);
        }
        Ok(())
    })
}

/// Writes confidences as `32FC1`, 0 to 1, NaN where the head does not say.
pub fn write_confidence(into: &mut Written, header: Header<'_>, confidence: &ConfidenceMap) {
    let size = confidence.size();
    put_floats(into.image(header, size, "32FC1", 4 * size.width), confidence.values().iter().copied());
}

/// Writes label ids, tightly packed: `mono8` for up to 256 classes, else `mono16`.
pub fn write_segmentation(into: &mut Written, header: Header<'_>, map: &LabelMap, classes: usize) {
    let size = map.size();
    if classes <= 256 {
        let pixels = into.image(header, size, "mono8", size.width);
        pixels.iter_mut().zip(map.labels()).for_each(|(pixel, label)| *pixel = *label as u8);
    } else {
        let pixels = into.image(header, size, "mono16", 2 * size.width).as_chunks_mut().0;
        pixels.iter_mut().zip(map.labels()).for_each(|(pixel, label)| *pixel = label.to_le_bytes());
    }
}
