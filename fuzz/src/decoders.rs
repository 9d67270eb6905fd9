//! What the fuzz targets do with bytes; `tests/tests/decoders.rs` does the same with random ones on every run of the tests.
#![allow(dead_code)] // Each target uses one of the two.

use calibration::Size;
use perception::{Decompressor, Encoding, ImageView};

/// A raw image: four bytes choose encoding, width, height and padding, the rest are pixels.
pub fn image(bytes: &[u8]) {
    let Some(([which, width, height, padding], data)) = bytes.split_first_chunk::<4>() else { return };
    let encoding = Encoding::ALL[usize::from(*which) % Encoding::ALL.len()].1;
    let size = Size { width: usize::from(*width), height: usize::from(*height) };
    let step = usize::from(*width) * 4 / (1 + usize::from(*which) / 64) + usize::from(*padding);
    if let Ok(image) = ImageView::new(data, size, step, encoding) {
        let mut rgb = vec![0; 3 * image.size().area()];
        image.write_rgb(&mut rgb);
        let last = image.size().height - 1;
        image.write_rgb_rows(last, &mut rgb[..3 * image.size().width]);
    }
}

/// A compressed image: the first byte chooses the format that the message claims, the rest is the file.
pub fn compressed(bytes: &[u8]) {
    const FORMATS: [&str; 5] = [
        "jpeg",
        "png",
        "rgb8; jpeg compressed bgr8",
        "bayer_rggb8; png compressed ",
        "16UC1; compressedDepth png",
    ];
    let Some((which, file)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(*which) % FORMATS.len()];
    if let Ok(image) = Decompressor::default().decode(format, file) {
        let mut rgb = vec![0; 3 * image.size().area()];
        image.write_rgb(&mut rgb);
    }
}
