//! Action chunks and the way from them to safe commands. No ROS.
//!
//! A policy predicts an [`ActionChunk`] in an [`ActionSpace`]; a [`ChunkStore`] says what is due at a time; a [`Controller`]
//! filters that through every limit and decides, tick by tick, what the robot is told. Read [`controller`] downwards.
//!
//! This is software. Its e-stop is not safety-rated and replaces no hardware circuit.

pub mod blend;
pub mod chunk;
pub mod controller;
pub mod counters;
pub mod limiter;
pub mod ros2_control;
pub mod signals;
pub mod space;
pub mod state;
pub mod store;
pub mod time;

pub use blend::{Blend, Strategy};
pub use chunk::{ActionChunk, ChunkError};
pub use controller::{Controller, Kinematics, Measured, Output, Settings};
pub use counters::{Counters, Interventions, Stage};
pub use space::{ActionSpace, Gripper, Joint, JointLimits, SpaceError, TwistLimits};
pub use state::{FaultReason, HoldReason, State};
pub use store::{ChunkStore, Refusal};
pub use time::{RosTime, SteadyTime};
