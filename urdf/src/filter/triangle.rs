//! Triangles grown by a padding.

use nalgebra::{Point3, Vector3};

use super::silhouette::Convex;

/// All points within a padding of a triangle in the camera's frame, whose centre is farther away than that.
pub struct Slab {
    corners: [Point3<f64>; 3],
    /// Normals of the planes through the camera's centre and each edge.
    sides: [Vector3<f64>; 3],
    padding: f64,
}

impl Slab {
    /// A grown triangle; padding in metres.
    pub fn new(corners: [Point3<f64>; 3], padding: f64) -> Self {
        let [a, b, c] = corners.map(|corner| corner.coords);
        Self { corners, sides: [a.cross(&b), b.cross(&c), c.cross(&a)], padding }
    }

    /// Whether a ray meets the triangle itself: it is on one side of all planes, and the triangle not behind.
    fn meets_face(&self, ray: &Vector3<f64>) -> bool {
        let sides = self.sides.map(|side| side.dot(ray));
        let inside = sides.iter().all(|side| *side >= 0.0) || sides.iter().all(|side| *side <= 0.0);
        let volume = self.sides[0].dot(&self.corners[2].coords);
        // Along the ray the triangle's plane is at volume / (sum of sides).
        let sum: f64 = sides.iter().sum();
        inside && volume * sum > 0.0
    }

    fn passes_edge(&self, ray: &Vector3<f64>, from: usize) -> bool {
        let (start, edge) = (self.corners[from].coords, self.corners[(from + 1) % 3] - self.corners[from]);
        let (length, turn, steep) = (edge.norm_squared(), ray.dot(&edge), ray.norm_squared());
        let apart = steep * length - turn * turn;
        let share = (turn * ray.dot(&start) - steep * edge.dot(&start)) / apart;
        // Parallel to the ray every point is as near; 0 / 0 becomes the first.
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        let nearest = start + edge * share;
        let along = nearest.dot(ray) / steep;
        along > 0.0 && (nearest - ray * along).norm_squared() <= self.padding * self.padding
    }
}

impl Convex for Slab {
    fn balls(&self) -> impl Iterator<Item = (Point3<f64>, f64)> {
        self.corners.into_iter().map(|corner| (corner, self.padding))
    }

    fn meets(&self, ray: &Vector3<f64>) -> bool {
        self.meets_face(ray) || (self.padding > 0.0 && (0..3).any(|edge| self.passes_edge(ray, edge)))
    }
}
