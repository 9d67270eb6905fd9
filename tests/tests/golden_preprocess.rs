//! Preprocessing on real photographs: against torchvision on PIL images, up and down (`golden/make_preprocess.py`), and against
//! OpenCV's undistortion (`golden/make_rectified.py`).

use std::sync::Arc;

use calibration::{CameraModel, Distortion, Intrinsics, RectifyMap, Size};
use network::manifest::PreprocessingSpec;
use perception::{Encoding, ImageGeometry, ImageView, Preprocessing};
use tests::golden::{self, max_difference};

/// One grey level of 255.
const LEVEL: f32 = 1.0;

fn photograph(name: &str) -> (Size, Vec<u8>) {
    let path = golden::folder().with_file_name("photos").join(name);
    let rgb = image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8();
    (Size { width: rgb.width() as usize, height: rgb.height() as usize }, rgb.into_raw())
}

#[test]
fn equals_torchvision_within_a_grey_level() {
    let golden = golden::read("preprocess.safetensors");
    let levels: Vec<_> = golden.keys().filter(|key| key.ends_with("/levels")).collect();
    assert_eq!(levels.len(), 10);
    for key in levels {
        let mut parts = key.split('/');
        let (name, network): (&str, Size) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
        let (size, rgb) = photograph(name);
        let geometry = ImageGeometry::new(size, network).unwrap();
        let mut preprocessing = Preprocessing::new(geometry, &PreprocessingSpec::default());
        let view = ImageView::new(&rgb, size, 3 * size.width, Encoding::Rgb8).unwrap();
        let mut picture = vec![0; 3 * network.area()];
        preprocessing.picture(&view, &mut picture).unwrap();
        let expected = &golden[key];
        let keep = network.height.div_ceil(expected.shape[0]);
        let kept: Vec<f32> = (0..network.height)
            .step_by(keep)
            .flat_map(|row| {
                (0..network.width).step_by(keep).map(move |column| 3 * (row * network.width + column))
            })
            .flat_map(|at| picture[at..at + 3].iter().map(|value| f32::from(*value)))
            .collect();
        let difference = max_difference(&kept, &expected.values);
        assert!(difference <= LEVEL, "{key}: {difference}");

        if let Some(normalised) = golden.get(&key.replace("levels", "normalised")) {
            let mut input = vec![0.0; 3 * network.area()];
            preprocessing.run(&view, &mut input).unwrap();
            let difference = max_difference(&input, &normalised.values);
            // A level is 1/255 before the division by a standard deviation of at least 0.224.
            assert!(difference <= LEVEL / 255.0 / 0.224 + 1e-5, "{key}: {difference}");
        }
    }
}

#[test]
fn rectified_pixels_are_opencvs_within_a_grey_level() {
    let golden = golden::read("rectified.safetensors");
    let (size, rgb) = photograph("coffee_small.png");
    let mut seen = 0;
    for name in ["barrel", "pincushion"] {
        let numbers = &golden[&format!("{name}/kd")].values;
        let [fx, cx, fy, cy] = [0, 2, 4, 5].map(|at| f64::from(numbers[at]));
        let distortion = Distortion::PlumbBob(std::array::from_fn(|at| f64::from(numbers[9 + at])));
        let camera = CameraModel::new(size, Intrinsics { fx, fy, cx, cy }, distortion).unwrap();
        let turn = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let map = Arc::new(RectifyMap::new(&camera, turn, &camera.without_distortion()).unwrap());
        let geometry = ImageGeometry::new(size, size).unwrap();
        let spec = PreprocessingSpec::default();
        let mut preprocessing = Preprocessing::rectifying(geometry, &spec, map.clone()).unwrap();
        let view = ImageView::new(&rgb, size, 3 * size.width, Encoding::Rgb8).unwrap();
        let mut picture = vec![0; 3 * size.area()];
        preprocessing.picture(&view, &mut picture).unwrap();

        let expected = golden[&format!("{name}/rgb")].bytes.as_chunks::<3>().0;
        let valid: Vec<bool> = map.valid().collect();
        let kept = (0..size.area()).filter(|at| at / size.width % 3 == 0 && at % size.width % 3 == 0);
        for (at, expected) in kept.zip(expected).filter(|(at, _)| valid[*at]) {
            let ours = &picture[3 * at..][..3];
            let worst = ours.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1, "{name} pixel {at}: {ours:?} for {expected:?}");
            seen += 1;
        }
    }
    assert!(seen > 6000, "{seen}");
}
