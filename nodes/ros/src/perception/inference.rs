//! The inference thread: newest frames in, results out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calibration::{CameraModel, Size};
use control::ActionChunk;
use network::PolicySpec;
use perception::scale::AnchorState;
use perception::{
    CameraView, Decompressor, DepthMap, Engine, FeatureMap, ImageView, ImpliedIntrinsics, Observation,
    Pipeline, PolicyError,
};
use r2r::sensor_msgs::msg::Image;
use r2r::trajectory_msgs::msg::JointTrajectory;
use robot::BodyMask;

use super::acting::{Acting, ros_time};
use super::inputs::FrameIn;
use super::load::Loaded;
use super::moment::Moments;
use super::outputs::{Asked, Outputs, Results, Spare, Spent};
use super::picture::Message;
use super::scale::{self, Reference, Told};
use super::settings::Settings;
use super::setup::{Cameras, Frames, Setup};
use super::statistics::{Fault, Statistics};
use crate::action_chunk;
use crate::body::Body;
use crate::cdr::Header;
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
    frames: Frames,
    spare: Arc<Spare>,
    body: Option<Arc<Body>>,
    acting: Acting,
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
    /// Resets of the policy that its history has followed.
    resets: u64,
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
        spare: Arc<Spare>,
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
            resets: 0,
            logged: BTreeMap::new(),
        };
        let cameras = cameras.iter().zip(outputs).zip(statistics).map(camera).collect();
        let Loaded { mut pipeline, settings, .. } = loaded;
        pipeline.set_far_policy(settings.far);
        Self {
            pipeline,
            settings,
            moments,
            cameras,
            frames: Frames::default(),
            spare,
            body: None,
            acting: Acting::default(),
            logger,
        }
    }

    /// Lets a policy act by what is known of the robot.
    #[must_use]
    pub fn acting(self, acting: Acting) -> Self {
        Self { acting, ..self }
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
            camera.statistics.asked(asked.anything());
            let stamp = frame.picture.stamp();
            if !asked.anything() || self.moments.is_past(frame.moment, stamp) {
                continue;
            }
            let mut messages = self.spare.take();
            match self.infer(index, &frame, asked, &mut messages) {
                Ok(()) => {
                    if let Some(replaced) = results.put(index, messages) {
                        self.cameras[index].statistics.replaced();
                        self.spare.give(replaced);
                    }
                }
                Err(error) => {
                    self.cameras[index].report(&frame, &error, &self.logger);
                    self.spare.give(messages);
                }
            }
        }
    }

    fn infer(
        &mut self,
        index: usize,
        frame: &FrameIn,
        asked: Asked,
        results: &mut Results,
    ) -> Result<(), FrameError> {
        let camera = &mut self.cameras[index];
        let unreadable = |error: &dyn std::fmt::Display| FrameError::new(Fault::Image, error);
        let image = match frame.picture.message().map_err(|error| unreadable(&error))? {
            Message::Raw(message) => convert::image(&message).map_err(|error| unreadable(&error))?,
            Message::Compressed(message) => {
                let decoded = camera.decompressor.decode(message.format, message.data);
                decoded.map_err(|error| unreadable(&error))?
            }
        };
        let about = (camera.name.as_str(), image.size());
        let (setup, is_new) =
            camera.setups.of(about, frame, &mut self.frames, &mut self.pipeline, &self.settings)?;
        if is_new {
            let described = setup.features_json(self.pipeline.bundle().manifest(), &self.settings);
            let labels = self.pipeline.labels().map(labels_json);
            let told = camera
                .outputs
                .describe_features(described)
                .and_then(|()| labels.map_or(Ok(()), |labels| camera.outputs.describe_labels(labels)));
            told.map_err(|error| FrameError::new(Fault::Engine, error))?;
        }
        let image_size = setup.view.geometry().camera_size();
        let unread = if self.settings.anchor.is_some() {
            refer(&mut setup.view, frame, &mut camera.reference, image_size)
        } else {
            None
        };
        let resets = self.acting.resets();
        if std::mem::replace(&mut camera.resets, resets) != resets {
            setup.view.reset_policy();
        }
        let started = Instant::now();
        let asking =
            Asking { asked, settings: &self.settings, body: self.body.as_deref(), acting: &self.acting };
        let computed = compute(&mut self.pipeline, setup, &image, frame, &asking, results)?;
        camera.statistics.computed(started.elapsed());
        let told = asked.wanted(self.pipeline.has_points()).depth;
        let told = told.then(|| Told::of(&self.pipeline, &setup.view, &camera.name));
        camera.statistics.implied(computed.implied);
        if let Some(reason) = unread {
            camera.report(frame, &FrameError::new(Fault::Reference, reason), &self.logger);
        }
        if let Some(reason) = computed.without_actions {
            camera.report(frame, &FrameError::new(Fault::Policy, reason), &self.logger);
        }
        if let Some(told) = told {
            camera.tell(told)?;
        }
        self.pipeline.engine().take_notices().iter().for_each(|notice| self.logger.warn(notice));
        Ok(())
    }
}

