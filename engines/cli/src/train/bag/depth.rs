//! Depth out of `sensor_msgs/Image`.

use anyhow::{Result, bail, ensure};
use calibration::Size;
use perception::image::MAX_SIDE;
use wire::ImageMessageView;

/// Encodings that are depth: metres, and whole millimetres.
pub const ENCODINGS: [&str; 2] = ["32FC1", "16UC1"];

/// Depth along Z in whole millimetres, row by row, as a folder's maps have it; 0 where it is unknown: not finite, not above 0, or in metres
/// beyond 65.534.
///
/// # Errors
/// When the message is no such image, or its data do not hold it.
pub fn millimeters(image: &ImageMessageView<'_>) -> Result<(Size, Vec<u16>)> {
    let bytes = match image.encoding {
        "32FC1" => 4,
        "16UC1" => 2,
        other => bail!("encoding: expected 32FC1 (metres) or 16UC1 (millimetres), got {other:?}"),
    };
    ensure!(!image.is_bigendian, "is_bigendian: expected little-endian numbers, got big-endian ones");
    let size = Size { width: image.width as usize, height: image.height as usize };
    let sides = 1..=MAX_SIDE;
    let sound = sides.contains(&size.width) && sides.contains(&size.height);
    ensure!(sound, "size: expected sides of 1 to {MAX_SIDE}, got {size}");
    let (row, step) = (bytes * size.width, image.step as usize);
    ensure!(step >= row, "step: expected at least {row} bytes for a row of {size}, got {step}");
    let (needed, came) = (step * (size.height - 1) + row, image.data.len());
    ensure!(
        came >= needed,
        "data: expected at least {needed} bytes for {size} with a step of {step}, got {came}"
    );
    let rows = image.data.chunks(step).take(size.height).map(|line| &line[..row]);
    let depth = match bytes {
        4 => rows.flat_map(|line| line.as_chunks::<4>().0).map(|four| of_meters(*four)).collect(),
        _ => rows.flat_map(|line| line.as_chunks::<2>().0).map(|two| u16::from_le_bytes(*two)).collect(),
    };
    Ok((size, depth))
}

/// As `perception_node` writes metres as millimetres.
fn of_meters(little_endian: [u8; 4]) -> u16 {
    let millimeters = (f32::from_le_bytes(little_endian) * 1000.0).round();
    if (1.0..=65534.0).contains(&millimeters) { millimeters as u16 } else { 0 }
}

#[cfg(test)]
mod tests {
    use perception::Stamp;
    use wire::Header;

    use super::*;

    fn image<'a>(encoding: &'a str, step: u32, data: &'a [u8]) -> ImageMessageView<'a> {
        let header = Header { stamp: Stamp::default(), frame_id: "camera" };
        ImageMessageView { header, height: 2, width: 2, encoding, is_bigendian: false, step, data }
    }

    #[test]
    fn metres_and_millimetres_say_the_same_and_padding_is_left_out() {
        let size = Size { width: 2, height: 2 };
        let floats =
            |meters: &[f32]| -> Vec<u8> { meters.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let bytes = floats(&[1.5, f32::NAN, 9.0, f32::INFINITY, 0.0014, 9.0]);
        // The last row needs no padding.
        assert_eq!(millimeters(&image("32FC1", 12, &bytes[..20])).unwrap(), (size, vec![1500, 0, 0, 1]));
        let bytes: Vec<u8> = [1500_u16, 0, 9, 0, 1].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(millimeters(&image("16UC1", 6, &bytes)).unwrap(), (size, vec![1500, 0, 0, 1]));
        let bytes = floats(&[65.6, -1.0, 65.534, 0.0]);
        assert_eq!(millimeters(&image("32FC1", 8, &bytes)).unwrap().1, [0, 0, 65534, 0]);
    }

    #[test]
    fn what_is_no_depth_is_told() {
        let data = [0_u8; 16];
        let big = ImageMessageView { is_bigendian: true, ..image("16UC1", 4, &data) };
        let empty = ImageMessageView { height: 0, ..image("16UC1", 4, &data) };
        for (image, words) in [
            (image("mono16", 4, &data), "expected 32FC1 (metres) or 16UC1 (millimetres), got \"mono16\""),
            (image("32FC1", 7, &data), "step: expected at least 8 bytes for a row of 2x2, got 7"),
            (image("32FC1", 8, &data[1..]), "data: expected at least 16 bytes for 2x2"),
            (big, "is_bigendian"),
            (empty, "size: expected sides of 1"),
        ] {
            let error = millimeters(&image).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
