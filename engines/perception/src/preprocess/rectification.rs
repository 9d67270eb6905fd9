//! Taking the distortion out of a frame before it is resized.

use std::sync::Arc;

use calibration::{RectifyError, RectifyMap};

use super::tight_rgb;
use crate::engine::EngineError;
use crate::image::{Encoding, ImageView};

/// A map and the pictures before and after it.
pub struct Rectification {
    map: Arc<RectifyMap>,
    /// RGB pixels of the raw frame; unused when the camera already delivers tight RGB.
    raw: Vec<u8>,
    rectified: Vec<u8>,
}

impl Rectification {
    pub fn new(map: Arc<RectifyMap>) -> Self {
        let raw = vec![0; 3 * map.raw_size().area()];
        let rectified = vec![0; 3 * map.rectified().size().area()];
        Self { map, raw, rectified }
    }

    pub fn map(&self) -> &RectifyMap {
        &self.map
    }

    /// The frame without its distortion. Pixels that the camera did not see are black.
    pub fn rectified(&mut self, image: &ImageView<'_>) -> Result<ImageView<'_>, EngineError> {
        let Self { map, raw, rectified } = self;
        rectify(map, raw, image, rectified)?;
        let size = map.rectified().size();
        ImageView::new(rectified, size, 3 * size.width, Encoding::Rgb8)
            .map_err(|error| failed(error.to_string()))
    }

    /// As [`Rectification::rectified`], into `rgb`.
    pub fn write(&mut self, image: &ImageView<'_>, rgb: &mut [u8]) -> Result<(), EngineError> {
        rectify(&self.map, &mut self.raw, image, rgb)
    }
}

fn rectify(
    map: &RectifyMap,
    raw: &mut [u8],
    image: &ImageView<'_>,
    rectified: &mut [u8],
) -> Result<(), EngineError> {
    let step = 3 * image.size().width;
    let pixels = match tight_rgb(image) {
        Some(pixels) => pixels,
        None => {
            image.write_rgb(raw);
            raw
        }
    };
    map.rectify::<3>(pixels, step, rectified).map_err(|error: RectifyError| failed(error.to_string()))
}

fn failed(reason: String) -> EngineError {
    EngineError::Run { network: "rectification".to_owned(), reason }
}
