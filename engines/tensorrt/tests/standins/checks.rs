//! What holds for both flavours on the stand-in; the test files name the flavour.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use calibration::Size;
use network::graph::{GraphBuilder, Op};
use network::{Network, Precision, PrecisionSpec, Weights};
use perception::{Encoding, Engine, EngineError, ImageView, Pipeline, Wanted};
use tensorrt::{Cache, Device, Flavour, Library, Progress, TensorRt, TensorRtOptions};

use crate::frames::{self, NETWORK, bundle, download};
use crate::standins::{StandIn, stand_in};

const CAMERA: Size = Size { width: 81, height: 60 };

pub fn options(flavour: Flavour, stand_in: &StandIn, cache: &tempfile::TempDir) -> TensorRtOptions {
    TensorRtOptions {
        flavour,
        library: Some(stand_in.folder.clone()),
        precision: Precision::Fp16,
        kept: PrecisionSpec::default(),
        model: "a model".to_owned(),
        cache: Cache::new(cache.path()),
        is_on_trial: false,
    }
}

fn cache() -> tempfile::TempDir {
    tempfile::tempdir().expect("cache")
}

/// `y = relu(x)`
pub fn relu(name: &str, shape: &[usize]) -> Network {
    let mut builder = GraphBuilder::new(name);
    let x = builder.input("x", shape);
    let y = builder.node("relu", Op::Relu, &[x]).expect("relu");
    builder.output("y", y);
    Network::new(builder.finish(), Arc::new(Weights::default())).expect("network")
}

/// Loads and runs one small network, then lets everything go.
fn life(flavour: Flavour, stand_in: &StandIn, cache: &tempfile::TempDir) -> Result<(), EngineError> {
    let mut engine = TensorRt::new(options(flavour, stand_in, cache))?;
    let input = engine.allocate(&[2, 3])?;
    let mut network = engine.load(&relu("relu", &[2, 3]), std::slice::from_ref(&input))?;
    engine.upload(&[1.0; 6], &input)?;
    for _ in 0..3 {
        engine.run(&mut network)?;
        let output = engine.outputs(&network)[0].clone();
        engine.download(&output, &mut [0.0; 6])?;
    }
    Ok(())
}

pub fn the_seam_holds(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
    let identity = engine.identity().clone();
    assert_eq!((identity.flavour.as_str(), identity.precision.as_str()), (flavour.name(), "fp16"));
    assert_eq!(identity.device, "Stand-in GPU (sm_89, CUDA 12.6)");
    tests::conformance::seam(&mut engine);
    drop(engine);
    assert_eq!(stand_in.live(), [""; 0], "everything was let go");
}

/// The whole life of an engine, call by call, in the order of start, build, bind, run, capture, launch and end.
pub fn calls_come_in_order(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    life(flavour, &stand_in, &cache).expect("life");
    starts_in_order(&stand_in);
    let rtx = flavour == Flavour::TensorRtRtx;
    let built = stand_in.calls_of(&[
        "createInferBuilder",
        "createNetwork",
        "createNvOnnx",
        "parseFromFile",
        "createBuilderConfig",
        "clearFlag",
        "setFlag",
        "buildSerialized",
        "~plan",
        "~config",
        "~parser",
        "~network",
        "~builder",
        "deserialize",
    ]);
    // TensorRT 10 has to be told that a network is strongly typed, later ones and RTX know no other.
    let typed = if flavour.headers().expect("headers").major == 10 { 2 } else { 0 };
    let network = format!("createNetwork {typed}");
    let mut build = vec!["createInferBuilder", &network, "createNvOnnxParser", "parseFromFile"];
    build.extend(["createBuilderConfig", "clearFlag TF32"]);
    build.extend(rtx.then_some("setFlag"));
    build.extend(["buildSerializedNetwork", "~config", "~parser", "~network", "~builder", "~plan"]);
    build.push("deserializeCudaEngine");
    assert_eq!(built, build);
    let bound = stand_in.calls_of(&["createExecution", "setDeviceMemory", "setTensorAddress"]);
    assert_eq!(
        bound,
        ["createExecutionContext", "setDeviceMemory 256", "setTensorAddress x", "setTensorAddress y"]
    );
    let ran = stand_in.calls_of(&[
        "enqueueV3",
        "cuStreamBegin",
        "cuStreamEnd",
        "cuGraph",
        "isStream",
        "cuMemcpyDtoH",
    ]);
    let mut run = vec!["enqueueV3", "cuMemcpyDtoHAsync"];
    run.extend(rtx.then_some("isStreamCapturable"));
    run.extend([
        "cuStreamBeginCapture",
        "enqueueV3",
        "cuStreamEndCapture",
        "cuGraphInstantiate",
        "cuGraphLaunch",
    ]);
    run.extend(["cuMemcpyDtoHAsync", "cuGraphLaunch", "cuMemcpyDtoHAsync"]);
    assert_eq!(ran, run);
    let calls = stand_in.calls();
    let order = ["~executable graph", "~context", "~engine", "~runtime", "~device"];
    let places: Vec<_> =
        order.iter().map(|end| calls.iter().rposition(|call| call == end).expect(end)).collect();
    assert!(places.is_sorted(), "children end before parents: {places:?}");
    assert_eq!(stand_in.live(), [""; 0]);
}

