//! Publishers of one camera's results.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use perception::{Stamp, Wanted};
use r2r::sensor_msgs::msg::CameraInfo;
use r2r::std_msgs::msg::String as Text;
use r2r::trajectory_msgs::msg::JointTrajectory;
use r2r::{Publisher, PublisherUntyped, QosProfile, WrappedTypesupport};

use super::moment::{Moment, Moments};
use super::statistics::Statistics;
use crate::cdr::Written;
use crate::clock::RosClock;
use crate::latest::Latest;
use crate::ros_node::RosNode;
use crate::rosout::Logger;

/// Types of the large messages.
const IMAGE: &str = "sensor_msgs/msg/Image";
const CLOUD: &str = "sensor_msgs/msg/PointCloud2";

/// Where the time of a frame went.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// When its bytes came.
    pub received: Instant,
    /// How long encoder and heads ran.
    pub networks: Duration,
}

/// The messages of one frame, serialised where they are large; those that nobody subscribed to are empty.
#[derive(Debug, Default)]
pub struct Results {
    /// When its frame came.
    pub moment: Moment,
    pub stamp: Stamp,
    pub spent: Option<Spent>,
    pub depth: Written,
    pub camera_info: Option<CameraInfo>,
    pub color: Written,
    pub points: Written,
    pub confidence: Written,
    pub segmentation: Written,
    pub actions: Option<JointTrajectory>,
    pub class_tokens: Written,
    pub patches: Written,
}

impl Results {
    /// For another frame: forgets the messages, not their memory.
    fn clear(&mut self) {
        let Self { depth, color, points, confidence, segmentation, class_tokens, patches, .. } = self;
        let written = [depth, color, points, confidence, segmentation, class_tokens, patches];
        written.into_iter().for_each(Written::clear);
        (self.camera_info, self.actions) = (None, None);
    }
}

/// Results that were published or replaced, to be written again: the large messages of a steady stream allocate nothing.
#[derive(Debug)]
pub struct Spare {
    results: Mutex<Vec<Results>>,
    most: usize,
}

impl Spare {
    /// For so many cameras: one frame being written, one waiting for each, one being published.
    pub fn new(cameras: usize) -> Self {
        Self { results: Mutex::default(), most: cameras + 2 }
    }

    /// Empty results.
    pub fn take(&self) -> Results {
        self.lock().pop().unwrap_or_default()
    }

