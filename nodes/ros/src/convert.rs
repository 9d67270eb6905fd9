//! Between ROS messages and core types.

use calibration::{CameraInfo, CameraModel, Roi, Size};
use perception::points::Rays;
use perception::scale::Known;
use perception::{
    ConfidenceMap, DepthMap, Encoding, FeatureMap, HeadPoints, ImageError, ImageView, LabelMap, Stamp,
};
use r2r::builtin_interfaces::msg::Time;
use r2r::sensor_msgs::msg;
use r2r::std_msgs::msg::Header;

/// A message's stamp.
pub fn stamp(time: &Time) -> Stamp {
    Stamp { sec: time.sec, nanosec: time.nanosec }
}

/// A checked view of a message's pixels.
///
/// # Errors
/// When the encoding is not known, the byte order is big endian, or the data do not hold the image.
pub fn image(message: &msg::Image) -> Result<ImageView<'_>, ImageError> {
    let encoding = Encoding::of_message(&message.encoding, message.is_bigendian != 0)?;
    let size = Size { width: message.width as usize, height: message.height as usize };
    ImageView::new(&message.data, size, message.step as usize, encoding)
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
pub fn camera_info_message(header: Header, info: &CameraInfo) -> msg::CameraInfo {
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
pub fn rectified_camera_message(header: Header, camera: &CameraModel) -> msg::CameraInfo {
    camera_info_message(header, &CameraInfo::of(camera))
}

fn little_endian(values: impl Iterator<Item = f32>, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * count);
    values.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes
}

/// How depth is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthEncoding {
    /// `32FC1`: metres, NaN where unknown (REP 118).
    Meters,
    /// `16UC1`: millimetres, 0 where unknown or beyond 65.534 m.
    Millimeters,
}

