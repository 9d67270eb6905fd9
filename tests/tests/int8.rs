//! The encoder's products in 8 bits, against float32, both by ONNX Runtime.

use calibration::Size;
use network::bundle::random_model;
use network::{Architecture, Bundle, HeadKind};
use onnx::{OnnxOptions, OnnxRuntime};
use perception::parity::{self, Photograph, Tolerance};
use tests::onnx_runtime;

const SIZE: Size = Size { width: 96, height: 64 };

fn bundle() -> (tempfile::TempDir, Bundle) {
    let heads = [("depth".to_owned(), HeadKind::LinearDepth {})];
    let model = random_model(Architecture::named("pixio-tiny16").unwrap(), &heads, &[SIZE], 5).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bundle = model.write(&folder.path().join("bundle"), false, |_| ()).unwrap();
    let wave = |index: usize| ((index / 3 * 37 + index * 11) % 251) as u8;
    let photograph = Photograph { size: SIZE, rgb: (0..3 * SIZE.area()).map(wave).collect() };
    let golden = parity::make_golden(&mut onnx_runtime(), &bundle, &[photograph], || ()).unwrap();
    bundle.write_golden(&golden).unwrap();
    (folder, bundle)
}

#[test]
fn tokens_and_depth_stay_within_the_tolerance_of_int8_and_differ() {
    let (_folder, bundle) = bundle();
    let library = onnx::library(None).unwrap();
    let mut engine = OnnxRuntime::new(OnnxOptions { int8: true, ..OnnxOptions::new(library, 2) }).unwrap();
    let report = parity::check(&mut engine, &bundle, &[SIZE]).unwrap();
    assert_eq!(report.tolerance, Tolerance::of("int8"));
    assert!(report.passed(), "{report}");
    for difference in &report.differences {
        assert!(
            difference.relative > 1e-5,
            "{}: not a bit differs, so nothing was in 8 bits",
            difference.output
        );
    }
    assert!(parity::check(&mut onnx_runtime(), &bundle, &[SIZE]).unwrap().passed());
}

#[test]
fn what_was_quantised_is_in_the_file_and_the_rest_is_not() {
    let (_folder, bundle) = bundle();
    let backbone = bundle.backbone(SIZE).unwrap();
    let whole = network::onnx::encode(&backbone).unwrap();
    let small = network::onnx::encode_int8(&backbone, network::onnx::WeightBits::Eight).unwrap();
    assert!(small.len() < whole.len() / 2, "{} of {} bytes", small.len(), whole.len());
    let has = |name: &str| small.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("com.microsoft") && has("encoder.blocks.3.mlp.fc2.weight.int8_scale"));
}
