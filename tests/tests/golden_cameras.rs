//! Camera models, maps and files against OpenCV; `golden/make_camera_models.py` made the references.

use std::path::PathBuf;

use calibration::{
    CameraInfo, CameraModel, Distortion, Intrinsics, RectifiedView, RectifyError, RectifyMap, Size,
    read_camera_info_yaml, rectified_camera,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    remapped: Remapped,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    width: usize,
    height: usize,
    k: [f64; 9],
    d: Vec<f64>,
    points: Vec<[f64; 3]>,
    pixels: Vec<[f64; 2]>,
    undistorted: Vec<[f64; 2]>,
    r: [f64; 9],
    target: [f64; 9],
    /// Column, row, and where the raw image shows it.
    map: Vec<(f64, f64, f64, f64)>,
    optimal: Option<[f64; 9]>,
}

#[derive(Deserialize)]
struct Remapped {
    k: [f64; 9],
    d: Vec<f64>,
    image: Vec<u8>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(path("camera_models.json")).unwrap()).unwrap()
}

fn intrinsics(k: [f64; 9]) -> Intrinsics {
    Intrinsics { fx: k[0], fy: k[4], cx: k[2], cy: k[5] }
}

impl Case {
    fn camera(&self) -> CameraModel {
        let name = match self.model.as_str() {
            "thin_prism" | "tilted" => "rational_polynomial",
            name => name,
        };
        let distortion = Distortion::from_ros(name, &self.d).unwrap();
        CameraModel::new(self.size(), intrinsics(self.k), distortion).unwrap()
    }

    fn size(&self) -> Size {
        Size { width: self.width, height: self.height }
    }

