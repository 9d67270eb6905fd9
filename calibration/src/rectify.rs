//! Taking the distortion out of an image: where each pixel of the rectified image comes from, worked out once.

use thiserror::Error;
use wide::{i16x8, u8x16};

use crate::{CameraModel, CameraModelError, Distortion, Intrinsics, Size};

/// The largest rectified image, in pixels.
const MAX_AREA: usize = 64 << 20;
/// Bilinear weights are whole numbers out of this.
const UNIT: u16 = 256;
/// A source position this far outside the image, in pixels, is the edge: the weights cannot tell them apart.
const SNAP: f64 = 1.0 / 512.0;
const OUTSIDE: u16 = u16::MAX;

/// How the rectified image lies in the raw one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RectifiedView {
    /// The raw camera's intrinsics, scaled to the size: as many pixels per angle in the middle, some of them invalid
    /// or some of the raw image lost.
    SameIntrinsics,
    /// The largest rectangle in which every pixel is valid, as OpenCV's `getOptimalNewCameraMatrix` with alpha 0; fx
    /// and fy stretch to fill the size.
    AllValid,
}

/// Why there is no rectification, or why a frame does not fit it.
#[derive(Debug, Error, PartialEq)]
pub enum RectifyError {
    /// The raw image has too few pixels to interpolate, or the rectified one too many.
    #[error("{image} image: expected {expected}, got {came}")]
    Size {
        /// `raw` or `rectified`.
        image: &'static str,
        /// What is possible.
        expected: &'static str,
        /// The size that came.
        came: Size,
    },
    /// The border of the raw image does not enclose a rectangle in front of the camera.
    #[error(
        "no pinhole image lies wholly inside the raw one: expected its border less than 90 degrees off the axis and in the model's domain, got {distortion:?}"
    )]
    FieldOfView {
        /// The distortion of the raw camera.
        distortion: Distortion,
    },
    /// The rectified camera's numbers do not make a camera.
    #[error("rectified camera: {0}")]
    Camera(CameraModelError),
    /// A frame does not have the size the map was made for.
    #[error("{buffer}: expected {expected} bytes for {size} pixels of {channels} channels, got {came}")]
    Buffer {
        /// `raw image`, `raw image step` or `rectified image`.
        buffer: &'static str,
        /// At least this many bytes (exactly, for the rectified image).
        expected: usize,
        /// The size of the image.
        size: Size,
        /// Channels of a pixel.
        channels: usize,
        /// The bytes that came.
        came: usize,
    },
}

/// The pinhole camera of the rectified image of a camera, at a size.
///
/// # Errors
/// For [`RectifiedView::AllValid`], a camera whose border lies outside its domain or 90 degrees off the axis or more.
pub fn rectified_camera(
    camera: &CameraModel,
    size: Size,
    view: RectifiedView,
) -> Result<CameraModel, RectifyError> {
    let intrinsics = match view {
        RectifiedView::SameIntrinsics => {
            let raw = camera.size();
            let scale = [size.width as f64 / raw.width as f64, size.height as f64 / raw.height as f64];
            camera.intrinsics().resampled(scale, [0.0; 2])
        }
        RectifiedView::AllValid => {
            let [left, top, right, bottom] = inner_rectangle(camera)
                .ok_or(RectifyError::FieldOfView { distortion: *camera.distortion() })?;
            let fx = (size.width as f64 - 1.0) / (right - left);
            let fy = (size.height as f64 - 1.0) / (bottom - top);
            Intrinsics { fx, fy, cx: -fx * left, cy: -fy * top }
        }
    };
    CameraModel::new(size, intrinsics, Distortion::None).map_err(RectifyError::Camera)
}

