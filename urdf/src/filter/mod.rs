//! Which pixels of a camera the robot's body covers.

mod distance;
mod silhouette;
mod triangle;

use std::sync::Arc;

use calibration::{Intrinsics, Size};
use nalgebra::Isometry3;

use crate::kinematics::LinkPoses;
use crate::model::Robot;
use crate::shape::{Geometry, Shape};
use silhouette::Solid;
use triangle::Slab;

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
    /// The shapes of each link with their bounding radius around the shape's frame.
    shapes: Vec<(usize, Shape, f64)>,
}

/// A camera without distortion, and the image that is looked at.
#[derive(Clone, Copy, Debug)]
struct View {
    size: Size,
    intrinsics: Intrinsics,
}

/// Pixels from `columns.0` up to but not `columns.1`, rows alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    columns: (usize, usize),
    rows: (usize, usize),
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
        let of_link = |(index, link): (usize, &crate::Link)| {
            let shape = |shape: &Shape| (index, shape.clone(), distance::bounding_radius(&shape.geometry));
            link.shapes.iter().map(shape).collect::<Vec<_>>()
        };
        let shapes = robot.links().iter().enumerate().flat_map(of_link).collect();
        Ok(Self { robot, padding_meters, shapes })
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
        for (link, shape, radius) in &self.shapes {
            let camera_from_shape = camera_from_link[*link] * shape.link_from_shape;
            let centre = camera_from_shape.translation.vector;
            let reach = radius + self.padding_meters;
            if centre.z + reach <= 0.0 {
                continue;
            }
            let mut padding = self.padding_meters;
            if centre.norm() <= reach {
                let eye = camera_from_shape.inverse_transform_point(&nalgebra::Point3::origin());
                let clearance = distance::signed(&shape.geometry, &eye);
                if clearance <= 0.0 {
                    continue;
                }
                padding = padding.min(clearance / 2.0);
            }
            match &shape.geometry {
                Geometry::Mesh(surface) => {
                    for triangle in &surface.triangles {
                        let corners = triangle.map(|corner| camera_from_shape * corner);
                        silhouette::cover(&mut mask.covered, view, &Slab::new(corners, padding));
                    }
                }
                geometry => {
                    let solid = Solid::new(geometry.grown(padding), camera_from_shape);
                    silhouette::cover(&mut mask.covered, view, &solid);
                }
            }
        }
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

impl View {
    /// The window of pixel centres within `low..=high`.
    fn window(&self, low: [f64; 2], high: [f64; 2]) -> Window {
        // Casts saturate, which is what is wanted of places far outside.
        let range = |low: f64, high: f64, side: usize| {
            (low.ceil().max(0.0) as usize, ((high.floor() + 1.0).max(0.0) as usize).min(side))
        };
        Window {
            columns: range(low[0], high[0], self.size.width),
            rows: range(low[1], high[1], self.size.height),
        }
    }
}
