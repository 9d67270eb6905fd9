//! The self-filter against distances worked out point by point.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic: that is how it fails"
)]

use std::sync::Arc;

use calibration::{Intrinsics, Size};
use nalgebra::{Isometry3, Matrix3, Point3, Vector3};
use proptest::prelude::*;
use robot::{BodyMask, Geometry, MeshFolders, Robot, SelfFilter};

const SIZE: Size = Size { width: 48, height: 36 };
const INTRINSICS: Intrinsics = Intrinsics { fx: 40.0, fy: 42.0, cx: 23.5, cy: 17.5 };

/// A robot of one link whose frame is the camera's.
fn robot(shape: &str, folders: &MeshFolders) -> Arc<Robot> {
    let link = format!("<link name='body'><visual>{shape}</visual></link>");
    Arc::new(Robot::parse(&format!("<robot name='r'>{link}</robot>"), "test", folders).unwrap())
}

fn covered(robot: &Arc<Robot>, padding: f64) -> BodyMask {
    let filter = SelfFilter::new(robot.clone(), padding).unwrap();
    let mut mask = BodyMask::none(SIZE);
    filter.cover(&mut mask, INTRINSICS, &Isometry3::identity(), &robot.poses(|_| None).unwrap());
    mask
}

fn ray(index: usize) -> Vector3<f64> {
    let (column, row) = ((index % SIZE.width) as f64, (index / SIZE.width) as f64);
    Vector3::new((column - INTRINSICS.cx) / INTRINSICS.fx, (row - INTRINSICS.cy) / INTRINSICS.fy, 1.0)
        .normalize()
}

type Triangle = [Point3<f64>; 3];

/// How far a ray from the origin passes a triangle, metres: 0 where it meets it, else the distance from its nearest edge.
fn passes(ray: &Vector3<f64>, [a, b, c]: &Triangle) -> f64 {
    // Where the ray meets the plane of the triangle, in shares of the edges from `a`.
    let columns = Matrix3::from_columns(&[b - a, c - a, -ray]);
    if let Some(shares) = columns.lu().solve(&-a.coords) {
        let (u, v, along) = (shares.x, shares.y, shares.z);
        if u >= 0.0 && v >= 0.0 && u + v <= 1.0 && along >= 0.0 {
            return 0.0;
        }
    }
    [(a, b), (b, c), (c, a)]
        .map(|(from, to)| passes_segment(ray, from, to))
        .into_iter()
        .fold(f64::INFINITY, f64::min)
}

/// How far a ray from the origin passes a segment, metres.
fn passes_segment(ray: &Vector3<f64>, from: &Point3<f64>, to: &Point3<f64>) -> f64 {
    let (from, to) = (from.coords, to.coords);
    if from.dot(ray) > 0.0 && to.dot(ray) > 0.0 {
        // Seen along the ray, as far as a point is from a segment.
        let [from, to] = [from, to].map(|end| end - ray * end.dot(ray));
        let along = to - from;
        let share = (-from.dot(&along) / along.norm_squared()).clamp(0.0, 1.0);
        return if share.is_nan() { from.norm() } else { (from + along * share).norm() };
    }
    let away = |share: f64| {
        let point = from.lerp(&to, share);
        (point - ray * point.dot(ray).max(0.0)).norm()
    };
    // The distance from a ray is convex along a segment.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let (left, right) = ((2.0 * low + high) / 3.0, (low + 2.0 * high) / 3.0);
        if away(left) < away(right) { high = right } else { low = left }
    }
    away(0.0).min(away(1.0)).min(away(low))
}

fn triangle() -> impl Strategy<Value = Triangle> {
    // Some reach behind the camera, some outside the image.
    let corner = (-0.6..0.6_f64, -0.5..0.5_f64, -0.1..1.5_f64).prop_map(|(x, y, z)| Point3::new(x, y, z));
    [corner.clone(), corner.clone(), corner]
}

/// A binary STL file of these triangles, and its folder.
fn written(triangles: &[Triangle]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("surface.stl");
    let mut bytes = vec![0; 80];
    bytes.extend_from_slice(&(triangles.len() as u32).to_le_bytes());
    for triangle in triangles {
        bytes.extend_from_slice(&[0; 12]);
        let values = triangle.iter().flat_map(|corner| corner.coords.cast::<f32>().data.0[0]);
        values.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes.extend_from_slice(&[0; 2]);
    }
    std::fs::write(&path, bytes).unwrap();
    let shape = format!("<geometry><mesh filename='{}'/></geometry>", path.display());
    (folder, shape)
}

