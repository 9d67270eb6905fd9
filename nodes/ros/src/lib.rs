//! The ROS 2 nodes; the only user of r2r.
//!
//! One thread owns the [`r2r::Node`] and spins. Every camera has a newest-only slot ([`latest`]); inference runs on its own
//! thread and takes the newest frames, cameras in turn; publishing, which the middleware may block, has its own
//! thread and slots.

pub mod camera;
pub mod convert;
pub mod latest;
pub mod names;
pub mod parameters;
pub mod perception;
pub mod raw;
pub mod spin;
pub mod throttle;
