//! The self-filter against distances worked out point by point.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic: that is how it fails"
)]

use std::sync::Arc;

use calibration::{Intrinsics, Size};
use nalgebra::{Isometry3, Point3, Vector3};
use proptest::prelude::*;
use robot::{BodyMask, MeshFolders, Robot, SelfFilter};

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

/// Points of a triangle, this many along each side.
fn samples([a, b, c]: [Point3<f64>; 3], count: usize) -> Vec<Point3<f64>> {
    let inside = |i: usize| (0..=count - i).map(move |j| (i as f64 / count as f64, j as f64 / count as f64));
    (0..=count).flat_map(inside).map(|(u, v)| a + (b - a) * u + (c - a) * v).collect()
}

fn triangle() -> impl Strategy<Value = [Point3<f64>; 3]> {
    // Some reach behind the camera, some outside the image.
    let corner = (-0.6..0.6_f64, -0.5..0.5_f64, -0.1..1.5_f64).prop_map(|(x, y, z)| Point3::new(x, y, z));
    [corner.clone(), corner.clone(), corner]
}

/// A binary STL file of one triangle, and its folder.
fn written(triangle: [Point3<f64>; 3]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("triangle.stl");
    let mut bytes = vec![0; 80];
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&[0; 12]);
    let values = triangle.iter().flat_map(|corner| corner.coords.cast::<f32>().data.0[0]);
    values.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes.extend_from_slice(&[0; 2]);
    std::fs::write(&path, bytes).unwrap();
    let shape = format!("<geometry><mesh filename='{}'/></geometry>", path.display());
    (folder, shape)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_padded_surface_covers_what_is_near_and_not_what_is_far(corners in triangle(), padding in 0.0..0.1_f64) {
        let (_folder, shape) = written(corners);
        let robot = robot(&shape, &MeshFolders::default());
        let points = samples(corners, 80);
        let nearest = points.iter().map(|point| point.coords.norm()).fold(f64::INFINITY, f64::min);
        // Nearer to the camera than the padding, the padding shrinks.
        prop_assume!(nearest > padding + 0.03);
        let mask = covered(&robot, padding);
        for (index, covered) in mask.covered().iter().enumerate() {
            let ray = ray(index);
            let away = |point: &Point3<f64>| {
                let along = point.coords.dot(&ray).max(0.0);
                (point.coords - ray * along).norm()
            };
            let passed = points.iter().map(away).fold(f64::INFINITY, f64::min);
            // Within a sample's distance of the padding either may be right.
            if passed < padding - 0.02 {
                prop_assert!(covered, "pixel {} passes at {}", index, passed);
            }
            if *covered {
                prop_assert!(passed < padding + 0.02, "pixel {} is covered, and passes at {}", index, passed);
            }
        }
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
