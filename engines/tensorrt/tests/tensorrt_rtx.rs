//! TensorRT-RTX's engine against the stand-in for libcuda and TensorRT.
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unsafe_code)]
// Without headers there is nothing to test; `make test` has them, and holds that (src/library.rs).
#![cfg(pixio_tensorrt_rtx)]

#[path = "standins/checks.rs"]
mod checks;
#[path = "standins/frames.rs"]
mod frames;
mod standins;

use standins::stand_in;
use tensorrt::{Flavour, Library, Target, build_plan};

const FLAVOUR: Flavour = Flavour::TensorRtRtx;

macro_rules! hold {
    ($($check:ident $(($($argument:expr),*) as $name:ident)?;)*) => {
        $(hold!(@one $check $(($($argument),*) as $name)?);)*
    };
    (@one $check:ident ($($argument:expr),*) as $name:ident) => {
        #[test]
        fn $name() {
            checks::$check(FLAVOUR, $($argument),*);
        }
    };
    (@one $check:ident) => {
        #[test]
        fn $check() {
            checks::$check(FLAVOUR);
        }
    };
}

hold! {
    the_seam_holds;
    calls_come_in_order;
    every_failure_is_an_error_and_leaks_nothing;
    a_capture_that_fails_is_reported_and_run_plainly;
    a_graph_holds_the_whole_frame(false) as a_graph_holds_the_whole_frame;
    a_graph_holds_the_whole_frame(true) as a_graph_reads_mapped_frames_on_an_integrated_gpu;
    networks_may_go_in_any_order;
    frames_compute_what_the_host_expects;
    threads_may_change;
    engines_may_live_side_by_side;
    a_build_reports_its_progress_and_can_be_stopped;
    what_is_not_there_or_does_not_fit_is_refused;
    a_plan_that_does_not_load_is_built_anew;
    another_gpu_of_the_same_name_has_its_own_plans;
    hostile_plans_and_files_are_refused;
}

/// Without a GPU: a plan for named GPUs, and none for GPUs that the library does not know.
#[test]
fn builds_for_gpus_that_are_not_there() {
    let (stand_in, folder) = (stand_in(FLAVOUR), tempfile::tempdir().unwrap());
    let library = Library::open(FLAVOUR, Some(&stand_in.folder)).unwrap();
    let onnx = folder.path().join("a.onnx");
    network::onnx::write(&checks::relu("relu", &[4]), &onnx, network::onnx::MAX_EMBEDDED_BYTES).unwrap();
    let target = Target::Capabilities(vec![86, 89]);
    let plan = build_plan(&library, "relu", &onnx, &target, &|_| true).unwrap();
    assert!(!plan.bytes().is_empty());
    let set = stand_in.calls_of(&["setNb", "setCompute", "cuInit"]);
    assert_eq!(set, ["setNbComputeCapabilities 2", "setComputeCapability 86 0", "setComputeCapability 89 1"]);
    drop(plan);
    stand_in.fail("setComputeCapability 89 1", 1);
    let error = build_plan(&library, "relu", &onnx, &target, &|_| true).unwrap_err().to_string();
    assert!(error.contains("a target was refused"), "{error}");
    assert_eq!(stand_in.live(), [""; 0]);
}
