//! Pixels as a camera delivers them.

mod bayer;
mod encoding;
mod yuv;

use calibration::Size;

pub use encoding::Encoding;

/// Why bytes are not an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The encoding is not one of those known.
    #[error("encoding: expected one of {known}, got {came:?}", known = Encoding::ALL.map(|known| known.0).join(" "))]
    Encoding {
        /// What the message says.
        came: String,
    },
    /// Two bytes a pixel in the order of big-endian machines.
    #[error("is_bigendian: expected little-endian pixels of mono16, got big-endian ones")]
    BigEndian,
    /// The encoding has no image of that size.
    #[error("size: expected {expected}, got {came} of {encoding:?}")]
    Layout {
        /// The encoding.
        encoding: Encoding,
        /// What it needs.
        expected: &'static str,
        /// What the message says.
        came: Size,
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
    /// Pixels in `data`, rows `step` bytes apart; the last row needs no padding. Planes of colour follow that of
    /// brightness as [`Encoding`] says.
    ///
    /// # Errors
    /// When the size is zero or not one of the encoding, a row does not fit its step, or the rows do not fit the data.
    pub fn new(data: &'a [u8], size: Size, step: usize, encoding: Encoding) -> Result<Self, ImageError> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&size.width) || !sides.contains(&size.height) {
            return Err(ImageError::Size { came: size });
        }
        if let Some(expected) = encoding.refuses(size) {
            return Err(ImageError::Layout { encoding, expected, came: size });
        }
        let row = encoding.row_bytes(size.width);
        if step < row {
            return Err(ImageError::Step { expected: row, width: size.width, came: step });
        }
        let expected = encoding.image_bytes(size, step);
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

    /// Bytes from one row to the next.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The bytes from the first pixel to the last, padding between rows and further planes included.
    pub fn bytes(&self) -> &'a [u8] {
        &self.data[..self.encoding.image_bytes(self.size, self.step)]
    }

    /// The bytes of one row's pixels in the first plane, without padding.
    fn row(&self, row: usize) -> &'a [u8] {
        &self.data[row * self.step..][..self.encoding.row_bytes(self.size.width)]
    }

    /// All pixels as they lie, when they are in one plane and rows follow one another without padding.
    pub fn tight_rows(&self) -> Option<&'a [u8]> {
        let row = self.encoding.row_bytes(self.size.width);
        let one_plane = !matches!(self.encoding, Encoding::Nv12 | Encoding::Nv21 | Encoding::Nv24);
        (one_plane && (self.step == row || self.size.height == 1))
            .then(|| &self.data[..row * self.size.height])
    }

    /// Writes the pixels as tightly packed RGB.
    ///
    /// `rgb` holds three bytes per pixel of [`ImageView::size`].
    pub fn write_rgb(&self, rgb: &mut [u8]) {
        self.write_rgb_rows(0, rgb);
    }

    /// Writes the rows from `first` on, as many as `rgb` holds, as tightly packed RGB.
    pub fn write_rgb_rows(&self, first: usize, rgb: &mut [u8]) {
        let rows = rgb.chunks_exact_mut(3 * self.size.width).zip(first..self.size.height);
        for (out, row) in rows {
            self.write_row(row, out.as_chunks_mut::<3>().0);
        }
    }

    fn write_row(&self, row: usize, rgb: &mut [[u8; 3]]) {
        let pixels = self.row(row);
        match self.encoding {
            Encoding::Rgb8 => rgb.as_flattened_mut().copy_from_slice(pixels),
            Encoding::Bgr8 => map(pixels.as_chunks().0, rgb, |[b, g, r]| [r, g, b]),
            Encoding::Rgba8 => map(pixels.as_chunks().0, rgb, |[r, g, b, _]| [r, g, b]),
            Encoding::Bgra8 => map(pixels.as_chunks().0, rgb, |[b, g, r, _]| [r, g, b]),
            Encoding::Mono8 => map(pixels, rgb, |grey| [grey; 3]),
            Encoding::Mono16 => map(pixels.as_chunks().0, rgb, |bytes| [eight_bit(bytes); 3]),
            Encoding::Uyvy => yuv::uyvy(pixels, rgb),
            Encoding::Yuyv => yuv::yuyv(pixels, rgb),
            Encoding::Nv12 => yuv::half(pixels, self.half_colour(row), false, rgb),
            Encoding::Nv21 => yuv::half(pixels, self.half_colour(row), true, rgb),
            Encoding::Nv24 => yuv::full(pixels, self.full_colour(row), rgb),
            Encoding::BayerRggb8 | Encoding::BayerBggr8 | Encoding::BayerGbrg8 | Encoding::BayerGrbg8 => {
                self.write_bayer_row(row, rgb);
            }
        }
    }

    /// The colours of a row, one pair for two by two pixels.
    fn half_colour(&self, row: usize) -> &'a [u8] {
        &self.data[(self.size.height + row / 2) * self.step..][..self.size.width]
    }

    /// The colours of a row, one pair for every pixel.
    fn full_colour(&self, row: usize) -> &'a [u8] {
        &self.data[(self.size.height + 2 * row) * self.step..][..2 * self.size.width]
    }

    /// The first and last rows repeat their neighbours, as OpenCV does.
    fn write_bayer_row(&self, row: usize, rgb: &mut [[u8; 3]]) {
        let row = row.clamp(1, self.size.height - 2);
        let Some([red_column, red_row]) = self.encoding.bayer() else { return };
        let is_red = row % 2 == red_row;
        let coloured = if is_red { red_column } else { 1 - red_column };
        bayer::row([row - 1, row, row + 1].map(|row| self.row(row)), coloured, is_red, rgb);
    }
}

