//! Where links are.

use nalgebra::Isometry3;

use crate::model::Robot;

/// Why links could not be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KinematicsError {
    /// Nobody said where a joint is.
    #[error("joint {joint}: expected a position, got none")]
    Missing {
        /// The joint.
        joint: String,
    },
    /// A position is not finite.
    #[error("joint {joint}: expected a finite position, got {came}")]
    NotFinite {
        /// The joint.
        joint: String,
        /// What came.
        came: String,
    },
    /// The robot has no such link.
    #[error("link {link}: no such link; {robot} has {known}")]
    Link {
        /// What was asked for.
        link: String,
        /// The robot.
        robot: String,
        /// Its links.
        known: String,
    },
}

/// Where every link of a robot is, at given joint positions.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkPoses<'r> {
    robot: &'r Robot,
    root_from_link: Vec<Isometry3<f64>>,
}

impl Robot {
    /// Forward kinematics: every link at the positions of the free joints, radians or metres. Followers are computed;
    /// limits are not looked at, because measured positions may lie a little outside.
    ///
    /// # Errors
    /// When a free joint's position is missing or not finite.
    pub fn poses(&self, position: impl Fn(&str) -> Option<f64>) -> Result<LinkPoses<'_>, KinematicsError> {
        let mut root_from_link = vec![Isometry3::identity(); self.links().len()];
        for &[joint, parent, child] in self.order() {
            let at = self.position_of(&self.joints()[joint].name, &position)?;
            root_from_link[child] = root_from_link[parent] * self.joints()[joint].parent_from_child(at);
        }
        Ok(LinkPoses { robot: self, root_from_link })
    }

    /// A joint's position: its own, its leader's, or 0 when it does not move.
    fn position_of(
        &self,
        name: &str,
        position: &impl Fn(&str) -> Option<f64>,
    ) -> Result<f64, KinematicsError> {
        let (mut name, mut factor, mut offset) = (name, 1.0, 0.0);
        while let Some(mimic) = self.joint(name).and_then(|joint| joint.mimic.as_ref()) {
            offset += factor * mimic.offset;
            factor *= mimic.multiplier;
            name = &mimic.joint;
        }
        if self.joint(name).is_none_or(|joint| !joint.is_free()) {
            return Ok(0.0);
        }
        let at = position(name).ok_or_else(|| KinematicsError::Missing { joint: name.to_owned() })?;
        if !at.is_finite() {
            return Err(KinematicsError::NotFinite { joint: name.to_owned(), came: at.to_string() });
        }
        Ok(factor * at + offset)
    }
}

impl LinkPoses<'_> {
    /// A link's frame in the root's.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn root_from(&self, link: &str) -> Result<Isometry3<f64>, KinematicsError> {
        match self.robot.link_index(link) {
            Some(index) => Ok(self.root_from_link[index]),
            None => Err(KinematicsError::Link {
                link: link.to_owned(),
                robot: self.robot.name().to_owned(),
                known: self
                    .robot
                    .links()
                    .iter()
                    .map(|link| link.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    /// The frame of `source` in the frame of `target`.
    ///
    /// # Errors
    /// When one of the links does not exist.
    pub fn target_from_source(&self, target: &str, source: &str) -> Result<Isometry3<f64>, KinematicsError> {
        Ok(self.root_from(target)?.inverse() * self.root_from(source)?)
    }

    /// Links and their frames in the root's, in the description's order.
    pub fn iter(&self) -> impl Iterator<Item = (&crate::Link, &Isometry3<f64>)> {
        self.robot.links().iter().zip(&self.root_from_link)
    }
}
