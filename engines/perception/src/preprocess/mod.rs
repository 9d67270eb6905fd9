//! Camera pixels to the network's normalised input, as torchvision does it on PIL images.

mod rectification;
mod resize;

use std::ops::Range;
use std::sync::Arc;

use calibration::{RectifyMap, Size};
use fast_image_resize::Resizer;
use network::manifest::PreprocessingSpec;

use crate::engine::EngineError;
use crate::geometry::ImageGeometry;
use crate::image::{Encoding, ImageView};
use rectification::Rectification;
pub use resize::Span;

/// Rows that are converted to RGB at a time: they stay in the processor's cache until their columns are resized.
const STRIP_ROWS: usize = 64;

const RGB: [usize; 3] = [0, 1, 2];
const BGR: [usize; 3] = [2, 1, 0];

/// The way from one camera's pixels to one network input; holds the buffers, so that a frame allocates nothing.
///
/// Of a frame only the rows and columns that the network sees are converted and resized.
pub struct Preprocessing {
    geometry: ImageGeometry,
    rectification: Option<Rectification>,
    resizer: Resizer,
    /// Rows of the camera's image that the network's input is made of.
    rows: Range<usize>,
    /// RGB pixels of some rows; unused when the camera delivers tight rows of three bytes a pixel.
    strip: Vec<u8>,
    /// Pixels of [`Preprocessing::rows`], columns resized and cropped, rows not yet.
    widened: Vec<u8>,
    /// Pixels of the network's size.
    resized: Vec<u8>,
    /// Where red, green and blue stand in a pixel of `widened` and `resized`: a frame of BGR is resized as it is.
    order: [usize; 3],
    loads: u64,
    /// Normalised value of each of the 256 levels, per channel.
    levels: [[f32; 256]; 3],
}

impl std::fmt::Debug for Preprocessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preprocessing").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

impl Preprocessing {
    /// Prepares the way for one geometry.
    pub fn new(geometry: ImageGeometry, spec: &PreprocessingSpec) -> Self {
        let network = geometry.network();
        let rows = resize::rows_seen(&geometry);
        let level =
            |channel: usize, level: usize| (level as f32 / 255.0 - spec.mean[channel]) / spec.std[channel];
        Self {
            rectification: None,
            resizer: Resizer::new(),
            strip: vec![0; 3 * geometry.camera_size().width * STRIP_ROWS.min(rows.len())],
            widened: vec![0; 3 * network.width * rows.len()],
            resized: vec![0; 3 * network.area()],
            order: RGB,
            loads: 0,
            levels: std::array::from_fn(|channel| std::array::from_fn(|value| level(channel, value))),
            geometry,
            rows,
        }
    }

    /// Prepares the way for a camera whose image is rectified first; the geometry is that of the rectified image.
    ///
    /// # Errors
    /// When the map's rectified image is not of the geometry's camera size.
    pub fn rectifying(
        geometry: ImageGeometry,
        spec: &PreprocessingSpec,
        map: Arc<RectifyMap>,
    ) -> Result<Self, EngineError> {
        check_size("rectified image", geometry.camera_size(), map.rectified().size())?;
        Ok(Self { rectification: Some(Rectification::new(map)), ..Self::new(geometry, spec) })
    }

    /// The geometry that this was made for: from the camera's image, rectified if it is, to the network's input.
    pub fn geometry(&self) -> &ImageGeometry {
        &self.geometry
    }

    /// The rectification that comes first, if one does.
    pub fn rectify_map(&self) -> Option<&Arc<RectifyMap>> {
        self.rectification.as_ref().map(Rectification::map)
    }

    /// Size of the frames that this takes.
    pub fn frame_size(&self) -> Size {
        self.rectify_map().map_or(self.geometry.camera_size(), |map| map.raw_size())
    }

    /// The normalised value of each of the 256 levels, for red, green and blue.
    pub fn levels(&self) -> &[[f32; 256]; 3] {
        &self.levels
    }