    fn target(&self) -> CameraModel {
        CameraModel::new(self.size(), intrinsics(self.target), Distortion::None).unwrap()
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

#[test]
fn every_model_is_there() {
    let models: std::collections::BTreeSet<_> = golden().cases.into_iter().map(|case| case.model).collect();
    let expected = ["equidistant", "none", "plumb_bob", "rational_polynomial", "thin_prism", "tilted"];
    assert!(models.iter().map(String::as_str).eq(expected), "{models:?}");
}

#[test]
fn projections_are_opencvs() {
    for case in golden().cases {
        let camera = case.camera();
        for (point, expected) in case.points.iter().zip(&case.pixels) {
            let pixel = camera.project(*point).unwrap();
            assert!(distance(pixel, *expected) < 1e-9, "{}: {pixel:?} for {expected:?}", case.model);
        }
    }
}

#[test]
fn rays_are_the_directions_opencv_projected() {
    for case in golden().cases {
        let camera = case.camera();
        for (point, pixel) in case.points.iter().zip(&case.pixels) {
            let [x, y, z] = camera.ray(*pixel).unwrap();
            let off = distance([x / z, y / z], [point[0] / point[2], point[1] / point[2]]);
            assert!(off < 1e-10, "{}: {off}", case.model);
        }
    }
}

#[test]
fn undistorted_points_are_opencvs_where_those_are_right() {
    for case in golden().cases {
        let camera = case.camera();
        let mut compared = 0;
        for (index, flat) in case.undistorted.iter().enumerate() {
            // OpenCV's fixed-point iteration gives up at the edges; where it does, its own projection tells.
            let [fx, fy] = [flat[0], flat[1]];
            let back = camera.project([fx, fy, 1.0]);
            if back.is_none_or(|back| distance(back, case.pixels[index]) > 1e-6) {
                continue;
            }
            let [x, y, z] = camera.ray(case.pixels[index]).unwrap();
            assert!(distance([x / z, y / z], *flat) < 1e-7, "{}", case.model);
            compared += 1;
        }
        assert!(compared >= 20, "{}: OpenCV was right for {compared} of 24 only", case.model);
    }
}

#[test]
fn undistortion_maps_are_opencvs_to_its_float32() {
    for case in golden().cases {
        let (camera, target) = (case.camera(), case.target());
        for (column, row, map_x, map_y) in &case.map {
            let [x, y, z] = target.ray([*column, *row]).unwrap();
            let back = |axis: usize| case.r[axis] * x + case.r[axis + 3] * y + case.r[axis + 6] * z;
            let pixel = camera.project([back(0), back(1), back(2)]).unwrap();
            // Half a step of float32 below 1024 is 3e-5.
            assert!(distance(pixel, [*map_x, *map_y]) < 5e-5, "{}: {pixel:?}", case.model);
        }
    }
}

#[test]
fn the_rectifying_map_samples_where_opencvs_does() {
    for case in golden().cases {
        let (camera, target) = (case.camera(), case.target());
        let map = RectifyMap::new(&camera, case.r, &target).unwrap();
        let valid: Vec<bool> = map.valid().collect();
        // The raw image shows its own column, then its own row, over 3: what comes out is where it was taken from.
        let across: Vec<u8> = (0..480).flat_map(|_| (0..640).map(|x| (x / 3) as u8)).collect();
        let down: Vec<u8> = (0..480).flat_map(|y| (0..640).map(move |_| (y / 3) as u8)).collect();
        let (mut columns, mut rows) = (vec![0; 640 * 480], vec![0; 640 * 480]);
        map.rectify::<1>(&across, 640, &mut columns).unwrap();
        map.rectify::<1>(&down, 640, &mut rows).unwrap();
        for (column, row, map_x, map_y) in &case.map {
            let index = *row as usize * 640 + *column as usize;
            assert_eq!(valid[index], camera.contains([*map_x, *map_y]), "{}", case.model);
            if valid[index] {
                let came = [f64::from(columns[index]) * 3.0, f64::from(rows[index]) * 3.0];
                assert!((came[0] - map_x).abs() < 4.5 && (came[1] - map_y).abs() < 4.5, "{}", case.model);
            }
        }
    }
}

#[test]
fn the_rectified_image_is_opencvs_remap() {
    let Remapped { k, d, image } = golden().remapped;
    let size = Size { width: 64, height: 48 };
    let distortion = Distortion::from_ros("plumb_bob", &d).unwrap();
    let camera = CameraModel::new(size, intrinsics(k), distortion).unwrap();
    let info = CameraInfo::of(&camera);
    let rotation = info.rectified_from_camera().unwrap();
    let map = RectifyMap::new(&info.raw().unwrap(), rotation, &info.rectified().unwrap()).unwrap();
    let raw: Vec<u8> = (0..48).flat_map(|y| (0..64).map(move |x| ((x * x + 2 * y * y) / 35) as u8)).collect();
    let mut rectified = vec![0; 64 * 48];
    map.rectify::<1>(&raw, 64, &mut rectified).unwrap();
    let mut compared = 0;
    for ((value, expected), valid) in rectified.iter().zip(&image).zip(map.valid()) {
        if valid {
            // OpenCV may take the position to 1/32 of a pixel, and neighbours differ by up to 6.
            assert!(value.abs_diff(*expected) <= 1, "{value} for {expected}");
            compared += 1;
        }
    }
    assert!(compared > 2500, "{compared}");
}

#[test]
fn the_all_valid_view_is_opencvs_optimal_matrix_but_for_its_coarser_border() {
    let mut compared = 0;
    for case in golden().cases {
        let Some(optimal) = case.optimal else { continue };
        let camera = case.camera();
        let rectified = match rectified_camera(&camera, case.size(), RectifiedView::AllValid) {
            Ok(rectified) => rectified,
            Err(RectifyError::FieldOfView { .. }) => {
                // A random polynomial may turn back before the corners; OpenCV takes whatever its iteration left.
                let corners = [[0.0, 0.0], [639.0, 0.0], [0.0, 479.0], [639.0, 479.0]];
                assert!(corners.iter().any(|corner| camera.ray(*corner).is_none()), "{}", case.model);
                continue;
            }
            Err(error) => panic!("{}: {error}", case.model),
        };
        compared += 1;
        let (ours, theirs) = (rectified.intrinsics(), intrinsics(optimal));
        let close = |a: f64, b: f64| (a - b).abs() / b < 0.02;
        assert!(
            close(ours.fx, theirs.fx) && close(ours.fy, theirs.fy),
            "{}: {ours:?} {theirs:?}",
            case.model
        );
        assert!(
            close(ours.cx, theirs.cx) && close(ours.cy, theirs.cy),
            "{}: {ours:?} {theirs:?}",
            case.model
        );
        let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let map = RectifyMap::new(&camera, identity, &rectified).unwrap();
        assert!(map.valid().all(|valid| valid), "{}", case.model);
    }
    assert!(compared >= 10, "{compared} of 17");
}

#[test]
fn files_of_opencv_and_of_camera_calibration_are_read() {
    let expected = &golden().cases[1];
    // OpenCV writes every digit, camera_calibration five after the point.
    for (name, tolerance) in [("opencv_camera.yaml", 0.0), ("camera_calibration.yaml", 5.1e-6)] {
        let read = read_camera_info_yaml(path(name)).unwrap().info;
        let close = |came: &[f64], expected: &[f64]| {
            came.len() == expected.len()
                && came.iter().zip(expected).all(|(came, expected)| (came - expected).abs() <= tolerance)
        };
        assert_eq!(read.size, expected.size());
        assert!(close(&read.k, &expected.k) && close(&read.d, &expected.d), "{name}: {read:?}");
    }
}
