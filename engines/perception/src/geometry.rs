//! Where a camera's pixels go in the network's input.

use calibration::{CameraModel, CameraModelError, Size};

/// The way from camera pixels to network pixels: a uniform scale that covers the network's input, then a centred crop.
///
/// A coordinate `c` (pixel centres at integers) becomes `(c + 0.5) s - 0.5 - crop`, for pixels and the principal point
/// alike; a focal length becomes `f s`. The resized image has whole pixels, so `s` differs a little between the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageGeometry {
    camera: Size,
    resized: Size,
    network: Size,
    crop: [usize; 2],
}

/// Sizes that no geometry joins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot bring a camera image of {camera} to a network input of {network}: {reason}")]
pub struct GeometryError {
    camera: Size,
    network: Size,
    reason: &'static str,
}

impl ImageGeometry {
    /// The geometry from a camera's size to a network's.
    ///
    /// # Errors
    /// When a side is zero or the resized image would be beyond any memory.
    pub fn new(camera: Size, network: Size) -> Result<Self, GeometryError> {
        let refused = |reason| GeometryError { camera, network, reason };
        if camera.area() == 0 || network.area() == 0 {
            return Err(refused("a side is zero"));
        }
        let ratio = |to: usize, from: usize| to as f64 / from as f64;
        let scale = ratio(network.width, camera.width).max(ratio(network.height, camera.height));
        let side = |from: usize, least: usize| ((from as f64 * scale).round() as usize).max(least);
        let resized =
            Size { width: side(camera.width, network.width), height: side(camera.height, network.height) };
        if resized.width.max(resized.height) > crate::image::MAX_SIDE {
            return Err(refused("the image is too long for its width, or too wide for its height"));
        }
        let crop = [(resized.width - network.width) / 2, (resized.height - network.height) / 2];
        Ok(Self { camera, resized, network, crop })
    }

    /// The size among `sizes` that keeps most of the camera's image; the first of equals.
    pub fn best_size(camera: Size, sizes: &[Size]) -> Option<Size> {
        let kept = |size: Size| {
            let (camera, size) =
                (camera.width as f64 / camera.height as f64, size.width as f64 / size.height as f64);
            camera.min(size) / camera.max(size)
        };
        let better = |best: Size, next: Size| if kept(next) > kept(best) + 1e-9 { next } else { best };
        sizes.iter().copied().reduce(better)
    }

    /// Size of the camera's image.
    pub fn camera_size(&self) -> Size {
        self.camera
    }

    /// Size of the whole image after scaling, before the crop.
    pub fn resized(&self) -> Size {
        self.resized
    }

    /// Size of the network's input.
    pub fn network(&self) -> Size {
        self.network
    }

    /// Columns and rows cut off at left and top, in resized pixels.
    pub fn crop(&self) -> [usize; 2] {
        self.crop
    }

    /// Scale along x and y.
    pub fn scale(&self) -> [f64; 2] {
        [
            self.resized.width as f64 / self.camera.width as f64,
            self.resized.height as f64 / self.camera.height as f64,
        ]
    }

    /// Where a camera pixel lies in the network's input.
    pub fn network_from_camera(&self, pixel: [f64; 2]) -> [f64; 2] {
        let scale = self.scale();
        std::array::from_fn(|axis| (pixel[axis] + 0.5) * scale[axis] - 0.5 - self.crop[axis] as f64)
    }

    /// Where a pixel of the network's input lies in the camera's image.
    pub fn camera_from_network(&self, pixel: [f64; 2]) -> [f64; 2] {
        let scale = self.scale();
        std::array::from_fn(|axis| (pixel[axis] + self.crop[axis] as f64 + 0.5) / scale[axis] - 0.5)
    }

    /// The values at the network's pixels of an image of `size`, row by row: as they are when it is of the network's size, else those of
    /// the nearest pixels of the camera's image.
    pub fn sampled<T: Copy>(&self, size: Size, values: &[T]) -> Vec<T> {
        if size == self.network {
            return values.to_vec();
        }
        let nearest =
            |coordinate: f64, side: usize| (coordinate.round().max(0.0) as usize).min(side.saturating_sub(1));
        let value = |pixel: usize| {
            let at = [(pixel % self.network.width) as f64, (pixel / self.network.width) as f64];
            let [x, y] = self.camera_from_network(at);
            values.get(nearest(y, size.height) * size.width + nearest(x, size.width)).copied()
        };
        (0..self.network.area()).filter_map(value).collect()
    }

