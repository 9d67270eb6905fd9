//! Surfaces of triangles, grown by a padding, against rows of pixels.
//!
//! What is within a padding of a surface is the union of its faces, of a ball around every corner and of a round bar along every
//! edge. Seen from the camera's centre each of them is a convex cone, which the plane of a row of pixels cuts in a flat cone: two
//! rays, and the pixels between them. So a row costs a few operations, however wide it is, and nothing is approximated.
//!
//! Most bars and balls need not be drawn. A ray that meets no face and is nearest to a point inside an edge has both faces of the
//! edge on its far side, so that it looks at one from outside and at the other from inside. A ray that comes within the
//! padding of the edge looks at a face from the side on which the camera's centre is, when that is farther than the padding
//! from the face's plane. Where it is, for both faces, and on the same side, no ray is nearest to the edge. A ray nearest to a corner
//! has all its faces on the far side, and so sees the fan of faces fold at one of the corner's edges at least.

use std::collections::{BTreeMap, HashMap};

use nalgebra::{Isometry3, Point3, Vector2, Vector3};

use super::{View, pixels};
use crate::shape::Mesh;

/// A surface whose triangles share their corners and edges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surface {
    corners: Vec<Point3<f64>>,
    faces: Vec<Face>,
    edges: Vec<Edge>,
    /// Corners without edges, of triangles that are a point.
    alone: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
struct Face {
    corners: [usize; 3],
    /// Of unit length; not a number where the triangle has no area.
    normal: Vector3<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Edge {
    corners: [usize; 2],
    /// The faces on both sides of an edge that has two, and whether they turn the same way round.
    between: Option<([usize; 2], bool)>,
}

impl Surface {
    /// The surface of a mesh; corners are the same when their coordinates are.
    pub fn new(mesh: &Mesh) -> Self {
        let (mut surface, mut known) = (Self::default(), HashMap::new());
        // Faces along each edge, and whether they run from its first corner to its second.
        let mut along = BTreeMap::<[usize; 2], Vec<(usize, bool)>>::new();
        for triangle in &mesh.triangles {
            let corners = triangle.map(|corner| {
                // 0 and -0 are the same place.
                let place = [corner.x, corner.y, corner.z].map(|value| (value + 0.0).to_bits());
                *known.entry(place).or_insert_with(|| {
                    surface.corners.push(corner);
                    surface.corners.len() - 1
                })
            });
            let [a, b, c] = corners;
            for (from, to) in [(a, b), (b, c), (c, a)].into_iter().filter(|(from, to)| from != to) {
                along.entry([from.min(to), from.max(to)]).or_default().push((surface.faces.len(), from < to));
            }
            let [a, b, c] = triangle;
            surface.faces.push(Face { corners, normal: (b - a).cross(&(c - a)).normalize() });
        }
        let mut is_alone = vec![true; surface.corners.len()];
        for (corners, faces) in along {
            corners.iter().for_each(|corner| is_alone[*corner] = false);
            let between = match faces.as_slice() {
                [one, other] => Some(([one.0, other.0], one.1 != other.1)),
                _ => None,
            };
            surface.edges.push(Edge { corners, between });
        }
        surface.alone = (0..is_alone.len()).filter(|corner| is_alone[*corner]).collect();
        surface
    }

    /// Marks the pixels whose rays pass the surface by no more than a padding, metres, which is less than the distance of the
    /// camera's centre from it.
    pub fn cover(
        &self,
        covered: &mut [bool],
        view: View,
        camera_from_surface: &Isometry3<f64>,
        padding: f64,
    ) {
        let corners: Vec<_> =
            self.corners.iter().map(|corner| (camera_from_surface * corner).coords).collect();
        for face in &self.faces {
            paint(covered, view, &Facet(face.corners.map(|index| corners[index])));
        }
        if padding == 0.0 {
            return;
        }
        let eye = camera_from_surface.inverse_transform_point(&Point3::origin());
        let mut is_drawn = vec![false; corners.len()];
        self.alone.iter().for_each(|corner| is_drawn[*corner] = true);
        for edge in self.edges.iter().filter(|edge| self.may_be_nearest(edge, &eye, padding)) {
            let [from, to] = edge.corners;
            (is_drawn[from], is_drawn[to]) = (true, true);
            if let Some(band) = band(corners[from], corners[to], padding) {
                paint(covered, view, &band);
            }
        }
        for (centre, _) in corners.iter().zip(is_drawn).filter(|(_, is_drawn)| *is_drawn) {
            paint(covered, view, &Ball::new(*centre, padding));
        }
    }

    /// Whether a ray from `eye`, in the surface's frame, that passes an edge within the padding and meets no face may be nearer to
    /// the edge than to all that is around it.
    fn may_be_nearest(&self, edge: &Edge, eye: &Point3<f64>, padding: f64) -> bool {
        let Some((faces, same_turn)) = edge.between else { return true };
        let corner = self.corners[edge.corners[0]];
        // Distances of the eye from the planes, above 0 on the side from which the faces turn to the left; those of a face
        // without area are no numbers, and greater than nothing.
        let [one, other] = faces.map(|face| self.faces[face].normal.dot(&(eye - corner)));
        let other = if same_turn { other } else { -other };
        let same_side = (one > padding && other > padding) || (one < -padding && other < -padding);
        !same_side
    }
}

/// A convex cone of rays from the camera's centre.
trait Cone {
    /// The slopes `y / z` between which its rays lie, or more.
    fn rows(&self) -> Option<Span>;