fn map<P: Copy>(pixels: &[P], rgb: &mut [[u8; 3]], colour: impl Fn(P) -> [u8; 3]) {
    rgb.iter_mut().zip(pixels).for_each(|(out, pixel)| *out = colour(*pixel));
}

/// Times 255 / 65535, rounded; there are no ties.
fn eight_bit(little_endian: [u8; 2]) -> u8 {
    ((u32::from(u16::from_le_bytes(little_endian)) + 128) / 257) as u8
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
        assert!(text.contains("rgb8 bgr8 rgba8") && text.contains("yuv420"), "{text}");
        assert_eq!(Encoding::of_message("mono16", true), Err(ImageError::BigEndian));
        assert_eq!(Encoding::of_message("rgb8", true), Ok(Encoding::Rgb8), "bytes have no order");
    }

    #[test]
    fn sizes_that_an_encoding_lacks_are_refused() {
        let cases = [
            (Encoding::Uyvy, 3, 2, "even width"),
            (Encoding::Yuyv, 1, 1, "even width"),
            (Encoding::Nv12, 4, 3, "even sides"),
            (Encoding::Nv21, 3, 4, "even sides"),
            (Encoding::BayerRggb8, 2, 9, "at least 3 pixels"),
        ];
        for (encoding, width, height, reason) in cases {
            let text = ImageView::new(&[0; 99], Size { width, height }, 9, encoding).unwrap_err().to_string();
            assert!(text.contains(reason) && text.contains(&format!("{encoding:?}")), "{text}");
        }
    }

    #[test]
    fn planes_of_colour_must_be_there() {
        let cases = [(Encoding::Nv12, 4 * 6), (Encoding::Nv21, 4 * 6), (Encoding::Nv24, 3 * 4 * 4)];
        for (encoding, needed) in cases {
            let size = Size { width: 4, height: 4 };
            let data = vec![128; needed];
            assert!(ImageView::new(&data, size, 4, encoding).is_ok(), "{encoding:?}");
            let short = ImageView::new(&data[1..], size, 4, encoding);
            assert!(matches!(short, Err(ImageError::Data { .. })), "{encoding:?} {short:?}");
        }
    }

    #[test]
    fn sixteen_bit_grey_is_scaled_and_rounded() {
        let levels = [0_u16, 128, 129, 257, 32767, 32768, 65406, 65407, 65535];
        let data: Vec<u8> = levels.iter().flat_map(|level| level.to_le_bytes()).collect();
        let mut rgb = [0; 27];
        let size = Size { width: 9, height: 1 };
        ImageView::new(&data, size, 18, Encoding::Mono16).unwrap().write_rgb(&mut rgb);
        let expected = levels.map(|level| (f64::from(level) * 255.0 / 65535.0).round() as u8);
        assert_eq!(rgb.as_chunks::<3>().0, expected.map(|grey| [grey; 3]));
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
            data in proptest::collection::vec(any::<u8>(), 0..300),
            width in 0_usize..9, height in 0_usize..9, step in 0_usize..40, which in 0..Encoding::ALL.len(),
        ) {
            let size = Size { width, height };
            if let Ok(image) = ImageView::new(&data, size, step, Encoding::ALL[which].1) {
                let mut rgb = vec![0; 3 * size.area()];
                image.write_rgb(&mut rgb);
            }
        }
    }
}