/// What is asked of a frame, and what helps to answer.
struct Asking<'a> {
    asked: Asked,
    settings: &'a Settings,
    body: Option<&'a Body>,
    acting: &'a Acting,
}

/// What a frame gave beside its messages.
struct Computed {
    implied: Option<ImpliedIntrinsics>,
    /// Why there are no actions, when they were asked for.
    without_actions: Option<String>,
}

/// Tells a view's anchor of a frame and of what references know of it or of those before. Why they know nothing, if they should.
fn refer(
    view: &mut CameraView,
    frame: &FrameIn,
    used: &mut Option<Arc<Image>>,
    image_size: Size,
) -> Option<String> {
    let stamp = frame.picture.stamp();
    let (mut known_now, mut unread) = (Vec::new(), None);
    match scale::reference(frame, view.remembered(), used) {
        Reference::Of(reference, moment) => {
            match scale::known(&reference, frame.picture.header().frame_id, image_size) {
                Ok(known) if moment == stamp => known_now = known,
                Ok(known) => view.recall(moment, &known),
                Err(reason) => unread = Some(reason),
            }
        }
        Reference::Away(seconds) if !matches!(view.anchor_state(), Some(AnchorState::Anchored(_))) => {
            unread = Some(format!(
                "reference/depth: references come, the nearest is {:.0} ms from an image, expected at most {:.0} ms",
                1e3 * seconds,
                1e3 * scale::SAME_MOMENT_SECS
            ));
        }
        Reference::Away(_) | Reference::None => {}
    }
    view.expect(stamp, known_now);
    unread
}

/// What `~/segmentation/labels` says; docs/heads.md has its schema.
fn labels_json(labels: &[String]) -> String {
    serde_json::json!({ "schema": "pixio/labels/1", "labels": labels }).to_string()
}

