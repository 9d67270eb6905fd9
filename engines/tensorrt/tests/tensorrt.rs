//! TensorRT's engine against the stand-in for libcuda and TensorRT.
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unsafe_code)]
// Without headers there is nothing to test; `make test` has them, and holds that (src/library.rs).
#![cfg(pixio_tensorrt)]

#[path = "standins/checks.rs"]
mod checks;
#[path = "standins/frames.rs"]
mod frames;
mod standins;

use network::Precision;
use perception::Engine;
use standins::stand_in;
use tensorrt::{Flavour, TensorRt};

const FLAVOUR: Flavour = Flavour::TensorRt;

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

/// The book is full while one sequence is launched again and again: that one stays, the one used longest ago goes, and no other.
#[test]
fn of_too_many_sequences_the_one_used_longest_ago_is_forgotten() {
    let (stand_in, cache) = (stand_in(FLAVOUR), tempfile::tempdir().unwrap());
    let mut engine = TensorRt::new(checks::options(FLAVOUR, &stand_in, &cache)).unwrap();
    let input = engine.allocate(&[4]).unwrap();
    let load = |name| engine.load(&checks::relu(name, &[4]), std::slice::from_ref(&input)).unwrap();
    let mut networks = ["a", "b"].map(load);
    let output = engine.outputs(&networks[0])[0].clone();
    let mut run = |engine: &mut TensorRt, sequence: &[usize]| {
        sequence.iter().for_each(|network| engine.run(&mut networks[*network]).unwrap());
        frames::download(engine, &output);
    };
    let six = |number: usize| -> [usize; 6] { std::array::from_fn(|step| (number >> step) & 1) };
    for number in 0..63 {
        run(&mut engine, &six(number));
        run(&mut engine, &[0]);
    }
    run(&mut engine, &six(1));
    assert_eq!(engine.graphs().len(), 64, "one that is captured takes its own place");
    run(&mut engine, &six(63));
    let graphs = engine.graphs();
    assert_eq!(graphs.len(), 64);
    let is_graph = |name: &str| graphs.iter().find(|(known, _)| known == name).map(|(_, is_graph)| *is_graph);
    let name = |number: usize| six(number).map(|network| ["a", "b"][network]).join(" + ");
    let known = [0, 1, 2, 62, 63].map(|number| is_graph(&name(number)));
    assert_eq!(known, [None, Some(true), Some(false), Some(false), Some(false)]);
    stand_in.reset();
    run(&mut engine, &[0]);
    assert_eq!(stand_in.calls_of(&["enqueueV3", "cuGraphLaunch"]), ["cuGraphLaunch"]);
    drop((networks, output, input, engine));
    assert_eq!(stand_in.live(), [""; 0]);
}

/// Headers of TensorRT 10 let a library of 10.3 through to the gate; headers of 11 refuse it before.
#[test]
fn versions_known_to_be_bad_are_refused_unless_accepted() {
    let (stand_in, cache) = (stand_in(FLAVOUR), tempfile::tempdir().unwrap());
    stand_in.set("version", 100_300);
    let options = checks::options(FLAVOUR, &stand_in, &cache);
    let refused = TensorRt::new(options.clone()).unwrap_err().to_string();
    if FLAVOUR.headers().unwrap().major != 10 {
        assert!(refused.contains("build again"), "{refused}");
        return;
    }
    assert!(
        refused.contains("known to compute wrong") && refused.contains("--accept-known-bad"),
        "{refused}"
    );
    let mut trial =
        TensorRt::new(tensorrt::TensorRtOptions { is_on_trial: true, ..options.clone() }).unwrap();
    let load = |engine: &mut TensorRt| {
        let input = engine.allocate(&[4]).unwrap();
        engine.load(&checks::relu("relu", &[4]), &[input]).map(drop)
    };
    load(&mut trial).unwrap();
    let acceptance = tensorrt::cache::Acceptance {
        model: options.model.clone(),
        flavour: FLAVOUR.name().to_owned(),
        library: "10.3.0".to_owned(),
        target: trial.plans().target.describe(),
        precision: Precision::Fp16.name().to_owned(),
        plans: vec![trial.certificates()[0].plan_sha256.clone()],
        photographs: tensorrt::gate::LEAST_PHOTOGRAPHS,
        worst_relative: 1e-3,
    };
    options.cache.accept(&acceptance).unwrap();
    let mut accepted = TensorRt::new(options.clone()).unwrap();
    assert!(accepted.take_notices()[0].contains("known to be bad is used"));
    load(&mut accepted).unwrap();
    stand_in.fail("deserializeCudaEngine", 1);
    let refused = load(&mut accepted).unwrap_err().to_string();
    assert!(refused.contains("the plan was refused"), "not built anew: {refused}");
    options.cache.remove(&accepted.certificates()[0].key).unwrap();
    let refused = load(&mut accepted).unwrap_err().to_string();
    assert!(refused.contains("only engines that were compared"), "{refused}");
}
