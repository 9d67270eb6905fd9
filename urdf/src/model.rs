//! A robot: links, joints and the tree that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use nalgebra::{Isometry3, Translation3, UnitQuaternion};

use crate::error::{Fault, RobotError};
use crate::joint::Joint;
use crate::meshes::MeshFolders;
use crate::shape::Shape;
use crate::xml;

/// A link: a frame, and the solid shapes that move with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Name, which is also the frame's.
    pub name: String,
    /// Its collision shapes, or its visual ones when it has no others.
    pub shapes: Vec<Shape>,
}

/// A robot description, checked: one tree of links with known shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Robot {
    name: String,
    links: Vec<Link>,
    joints: Vec<Joint>,
    index: BTreeMap<String, usize>,
    /// Joints in an order in which every parent link comes before its children: joint, parent and child as indices.
    order: Vec<[usize; 3]>,
    root: usize,
}

impl Robot {
    /// Reads a URDF file and the meshes that its links' shapes name.
    ///
    /// # Errors
    /// What [`Robot::parse`] says, or the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, RobotError> {
        let source_name = path.display().to_string();
        let text = read_text(path).map_err(|fault| RobotError { source_name: source_name.clone(), fault })?;
        Self::parse(&text, &source_name, &MeshFolders::of_file(path))
    }

    /// Reads a URDF's text; `source_name` is the file or topic that errors name.
    ///
    /// # Errors
    /// XML that is none, numbers that are none, repeated or unknown names, anything but one tree, limits that are no
    /// limits, axes that are not of length 1, shapes without extent, and meshes that are missing or not STL.
    pub fn parse(text: &str, source_name: &str, meshes: &MeshFolders) -> Result<Self, RobotError> {
        Self::checked(text, Some(meshes))
            .map_err(|fault| RobotError { source_name: source_name.to_owned(), fault })
    }

    /// As [`Robot::read`], but links have no shapes: whoever only moves the robot needs no meshes.
    ///
    /// # Errors
    /// What [`Robot::parse`] says of anything but shapes, or the file cannot be read.
    pub fn read_without_shapes(path: &Path) -> Result<Self, RobotError> {
        let source_name = path.display().to_string();
        let text = read_text(path).map_err(|fault| RobotError { source_name: source_name.clone(), fault })?;
        Self::parse_without_shapes(&text, &source_name)
    }

    /// As [`Robot::parse`], but links have no shapes.
    ///
    /// # Errors
    /// What [`Robot::parse`] says of anything but shapes.
    pub fn parse_without_shapes(text: &str, source_name: &str) -> Result<Self, RobotError> {
        Self::checked(text, None).map_err(|fault| RobotError { source_name: source_name.to_owned(), fault })
    }

    fn checked(text: &str, meshes: Option<&MeshFolders>) -> Result<Self, Fault> {
        let extras = xml::check(text)?;
        let robot = urdf_rs::read_from_string(text).map_err(|error| Fault::Xml(error.to_string()))?;
        let index = unique("link", robot.links.iter().map(|link| &link.name))?;
        unique("joint", robot.joints.iter().map(|joint| &joint.name))?;
        let joint = |joint| Joint::new(joint, extras.accelerations.get(&joint.name).copied());
        let joints = robot.joints.iter().map(joint).collect::<Result<Vec<_>, _>>()?;
        check_mimics(&joints)?;
        let (root, order) = tree(&robot.links, &joints, &index)?;
        let links = robot.links.iter().map(|link| {
            let shapes = meshes.map_or(Ok(Vec::new()), |meshes| Shape::of_link(link, meshes));
            shapes
                .map(|shapes| Link { name: link.name.clone(), shapes })
                .map_err(|problem| Fault::Shape { link: link.name.clone(), problem })
        });
        let links = links.collect::<Result<_, _>>()?;
        Ok(Self { name: robot.name, links, joints, index, order, root })
    }

    /// Name of the robot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the link that hangs on nothing.
    pub fn root(&self) -> &str {
        &self.links[self.root].name
    }

    /// All links.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Whether there is a link of this name.
    pub fn has_link(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// All joints.
    pub fn joints(&self) -> &[Joint] {
        &self.joints
    }

    /// The joint of this name.
    pub fn joint(&self, name: &str) -> Option<&Joint> {
        self.joints.iter().find(|joint| joint.name == name)
    }

    /// The joints that someone must say the position of, in the description's order.
    pub fn free_joints(&self) -> impl Iterator<Item = &Joint> {
        self.joints.iter().filter(|joint| joint.is_free())
    }

    pub(crate) fn link_index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(crate) fn order(&self) -> &[[usize; 3]] {
        &self.order
    }
}

fn read_text(path: &Path) -> Result<String, Fault> {
    let file = std::fs::File::open(path).map_err(Fault::Io)?;
    let mut text = String::new();
    file.take(xml::MAX_BYTES + 1).read_to_string(&mut text).map_err(Fault::Io)?;
    Ok(text)
}