    /// The slopes `x / z` of its rays whose `y / z` is `slope`.
    fn columns(&self, slope: f64) -> Option<Span>;
}

/// From the first to the last slope; infinite where a cone reaches beside the camera.
type Span = (f64, f64);

/// Marks the pixels whose rays lie in a cone.
fn paint(covered: &mut [bool], view: View, cone: &impl Cone) {
    let (size, intrinsics) = (view.size, view.intrinsics);
    let Some((top, bottom)) = cone.rows() else { return };
    let row = |slope: f64| intrinsics.fy * slope + intrinsics.cy;
    let (first, end) = pixels(row(top), row(bottom), size.height);
    for row in first..end {
        let Some((left, right)) = cone.columns((row as f64 - intrinsics.cy) / intrinsics.fy) else {
            continue;
        };
        let column = |slope: f64| intrinsics.fx * slope + intrinsics.cx;
        let (first, end) = pixels(column(left), column(right), size.width);
        if first < end {
            covered[row * size.width..][first..end].fill(true);
        }
    }
}

/// The slopes `x / y` of a flat cone between two rays, less than half a turn apart, where it lies ahead (`y > 0`).
fn slopes(one: Vector2<f64>, other: Vector2<f64>) -> Option<Span> {
    let (ahead, behind) = if one.y > 0.0 { (one, other) } else { (other, one) };
    if ahead.y <= 0.0 {
        return None;
    }
    let slope = ahead.x / ahead.y;
    if behind.y > 0.0 {
        let last = behind.x / behind.y;
        return Some((slope.min(last), slope.max(last)));
    }
    // Where the cone passes the camera's side: left or right.
    let side = behind.x * ahead.y - ahead.x * behind.y;
    Some(if side > 0.0 { (slope, f64::INFINITY) } else { (f64::NEG_INFINITY, slope) })
}

/// The rays through a flat convex polygon whose corners are given in turn.
struct Facet<const N: usize>([Vector3<f64>; N]);

impl<const N: usize> Cone for Facet<N> {
    fn rows(&self) -> Option<Span> {
        if self.0.iter().all(|corner| corner.z <= 0.0) {
            return None;
        }
        if self.0.iter().any(|corner| corner.z <= 0.0) {
            return Some((f64::NEG_INFINITY, f64::INFINITY));
        }
        let slopes = self.0.map(|corner| corner.y / corner.z);
        let widen = |(low, high): Span, slope: &f64| (low.min(*slope), high.max(*slope));
        Some(slopes.iter().fold((f64::INFINITY, f64::NEG_INFINITY), widen))
    }

    fn columns(&self, slope: f64) -> Option<Span> {
        // Heights above the row's plane; the plane cuts the polygon where they change sign.
        let above = self.0.map(|corner| corner.y - slope * corner.z);
        let mut cuts = [Vector2::zeros(); 2];
        let mut count = 0;
        for index in 0..N {
            let (from, to) = (index, (index + 1) % N);
            if (above[from] >= 0.0) != (above[to] >= 0.0) {
                let share = above[from] / (above[from] - above[to]);
                cuts[count % 2] = self.0[from].lerp(&self.0[to], share).xz();
                count += 1;
            }
        }
        (count == 2).then(|| slopes(cuts[0], cuts[1])).flatten()
    }
}

/// The rays that meet a ball.
struct Ball {
    centre: Vector3<f64>,
    radius: f64,
    /// From the camera's centre to where the rays touch the ball.
    tangent: f64,
}

impl Ball {
    /// A ball that does not hold the camera's centre.
    fn new(centre: Vector3<f64>, radius: f64) -> Self {
        Self { centre, radius, tangent: (centre.norm_squared() - radius * radius).max(0.0).sqrt() }
    }
}

/// The slopes of the flat cone around a disc: its centre and radius, and the length of the tangents from the origin to it.
fn around_disc(centre: Vector2<f64>, radius: f64, tangent: f64) -> Option<Span> {
    let across = Vector2::new(-centre.y, centre.x) * radius;
    slopes(centre * tangent + across, centre * tangent - across)
}

impl Cone for Ball {
    fn rows(&self) -> Option<Span> {
        let centre = self.centre.yz();
        let square = centre.norm_squared() - self.radius * self.radius;
        // Seen along the rows the ball hides the camera's centre, though it does not hold it.
        if square <= 0.0 {
            return Some((f64::NEG_INFINITY, f64::INFINITY));
        }
        around_disc(centre, self.radius, square.sqrt())
    }

    fn columns(&self, slope: f64) -> Option<Span> {
        let length = slope.mul_add(slope, 1.0).sqrt();
        let (above, ahead) = (
            (self.centre.y - slope * self.centre.z) / length,
            (slope * self.centre.y + self.centre.z) / length,
        );
        let square = self.radius * self.radius - above * above;
        if square < 0.0 {
            return None;
        }
        let (left, right) = around_disc(Vector2::new(self.centre.x, ahead), square.sqrt(), self.tangent)?;
        Some((left * length, right * length))
    }
}

/// What the rays that meet a round bar between two balls have beside those that meet a ball: they lie between the two planes
/// through the camera's centre that touch both balls, which touch them in the corners of the band. None where one ball hides
/// the other.
fn band(from: Vector3<f64>, to: Vector3<f64>, radius: f64) -> Option<Facet<4>> {
    let along = to - from;
    // Of the bar's axis, the point that is nearest to the camera's centre.
    let foot = from - along * (from.dot(&along) / along.norm_squared());
    let square = foot.norm_squared();
    let across = along.cross(&foot);
    if square <= radius * radius || across.norm_squared() == 0.0 {
        return None;
    }
    let across = across.normalize() * (1.0 - radius * radius / square).sqrt();
    let touching = [1.0, -1.0].map(|side| (foot * (radius / square) + across * side) * radius);
    Some(Facet([from - touching[0], to - touching[0], to - touching[1], from - touching[1]]))
}
