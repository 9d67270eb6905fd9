//! Solids against the rays of pixels.

use std::f64::consts::{FRAC_PI_2, PI};

use nalgebra::{Isometry3, Matrix3, Point3, Vector3};

use super::{View, pixels};
use crate::shape::Geometry;

/// Pixels from `columns.0` up to but not `columns.1`, rows alike.
struct Window {
    columns: (usize, usize),
    rows: (usize, usize),
}

/// Marks the pixels whose rays meet a solid.
pub fn cover(covered: &mut [bool], view: View, solid: &Solid) {
    let (window, intrinsics) = (window(view, solid), view.intrinsics);
    for row in window.rows.0..window.rows.1 {
        let down = (row as f64 - intrinsics.cy) / intrinsics.fy;
        let line = &mut covered[row * view.size.width..][..view.size.width];
        let adds = |line: &[bool], column: usize| {
            let right = (column as f64 - intrinsics.cx) / intrinsics.fx;
            !line[column] && solid.meets(&Vector3::new(right, down, 1.0))
        };
        // A row of a convex solid is one run: its ends are looked for from both sides.
        let (first, last) = window.columns;
        let Some(begin) = (first..last).find(|column| adds(line, *column)) else { continue };
        let end = (begin..last).rev().find(|column| adds(line, *column)).unwrap_or(begin);
        line[begin..=end].fill(true);
    }
}

/// Pixels that a solid can cover.
fn window(view: View, solid: &Solid) -> Window {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for (centre, radius) in solid.balls() {
        for (axis, across) in [centre.x, centre.y].into_iter().enumerate() {
            let away = across.hypot(centre.z);
            // Seen along the other axis, a ball may hide the centre though it does not hold it.
            let half = if away > radius { (radius / away).asin() } else { PI };
            let angle = across.atan2(centre.z);
            low[axis] = low[axis].min(angle - half);
            high[axis] = high[axis].max(angle + half);
        }
    }
    let intrinsics = view.intrinsics;
    for (axis, (focal, middle)) in
        [(intrinsics.fx, intrinsics.cx), (intrinsics.fy, intrinsics.cy)].into_iter().enumerate()
    {
        // A hull that spans half a turn or more has the centre inside, seen along the other axis; one that lies behind the
        // camera across the cut of `atan2` looks the same.
        let around = high[axis] - low[axis] >= PI;
        let pixel = |angle: f64| focal * angle.tan() + middle;
        let sees = |angle: f64| !around && angle.abs() < FRAC_PI_2;
        let (begin, end) = (low[axis], high[axis]);
        if !around && (end <= -FRAC_PI_2 || begin >= FRAC_PI_2) {
            return Window { columns: (0, 0), rows: (0, 0) };
        }
        low[axis] = if sees(begin) { pixel(begin) } else { f64::NEG_INFINITY };
        high[axis] = if sees(end) { pixel(end) } else { f64::INFINITY };
    }
    Window {
        columns: pixels(low[0], high[0], view.size.width),
        rows: pixels(low[1], high[1], view.size.height),
    }
}

/// A sphere, capsule, cylinder or box in the camera's frame that does not hold the camera's centre.
pub struct Solid {
    geometry: Geometry,
    camera_from_shape: Isometry3<f64>,
    /// The camera's centre, and the turn of directions, in the shape's frame.
    eye: Vector3<f64>,
    shape_from_camera: Matrix3<f64>,
}

impl Solid {
    /// A solid in the camera's frame; a mesh has no pixels here.
    pub fn new(geometry: Geometry, camera_from_shape: Isometry3<f64>) -> Self {
        let inverse = camera_from_shape.inverse();
        let shape_from_camera = inverse.rotation.to_rotation_matrix().into_inner();
        Self { geometry, camera_from_shape, eye: inverse.translation.vector, shape_from_camera }
    }