/// Depth, tightly packed.
pub fn depth_message(header: Header, depth: &DepthMap, encoding: DepthEncoding) -> msg::Image {
    let size = depth.size();
    let (encoding, bytes, data) = match encoding {
        DepthEncoding::Meters => ("32FC1", 4, little_endian(depth.meters().iter().copied(), size.area())),
        DepthEncoding::Millimeters => ("16UC1", 2, depth.millimeters().flat_map(u16::to_le_bytes).collect()),
    };
    msg::Image {
        header,
        height: size.height as u32,
        width: size.width as u32,
        encoding: encoding.to_owned(),
        is_bigendian: 0,
        step: bytes * size.width as u32,
        data,
    }
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

/// Tokens as `32FC1`, one a row; taps one below the other.
pub fn tokens_message(
    header: Header,
    taps: &[FeatureMap],
    part: impl Fn(&FeatureMap) -> &[f32],
) -> msg::Image {
    let dim = taps.first().map_or(1, |tap| tap.dim).max(1);
    let count: usize = taps.iter().map(|tap| part(tap).len()).sum();
    msg::Image {
        header,
        height: (count / dim) as u32,
        width: dim as u32,
        encoding: "32FC1".to_owned(),
        is_bigendian: 0,
        step: 4 * dim as u32,
        data: little_endian(taps.iter().flat_map(part).copied(), count),
    }
}

/// `rgb8`, tightly packed.
pub fn color_message(header: Header, size: Size, rgb: &[u8]) -> msg::Image {
    msg::Image {
        header,
        height: size.height as u32,
        width: size.width as u32,
        encoding: "rgb8".to_owned(),
        is_bigendian: 0,
        step: 3 * size.width as u32,
        data: rgb.to_vec(),
    }
}

/// Bytes of one number of a point.
const FIELD_BYTES: usize = 4;

/// An organised cloud of a depth map, metres in the camera's optical frame, NaN where unknown; colours packed as PCL and rviz read
/// them.
///
/// # Errors
/// When depth and rays are of different sizes.
pub fn points_message(
    header: Header,
    rays: &Rays,
    depth: &DepthMap,
    rgb: &[u8],
) -> Result<msg::PointCloud2, String> {
    let size = depth.size();
    let fields = ["x", "y", "z", "rgb"];
    let mut data = Vec::with_capacity(FIELD_BYTES * fields.len() * size.area());
    for (point, color) in rays.points(depth)?.zip(rgb.as_chunks::<3>().0) {
        push_point(&mut data, point, *color);
    }
    Ok(cloud(header, size, &fields, data))
}

/// As [`points_message`], of a point map head: with its confidence, 0 to 1. Points of pixels that are `covered` are unknown.
///
/// # Errors
/// When colours or covered pixels are not as many as points.
pub fn head_points_message(
    header: Header,
    head: &HeadPoints,
    rgb: &[u8],
    covered: Option<&[bool]>,
) -> Result<msg::PointCloud2, String> {
    let size = head.points().size();
    let (colors, marks) = (rgb.as_chunks::<3>().0, covered.unwrap_or(&[]));
    if colors.len() != size.area() || covered.is_some_and(|covered| covered.len() != size.area()) {
        return Err(format!(
            "expected colours and covered pixels of {size}, got {} and {}",
            colors.len(),
            marks.len()
        ));
    }
    let fields = ["x", "y", "z", "rgb", "confidence"];
    let mut data = Vec::with_capacity(FIELD_BYTES * fields.len() * size.area());
    for (index, (point, share)) in head.points().points().iter().zip(head.confidence().values()).enumerate() {
        let is_covered = marks.get(index).copied().unwrap_or(false);
        push_point(&mut data, if is_covered { [f32::NAN; 3] } else { *point }, colors[index]);
        data.extend_from_slice(&share.to_le_bytes());
    }
    Ok(cloud(header, size, &fields, data))
}

fn push_point(data: &mut Vec<u8>, point: [f32; 3], [red, green, blue]: [u8; 3]) {
    point.iter().for_each(|value| data.extend_from_slice(&value.to_le_bytes()));
    data.extend_from_slice(&[blue, green, red, 0]);
}

/// An organised cloud of float32 fields.
fn cloud(header: Header, size: Size, fields: &[&str], data: Vec<u8>) -> msg::PointCloud2 {
    let field = |(index, name): (usize, &&str)| msg::PointField {
        name: (*name).to_owned(),
        offset: (FIELD_BYTES * index) as u32,
        datatype: msg::PointField::FLOAT32 as u8,
        count: 1,
    };
    let step = FIELD_BYTES * fields.len();
    msg::PointCloud2 {
        header,
        height: size.height as u32,
        width: size.width as u32,
        fields: fields.iter().enumerate().map(field).collect(),
        is_bigendian: false,
        point_step: step as u32,
        row_step: (step * size.width) as u32,
        data,
        is_dense: false,
    }
}

/// Confidences as `32FC1`, 0 to 1, NaN where the head does not say.
pub fn confidence_message(header: Header, confidence: &ConfidenceMap) -> msg::Image {
    let size = confidence.size();
    msg::Image {
        header,
        height: size.height as u32,
        width: size.width as u32,
        encoding: "32FC1".to_owned(),
        is_bigendian: 0,
        step: 4 * size.width as u32,
        data: little_endian(confidence.values().iter().copied(), size.area()),
    }
}

/// Label ids, tightly packed: `mono8` for up to 256 classes, else `mono16`.
pub fn segmentation_message(header: Header, map: &LabelMap, classes: usize) -> msg::Image {
    let size = map.size();
    let (encoding, bytes, data) = if classes <= 256 {
        ("mono8", 1, map.labels().iter().map(|label| *label as u8).collect())
    } else {
        ("mono16", 2, map.labels().iter().flat_map(|label| label.to_le_bytes()).collect())
    };
    msg::Image {
        header,
        height: size.height as u32,
        width: size.width as u32,
        encoding: encoding.to_owned(),
        is_bigendian: 0,
        step: bytes * size.width as u32,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_metres_or_millimetres_and_the_rest_is_refused() {
        let image = Size { width: 4, height: 2 };
        let reference = |encoding: &str, step: u32, data: Vec<u8>| msg::Image {
            header: Header::default(),
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
