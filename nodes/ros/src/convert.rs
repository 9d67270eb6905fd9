//! Between ROS messages and core types.

use calibration::{CameraInfo, CameraModel, Roi, Size};
use perception::Stamp;
use perception::scale::Known;
use r2r::builtin_interfaces::msg::Time;
use r2r::sensor_msgs::msg;

use crate::cdr::{Header, ImageMessageView};

pub use wire::results::{
    DepthEncoding, image, write_color, write_confidence, write_depth, write_head_points, write_points,
    write_segmentation, write_tokens,
};

/// A message's stamp.
pub fn stamp(time: &Time) -> Stamp {
    Stamp { sec: time.sec, nanosec: time.nanosec }
}

/// The header of a message that is not written in place.
pub fn header_message(header: Header<'_>) -> r2r::std_msgs::msg::Header {
    let Stamp { sec, nanosec } = header.stamp;
    r2r::std_msgs::msg::Header { stamp: Time { sec, nanosec }, frame_id: header.frame_id.to_owned() }
}

/// A typed message as one that is read where it lies.
pub fn image_view(message: &msg::Image) -> ImageMessageView<'_> {
    ImageMessageView {
        header: Header { stamp: stamp(&message.header.stamp), frame_id: &message.header.frame_id },
        height: message.height,
        width: message.width,
        encoding: &message.encoding,
        is_bigendian: message.is_bigendian != 0,
        step: message.step,
        data: &message.data,
    }
}

/// What a CameraInfo message holds.
///
/// # Errors
/// When K, R or P have not 9, 9 and 12 numbers.
pub fn camera_info(message: &msg::CameraInfo) -> Result<CameraInfo, String> {
    let nine = |name: &str, values: &[f64]| -> Result<[f64; 9], String> {
        values.try_into().map_err(|_| format!("{name}: expected 9 numbers, got {}", values.len()))
    };
    let p: [f64; 12] = message
        .p
        .as_slice()
        .try_into()
        .map_err(|_| format!("p: expected 12 numbers, got {}", message.p.len()))?;
    let roi = &message.roi;
    Ok(CameraInfo {
        size: Size { width: message.width as usize, height: message.height as usize },
        distortion_model: message.distortion_model.clone(),
        d: message.d.clone(),
        k: nine("k", &message.k)?,
        r: nine("r", &message.r)?,
        p,
        binning: [message.binning_x, message.binning_y],
        roi: Roi {
            x_offset: roi.x_offset,
            y_offset: roi.y_offset,
            width: roi.width,
            height: roi.height,
            do_rectify: roi.do_rectify,
        },
    })
}

/// The message of a calibration.
pub fn camera_info_message(header: r2r::std_msgs::msg::Header, info: &CameraInfo) -> msg::CameraInfo {
    msg::CameraInfo {
        header,
        height: info.size.height as u32,
        width: info.size.width as u32,
        distortion_model: info.distortion_model.clone(),
        d: info.d.clone(),
        k: info.k.to_vec(),
        r: info.r.to_vec(),
        p: info.p.to_vec(),
        binning_x: info.binning[0],
        binning_y: info.binning[1],
        roi: r2r::sensor_msgs::msg::RegionOfInterest {
            x_offset: info.roi.x_offset,
            y_offset: info.roi.y_offset,
            height: info.roi.height,
            width: info.roi.width,
            do_rectify: info.roi.do_rectify,
        },
    }
}

/// The message of a rectified camera: K and P filled, no distortion, R the identity.
pub fn rectified_camera_message(header: Header<'_>, camera: &CameraModel) -> msg::CameraInfo {
    camera_info_message(header_message(header), &CameraInfo::of(camera))
}

/// So many known pixels of a reference are used at most; one in so many is taken then.
const MOST_KNOWN: usize = 4000;

/// The pixels of an image whose depth a reference knows: `32FC1` metres or `16UC1` millimetres, of any size of the image's shape;
/// what is not finite and above 0 is unknown.
///
/// # Errors
/// When the message is no such image.
pub fn known_depth(reference: &msg::Image, image: Size) -> Result<Vec<Known>, String> {
    let (width, height, step) =
        (reference.width as usize, reference.height as usize, reference.step as usize);
    let bytes = match reference.encoding.as_str() {
        "32FC1" => 4,
        "16UC1" | "mono16" => 2,
        other => return Err(format!("encoding: expected 32FC1 or 16UC1, got {other:?}")),
    };
    if width == 0 || height == 0 || step < width * bytes || reference.data.len() < step.saturating_mul(height)
    {
        return Err(format!(
            "expected {width}x{height} pixels, got {} bytes with a step of {step}",
            reference.data.len()
        ));
    }
    if reference.is_bigendian != 0 {
        return Err("expected little-endian numbers".to_owned());
    }
    let scale = [image.width as f64 / width as f64, image.height as f64 / height as f64];
    if (scale[0] / scale[1] - 1.0).abs() > 0.02 {
        return Err(format!("expected the image's shape {image}, got {width}x{height}"));
    }
    let meters = |column: usize, row: usize| {
        let at = &reference.data[row * step + column * bytes..];
        match bytes {
            4 => at.first_chunk().map_or(f64::NAN, |four| f64::from(f32::from_le_bytes(*four))),
            _ => at.first_chunk().map_or(f64::NAN, |two| f64::from(u16::from_le_bytes(*two)) * 1e-3),
        }
    };
    let known = |index: usize| {
        let (column, row) = (index % width, index / width);
        let meters = Some(meters(column, row)).filter(|meters| meters.is_finite() && *meters > 0.0)?;
        let centre = |at: usize, scale: f64| (at as f64 + 0.5) * scale - 0.5;
        Some(Known { pixel: [centre(column, scale[0]), centre(row, scale[1])], meters })
    };
    let all: Vec<Known> = (0..width * height).filter_map(known).collect();
    let every = all.len().div_ceil(MOST_KNOWN).max(1);
    Ok(all.into_iter().step_by(every).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_metres_or_millimetres_and_the_rest_is_refused() {
        let image = Size { width: 4, height: 2 };
        let reference = |encoding: &str, step: u32, data: Vec<u8>| msg::Image {
            header: r2r::std_msgs::msg::Header::default(),
            width: 2,
            height: 1,
            encoding: encoding.to_owned(),
            is_bigendian: 0,
            step,
            data,
        };
        let floats: Vec<u8> = [1.5_f32, f32::NAN].iter().flat_map(|value| value.to_le_bytes()).collect();
        let expected = [Known { pixel: [0.5, 0.5], meters: 1.5 }];
        assert_eq!(known_depth(&reference("32FC1", 8, floats.clone()), image).unwrap(), expected);
        let millimeters: Vec<u8> = [1500_u16, 0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(known_depth(&reference("16UC1", 4, millimeters), image).unwrap(), expected);
        let cases = [
            (reference("rgb8", 8, floats.clone()), image, "expected 32FC1 or 16UC1"),
            (reference("32FC1", 7, floats.clone()), image, "a step of 7"),
            (reference("32FC1", 8, floats[1..].to_vec()), image, "got 7 bytes"),
            (reference("32FC1", 8, floats), Size { width: 4, height: 4 }, "shape 4x4"),
        ];
        for (reference, image, reason) in cases {
            let error = known_depth(&reference, image).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
