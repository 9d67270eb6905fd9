//! Episodes on disk: MCAP bags as `ros2 bag` keeps them, and LeRobot datasets to train on. No ROS in it.
//!
//! An episode is a stream of [`Message`]s of [`Topic`]s. Live it comes from subscriptions of raw bytes, offline from a
//! [`bag::BagReader`]; either way it goes two ways:
//!
//! ```text
//! (Topic, Stamps, bytes) --> bag::BagWriter            everything, as it came: <name>/<name>_0.mcap, metadata.yaml
//!                       \--> alignment --> dataset::Row --> dataset::DatasetWriter    what the contract takes, at a fixed rate
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`bag`] | writing (flushed every 0.4 s, atomic at the end), reading in the order of time, recovering |
//! | [`cdr`] | numbers out of messages of any type, by the text of their definition |
//! | [`dataset`] | LeRobotDataset 3.0: layout and rows, writing with a commit per episode, reading, checking, recovering |
//! | [`contract`], [`align`] | which topics become rows, and how |
//! | [`convert`] | bags into a dataset, several at a time; episodes of a dataset into bags |
//! | [`session`] | episodes being recorded, both ways at once |
//!
//! Times are nanoseconds since 1970 in names ending in `_nanos`.

pub mod align;
pub mod bag;
pub mod cdr;
pub mod contract;
pub mod convert;
pub mod dataset;
mod files;
mod message;
mod report;
pub mod session;
mod sync;

pub use message::{Definition, Message, Stamps, Topic};
pub use report::{Finding, Report};
