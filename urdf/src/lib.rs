//! The robot's body, from its URDF alone: joints, limits, kinematics, link shapes, camera mounts, and which pixels of a
//! camera the body covers. No ROS.
//!
//! Lengths are metres, angles radians; frames are links; transforms are named `target_from_source`.

mod error;
mod filter;
mod joint;
mod kinematics;
mod meshes;
mod model;
mod shape;
mod workspace;
mod xml;

pub use error::{Fault, RobotError};
pub use filter::{BodyMask, SelfFilter};
pub use joint::{Joint, JointKind, JointLimits, Mimic};
pub use kinematics::{KinematicsError, LinkPoses};
pub use meshes::MeshFolders;
pub use model::{Link, Robot};
pub use shape::{Geometry, Mesh, Shape};
pub use workspace::{WorkspaceBox, WorkspaceError};