/// The driver, the device, and only then the library.
fn starts_in_order(stand_in: &StandIn) {
    let started = stand_in.calls_of(&["cuInit", "cuDevice", "createInfer", "cuStreamCreate", "cuModuleLoad"]);
    let attribute = "cuDeviceGetAttribute";
    let start = ["cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName"];
    let start = [&start[..], &[attribute; 4]].concat();
    let then = ["cuDevicePrimaryCtxRetain", "createInferRuntime", "cuStreamCreate", "cuModuleLoadData"];
    assert_eq!(started[..start.len() + then.len()], [&start[..], &then[..]].concat());
}

/// Every call that can fail, failing: a clear error, or the reported way round, and nothing left behind.
pub fn every_failure_is_an_error_and_leaks_nothing(flavour: Flavour) {
    let (stand_in, good) = (stand_in(flavour), cache());
    stand_in.reset();
    life(flavour, &stand_in, &good).expect("life");
    let mut calls: Vec<String> = stand_in.calls();
    calls.retain(|call| {
        !call.starts_with('~') && !call.starts_with("clearFlag") && !call.starts_with("setFlag")
    });
    calls.retain(|call| !call.starts_with("setDeviceMemory"));
    let mut counts = std::collections::BTreeMap::<String, i32>::new();
    let steps: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let count = counts.entry(call.clone()).or_insert(0);
            *count += 1;
            (call, *count)
        })
        .collect();
    assert!(steps.len() > 40, "{steps:?}");
    // The last wait is that of a network that goes: there is nobody left to tell.
    let last_wait = counts["cuStreamSynchronize"];
    let way_round =
        ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "isStreamCapturable"];
    for small_pointers in [0, 1] {
        for (call, nth) in &steps {
            let fresh = cache();
            stand_in.reset();
            stand_in.set("small_pointers", small_pointers);
            stand_in.fail(call, *nth);
            let outcome = life(flavour, &stand_in, &fresh);
            let optional = way_round.contains(&call.as_str())
                || (call == "cuGraphLaunch" && *nth == 1)
                || (call == "enqueueV3" && *nth == 2)
                || (call == "cuStreamSynchronize" && *nth == last_wait);
            match outcome {
                Ok(()) => assert!(optional, "{call} {nth} failed and nobody noticed"),
                Err(error) => {
                    let (told, of_memory) = (error.to_string(), ["cuMemAlloc", "cuMemHostAlloc"]);
                    let tells_size = told.contains(" bytes: ") || !of_memory.contains(&call.as_str());
                    assert!(told.len() > 20 && tells_size, "{call} {nth}: {told}");
                }
            }
            assert_eq!(stand_in.live(), [""; 0], "{call} {nth} left something behind");
        }
    }
}

pub fn a_capture_that_fails_is_reported_and_run_plainly(flavour: Flavour) {
    let stand_in = stand_in(flavour);
    for call in ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"] {
        let cache = cache();
        stand_in.reset();
        let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
        let input = engine.allocate(&[4]).expect("input");
        let mut network = engine.load(&relu("relu", &[4]), std::slice::from_ref(&input)).expect("load");
        engine.take_notices();
        stand_in.fail(call, 1);
        let mut results = Vec::new();
        for _ in 0..4 {
            engine.run(&mut network).expect("run");
            let output = engine.outputs(&network)[0].clone();
            results.push(download(&mut engine, &output));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
        let notices = engine.take_notices();
        assert!(notices.len() == 1 && notices[0].contains("no CUDA graph of relu"), "{notices:?}");
        assert_eq!(engine.graphs(), [("relu".to_owned(), false)]);
        assert_eq!(stand_in.calls_of(&["cuGraphLaunch"]), [""; 0]);
    }
}