    /// The part of the camera's image that the network sees, along columns and rows.
    pub fn seen(&self) -> [Span; 2] {
        [0, 1].map(|axis| resize::span(&self.geometry, axis))
    }

    /// Rows of the camera's image that the network's input is made of.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// For an engine that preprocesses elsewhere.
    ///
    /// # Errors
    /// When the image is not of the size that this was made for.
    pub fn check_frame(&self, image: &ImageView<'_>) -> Result<(), EngineError> {
        check_size("camera image", self.frame_size(), image.size())
    }

    /// Fills `input` (`[3, height, width]`, RGB planes) with the normalised pixels of the network's input.
    ///
    /// # Errors
    /// When image or input are not of the sizes that this was made for.
    pub fn run(&mut self, image: &ImageView<'_>, input: &mut [f32]) -> Result<(), EngineError> {
        let plane = self.geometry.network().area();
        check_len("network input", 3 * plane, input.len())?;
        self.load(image)?;
        for (channel, levels) in self.levels.iter().enumerate() {
            let out = input[channel * plane..][..plane].iter_mut();
            let pixels = self.resized.as_chunks::<3>().0;
            let at = self.order[channel];
            out.zip(pixels).for_each(|(out, pixel)| *out = levels[usize::from(pixel[at])]);
        }
        Ok(())
    }

    /// Fills `rgb` (tight, three bytes a pixel) with the picture that the network sees, for colour output and golden files.
    ///
    /// # Errors
    /// As [`Preprocessing::run`].
    pub fn picture(&mut self, image: &ImageView<'_>, rgb: &mut [u8]) -> Result<(), EngineError> {
        self.load(image)?;
        self.last_picture(rgb)
    }

    /// Fills `rgb` with the picture of the frame that was last run.
    ///
    /// # Errors
    /// When `rgb` is not of the network's size.
    pub(crate) fn last_picture(&self, rgb: &mut [u8]) -> Result<(), EngineError> {
        check_len("picture", self.resized.len(), rgb.len())?;
        let [red, green, blue] = self.order;
        let pixels = self.resized.as_chunks::<3>().0;
        let out = rgb.as_chunks_mut::<3>().0.iter_mut();
        out.zip(pixels).for_each(|(out, pixel)| *out = [pixel[red], pixel[green], pixel[blue]]);
        Ok(())
    }

    /// Fills `rgb` with the whole picture at the camera's size, rectified if it is.
    ///
    /// # Errors
    /// As [`Preprocessing::run`].
    pub(crate) fn whole_picture(&mut self, image: &ImageView<'_>, rgb: &mut [u8]) -> Result<(), EngineError> {
        self.check_frame(image)?;
        check_len("picture", 3 * self.geometry.camera_size().area(), rgb.len())?;
        match &mut self.rectification {
            None => image.write_rgb(rgb),
            Some(rectification) => rectification.rectified(image)?.write_rgb(rgb),
        }
        Ok(())
    }

    /// How many frames were resized here; an engine that preprocesses elsewhere leaves it.
    pub(crate) fn loads(&self) -> u64 {
        self.loads
    }

    /// Resizes and crops a frame, rows before columns of the kernel, as PIL does.
    fn load(&mut self, image: &ImageView<'_>) -> Result<(), EngineError> {
        self.check_frame(image)?;
        match self.rectification.take() {
            None => self.widen(image)?,
            Some(mut rectification) => {
                let widened = rectification.rectified(image).and_then(|image| self.widen(&image));
                self.rectification = Some(rectification);
                widened?;
            }
        }
        resize::rows(&mut self.resizer, &self.geometry, self.rows.start, &self.widened, &mut self.resized)?;
        self.loads += 1;
        Ok(())
    }

