//! Real builds with the TensorRT-RTX library of PyPI, which needs no GPU for them. By hand: `make referees` runs these
//! (tests/referees/tensorrt_rtx.sh), with `PIXIO_TENSORRT_RTX` naming the library's folder.
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Without headers there is nothing to test; see tests/tensorrt.rs.
#![cfg(pixio_tensorrt_rtx)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use calibration::Size;
use network::bundle::random_model;
use network::{Architecture, Bundle, HeadKind, Network, Precision, PrecisionSpec, Typing};
use perception::EngineError;
use tensorrt::{Flavour, Layer, Library, Plan, Target, build_plan};

const SIZE: Size = Size { width: 256, height: 256 };

/// Compute capabilities of RTX GPUs: Turing, Ampere, Ada, Blackwell.
const TARGETS: [i32; 4] = [75, 86, 89, 120];

fn library() -> Arc<Library> {
    Library::open(Flavour::TensorRtRtx, None).unwrap_or_else(|error| panic!("{error}"))
}

fn bundle(architecture: &str, folder: &Path) -> Bundle {
    let dpt = HeadKind::DptDepth { features: 256, out_channels: [256, 512, 1024, 1024] };
    let heads = [("linear".to_owned(), HeadKind::LinearDepth {}), ("dpt".to_owned(), dpt)];
    let model = random_model(Architecture::named(architecture).unwrap(), &heads, &[SIZE], 1).unwrap();
    model.write(&folder.join(architecture), false, |_| ()).unwrap()
}

fn build(network: &Network, precision: Precision, targets: &[i32]) -> Plan {
    try_to_build(network, precision, targets).unwrap_or_else(|error| panic!("{error}"))
}

fn try_to_build(network: &Network, precision: Precision, targets: &[i32]) -> Result<Plan, EngineError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.onnx");
    let typing = Typing::new(network.graph(), precision, &PrecisionSpec::default());
    network::onnx::write_typed(network, &typing, &path, network::onnx::MAX_EMBEDDED_BYTES).unwrap();
    let target = Target::Capabilities(targets.to_vec());
    build_plan(&library(), network.name(), &path, &target, &|_| true)
}

fn attention(plan: &Plan) -> usize {
    plan.layers.iter().filter(|layer| layer.is_fused_attention()).count()
}

