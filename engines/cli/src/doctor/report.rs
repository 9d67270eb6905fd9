//! What the doctor found: a line per check, each with its remedy.

use std::fmt;

use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, but not well, or not everything.
    Warn,
    /// Does not work.
    Fail,
}

/// The part of the machine that a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// ROS 2: distribution, packages, domain
    Ros,
    /// Middleware: whether it carries images
    Transport,
    /// Shared memory
    Memory,
    /// ONNX Runtime
    Onnxruntime,
    /// NVIDIA's driver
    Cuda,
    /// TensorRT
    Tensorrt,
    /// The bundle given
    Bundle,
    /// Cameras and nodes on the ROS graph
    Graph,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub area: Area,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it; none when all is well.
    pub remedy: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(area: Area, found: impl Into<String>) -> Self {
        Self { area, status: Status::Ok, found: found.into(), remedy: None }
    }

    /// Works, but not well.
    pub fn warn(area: Area, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, status: Status::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Does not work.
    pub fn fail(area: Area, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, status: Status::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// A failure where `needed`, else a warning.
    pub fn lacking(needed: bool, area: Area, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        if needed { Self::fail(area, found, remedy) } else { Self::warn(area, found, remedy) }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Ros => "ros",
            Self::Transport => "transport",
            Self::Memory => "memory",
            Self::Onnxruntime => "onnxruntime",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
            Self::Bundle => "bundle",
            Self::Graph => "graph",
        };
        f.pad(name)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "OK",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        };
        write!(f, "{status:4} {:11} {}", self.area, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n                 -> {remedy}"),
            None => Ok(()),
        }
    }
}

/// The worst of some checks; nothing checked is well.
pub fn worst(checks: &[Check]) -> Status {
    checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok)
}
