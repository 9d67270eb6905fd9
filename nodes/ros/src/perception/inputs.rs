//! Subscriptions to images and camera infos.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::{AbortHandle, abortable};
use futures::task::LocalSpawnExt;
use futures::{FutureExt, Stream, StreamExt};
use r2r::QosProfile;
use r2r::qos::ReliabilityPolicy;
use r2r::sensor_msgs::msg::{CameraInfo, Image};

use super::moment::{Moment, Moments};
use super::picture::{Content, NativeImage, Picture};
use super::statistics::{Fault, Statistics};
use crate::latest::Latest;
use crate::names::resolve;
use crate::qos::{Entity, Qos};
use crate::ros_node::RosNode;
use crate::rosout::Logger;
use crate::throttle::Throttle;

/// How often the publishers' offers are looked at.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);

/// How often a camera's jumps are logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// An image with the newest camera info of its camera.
pub struct FrameIn {
    pub picture: Picture,
    pub info: Option<Arc<CameraInfo>>,
    /// The full names of the topics, for people.
    pub topic: Arc<str>,
    pub info_topic: Arc<str>,
    /// The last metric references of its camera, whenever they are looked at.
    pub references: Recent<Image>,
    /// When it came.
    pub moment: Moment,
    /// The same by the steady clock.
    pub received: Instant,
}

/// The newest message of a topic of a camera.
pub type Newest<T> = Arc<Mutex<Option<Arc<T>>>>;

/// The last messages of a topic of a camera, newest last.
pub type Recent<T> = Arc<Mutex<VecDeque<Arc<T>>>>;

/// So many are kept.
const RECENT: usize = 8;

