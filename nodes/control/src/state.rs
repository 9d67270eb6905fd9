//! The states of a controller and why it is in them.

/// What a controller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is commanded; `arm` leaves it.
    Idle,
    /// Armed, and waiting until ROS time, joints, chunks and deadman allow the first command.
    Armed,
    /// Commands follow the policy, or the human who took over.
    Running,
    /// Brought to rest within the limits and kept there; goes on by itself when the reason ends.
    Hold(HoldReason),
    /// Something is wrong; latched. Brought to rest, then nothing is commanded. Only `reset` leaves it.
    Fault(FaultReason),
    /// The e-stop was engaged; latched. Zero at once. Only `reset`, after its release, leaves it.
    EStop,
}

/// Why a controller holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// No new chunk for the watchdog's time.
    PolicySilent,
    /// No chunk speaks of this moment.
    ChunkExpired,
    /// The newest observation is too old.
    ObservationStale,
    /// Joint states are missing, too old, or stamped by another clock.
    JointStatesStale,
    /// The deadman is not held.
    Deadman,
    /// Disarming.
    Disarming,
}

/// Why a controller stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultReason {
    /// It held for too long.
    Watchdog(HoldReason),
    /// ROS time jumped back.
    ClockJumpedBack,
    /// ROS time does not advance although the steady clock does.
    ClockStopped,
    /// A joint is measured outside its limits.
    JointOutOfLimits {
        /// Its place in the action space.
        joint: usize,
    },
    /// A joint is too far from where it was told to be.
    Deviation {
        /// Its place in the action space.
        joint: usize,
    },
    /// The tool is measured outside the workspace.
    OutOfWorkspace,
}

impl State {
    /// Name in capitals, as published.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Armed => "ARMED",
            Self::Running => "RUNNING",
            Self::Hold(_) => "HOLD",
            Self::Fault(_) => "FAULT",
            Self::EStop => "ESTOP",
        }
    }

    /// Whether only a reset leaves it.
    pub fn is_latched(self) -> bool {
        matches!(self, Self::Fault(_) | Self::EStop)
    }
}

impl std::fmt::Display for HoldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PolicySilent => "no new action chunk within the watchdog's time",
            Self::ChunkExpired => "no action chunk speaks of this moment",
            Self::ObservationStale => "the newest observation is too old",
            Self::JointStatesStale => "joint states are missing or too old, or stamped by another clock",
            Self::Deadman => "the deadman is not held",
            Self::Disarming => "disarming",
        })
    }
}

impl std::fmt::Display for FaultReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Watchdog(reason) => write!(f, "held for too long: {reason}"),
            Self::ClockJumpedBack => f.write_str("ROS time jumped back"),
            Self::ClockStopped => f.write_str("ROS time stands still"),
            Self::JointOutOfLimits { joint } => write!(f, "joint {joint} is measured outside its limits"),
            Self::Deviation { joint } => write!(f, "joint {joint} is too far from its command"),
            Self::OutOfWorkspace => f.write_str("the tool is measured outside the workspace"),
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hold(reason) => write!(f, "HOLD ({reason})"),
            Self::Fault(reason) => write!(f, "FAULT ({reason})"),
            other => f.write_str(other.name()),
        }
    }
}