#[test]
#[ignore = "needs the TensorRT-RTX library; make referees runs it"]
fn attention_is_one_kernel_per_block() {
    println!(
        "| network | precision | sm | plan MB | kernels | fused attention | s |\n|---|---|---|---|---|---|---|"
    );
    let folder = tempfile::tempdir().unwrap();
    for name in ["pixio-tiny16", "pixio-b16"] {
        let bundle = bundle(name, folder.path());
        let blocks = bundle.manifest().architecture.blocks;
        let heads = ["linear", "dpt"].map(|head| bundle.head(head, SIZE).unwrap());
        let networks = std::iter::once(bundle.backbone(SIZE).unwrap()).chain(heads);
        for network in networks {
            for precision in [Precision::Fp16, Precision::Fp32] {
                for target in TARGETS {
                    let start = Instant::now();
                    let built = try_to_build(&network, precision, &[target]);
                    print!("| {name} {} | {precision} | {target} | ", network.name());
                    let plan = match built {
                        Ok(plan) => plan,
                        // Turing's matrix products are float16 here.
                        Err(error)
                            if target == 75 && error.to_string().contains("FP32 GEMM is not supported") =>
                        {
                            assert_eq!(precision, Precision::Fp32, "{error}");
                            println!("refused: no float32 matrix products | | | |");
                            continue;
                        }
                        Err(error) => panic!("{error}"),
                    };
                    let (megabytes, secs) = (plan.bytes().len() as f64 / 1e6, start.elapsed().as_secs_f64());
                    println!("{megabytes:.1} | {} | {} | {secs:.1} |", plan.layers.len(), attention(&plan));
                    let expected = if network.name() == "backbone" { blocks } else { 0 };
                    if precision == Precision::Fp16 {
                        assert_eq!(attention(&plan), expected, "{:?}", plan.layers);
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "needs the TensorRT-RTX library; make referees runs it"]
fn casts_survive_in_fused_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle("pixio-tiny16", folder.path());
    let blocks = bundle.manifest().architecture.blocks;
    let plan = build(&bundle.backbone(SIZE).unwrap(), Precision::Fp16, &[89]);
    for block in 0..blocks {
        let layer = the_layer_of(&plan, &format!("encoder.blocks.{block}.attn.softmax"));
        for cast in ["attn.scores.fp32", "attn.softmax.fp16"] {
            assert!(layer.operations.contains(&format!("encoder.blocks.{block}.{cast}")), "{layer:?}");
        }
        for norm in ["norm1", "norm2"] {
            let name = format!("encoder.blocks.{block}.{norm}");
            let layer = the_layer_of(&plan, &name);
            assert!(layer.operations.contains(&format!("{name}.fp16")), "{layer:?}");
            // Gain and bias; what a residual sum before the norm brings is float16.
            let float32 = layer.constants.iter().filter(|kind| *kind == "Float").count();
            assert!(float32 >= 2, "{layer:?}");
            println!("{name}: {} {:?} -> {:?}", layer.name, layer.inputs, layer.outputs);
        }
    }
    for (head, last) in [("linear", "heads.linear.1"), ("dpt", "heads.dpt.scratch.output_conv.2")] {
        let plan = build(&bundle.head(head, SIZE).unwrap(), Precision::Fp16, &[89]);
        let layer = the_layer_of(&plan, last);
        let formats: Vec<_> =
            [&layer.inputs, &layer.constants, &layer.outputs].into_iter().flatten().collect();
        println!("{last}: {} {formats:?}", layer.name);
        assert!(formats.iter().all(|format| *format == "Float"), "{layer:?}");
    }
}

/// The one layer that computes an operation of the ONNX file.
fn the_layer_of<'p>(plan: &'p Plan, operation: &str) -> &'p Layer {
    let mut found = plan.layers.iter().filter(|layer| layer.operations.iter().any(|name| name == operation));
    let names = || plan.layers.iter().flat_map(|layer| &layer.operations).collect::<Vec<_>>();
    let layer = found.next().unwrap_or_else(|| panic!("no layer computes {operation}: {:?}", names()));
    assert_eq!(found.next(), None, "two layers compute {operation}");
    layer
}

/// Resident memory of this process, MB.
fn resident_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1e3
}

#[test]
#[ignore = "needs the TensorRT-RTX library; make referees runs it"]
fn hostile_onnx_is_refused_without_growth() {
    let (library, folder) = (library(), tempfile::tempdir().unwrap());
    let bundle = bundle("pixio-tiny16", folder.path());
    let good = network::onnx::encode(&bundle.head("linear", SIZE).unwrap()).unwrap();
    let mut flipped = good.clone();
    flipped.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
    let renamed = replace(&good, b"Sigmoid", b"Sigmold");
    let cases: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("junk", &[0x5a; 4096]),
        ("truncated", &good[..good.len() / 2]),
        ("flipped bytes", &flipped),
        ("unknown operation", &renamed),
        ("text", b"not an ONNX file at all"),
    ];
    let path = folder.path().join("hostile.onnx");
    let target = Target::Capabilities(vec![89]);
    for (name, bytes) in cases {
        std::fs::write(&path, bytes).unwrap();
        let refuse = || build_plan(&library, "hostile", &path, &target, &|_| true).unwrap_err().to_string();
        let reason = refuse();
        (0..20).for_each(|_| drop(refuse()));
        let before = resident_megabytes();
        (0..200).for_each(|_| drop(refuse()));
        let growth = resident_megabytes() - before;
        let first = reason.lines().next().unwrap_or_default().chars().take(150).collect::<String>();
        println!("| {name} | {first} | {growth:+.1} MB after 200 more |");
        assert!(growth < 20.0, "{name}: {growth} MB");
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| changed[at..at + to.len()].copy_from_slice(to));
    changed
}

/// A good plan is refused too, for want of a driver, and for that reason.
#[test]
#[ignore = "needs the TensorRT-RTX library; make referees runs it"]
fn hostile_plans_are_refused_without_growth() {
    let (library, folder) = (library(), tempfile::tempdir().unwrap());
    let bundle = bundle("pixio-tiny16", folder.path());
    let plan = build(&bundle.head("linear", SIZE).unwrap(), Precision::Fp16, &[89]);
    let good = plan.bytes();
    let mut flipped = good.to_vec();
    flipped.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
    let cases: [(&str, &[u8]); 5] = [
        ("good plan, no GPU", good),
        ("empty", b""),
        ("junk", &[0x5a; 4096]),
        ("truncated", &good[..good.len() / 2]),
        ("flipped bytes", &flipped),
    ];
    for (name, bytes) in cases {
        let refuse = || tensorrt::check_plan(&library, None, bytes).unwrap_err().to_string();
        let reason = refuse();
        (0..20).for_each(|_| drop(refuse()));
        let before = resident_megabytes();
        (0..200).for_each(|_| drop(refuse()));
        let growth = resident_megabytes() - before;
        let first = reason.lines().next().unwrap_or_default().chars().take(150).collect::<String>();
        println!("| {name} | {first} | {growth:+.1} MB after 200 more |");
        assert!(growth < 20.0, "{name}: {growth} MB");
    }
}
