//! Real stereo ground truth: the Middlebury 2014 Motorcycle pair that the scikit-image wheel carries (`make setup` installs it),
//! as camera and truth for unprojection and for every scale mode.

use std::io::Read;
use std::path::PathBuf;

use calibration::{CameraModel, Distortion, Intrinsics, Size};
use flate2::read::DeflateDecoder;
use network::manifest::HeadScale;
use perception::depth::DepthRange;
use perception::points::Rays;
use perception::scale::{
    Affine, Anchor, AnchorOptions, AnchorState, RelativeDepth, Sample, Scaling, Unanchored,
};
use perception::{DepthMap, FarPolicy, ImageGeometry, Stamp};

// From the pair's calib.txt, scaled by skimage to a quarter: pixels, metres.
const FOCAL: f64 = 994.978;
const LEFT_CENTRE: [f64; 2] = [311.193, 254.877];
const DOFFS: f64 = 31.086;
const BASELINE: f64 = 0.193_001;
const SIZE: Size = Size { width: 741, height: 500 };

fn folder() -> PathBuf {
    let folder = std::env::var_os("PIXIO_SKIMAGE_DATA")
        .expect("PIXIO_SKIMAGE_DATA: run `make setup` and source .pixio/setup.bash");
    PathBuf::from(folder)
}

fn picture(name: &str) -> Vec<u8> {
    let picture = image::open(folder().join(name)).unwrap().into_luma8();
    assert_eq!((picture.width() as usize, picture.height() as usize), (SIZE.width, SIZE.height));
    picture.into_raw()
}

