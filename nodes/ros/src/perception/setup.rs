//! A camera as its camera info describes it, and its way through the pipeline; made anew when either changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use calibration::{CameraModel, Size};
use network::Manifest;
use perception::points::Rays;
use perception::{CameraView, Engine, Pipeline, ViewOptions};
use r2r::sensor_msgs::msg::CameraInfo;
use serde_json::json;

use super::inference::FrameError;
use super::inputs::FrameIn;
use super::scale;
use super::settings::Settings;
use super::statistics::Fault;
use crate::convert;

/// So many frame ids of one camera are remembered; a driver that counts in the name would fill the memory.
const MOST_FRAMES: usize = 64;

/// The camera of each frame_id that results of the node had so far, with the name of the camera topic that had it first. Map
/// builders take a frame's intrinsics for constant, whoever publishes them: nvblox aborts when they change.
#[derive(Default)]
pub struct Frames(BTreeMap<String, (String, CameraModel)>);

/// One camera's way through the pipeline, and the camera of its results.
pub struct Setup {
    pub view: CameraView,
    /// The camera of depth and colour.
    pub camera: CameraModel,
    pub rays: Rays,
    frame_id: String,
}

/// What a setup was made from.
struct Made {
    info: Arc<CameraInfo>,
    frame_id: String,
    size: Size,
}

/// The setup of a camera topic.
#[derive(Default)]
pub struct Cameras {
    /// The last setup or why there is none, so that neither is worked out for every frame.
    current: Option<(Made, Result<Setup, FrameError>)>,
}

impl Cameras {
    /// The setup for a frame, and whether it is new.
    pub fn of<E: Engine>(
        &mut self,
        (name, size): (&str, Size),
        frame: &FrameIn,
        frames: &mut Frames,
        pipeline: &mut Pipeline<E>,
        settings: &Settings,
    ) -> Result<(&mut Setup, bool), FrameError> {
        let info = frame.info.as_ref().ok_or_else(|| {
            FrameError::new(Fault::CameraInfo, format!("no camera_info has come yet on {}", frame.info_topic))
        })?;
        let frame_id = frame.picture.header().frame_id;
        let same =
            |made: &Made| made.frame_id == frame_id && made.size == size && same_camera(&made.info, info);
        let is_new = !self.current.as_ref().is_some_and(|(made, _)| same(made));
        if is_new {
            let made = Made { info: info.clone(), frame_id: frame_id.to_owned(), size };
            // The old one goes first: two of them may not fit into memory.
            self.current = None;
            let setup = make(name, &made, frames, pipeline, settings);
            self.current = Some((made, setup));
        }
        match &mut self.current {
            Some((_, Ok(setup))) => Ok((setup, is_new)),
            Some((_, Err(error))) => Err(error.clone()),
            None => Err(FrameError::new(Fault::CameraInfo, "no camera")),
        }
    }
}

fn make<E: Engine>(
    name: &str,
    made: &Made,
    frames: &mut Frames,
    pipeline: &mut Pipeline<E>,
    settings: &Settings,
) -> Result<Setup, FrameError> {
    let wrong =
        |reason: &dyn std::fmt::Display| FrameError::new(Fault::CameraInfo, format!("camera_info: {reason}"));
    let engine = |error: perception::PipelineError| FrameError::new(Fault::Engine, error);
    let info = convert::camera_info(&made.info).map_err(|reason| wrong(&reason))?;
    let of = info.delivered_size().map_err(|error| wrong(&error))?;
    if of != made.size {
        return Err(wrong(&format!("expected one for the image of {}, got one for {of}", made.size)));
    }
    let (model, rectify) = if settings.rectify {
        info.rectification().map_err(|error| wrong(&error))?
    } else {
        (info.already_rectified().map_err(|error| wrong(&error))?, None)
    };
    let rectify = rectify.map(Arc::new);
    let (network, output, anchor) = (settings.network_size, settings.output, settings.anchor);
    let options = ViewOptions { network, output, rectify, anchor };
    let mut view = pipeline.view_as(made.size, options).map_err(engine)?;
    let measured = pipeline.measured(scale::name_in_bundle(name));
    view.set_scaling(pipeline.scaling(&view, Some(&model), measured).map_err(engine)?);
    let (camera, _) = view.output_camera(&model).map_err(|error| wrong(&error))?;
    let camera = frames.constant(name, &made.frame_id, camera)?;
    let rays = Rays::new(&camera);
    Ok(Setup { view, camera, rays, frame_id: made.frame_id.clone() })
}

impl Frames {
    /// The camera that results of a frame_id have, which is the first that it had.
    fn constant(&mut self, name: &str, frame_id: &str, came: CameraModel) -> Result<CameraModel, FrameError> {
        let own = self.0.values().filter(|(owner, _)| owner == name).count();
        if !self.0.contains_key(frame_id) && own == MOST_FRAMES {
            let reason = format!("frame_id: expected at most {MOST_FRAMES} different ones, got one more");
            return Err(FrameError::new(Fault::ChangedCamera, reason));
        }
        let (owner, first) = self.0.entry(frame_id.to_owned()).or_insert_with(|| (name.to_owned(), came));
        if first.is_same_pinhole(&came) {
            return Ok(*first);
        }
        let tell = |camera: &CameraModel| format!("{} {:?}", camera.size(), camera.intrinsics());
        let (first, came) = (tell(first), tell(&came));
        let reason = if owner == name {
            format!(
                "the camera of frame_id {frame_id:?} changed: its results had {first}, and would have {came}; consumers \
                 take the camera of a frame for constant, so nothing is published until it is as it was, has another \
                 frame_id, or this node is cleaned up and configured again"
            )
        } else {
            format!(
                "frame_id {frame_id:?} is that of camera {owner:?} too, whose results have {first}, where these would have \
                 {came}; consumers take the camera of a frame for constant, so nothing is published: give each driver a \
                 frame_id of its own"
            )
        };
        Err(FrameError::new(Fault::ChangedCamera, reason))
    }
}

impl Setup {
    /// What `~/features/info` says; docs/features.md has its schema.
    pub fn features_json(&self, model: &Manifest, settings: &Settings) -> String {
        let geometry = self.view.geometry();
        let (network, resized, image) = (geometry.network(), geometry.resized(), geometry.camera_size());
        let size = |size: Size| json!({ "width": size.width, "height": size.height });
        let architecture = &model.architecture;
        json!({
            "schema": "pixio/features/1",
            "model": model.name,
            "encoder_id": model.encoder_id,
            "frame_id": self.frame_id,
            "taps": settings.taps.chosen(&model.taps),
            "dim": architecture.dim,
            "class_tokens": architecture.class_tokens,
            "rows": network.height / architecture.patch,
            "columns": network.width / architecture.patch,
            "patch": architecture.patch,
            "normalised": true,
            "image": size(image),
            "resized": size(resized),
            "crop": geometry.crop(),
            "network": size(network),
        })
        .to_string()
    }
}

/// Whether two infos describe the same camera, whatever their stamps.
fn same_camera(a: &CameraInfo, b: &CameraInfo) -> bool {
    let about = |info: &CameraInfo| {
        let roi = (info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height);
        (info.width, info.height, info.binning_x, info.binning_y, roi)
    };
    let bits = |info: &CameraInfo| -> Vec<u64> {
        // By bits: NaN is the same as NaN, so that its refusal is worked out once.
        let values = info.k.iter().chain(&info.p).chain(&info.d).chain(&info.r);
        values.map(|value| value.to_bits()).collect()
    };
    about(a) == about(b) && a.distortion_model == b.distortion_model && bits(a) == bits(b)
}