/// Left, top, right and bottom, on the plane z = 1, of the rectangle inside the image's undistorted border.
fn inner_rectangle(camera: &CameraModel) -> Option<[f64; 4]> {
    let Size { width, height } = camera.size();
    let flat = |column: usize, row: usize| {
        let [x, y, z] = camera.ray([column as f64, row as f64])?;
        (z > 0.0).then_some([x / z, y / z])
    };
    let mut inner = [f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::INFINITY];
    for row in 0..height {
        inner[0] = inner[0].max(flat(0, row)?[0]);
        inner[2] = inner[2].min(flat(width - 1, row)?[0]);
    }
    for column in 0..width {
        inner[1] = inner[1].max(flat(column, 0)?[1]);
        inner[3] = inner[3].min(flat(column, height - 1)?[1]);
    }
    (inner[0] < inner[2] && inner[1] < inner[3]).then_some(inner)
}

/// For each pixel of the rectified image the four pixels of the raw one that it is a mixture of.
///
/// Eight bytes a pixel; the frame path neither divides nor evaluates a model.
#[derive(Clone, Debug)]
pub struct RectifyMap {
    raw: Size,
    rectified: CameraModel,
    taps: Vec<Tap>,
}

/// The upper left of four neighbouring pixels and the share of the right and the lower ones, out of [`UNIT`].
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tap {
    column: u16,
    row: u16,
    right: u16,
    lower: u16,
}

impl RectifyMap {
    /// The map from a camera's raw image to that of a rectified camera, turned by `rectified_from_camera` (a rotation,
    /// row-major; the identity for a single camera).
    ///
    /// From a CameraInfo: `RectifyMap::new(&info.raw()?, info.rectified_from_camera()?, &info.rectified()?)`.
    ///
    /// # Errors
    /// A raw image narrower or lower than 2 pixels, or a rectified one of more than 64 Mi pixels.
    pub fn new(
        camera: &CameraModel,
        rectified_from_camera: [f64; 9],
        rectified: &CameraModel,
    ) -> Result<Self, RectifyError> {
        let (raw, target) = (camera.size(), rectified.size());
        if raw.width.min(raw.height) < 2 {
            let expected = "at least 2 pixels a side";
            return Err(RectifyError::Size { image: "raw", expected, came: raw });
        }
        if target.area() > MAX_AREA {
            let expected = "at most 64 Mi pixels";
            return Err(RectifyError::Size { image: "rectified", expected, came: target });
        }
        let mut taps = Vec::with_capacity(target.area());
        for row in 0..target.height {
            taps.extend((0..target.width).map(|column| {
                let pixel = [column as f64, row as f64];
                tap(raw, source(camera, &rectified_from_camera, rectified, pixel))
            }));
        }
        Ok(Self { raw, rectified: *rectified, taps })
    }

    /// The camera of the rectified image.
    pub fn rectified(&self) -> &CameraModel {
        &self.rectified
    }

    /// Size of the raw image.
    pub fn raw_size(&self) -> Size {
        self.raw
    }