/// Disparities in pixels, row by row; infinite where unknown.
fn disparities() -> Vec<f64> {
    let file = std::fs::File::open(folder().join("motorcycle_disp.npz")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut array = Vec::new();
    DeflateDecoder::new(archive.by_index_raw(0).unwrap()).read_to_end(&mut array).unwrap();
    assert!(
        String::from_utf8_lossy(&array[..128]).contains("'<f4', 'fortran_order': False, 'shape': (500, 741)")
    );
    let data = &array[array.len() - 4 * SIZE.area()..];
    data.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
}

/// Metres along Z of every pixel of the left picture; NaN where unknown.
fn depths() -> Vec<f32> {
    let meters = |d: f64| if d.is_finite() && d > 0.0 { BASELINE * FOCAL / (d + DOFFS) } else { f64::NAN };
    disparities().into_iter().map(|disparity| meters(disparity) as f32).collect()
}

fn camera() -> CameraModel {
    let intrinsics = Intrinsics { fx: FOCAL, fy: FOCAL, cx: LEFT_CENTRE[0], cy: LEFT_CENTRE[1] };
    CameraModel::new(SIZE, intrinsics, Distortion::None).unwrap()
}

/// Where the right camera, a baseline to the right, sees a point; its principal point is `DOFFS` further right.
fn in_right_picture([x, y, z]: [f32; 3]) -> [f64; 2] {
    let [x, y, z] = [x, y, z].map(f64::from);
    [FOCAL * (x - BASELINE) / z + LEFT_CENTRE[0] + DOFFS, FOCAL * y / z + LEFT_CENTRE[1]]
}

fn depth_map(size: Size, depths: Vec<f32>) -> DepthMap {
    DepthMap::new(size, depths, DepthRange { min_meters: 0.1, max_meters: 20.0 }, FarPolicy::Nan).unwrap()
}

#[test]
fn unprojected_points_are_seen_where_the_other_camera_sees_them() {
    let (depths, disparities) = (depth_map(SIZE, depths()), disparities());
    let (left, right) = (picture("motorcycle_left.png"), picture("motorcycle_right.png"));
    let points = Rays::new(&camera()).point_map(&depths).unwrap();
    let (mut compared, mut near, mut shifted) = (0, 0, 0);
    for (index, point) in points.points().iter().enumerate().filter(|(_, point)| point[2].is_finite()) {
        let pixel = [(index % SIZE.width) as f64, (index / SIZE.width) as f64];
        let [x, y] = in_right_picture(*point);
        assert!(
            (x - (pixel[0] - disparities[index])).abs() < 1e-3 && (y - pixel[1]).abs() < 1e-3,
            "{pixel:?}"
        );
        let level = |x: f64| right.get(index / SIZE.width * SIZE.width + x.round().max(0.0) as usize);
        if let (true, Some(same), Some(other)) = (x >= 0.0, level(x), level(x + 6.0)) {
            compared += 1;
            near += usize::from(left[index].abs_diff(*same) <= 12);
            shifted += usize::from(left[index].abs_diff(*other) <= 12);
        }
    }
    // The pictures themselves say that it is the same surface: six pixels beside it they agree less.
    assert!(compared > 250_000, "{compared}");
    assert!(
        near as f64 > 0.75 * f64::from(compared) && shifted < near * 3 / 4,
        "{near} and {shifted} of {compared}"
    );
}

#[test]
fn a_resized_and_cropped_view_keeps_every_point_in_its_place() {
    let geometry = ImageGeometry::new(SIZE, Size { width: 384, height: 256 }).unwrap();
    let (truth, network) = (depths(), geometry.network());
    let at = |index: usize| {
        let pixel = [(index % network.width) as f64, (index / network.width) as f64];
        geometry.camera_from_network(pixel)
    };
    // Every network pixel gets the depth of the camera pixel nearest to its centre.
    let nearest = |[x, y]: [f64; 2]| y.round() as usize * SIZE.width + x.round() as usize;
    let depths = (0..network.area()).map(|index| truth[nearest(at(index))]).collect();
    let depths = depth_map(network, depths);
    let points = Rays::new(&geometry.camera(&camera()).unwrap()).point_map(&depths).unwrap();
    let mut compared = 0;
    for (index, [x, y, z]) in points.points().iter().enumerate().filter(|(_, point)| point[2].is_finite()) {
        let [column, row] = at(index);
        let expected =
            [(column - LEFT_CENTRE[0]) / FOCAL, (row - LEFT_CENTRE[1]) / FOCAL].map(|c| c * f64::from(*z));
        assert!((f64::from(*x) - expected[0]).abs() < 1e-5 && (f64::from(*y) - expected[1]).abs() < 1e-5);
        compared += 1;
    }
    assert!(compared > 70_000, "{compared}");
}

/// What share of the truth the depths are off by at most, in the worst and the median pixel.
fn errors(scaling: Affine, raw: &[f32], truth: &[f32]) -> [f64; 2] {
    let known = raw.iter().zip(truth).filter(|(_, truth)| truth.is_finite());
    let mut errors: Vec<f64> =
        known.map(|(raw, truth)| (scaling.meters(f64::from(*raw)) / f64::from(*truth) - 1.0).abs()).collect();
    errors.sort_by(f64::total_cmp);
    [errors[errors.len() - 1], errors[errors.len() / 2]]
}

#[test]
fn focal_normalised_depth_becomes_metres_by_the_camera_alone() {
    let truth = depths();
    let head = HeadScale::FocalNormalised { focal_pixels: 300.0 };
    let geometry = ImageGeometry::new(SIZE, Size { width: 384, height: 256 }).unwrap();
    let camera = geometry.camera(&camera()).unwrap();
    // 741x500 covers 384x256 as 384x259, which is then cropped: the scales differ a little.
    let focal = FOCAL * (384.0 / 741.0 + 259.0 / 500.0) / 2.0;
    let raw: Vec<f32> = truth.iter().map(|meters| (f64::from(*meters) * 300.0 / focal) as f32).collect();
    let Scaling::Meters(affine) = Scaling::of(head, Some(&camera), None) else { panic!("no metres") };
    assert!(errors(affine, &raw, &truth)[0] < 1e-5);
    assert_eq!(Scaling::of(head, None, None), Scaling::Unknown);
}

#[test]
fn anchored_depth_is_within_a_hundredth_with_a_third_of_the_reference_wrong() {
    let truth = depths();
    let raw: Vec<f32> = truth.iter().map(|meters| (meters - 0.35) / 6.5).collect();
    let relative = RelativeDepth::new(SIZE, raw.clone()).unwrap();
    let mut anchor = Anchor::new(AnchorOptions::default());
    let stamp = Stamp { sec: 3, nanosec: 0 };
    assert_eq!(anchor.at(stamp), AnchorState::Unanchored(Unanchored::NoReference));
    // A depth camera's pixels: one in 800, 2 % noise, three in ten show another pixel's surface.
    let noise = |index: usize| 0.04 * ((index as f64 * 0.754_877).fract() - 0.5);
    let samples: Vec<Sample> = (0..SIZE.area())
        .step_by(797)
        .filter(|index| truth[*index].is_finite())
        .enumerate()
        .map(|(number, index)| {
            let elsewhere = truth[(index * 7919) % SIZE.area()];
            let wrong = number % 10 < 3 && elsewhere.is_finite();
            let meters = f64::from(if wrong { elsewhere } else { truth[index] });
            Sample { raw: f64::from(relative.values()[index]), meters: meters * (1.0 + noise(index)) }
        })
        .collect();
    assert!(samples.len() > 300, "{}", samples.len());
    anchor.observe(stamp, &samples).unwrap();
    let AnchorState::Anchored(found) = anchor.at(stamp) else { panic!("not anchored") };
    let [worst, median] = errors(found.affine, &raw, &truth);
    assert!(worst < 0.01 && median < 0.005, "{worst} and {median}: {found:?}");
}