    /// Resizes the columns of the rows that the network sees.
    fn widen(&mut self, image: &ImageView<'_>) -> Result<(), EngineError> {
        let Self { geometry, resizer, rows, strip, widened, order, .. } = self;
        let camera_row = 3 * geometry.camera_size().width;
        *order = if image.encoding() == Encoding::Bgr8 && image.tight_rows().is_some() { BGR } else { RGB };
        if let Some(pixels) = tight_colours(image) {
            let seen = &pixels[camera_row * rows.start..camera_row * rows.end];
            return resize::columns(resizer, geometry, seen, widened);
        }
        let network_row = 3 * geometry.network().width;
        for (first, out) in rows.clone().step_by(STRIP_ROWS).zip(widened.chunks_mut(network_row * STRIP_ROWS))
        {
            let pixels = &mut strip[..camera_row * (out.len() / network_row)];
            image.write_rgb_rows(first, pixels);
            resize::columns(resizer, geometry, pixels, out)?;
        }
        Ok(())
    }
}

/// The pixels themselves when they are RGB or BGR without padding.
fn tight_colours<'a>(image: &ImageView<'a>) -> Option<&'a [u8]> {
    matches!(image.encoding(), Encoding::Rgb8 | Encoding::Bgr8).then(|| image.tight_rows()).flatten()
}

fn check_size(tensor: &str, expected: Size, actual: Size) -> Result<(), EngineError> {
    if expected == actual {
        return Ok(());
    }
    let [expected, actual] = [expected, actual].map(|size| vec![size.height, size.width]);
    Err(EngineError::Shape { tensor: tensor.to_owned(), expected, actual })
}