    /// Gives results back.
    pub fn give(&self, mut results: Results) {
        results.clear();
        let mut spare = self.lock();
        if spare.len() < self.most {
            spare.push(results);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Results>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The publishers of one camera.
#[derive(Clone)]
pub struct Outputs {
    depth: PublisherUntyped,
    camera_info: Publisher<CameraInfo>,
    color: PublisherUntyped,
    points: PublisherUntyped,
    confidence: PublisherUntyped,
    segmentation: PublisherUntyped,
    labels: Publisher<Text>,
    actions: Publisher<JointTrajectory>,
    class_tokens: PublisherUntyped,
    patches: PublisherUntyped,
    features_info: Publisher<Text>,
    scale: Publisher<Text>,
}

/// What the subscribers ask for at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub depth: bool,
    pub camera_info: bool,
    pub color: bool,
    pub points: bool,
    pub confidence: bool,
    pub segmentation: bool,
    pub actions: bool,
    pub class_tokens: bool,
    pub patches: bool,
}

impl Asked {
    /// Whether anything is asked for.
    pub fn anything(self) -> bool {
        self != Self::default()
    }

    /// What must be computed, with or without a head for point maps. A camera info comes with a depth map, so someone who wants it
    /// wants the depth's.
    pub fn wanted(self, points_of_head: bool) -> Wanted {
        Wanted {
            depth: self.depth || self.camera_info || (self.points && !points_of_head),
            points: self.points && points_of_head,
            confidence: self.confidence,
            segmentation: self.segmentation,
            features: self.class_tokens || self.patches,
            color: self.color || self.points,
        }
    }
}

impl Outputs {
    /// `~/<camera>/depth/image_rect` and so on, without the name for a camera without one.
    pub fn new(ros: &mut RosNode, camera: &str) -> Result<Self> {
        let private = if camera.is_empty() { "~".to_owned() } else { format!("~/{camera}") };
        // Reliable, the newest only: reliable and best-effort subscribers both match.
        let qos = || QosProfile::default().keep_last(1).reliable();
        let mut serialised =
            |topic: &str, kind: &str| ros.serialised_publisher(&format!("{private}/{topic}"), kind, qos());
        Ok(Self {
            depth: serialised("depth/image_rect", IMAGE)?,
            color: serialised("color/image_rect", IMAGE)?,
            points: serialised("points", CLOUD)?,
            class_tokens: serialised("features/cls", IMAGE)?,
            patches: serialised("features/patches", IMAGE)?,
            confidence: serialised("confidence", IMAGE)?,
            segmentation: serialised("segmentation", IMAGE)?,
            camera_info: ros.publisher(&format!("{private}/depth/camera_info"), qos())?,
            labels: ros.publisher(&format!("{private}/segmentation/labels"), qos().transient_local())?,
            actions: ros.publisher(&format!("{private}/action_chunk"), qos())?,
            features_info: ros.publisher(&format!("{private}/features/info"), qos().transient_local())?,
            scale: ros.publisher(&format!("{private}/depth/scale"), qos().transient_local())?,
        })
    }

    /// What has subscribers. A count that cannot be had counts as someone: better a frame too many than none.
    pub fn asked(&self) -> Asked {
        let has = |publisher: &PublisherUntyped| {
            publisher.get_inter_process_subscription_count().map_or(true, |count| count > 0)
        };
        Asked {
            depth: has(&self.depth),
            camera_info: has_subscribers(&self.camera_info),
            color: has(&self.color),
            points: has(&self.points),
            confidence: has(&self.confidence),
            segmentation: has(&self.segmentation),
            actions: has_subscribers(&self.actions),
            class_tokens: has(&self.class_tokens),
            patches: has(&self.patches),
        }
    }

    /// Tells late and early subscribers alike what the features are.
    pub fn describe_features(&self, json: String) -> r2r::Result<()> {
        self.features_info.publish(&Text { data: json })
    }

    /// Tells late and early subscribers alike where the depth's metres come from.
    pub fn describe_scale(&self, json: String) -> r2r::Result<()> {
        self.scale.publish(&Text { data: json })
    }

    /// Tells late and early subscribers alike what the labels are.
    pub fn describe_labels(&self, json: String) -> r2r::Result<()> {
        self.labels.publish(&Text { data: json })
    }

    fn publish(&self, results: &Results) -> r2r::Result<()> {
        // A robot waits for its actions, and for nothing else.
        if let Some(actions) = &results.actions {
            self.actions.publish(actions)?;
        }
        // The info goes first, so that whoever pairs by stamp has it when the image comes.
        if let Some(info) = &results.camera_info {
            self.camera_info.publish(info)?;
        }
        send(&self.color, &results.color)?;
        send(&self.depth, &results.depth)?;
        send(&self.points, &results.points)?;
        send(&self.confidence, &results.confidence)?;
        send(&self.segmentation, &results.segmentation)?;
        send(&self.class_tokens, &results.class_tokens)?;
        send(&self.patches, &results.patches)
    }
}

fn send(publisher: &PublisherUntyped, message: &Written) -> r2r::Result<()> {
    if message.is_empty() { Ok(()) } else { publisher.publish_raw(message.bytes()) }
}

fn has_subscribers<T: WrappedTypesupport + 'static>(publisher: &Publisher<T>) -> bool {
    publisher.get_inter_process_subscription_count().map_or(true, |count| count > 0)
}

/// What publishes the newest results.
pub struct Publishing {
    pub outputs: Vec<Outputs>,
    pub statistics: Vec<Statistics>,
    pub spare: Arc<Spare>,
    pub moments: Moments,
    pub clock: RosClock,
    pub logger: Logger,
}

impl Publishing {
    /// Publishes the newest results until the slots are closed; those of another time are dropped.
    pub fn run(&self, results: &Latest<Results>) {
        while let Some((camera, results)) = results.take() {
            if self.moments.is_past(results.moment, results.stamp) {
                self.spare.give(results);
                continue;
            }
            match self.outputs[camera].publish(&results) {
                Ok(()) => {
                    self.statistics[camera].published(results.stamp, self.clock.nanoseconds());
                    results.spent.iter().for_each(|spent| self.statistics[camera].spent(*spent));
                }
                Err(error) => self.logger.error(format!("cannot publish: {error}")),
            }
            self.spare.give(results);
        }
    }
}