/// What a robot's first mesh was read as.
fn triangles(robot: &Robot) -> Vec<Triangle> {
    match &robot.links()[0].shapes[0].geometry {
        Geometry::Mesh(mesh) => mesh.triangles.clone(),
        other => panic!("expected a mesh, got {other:?}"),
    }
}

/// Holds a mask against the distance of every ray from every triangle; how many pixels were too near to the edge to tell.
fn assert_exact(mask: &BodyMask, triangles: &[Triangle], padding: f64) -> usize {
    let mut untold = 0;
    for (index, covered) in mask.covered().iter().enumerate() {
        let ray = ray(index);
        let passed = triangles.iter().map(|triangle| passes(&ray, triangle)).fold(f64::INFINITY, f64::min);
        if (passed - padding).abs() < 1e-7 && padding > 0.0 {
            untold += 1;
            continue;
        }
        assert_eq!(*covered, passed <= padding, "pixel {index} passes at {passed}, padding {padding}");
    }
    untold
}

/// Before the camera, though not always in its image.
fn near_corner() -> impl Strategy<Value = Point3<f64>> {
    (-0.4..0.4_f64, -0.3..0.3_f64, 0.2..0.9_f64).prop_map(|(x, y, z)| Point3::new(x, y, z))
}

/// The 32 faces of an octahedron whose edges were halved; its 18 corners are this far from the middle, metres.
fn crumpled(lengths: &[f64], middle: Vector3<f64>) -> Vec<Triangle> {
    let sides = [-1.0, 1.0];
    let signs = sides.iter().flat_map(|x| sides.iter().flat_map(move |y| sides.map(|z| [*x, *y, z])));
    let mut known: Vec<Vector3<f64>> = Vec::new();
    let mut corner = |direction: Vector3<f64>| {
        let index = known.iter().position(|other| *other == direction).unwrap_or_else(|| {
            known.push(direction);
            known.len() - 1
        });
        Point3::from(middle + direction.normalize() * lengths[index])
    };
    let mut triangles = Vec::new();
    for [x, y, z] in signs {
        let (a, b, c) = (Vector3::x() * x, Vector3::y() * y, Vector3::z() * z);
        let [a, ab, b, bc, c, ca] = [a, a + b, b, b + c, c, c + a].map(&mut corner);
        let four = [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]];
        // All turn the same way round, seen from outside.
        triangles.extend(four.map(|[p, q, r]| if x * y * z > 0.0 { [p, q, r] } else { [p, r, q] }));
    }
    triangles
}

/// Holds the mask of a surface against its triangles, unless it comes near to the camera, where the padding shrinks.
fn hold(corners: &[Triangle], padding: f64) -> Result<(), TestCaseError> {
    let (_folder, shape) = written(corners);
    let robot = robot(&shape, &MeshFolders::default());
    let triangles = triangles(&robot);
    let nearest = triangles.iter().flat_map(near).fold(f64::INFINITY, f64::min);
    prop_assume!(nearest > 2.0 * padding + 0.05);
    let untold = assert_exact(&covered(&robot, padding), &triangles, padding);
    prop_assert!(untold < 5);
    Ok(())
}

