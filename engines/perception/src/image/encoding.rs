//! How pixels lie in memory.

use calibration::Size;

use super::ImageError;

/// How pixels lie in memory; names as in ROS `sensor_msgs/image_encodings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Red, green, blue, a byte each.
    Rgb8,
    /// Blue, green, red, a byte each.
    Bgr8,
    /// Red, green, blue, opacity, a byte each; opacity is not looked at.
    Rgba8,
    /// Blue, green, red, opacity, a byte each; opacity is not looked at.
    Bgra8,
    /// One byte of brightness.
    Mono8,
    /// Two bytes of brightness, little endian. Brought to 8 bit as `cv_bridge` does: times 255 / 65535, rounded.
    Mono16,
    /// Two pixels in four bytes: U, Y, V, Y.
    Uyvy,
    /// Two pixels in four bytes: Y, U, Y, V.
    Yuyv,
    /// A plane of Y, then one of U, V for every two by two pixels; both planes have the image's step.
    Nv12,
    /// As [`Encoding::Nv12`] with V before U.
    Nv21,
    /// A plane of Y, then one of U, V for every pixel with twice the image's step.
    Nv24,
    /// One colour a pixel: red green / green blue.
    BayerRggb8,
    /// One colour a pixel: blue green / green red.
    BayerBggr8,
    /// One colour a pixel: green blue / red green.
    BayerGbrg8,
    /// One colour a pixel: green red / blue green.
    BayerGrbg8,
}

impl Encoding {
    /// All encodings by their ROS names; the names of packed YUV changed, and both are in use.
    pub const ALL: [(&'static str, Encoding); 17] = [
        ("rgb8", Encoding::Rgb8),
        ("bgr8", Encoding::Bgr8),
        ("rgba8", Encoding::Rgba8),
        ("bgra8", Encoding::Bgra8),
        ("mono8", Encoding::Mono8),
        ("mono16", Encoding::Mono16),
        ("yuv422", Encoding::Uyvy),
        ("uyvy", Encoding::Uyvy),
        ("yuv422_yuy2", Encoding::Yuyv),
        ("yuyv", Encoding::Yuyv),
        ("nv12", Encoding::Nv12),
        ("nv21", Encoding::Nv21),
        ("nv24", Encoding::Nv24),
        ("bayer_rggb8", Encoding::BayerRggb8),
        ("bayer_bggr8", Encoding::BayerBggr8),
        ("bayer_gbrg8", Encoding::BayerGbrg8),
        ("bayer_grbg8", Encoding::BayerGrbg8),
    ];

    /// The encoding of a ROS message.
    ///
    /// # Errors
    /// When the name is not known, or the pixels are of two bytes in big-endian order.
    pub fn of_message(name: &str, big_endian: bool) -> Result<Self, ImageError> {
        let encoding = name.parse()?;
        if big_endian && encoding == Encoding::Mono16 {
            return Err(ImageError::BigEndian);
        }
        Ok(encoding)
    }

    /// Bytes of one row's pixels in the first plane.
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            Encoding::Rgb8 | Encoding::Bgr8 => 3 * width,
            Encoding::Rgba8 | Encoding::Bgra8 => 4 * width,
            Encoding::Mono16 | Encoding::Uyvy | Encoding::Yuyv => 2 * width,
            _ => width,
        }
    }

    /// Bytes up to the last pixel of an image whose rows are `step` bytes apart.
    pub(super) fn image_bytes(self, size: Size, step: usize) -> usize {
        let rows = |count: usize, last: usize| (count - 1).saturating_mul(step).saturating_add(last);
        match self {
            Encoding::Nv12 | Encoding::Nv21 => rows(size.height + size.height / 2, size.width),
            Encoding::Nv24 => rows(3 * size.height - 1, 0).saturating_add(2 * size.width),
            _ => rows(size.height, self.row_bytes(size.width)),
        }
    }

    /// Why no image of this size is possible, if so.
    pub(super) fn refuses(self, size: Size) -> Option<&'static str> {
        let odd = |side: usize| side % 2 == 1;
        match self {
            Encoding::Uyvy | Encoding::Yuyv if odd(size.width) => {
                Some("an even width, because two pixels share their colour")
            }
            Encoding::Nv12 | Encoding::Nv21 if odd(size.width) || odd(size.height) => {
                Some("even sides, because two by two pixels share their colour")
            }
            _ if self.is_bayer() && size.width.min(size.height) < 3 => {
                Some("at least 3 pixels a side, because a pixel's colour comes from its neighbours")
            }
            _ => None,
        }
    }

    /// Whether a pixel holds one colour only.
    pub fn is_bayer(self) -> bool {
        self.bayer().is_some()
    }

    /// Column and row of the first red pixel, for the one-colour encodings.
    pub(super) fn bayer(self) -> Option<[usize; 2]> {
        match self {
            Encoding::BayerRggb8 => Some([0, 0]),
            Encoding::BayerBggr8 => Some([1, 1]),
            Encoding::BayerGbrg8 => Some([0, 1]),
            Encoding::BayerGrbg8 => Some([1, 0]),
            _ => None,
        }
    }
}

impl std::str::FromStr for Encoding {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, ImageError> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, encoding)| *encoding);
        found.ok_or_else(|| ImageError::Encoding { came: name.chars().take(64).collect() })
    }
}
