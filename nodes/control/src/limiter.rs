//! Speed, acceleration and braking around the previous *command*: what is commanded can always be stopped in time.
//!
//! The braking rule: a velocity `v` is allowed towards a bound at distance `L` only while `v dt + v²/(2a) <= L`. Braking with
//! `a` from there keeps the inequality true at every later tick, whatever their lengths, so a bound is never passed and the
//! acceleration limit never has to give way.

use crate::space::{Joint, JointLimits, TwistLimits};

/// The greatest velocity towards something at this distance: the largest `v >= 0` with `v dt + v²/(2a) <= distance`.
pub fn braking_velocity(distance: f64, acceleration: f64, dt_secs: f64) -> f64 {
    if distance <= 0.0 {
        return 0.0;
    }
    let step = acceleration * dt_secs;
    (step * step + 2.0 * acceleration * distance).sqrt() - step
}

/// Way from velocity `v` (towards the bound) to rest, by the rule above without this tick's step.
pub fn braking_way(velocity: f64, acceleration: f64) -> f64 {
    velocity * velocity.abs() / (2.0 * acceleration)
}

/// The velocity towards `bound` that a soft bound allows: braking before it, back to it within one tick from beyond.
pub fn soft_velocity(distance: f64, acceleration: f64, dt_secs: f64) -> f64 {
    if distance < 0.0 { distance / dt_secs } else { braking_velocity(distance, acceleration, dt_secs) }
}

/// What one joint was last told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JointState {
    /// Last commanded position, rad or m.
    pub position: f64,
    /// Last commanded velocity, rad/s or m/s.
    pub velocity: f64,
    /// Its last change, rad/s² or m/s²; for the jerk limit.
    pub acceleration: f64,
    /// Whether jerk is limited in this tick; braking to rest is not.
    pub jerk_limited: bool,
}

/// Bounds of a position: the joint's limits less the margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Least position, rad or m.
    pub low: f64,
    /// Greatest position, rad or m.
    pub high: f64,
}

/// Which limits a wish met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// A position bound or the braking way before it.
    pub position: bool,
    /// The velocity limit.
    pub velocity: bool,
    /// The acceleration or jerk limit.
    pub acceleration: bool,
}

impl Met {
    pub(crate) fn join(&mut self, other: Met) {
        self.position |= other.position;
        self.velocity |= other.velocity;
        self.acceleration |= other.acceleration;
    }
}

/// The velocities that a joint may be commanded in this tick, `[low, high]`, low <= high. Bounds come before speed, speed before
/// acceleration, acceleration before jerk; by the braking rule they agree unless bounds moved towards the joint.
pub fn velocity_interval(limits: &JointLimits, last: &JointState, bounds: Bounds, dt_secs: f64) -> [f64; 2] {
    let acceleration = limits.max_acceleration;
    let change = acceleration * dt_secs;
    let (mut low, mut high) = (last.velocity - change, last.velocity + change);
    if let Some(jerk) = limits.max_jerk.filter(|_| last.jerk_limited) {
        // Gaining speed is gradual; losing it may take all the deceleration there is.
        let most = jerk * dt_secs;
        if last.velocity >= 0.0 {
            high = high.min(last.velocity + (last.acceleration.max(0.0) + most) * dt_secs);
        }
        if last.velocity <= 0.0 {
            low = low.max(last.velocity + (last.acceleration.min(0.0) - most) * dt_secs);
        }
    }
    let clamp = |value: f64, most: f64, least: f64| value.min(most).max(least);
    low = clamp(low, limits.max_velocity, -limits.max_velocity);
    high = clamp(high, limits.max_velocity, -limits.max_velocity);
    let up = braking_velocity(bounds.high - last.position, acceleration, dt_secs);
    let down = -braking_velocity(last.position - bounds.low, acceleration, dt_secs);
    // Outside its bounds a joint may only come back, as fast as acceleration lets it.
    low = clamp(low, up, down);
    high = clamp(high, up, down);
    [low, high]
}

/// The velocity that a joint would need to follow a target that moves with `target_velocity`: it arrives without overshoot.
pub fn approach(
    limits: &JointLimits,
    last: &JointState,
    target: f64,
    target_velocity: f64,
    dt_secs: f64,
) -> f64 {
    let error = target - last.position;
    let direct = error / dt_secs;
    let closing = braking_velocity(error.abs(), limits.max_acceleration, dt_secs).copysign(error);
    let wished = target_velocity + closing;
    // Never past the target within this tick.
    if direct.abs() <= wished.abs() || wished * direct < 0.0 { direct } else { wished }
}

