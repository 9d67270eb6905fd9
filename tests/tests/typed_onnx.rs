//! Typed ONNX files against float32 ones, both run by ONNX Runtime, which obeys the types in the file.

use calibration::Size;
use network::bundle::random_model;
use network::{Architecture, HeadKind, Network, Precision, PrecisionSpec, Typing};
use onnx::OnnxTensor;
use perception::Engine;
use perception::parity::Tolerance;
use tests::onnx_runtime;

const SIZE: Size = Size { width: 96, height: 64 };

fn networks() -> (tempfile::TempDir, Vec<Network>) {
    let dpt = HeadKind::DptDepth { features: 32, out_channels: [16, 32, 64, 64] };
    let heads = [("depth".to_owned(), HeadKind::LinearDepth {}), ("dpt".to_owned(), dpt)];
    let model = random_model(Architecture::named("pixio-tiny16").unwrap(), &heads, &[SIZE], 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bundle = model.write(&folder.path().join("bundle"), false, |_| ()).unwrap();
    let networks = ["depth", "dpt"].map(|name| bundle.head(name, SIZE).unwrap());
    (folder, std::iter::once(bundle.backbone(SIZE).unwrap()).chain(networks).collect())
}

/// Runs a network on reproducible inputs; typed through a file as TensorRT's parser gets it.
fn outputs(network: &Network, typing: Option<&Typing>) -> Vec<Vec<f32>> {
    let mut engine = onnx_runtime();
    let mut inputs: Vec<OnnxTensor> = Vec::new();
    for (index, port) in network.inputs().iter().enumerate() {
        let tensor = engine.allocate(&port.shape).unwrap();
        let count: usize = port.shape.iter().product();
        let wave = |i: usize| ((i * 37 + index * 11) % 1009) as f32 / 504.5 - 1.0;
        engine.upload(&(0..count).map(wave).collect::<Vec<_>>(), &tensor).unwrap();
        inputs.push(tensor);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut loaded = match typing {
        None => engine.load(network, &inputs).unwrap(),
        Some(typing) => {
            let path = folder.path().join("typed.onnx");
            network::onnx::write_typed(network, typing, &path, network::onnx::MAX_EMBEDDED_BYTES).unwrap();
            engine.load_file(&path, network, &inputs).unwrap()
        }
    };
    engine.run(&mut loaded).unwrap();
    let tensors = engine.outputs(&loaded).to_vec();
    let read = |tensor: &OnnxTensor| {
        let mut values = vec![0.0; engine.shape(tensor).iter().product()];
        engine.download(tensor, &mut values).unwrap();
        values
    };
    tensors.iter().map(read).collect()
}

/// Largest error as a share of the range, and the cosine.
fn compare(ours: &[f32], golden: &[f32]) -> (f64, f64) {
    let pairs = || ours.iter().zip(golden).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let range = pairs().map(|(_, b)| b.abs()).fold(0.0, f64::max);
    let error = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let sum = |f: fn((f64, f64)) -> f64| pairs().map(f).sum::<f64>();
    (error / range, sum(|(a, b)| a * b) / (sum(|(a, _)| a * a) * sum(|(_, b)| b * b)).sqrt())
}

#[test]
fn float16_networks_stay_within_tolerance() {
    let (_folder, networks) = networks();
    let tolerance = Tolerance::of("fp16");
    for network in &networks {
        let typing = Typing::new(network.graph(), Precision::Fp16, &PrecisionSpec::default());
        for (half, single) in outputs(network, Some(&typing)).iter().zip(&outputs(network, None)) {
            let (relative, cosine) = compare(half, single);
            assert!(relative > 0.0, "{}: not a bit differs, so nothing was float16", network.name());
            assert!(
                relative < tolerance.relative && cosine > tolerance.cosine,
                "{}: {relative:.1e} {cosine}",
                network.name()
            );
        }
    }
}

#[test]
fn a_float32_typing_changes_nothing() {
    let (_folder, networks) = networks();
    for network in &networks {
        let typing = Typing::new(network.graph(), Precision::Fp32, &PrecisionSpec::default());
        assert_eq!(outputs(network, Some(&typing)), outputs(network, None), "{}", network.name());
    }
}

#[test]
fn keeping_a_block_in_float32_brings_its_numbers_closer() {
    let (_folder, networks) = networks();
    let backbone = &networks[0];
    let golden = outputs(backbone, None);
    let error = |fp32: &[&str]| {
        let spec = PrecisionSpec { fp32: fp32.iter().map(|p| (*p).to_owned()).collect(), bf16: vec![] };
        let typing = Typing::new(backbone.graph(), Precision::Fp16, &spec);
        let last = outputs(backbone, Some(&typing)).pop().unwrap();
        compare(&last, golden.last().unwrap()).0
    };
    assert!(error(&["encoder.blocks"]) < error(&[]), "all blocks in float32, only patches in float16");
    assert_eq!(error(&["*"]), 0.0, "everything in float32");
}
