//! Pixels as a camera delivers them.

use calibration::Size;

/// How pixels lie in memory; names as in ROS `sensor_msgs/image_encodings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Red, green, blue, a byte each.
    Rgb8,
    /// Blue, green, red, a byte each.
    Bgr8,
    /// One byte of brightness.
    Mono8,
}

impl Encoding {
    /// All encodings, by their ROS names.
    pub const ALL: [(&'static str, Encoding); 3] =
        [("rgb8", Encoding::Rgb8), ("bgr8", Encoding::Bgr8), ("mono8", Encoding::Mono8)];

    /// Bytes of one pixel.
    pub fn bytes_per_pixel(self) -> usize {
        match self {
            Encoding::Rgb8 | Encoding::Bgr8 => 3,
            Encoding::Mono8 => 1,
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

/// Why bytes are not an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The encoding is not one of those known.
    #[error("encoding: expected one of {known}, got {came:?}", known = Encoding::ALL.map(|known| known.0).join(" "))]
    Encoding {
        /// What the message says.
        came: String,
    },
    /// A side is zero or beyond any camera.
    #[error("size: expected sides of 1 to {MAX_SIDE}, got {came}")]
    Size {
        /// What the message says.
        came: Size,
    },
    /// A row is longer than its step.
    #[error("step: expected at least {expected} bytes for a row of {width} pixels, got {came}")]
    Step {
        /// Bytes of a row's pixels.
        expected: usize,
        /// Pixels of a row.
        width: usize,
        /// What the message says.
        came: usize,
    },
    /// There are fewer bytes than rows need.
    #[error("data: expected at least {expected} bytes for {size} with a step of {step}, got {came}")]
    Data {
        /// Bytes that the rows need.
        expected: usize,
        /// Size of the image.
        size: Size,
        /// Bytes from row to row.
        step: usize,
        /// Bytes that came.
        came: usize,
    },
}

/// The longest side that is accepted, in pixels.
pub const MAX_SIDE: usize = 1 << 16;

/// A checked view of camera pixels: every row lies inside the data.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    data: &'a [u8],
    size: Size,
    step: usize,
    encoding: Encoding,
}

impl<'a> ImageView<'a> {
    /// Pixels in `data`, rows `step` bytes apart; the last row needs no padding.
    ///
    /// # Errors
    /// When the size is zero, a row does not fit its step, or the rows do not fit the data.
    pub fn new(data: &'a [u8], size: Size, step: usize, encoding: Encoding) -> Result<Self, ImageError> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&size.width) || !sides.contains(&size.height) {
            return Err(ImageError::Size { came: size });
        }
        let row = size.width * encoding.bytes_per_pixel();
        if step < row {
            return Err(ImageError::Step { expected: row, width: size.width, came: step });
        }
        let expected = (size.height - 1).saturating_mul(step).saturating_add(row);
        if data.len() < expected {
            return Err(ImageError::Data { expected, size, step, came: data.len() });
        }
        Ok(Self { data, size, step, encoding })
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How pixels lie in memory.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes of one row's pixels, without padding.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.data[row * self.step..][..self.size.width * self.encoding.bytes_per_pixel()]
    }

    /// All pixels as they lie, when rows follow one another without padding.
    pub fn tight_rows(&self) -> Option<&'a [u8]> {
        let row = self.size.width * self.encoding.bytes_per_pixel();
        (self.step == row || self.size.height == 1).then(|| &self.data[..row * self.size.height])
    }

    /// Writes the pixels as tightly packed RGB.
    ///
    /// `rgb` holds three bytes per pixel of [`ImageView::size`].
    pub fn write_rgb(&self, rgb: &mut [u8]) {
        for (row, out) in rgb.chunks_exact_mut(3 * self.size.width).enumerate().take(self.size.height) {
            let pixels = self.row(row);
            match self.encoding {
                Encoding::Rgb8 => out.copy_from_slice(pixels),
                Encoding::Bgr8 => {
                    let (out, pixels) = (out.as_chunks_mut::<3>().0, pixels.as_chunks::<3>().0);
                    out.iter_mut().zip(pixels).for_each(|(out, [b, g, r])| *out = [*r, *g, *b]);
                }
                Encoding::Mono8 => {
                    let out = out.as_chunks_mut::<3>().0;
                    out.iter_mut().zip(pixels).for_each(|(out, grey)| *out = [*grey; 3]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: Size = Size { width: 2, height: 2 };

    #[test]
    fn faults_say_what_was_expected() {
        let cases = [
            (ImageView::new(&[0; 12], Size { width: 0, height: 2 }, 6, Encoding::Rgb8), "size"),
            (ImageView::new(&[0; 12], TWO, 5, Encoding::Rgb8), "step: expected at least 6 bytes"),
            (ImageView::new(&[0; 11], TWO, 6, Encoding::Rgb8), "data: expected at least 12 bytes"),
            (ImageView::new(&[0; 11], TWO, usize::MAX, Encoding::Rgb8), "data"),
        ];
        for (came, reason) in cases {
            let text = came.unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
        let text = "yuv420".parse::<Encoding>().unwrap_err().to_string();
        assert!(text.contains("rgb8 bgr8 mono8") && text.contains("yuv420"), "{text}");
    }

    #[test]
    fn every_encoding_becomes_rgb() {
        let cases: &[(Encoding, &[u8], usize)] = &[
            (Encoding::Rgb8, &[1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12], 8),
            (Encoding::Bgr8, &[3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10], 6),
        ];
        for (encoding, data, step) in cases {
            let mut rgb = [0; 12];
            ImageView::new(data, TWO, *step, *encoding).unwrap().write_rgb(&mut rgb);
            assert_eq!(rgb, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], "{encoding:?}");
        }
        let mut rgb = [0; 12];
        ImageView::new(&[1, 2, 99, 3, 4], TWO, 3, Encoding::Mono8).unwrap().write_rgb(&mut rgb);
        assert_eq!(rgb, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    }

    proptest! {
        #[test]
        fn arbitrary_images_never_panic(
            data in proptest::collection::vec(any::<u8>(), 0..200),
            width in 0_usize..9, height in 0_usize..9, step in 0_usize..40, which in 0_usize..3,
        ) {
            let size = Size { width, height };
            if let Ok(image) = ImageView::new(&data, size, step, Encoding::ALL[which].1) {
                let mut rgb = vec![0; 3 * size.area()];
                image.write_rgb(&mut rgb);
            }
        }
    }
}
