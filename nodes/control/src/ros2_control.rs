//! ros2_control's limiting rule, as its `joint_limits` package states it (`compute_position_limits` and
//! `compute_velocity_limits`, 2026): what a controller manager with `enforce_command_limits` lets through.
//!
//! [`crate::limiter`] is stricter: it also brakes in time. These functions are what it is compared with, and what tells
//! whether a controller behind us would change a command.

use crate::space::JointLimits;

/// Beyond its limits by more than this, rad or m, a measured joint may not move at all (`POSITION_BOUNDS_TOLERANCE`).
const BOUNDS_TOLERANCE: f64 = 0.002;

/// The positions that a command may have, rad or m: `reference ± min(max_velocity, |v| + max_acceleration dt) dt` within the
/// position limits, where the reference is the previous command, or the measured position when there is none.
pub fn position_interval(
    limits: &JointLimits,
    measured_velocity: Option<f64>,
    measured_position: Option<f64>,
    previous_command: Option<f64>,
    dt_secs: f64,
) -> [f64; 2] {
    let (mut low, mut high) = (limits.min_position, limits.max_position);
    let reachable = measured_velocity.map_or(0.0, f64::abs) + limits.max_acceleration * dt_secs;
    let way = limits.max_velocity.min(reachable) * dt_secs;
    if let Some(reference) = previous_command.or(measured_position) {
        low = (reference - way).min(high).max(low);
        high = (reference + way).max(low).min(high);
    }
    [low.min(high), high.max(low)]
}

/// The velocities that a command may have, rad/s or m/s: within the limit, not past the position limits within one tick, and
/// within `max_acceleration dt` of the previous command; none but 0 when the joint is far outside its limits.
pub fn velocity_interval(
    limits: &JointLimits,
    desired: f64,
    measured_position: Option<f64>,
    previous_command: Option<f64>,
    dt_secs: f64,
) -> [f64; 2] {
    let (mut low, mut high) = (-limits.max_velocity, limits.max_velocity);
    if let Some(position) = measured_position {
        let (least, greatest) = (limits.min_position, limits.max_position);
        low = low.max((least - position) / dt_secs);
        high = high.min((greatest - position) / dt_secs);
        let outside = position > greatest || position < least;
        let near_above = position < greatest + BOUNDS_TOLERANCE && position > least && desired >= 0.0;
        let near_below = position > least - BOUNDS_TOLERANCE && position < greatest && desired <= 0.0;
        let far = position > greatest + BOUNDS_TOLERANCE || position < least - BOUNDS_TOLERANCE;
        if outside && (near_above || near_below || far) {
            (low, high) = (0.0, 0.0);
        }
    }
    if let Some(previous) = previous_command {
        let change = limits.max_acceleration * dt_secs;
        low = low.max(previous - change);
        high = high.min(previous + change);
    }
    [low.min(high), high.max(low)]
}
