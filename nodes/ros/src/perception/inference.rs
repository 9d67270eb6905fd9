//! The inference thread: newest frames in, results out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calibration::CameraModel;
use perception::{Decompressor, DepthMap, Engine, ImageView, Pipeline};
use r2r::sensor_msgs::msg::Image;

use super::inputs::{FrameIn, Picture};
use super::load::Loaded;
use super::moment::Moments;
use super::outputs::{Asked, Outputs, Results};
use super::scale::{self, Told};
use super::settings::Settings;
use super::setup::{Cameras, Setup};
use super::statistics::{Fault, Statistics};
use crate::body::Body;
use crate::convert;
use crate::latest::Latest;
use crate::rosout::Logger;
use crate::throttle::Throttle;

/// How often one kind of error of one camera is logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// So many kinds are told apart, whatever comes.
const MOST_KINDS: usize = 32;

/// Why a frame was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    pub fault: Fault,
    pub reason: String,
}

impl FrameError {
    /// An error of this kind.
    pub fn new(fault: Fault, reason: impl ToString) -> Self {
        Self { fault, reason: reason.to_string() }
    }
}

/// Owns the pipeline; one frame at a time.
pub struct Inference<E: Engine> {
    pipeline: Pipeline<E>,
    settings: Settings,
    moments: Moments,
    cameras: Vec<Camera>,
    body: Option<Arc<Body>>,
    logger: Logger,
}

/// What is known of one camera.
struct Camera {
    name: String,
    outputs: Outputs,
    statistics: Statistics,
    setups: Cameras,
    decompressor: Decompressor,
    /// The last reference that a scale was fitted to.
    reference: Option<Arc<Image>>,
    /// What was last told of the scale.
    told: Option<Told>,
    /// One throttle for each kind of reason.
    logged: BTreeMap<String, Throttle>,
}

impl<E: Engine> Inference<E> {
    /// An inference thread for these cameras.
    pub fn new(
        loaded: Loaded<E>,
        cameras: &[String],
        outputs: &[Outputs],
        statistics: &[Statistics],
        moments: Moments,
        logger: Logger,
    ) -> Self {
        let camera = |((name, outputs), statistics): ((&String, &Outputs), &Statistics)| Camera {
            name: name.clone(),
            outputs: outputs.clone(),
            statistics: statistics.clone(),
            setups: Cameras::default(),
            decompressor: Decompressor::default(),
            reference: None,
            told: None,
            logged: BTreeMap::new(),
        };
        let cameras = cameras.iter().zip(outputs).zip(statistics).map(camera).collect();
        let Loaded { mut pipeline, settings, .. } = loaded;
        pipeline.set_far_policy(settings.far);
        Self { pipeline, settings, moments, cameras, body: None, logger }
    }

    /// Leaves the robot's body out of depth and points.
    #[must_use]
    pub fn without_body(self, body: Option<Arc<Body>>) -> Self {
        Self { body, ..self }
    }

    /// Takes newest frames, cameras in turn, until the slots are closed. A frame that cannot be used costs that frame.
    pub fn run(mut self, frames: &Latest<FrameIn>, results: &Latest<Results>) {
        while let Some((index, frame)) = frames.take() {
            let camera = &mut self.cameras[index];
            let asked = camera.outputs.asked();
            camera.statistics.asked(asked.wanted().anything());
            let stamp = convert::stamp(&frame.picture.header().stamp);
            if !asked.wanted().anything() || self.moments.is_past(frame.moment, stamp) {
                continue;
            }
            match self.infer(index, &frame, asked) {
                Ok(messages) => {
                    if results.put(index, messages).is_some() {
                        self.cameras[index].statistics.replaced();
                    }
                }
                Err(error) => self.cameras[index].report(&frame, &error, &self.logger),
            }
        }
    }

    fn infer(&mut self, index: usize, frame: &FrameIn, asked: Asked) -> Result<Results, FrameError> {
        let camera = &mut self.cameras[index];
        let unreadable = |error: &dyn std::fmt::Display| FrameError::new(Fault::Image, error);
        let image = match &frame.picture {
            Picture::Raw(message) => convert::image(message).map_err(|error| unreadable(&error))?,
            Picture::Compressed(message) => {
                let decoded = camera.decompressor.decode(&message.format, &message.data);
                decoded.map_err(|error| unreadable(&error))?
            }
        };
        let about = (camera.name.as_str(), image.size());
        let (setup, is_new) = camera.setups.of(about, frame, &mut self.pipeline, &self.settings)?;
        if is_new {
            let described = setup.features_json(self.pipeline.bundle().manifest(), &self.settings);
            let told = camera.outputs.describe_features(described);
            told.map_err(|error| FrameError::new(Fault::Engine, error))?;
        }
        let image_size = setup.view.geometry().camera_size();
        let reference = self.settings.anchor.and_then(|_| scale::reference(frame, &mut camera.reference));
        let known = reference.map(|reference| scale::known(&reference, image_size)).transpose();
        let (known, unread) = known.map_or_else(|reason| (None, Some(reason)), |known| (known, None));
        setup.view.expect(convert::stamp(&frame.picture.header().stamp), known.unwrap_or_default());
        let started = Instant::now();
        let results =
            compute(&mut self.pipeline, setup, &image, frame, asked, &self.settings, self.body.as_deref())?;
        camera.statistics.computed(started.elapsed());
        let told = asked.wanted().depth.then(|| Told::of(&self.pipeline, &setup.view, &camera.name));
        if let Some(reason) = unread {
            camera.report(frame, &FrameError::new(Fault::Reference, reason), &self.logger);
        }
        if let Some(told) = told {
            camera.tell(told)?;
        }
        self.pipeline.engine().take_notices().iter().for_each(|notice| self.logger.warn(notice));
        Ok(results)
    }
}

