//! The solid shapes of links.

use std::sync::Arc;

use nalgebra::{Isometry3, Point3, Vector3};

use crate::meshes::MeshFolders;
use crate::model::isometry;

/// A surface of triangles, metres, in its link's or shape's frame; at least one triangle, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// The corners of each triangle.
    pub triangles: Vec<[Point3<f64>; 3]>,
}

/// What a shape is; extents in metres, all above 0, centred at the shape's frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Geometry {
    /// A ball.
    Sphere {
        /// Radius.
        radius: f64,
    },
    /// A cylinder with half balls at its ends, along z.
    Capsule {
        /// Radius.
        radius: f64,
        /// Half the length between the balls' centres.
        half_length: f64,
    },
    /// A cylinder along z.
    Cylinder {
        /// Radius.
        radius: f64,
        /// Half the length.
        half_length: f64,
    },
    /// A box.
    Box {
        /// Half the extents along x, y, z.
        half_extents: Vector3<f64>,
    },
    /// A surface.
    Mesh(Arc<Mesh>),
}

/// A shape and its place on its link.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The shape's frame in the link's.
    pub link_from_shape: Isometry3<f64>,
    /// What it is.
    pub geometry: Geometry,
}

impl Shape {
    /// A link's collision shapes, or its visual ones when it has no others; what is wrong with the first that is wrong.
    pub(crate) fn of_link(link: &urdf_rs::Link, meshes: &MeshFolders) -> Result<Vec<Self>, String> {
        let collision = link.collision.iter().map(|collision| (&collision.origin, &collision.geometry));
        let visual = link.visual.iter().map(|visual| (&visual.origin, &visual.geometry));
        let shape = |(origin, geometry): (&urdf_rs::Pose, &urdf_rs::Geometry)| {
            Ok(Self { link_from_shape: isometry(origin), geometry: Geometry::new(geometry, meshes)? })
        };
        if link.collision.is_empty() { visual.map(shape).collect() } else { collision.map(shape).collect() }
    }
}

impl Geometry {
    fn new(geometry: &urdf_rs::Geometry, meshes: &MeshFolders) -> Result<Self, String> {
        let positive = |what: &str, value: f64| {
            let sound = value > 0.0 && value.is_finite();
            sound.then_some(value).ok_or_else(|| format!("{what}: expected a length above 0 m, got {value}"))
        };
        Ok(match geometry {
            urdf_rs::Geometry::Sphere { radius } => {
                Self::Sphere { radius: positive("sphere radius", *radius)? }
            }
            urdf_rs::Geometry::Capsule { radius, length } => Self::Capsule {
                radius: positive("capsule radius", *radius)?,
                half_length: positive("capsule length", *length)? / 2.0,
            },
            urdf_rs::Geometry::Cylinder { radius, length } => Self::Cylinder {
                radius: positive("cylinder radius", *radius)?,
                half_length: positive("cylinder length", *length)? / 2.0,
            },
            urdf_rs::Geometry::Box { size } => {
                for side in size.0 {
                    positive("box size", side)?;
                }
                Self::Box { half_extents: Vector3::from(size.0) / 2.0 }
            }
            urdf_rs::Geometry::Mesh { filename, scale } => {
                let scale = scale.map_or(Vector3::repeat(1.0), |scale| Vector3::from(scale.0));
                Self::Mesh(Arc::new(meshes.load(filename, scale)?))
            }
        })
    }
}
