//! Publishers of one camera's results.

use anyhow::{Context, Result};
use perception::Wanted;
use r2r::sensor_msgs::msg::{CameraInfo, Image, PointCloud2};
use r2r::{Publisher, QosProfile, WrappedTypesupport};

use crate::latest::Latest;

/// The messages of one frame; present is what has subscribers.
#[derive(Debug, Default)]
pub struct Results {
    pub depth: Option<Image>,
    pub camera_info: Option<CameraInfo>,
    pub color: Option<Image>,
    pub points: Option<PointCloud2>,
}

/// The publishers of one camera.
#[derive(Clone)]
pub struct Outputs {
    depth: Publisher<Image>,
    camera_info: Publisher<CameraInfo>,
    color: Publisher<Image>,
    points: Publisher<PointCloud2>,
}

/// What the subscribers ask for at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub depth: bool,
    pub camera_info: bool,
    pub color: bool,
    pub points: bool,
}

impl Asked {
    /// What must be computed. A camera info comes with a depth map, so someone who wants it wants the depth's.
    pub fn wanted(self) -> Wanted {
        Wanted {
            depth: self.depth || self.points || self.camera_info,
            features: false,
            color: self.color || self.points,
        }
    }
}

impl Outputs {
    /// `~/<camera>/depth/image_rect` and so on, without the name for a camera without one.
    pub fn new(node: &mut r2r::Node, camera: &str) -> Result<Self> {
        let private = if camera.is_empty() { "~".to_owned() } else { format!("~/{camera}") };
        Ok(Self {
            depth: publisher(node, &format!("{private}/depth/image_rect"))?,
            camera_info: publisher(node, &format!("{private}/depth/camera_info"))?,
            color: publisher(node, &format!("{private}/color/image_rect"))?,
            points: publisher(node, &format!("{private}/points"))?,
        })
    }

    /// What has subscribers.
    pub fn asked(&self) -> Asked {
        Asked {
            depth: has_subscribers(&self.depth),
            camera_info: has_subscribers(&self.camera_info),
            color: has_subscribers(&self.color),
            points: has_subscribers(&self.points),
        }
    }

    fn publish(&self, results: &Results) -> r2r::Result<()> {
        // The info goes first, so that whoever pairs by stamp has it when the image comes.
        results.camera_info.as_ref().map_or(Ok(()), |message| self.camera_info.publish(message))?;
        results.color.as_ref().map_or(Ok(()), |message| self.color.publish(message))?;
        results.depth.as_ref().map_or(Ok(()), |message| self.depth.publish(message))?;
        results.points.as_ref().map_or(Ok(()), |message| self.points.publish(message))
    }
}

/// Reliable, the newest only: reliable and best-effort subscribers both match.
fn publisher<T: WrappedTypesupport + 'static>(node: &mut r2r::Node, topic: &str) -> Result<Publisher<T>> {
    node.create_publisher(topic, QosProfile::default().keep_last(1).reliable())
        .with_context(|| topic.to_owned())
}

/// A count that cannot be had counts as someone: better a frame too many than none.
fn has_subscribers<T: WrappedTypesupport + 'static>(publisher: &Publisher<T>) -> bool {
    publisher.get_inter_process_subscription_count().map_or(true, |count| count > 0)
}

/// Publishes the newest results until the slots are closed.
pub fn publish_all(outputs: Vec<Outputs>, results: &Latest<Results>, logger: &str) {
    while let Some((camera, results)) = results.take() {
        if let Err(error) = outputs[camera].publish(&results) {
            r2r::log_error!(logger, "cannot publish: {error}");
        }
    }
}