    /// Whether each pixel of the rectified image, row by row, was seen by the camera. What is computed from the others
    /// (depth, points) is unknown.
    pub fn valid(&self) -> impl ExactSizeIterator<Item = bool> + '_ {
        self.taps.iter().map(|tap| tap.column != OUTSIDE)
    }

    /// For each pixel of the rectified image, row by row: column and row of the raw pixel above and to the left of where it
    /// comes from, and how much the ones to its right and below weigh, in parts of 256. The column is [`u16::MAX`] where the
    /// camera saw nothing. For who rectifies elsewhere, as [`RectifyMap::rectify`] does.
    pub fn taps(&self) -> impl ExactSizeIterator<Item = [u16; 4]> + '_ {
        self.taps.iter().map(|tap| [tap.column, tap.row, tap.right, tap.lower])
    }

    /// The rectified image of a raw one of `CHANNELS` bytes a pixel (1 mono, 3 RGB, 4 RGBA), bilinear; pixels the
    /// camera did not see are 0.
    ///
    /// `step` is the bytes from one raw row to the next; the rectified image is tightly packed. Positions are kept to
    /// 1/256 of a pixel, values rounded to the nearest.
    ///
    /// # Errors
    /// A buffer or step that does not fit the sizes.
    pub fn rectify<const CHANNELS: usize>(
        &self,
        raw: &[u8],
        step: usize,
        rectified: &mut [u8],
    ) -> Result<(), RectifyError> {
        self.check::<CHANNELS>(raw, step, rectified)?;
        for (tap, pixel) in self.taps.iter().zip(rectified.chunks_exact_mut(CHANNELS)) {
            if tap.column == OUTSIDE {
                pixel.fill(0);
                continue;
            }
            let start = usize::from(tap.row) * step + usize::from(tap.column) * CHANNELS;
            let (upper, lower) = (&raw[start..], &raw[start + step..]);
            match (upper.first_chunk(), lower.first_chunk()) {
                (Some(upper), Some(lower)) if CHANNELS <= 4 => {
                    pixel.copy_from_slice(&mix_at_once::<CHANNELS>(tap, upper, lower)[..CHANNELS]);
                }
                _ => mix::<CHANNELS>(tap, upper, lower, pixel),
            }
        }
        Ok(())
    }

    fn check<const CHANNELS: usize>(
        &self,
        raw: &[u8],
        step: usize,
        rectified: &[u8],
    ) -> Result<(), RectifyError> {
        let refusal = |buffer, size, expected, came| {
            Err(RectifyError::Buffer { buffer, expected, size, channels: CHANNELS, came })
        };
        let row = self.raw.width * CHANNELS;
        if step < row {
            return refusal("raw image step", self.raw, row, step);
        }
        let needed = (self.raw.height - 1).saturating_mul(step).saturating_add(row);
        if raw.len() < needed {
            return refusal("raw image", self.raw, needed, raw.len());
        }
        let exact = self.taps.len() * CHANNELS;
        if rectified.len() != exact {
            return refusal("rectified image", self.rectified.size(), exact, rectified.len());
        }
        Ok(())
    }
}

/// [`mix`] of up to four channels at once, with what lies behind them in memory. Sums stay below 2^24: `f32` holds them exactly.
#[inline]
fn mix_at_once<const CHANNELS: usize>(tap: &Tap, upper: &[u8; 8], lower: &[u8; 8]) -> [u8; 4] {
    let (right, down) = (tap.right as i16, f32::from(tap.lower));
    let left = UNIT as i16 - right;
    let weights = i16x8::new([left, right, left, right, left, right, left, right]);
    // Channels of the left pixel and of the right one in turn.
    let row = |bytes: &[u8; 8]| {
        let [left, right] = [0, 8 * CHANNELS].map(|bits| u64::from_le_bytes(*bytes) >> bits);
        let [left, right] = [left, right].map(|bytes| u8x16::new(u128::from(bytes).to_le_bytes()));
        i16x8::from_u8x16_low(u8x16::unpack_low(left, right)).dot(weights).round_float()
    };
    let sum = row(upper) * (f32::from(UNIT) - down) + row(lower) * down + (1 << 15) as f32;
    (sum * (1.0 / (1 << 16) as f32)).fast_trunc_int().to_array().map(|value| value as u8)
}

/// The mixture of two pixels of the upper row and two of the lower.
#[inline]
fn mix<const CHANNELS: usize>(tap: &Tap, upper: &[u8], lower: &[u8], pixel: &mut [u8]) {
    let (upper, lower) = (&upper[..2 * CHANNELS], &lower[..2 * CHANNELS]);
    let (right, down) = (u32::from(tap.right), u32::from(tap.lower));
    let (left, up) = (u32::from(UNIT) - right, u32::from(UNIT) - down);
    for (channel, value) in pixel.iter_mut().enumerate() {
        let above = u32::from(upper[channel]) * left + u32::from(upper[channel + CHANNELS]) * right;
        let below = u32::from(lower[channel]) * left + u32::from(lower[channel + CHANNELS]) * right;
        // At most 255 after the shift: the weights add up to 1 << 16.
        *value = ((above * up + below * down + (1 << 15)) >> 16) as u8;
    }
}

/// Where the raw image shows what the rectified one has at a pixel.
fn source(
    camera: &CameraModel,
    turn: &[f64; 9],
    rectified: &CameraModel,
    pixel: [f64; 2],
) -> Option<[f64; 2]> {
    let [x, y, z] = rectified.ray(pixel)?;
    let back = |axis: usize| turn[axis] * x + turn[axis + 3] * y + turn[axis + 6] * z;
    camera.project([back(0), back(1), back(2)])
}

