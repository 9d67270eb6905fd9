//! Preprocessing against torchvision on PIL images (`golden/make_preprocess.py`), on real photographs, up and down.

use calibration::Size;
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