/// Velocities for all joints at once, within their intervals. With `keep_direction` the way from what must be to what is wished
/// is scaled by one factor for all joints, so that a slow joint slows the others and the path keeps its shape.
pub fn limit_joints(
    joints: &[Joint],
    last: &[JointState],
    bounds: &[Bounds],
    keep_direction: bool,
    dt_secs: f64,
    wished: &mut [f64],
) -> Met {
    let mut met = Met::default();
    let mut share: f64 = 1.0;
    for (index, joint) in joints.iter().enumerate() {
        let [low, high] = velocity_interval(&joint.limits, &last[index], bounds[index], dt_secs);
        let wish = wished[index];
        met.join(what_was_met(joint, &last[index], wish, [low, high]));
        if keep_direction && !(low..=high).contains(&wish) {
            // From rest, or from braking where rest is not allowed, towards the wish.
            let from = 0_f64.clamp(low, high);
            let way = wish - from;
            let allowed = wish.clamp(low, high) - from;
            share = share.min(if way == 0.0 { 1.0 } else { (allowed / way).clamp(0.0, 1.0) });
        }
    }
    for (index, joint) in joints.iter().enumerate() {
        let [low, high] = velocity_interval(&joint.limits, &last[index], bounds[index], dt_secs);
        let from = 0_f64.clamp(low, high);
        wished[index] = (from + share * (wished[index] - from)).clamp(low, high);
    }
    met
}

fn what_was_met(joint: &Joint, last: &JointState, wish: f64, [low, high]: [f64; 2]) -> Met {
    // Rounding is no intervention.
    let tolerance = 1e-9 * joint.limits.max_velocity;
    if (low - tolerance..=high + tolerance).contains(&wish) {
        return Met::default();
    }
    let allowed = if wish > high { high } else { low };
    let velocity = allowed.abs() >= joint.limits.max_velocity - tolerance;
    let slower = allowed.abs() < wish.abs() && allowed.abs() < last.velocity.abs() - tolerance;
    Met { velocity, position: !velocity && slower, acceleration: !velocity && !slower }
}

/// One of the two vectors of a twist, in its own unit: what it may change to.
///
/// `bounds` are the distances to a box, per axis below and above (positive inside; infinite without a box). The acceleration
/// of an axis towards the box is `a / √3`, so that braking on all three at once stays within the norm.
pub fn limit_vector(
    last: [f64; 3],
    wished: [f64; 3],
    max_velocity: f64,
    max_acceleration: f64,
    bounds: [[f64; 2]; 3],
    dt_secs: f64,
) -> ([f64; 3], Met) {
    let mut met = Met::default();
    let norm = length(wished);
    let scale = if norm > max_velocity { max_velocity / norm } else { 1.0 };
    met.velocity = scale < 1.0 - 1e-12;
    let axis_acceleration = max_acceleration / 3_f64.sqrt();
    let inside = |value: f64, axis: usize| {
        let [below, above] = bounds[axis];
        let up = braking_velocity(above, axis_acceleration, dt_secs);
        let down = -braking_velocity(below, axis_acceleration, dt_secs);
        value.min(up).max(down)
    };
    let scaled = wished.map(|value| value * scale);
    let bounded: [f64; 3] = std::array::from_fn(|axis| inside(scaled[axis], axis));
    met.position = (0..3).any(|axis| (bounded[axis] - scaled[axis]).abs() > 1e-12);
    // First what braking demands, then as much of the wish as acceleration is left for.
    let must: [f64; 3] = std::array::from_fn(|axis| inside(last[axis], axis));
    let most = max_acceleration * dt_secs;
    let share = largest_share(last, must, bounded, most);
    met.acceleration = share < 1.0 - 1e-9;
    (std::array::from_fn(|axis| must[axis] + share * (bounded[axis] - must[axis])), met)
}

