//! Every image encoding against OpenCV (`golden/make_encodings.py`): random bytes, odd sizes, padded rows.

use calibration::Size;
use perception::{Encoding, ImageView};
use tests::golden;

#[test]
fn every_encoding_equals_opencv() {
    let golden = golden::read("encodings.safetensors");
    let mut compared = std::collections::BTreeSet::new();
    for (key, data) in golden.iter().filter(|(key, _)| key.ends_with("/data")) {
        let parts: Vec<_> = key.split('/').collect();
        let [name, size, step, _] = parts[..] else { panic!("{key}") };
        let (size, step): (Size, usize) = (size.parse().unwrap(), step.parse().unwrap());
        let encoding: Encoding = name.parse().unwrap();
        // The last row needs no padding.
        let view = ImageView::new(&data.bytes, size, step, encoding).unwrap();
        let view = ImageView::new(view.bytes(), size, step, encoding).unwrap();
        let mut rgb = vec![0; 3 * size.area()];
        view.write_rgb(&mut rgb);
        let expected = &golden[&key.replace("/data", "/rgb")].bytes;
        let worst = rgb.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert_eq!((worst, rgb.len()), (0, expected.len()), "{key}: levels of difference, and bytes");
        compared.insert(format!("{encoding:?}"));
    }
    let all: std::collections::BTreeSet<_> =
        Encoding::ALL.iter().map(|(_, encoding)| format!("{encoding:?}")).collect();
    let missing: Vec<_> = all.difference(&compared).collect();
    assert_eq!(missing, ["Rgb8"], "compared with nothing");
}
