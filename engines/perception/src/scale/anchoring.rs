//! One camera's anchor at work: what a reference says of the frame in hand becomes that frame's scale.

use std::collections::VecDeque;

use super::{Affine, Anchor, AnchorOptions, AnchorState, RelativeDepth, Sample, Unanchored};
use crate::frame::Stamp;
use crate::geometry::ImageGeometry;

/// A pixel of the camera's (rectified) image whose depth is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Column and row, pixel centres at integers.
    pub pixel: [f64; 2],
    /// Metres along Z.
    pub meters: f64,
}

/// Frames that a late reference can still speak of.
const REMEMBERED: usize = 4;

/// An anchor, the frame in hand, what is known of it, and what the head said of the frames before.
#[derive(Clone, Debug)]
pub(crate) struct Anchoring {
    anchor: Anchor,
    stamp: Stamp,
    known: Vec<Known>,
    state: AnchorState,
    /// The head's numbers of the last frames, newest last.
    remembered: VecDeque<(Stamp, Vec<f32>)>,
}

impl Anchoring {
    pub(crate) fn new(options: AnchorOptions) -> Self {
        let state = AnchorState::Unanchored(Unanchored::NoReference);
        let (anchor, remembered) = (Anchor::new(options), VecDeque::with_capacity(REMEMBERED));
        Self { anchor, stamp: Stamp::default(), known: Vec::new(), state, remembered }
    }

    /// Tells of the frame that comes next; nothing known of it leaves the last scale in place while it is fresh.
    pub(crate) fn expect(&mut self, stamp: Stamp, known: Vec<Known>) {
        (self.stamp, self.known) = (stamp, known);
    }

    /// Stamps of the frames that are still remembered.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = Stamp> + '_ {
        self.remembered.iter().map(|(stamp, _)| *stamp)
    }

    /// Takes what a reference that came late knows of a remembered frame.
    pub(crate) fn recall(&mut self, stamp: Stamp, known: &[Known], geometry: &ImageGeometry) {
        let Some((_, values)) = self.remembered.iter().find(|(of, _)| *of == stamp) else { return };
        // A reference that gives no scale shows in the state once the last good one is too old.
        let _ = self.anchor.observe(stamp, &samples(known, values, geometry));
    }

    pub(crate) fn state(&self) -> AnchorState {
        self.state
    }

    pub(crate) fn clear(&mut self) {
        self.anchor.clear();
        self.remembered.clear();
        self.state = AnchorState::Unanchored(Unanchored::NoReference);
    }

    /// The frame's scale, from what is known of it or else from before.
    pub(crate) fn scale(&mut self, depth: &RelativeDepth, geometry: &ImageGeometry) -> Option<Affine> {
        let known = std::mem::take(&mut self.known);
        if !known.is_empty() {
            let samples = samples(&known, depth.values(), geometry);
            // A reference that gives no scale shows in the state once the last good one is too old.
            let _ = self.anchor.observe(self.stamp, &samples);
        }
        self.remember(depth.values());
        self.state = self.anchor.at(self.stamp);
        match self.state {
            AnchorState::Anchored(found) => Some(found.affine),
            AnchorState::Unanchored(_) => None,
        }
    }

    fn remember(&mut self, values: &[f32]) {
        let full = self.remembered.len() == REMEMBERED;
        let mut kept =
            full.then(|| self.remembered.pop_front()).flatten().map_or(Vec::new(), |(_, kept)| kept);
        kept.clear();
        kept.extend_from_slice(values);
        self.remembered.push_back((self.stamp, kept));
    }
}