/// The largest share of the way from `must` to `wish` that keeps the change from `last` within `most`.
fn largest_share(last: [f64; 3], must: [f64; 3], wish: [f64; 3], most: f64) -> f64 {
    let first: [f64; 3] = std::array::from_fn(|axis| must[axis] - last[axis]);
    let way: [f64; 3] = std::array::from_fn(|axis| wish[axis] - must[axis]);
    let (a, b, c) = (dot(way, way), dot(first, way), dot(first, first) - most * most);
    if a + 2.0 * b + c <= 0.0 {
        return 1.0;
    }
    if a == 0.0 || c >= 0.0 {
        return 0.0;
    }
    ((-b + (b * b - a * c).max(0.0).sqrt()) / a).clamp(0.0, 1.0)
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(crate) fn length(vector: [f64; 3]) -> f64 {
    dot(vector, vector).sqrt()
}

/// A twist within its limits. `to_box` are the distances of the tool to the workspace, as in [`limit_vector`].
pub fn limit_twist(
    limits: &TwistLimits,
    last: &[f64; 6],
    wished: [f64; 6],
    to_box: [[f64; 2]; 3],
    dt_secs: f64,
) -> ([f64; 6], Met) {
    const FREE: [[f64; 2]; 3] = [[f64::INFINITY; 2]; 3];
    let half = |twist: &[f64; 6], from: usize| [twist[from], twist[from + 1], twist[from + 2]];
    let (linear, mut met) = limit_vector(
        half(last, 0),
        half(&wished, 0),
        limits.max_linear,
        limits.max_linear_acceleration,
        to_box,
        dt_secs,
    );
    let (angular, other) = limit_vector(
        half(last, 3),
        half(&wished, 3),
        limits.max_angular,
        limits.max_angular_acceleration,
        FREE,
        dt_secs,
    );
    met.join(other);
    ([linear[0], linear[1], linear[2], angular[0], angular[1], angular[2]], met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::joint;
    use proptest::prelude::*;

    const FREE: Bounds = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY };

    #[test]
    fn braking_stops_before_the_bound_at_any_tick_length() {
        let limits = JointLimits { max_velocity: 5.0, ..joint("a").limits };
        let bounds = Bounds { low: -1.0, high: 2.0 };
        let mut last = JointState::default();
        for tick in 0..5000 {
            let dt = [0.005, 0.001, 0.02, 0.0001][tick % 4];
            let [_, high] = velocity_interval(&limits, &last, bounds, dt);
            let change = (high - last.velocity).abs();
            assert!(change <= limits.max_acceleration * dt + 1e-12, "{tick}: {change}");
            last.velocity = high;
            last.position += high * dt;
            assert!(last.position <= bounds.high + 1e-12, "{tick}: {last:?}");
        }
        assert!(last.position > 1.999, "{last:?}");
    }

    #[test]
    fn a_moving_target_is_followed_and_a_still_one_not_passed() {
        let limits = joint("a").limits;
        let (mut last, dt) = (JointState::default(), 0.01);
        for tick in 0..1000 {
            let time = f64::from(tick + 1) * dt;
            let (target, speed) = if time < 2.0 { (0.5 * time, 0.5) } else { (1.0, 0.0) };
            let wish = approach(&limits, &last, target, speed, dt);
            let [low, high] = velocity_interval(&limits, &last, FREE, dt);
            last.velocity = wish.clamp(low, high);
            last.position += last.velocity * dt;
            assert!(last.position < 1.03, "{time}: {last:?}");
            if (1.0..2.0).contains(&time) || time > 4.0 {
                assert!((last.position - target).abs() < 1e-3, "{time}: {last:?} {target}");
            }
        }
    }

    #[test]
    fn one_factor_for_all_joints_keeps_the_direction() {
        let joints = [joint("a"), joint("b")];
        let (last, bounds) = ([JointState::default(); 2], [FREE; 2]);
        let mut wished = [10.0, 5.0];
        let met = limit_joints(&joints, &last, &bounds, true, 0.01, &mut wished);
        assert!(met.acceleration);
        assert!((wished[0] - 2.0 * wished[1]).abs() < 1e-12, "{wished:?}");
        let mut apart = [10.0, 5.0];
        limit_joints(&joints, &last, &bounds, false, 0.01, &mut apart);
        assert_eq!(apart[0], apart[1]);
    }

    #[test]
    fn jerk_grows_the_acceleration_step_by_step() {
        let limits = JointLimits { max_jerk: Some(40.0), ..joint("a").limits };
        let dt = 0.01;
        let mut last = JointState { jerk_limited: true, ..JointState::default() };
        let mut accelerations = Vec::new();
        for _ in 0..12 {
            let [_, high] = velocity_interval(&limits, &last, FREE, dt);
            last.acceleration = (high - last.velocity) / dt;
            last.velocity = high;
            accelerations.push(last.acceleration);
        }
        assert!((accelerations[0] - 0.4).abs() < 1e-9, "{accelerations:?}");
        assert!((accelerations[11] - 4.0).abs() < 1e-9, "{accelerations:?}");
    }

    proptest! {
        #[test]
        fn vectors_keep_their_norms_and_their_box(
            wishes in proptest::collection::vec(proptest::array::uniform3(-3.0..3.0_f64), 1..200),
            dt in 0.001..0.05_f64,
        ) {
            let (mut velocity, mut position) = ([0.0; 3], [0.0; 3]);
            for wish in wishes {
                let bounds = position.map(|at: f64| [at + 0.2, 0.3 - at]);
                let (next, _) = limit_vector(velocity, wish, 0.5, 2.0, bounds, dt);
                let change: [f64; 3] = std::array::from_fn(|axis| next[axis] - velocity[axis]);
                prop_assert!(length(change) <= 2.0 * dt + 1e-9, "{change:?}");
                prop_assert!(length(next) <= 0.5 + 1e-9);
                velocity = next;
                for axis in 0..3 {
                    position[axis] += velocity[axis] * dt;
                    prop_assert!((-0.2 - 1e-9..=0.3 + 1e-9).contains(&position[axis]), "{position:?}");
                }
            }
        }
    }
}