fn check_len(tensor: &str, expected: usize, actual: usize) -> Result<(), EngineError> {
    if expected == actual {
        return Ok(());
    }
    Err(EngineError::Shape { tensor: tensor.to_owned(), expected: vec![expected], actual: vec![actual] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use calibration::{CameraModel, Distortion, Intrinsics};

    fn noise(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at * 7919 % 65521 % 256) as u8).collect()
    }

    #[test]
    fn an_image_of_the_network_size_is_only_normalised() {
        let size = Size { width: 16, height: 16 };
        let spec = PreprocessingSpec::default();
        let geometry = ImageGeometry::new(size, size).unwrap();
        let data: Vec<u8> = (0..3 * size.area()).map(|i| (i % 251) as u8).collect();
        let image = ImageView::new(&data, size, 48, Encoding::Rgb8).unwrap();
        let mut input = vec![0.0; 3 * size.area()];
        Preprocessing::new(geometry, &spec).run(&image, &mut input).unwrap();
        for (index, value) in input.iter().enumerate() {
            let (channel, pixel) = (index / size.area(), index % size.area());
            let level = f32::from(data[3 * pixel + channel]) / 255.0;
            let expected = (level - spec.mean[channel]) / spec.std[channel];
            assert!((value - expected).abs() < 1e-6, "{index}: {value} {expected}");
        }
    }

    #[test]
    fn another_size_is_refused() {
        let size = |side| Size { width: side, height: side };
        let geometry = ImageGeometry::new(size(32), size(16)).unwrap();
        let mut preprocessing = Preprocessing::new(geometry, &PreprocessingSpec::default());
        let data = vec![0; 3 * 33 * 33];
        let image = ImageView::new(&data, size(33), 99, Encoding::Rgb8).unwrap();
        let error = preprocessing.run(&image, &mut vec![0.0; 768]).unwrap_err().to_string();
        assert!(error.contains("[32, 32]") && error.contains("[33, 33]"), "{error}");
        let image = ImageView::new(&data[..3 * 32 * 32], size(32), 96, Encoding::Rgb8).unwrap();
        assert!(preprocessing.run(&image, &mut [0.0; 3]).is_err());
    }

    #[test]
    fn a_crop_without_scaling_only_copies() {
        let (camera, network) = (Size { width: 40, height: 16 }, Size { width: 16, height: 16 });
        let geometry = ImageGeometry::new(camera, network).unwrap();
        let data = noise(3 * camera.area());
        let image = ImageView::new(&data, camera, 120, Encoding::Rgb8).unwrap();
        let mut picture = vec![0; 3 * network.area()];
        let mut preprocessing = Preprocessing::new(geometry, &PreprocessingSpec::default());
        preprocessing.picture(&image, &mut picture).unwrap();
        let expected: Vec<u8> = data.chunks(120).flat_map(|row| &row[36..84]).copied().collect();
        assert_eq!(picture, expected);
    }

    #[test]
    fn strips_and_padding_change_nothing() {
        // Higher than a strip, cropped in both a wide and a high network; BGR and padded rows go by strips.
        let camera = Size { width: 90, height: 201 };
        for network in [Size { width: 64, height: 32 }, Size { width: 16, height: 64 }] {
            let geometry = ImageGeometry::new(camera, network).unwrap();
            let rgb = noise(3 * camera.area());
            let bgr: Vec<u8> = rgb.as_chunks().0.iter().flat_map(|[r, g, b]| [*b, *g, *r]).collect();
            let padded: Vec<u8> = rgb.chunks(270).flat_map(|row| [row, &[9; 7]].concat()).collect();
            let pictures =
                [(&rgb, 270, Encoding::Rgb8), (&bgr, 270, Encoding::Bgr8), (&padded, 277, Encoding::Rgb8)]
                    .map(|(data, step, encoding)| {
                        let image = ImageView::new(data, camera, step, encoding).unwrap();
                        let mut picture = vec![0; 3 * network.area()];
                        let mut preprocessing = Preprocessing::new(geometry, &PreprocessingSpec::default());
                        preprocessing.picture(&image, &mut picture).unwrap();
                        picture
                    });
            assert_eq!(pictures[0], pictures[1]);
            assert_eq!(pictures[0], pictures[2]);
        }
    }

    #[test]
    fn rectifying_is_rectification_and_then_the_rest() {
        let raw = Size { width: 96, height: 64 };
        let intrinsics = Intrinsics { fx: 80.0, fy: 80.0, cx: 47.0, cy: 31.0 };
        let barrel = Distortion::PlumbBob([-0.3, 0.1, 1e-3, -1e-3, 0.0]);
        let camera = CameraModel::new(raw, intrinsics, barrel).unwrap();
        let turn = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let map = Arc::new(RectifyMap::new(&camera, turn, &camera.without_distortion()).unwrap());
        let geometry = ImageGeometry::new(raw, Size { width: 32, height: 32 }).unwrap();
        let data = noise(3 * raw.area());
        let image = ImageView::new(&data, raw, 288, Encoding::Rgb8).unwrap();
        let spec = PreprocessingSpec::default();
        let (mut at_once, mut whole) = (vec![0.0; 3072], vec![0; 3 * raw.area()]);
        let mut preprocessing = Preprocessing::rectifying(geometry, &spec, map.clone()).unwrap();
        preprocessing.run(&image, &mut at_once).unwrap();
        preprocessing.whole_picture(&image, &mut whole).unwrap();

        let mut rectified = vec![0; 3 * raw.area()];
        map.rectify::<3>(&data, 288, &mut rectified).unwrap();
        assert_eq!(whole, rectified);
        let image = ImageView::new(&rectified, raw, 288, Encoding::Rgb8).unwrap();
        let mut expected = vec![0.0; 3072];
        Preprocessing::new(geometry, &spec).run(&image, &mut expected).unwrap();
        assert_eq!(at_once, expected);

        let other =
            ImageGeometry::new(Size { width: 64, height: 64 }, Size { width: 32, height: 32 }).unwrap();
        let refused = Preprocessing::rectifying(other, &spec, map).unwrap_err().to_string();
        assert!(refused.contains("[64, 64]") && refused.contains("[64, 96]"), "{refused}");
    }
}
