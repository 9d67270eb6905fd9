//! Joints and what they may do.

use nalgebra::{Isometry3, Translation3, UnitQuaternion, UnitVector3};
use urdf_rs::JointType;

use crate::error::Fault;
use crate::model::isometry;

/// How far an axis's length may be from 1; what written decimals lose.
const UNIT_TOLERANCE: f64 = 1e-3;

/// How a joint moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JointKind {
    /// Not at all.
    Fixed,
    /// Around its axis, radians, between limits.
    Revolute,
    /// Around its axis, radians, without end.
    Continuous,
    /// Along its axis, metres, between limits.
    Prismatic,
}

/// What a joint may do: radians or metres, and seconds, newton metres or newtons. Infinite where there is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointLimits {
    /// Smallest position.
    pub lower: f64,
    /// Largest position.
    pub upper: f64,
    /// Largest speed, at least 0.
    pub velocity: f64,
    /// Largest torque or force, at least 0.
    pub effort: f64,
    /// Largest acceleration above 0, from URDF 1.2 or `<ros2_control>`; none when neither gives one.
    pub acceleration: Option<f64>,
}

/// A joint that follows another: `position = multiplier * leader + offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mimic {
    /// Name of the joint that leads.
    pub joint: String,
    /// Factor.
    pub multiplier: f64,
    /// Offset, radians or metres.
    pub offset: f64,
}

/// A joint of a robot, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Joint {
    /// Name.
    pub name: String,
    /// How it moves.
    pub kind: JointKind,
    /// Link that it hangs on.
    pub parent: String,
    /// Link that it moves.
    pub child: String,
    /// What it may do.
    pub limits: JointLimits,
    /// The joint that it follows, if any.
    pub mimic: Option<Mimic>,
    pub(crate) parent_from_joint: Isometry3<f64>,
    pub(crate) axis: UnitVector3<f64>,
}

impl Joint {
    /// Checks a joint as `urdf-rs` read it.
    pub(crate) fn new(joint: &urdf_rs::Joint, acceleration: Option<f64>) -> Result<Self, Fault> {
        let refuse = |problem: String| Fault::Joint { joint: joint.name.clone(), problem };
        let kind = match joint.joint_type {
            JointType::Fixed => JointKind::Fixed,
            JointType::Revolute => JointKind::Revolute,
            JointType::Continuous => JointKind::Continuous,
            JointType::Prismatic => JointKind::Prismatic,
            ref other => {
                let expected = "expected type fixed, revolute, continuous or prismatic";
                return Err(refuse(format!("{expected}, got {}", format!("{other:?}").to_lowercase())));
            }
        };
        let axis = nalgebra::Vector3::from(joint.axis.xyz.0);
        if kind != JointKind::Fixed && (axis.norm() - 1.0).abs() > UNIT_TOLERANCE {
            let came = joint.axis.xyz.0;
            return Err(refuse(format!(
                "axis: expected a unit vector, got {came:?} of length {}",
                axis.norm()
            )));
        }
        let mimic = joint.mimic.as_ref().map(|mimic| Mimic {
            joint: mimic.joint.clone(),
            multiplier: mimic.multiplier.unwrap_or(1.0),
            offset: mimic.offset.unwrap_or(0.0),
        });
        if mimic.as_ref().is_some_and(|mimic| !(mimic.multiplier.is_finite() && mimic.offset.is_finite())) {
            return Err(refuse("mimic: expected a finite multiplier and offset".to_owned()));
        }
        Ok(Self {
            name: joint.name.clone(),
            kind,
            parent: joint.parent.link.clone(),
            child: joint.child.link.clone(),
            limits: limits(kind, &joint.limit, acceleration).map_err(refuse)?,
            mimic,
            parent_from_joint: isometry(&joint.origin),
            axis: UnitVector3::new_normalize(axis),
        })
    }

    /// Whether someone must say where it is: it moves, and follows no other.
    pub fn is_free(&self) -> bool {
        self.kind != JointKind::Fixed && self.mimic.is_none()
    }

    /// The child link's frame in the parent's at a position, radians or metres.
    pub fn parent_from_child(&self, position: f64) -> Isometry3<f64> {
        let moved = match self.kind {
            JointKind::Fixed => Isometry3::identity(),
            JointKind::Revolute | JointKind::Continuous => Isometry3::from_parts(
                Translation3::identity(),
                UnitQuaternion::from_axis_angle(&self.axis, position),
            ),
            JointKind::Prismatic => Isometry3::from_parts(
                Translation3::from(self.axis.scale(position)),
                UnitQuaternion::identity(),
            ),
        };
        self.parent_from_joint * moved
    }
}

fn limits(
    kind: JointKind,
    limit: &urdf_rs::JointLimit,
    acceleration: Option<f64>,
) -> Result<JointLimits, String> {
    for (name, value) in [("velocity", limit.velocity), ("effort", limit.effort)] {
        if value.is_nan() || value < 0.0 {
            return Err(format!("limit: {name}: expected at least 0, got {value}"));
        }
    }
    if limit.acceleration.is_nan() || limit.acceleration <= 0.0 {
        return Err(format!("limit: acceleration: expected above 0, got {}", limit.acceleration));
    }
    let bounded = matches!(kind, JointKind::Revolute | JointKind::Prismatic);
    if bounded && (limit.lower > limit.upper || limit.lower.is_nan() || limit.upper.is_nan()) {
        return Err(format!("limit: expected lower <= upper, got {} and {}", limit.lower, limit.upper));
    }
    let endless = (f64::NEG_INFINITY, f64::INFINITY);
    let (lower, upper) = if bounded { (limit.lower, limit.upper) } else { endless };
    // A continuous joint may come without <limit>, which `urdf-rs` gives as zeros.
    let unlimited = kind == JointKind::Continuous && limit.velocity == 0.0 && limit.effort == 0.0;
    let or_none = |value: f64| if unlimited { f64::INFINITY } else { value };
    let given = limit.acceleration.is_finite().then_some(limit.acceleration);
    Ok(JointLimits {
        lower,
        upper,
        velocity: or_none(limit.velocity),
        effort: or_none(limit.effort),
        acceleration: given.or(acceleration),
    })
}
