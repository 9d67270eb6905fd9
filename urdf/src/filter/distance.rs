//! How far a point is from a shape.

use std::f64::consts::PI;

use nalgebra::{Point3, Vector2, Vector3};

use crate::shape::{Geometry, Mesh};

/// Radius of a ball around the shape's frame that holds it, metres.
pub fn bounding_radius(geometry: &Geometry) -> f64 {
    match geometry {
        Geometry::Sphere { radius } => *radius,
        Geometry::Capsule { radius, half_length } => radius + half_length,
        Geometry::Cylinder { radius, half_length } => radius.hypot(*half_length),
        Geometry::Box { half_extents } => half_extents.norm(),
        Geometry::Mesh(mesh) => {
            mesh.triangles.iter().flatten().map(|corner| corner.coords.norm()).fold(0.0, f64::max)
        }
    }
}

/// Distance from a point, in the shape's frame, to its surface, metres; not above 0 inside.
pub fn signed(geometry: &Geometry, point: &Point3<f64>) -> f64 {
    let around = point.coords.xy().norm();
    match geometry {
        Geometry::Sphere { radius } => point.coords.norm() - radius,
        Geometry::Capsule { radius, half_length } => {
            around.hypot((point.z.abs() - half_length).max(0.0)) - radius
        }
        Geometry::Cylinder { radius, half_length } => {
            outside(&Vector2::new(around - radius, point.z.abs() - half_length))
        }
        Geometry::Box { half_extents } => outside(&(point.coords.abs() - half_extents)),
        Geometry::Mesh(mesh) => of_mesh(mesh, point),
    }
}

/// Length of what exceeds along each axis; the largest when nothing does.
fn outside<const N: usize>(excess: &nalgebra::SVector<f64, N>) -> f64 {
    let length = excess.map(|value| value.max(0.0)).norm();
    if length > 0.0 { length } else { excess.max() }
}

/// Distance to the nearest triangle; negative when the surface winds around the point.
fn of_mesh(mesh: &Mesh, point: &Point3<f64>) -> f64 {
    let (mut nearest, mut angle) = (f64::INFINITY, 0.0);
    for triangle in &mesh.triangles {
        let [a, b, c] = triangle.map(|corner| corner - point);
        nearest = nearest.min(to_triangle(&a, &b, &c));
        angle += solid_angle(&a, &b, &c);
    }
    if angle.abs() > 2.0 * PI { -nearest } else { nearest }
}

/// Solid angle of a triangle seen from the origin (van Oosterom and Strackee, 1983).
fn solid_angle(a: &Vector3<f64>, b: &Vector3<f64>, c: &Vector3<f64>) -> f64 {
    let (la, lb, lc) = (a.norm(), b.norm(), c.norm());
    let over = a.dot(&b.cross(c));
    let under = la * lb * lc + a.dot(b) * lc + a.dot(c) * lb + b.dot(c) * la;
    2.0 * over.atan2(under)
}

/// Distance of a triangle from the origin.
fn to_triangle(a: &Vector3<f64>, b: &Vector3<f64>, c: &Vector3<f64>) -> f64 {
    let edges = [(a, b), (b, c), (c, a)];
    let normal = (b - a).cross(&(c - a));
    let area = normal.norm();
    // Over the face the plane is nearest; elsewhere an edge is.
    let over_face = edges.iter().all(|(from, to)| (*to - *from).cross(&-*from).dot(&normal) >= 0.0);
    if area > 0.0 && over_face {
        return a.dot(&normal).abs() / area;
    }
    edges.iter().map(|(from, to)| to_segment(from, to)).fold(f64::INFINITY, f64::min)
}

/// Distance of a segment from the origin.
fn to_segment(from: &Vector3<f64>, to: &Vector3<f64>) -> f64 {
    let along = to - from;
    let length = along.norm_squared();
    let share = if length > 0.0 { (-from.dot(&along) / length).clamp(0.0, 1.0) } else { 0.0 };
    (from + along * share).norm()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A box of triangles, for comparison with the solid one.
    fn surface(half: Vector3<f64>) -> Geometry {
        let corner = |bits: usize| {
            let side = |axis: usize| if bits >> axis & 1 == 1 { half[axis] } else { -half[axis] };
            Point3::new(side(0), side(1), side(2))
        };
        let faces = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]];
        let triangles =
            faces.iter().flat_map(|[a, b, c, d]| [[*a, *b, *c].map(corner), [*a, *c, *d].map(corner)]);
        Geometry::Mesh(Arc::new(Mesh { triangles: triangles.collect() }))
    }

    #[test]
    fn a_box_of_triangles_is_as_far_as_a_box() {
        let half = Vector3::new(0.1, 0.2, 0.3);
        let (solid, mesh) = (Geometry::Box { half_extents: half }, surface(half));
        let mut inside = 0;
        for i in 0..1000 {
            let at = |step: usize| ((i * step) % 101) as f64 / 101.0 - 0.497;
            let point = Point3::new(at(7), at(31), at(59));
            let (expected, came) = (signed(&solid, &point), signed(&mesh, &point));
            assert!((expected - came).abs() < 1e-12, "{point}: {expected} {came}");
            inside += usize::from(expected < 0.0);
        }
        assert!(inside > 10);
    }

    #[test]
    fn round_shapes_know_their_distance() {
        let cases = [
            (Geometry::Sphere { radius: 1.0 }, [0.0, 3.0, 4.0], 4.0),
            (Geometry::Capsule { radius: 0.5, half_length: 1.0 }, [0.0, 3.0, 5.0], 4.5),
            (Geometry::Capsule { radius: 0.5, half_length: 1.0 }, [0.25, 0.0, -0.5], -0.25),
            (Geometry::Cylinder { radius: 1.0, half_length: 1.0 }, [4.0, 0.0, 5.0], 5.0),
            (Geometry::Cylinder { radius: 1.0, half_length: 1.0 }, [0.0, 0.0, 0.75], -0.25),
        ];
        for (geometry, point, expected) in cases {
            let came = signed(&geometry, &Point3::from(point));
            assert!((came - expected).abs() < 1e-12, "{geometry:?} {point:?}: {came}");
        }
    }
}