    /// Balls whose convex hull holds the solid: centres and radii, metres.
    fn balls(&self) -> impl Iterator<Item = (Point3<f64>, f64)> {
        let corners = |half: Vector3<f64>| {
            let corner = |bits: u8| {
                let side = |axis: usize| if bits >> axis & 1 == 1 { half[axis] } else { -half[axis] };
                (Point3::new(side(0), side(1), side(2)), 0.0)
            };
            (0..8).map(corner).collect()
        };
        let balls = match self.geometry {
            Geometry::Sphere { radius } => vec![(Point3::origin(), radius)],
            Geometry::Capsule { radius, half_length } => {
                [-half_length, half_length].map(|end| (Point3::new(0.0, 0.0, end), radius)).to_vec()
            }
            Geometry::Cylinder { radius, half_length } => corners(Vector3::new(radius, radius, half_length)),
            Geometry::Box { half_extents } => corners(half_extents),
            Geometry::Mesh(_) => Vec::new(),
        };
        balls.into_iter().map(|(centre, radius)| (self.camera_from_shape * centre, radius))
    }

    /// Whether the ray from the camera's centre along a direction meets the solid.
    fn meets(&self, ray: &Vector3<f64>) -> bool {
        let (eye, ray) = (&self.eye, &(self.shape_from_camera * ray));
        match &self.geometry {
            Geometry::Sphere { radius } => meets_sphere(eye, ray, *radius),
            Geometry::Capsule { radius, half_length } => {
                let end = Vector3::z() * *half_length;
                meets_cylinder(eye, ray, *radius, *half_length)
                    || meets_sphere(&(eye - end), ray, *radius)
                    || meets_sphere(&(eye + end), ray, *radius)
            }
            Geometry::Cylinder { radius, half_length } => meets_cylinder(eye, ray, *radius, *half_length),
            Geometry::Box { half_extents } => {
                let spans = (0..3).map(|axis| slab(eye[axis], ray[axis], half_extents[axis]));
                let span = spans.fold(AHEAD, narrowed);
                span.0 <= span.1
            }
            Geometry::Mesh(_) => false,
        }
    }
}

/// Everything that a ray meets.
const AHEAD: (f64, f64) = (0.0, f64::INFINITY);

/// Nothing.
const EMPTY: (f64, f64) = (1.0, 0.0);

fn meets_sphere(eye: &Vector3<f64>, ray: &Vector3<f64>, radius: f64) -> bool {
    let towards = -eye.dot(ray);
    towards > 0.0 && towards * towards >= ray.norm_squared() * (eye.norm_squared() - radius * radius)
}

fn meets_cylinder(eye: &Vector3<f64>, ray: &Vector3<f64>, radius: f64, half_length: f64) -> bool {
    let (eye_xy, ray_xy) = (eye.xy(), ray.xy());
    let outside = eye_xy.norm_squared() - radius * radius;
    let (along, towards) = (ray_xy.norm_squared(), -eye_xy.dot(&ray_xy));
    let root = towards * towards - along * outside;
    let round = if along == 0.0 {
        if outside <= 0.0 { AHEAD } else { EMPTY }
    } else if root < 0.0 {
        EMPTY
    } else {
        ((towards - root.sqrt()) / along, (towards + root.sqrt()) / along)
    };
    let span = narrowed(narrowed(AHEAD, round), slab(eye.z, ray.z, half_length));
    span.0 <= span.1
}

/// Where along a ray the coordinate lies within `-half..=half`.
fn slab(eye: f64, ray: f64, half: f64) -> (f64, f64) {
    if ray == 0.0 {
        return if eye.abs() <= half { AHEAD } else { EMPTY };
    }
    let (one, other) = ((-half - eye) / ray, (half - eye) / ray);
    (one.min(other), one.max(other))
}

/// What two spans share; an empty span stays empty.
fn narrowed(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    if a.0 > a.1 || b.0 > b.1 { EMPTY } else { (a.0.max(b.0), a.1.min(b.1)) }
}
