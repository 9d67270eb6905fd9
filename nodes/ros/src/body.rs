//! The robot's own body in the picture: its description, its joints and frames at an image's stamp, and the pixels that it covers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use calibration::CameraModel;
use nalgebra::Isometry3;
use perception::Stamp;
use r2r::std_msgs::msg::String as Text;
use robot::{BodyMask, JointKind, MeshFolders, Robot, SelfFilter};

use crate::joints::{JointError, JointFeed, Quantity};
use crate::listen;
use crate::ros_node::RosNode;
use crate::rosout::Logger;
use crate::tf::Buffer;

/// How long transforms are kept, as tf2 does.
const KEEP: Duration = Duration::from_secs(10);

/// Where the robot's description comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Description {
    /// The latched topic `robot_description`, as robot_state_publisher gives it.
    Topic,
    /// The URDF itself.
    Text(String),
    /// A URDF file.
    File(std::path::PathBuf),
}

impl Description {
    /// What the parameter `robot_description` means: nothing is the topic, XML is the URDF, anything else a file.
    pub fn of_parameter(value: &str) -> Self {
        match value.trim_start() {
            "" => Self::Topic,
            text if text.starts_with('<') => Self::Text(text.to_owned()),
            file => Self::File(file.into()),
        }
    }
}

/// The robot's body as the node knows it; shared by the thread that spins and the one that infers.
#[derive(Debug)]
pub struct Body {
    padding_meters: f64,
    joints: Arc<JointFeed>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// The filter, or why there is none.
    filter: Result<Arc<SelfFilter>, String>,
    frames: Buffer,
}

impl Body {
    /// The body that parameters ask for, if they do, with its subscriptions; `joints` must hear `joint_states`.
    ///
    /// # Errors
    /// When the description is refused, or the middleware refuses a subscription.
    pub fn of_parameters(ros: &mut RosNode, joints: &Arc<JointFeed>) -> Result<Option<Arc<Self>>> {
        if !ros.parameters.flag("self_filter")? {
            return Ok(None);
        }
        let description = Description::of_parameter(&ros.parameters.text("robot_description")?);
        let padding = ros.parameters.number("self_filter_padding")?;
        let body = Arc::new(
            Self::new(&description, padding, joints.clone()).context("parameter robot_description")?,
        );
        if let Ok(filter) = &body.lock().filter {
            ros.logger.info(tell(filter.robot()));
        }
        body.subscribe(ros, &description)?;
        Ok(Some(body))
    }

    /// A body with a padding in metres.
    ///
    /// # Errors
    /// When the description is refused, unless it comes by topic.
    pub fn new(description: &Description, padding_meters: f64, joints: Arc<JointFeed>) -> Result<Self> {
        let robot = match description {
            Description::Topic => None,
            Description::Text(text) => {
                Some(Robot::parse(text, "parameter robot_description", &MeshFolders::of_environment())?)
            }
            Description::File(path) => Some(Robot::read(Path::new(path))?),
        };
        let filter = match robot {
            Some(robot) => Ok(Arc::new(SelfFilter::new(Arc::new(robot), padding_meters)?)),
            None => Err("no robot_description has come yet".to_owned()),
        };
        let known = Mutex::new(Known { filter, frames: Buffer::new(KEEP) });
        Ok(Self { padding_meters, joints, known })
    }

    /// Subscribes to `/tf` and `/tf_static`, and to `robot_description` when that is where it comes from.
    ///
    /// # Errors
    /// When the middleware refuses a subscription.
    pub fn subscribe(self: &Arc<Self>, ros: &mut RosNode, description: &Description) -> Result<()> {
        let body = self.clone();
        listen::to_frames(ros, move |transform, fixed| body.lock().frames.insert(transform, fixed))?;
        if *description == Description::Topic {
            let (body, logger) = (self.clone(), ros.logger.clone());
            let take = move |message: Text| body.take_description(&message.data, &logger);
            listen::each::<Text>(ros, "robot_description", listen::latched(1), take)?;
        }
        Ok(())
    }

    fn take_description(&self, text: &str, logger: &Logger) {
        let robot = Robot::parse(text, "topic robot_description", &MeshFolders::of_environment());
        let robot = robot.map_err(|error| error.to_string());
        let filter = robot.and_then(|robot| {
            logger.info(tell(&robot));
            SelfFilter::new(Arc::new(robot), self.padding_meters).map_err(|error| error.to_string())
        });
        if let Err(reason) = &filter {
            logger.error(reason);
        }
        self.lock().filter = filter.map(Arc::new);
    }

    /// The pixels that the body covers in an image without distortion, taken at a stamp in a camera's optical frame.
    ///
    /// # Errors
    /// When the robot, its joints around that stamp or the place of the camera are not known: what is on the robot cannot
    /// be told then. Joint states that are still on their way are waited for, a tenth of a second at most.
    pub fn mask(&self, camera: &CameraModel, frame: &str, stamp: Stamp) -> Result<BodyMask, String> {
        let failed = |reason: String| format!("self-filter: {reason}");
        let (filter, positions) = self.wait_for_joints(stamp).map_err(failed)?;
        let robot = filter.robot();
        let poses = robot.poses(|joint| positions.get(joint).copied());
        let poses = poses.map_err(|error| failed(error.to_string()))?;
        let root_from_camera = match poses.root_from(frame) {
            Ok(root_from_camera) => root_from_camera,
            Err(_) => self.root_from_frame(&poses, robot, frame, stamp).map_err(failed)?,
        };
        let mut mask = BodyMask::none(camera.size());
        filter.cover(&mut mask, camera.intrinsics(), &root_from_camera.inverse(), &poses);
        Ok(mask)
    }

    /// The filter, and the position of every free joint at a stamp.
    fn wait_for_joints(&self, stamp: Stamp) -> Result<(Arc<SelfFilter>, BTreeMap<String, f64>), String> {
        let filter = self.lock().filter.clone()?;
        let positions = self.joints.at(stamp, |joints| {
            let position = |joint: &robot::Joint| {
                let endless = joint.kind == JointKind::Continuous;
                let position = joints.history(Quantity::Position).position(&joint.name, stamp, endless)?;
                Ok((joint.name.clone(), position))
            };
            filter.robot().free_joints().map(position).collect::<Result<_, JointError>>()
        });
        Ok((filter, positions.map_err(|error| error.to_string())?))
    }

    /// Where a frame is that the URDF does not have: under one of its links (a driver's own frames), or beside them.
    fn root_from_frame(
        &self,
        poses: &robot::LinkPoses<'_>,
        robot: &Robot,
        frame: &str,
        stamp: Stamp,
    ) -> Result<Isometry3<f64>, String> {
        let known = self.lock();
        let explain = |error: crate::tf::TfError| {
            format!("camera frame {frame} is no link of robot {}, and by /tf: {error}", robot.name())
        };
        let above = known.frames.nearest_above(frame, |name| robot.has_link(name), stamp).map_err(explain)?;
        match above {
            Some((link, link_from_frame)) => {
                let root_from_link = poses.root_from(&link).map_err(|error| error.to_string())?;
                Ok(root_from_link * link_from_frame)
            }
            None => known.frames.target_from_source(robot.root(), frame, stamp).map_err(explain),
        }
    }

    /// A panic elsewhere does not spoil what is known.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(robot: &Robot) -> String {
    format!("self-filter: robot {} with {} links", robot.name(), robot.links().len())
}