    /// The camera that would have taken the network's input.
    ///
    /// # Errors
    /// When the model is for another size than this geometry's camera, or does not survive the scaling.
    pub fn camera(&self, model: &CameraModel) -> Result<CameraModel, CameraModelError> {
        if model.size() != self.camera {
            return Err(CameraModelError::Size { came: model.size() });
        }
        model.resampled(self.scale(), self.crop.map(|cut| cut as f64), self.network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calibration::{Distortion, Intrinsics};
    use proptest::prelude::*;

    #[test]
    fn covers_and_crops_in_the_middle() {
        let cases = [
            ((640, 480), (256, 256), (341, 256), [42, 0]),
            ((480, 640), (256, 256), (256, 341), [0, 42]),
            ((640, 480), (336, 256), (341, 256), [2, 0]),
            ((256, 256), (256, 256), (256, 256), [0, 0]),
            ((100, 100), (256, 128), (256, 256), [0, 64]),
        ];
        let size = |(width, height)| Size { width, height };
        for (camera, network, resized, crop) in cases {
            let geometry = ImageGeometry::new(size(camera), size(network)).unwrap();
            assert_eq!(
                (geometry.resized(), geometry.crop()),
                (size(resized), crop),
                "{camera:?} {network:?}"
            );
        }
        assert!(ImageGeometry::new(size((0, 4)), size((16, 16))).is_err());
        assert!(ImageGeometry::new(size((1, 4000)), size((256, 256))).is_err());
    }

    #[test]
    fn sampled_values_are_those_of_the_nearest_pixels() {
        let (camera, network) = (Size { width: 64, height: 32 }, Size { width: 16, height: 16 });
        let geometry = ImageGeometry::new(camera, network).unwrap();
        let columns: Vec<usize> = (0..camera.area()).map(|pixel| pixel % camera.width).collect();
        let sampled = geometry.sampled(camera, &columns);
        assert_eq!(sampled.len(), network.area());
        // Half the scale, the middle 16 of 32 columns.
        assert!(
            sampled[..16].iter().enumerate().all(|(column, at)| at.abs_diff(16 + 2 * column) <= 1),
            "{sampled:?}"
        );
        assert_eq!(geometry.sampled(network, &[7; 256]), vec![7; 256]);
    }

    #[test]
    fn the_best_size_keeps_most() {
        let sizes = [(256, 256), (336, 256), (256, 336)].map(|(width, height)| Size { width, height });
        let best = |width, height| ImageGeometry::best_size(Size { width, height }, &sizes).unwrap();
        assert_eq!(best(640, 480), sizes[1]);
        assert_eq!(best(480, 640), sizes[2]);
        assert_eq!(best(500, 500), sizes[0]);
    }

    proptest! {
        #[test]
        fn pixels_go_there_and_back(w in 16_usize..2000, h in 16_usize..2000, u in 0.0..1.0, v in 0.0..1.0) {
            let camera = Size { width: w, height: h };
            if let Ok(geometry) = ImageGeometry::new(camera, Size { width: 256, height: 192 }) {
                let pixel = [u * w as f64, v * h as f64];
                let back = geometry.camera_from_network(geometry.network_from_camera(pixel));
                prop_assert!((back[0] - pixel[0]).abs() < 1e-9 && (back[1] - pixel[1]).abs() < 1e-9);
            }
        }

        #[test]
        fn rays_keep_their_direction(w in 64_usize..2000, h in 64_usize..2000, u in 0.0..1.0, v in 0.0..1.0) {
            let camera = Size { width: w, height: h };
            let geometry = ImageGeometry::new(camera, Size { width: 256, height: 192 });
            prop_assume!(geometry.is_ok());
            let geometry = geometry.unwrap();
            let intrinsics = Intrinsics { fx: 500.0, fy: 510.0, cx: w as f64 / 2.0 - 3.0, cy: h as f64 / 2.0 + 2.0 };
            let model = CameraModel::new(camera, intrinsics, Distortion::None).unwrap();
            let scaled = geometry.camera(&model).unwrap();
            let pixel = [u * w as f64, v * h as f64];
            let ray = model.intrinsics().normalized(pixel);
            let moved = scaled.intrinsics().normalized(geometry.network_from_camera(pixel));
            prop_assert!((ray[0] - moved[0]).abs() < 1e-9 && (ray[1] - moved[1]).abs() < 1e-9);
        }
    }
}
