//! What a policy head needs of the robot: its state at an image's stamp.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use control::RosTime;
use network::PolicySpec;
use network::manifest::{Quantity as Channel, StateChannel};
use perception::Stamp;
use r2r::QosProfile;
use r2r::std_srvs::srv::Trigger;

use crate::joints::{JointFeed, Joints, Quantity};
use crate::ros_node::RosNode;
use crate::service;

/// What the inference thread asks of the robot.
#[derive(Clone, Debug, Default)]
pub struct Acting {
    joints: Arc<JointFeed>,
    resets: Arc<AtomicU64>,
}

impl Acting {
    /// Offers `~/reset_policy`; `joints` must hear `joint_states`.
    ///
    /// # Errors
    /// When the middleware refuses the service.
    pub fn new(ros: &mut RosNode, joints: Arc<JointFeed>) -> Result<Self> {
        let acting = Self { joints, resets: Arc::default() };
        let (resets, spawner) = (acting.resets.clone(), ros.spawner());
        let logger = ros.logger.clone();
        service::answer::<Trigger::Service>(
            &mut ros.services(&spawner),
            "~/reset_policy",
            QosProfile::services_default(),
            move |_| {
                resets.fetch_add(1, Ordering::Relaxed);
                logger.info("policy reset: the next image begins a new history");
                Trigger::Response { success: true, message: "the next image begins a new history".to_owned() }
            },
        )?;
        Ok(acting)
    }

    /// How often the policy was reset.
    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }

    /// The numbers of a policy's state at an image's stamp, in SI units.
    ///
    /// # Errors
    /// When a joint is not known around the stamp.
    pub fn state(&self, policy: &PolicySpec, stamp: Stamp) -> Result<Vec<f64>, String> {
        let number = |joints: &Joints, channel: &StateChannel| {
            let quantity = match channel.quantity {
                Channel::Position => Quantity::Position,
                Channel::Velocity => Quantity::Velocity,
                Channel::Effort => Quantity::Effort,
            };
            joints.history(quantity).position(&channel.name, stamp, false)
        };
        let read = |joints: &Joints| policy.state.iter().map(|channel| number(joints, channel)).collect();
        self.joints.at(stamp, read).map_err(|error| error.to_string())
    }
}

/// An image's stamp as the control crate has it.
pub fn ros_time(stamp: Stamp) -> RosTime {
    RosTime(stamp.nanoseconds())
}
