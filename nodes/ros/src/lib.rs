//! The ROS 2 nodes; the only user of r2r.
//!
//! A node is an r2r node with the habits of other ROS nodes ([`ros_node`]): a static table declares its parameters, topics
//! and services ([`declare`], printed by `--describe`); [`parameters`] refuse what is not allowed, with a reason; the log
//! goes to the console and `/rosout` ([`rosout`]); ROS time may be simulated and go back ([`clock`]); every topic takes
//! `qos_overrides` ([`qos`]); a [`lifecycle`] loads and verifies before it publishes.
//!
//! One thread owns the [`r2r::Node`] and spins. Every camera has a newest-only slot ([`latest`]); inference runs on its own
//! thread and takes the newest frames, cameras in turn; publishing, which the middleware may block, has its own
//! thread and slots.

pub mod action_chunk;
pub mod body;
pub mod camera;
pub mod cdr;
pub mod clock;
pub mod convert;
pub mod declare;
pub mod describe;
pub mod diagnostics;
pub mod grabber;
pub mod graph;
pub mod joints;
pub mod latest;
pub mod lifecycle;
pub mod listen;
pub mod names;
pub mod parameters;
pub mod perception;
pub mod policy;
pub mod qos;
pub mod raw;
pub mod recorder;
pub mod ros_node;
pub mod rosout;
pub mod service;
pub mod spin;
pub mod tf;
pub mod throttle;
pub mod window;

/// What every node of this crate declares.
pub const REFERENCES: &[&declare::Reference] =
    &[&camera::REFERENCE, &perception::REFERENCE, &policy::REFERENCE, &recorder::REFERENCE];