/// Distances of points of a triangle from the camera.
fn near([a, b, c]: &Triangle) -> impl Iterator<Item = f64> {
    let at = |i: u32| (0..=20 - i).map(move |j| (f64::from(i) / 20.0, f64::from(j) / 20.0));
    (0..=20).flat_map(at).map(move |(u, v)| (a + (b - a) * u + (c - a) * v).coords.norm())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_padded_surface_covers_what_passes_nearer_than_the_padding_and_nothing_else(
        corners in prop::collection::vec(triangle(), 1..4), padding in 0.0..0.1_f64,
    ) {
        hold(&corners, padding)?;
    }

    #[test]
    fn faces_that_share_corners_cover_what_they_would_cover_alone(
        corners in prop::collection::vec(near_corner(), 6),
        faces in prop::collection::vec([0..6_usize, 0..6_usize, 0..6_usize], 1..12), padding in 0.001..0.15_f64,
    ) {
        // Folded, doubled, wound either way round, more than two along an edge, without area: whatever files hold.
        hold(&faces.iter().map(|face| face.map(|index| corners[index])).collect::<Vec<_>>(), padding)?;
    }

    #[test]
    fn a_crumpled_ball_is_covered_as_its_triangles_are(
        lengths in prop::collection::vec(0.08..0.25_f64, 18), x in -0.3..0.3_f64, y in -0.2..0.2_f64, padding in 0.001..0.1_f64,
    ) {
        hold(&crumpled(&lengths, Vector3::new(x, y, 0.5)), padding)?;
    }

    #[test]
    fn a_capsule_covers_the_rays_that_pass_it_by_less_than_its_radius(
        x in -0.3..0.3_f64, y in -0.3..0.3_f64, z in -0.2..1.0_f64,
        roll in -3.0..3.0_f64, pitch in -1.5..1.5_f64, padding in 0.0..0.1_f64,
    ) {
        let (radius, length) = (0.05, 0.4);
        let origin = format!("<origin xyz='{x} {y} {z}' rpy='{roll} {pitch} 0'/>");
        let shape = format!("{origin}<geometry><capsule radius='{radius}' length='{length}'/></geometry>");
        let robot = robot(&shape, &MeshFolders::default());
        let pose = robot.links()[0].shapes[0].link_from_shape;
        let points: Vec<_> =
            (0..=800).map(|i| pose * Point3::new(0.0, 0.0, (f64::from(i) / 800.0 - 0.5) * length)).collect();
        let grown = radius + padding;
        prop_assume!(points.iter().all(|point| point.coords.norm() > grown + padding));
        let mask = covered(&robot, padding);
        for (index, covered) in mask.covered().iter().enumerate() {
            let ray = ray(index);
            let away = |point: &Point3<f64>| {
                let along = point.coords.dot(&ray).max(0.0);
                (point.coords - ray * along).norm()
            };
            let nearest = points.iter().map(away).fold(f64::INFINITY, f64::min);
            if (nearest - grown).abs() > 1e-3 {
                prop_assert_eq!(*covered, nearest < grown, "pixel {}: {} of {}", index, nearest, grown);
            }
        }
    }
}

#[test]
fn the_camera_looks_out_of_its_own_housing() {
    let folders = MeshFolders::default();
    let housing = robot("<geometry><box size='0.1 0.1 0.05'/></geometry>", &folders);
    assert_eq!(covered(&housing, 0.02).count(), 0);
    // 5 mm ahead of a wall behind the camera: grown by 2.5 mm only, so that it does not swallow the camera.
    let behind = robot("<origin xyz='0 0 -0.03'/><geometry><box size='0.1 0.1 0.05'/></geometry>", &folders);
    assert_eq!(covered(&behind, 0.02).count(), 0);
    let ahead = robot("<origin xyz='0 0 0.03'/><geometry><box size='0.1 0.1 0.05'/></geometry>", &folders);
    assert_eq!(covered(&ahead, 0.02).count(), SIZE.area());
}

#[test]
fn a_padding_that_is_none_is_refused() {
    let body = robot("<geometry><sphere radius='0.1'/></geometry>", &MeshFolders::default());
    for padding in [-0.01, f64::NAN, 0.6] {
        let said = SelfFilter::new(body.clone(), padding).unwrap_err().to_string();
        assert!(said.contains("0 to 0.5 m"), "{said}");
    }
}

#[test]
fn the_example_hand_near_the_camera_is_covered_as_its_triangles_are() {
    let stl = concat!(env!("CARGO_MANIFEST_DIR"), "/robots/meshes/hand.stl");
    let mesh = format!("<geometry><mesh filename='{stl}' scale='0.001 0.001 0.001'/></geometry>");
    for (place, padding) in
        [([0.03, 0.02, 0.12], 0.0), ([0.03, 0.02, 0.12], 0.02), ([-0.1, 0.05, 0.25], 0.01)]
    {
        let [x, y, z] = place;
        let shape = format!("<origin xyz='{x} {y} {z}' rpy='0.4 -0.3 0.2'/>{mesh}");
        let robot = robot(&shape, &MeshFolders::default());
        let pose = robot.links()[0].shapes[0].link_from_shape;
        let placed = |triangle: &Triangle| triangle.map(|corner| pose * corner);
        let triangles: Vec<_> = triangles(&robot).iter().map(placed).collect();
        let mask = covered(&robot, padding);
        assert!(mask.count() > 100 && mask.count() < SIZE.area(), "{place:?}: {}", mask.count());
        assert_exact(&mask, &triangles, padding);
    }
}