/// Writes the messages of one frame.
fn compute<E: Engine>(
    pipeline: &mut Pipeline<E>,
    setup: &mut Setup,
    image: &ImageView<'_>,
    frame: &FrameIn,
    asking: &Asking<'_>,
    into: &mut Results,
) -> Result<Computed, FrameError> {
    let Asking { asked, settings, body, .. } = *asking;
    let broken = |error: &dyn std::fmt::Display| FrameError::new(Fault::Engine, error);
    let header = frame.picture.header();
    let stamp = header.stamp;
    let policy = pipeline.policy().filter(|_| asked.actions).map(|policy| Arc::clone(policy.spec()));
    let state = policy.as_ref().map(|policy| asking.acting.state(policy, stamp));
    let known = state.as_ref().and_then(|state| state.as_deref().ok());
    let observation = state.is_some().then(|| Observation { stamp: ros_time(stamp), state: known });
    let (wanted, classes) =
        (asked.wanted(pipeline.has_points()), pipeline.labels().map_or(0, <[String]>::len));
    let geometry = *setup.view.geometry();
    let outputs = pipeline.run_observed(&mut setup.view, image, wanted, observation);
    let outputs = outputs.map_err(|error| broken(&error))?;
    let timings = outputs.timings;
    let networks = timings.backbone + timings.heads.total();
    into.spent = Some(Spent { received: frame.received, networks });
    let size = setup.camera.size();
    let mask = body.filter(|_| wanted.depth || wanted.points).map(|body| mask(body, &setup.camera, frame));
    let mask = mask.transpose()?;
    let without_body =
        outputs.depth.zip(mask.as_ref()).map(|(depth, mask)| remove(mask, depth)).transpose()?;
    let depth = without_body.as_ref().or(outputs.depth);
    let points = match (outputs.points, depth, outputs.color) {
        (Some(head), _, Some(rgb)) if asked.points => {
            let rgb = geometry.sampled(size, rgb.as_chunks::<3>().0);
            let covered = mask.as_ref().map(|mask| geometry.sampled(size, mask.covered()));
            convert::write_head_points(&mut into.points, header, head, rgb.as_flattened(), covered.as_deref())
        }
        (None, Some(depth), Some(rgb)) if asked.points => {
            convert::write_points(&mut into.points, header, &setup.rays, depth, rgb)
        }
        _ => Ok(()),
    };
    points.map_err(|error| broken(&error))?;
    if let (Some(depth), true) = (depth, asked.depth) {
        convert::write_depth(&mut into.depth, header, depth, settings.depth_encoding);
    }
    write_maps(&outputs, asked, (header, size, classes), into);
    if let Some(taps) = outputs.features.map(|taps| settings.taps.chosen(taps)) {
        write_features(taps, asked, header, into);
    }
    // Nothing metric goes out for a frame without metres.
    let info = asked.camera_info && outputs.relative.is_none();
    into.camera_info = info.then(|| convert::rectified_camera_message(header, &setup.camera));
    let implied = outputs.points.and_then(|head| head.implied().copied());
    let (actions, without_actions) = actions(outputs.policy, policy.as_deref(), state);
    (into.actions, into.moment, into.stamp) = (actions, frame.moment, stamp);
    Ok(Computed { implied, without_actions })
}

/// Writes colour, confidence and segments.
fn write_maps(
    outputs: &perception::Outputs<'_>,
    asked: Asked,
    (header, size, classes): (Header<'_>, Size, usize),
    into: &mut Results,
) {
    if let (Some(rgb), true) = (outputs.color, asked.color) {
        convert::write_color(&mut into.color, header, size, rgb);
    }
    if let (Some(head), true) = (outputs.points, asked.confidence) {
        convert::write_confidence(&mut into.confidence, header, head.confidence());
    }
    if let Some(map) = outputs.segmentation {
        convert::write_segmentation(&mut into.segmentation, header, map, classes);
    }
}

/// Writes the tokens of the chosen taps.
fn write_features(taps: &[FeatureMap], asked: Asked, header: Header<'_>, into: &mut Results) {
    if asked.class_tokens {
        convert::write_tokens(&mut into.class_tokens, header, taps, FeatureMap::class);
    }
    if asked.patches {
        convert::write_tokens(&mut into.patches, header, taps, FeatureMap::patches);
    }
}

/// The message of a policy's actions, or why there is none.
fn actions(
    predicted: Option<Result<ActionChunk, PolicyError>>,
    policy: Option<&PolicySpec>,
    state: Option<Result<Vec<f64>, String>>,
) -> (Option<JointTrajectory>, Option<String>) {
    match (predicted, state) {
        (Some(Ok(chunk)), _) => {
            let frame = policy.and_then(|policy| policy.frame.as_deref()).unwrap_or_default();
            (Some(action_chunk::message(&chunk, frame)), None)
        }
        (Some(Err(PolicyError::NoState)), Some(Err(reason))) => (None, Some(format!("policy: {reason}"))),
        (Some(Err(error)), _) => (None, Some(format!("policy: {error}"))),
        (None, _) => (None, None),
    }
}

/// The pixels that the robot's body covers.
fn mask(body: &Body, camera: &CameraModel, frame: &FrameIn) -> Result<BodyMask, FrameError> {
    let header = frame.picture.header();
    let mask = body.mask(camera, header.frame_id, header.stamp);
    mask.map_err(|reason| FrameError::new(Fault::Body, reason))
}

/// A depth map without the pixels that show the robot.
fn remove(mask: &BodyMask, depth: &DepthMap) -> Result<DepthMap, FrameError> {
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
        let stamp = frame.picture.stamp();
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
