//! When and where a frame was taken.

use std::sync::Arc;

/// ROS time of a message, never invented: what the camera's driver wrote passes through to every result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Seconds.
    pub sec: i32,
    /// Nanoseconds, below 10^9.
    pub nanosec: u32,
}

impl Stamp {
    /// Nanoseconds since the epoch of the clock.
    pub fn nanoseconds(self) -> i64 {
        i64::from(self.sec) * 1_000_000_000 + i64::from(self.nanosec)
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.sec, self.nanosec)
    }
}

/// The camera's optical frame (z forward, x right, y down; REP 103), as the driver names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrameId(Arc<str>);

impl FrameId {
    /// The frame of this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for FrameId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
