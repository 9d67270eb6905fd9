//! Taking the distortion out of a frame before it is resized.

use std::sync::Arc;

use calibration::RectifyMap;

use super::tight_colours;
use crate::engine::EngineError;
use crate::image::{Encoding, ImageView};

/// A map and the pictures before and after it.
pub struct Rectification {
    map: Arc<RectifyMap>,
    /// RGB pixels of the raw frame; unused when the camera delivers tight rows of three bytes a pixel.
    raw: Vec<u8>,
    rectified: Vec<u8>,
}

impl Rectification {
    pub fn new(map: Arc<RectifyMap>) -> Self {
        let raw = vec![0; 3 * map.raw_size().area()];
        let rectified = vec![0; 3 * map.rectified().size().area()];
        Self { map, raw, rectified }
    }

    pub fn map(&self) -> &Arc<RectifyMap> {
        &self.map
    }

    /// The frame without its distortion, RGB or BGR. Pixels that the camera did not see are black.
    pub fn rectified(&mut self, image: &ImageView<'_>) -> Result<ImageView<'_>, EngineError> {
        let Self { map, raw, rectified } = self;
        let (pixels, encoding) = match tight_colours(image) {
            Some(pixels) => (pixels, image.encoding()),
            None => {
                image.write_rgb(raw);
                (raw.as_slice(), Encoding::Rgb8)
            }
        };
        map.rectify::<3>(pixels, 3 * image.size().width, rectified)
            .map_err(|error| failed(error.to_string()))?;
        let size = map.rectified().size();
        ImageView::new(rectified, size, 3 * size.width, encoding).map_err(|error| failed(error.to_string()))
    }
}

fn failed(reason: String) -> EngineError {
    EngineError::Run { network: "rectification".to_owned(), reason }
}