/// One graph per set of heads: with and without depth, each captured at its second frame, launched from then on.
pub fn a_graph_holds_the_whole_frame(flavour: Flavour, integrated: bool) {
    let (stand_in, cache, folder) = (stand_in(flavour), cache(), tempfile::tempdir().expect("folder"));
    stand_in.set("integrated", i32::from(integrated));
    let engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
    let mut pipeline = Pipeline::new(engine, bundle(folder.path(), NETWORK), None).expect("pipeline");
    let mut view = pipeline.view(CAMERA, None).expect("view");
    let pixels: Vec<u8> = (0..3 * CAMERA.area()).map(|i| (i * 7 % 251) as u8).collect();
    let image = ImageView::new(&pixels, CAMERA, 3 * CAMERA.width, Encoding::Rgb8).expect("image");
    let depth = Wanted { depth: true, ..Wanted::default() };
    let features = Wanted { features: true, ..Wanted::default() };
    let mut seen = Vec::new();
    for _ in 0..4 {
        let outputs = pipeline.run(&mut view, &image, depth).expect("depth");
        seen.push(outputs.depth.expect("depth").meters().to_vec());
        pipeline.run(&mut view, &image, features).expect("features");
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "captured and plain runs agree");
    let graphs = pipeline.engine().graphs();
    let names = ["preprocess + backbone + depth", "preprocess + backbone"];
    assert_eq!(graphs, names.map(|name| (name.to_owned(), true)));
    stand_in.reset();
    pipeline.run(&mut view, &image, depth).expect("depth");
    assert_eq!(stand_in.calls(), ["cuGraphLaunch", "cuMemcpyDtoHAsync", "cuStreamSynchronize"]);
    assert_eq!(stand_in.calls_of(&["cuMemcpyHtoD"]), [""; 0]);
    drop(pipeline);
    assert_eq!(stand_in.live(), [""; 0]);
}

pub fn networks_may_go_in_any_order(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
    let input = engine.allocate(&[4]).expect("input");
    let mut first = engine.load(&relu("first", &[4]), std::slice::from_ref(&input)).expect("first");
    let features = engine.outputs(&first).to_vec();
    let mut second = engine.load(&relu("second", &[4]), &features).expect("second");
    for _ in 0..3 {
        engine.run(&mut first).expect("first");
        engine.run(&mut second).expect("second");
        let output = engine.outputs(&second)[0].clone();
        download(&mut engine, &output);
    }
    assert_eq!(engine.graphs(), [("first + second".to_owned(), true)]);
    // Asked for and dropped before it was waited for.
    engine.run(&mut first).expect("first");
    drop(first);
    drop(features);
    drop(input);
    let output = engine.outputs(&second)[0].clone();
    engine.run(&mut second).expect("second");
    download(&mut engine, &output);
    drop(engine);
    drop(output);
    drop(second);
    assert_eq!(stand_in.live(), [""; 0]);
}

/// What the engine enqueues, on a device that does everything as late as it may: against the numbers that the host expects.
pub fn frames_compute_what_the_host_expects(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    for integrated in [0, 1] {
        stand_in.set("copies", 1);
        stand_in.set("integrated", integrated);
        let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
        frames::pixels_equal_the_cpus(&mut engine);
        frames::frames_go_through_graphs(&mut engine);
        drop(engine);
        let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
        frames::a_wait_breaks_the_capture_alone(&mut engine, |name, value| stand_in.set(name, value));
        drop(engine);
        assert_eq!(stand_in.live(), [""; 0]);
    }
}

/// Made on one thread, run on another, dropped on a third: a thread without the device's context ends the process.
pub fn threads_may_change(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    let options = options(flavour, &stand_in, &cache);
    let made = std::thread::spawn(move || {
        let mut engine = TensorRt::new(options).expect("engine");
        let input = engine.allocate(&[4]).expect("input");
        let network = engine.load(&relu("relu", &[4]), std::slice::from_ref(&input)).expect("load");
        (engine, input, network)
    });
    let (mut engine, input, mut network) = made.join().expect("made");
    let ran = std::thread::spawn(move || {
        for value in [1.0, 2.0, 3.0] {
            engine.upload(&[value; 4], &input).expect("upload");
            engine.run(&mut network).expect("run");
            let output = engine.outputs(&network)[0].clone();
            download(&mut engine, &output);
        }
        let image = vec![7; 3 * CAMERA.area()];
        let image = ImageView::new(&image, CAMERA, 3 * CAMERA.width, Encoding::Rgb8).expect("image");
        let pixels = engine.allocate(&[1, 3, NETWORK.height, NETWORK.width]).expect("pixels");
        let geometry = perception::ImageGeometry::new(CAMERA, NETWORK).expect("geometry");
        let spec = network::manifest::PreprocessingSpec::default();
        let mut preprocessing = perception::Preprocessing::new(geometry, &spec);
        engine.preprocess(&image, &mut preprocessing, &pixels).expect("preprocess");
        (engine, network, pixels)
    });
    let (engine, network, pixels) = ran.join().expect("ran");
    std::thread::spawn(move || drop((pixels, network))).join().expect("dropped");
    std::thread::spawn(move || drop(engine)).join().expect("dropped");
    assert_eq!(stand_in.live(), [""; 0]);
}

