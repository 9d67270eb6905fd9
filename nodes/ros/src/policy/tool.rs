//! Where the tool is for joint positions, without allocating: the control loop asks every tick.

use control::Kinematics;
use control::controller::Pose;
use nalgebra::Isometry3;
use robot::{JointKind, Robot};

/// The joints from a base to a tool.
#[derive(Clone, Debug)]
pub struct ToolChain {
    links: Vec<Link>,
}

#[derive(Clone, Debug)]
enum Link {
    Fixed(Isometry3<f64>),
    /// A joint, and where its position stands.
    Moving(robot::Joint, usize),
}

impl ToolChain {
    /// The chain from `base` (nothing: the root) to `tool`, for positions in the order of `names`.
    ///
    /// # Errors
    /// When a link is not known, the tool does not hang on the base, or a joint on the way is not among the names.
    pub fn new(robot: &Robot, base: Option<&str>, tool: &str, names: &[String]) -> Result<Self, String> {
        let base = base.unwrap_or(robot.root());
        for link in [base, tool] {
            if !robot.has_link(link) {
                return Err(format!("expected a link of robot {}, got {link:?}", robot.name()));
            }
        }
        let (mut links, mut at) = (Vec::new(), tool);
        while at != base {
            let above = robot.joints().iter().find(|joint| joint.child == at);
            let joint = above.ok_or_else(|| format!("expected a link that hangs on {base}, got {tool:?}"))?;
            links.push(Link::of(joint, names)?);
            at = &joint.parent;
        }
        links.reverse();
        Ok(Self { links })
    }

    fn base_from_tool(&self, positions: &[f64]) -> Isometry3<f64> {
        let place = |base_from_link: Isometry3<f64>, link: &Link| match link {
            Link::Fixed(parent_from_child) => base_from_link * parent_from_child,
            Link::Moving(joint, place) => base_from_link * joint.parent_from_child(positions[*place]),
        };
        self.links.iter().fold(Isometry3::identity(), place)
    }

    /// The tool's pose in the base, for positions in the order of the names.
    pub fn pose(&self, positions: &[f64]) -> Pose {
        let base_from_tool = self.base_from_tool(positions);
        let turn = base_from_tool.rotation.coords;
        Pose {
            position: base_from_tool.translation.vector.into(),
            orientation: [turn.x, turn.y, turn.z, turn.w],
        }
    }
}

impl Link {
    fn of(joint: &robot::Joint, names: &[String]) -> Result<Self, String> {
        if joint.kind == JointKind::Fixed {
            return Ok(Self::Fixed(joint.parent_from_child(0.0)));
        }
        let place = names.iter().position(|name| *name == joint.name && joint.mimic.is_none());
        let place = place.ok_or_else(|| {
            format!("joint {} on the way to the tool is not among the joints {names:?}", joint.name)
        })?;
        Ok(Self::Moving(joint.clone(), place))
    }
}

impl Kinematics for ToolChain {
    fn tool(&mut self, joints: &[f64]) -> [f64; 3] {
        self.base_from_tool(joints).translation.vector.into()
    }
}

/// Names of the joints that move on the way from `base` to `tool`, from the tool on.
pub fn moving_joints(robot: &Robot, base: Option<&str>, tool: &str) -> Vec<String> {
    let base = base.unwrap_or(robot.root());
    let (mut names, mut at) = (Vec::new(), tool);
    while at != base
        && let Some(joint) = robot.joints().iter().find(|joint| joint.child == at)
    {
        if joint.kind != JointKind::Fixed {
            names.push(joint.name.clone());
        }
        at = &joint.parent;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn arm() -> Robot {
        Robot::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../urdf/robots/arm.urdf")).unwrap()
    }

    #[test]
    fn the_chain_agrees_with_the_whole_robot() {
        let robot = arm();
        let mut names = moving_joints(&robot, None, "hand_link");
        names.sort();
        let mut chain = ToolChain::new(&robot, Some("base_link"), "hand_link", &names).unwrap();
        let positions: Vec<f64> = (0..names.len()).map(|index| 0.3 * index as f64 - 0.7).collect();
        let position = |name: &str| {
            names.iter().position(|known| known == name).map(|place| positions[place]).or(Some(0.0))
        };
        let poses = robot.poses(position).unwrap();
        let expected = poses.target_from_source("base_link", "hand_link").unwrap();
        let came = chain.pose(&positions);
        assert!((expected.translation.vector - nalgebra::Vector3::from(came.position)).norm() < 1e-12);
        assert_eq!(chain.tool(&positions), came.position);
        let [x, y, z, w] = came.orientation;
        let turn = nalgebra::Quaternion::new(w, x, y, z);
        assert!(expected.rotation.coords.dot(&turn.coords).abs() > 1.0 - 1e-12);
    }

    #[test]
    fn chains_that_are_none_are_refused() {
        let robot = arm();
        let names = moving_joints(&robot, None, "hand_link");
        let refused = |base, tool, names: &[String]| ToolChain::new(&robot, base, tool, names).unwrap_err();
        assert!(refused(None, "nowhere", &names).contains("nowhere"));
        assert!(refused(Some("hand_link"), "base_link", &names).contains("hangs on hand_link"));
        assert!(refused(None, "hand_link", &names[1..]).contains(&names[0]));
    }
}
