//! Camera pixels to the network's normalised input, as torchvision does it on PIL images.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use network::manifest::PreprocessingSpec;

use crate::engine::EngineError;
use crate::geometry::ImageGeometry;
use crate::image::{Encoding, ImageView};

/// The way from one camera's pixels to one network input; holds the buffers, so that a frame allocates nothing.
pub struct Preprocessing {
    geometry: ImageGeometry,
    resizer: Resizer,
    /// RGB pixels at the camera's size; unused when the camera already delivers tight RGB.
    rgb: Vec<u8>,
    /// Columns resized, rows not yet.
    widened: Image<'static>,
    resized: Image<'static>,
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
        let resized = geometry.resized();
        let level =
            |channel: usize, level: usize| (level as f32 / 255.0 - spec.mean[channel]) / spec.std[channel];
        Self {
            geometry,
            resizer: Resizer::new(),
            rgb: vec![0; 3 * geometry.camera_size().area()],
            widened: blank(resized.width, geometry.camera_size().height),
            resized: blank(resized.width, resized.height),
            levels: std::array::from_fn(|channel| std::array::from_fn(|value| level(channel, value))),
        }
    }

    /// The geometry that this was made for.
    pub fn geometry(&self) -> &ImageGeometry {
        &self.geometry
    }

    /// Fills `input` (`[3, height, width]`, RGB planes) with the normalised pixels of the network's input.
    ///
    /// # Errors
    /// When image or input are not of the sizes that this was made for.
    pub fn run(&mut self, image: &ImageView<'_>, input: &mut [f32]) -> Result<(), EngineError> {
        let network = self.geometry.network();
        check_len("network input", 3 * network.area(), input.len())?;
        self.resize(image)?;
        let (planes, plane) = (input, network.area());
        let ([left, top], row_bytes) = (self.geometry.crop(), 3 * self.geometry.resized().width);
        for row in 0..network.height {
            let pixels = &self.resized.buffer()[(top + row) * row_bytes + 3 * left..][..3 * network.width];
            for (channel, levels) in self.levels.iter().enumerate() {
                let out = &mut planes[channel * plane + row * network.width..][..network.width];
                let values = pixels.as_chunks::<3>().0;
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, pixel)| *out = levels[usize::from(pixel[channel])]);
            }
        }
        Ok(())
    }

    /// Fills `rgb` (tight, three bytes a pixel) with the picture that the network sees, for colour output and golden files.
    ///
    /// # Errors
    /// As [`Preprocessing::run`].
    pub fn picture(&mut self, image: &ImageView<'_>, rgb: &mut [u8]) -> Result<(), EngineError> {
        let network = self.geometry.network();
        check_len("picture", 3 * network.area(), rgb.len())?;
        self.resize(image)?;
        let ([left, top], row_bytes) = (self.geometry.crop(), 3 * self.geometry.resized().width);
        for (row, out) in rgb.chunks_exact_mut(3 * network.width).enumerate() {
            let start = (top + row) * row_bytes + 3 * left;
            out.copy_from_slice(&self.resized.buffer()[start..][..out.len()]);
        }
        Ok(())
    }

    /// PIL's antialiased bicubic (a = -0.5, which is Catmull-Rom), rounded to 8 bit after each direction. Rows come first,
    /// as in PIL; one call of the library would do columns first, which clips differently by up to 7 levels at edges.
    fn resize(&mut self, image: &ImageView<'_>) -> Result<(), EngineError> {
        let camera = self.geometry.camera_size();
        if image.size() != camera {
            return Err(EngineError::Shape {
                tensor: "camera image".to_owned(),
                expected: vec![camera.height, camera.width],
                actual: vec![image.size().height, image.size().width],
            });
        }
        let pixels = match tight_rgb(image) {
            Some(pixels) => pixels,
            None => {
                image.write_rgb(&mut self.rgb);
                &self.rgb
            }
        };
        let failed = |reason: String| EngineError::Run { network: "preprocessing".to_owned(), reason };
        let source = ImageRef::new(camera.width as u32, camera.height as u32, pixels, PixelType::U8x3)
            .map_err(|error| failed(error.to_string()))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        let rows = self.resizer.resize(&source, &mut self.widened, &options);
        let both = rows.and_then(|()| self.resizer.resize(&self.widened, &mut self.resized, &options));
        both.map_err(|error| failed(error.to_string()))
    }
}

fn blank(width: usize, height: usize) -> Image<'static> {
    Image::new(width as u32, height as u32, PixelType::U8x3)
}

/// The pixels themselves when they are RGB without padding.
fn tight_rgb<'a>(image: &ImageView<'a>) -> Option<&'a [u8]> {
    (image.encoding() == Encoding::Rgb8).then(|| image.tight_rows()).flatten()
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
    use calibration::Size;

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
}
