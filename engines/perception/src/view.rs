//! How one camera is seen: its geometry, its buffers, and the size of what it gives.

use std::sync::Arc;

use calibration::{CameraModel, CameraModelError, RectifyMap, Size};
use network::Manifest;

use crate::depth::{DepthMap, DepthRange, FarPolicy};
use crate::engine::EngineError;
use crate::features::FeatureMap;
use crate::frame::Stamp;
use crate::geometry::ImageGeometry;
use crate::heads::Buffers;
use crate::image::ImageView;
use crate::pipeline::PipelineError;
use crate::points::Rays;
use crate::preprocess::Preprocessing;
use crate::scale::{AnchorOptions, AnchorState, Anchoring, Known, RelativeDepth, Scaling};
use crate::upsample::Upsampling;

/// The size of a camera's depth and colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputSize {
    /// The network's input, which a crop of the camera's image fills.
    #[default]
    Network,
    /// The camera's image (the rectified one when the frame is rectified). Depth is brought there by
    /// [`Upsampling`]; what the network's crop left out is unknown.
    Image,
}

impl OutputSize {
    /// All sizes by the names that parameters and arguments use.
    pub const ALL: [(&'static str, OutputSize); 2] =
        [("network", OutputSize::Network), ("image", OutputSize::Image)];
}

impl std::str::FromStr for OutputSize {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, size)| *size);
        found.ok_or_else(|| format!("output size: expected network or image, got {name:?}"))
    }
}

/// How a camera is to be seen.
#[derive(Clone, Debug, Default)]
pub struct ViewOptions {
    /// The network's input size; without it that of the bundle which keeps most of the camera's image.
    pub network: Option<Size>,
    /// The size of depth and colour.
    pub output: OutputSize,
    /// Takes the distortion out of each frame first; the geometry is then that of the rectified image.
    pub rectify: Option<Arc<RectifyMap>>,
    /// Lets scale and shift follow a reference ([`CameraView::expect`]) instead of the head's own meaning.
    pub anchor: Option<AnchorOptions>,
}

/// One camera's way through the pipeline: its geometry and its buffers.
#[derive(Debug)]
pub struct CameraView {
    pub(crate) preprocessing: Preprocessing,
    pub(crate) depth: DepthMap,
    pub(crate) relative: RelativeDepth,
    scaling: Scaling,
    anchoring: Option<Anchoring>,
    /// Pixels of the network that show what the camera did not see.
    unseen: Vec<usize>,
    full: Option<FullDepth>,
    pub(crate) features: Vec<FeatureMap>,
    pub(crate) color: Vec<u8>,
    pub(crate) heads: Buffers,
}

/// Depth at the camera's size, and the way there.
#[derive(Debug)]
struct FullDepth {
    upsampling: Upsampling,
    depth: DepthMap,
}

impl CameraView {
    pub(crate) fn new(
        geometry: ImageGeometry,
        options: ViewOptions,
        scaling: Scaling,
        model: &Manifest,
        grid: (usize, usize),
        heads: Buffers,
    ) -> Result<Self, EngineError> {
        let (network, camera) = (geometry.network(), geometry.camera_size());
        let ViewOptions { output, rectify: map, anchor, .. } = options;
        let full = (output == OutputSize::Image)
            .then(|| FullDepth { upsampling: Upsampling::new(&geometry), depth: DepthMap::unknown(camera) });
        let size = if full.is_some() { camera } else { network };
        let unseen = map.as_ref().map(|map| unseen(&geometry, map)).unwrap_or_default();
        let preprocessing = match map {
            None => Preprocessing::new(geometry, &model.preprocessing),
            Some(map) => Preprocessing::rectifying(geometry, &model.preprocessing, map)?,
        };
        Ok(Self {
            preprocessing,
            depth: DepthMap::unknown(network),
            relative: RelativeDepth::unknown(network),
            scaling,
            anchoring: anchor.map(Anchoring::new),
            unseen,
            full,
            features: model.taps.iter().map(|block| FeatureMap::zeros(*block, grid, model)).collect(),
            color: vec![0; 3 * size.area()],
            heads,
        })
    }

    /// Where the camera's pixels go: those of the rectified image when the frame is rectified.
    pub fn geometry(&self) -> &ImageGeometry {
        self.preprocessing.geometry()
    }

    /// How the head's depth becomes metres: at first as the head means it, if that takes no camera.
    pub fn scaling(&self) -> Scaling {
        self.scaling
    }

    /// Sets how the head's depth becomes metres, from the next frame on; an anchor goes before it.
    pub fn set_scaling(&mut self, scaling: Scaling) {
        self.scaling = scaling;
    }

    /// Tells an anchor of the frame that comes next: its stamp, and the pixels whose depth a metric reference knows. Without
    /// any the last scale serves while it is fresh.
    pub fn expect(&mut self, stamp: Stamp, known: Vec<Known>) {
        if let Some(anchoring) = &mut self.anchoring {
            anchoring.expect(stamp, known);
        }
    }

