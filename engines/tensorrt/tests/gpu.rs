//! On a real GPU, by hand: `scripts/gpu-check.sh` runs these. They have never run so far.
//!
//! `PIXIO_GPU_FLAVOUR` is `tensorrt` (the default) or `tensorrt-rtx`, `PIXIO_GPU_PRECISIONS` what to check (by default `fp32 fp16`),
//! `PIXIO_GPU_BUNDLE` a bundle's folder. Those named
//! `without_tensorrt` need no TensorRT: a stand-in for it alone, whose networks copy what they read, runs on the real driver.
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unsafe_code)]
// Without headers there is nothing to test; see tests/tensorrt.rs.
#![cfg(pixio_tensorrt)]

#[path = "standins/frames.rs"]
mod frames;
mod standins;

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

fn precisions() -> Vec<Precision> {
    let named = std::env::var("PIXIO_GPU_PRECISIONS").unwrap_or_else(|_| "fp32 fp16".to_owned());
    named.split_whitespace().map(|name| name.parse().unwrap()).collect()
}

/// The engine on the real driver, with networks that copy.
fn without_tensorrt(check: impl FnOnce(&mut TensorRt, &standins::StandIn)) {
    let stand_in = standins::on_real_driver(Flavour::TensorRt);
    let cache = tempfile::tempdir().unwrap();
    let options = TensorRtOptions {
        flavour: Flavour::TensorRt,
        library: Some(stand_in.folder.clone()),
        precision: Precision::Fp16,
        kept: PrecisionSpec::default(),
        model: "without TensorRT".to_owned(),
        cache: Cache::new(cache.path()),
        is_on_trial: false,
    };
    let mut engine = TensorRt::new(options).unwrap();
    println!("RESULT {}", engine.identity().device);
    check(&mut engine, &stand_in);
    drop(engine);
    assert_eq!(stand_in.live(), [""; 0]);
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn without_tensorrt_the_seam_holds() {
    without_tensorrt(|engine, _| conformance::seam(engine));
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn without_tensorrt_pixels_equal_the_cpus() {
    without_tensorrt(|engine, _| frames::pixels_equal_the_cpus(engine));
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn without_tensorrt_frames_go_through_graphs() {
    without_tensorrt(|engine, _| frames::frames_go_through_graphs(engine));
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn without_tensorrt_a_wait_breaks_the_capture_alone() {
    without_tensorrt(|engine, stand_in| {
        frames::a_wait_breaks_the_capture_alone(engine, |name, value| stand_in.set(name, value));
    });
}

/// From pixels in host memory to a head's numbers in host memory, where networks cost nothing.
#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn without_tensorrt_frames_are_timed() {
    without_tensorrt(|engine, _| {
        let mut copying = frames::Copying::new(engine, [CAMERA; 2], Size { width: 256, height: 256 });
        let times = (0..FRAMES as u32).map(|seed| copying.frame(engine, seed, 0, true)).collect();
        println!("RESULT {CAMERA} rgb8 to 256x256 and back: {}", spread(times));
    });
}

/// Median, 99th percentile and largest of some times.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", at(0.5), at(0.99), at(1.0))
}

fn engine(precision: Precision) -> TensorRt {
    let options = TensorRtOptions {
        flavour: flavour(),
        library: None,
        precision,
        kept: PrecisionSpec::default(),
        model: "conformance".to_owned(),
        cache: Cache::of_user().unwrap(),
        is_on_trial: false,
    };
    TensorRt::new(options).unwrap()
}

#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn the_seam_holds() {
    precisions().into_iter().for_each(|precision| conformance::seam(&mut engine(precision)));
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

/// Largest difference of two depth maps as a share of the largest depth; what is no depth in one must be none in the other.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_finite() == b.is_finite()));
    let depths = || a.iter().zip(b).filter(|(a, _)| a.is_finite());
    let largest = depths().fold(f32::MIN_POSITIVE, |largest, (a, _)| largest.max(a.abs()));
    depths().fold(0.0_f32, |apart, (a, b)| apart.max((a - b).abs())) / largest
}

/// Parity, one CUDA graph per set of heads that computes what its steps did, and how long a frame takes from pixels to depth in host
/// memory.
#[test]
#[ignore = "needs an NVIDIA GPU; scripts/gpu-check.sh runs it"]
fn frames_are_captured_and_timed() {
    let folder = std::env::var("PIXIO_GPU_BUNDLE").expect("PIXIO_GPU_BUNDLE names a bundle");
    for precision in precisions() {
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
        let (mut times, mut step_by_step) = (Vec::with_capacity(FRAMES), None);
        for _ in 0..FRAMES {
            let start = Instant::now();
            let outputs = pipeline.run(&mut view, &image, depth).unwrap();
            times.push(start.elapsed());
            if let Some(depth) = outputs.depth {
                let first = step_by_step.get_or_insert_with(|| depth.meters().to_vec());
                let apart = apart(first, depth.meters());
                assert!(apart < 1e-4, "a graph computes otherwise than its steps: {apart} of the range");
            }
        }
        let notices = pipeline.engine().take_notices();
        let captured = pipeline
            .engine()
            .graphs()
            .iter()
            .any(|(name, is_graph)| name.starts_with("preprocess + backbone + ") && *is_graph);
        assert!(captured, "the frame is not one CUDA graph: {notices:?}");
        println!("RESULT {precision} {}: frame {}", sizes[0], spread(times));
    }
}