/// The library knows one logger at a time, and uses it when its first owner is gone: another one ends the process.
pub fn engines_may_live_side_by_side(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    let engine = || TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
    let (first, mut second) = (engine(), engine());
    drop(first);
    let input = second.allocate(&[4]).expect("input");
    second.load(&relu("relu", &[4]), std::slice::from_ref(&input)).expect("load");
    assert_eq!(second.certificates()[0].warnings, ["stand-in: nothing was optimised"]);
    drop((second, input));
    assert_eq!(stand_in.live(), [""; 0]);
}

pub fn a_build_reports_its_progress_and_can_be_stopped(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = steps.clone();
    let watch = move |_: &str, progress: Option<Progress<'_>>| {
        let step = matches!(progress, Some(Progress::Step { .. }));
        counted.fetch_add(usize::from(step), Ordering::Relaxed);
        true
    };
    let mut engine = TensorRt::watched(options(flavour, &stand_in, &cache), Box::new(watch)).expect("engine");
    let input = engine.allocate(&[4]).expect("input");
    engine.load(&relu("relu", &[4]), std::slice::from_ref(&input)).expect("load");
    assert_eq!(steps.load(Ordering::Relaxed), 3);
    let certificate = &engine.certificates()[0];
    assert_eq!(certificate.kernels, [("standin".to_owned(), 1)].into());
    assert_eq!(certificate.warnings, ["stand-in: nothing was optimised"]);
    let notices = engine.take_notices();
    assert!(notices[0].contains("no engine of relu was built yet"), "{notices:?}");
    stand_in.reset();
    engine.load(&relu("relu", &[4]), std::slice::from_ref(&input)).expect("load");
    assert_eq!(stand_in.calls_of(&["createInferBuilder"]), [""; 0], "the cache had it");
    stand_in.set("warns", 1);
    engine.load(&relu("relu", &[4]), std::slice::from_ref(&input)).expect("load");
    assert_eq!(engine.take_notices(), [format!("{flavour} of relu: stand-in: the plan is of another GPU")]);
    stand_in.reset();

    let enough = |_: &str, progress: Option<Progress<'_>>| progress != Some(Progress::Ended);
    let mut satisfied =
        TensorRt::watched(options(flavour, &stand_in, &cache), Box::new(enough)).expect("engine");
    let fresh = satisfied.allocate(&[4]).expect("input");
    let load = |engine: &mut TensorRt| engine.load(&relu("last", &[4]), std::slice::from_ref(&fresh));
    let error = load(&mut satisfied).expect_err("stopped after the last step").to_string();
    assert!(error.contains("stopped; ") && error.contains("last-"), "{error}");
    load(&mut satisfied).expect("what was built is in the cache");
    drop((satisfied, fresh));

    let stop = |_: &str, progress: Option<Progress<'_>>| !matches!(progress, Some(Progress::Step { .. }));
    let mut stopped = TensorRt::watched(options(flavour, &stand_in, &cache), Box::new(stop)).expect("engine");
    let fresh = stopped.allocate(&[4]).expect("input");
    let error = stopped.load(&relu("other", &[4]), &[fresh]).expect_err("stopped");
    assert!(error.to_string().contains("stopped"), "{error}");
    let panicking = |_: &str, progress: Option<Progress<'_>>| {
        assert!(!matches!(progress, Some(Progress::Step { .. })), "a watcher that panics");
        true
    };
    let mut panicked =
        TensorRt::watched(options(flavour, &stand_in, &cache), Box::new(panicking)).expect("engine");
    let fresh = panicked.allocate(&[4]).expect("input");
    let error = panicked.load(&relu("other", &[4]), &[fresh]).expect_err("stopped");
    assert!(error.to_string().contains("stopped"), "{error}");
    drop((engine, input, stopped, panicked));
    assert_eq!(stand_in.live(), [""; 0]);
}