/// The newest message, if there is one.
pub fn newest<T>(newest: &Newest<T>) -> Option<Arc<T>> {
    newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct Input {
    statistics: Statistics,
    image: Topic,
    info: Topic,
    newest_info: Newest<CameraInfo>,
    reference: Topic,
    references: Recent<Image>,
    /// Whether the subscription to images is reliable, and what ends it.
    subscribed: Option<(bool, AbortHandle)>,
    subscribed_info: Option<AbortHandle>,
    subscribed_reference: Option<AbortHandle>,
}

/// A topic with the quality of service that parameters say.
struct Topic {
    name: String,
    resolved: Arc<str>,
    qos: Qos,
}

/// The subscriptions of all cameras; there are none while the node is not active.
pub struct Inputs {
    inputs: Vec<Input>,
    /// Whether images come compressed.
    compressed: bool,
    moments: Moments,
    frames: Option<Arc<Latest<FrameIn>>>,
    followed: Option<Instant>,
}

impl Inputs {
    /// Inputs of these cameras; `<camera>/image` and `<camera>/camera_info`, without the name for one without.
    ///
    /// # Errors
    /// When a parameter for a quality of service is refused.
    pub fn new(
        ros: &mut RosNode,
        cameras: &[String],
        statistics: &[Statistics],
        moments: Moments,
    ) -> Result<Self> {
        let compressed = ros.parameters.text("image_transport")? == "compressed";
        let mut topic = |camera: &String, name: &str, qos: QosProfile| -> Result<Topic> {
            let name = if camera.is_empty() { name.to_owned() } else { format!("{camera}/{name}") };
            let name =
                if compressed && name.ends_with("image") { compressed_topic(ros, &name) } else { name };
            let qos = ros.qos(&name, Entity::Subscription, qos)?;
            Ok(Topic { resolved: ros.resolve(&name).into(), name, qos })
        };
        let newest = QosProfile::default().keep_last(1);
        // Images follow their publishers; for the small infos best effort takes from any publisher.
        let (follow, any) =
            (newest.clone().reliability(ReliabilityPolicy::SystemDefault), newest.best_effort());
        let mut inputs = Vec::new();
        for (camera, statistics) in cameras.iter().zip(statistics) {
            inputs.push(Input {
                statistics: statistics.clone(),
                image: topic(camera, "image", follow.clone())?,
                info: topic(camera, "camera_info", any.clone())?,
                newest_info: Newest::default(),
                reference: topic(camera, "reference/depth", any.clone())?,
                references: Recent::default(),
                subscribed: None,
                subscribed_info: None,
                subscribed_reference: None,
            });
        }
        Ok(Self { inputs, compressed, moments, frames: None, followed: None })
    }

    /// Subscribes to camera infos now and to images as their publishers offer them; frames go into `frames`.
    ///
    /// # Errors
    /// When the middleware refuses a subscription.
    pub fn activate(&mut self, ros: &mut RosNode, frames: Arc<Latest<FrameIn>>) -> Result<()> {
        self.frames = Some(frames);
        self.followed = None;
        for input in &mut self.inputs {
            let qos = input.info.qos.profile.clone();
            let stream =
                ros.node.subscribe::<CameraInfo>(&input.info.name, qos).context(input.info.name.clone())?;
            input.subscribed_info = Some(each(ros, stream, keeping(&input.newest_info))?);
            if ros.parameters.text("scale")? == "anchored" {
                let Topic { name, qos, .. } = &input.reference;
                let stream = ros.node.subscribe(name, qos.profile.clone()).context(name.clone())?;
                input.subscribed_reference = Some(each(ros, stream, keeping_some(&input.references))?);
            }
        }
        self.follow_publishers(ros)
    }

    /// Lets go of all subscriptions, and of the camera infos that came.
    pub fn deactivate(&mut self) {
        self.frames = None;
        for input in &mut self.inputs {
            let subscribed = input.subscribed.take().map(|(_, handle)| handle);
            let others = [input.subscribed_info.take(), input.subscribed_reference.take()];
            subscribed.into_iter().chain(others.into_iter().flatten()).for_each(|handle| handle.abort());
            *input.newest_info.lock().unwrap_or_else(PoisonError::into_inner) = None;
            input.references.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Subscribes to the images as their publishers offer them: reliable when every one does, else best effort, unless a
    /// parameter says which.
    ///
    /// # Errors
    /// When the middleware refuses.
    pub fn follow_publishers(&mut self, ros: &mut RosNode) -> Result<()> {
        let now = Instant::now();
        if self.followed.is_some_and(|last| now.duration_since(last) < FOLLOW_PERIOD) {
            return Ok(());
        }
        self.followed = Some(now);
        for index in 0..self.inputs.len() {
            let Topic { resolved, qos, .. } = &self.inputs[index].image;
            let wanted = if qos.reliability_is_given {
                qos.profile.reliability == ReliabilityPolicy::Reliable
            } else {
                all_offer_reliable(&ros.node, resolved)?
            };
            let current = self.inputs[index].subscribed.as_ref().map(|(reliable, _)| *reliable);
            if current != Some(wanted) {
                self.subscribe(ros, index, wanted)?;
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, ros: &mut RosNode, index: usize, reliable: bool) -> Result<()> {
        let (Some(frames), moments) = (self.frames.clone(), self.moments.clone()) else { return Ok(()) };
        let input = &mut self.inputs[index];
        if let Some((_, old)) = input.subscribed.take() {
            old.abort();
        }
        let Topic { name, qos, .. } = &input.image;
        let profile = qos.profile.clone();
        let profile = match (qos.reliability_is_given, reliable) {
            (true, _) => profile,
            (false, true) => profile.reliable(),
            (false, false) => profile.best_effort(),
        };
        let name = name.clone();
        let mut put = input.putting(index, frames, moments, ros.logger.clone());
        let handle = if self.compressed {
            let stream = ros.node.subscribe_raw(&name, "sensor_msgs/msg/CompressedImage", profile);
            each(ros, stream.context(name)?, move |bytes| put(Content::Compressed(bytes)))?
        } else {
            let stream = ros.node.subscribe_native::<Image>(&name, profile).context(name)?;
            each(ros, stream, move |message| put(Content::Raw(NativeImage::new(message))))?
        };
        input.subscribed = Some((reliable, handle));
        Ok(())
    }
}

impl Input {
    /// What puts this camera's images into its slot.
    fn putting(
        &self,
        index: usize,
        frames: Arc<Latest<FrameIn>>,
        moments: Moments,
        logger: Logger,
    ) -> impl FnMut(Content) + use<> {
        let (infos, statistics) = (self.newest_info.clone(), self.statistics.clone());
        let references = self.references.clone();
        let (topic, info_topic) = (self.image.resolved.clone(), self.info.resolved.clone());
        let (mut back, mut unread) = (Throttle::new(LOG_PERIOD), Throttle::new(LOG_PERIOD));
        let mut frame_id: Arc<str> = "".into();
        move |content| {
            let received = Instant::now();
            let picture = match Picture::new(content, &mut frame_id) {
                Ok(picture) => picture,
                Err(error) => {
                    statistics.fault(Fault::Image, &error.to_string());
                    if unread.ready(Instant::now()).is_some() {
                        logger.error(format!("{topic}: {error}"));
                    }
                    return;
                }
            };
            let stamp = picture.stamp();
            // Results keep the order in which images arrived; only what was counted of the old time is forgotten.
            if statistics.arrived(stamp) && back.ready(Instant::now()).is_some() {
                logger.warn(format!("{topic}: stamps went back to {stamp}"));
            }
            let info = newest(&infos);
            let (topic, info_topic, references) = (topic.clone(), info_topic.clone(), references.clone());
            let moment = moments.now();
            let frame = FrameIn { picture, info, topic, info_topic, references, moment, received };
            if frames.put(index, frame).is_some() {
                statistics.replaced();
            }
        }
    }
}

/// Where compressed images of an image topic come: below the topic that it is remapped to, as `image_transport` has it,
/// unless it is remapped itself.
fn compressed_topic(ros: &RosNode, image: &str) -> String {
    let own = format!("{image}/compressed");
    let remapped = ros.resolve(&own);
    let is_remapped = remapped != resolve(&own, ros.full_name(), []);
    if is_remapped { remapped } else { format!("{}/compressed", ros.resolve(image)) }
}

/// What keeps the newest message.
fn keeping<T>(newest: &Newest<T>) -> impl FnMut(T) + use<T> {
    let newest = newest.clone();
    move |message| *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(message))
}

/// What keeps the last messages.
fn keeping_some<T>(recent: &Recent<T>) -> impl FnMut(T) + use<T> {
    let recent = recent.clone();
    move |message| {
        let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(Arc::new(message));
    }
}

/// Hands every message of a stream on, on the thread that spins, until the handle ends it.
fn each<T>(
    ros: &RosNode,
    stream: impl Stream<Item = T> + 'static,
    mut hand_on: impl FnMut(T) + 'static,
) -> Result<AbortHandle> {
    let (task, handle) = abortable(stream.for_each(move |message| {
        hand_on(message);
        std::future::ready(())
    }));
    ros.spawner().spawn_local(task.map(|_| ())).context("spawn")?;
    Ok(handle)
}

/// Whether there is a publisher and every one offers reliable delivery.
fn all_offer_reliable(node: &r2r::Node, topic: &str) -> Result<bool> {
    let publishers = node.get_publishers_info_by_topic(topic, false).with_context(|| topic.to_owned())?;
    let mut offers = publishers.iter().map(|publisher| &publisher.qos_profile.reliability);
    Ok(!publishers.is_empty() && offers.all(|offer| *offer == ReliabilityPolicy::Reliable))
}