/// The messages of one frame.
fn compute<E: Engine>(
    pipeline: &mut Pipeline<E>,
    setup: &mut Setup,
    image: &ImageView<'_>,
    frame: &FrameIn,
    asked: Asked,
    settings: &Settings,
    body: Option<&Body>,
) -> Result<Results, FrameError> {
    let broken = |error: &dyn std::fmt::Display| FrameError::new(Fault::Engine, error);
    let header = || frame.picture.header().clone();
    let outputs = pipeline.run(&mut setup.view, image, asked.wanted()).map_err(|error| broken(&error))?;
    let size = setup.camera.size();
    let without_body =
        outputs.depth.zip(body).map(|(depth, body)| remove(body, &setup.camera, frame, depth)).transpose()?;
    let depth = without_body.as_ref().or(outputs.depth);
    let points = match (depth, outputs.color) {
        (Some(depth), Some(rgb)) if asked.points => {
            let points = convert::points_message(header(), &setup.rays, depth, rgb);
            Some(points.map_err(|error| broken(&error))?)
        }
        _ => None,
    };
    // Nothing metric goes out for a frame without metres.
    let info = asked.camera_info && outputs.relative.is_none();
    let depth = depth.filter(|_| asked.depth);
    let color = outputs.color.filter(|_| asked.color);
    let taps = outputs.features.map(|taps| settings.taps.chosen(taps));
    let tokens = |wanted: bool, part: fn(&perception::FeatureMap) -> &[f32]| {
        taps.filter(|_| wanted).map(|taps| convert::tokens_message(header(), taps, part))
    };
    Ok(Results {
        moment: frame.moment,
        stamp: convert::stamp(&frame.picture.header().stamp),
        depth: depth.map(|depth| convert::depth_message(header(), depth, settings.depth_encoding)),
        camera_info: info.then(|| convert::rectified_camera_message(header(), &setup.camera)),
        color: color.map(|rgb| convert::color_message(header(), size, rgb)),
        points,
        class_tokens: tokens(asked.class_tokens, perception::FeatureMap::class),
        patches: tokens(asked.patches, perception::FeatureMap::patches),
    })
}

/// A depth map without the pixels that show the robot.
fn remove(
    body: &Body,
    camera: &CameraModel,
    frame: &FrameIn,
    depth: &DepthMap,
) -> Result<DepthMap, FrameError> {
    let header = frame.picture.header();
    let mask = body.mask(camera, &header.frame_id, convert::stamp(&header.stamp));
    let mask = mask.map_err(|reason| FrameError::new(Fault::Body, reason))?;
    let mut depth = depth.clone();
    depth.forget(mask.covered()).map_err(|reason| FrameError::new(Fault::Body, reason))?;
    Ok(depth)
}

impl Camera {
    /// Where the metres came from, to diagnostics and, when it is news, to the latched topic.
    fn tell(&mut self, told: Told) -> Result<(), FrameError> {
        if told.is_news(self.told.as_ref()) {
            let published = self.outputs.describe_scale(told.json());
            published.map_err(|error| FrameError::new(Fault::Engine, error))?;
        }
        self.told = Some(told.clone());
        self.statistics.scale(told);
        Ok(())
    }

    /// One error of a kind every few seconds, and a count of all.
    fn report(&mut self, frame: &FrameIn, error: &FrameError, logger: &Logger) {
        self.statistics.fault(error.fault, &error.reason);
        let kind = kind(&error.reason);
        if !self.logged.contains_key(&kind) && self.logged.len() == MOST_KINDS {
            self.logged.clear();
        }
        let throttle = self.logged.entry(kind).or_insert_with(|| Throttle::new(LOG_PERIOD));
        let Some(suppressed) = throttle.ready(Instant::now()) else { return };
        let more = if suppressed == 0 { String::new() } else { format!(" ({suppressed} more not logged)") };
        let stamp = convert::stamp(&frame.picture.header().stamp);
        let (topic, reason) = (&frame.topic, &error.reason);
        let name = if self.name.is_empty() { String::new() } else { format!("camera {}: ", self.name) };
        logger.error(format!("{name}image stamped {stamp} of {topic}: {reason}{more}"));
    }
}

/// What a reason is about: its words before the first number or quotation, which differ from frame to frame.
fn kind(reason: &str) -> String {
    let about = reason.split(|c: char| c.is_ascii_digit() || c == '"').next().unwrap_or_default();
    about.chars().filter(|c| c.is_alphabetic()).take(48).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_a_kind_are_throttled_together() {
        assert_eq!(kind("JPEG of 120 bytes: cut off"), kind("JPEG of 99 bytes: cut off"));
        assert_ne!(kind("data: expected 3"), kind("step: expected 3"));
        assert_ne!(kind("size: expected sides of 1"), kind("size: expected an even width"));
        assert_eq!(kind(""), "");
    }
}