pub fn what_is_not_there_or_does_not_fit_is_refused(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    let refused = || TensorRt::new(options(flavour, &stand_in, &cache)).unwrap_err().to_string();
    stand_in.set("devices", 0);
    assert!(refused().contains("no GPU"), "{}", refused());
    assert_eq!(stand_in.calls_of(&["createInfer"]), [""; 0], "the library is not asked without a device");
    stand_in.reset();
    stand_in.set("driver", 12_020);
    assert!(
        refused().contains("expected a driver for CUDA 12.5 or later, got one for CUDA 12.2"),
        "{}",
        refused()
    );
    assert_eq!(stand_in.calls_of(&["createInfer"]), [""; 0]);
    stand_in.reset();
    let headers = flavour.headers().expect("headers");
    let other = 10_000 * (headers.major + 1);
    stand_in.set("version", other);
    assert!(refused().contains("build again against the headers"), "{}", refused());
    if flavour == Flavour::TensorRtRtx {
        stand_in.set("version", 10_000 * headers.major + 100 * (headers.minor + 1));
        assert!(refused().contains("same minor version"), "{}", refused());
    }
    assert_eq!(stand_in.calls_of(&["createInfer"]), [""; 0]);
    stand_in.reset();
    let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
    let input = engine.allocate(&[4]).expect("input");
    stand_in.set("half_ports", 1);
    let error = engine.load(&relu("relu", &[4]), std::slice::from_ref(&input)).expect_err("half").to_string();
    assert!(error.contains("expected float32"), "{error}");
    drop((engine, input));
    assert_eq!(stand_in.live(), [""; 0]);
}

/// A cached plan that the library refuses is built anew, once, and the reason is told.
pub fn a_plan_that_does_not_load_is_built_anew(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    life(flavour, &stand_in, &cache).expect("life");
    stand_in.reset();
    stand_in.fail("deserializeCudaEngine", 1);
    stand_in.set("warns", 1);
    let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
    let input = engine.allocate(&[2, 3]).expect("input");
    engine.load(&relu("relu", &[2, 3]), std::slice::from_ref(&input)).expect("load");
    let notices = engine.take_notices().join("\n");
    assert!(
        notices.contains("does not load") && notices.contains("deserializeCudaEngine fails"),
        "{notices}"
    );
    assert_eq!(notices.matches("the plan is of another GPU").count(), 2, "of both plans: {notices}");
    assert_eq!(engine.certificates()[0].warnings, ["stand-in: nothing was optimised"], "of the build alone");
    assert_eq!(stand_in.calls_of(&["buildSerializedNetwork"]).len(), 1);
    drop((engine, input));
    assert_eq!(stand_in.live(), [""; 0]);
}

/// A Jetson of another size, or in another power mode, has the same name and capability.
pub fn another_gpu_of_the_same_name_has_its_own_plans(flavour: Flavour) {
    let (stand_in, cache) = (stand_in(flavour), cache());
    life(flavour, &stand_in, &cache).expect("life");
    stand_in.set("multiprocessors", 64);
    let mut engine = TensorRt::new(options(flavour, &stand_in, &cache)).expect("engine");
    let input = engine.allocate(&[2, 3]).expect("input");
    engine.load(&relu("relu", &[2, 3]), std::slice::from_ref(&input)).expect("load");
    let notices = engine.take_notices();
    let change = "target Stand-in GPU 128 SMs sm_89 -> Stand-in GPU 64 SMs sm_89";
    assert_eq!(notices, [format!("built the engine of relu: {change}")]);
    drop((engine, input));
    assert_eq!(stand_in.live(), [""; 0]);
}

pub fn hostile_plans_and_files_are_refused(flavour: Flavour) {
    let (stand_in, folder) = (stand_in(flavour), tempfile::tempdir().expect("folder"));
    let library = Library::open(flavour, Some(&stand_in.folder)).expect("library");
    let device = Device::first().expect("device");
    for plan in [&b""[..], b"junk", b"stand-in plan"] {
        let error = tensorrt::check_plan(&library, Some(&device), plan).unwrap_err().to_string();
        assert!(error.contains("the plan was refused"), "{error}");
    }
    let target = tensorrt::Target::Device(device.clone());
    for (bytes, reason) in
        [(&b""[..], "no outputs"), (&b"\x3a\xff"[..], "not parsed"), (&b"junk"[..], "not parsed")]
    {
        let path = folder.path().join("hostile.onnx");
        std::fs::write(&path, bytes).expect("file");
        let error =
            tensorrt::build_plan(&library, "hostile", &path, &target, &|_| true).unwrap_err().to_string();
        assert!(error.contains(reason), "{bytes:?}: {error}");
    }
    drop((device, target));
    assert_eq!(stand_in.live(), [""; 0]);
}