/// The transform of a URDF pose: fixed-axis roll, pitch, yaw.
pub(crate) fn isometry(pose: &urdf_rs::Pose) -> Isometry3<f64> {
    let ([x, y, z], [roll, pitch, yaw]) = (pose.xyz.0, pose.rpy.0);
    Isometry3::from_parts(Translation3::new(x, y, z), UnitQuaternion::from_euler_angles(roll, pitch, yaw))
}

/// Where each name is.
fn unique<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, usize>, Fault> {
    let mut index = BTreeMap::new();
    for (at, name) in names.enumerate() {
        if index.insert(name.clone(), at).is_some() {
            return Err(Fault::Repeated { what, name: name.clone() });
        }
    }
    Ok(index)
}

/// Followers end at a joint that moves by itself.
fn check_mimics(joints: &[Joint]) -> Result<(), Fault> {
    let named: BTreeMap<_, _> = joints.iter().map(|joint| (joint.name.as_str(), joint)).collect();
    for joint in joints {
        let mut seen = BTreeSet::from([joint.name.as_str()]);
        let mut follower = joint;
        while let Some(mimic) = &follower.mimic {
            let Some(leader) = named.get(mimic.joint.as_str()) else {
                let (joint, name) = (follower.name.clone(), mimic.joint.clone());
                return Err(Fault::Unknown { joint, role: "mimic", name, what: "joint" });
            };
            if !seen.insert(&leader.name) {
                let problem = format!("mimic: {} follows itself", leader.name);
                return Err(Fault::Joint { joint: joint.name.clone(), problem });
            }
            follower = leader;
        }
        if joint.mimic.is_some() && !follower.is_free() {
            let problem = format!("mimic: {} does not move", follower.name);
            return Err(Fault::Joint { joint: joint.name.clone(), problem });
        }
    }
    Ok(())
}

/// The root, and the joints from it outwards.
fn tree(
    links: &[urdf_rs::Link],
    joints: &[Joint],
    index: &BTreeMap<String, usize>,
) -> Result<(usize, Vec<[usize; 3]>), Fault> {
    let mut ends = Vec::new();
    for (at, joint) in joints.iter().enumerate() {
        let find = |role, name: &String| {
            let unknown =
                || Fault::Unknown { joint: joint.name.clone(), role, name: name.clone(), what: "link" };
            index.get(name).copied().ok_or_else(unknown)
        };
        ends.push([at, find("parent", &joint.parent)?, find("child", &joint.child)?]);
    }
    let mut below = vec![None; links.len()];
    for &[at, _, child] in &ends {
        if let Some(other) = below[child].replace(at) {
            let [first, second] = [&joints[other].name, &joints[at].name];
            let link = &links[child].name;
            return Err(Fault::Tree(format!("link {link} as the child of two joints, {first} and {second}")));
        }
    }
    let roots: Vec<usize> = (0..links.len()).filter(|link| below[*link].is_none()).collect();
    let names = |of: &[usize]| of.iter().map(|i| links[*i].name.as_str()).collect::<Vec<_>>().join(", ");
    let root = match roots[..] {
        [] if links.is_empty() => return Err(Fault::Tree("no links".to_owned())),
        [root] => root,
        [] => return Err(Fault::Tree(format!("a cycle: {}", cycle(links, joints, &ends, &below, 0)))),
        _ => return Err(Fault::Tree(format!("several roots: {}", names(&roots)))),
    };
    let (mut order, mut reached, mut next) = (Vec::new(), vec![root], 0);
    while let Some(&parent) = reached.get(next) {
        let hanging = ends.iter().filter(|end| end[1] == parent);
        for end in hanging {
            order.push(*end);
            reached.push(end[2]);
        }
        next += 1;
    }
    match (0..links.len()).find(|link| !reached.contains(link)) {
        None => Ok((root, order)),
        Some(lost) => Err(Fault::Tree(format!("a cycle: {}", cycle(links, joints, &ends, &below, lost)))),
    }
}

/// The links of the cycle above a link that no root reaches.
fn cycle(
    links: &[urdf_rs::Link],
    joints: &[Joint],
    ends: &[[usize; 3]],
    below: &[Option<usize>],
    start: usize,
) -> String {
    let (mut at, mut path) = (start, Vec::new());
    while !path.contains(&at) {
        path.push(at);
        match below[at] {
            Some(joint) => at = ends[joint][1],
            None => break,
        }
    }
    let begin = path.iter().position(|link| *link == at).unwrap_or(0);
    let mut said: Vec<String> = path[begin..].iter().map(|link| links[*link].name.clone()).collect();
    said.push(links[at].name.clone());
    let joint = below[at].map_or("", |joint| joints[joint].name.as_str());
    format!("{} (joint {joint})", said.join(" <- "))
}
