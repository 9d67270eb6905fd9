//! Subscriptions to images and camera infos.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::executor::LocalSpawner;
use futures::future::{AbortHandle, abortable};
use futures::task::LocalSpawnExt;
use futures::{FutureExt, StreamExt};
use r2r::QosProfile;
use r2r::qos::ReliabilityPolicy;
use r2r::sensor_msgs::msg::{CameraInfo, Image};

use crate::latest::Latest;
use crate::names::resolve;

/// How often the publishers' offers are looked at.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);

/// An image as it came, with the newest camera info of its camera.
pub struct FrameIn {
    pub image: Image,
    pub info: Option<Arc<CameraInfo>>,
}

/// The newest camera info of a camera.
type NewestInfo = Arc<Mutex<Option<Arc<CameraInfo>>>>;

struct Input {
    image_topic: String,
    info_topic: String,
    resolved: String,
    info: NewestInfo,
    /// Whether the subscription is reliable, and what ends it.
    subscribed: Option<(bool, AbortHandle)>,
}

/// The subscriptions of all cameras.
pub struct Inputs {
    inputs: Vec<Input>,
    frames: Arc<Latest<FrameIn>>,
    followed: Option<Instant>,
}

impl Inputs {
    /// Inputs of these cameras; `<camera>/image` and `<camera>/camera_info`, without the name for one without.
    pub fn new(node: &mut r2r::Node, cameras: &[String], frames: Arc<Latest<FrameIn>>) -> Result<Self> {
        let full_name = node.fully_qualified_name().context("the node's name")?;
        let input = |camera: &String| {
            let topic =
                |name: &str| if camera.is_empty() { name.to_owned() } else { format!("{camera}/{name}") };
            let image_topic = topic("image");
            let resolved = resolve(&image_topic, &full_name, std::env::args());
            Input {
                image_topic,
                info_topic: topic("camera_info"),
                resolved,
                info: NewestInfo::default(),
                subscribed: None,
            }
        };
        Ok(Self { inputs: cameras.iter().map(input).collect(), frames, followed: None })
    }

    /// Subscribes to the camera infos, which are small: best effort takes from any publisher.
    pub fn subscribe_infos(&mut self, node: &mut r2r::Node, spawner: &LocalSpawner) -> Result<()> {
        for input in &self.inputs {
            let qos = QosProfile::default().keep_last(1).best_effort();
            let stream =
                node.subscribe::<CameraInfo>(&input.info_topic, qos).context(input.info_topic.clone())?;
            let info = input.info.clone();
            let task = stream.for_each(move |message| {
                *info.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(message));
                std::future::ready(())
            });
            spawner.spawn_local(task).context("spawn")?;
        }
        Ok(())
    }

    /// Subscribes to the images as their publishers offer them: reliable when every one does, else best effort.
    pub fn follow_publishers(&mut self, node: &mut r2r::Node, spawner: &LocalSpawner) -> Result<()> {
        let now = Instant::now();
        if self.followed.is_some_and(|last| now.duration_since(last) < FOLLOW_PERIOD) {
            return Ok(());
        }
        self.followed = Some(now);
        for index in 0..self.inputs.len() {
            let wanted = all_offer_reliable(node, &self.inputs[index].resolved)?;
            let current = self.inputs[index].subscribed.as_ref().map(|(reliable, _)| *reliable);
            if current != Some(wanted) {
                self.subscribe(node, spawner, index, wanted)?;
            }
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        node: &mut r2r::Node,
        spawner: &LocalSpawner,
        index: usize,
        reliable: bool,
    ) -> Result<()> {
        let input = &mut self.inputs[index];
        if let Some((_, old)) = input.subscribed.take() {
            old.abort();
        }
        let qos = QosProfile::default().keep_last(1);
        let qos = if reliable { qos.reliable() } else { qos.best_effort() };
        let stream = node.subscribe::<Image>(&input.image_topic, qos).context(input.image_topic.clone())?;
        let (frames, info) = (self.frames.clone(), input.info.clone());
        let (task, handle) = abortable(stream.for_each(move |image| {
            let info = info.lock().unwrap_or_else(PoisonError::into_inner).clone();
            frames.put(index, FrameIn { image, info });
            std::future::ready(())
        }));
        spawner.spawn_local(task.map(|_| ())).context("spawn")?;
        input.subscribed = Some((reliable, handle));
        Ok(())
    }
}

/// Whether there is a publisher and every one offers reliable delivery.
fn all_offer_reliable(node: &r2r::Node, topic: &str) -> Result<bool> {
    let publishers = node.get_publishers_info_by_topic(topic, false).with_context(|| topic.to_owned())?;
    let mut offers = publishers.iter().map(|publisher| &publisher.qos_profile.reliability);
    Ok(!publishers.is_empty() && offers.all(|offer| *offer == ReliabilityPolicy::Reliable))
}
