//! On a real GPU, by hand: `scripts/gpu-check.sh` runs these. They have never run so far.
//!
//! `PIXIO_GPU_FLAVOUR` is `tensorrt` (the default) or `tensorrt-rtx`, `PIXIO_GPU_BUNDLE` a bundle's folder.
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use calibration::Size;
use network::{Bundle, Precision, PrecisionSpec};
use perception::{Encoding, Engine, ImageView, Pipeline, Wanted, parity};
use tensorrt::{Cache, Flavour, TensorRt, TensorRtOptions};
use tests::conformance;

const CAMERA: Size = Size { width: 1280, height: 720 };
const FRAMES: usize = 300;

fn flavour() -> Flavour {
    std::env::var("PIXIO_GPU_FLAVOUR").map_or(Flavour::TensorRt, |name| name.parse().unwrap())
}

fn engine(precision: Precision) -> TensorRt {
    let cache = Cache::new(std::env::temp_dir().join("pixio-gpu-check"));
    let options = TensorRtOptions {
        flavour: flavour(),
        library: None,
        precision,
        kept: PrecisionSpec::default(),
        model: "conformance".to_owned(),
        cache,
        is_on_trial: false,
    };
    TensorRt::new(options).unwrap()
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn the_seam_holds() {
    conformance::seam(&mut engine(Precision::Fp32));
    conformance::seam(&mut engine(Precision::Fp16));
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn tensors_are_shared() {
    conformance::sharing(&mut engine(Precision::Fp32));
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn operations_are_pytorchs() {
    conformance::operations(&mut engine(Precision::Fp32));
}

/// Parity, one CUDA graph per set of heads, and how long a frame takes from pixels to depth in host memory.
#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn frames_are_captured_and_timed() {
    let folder = std::env::var("PIXIO_GPU_BUNDLE").expect("PIXIO_GPU_BUNDLE names a bundle");
    for precision in [Precision::Fp32, Precision::Fp16] {
        let bundle = Bundle::open(folder.as_ref()).unwrap();
        let options = TensorRtOptions {
            flavour: flavour(),
            library: None,
            precision,
            kept: bundle.manifest().precision.clone(),
            model: bundle.hash().to_owned(),
            cache: Cache::of_user().unwrap(),
            is_on_trial: false,
        };
        let mut engine = TensorRt::new(options).unwrap();
        let sizes = bundle.manifest().sizes.clone();
        let report = parity::check(&mut engine, &bundle, &sizes).unwrap();
        assert!(report.passed(), "{report}");
        let mut pipeline = Pipeline::new(engine, bundle, None).unwrap();
        let mut view = pipeline.view(CAMERA, Some(sizes[0])).unwrap();
        let pixels: Vec<u8> = (0..3 * CAMERA.area()).map(|i| (i * 31 % 255) as u8).collect();
        let image = ImageView::new(&pixels, CAMERA, 3 * CAMERA.width, Encoding::Rgb8).unwrap();
        let depth = Wanted { depth: true, ..Wanted::default() };
        let mut times: Vec<Duration> = Vec::with_capacity(FRAMES);
        for _ in 0..FRAMES {
            let start = Instant::now();
            pipeline.run(&mut view, &image, depth).unwrap();
            times.push(start.elapsed());
        }
        let notices = pipeline.engine().take_notices();
        let captured = pipeline
            .engine()
            .graphs()
            .iter()
            .any(|(name, is_graph)| name.starts_with("preprocess + backbone + ") && *is_graph);
        assert!(captured, "the frame is not one CUDA graph: {notices:?}");
        times.sort();
        let at = |share: f64| times[(share * (FRAMES - 1) as f64) as usize].as_secs_f64() * 1e3;
        println!(
            "RESULT {precision} {}: frame p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            sizes[0],
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
