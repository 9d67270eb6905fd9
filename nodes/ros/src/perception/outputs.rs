//! Publishers of one camera's results.

use anyhow::Result;
use perception::{Stamp, Wanted};
use r2r::sensor_msgs::msg::{CameraInfo, Image, PointCloud2};
use r2r::std_msgs::msg::String as Text;
use r2r::trajectory_msgs::msg::JointTrajectory;
use r2r::{Publisher, QosProfile, WrappedTypesupport};

use super::moment::{Moment, Moments};
use super::statistics::Statistics;
use crate::clock::RosClock;
use crate::latest::Latest;
use crate::ros_node::RosNode;
use crate::rosout::Logger;

/// The messages of one frame; present is what has subscribers.
#[derive(Debug, Default)]
pub struct Results {
    /// When its frame came.
    pub moment: Moment,
    pub stamp: Stamp,
    pub depth: Option<Image>,
    pub camera_info: Option<CameraInfo>,
    pub color: Option<Image>,
    pub points: Option<PointCloud2>,
    pub confidence: Option<Image>,
    pub segmentation: Option<Image>,
    pub actions: Option<JointTrajectory>,
    pub class_tokens: Option<Image>,
    pub patches: Option<Image>,
}

/// The publishers of one camera.
#[derive(Clone)]
pub struct Outputs {
    depth: Publisher<Image>,
    camera_info: Publisher<CameraInfo>,
    color: Publisher<Image>,
    points: Publisher<PointCloud2>,
    confidence: Publisher<Image>,
    segmentation: Publisher<Image>,
    labels: Publisher<Text>,
    actions: Publisher<JointTrajectory>,
    class_tokens: Publisher<Image>,
    patches: Publisher<Image>,
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
        Ok(Self {
            depth: ros.publisher(&format!("{private}/depth/image_rect"), qos())?,
            camera_info: ros.publisher(&format!("{private}/depth/camera_info"), qos())?,
            color: ros.publisher(&format!("{private}/color/image_rect"), qos())?,
            points: ros.publisher(&format!("{private}/points"), qos())?,
            confidence: ros.publisher(&format!("{private}/confidence"), qos())?,
            segmentation: ros.publisher(&format!("{private}/segmentation"), qos())?,
            labels: ros.publisher(&format!("{private}/segmentation/labels"), qos().transient_local())?,
            actions: ros.publisher(&format!("{private}/action_chunk"), qos())?,
            class_tokens: ros.publisher(&format!("{private}/features/cls"), qos())?,
            patches: ros.publisher(&format!("{private}/features/patches"), qos())?,
            features_info: ros.publisher(&format!("{private}/features/info"), qos().transient_local())?,
            scale: ros.publisher(&format!("{private}/depth/scale"), qos().transient_local())?,
        })
    }

    /// What has subscribers.
    pub fn asked(&self) -> Asked {
        Asked {
            depth: has_subscribers(&self.depth),
            camera_info: has_subscribers(&self.camera_info),
            color: has_subscribers(&self.color),
            points: has_subscribers(&self.points),
            confidence: has_subscribers(&self.confidence),
            segmentation: has_subscribers(&self.segmentation),
            actions: has_subscribers(&self.actions),
            class_tokens: has_subscribers(&self.class_tokens),
            patches: has_subscribers(&self.patches),
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
        send(&self.actions, results.actions.as_ref())?;
        // The info goes first, so that whoever pairs by stamp has it when the image comes.
        send(&self.camera_info, results.camera_info.as_ref())?;
        send(&self.color, results.color.as_ref())?;
        send(&self.depth, results.depth.as_ref())?;
        send(&self.points, results.points.as_ref())?;
        send(&self.confidence, results.confidence.as_ref())?;
        send(&self.segmentation, results.segmentation.as_ref())?;
        send(&self.class_tokens, results.class_tokens.as_ref())?;
        send(&self.patches, results.patches.as_ref())
    }
}

fn send<T: WrappedTypesupport + 'static>(publisher: &Publisher<T>, message: Option<&T>) -> r2r::Result<()> {
    message.map_or(Ok(()), |message| publisher.publish(message))
}

/// A count that cannot be had counts as someone: better a frame too many than none.
fn has_subscribers<T: WrappedTypesupport + 'static>(publisher: &Publisher<T>) -> bool {
    publisher.get_inter_process_subscription_count().map_or(true, |count| count > 0)
}

/// What publishes the newest results.
pub struct Publishing {
    pub outputs: Vec<Outputs>,
    pub statistics: Vec<Statistics>,
    pub moments: Moments,
    pub clock: RosClock,
    pub logger: Logger,
}

impl Publishing {
    /// Publishes the newest results until the slots are closed; those of another time are dropped.
    pub fn run(&self, results: &Latest<Results>) {
        while let Some((camera, results)) = results.take() {
            if self.moments.is_past(results.moment, results.stamp) {
                continue;
            }
            match self.outputs[camera].publish(&results) {
                Ok(()) => self.statistics[camera].published(results.stamp, self.clock.nanoseconds()),
                Err(error) => self.logger.error(format!("cannot publish: {error}")),
            }
        }
    }
}