    /// Stamps of the last frames, of which a reference may still tell an anchor ([`CameraView::recall`]).
    pub fn remembered(&self) -> impl Iterator<Item = Stamp> + '_ {
        self.anchoring.iter().flat_map(Anchoring::remembered)
    }

    /// Tells an anchor what a reference that came late knows of the frame of a stamp, one of [`CameraView::remembered`].
    pub fn recall(&mut self, stamp: Stamp, known: &[Known]) {
        let geometry = self.preprocessing.geometry();
        if let Some(anchoring) = &mut self.anchoring {
            anchoring.recall(stamp, known, geometry);
        }
    }

    /// Whether the last frame had a scale, where an anchor gives it.
    pub fn anchor_state(&self) -> Option<AnchorState> {
        self.anchoring.as_ref().map(Anchoring::state)
    }

    /// Forgets the anchor's scale, as after a jump of the clock.
    pub fn clear_anchor(&mut self) {
        self.anchoring.iter_mut().for_each(Anchoring::clear);
    }

    /// Whether the head's numbers become metres as they are downloaded; else they go through [`CameraView::finish_relative`].
    pub(crate) fn is_scaled(&self) -> bool {
        self.anchoring.is_none() && self.scaling != Scaling::Unknown
    }

    /// Gives the downloaded relative depth the anchor's scale, if there is one for this frame. Whether there was.
    pub(crate) fn finish_relative(&mut self) -> Result<bool, EngineError> {
        let geometry = self.preprocessing.geometry();
        let Some(anchoring) = &mut self.anchoring else { return Ok(false) };
        let Some(affine) = anchoring.scale(&self.relative, geometry) else { return Ok(false) };
        self.depth.meters_mut().copy_from_slice(self.relative.values());
        self.depth.rescale(affine);
        self.finish_depth()?;
        Ok(true)
    }

    /// Size of the frames that this view takes.
    pub fn frame_size(&self) -> Size {
        self.preprocessing.frame_size()
    }

    /// Size of depth and colour.
    pub fn output_size(&self) -> Size {
        self.full.as_ref().map_or(self.geometry().network(), |full| full.depth.size())
    }

    /// The camera at the network's size, and the rays of its pixels.
    ///
    /// # Errors
    /// When the model is for another image size.
    pub fn network_camera(&self, model: &CameraModel) -> Result<(CameraModel, Rays), PipelineError> {
        let camera = self.geometry().camera(model).map_err(PipelineError::Camera)?;
        let rays = Rays::new(&camera);
        Ok((camera, rays))
    }

    /// The camera of depth and colour, and the rays of its pixels; `model` is that of the image, rectified.
    ///
    /// # Errors
    /// When the model is for another image size.
    pub fn output_camera(&self, model: &CameraModel) -> Result<(CameraModel, Rays), PipelineError> {
        if self.full.is_none() {
            return self.network_camera(model);
        }
        if model.size() != self.geometry().camera_size() {
            return Err(PipelineError::Camera(CameraModelError::Size { came: model.size() }));
        }
        let camera = model.without_distortion();
        let rays = Rays::new(&camera);
        Ok((camera, rays))
    }

    /// The picture at the output size; `seen` tells that this frame was resized here already.
    pub(crate) fn write_color(&mut self, image: &ImageView<'_>, seen: bool) -> Result<(), EngineError> {
        match (&self.full, seen) {
            (Some(_), _) => self.preprocessing.whole_picture(image, &mut self.color),
            (None, true) => self.preprocessing.last_picture(&mut self.color),
            (None, false) => self.preprocessing.picture(image, &mut self.color),
        }
    }

    /// Gives the downloaded metric depth its scale, then as [`CameraView::finish_depth`].
    pub(crate) fn finish_scaled(&mut self) -> Result<(), EngineError> {
        if let Scaling::Meters(affine) = self.scaling {
            self.depth.rescale(affine);
        }
        self.finish_depth()
    }

    /// Makes unknown what the camera did not see, and brings the depth to the output size.
    pub(crate) fn finish_depth(&mut self) -> Result<(), EngineError> {
        let meters = self.depth.meters_mut();
        self.unseen.iter().for_each(|pixel| meters[*pixel] = f32::NAN);
        let Some(full) = &mut self.full else { return Ok(()) };
        let upsampled = full.upsampling.run(&self.depth, &mut full.depth);
        upsampled.map_err(|reason| EngineError::Run { network: "upsampling".to_owned(), reason })?;
        if let Some(map) = self.preprocessing.rectify_map() {
            let unseen = full.depth.meters_mut().iter_mut().zip(map.valid()).filter(|(_, valid)| !valid);
            unseen.for_each(|(depth, _)| *depth = f32::NAN);
        }
        Ok(())
    }

    /// Makes unknown the points of what the camera did not see.
    pub(crate) fn finish_points(&mut self) {
        if let Some(points) = &mut self.heads.points {
            points.forget(self.unseen.iter().copied());
        }
    }

    /// Takes the depth of the points.
    pub(crate) fn depth_of_points(&mut self, range: DepthRange, far: FarPolicy) {
        let Some(points) = &self.heads.points else { return };
        let z = points.points().points().iter().map(|point| point[2]);
        let fill = |meters: &mut [f32]| -> Result<(), std::convert::Infallible> {
            meters.iter_mut().zip(z).for_each(|(into, z)| *into = z);
            Ok(())
        };
        let Ok(()) = self.depth.refill(range, far, fill);
    }

    /// Forgets the images that a policy saw: the next one begins a new history.
    pub fn reset_policy(&mut self) {
        if let Some(memory) = &mut self.heads.policy {
            memory.reset();
        }
    }

    pub(crate) fn output_depth(&self) -> &DepthMap {
        self.full.as_ref().map_or(&self.depth, |full| &full.depth)
    }
}

