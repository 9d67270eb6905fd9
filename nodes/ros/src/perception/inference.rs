//! The inference thread: newest frames in, results out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calibration::{CameraModel, Size};
use perception::points::Rays;
use perception::{CameraView, Engine, Pipeline};
use r2r::sensor_msgs::msg::CameraInfo;

use super::Settings;
use super::inputs::FrameIn;
use super::outputs::{Asked, Outputs, Results};
use crate::convert;
use crate::latest::Latest;
use crate::throttle::Throttle;

/// How often one kind of error of one camera is logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// Owns the pipeline; one frame at a time.
pub struct Inference<E: Engine> {
    pipeline: Pipeline<E>,
    network_size: Option<Size>,
    cameras: Vec<Camera>,
    logger: String,
    may_publish: bool,
}

/// What is known of one camera.
struct Camera {
    name: String,
    outputs: Outputs,
    view: Option<CameraView>,
    lens: Option<Lens>,
    errors: Throttle,
    warned_of_distortion: bool,
}

/// A camera info and what follows from it.
struct Lens {
    info: Arc<CameraInfo>,
    camera: CameraModel,
    rays: Rays,
}

impl<E: Engine> Inference<E> {
    /// An inference thread for these cameras.
    pub fn new(
        pipeline: Pipeline<E>,
        settings: &Settings,
        logger: &str,
        outputs: Vec<Outputs>,
        may_publish: bool,
    ) -> Self {
        let camera = |(name, outputs)| Camera {
            name,
            outputs,
            view: None,
            lens: None,
            errors: Throttle::new(LOG_PERIOD),
            warned_of_distortion: false,
        };
        let cameras = settings.camera_names().into_iter().zip(outputs).map(camera).collect();
        let (network_size, logger) = (settings.network_size, logger.to_owned());
        Self { pipeline, network_size, cameras, logger, may_publish }
    }

    /// Takes newest frames, cameras in turn, until the slots are closed. A frame that cannot be used costs that frame.
    pub fn run(mut self, frames: &Latest<FrameIn>, results: &Latest<Results>) {
        while let Some((index, frame)) = frames.take() {
            let asked = self.cameras[index].outputs.asked();
            if !self.may_publish || !asked.wanted().anything() {
                continue;
            }
            match self.infer(index, &frame, asked) {
                Ok(messages) => drop(results.put(index, messages)),
                Err(reason) => self.report(index, &frame, &reason),
            }
        }
    }

    fn report(&mut self, index: usize, frame: &FrameIn, reason: &str) {
        let camera = &mut self.cameras[index];
        if let Some(suppressed) = camera.errors.ready(Instant::now()) {
            let more =
                if suppressed == 0 { String::new() } else { format!(" ({suppressed} more not logged)") };
            let stamp = convert::stamp(&frame.image.header.stamp);
            let name = if camera.name.is_empty() { String::new() } else { format!("{}/", camera.name) };
            r2r::log_error!(&self.logger, "{name}image stamped {stamp}: {reason}{more}");
        }
    }

    fn infer(&mut self, index: usize, frame: &FrameIn, asked: Asked) -> Result<Results, String> {
        let image = convert::image(&frame.image).map_err(|error| error.to_string())?;
        if frame.image.is_bigendian != 0 && frame.image.encoding.ends_with("16") {
            return Err("is_bigendian: expected little-endian pixels".to_owned());
        }
        let camera = &mut self.cameras[index];
        if camera.view.as_ref().is_none_or(|view| view.geometry().camera_size() != image.size()) {
            camera.view = None;
            camera.lens = None;
            camera.view =
                Some(self.pipeline.view(image.size(), self.network_size).map_err(|error| error.to_string())?);
        }
        let Some(view) = camera.view.as_mut() else { return Err("no view".to_owned()) };
        let lens = Self::lens(&mut camera.lens, view, frame)?;
        if !lens.info.d.iter().all(|d| *d == 0.0) && !camera.warned_of_distortion {
            camera.warned_of_distortion = true;
            r2r::log_warn!(
                &self.logger,
                "{}camera_info has distortion; the image is taken as rectified (K and D are ignored, P counts)",
                camera.name
            );
        }

        let outputs = self.pipeline.run(view, &image, asked.wanted()).map_err(|error| error.to_string())?;
        let header = &frame.image.header;
        let size = lens.camera.size();
        let points = match (outputs.depth, outputs.color) {
            (Some(depth), Some(rgb)) if asked.points => {
                Some(convert::points_message(header.clone(), &lens.rays, depth, rgb)?)
            }
            _ => None,
        };
        Ok(Results {
            depth: outputs
                .depth
                .filter(|_| asked.depth)
                .map(|depth| convert::depth_message(header.clone(), depth)),
            camera_info: asked
                .camera_info
                .then(|| convert::rectified_camera_message(header.clone(), &lens.camera)),
            color: outputs
                .color
                .filter(|_| asked.color)
                .map(|rgb| convert::color_message(header.clone(), size, rgb)),
            points,
        })
    }

    /// The lens of the frame's camera info, made anew when the info changed.
    fn lens<'l>(known: &'l mut Option<Lens>, view: &CameraView, frame: &FrameIn) -> Result<&'l Lens, String> {
        let info = frame.info.as_ref().ok_or("no camera_info has come yet, so the frame is not used")?;
        let same = |lens: &Lens| same_camera(&lens.info, info);
        if !known.as_ref().is_some_and(same) {
            *known = None;
            let model = convert::camera_info(info)
                .and_then(|info| info.rectified().map_err(|error| error.to_string()))
                .map_err(|reason| format!("camera_info: {reason}"))?;
            let (camera, rays) = view
                .network_camera(&model)
                .map_err(|error| format!("camera_info of {}: {error}", model.size()))?;
            *known = Some(Lens { info: info.clone(), camera, rays });
        }
        known.as_ref().ok_or_else(|| "no lens".to_owned())
    }
}

/// Whether two infos describe the same camera, whatever their stamps.
fn same_camera(a: &CameraInfo, b: &CameraInfo) -> bool {
    let about = |info: &CameraInfo| {
        let roi = (info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height);
        (info.width, info.height, info.binning_x, info.binning_y, roi)
    };
    about(a) == about(b) && a.k == b.k && a.p == b.p && a.d == b.d && a.r == b.r
}