fn tap(raw: Size, source: Option<[f64; 2]>) -> Tap {
    let outside = Tap { column: OUTSIDE, row: 0, right: 0, lower: 0 };
    let Some([x, y]) = source else { return outside };
    match (split(x, raw.width), split(y, raw.height)) {
        (Some((column, right)), Some((row, lower))) => Tap { column, row, right, lower },
        _ => outside,
    }
}

/// The whole pixel before a coordinate, such that there is one after it, and the share of that one.
fn split(coordinate: f64, side: usize) -> Option<(u16, u16)> {
    let last = side as f64 - 1.0;
    if !(coordinate >= -SNAP && coordinate <= last + SNAP) {
        return None;
    }
    let inside = coordinate.clamp(0.0, last);
    let before = inside.floor().min(last - 1.0);
    Some((before as u16, ((inside - before) * f64::from(UNIT)).round() as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: [f64; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

    fn camera(size: Size, distortion: Distortion) -> CameraModel {
        let f = size.width as f64 * 0.8;
        let (cx, cy) = (size.width as f64 / 2.0 - 0.7, size.height as f64 / 2.0 - 0.2);
        CameraModel::new(size, Intrinsics { fx: f, fy: f, cx, cy }, distortion).unwrap()
    }

    const SIZE: Size = Size { width: 64, height: 48 };
    const BARREL: Distortion = Distortion::PlumbBob([-0.3, 0.1, 1e-3, -1e-3, 0.0]);

    #[test]
    fn without_distortion_the_image_stays_to_the_bit() {
        let plain = camera(SIZE, Distortion::None);
        let map = RectifyMap::new(&plain, IDENTITY, &plain).unwrap();
        let step = 64 * 3 + 5;
        let raw: Vec<u8> = (0..step * 48).map(|i| (i * 7 % 251) as u8).collect();
        let mut rectified = vec![0; 64 * 48 * 3];
        map.rectify::<3>(&raw, step, &mut rectified).unwrap();
        let packed: Vec<u8> = raw.chunks(step).flat_map(|row| &row[..64 * 3]).copied().collect();
        assert!(map.valid().all(|valid| valid));
        assert_eq!(rectified, packed);
    }

    #[test]
    fn channels_at_once_are_channels_one_by_one() {
        let noise: Vec<u8> =
            (0..64_u32).map(|at| (at * 7919 % 65521 % 256) as u8).chain([0, 255, 255, 0]).collect();
        let bright = [255; 8];
        for right in (0..=UNIT).step_by(8) {
            for lower in 0..=UNIT {
                let tap = Tap { column: 0, row: 0, right, lower };
                let at = usize::from(right + lower) % 60;
                for (up, down) in [
                    (noise[at..].first_chunk().unwrap(), noise[60 - at..].first_chunk().unwrap()),
                    (&bright, &bright),
                ] {
                    let (mut one, mut three, mut four) = ([0; 1], [0; 3], [0; 4]);
                    mix::<1>(&tap, up, down, &mut one);
                    mix::<3>(&tap, up, down, &mut three);
                    mix::<4>(&tap, up, down, &mut four);
                    assert_eq!(mix_at_once::<1>(&tap, up, down)[..1], one, "{tap:?}");
                    assert_eq!(mix_at_once::<3>(&tap, up, down)[..3], three, "{tap:?}");
                    assert_eq!(mix_at_once::<4>(&tap, up, down), four, "{tap:?}");
                }
            }
        }
    }

    #[test]
    fn a_ramp_stays_the_ramp_of_the_scene() {
        // The raw image shows brightness by column, so that a rectified pixel must show the column it comes from.
        let raw_camera = camera(SIZE, BARREL);
        let rectified_camera = raw_camera.without_distortion();
        let map = RectifyMap::new(&raw_camera, IDENTITY, &rectified_camera).unwrap();
        let raw: Vec<u8> = (0..48).flat_map(|_| (0..64).map(|column| column as u8 * 4)).collect();
        let mut rectified = vec![9; 64 * 48];
        map.rectify::<1>(&raw, 64, &mut rectified).unwrap();
        for (index, (value, valid)) in rectified.iter().zip(map.valid()).enumerate() {
            let ray = rectified_camera.ray([(index % 64) as f64, (index / 64) as f64]).unwrap();
            let [x, y] = raw_camera.project(ray).unwrap();
            assert_eq!(valid, raw_camera.contains([x, y]));
            let expected = if valid { x * 4.0 } else { 0.0 };
            assert!((f64::from(*value) - expected).abs() <= 0.6, "{value} for {expected}");
        }
    }

    #[test]
    fn a_pincushion_leaves_pixels_unseen_unless_all_are_to_be_valid() {
        for (distortion, fills) in [(Distortion::PlumbBob([0.2, 0.0, 0.0, 0.0, 0.0]), false), (BARREL, true)]
        {
            let raw = camera(SIZE, distortion);
            let views = [(RectifiedView::SameIntrinsics, fills), (RectifiedView::AllValid, true)];
            for (view, expected) in views {
                let target = rectified_camera(&raw, Size { width: 80, height: 48 }, view).unwrap();
                let map = RectifyMap::new(&raw, IDENTITY, &target).unwrap();
                assert_eq!(map.valid().all(|valid| valid), expected, "{distortion:?} {view:?}");
            }
        }
    }

    #[test]
    fn the_rotation_turns_from_the_camera_to_the_rectified_frame() {
        let plain = camera(SIZE, Distortion::None);
        let (sin, cos) = 0.1_f64.sin_cos();
        let about_y = [cos, 0.0, sin, 0.0, 1.0, 0.0, -sin, 0.0, cos];
        // The camera's axis points to (sin, 0, cos) in the rectified frame: its centre is seen right of the middle.
        let Intrinsics { fx, cx, cy, .. } = plain.intrinsics();
        let [x, y] = source(&plain, &about_y, &plain, [cx + fx * sin / cos, cy]).unwrap();
        assert!((x - cx).abs() < 1e-9 && (y - cy).abs() < 1e-9);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let plain = camera(SIZE, Distortion::None);
        let map = RectifyMap::new(&plain, IDENTITY, &plain).unwrap();
        let frame = [0; 64 * 48 * 3];
        let cases = [
            (
                64 * 48 * 3 - 1,
                192,
                64 * 48 * 3,
                "raw image: expected 9216 bytes for 64x48 pixels of 3 channels",
            ),
            (64 * 48 * 3, 191, 64 * 48 * 3, "raw image step: expected 192 bytes"),
            (64 * 48 * 3, usize::MAX, 64 * 48 * 3, "raw image: expected"),
            (64 * 48 * 3, 192, 64 * 48, "rectified image: expected 9216 bytes"),
        ];
        for (raw, step, rectified, expected) in cases {
            let error =
                map.rectify::<3>(&frame[..raw], step, &mut vec![0; rectified]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let line = camera(Size { width: 64, height: 1 }, Distortion::None);
        assert!(
            RectifyMap::new(&line, IDENTITY, &plain)
                .unwrap_err()
                .to_string()
                .starts_with("raw image: expected")
        );
        let huge = camera(Size { width: 65_535, height: 65_535 }, Distortion::None);
        assert!(matches!(RectifyMap::new(&plain, IDENTITY, &huge), Err(RectifyError::Size { .. })));
    }

    #[test]
    fn a_fisheye_of_more_than_a_half_turn_is_no_pinhole() {
        let intrinsics = Intrinsics { fx: 18.0, fy: 18.0, cx: 31.5, cy: 23.5 };
        let wide = CameraModel::new(SIZE, intrinsics, Distortion::Equidistant([0.0; 4])).unwrap();
        let error = rectified_camera(&wide, SIZE, RectifiedView::AllValid).unwrap_err();
        assert!(matches!(error, RectifyError::FieldOfView { .. }));
        let target = rectified_camera(&wide, SIZE, RectifiedView::SameIntrinsics).unwrap();
        assert!(RectifyMap::new(&wide, IDENTITY, &target).is_ok());
    }
}
