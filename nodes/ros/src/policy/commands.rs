//! What the robot is told, as messages of the interface that parameters choose.

use anyhow::Result;
use r2r::control_msgs::msg::JointJog;
use r2r::geometry_msgs::msg::TwistStamped;
use r2r::std_msgs::msg::Float64MultiArray;
use r2r::trajectory_msgs::msg::{JointTrajectory, JointTrajectoryPoint};
use r2r::{Publisher, QosProfile};

use super::settings::{Interface, Settings};
use super::shared::Told;
use crate::action_chunk::duration;
use crate::clock::time;
use crate::ros_node::RosNode;

/// The publishers of one interface.
#[derive(Clone)]
pub enum CommandTopics {
    JointTrajectory(Publisher<JointTrajectory>),
    Array(Publisher<Float64MultiArray>),
    JointJog(Publisher<JointJog>),
    Twist(Publisher<TwistStamped>, Publisher<Float64MultiArray>),
}

impl CommandTopics {
    /// The topics of an interface.
    pub fn new(ros: &mut RosNode, interface: Interface) -> Result<Self> {
        let qos = || QosProfile::default().keep_last(1).reliable();
        Ok(match interface {
            Interface::JointTrajectory => Self::JointTrajectory(ros.publisher("~/joint_trajectory", qos())?),
            Interface::ForwardPosition | Interface::ForwardVelocity => {
                Self::Array(ros.publisher("~/commands", qos())?)
            }
            Interface::JointJog => Self::JointJog(ros.publisher("~/joint_jog", qos())?),
            Interface::Twist => {
                Self::Twist(ros.publisher("~/twist", qos())?, ros.publisher("~/gripper", qos())?)
            }
        })
    }
}

/// Publishes commands; keeps its messages, so that a tick writes numbers only.
pub struct Commands {
    topics: CommandTopics,
    trajectory: JointTrajectory,
    array: Float64MultiArray,
    jog: JointJog,
    twist: TwistStamped,
}

impl Commands {
    /// Commands of a configuration.
    pub fn new(topics: CommandTopics, settings: &Settings) -> Self {
        let names: Vec<String> = settings.space.joints().iter().map(|joint| joint.name.clone()).collect();
        let numbers = vec![0.0; names.len()];
        let point = JointTrajectoryPoint {
            positions: numbers.clone(),
            time_from_start: duration(settings.trajectory_horizon_secs),
            ..Default::default()
        };
        // Stamp zero: the controller begins when it hears it.
        let trajectory =
            JointTrajectory { joint_names: names.clone(), points: vec![point], ..Default::default() };
        let jog = JointJog {
            joint_names: names,
            velocities: numbers.clone(),
            duration: 1.0 / settings.rate_hz,
            ..Default::default()
        };
        let mut twist = TwistStamped::default();
        twist.header.frame_id.clone_from(&settings.command_frame);
        let array = Float64MultiArray { data: numbers, ..Default::default() };
        Self { topics, trajectory, array, jog, twist }
    }

    /// Tells the robot.
    ///
    /// # Errors
    /// When the middleware refuses.
    pub fn publish(&mut self, told: &Told) -> Result<(), r2r::Error> {
        let command = &told.command;
        match &self.topics {
            CommandTopics::JointTrajectory(publisher) => {
                self.trajectory.points[0].positions.copy_from_slice(command);
                publisher.publish(&self.trajectory)
            }
            CommandTopics::Array(publisher) => {
                self.array.data.copy_from_slice(command);
                publisher.publish(&self.array)
            }
            CommandTopics::JointJog(publisher) => {
                self.jog.header.stamp = time(told.stamp.0);
                self.jog.velocities.copy_from_slice(command);
                publisher.publish(&self.jog)
            }
            CommandTopics::Twist(publisher, gripper) => {
                self.twist.header.stamp = time(told.stamp.0);
                let twist = &mut self.twist.twist;
                (twist.linear.x, twist.linear.y, twist.linear.z) = (command[0], command[1], command[2]);
                (twist.angular.x, twist.angular.y, twist.angular.z) = (command[3], command[4], command[5]);
                publisher.publish(&self.twist)?;
                if command.len() > 6 {
                    self.array.data.clear();
                    self.array.data.push(command[6]);
                    gripper.publish(&self.array)?;
                }
                Ok(())
            }
        }
    }
}
