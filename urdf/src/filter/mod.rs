//! Which pixels of a camera the robot's body covers.

mod distance;
mod silhouette;
mod surface;

use std::sync::Arc;

use calibration::{Intrinsics, Size};
use nalgebra::{Isometry3, Point3};

use crate::kinematics::LinkPoses;
use crate::model::Robot;
use crate::shape::{Geometry, Shape};
use silhouette::Solid;
use surface::Surface;

/// Pixels of an image that a robot's body covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyMask {
    size: Size,
    covered: Vec<bool>,
}

impl BodyMask {
    /// A mask of an image that shows no robot.
    pub fn none(size: Size) -> Self {
        Self { size, covered: vec![false; size.area()] }
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Whether each pixel is covered, row by row.
    pub fn covered(&self) -> &[bool] {
        &self.covered
    }

    /// How many pixels are covered.
    pub fn count(&self) -> usize {
        self.covered.iter().filter(|covered| **covered).count()
    }
}

/// A padding was refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("padding: expected 0 to {MAX_PADDING} m, got {0}")]
pub struct PaddingError(f64);

/// The largest padding, metres.
const MAX_PADDING: f64 = 0.5;

/// Finds the pixels that a robot's links cover.
///
/// A pixel is covered when the ray through its centre meets a shape grown by the padding, whatever lies in front of it. A
/// shape that encloses the camera's centre is left out, since the camera looks out of it (its housing); a shape nearer
/// to the centre than the padding is grown by half its distance only.
#[derive(Clone, Debug)]
pub struct SelfFilter {
    robot: Arc<Robot>,
    padding_meters: f64,
    parts: Vec<Part>,
}

/// A shape of a link.
#[derive(Clone, Debug)]
struct Part {
    link: usize,
    shape: Shape,
    /// Around the shape's frame.
    bounding_radius: f64,
    /// What is drawn of a mesh.
    surface: Option<Surface>,
}

/// A camera without distortion, and the image that is looked at.
#[derive(Clone, Copy, Debug)]
struct View {
    size: Size,
    intrinsics: Intrinsics,
}

impl SelfFilter {
    /// A filter for a robot whose shapes are grown by a padding, metres.
    ///
    /// # Errors
    /// When the padding is not 0 to 0.5 m.
    pub fn new(robot: Arc<Robot>, padding_meters: f64) -> Result<Self, PaddingError> {
        if !(0.0..=MAX_PADDING).contains(&padding_meters) {
            return Err(PaddingError(padding_meters));
        }
        let links = robot.links().iter().enumerate();
        let shapes = links.flat_map(|(link, of)| of.shapes.iter().map(move |shape| (link, shape)));
        let parts = shapes.map(|(link, shape)| Part::new(link, shape)).collect();
        Ok(Self { robot, padding_meters, parts })
    }

    /// The robot.
    pub fn robot(&self) -> &Robot {
        &self.robot
    }

    /// Marks the pixels that the robot covers, and no others. `intrinsics` are those of an image without distortion of
    /// the mask's size; `camera_from_root` is the robot's root link in the camera's optical frame; `poses` are of
    /// this filter's robot.
    pub fn cover(
        &self,
        mask: &mut BodyMask,
        intrinsics: Intrinsics,
        camera_from_root: &Isometry3<f64>,
        poses: &LinkPoses<'_>,
    ) {
        let view = View { size: mask.size, intrinsics };
        mask.covered.fill(false);
        let camera_from_link: Vec<_> = poses.iter().map(|(_, pose)| camera_from_root * pose).collect();
        for part in &self.parts {
            let camera_from_shape = camera_from_link[part.link] * part.shape.link_from_shape;
            let Some(padding) = part.padding(&camera_from_shape, self.padding_meters) else { continue };
            if let Some(surface) = &part.surface {
                surface.cover(&mut mask.covered, view, &camera_from_shape, padding);
            } else {
                let solid = Solid::new(part.shape.geometry.grown(padding), camera_from_shape);
                silhouette::cover(&mut mask.covered, view, &solid);
            }
        }
    }
}

impl Part {
    fn new(link: usize, shape: &Shape) -> Self {
        let surface = match &shape.geometry {
            Geometry::Mesh(mesh) => Some(Surface::new(mesh)),
            _ => None,
        };
        let bounding_radius = distance::bounding_radius(&shape.geometry);
        Self { link, shape: shape.clone(), bounding_radius, surface }
    }

    /// How far the shape is grown, metres; none when it is behind the camera or around it.
    fn padding(&self, camera_from_shape: &Isometry3<f64>, wanted: f64) -> Option<f64> {
        let centre = camera_from_shape.translation.vector;
        let reach = self.bounding_radius + wanted;
        if centre.z + reach <= 0.0 {
            return None;
        }
        if centre.norm() > reach {
            return Some(wanted);
        }
        let eye = camera_from_shape.inverse_transform_point(&Point3::origin());
        let clearance = distance::signed(&self.shape.geometry, &eye);
        (clearance > 0.0).then(|| wanted.min(clearance / 2.0))
    }
}

impl Geometry {
    /// The solid with all its surfaces moved outwards; a mesh stays as it is.
    fn grown(&self, by: f64) -> Self {
        match self {
            Self::Sphere { radius } => Self::Sphere { radius: radius + by },
            Self::Capsule { radius, half_length } => {
                Self::Capsule { radius: radius + by, half_length: *half_length }
            }
            Self::Cylinder { radius, half_length } => {
                Self::Cylinder { radius: radius + by, half_length: half_length + by }
            }
            Self::Box { half_extents } => Self::Box { half_extents: half_extents.add_scalar(by) },
            Self::Mesh(surface) => Self::Mesh(surface.clone()),
        }
    }
}

/// Pixel centres within `low..=high` of a side of an image: the first, and the one after the last.
fn pixels(low: f64, high: f64, side: usize) -> (usize, usize) {
    // Casts saturate, which is what is wanted of places far outside.
    (low.ceil().max(0.0) as usize, ((high.floor() + 1.0).max(0.0) as usize).min(side))
}