/// What a map at the network's size says at the known pixels; what lies outside the network's crop is left out, and so is
/// what it does not know.
pub fn samples(known: &[Known], values: &[f32], geometry: &ImageGeometry) -> Vec<Sample> {
    let size = geometry.network();
    let sample = |known: &Known| {
        let [x, y] = geometry.network_from_camera(known.pixel).map(f64::round);
        let inside = x >= 0.0 && y >= 0.0 && x < size.width as f64 && y < size.height as f64;
        let raw = values.get(inside.then(|| y as usize * size.width + x as usize)?)?;
        raw.is_finite().then(|| Sample { raw: f64::from(*raw), meters: known.meters })
    };
    known.iter().filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dummy::Dummy;
    use crate::image::{Encoding, ImageView};
    use crate::pipeline::tests::{CAMERA, pipeline, pipeline_of};
    use crate::pipeline::{Pipeline, Wanted};
    use crate::scale::Scaling;
    use crate::view::{CameraView, ViewOptions};
    use calibration::{CameraModel, Distortion, Intrinsics};
    use network::manifest::{DepthCalibration, HeadScale};

    /// The depth of a frame in metres, or its values without a scale.
    fn run(pipeline: &mut Pipeline<Dummy>, view: &mut CameraView) -> Result<Vec<f32>, Vec<f32>> {
        let pixels = vec![100; CAMERA.area()];
        let image = ImageView::new(&pixels, CAMERA, CAMERA.width, Encoding::Mono8).unwrap();
        let outputs = pipeline.run(view, &image, Wanted { depth: true, ..Wanted::default() }).unwrap();
        match (outputs.depth, outputs.relative) {
            (Some(depth), None) => Ok(depth.meters().to_vec()),
            (None, Some(relative)) => Err(relative.values().to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn close(came: &[f32], raw: &[f32], affine: Affine) -> bool {
        let same =
            |(came, raw): (&f32, &f32)| (f64::from(*came) - affine.meters(f64::from(*raw))).abs() < 1e-4;
        came.iter().zip(raw).all(same)
    }

    #[test]
    fn each_meaning_of_a_head_gives_metres_only_with_what_it_needs() {
        let intrinsics = Intrinsics { fx: 75.0, fy: 75.0, cx: 39.5, cy: 29.5 };
        let camera = CameraModel::new(CAMERA, intrinsics, Distortion::None).unwrap();
        let dummy = Dummy::default();
        let (_folder, mut metric) = pipeline(&dummy);
        let mut view = metric.view(CAMERA, None).unwrap();
        let raw = run(&mut metric, &mut view).unwrap();

        // The picture is scaled by 0.8 to the network: f is 60 there.
        let (_folder, mut focal) = pipeline_of(&dummy, HeadScale::FocalNormalised { focal_pixels: 20.0 });
        let mut view = focal.view(CAMERA, None).unwrap();
        assert_eq!(run(&mut focal, &mut view).unwrap_err(), raw);
        view.set_scaling(focal.scaling(&view, Some(&camera), None).unwrap());
        assert!(close(&run(&mut focal, &mut view).unwrap(), &raw, Affine { scale: 3.0, shift: 0.0 }));

        let (_folder, mut relative) = pipeline_of(&dummy, HeadScale::Relative);
        let mut view = relative.view(CAMERA, None).unwrap();
        view.set_scaling(relative.scaling(&view, Some(&camera), None).unwrap());
        assert_eq!(view.scaling(), Scaling::Unknown);
        assert_eq!(run(&mut relative, &mut view).unwrap_err(), raw);

        let reference = "test".to_owned();
        let measured =
            DepthCalibration { scale: 2.0, shift_meters: 0.5, residual: 0.0, samples: 9, reference };
        let bundle = metric.bundle().write_depth_calibration("front", "depth", measured).unwrap();
        let mut measured = Pipeline::new(dummy, bundle, None).unwrap();
        let mut view = measured.view(CAMERA, None).unwrap();
        let scaling = measured.scaling(&view, None, measured.measured("front")).unwrap();
        view.set_scaling(scaling);
        assert!(close(&run(&mut measured, &mut view).unwrap(), &raw, Affine { scale: 2.0, shift: 0.5 }));
        assert!(measured.measured("rear").is_none());
    }

    #[test]
    fn an_anchor_gives_metres_while_its_reference_is_fresh() {
        let (_folder, mut pipeline) = pipeline_of(&Dummy::default(), HeadScale::Relative);
        let options = ViewOptions { anchor: Some(AnchorOptions::default()), ..ViewOptions::default() };
        let mut view = pipeline.view_as(CAMERA, options).unwrap();
        let at = |sec| Stamp { sec, nanosec: 0 };
        view.expect(at(1), Vec::new());
        let raw = run(&mut pipeline, &mut view).unwrap_err();
        assert_eq!(view.anchor_state(), Some(AnchorState::Unanchored(Unanchored::NoReference)));

        let truth = Affine { scale: 3.0, shift: 0.25 };
        let network = view.geometry().network();
        let known = |index: usize| {
            let pixel = [(index % network.width) as f64, (index / network.width) as f64];
            let wrong = if index.is_multiple_of(3) { 1.7 } else { 1.0 };
            let meters = truth.meters(f64::from(raw[index])) * wrong;
            Known { pixel: view.geometry().camera_from_network(pixel), meters }
        };
        let reference: Vec<Known> =
            (0..raw.len()).step_by(7).filter(|i| raw[*i].is_finite()).map(known).collect();
        view.expect(at(2), reference.clone());
        assert!(close(&run(&mut pipeline, &mut view).unwrap(), &raw, truth));
        view.expect(at(3), Vec::new());
        assert!(run(&mut pipeline, &mut view).is_ok());
        view.expect(at(9), Vec::new());
        assert!(run(&mut pipeline, &mut view).is_err());
        assert!(matches!(view.anchor_state(), Some(AnchorState::Unanchored(Unanchored::Stale { .. }))));
        view.clear_anchor();
        view.expect(at(2), Vec::new());
        assert!(run(&mut pipeline, &mut view).is_err());
        // What a reference says of that frame later serves the next one; of a frame that is not remembered it says nothing.
        assert_eq!(view.remembered().collect::<Vec<_>>(), [at(2)]);
        view.recall(at(1), &reference);
        view.expect(at(3), Vec::new());
        assert!(run(&mut pipeline, &mut view).is_err());
        view.recall(at(2), &reference);
        view.expect(at(3), Vec::new());
        assert!(close(&run(&mut pipeline, &mut view).unwrap(), &raw, truth));
    }
}