/// The network's pixels whose centre shows what the camera did not see.
fn unseen(geometry: &ImageGeometry, map: &RectifyMap) -> Vec<usize> {
    let (network, camera) = (geometry.network(), geometry.camera_size());
    let valid: Vec<bool> = map.valid().collect();
    let is_unseen = |pixel: &usize| {
        let at = [(pixel % network.width) as f64, (pixel / network.width) as f64];
        let [x, y] = geometry.camera_from_network(at).map(|coordinate| coordinate.round().max(0.0) as usize);
        !valid[y.min(camera.height - 1) * camera.width + x.min(camera.width - 1)]
    };
    (0..network.area()).filter(is_unseen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dummy::Dummy;
    use crate::image::Encoding;
    use crate::pipeline::Wanted;
    use crate::pipeline::tests::{CAMERA, pipeline};

    #[test]
    fn depth_and_colour_come_at_the_size_of_the_image() {
        let dummy = Dummy::default();
        let (_folder, mut pipeline) = pipeline(&dummy);
        let camera = Size { width: 120, height: 60 };
        let output = "image".parse().unwrap();
        let mut view = pipeline.view_as(camera, ViewOptions { output, ..ViewOptions::default() }).unwrap();
        let pixels: Vec<u8> = (0..camera.area()).map(|at| (at % 251) as u8).collect();
        let image = ImageView::new(&pixels, camera, camera.width, Encoding::Mono8).unwrap();
        let wanted = Wanted { depth: true, color: true, ..Wanted::default() };
        let outputs = pipeline.run(&mut view, &image, wanted).unwrap();
        let depth = outputs.depth.unwrap();
        assert_eq!(depth.size(), camera);
        let color: Vec<u8> = outputs.color.unwrap().iter().step_by(3).copied().collect();
        assert_eq!(color, pixels, "the whole picture, not what the network saw");
        // 64x48 of 120x60: scaled by 0.8, 20 of 96 columns are cut off at left and right.
        for (at, depth) in depth.meters().iter().enumerate() {
            assert_eq!(depth.is_nan(), !(20..100).contains(&(at % 120)), "column {}", at % 120);
        }
        let intrinsics = calibration::Intrinsics { fx: 70.0, fy: 70.0, cx: 60.0, cy: 30.0 };
        let model = CameraModel::new(camera, intrinsics, calibration::Distortion::None).unwrap();
        assert_eq!(view.output_camera(&model).unwrap().0, model);
        assert_eq!(view.output_size(), camera);
    }

    #[test]
    fn what_a_rectified_camera_did_not_see_is_unknown() {
        let intrinsics = calibration::Intrinsics { fx: 60.0, fy: 60.0, cx: 39.5, cy: 29.5 };
        let pincushion = calibration::Distortion::PlumbBob([0.3, 0.0, 0.0, 0.0, 0.0]);
        let model = CameraModel::new(CAMERA, intrinsics, pincushion).unwrap();
        let turn = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let map = Arc::new(RectifyMap::new(&model, turn, &model.without_distortion()).unwrap());
        let dummy = Dummy::default();
        let (_folder, mut pipeline) = pipeline(&dummy);
        let pixels = vec![100; CAMERA.area()];
        let image = ImageView::new(&pixels, CAMERA, CAMERA.width, Encoding::Mono8).unwrap();
        for output in [OutputSize::Network, OutputSize::Image] {
            let options = ViewOptions { output, rectify: Some(map.clone()), ..ViewOptions::default() };
            let mut view = pipeline.view_as(CAMERA, options).unwrap();
            let outputs =
                pipeline.run(&mut view, &image, Wanted { depth: true, ..Wanted::default() }).unwrap();
            let meters = outputs.depth.unwrap().meters();
            let middle = meters[meters.len() / 2 + outputs.depth.unwrap().size().width / 2];
            assert!(meters[0].is_nan() && middle.is_finite(), "{output:?}");
        }
        let other = Size { width: 60, height: 80 };
        let options = ViewOptions { rectify: Some(map), ..ViewOptions::default() };
        let refused = pipeline.view_as(other, options).unwrap_err().to_string();
        assert!(refused.contains("60x80") && refused.contains("80x60"), "{refused}");
    }
}
