//! Checkpoints in every on-disk form, and the networks made of them, against the official code and transformers
//! (`golden/make_networks.py`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use calibration::Size;
use network::bundle::{HeadSource, ImportRequest, import};
use network::modules::encoder::{Tokens, backbone};
use network::{Bundle, HeadKind, Network};
use perception::Engine;
use tests::golden::{self, Golden, max_difference};
use tests::onnx_runtime;

/// What fp32 allows between two implementations.
const TOLERANCE: f32 = 1e-4;

const SIZES: [Size; 3] =
    [Size { width: 64, height: 64 }, Size { width: 96, height: 48 }, Size { width: 48, height: 80 }];

fn checkpoint(name: &str) -> PathBuf {
    golden::checkpoints(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn request(backbone: PathBuf) -> ImportRequest {
    ImportRequest {
        backbone,
        attention_heads: Some(2),
        heads: Vec::new(),
        taps: vec![0, 1, 2, 3],
        sizes: SIZES.to_vec(),
        name: "tiny".to_owned(),
        licence: "none".to_owned(),
    }
}

fn heads() -> Vec<HeadSource> {
    let head = |name: &str, file: &str, max_depth_meters| HeadSource {
        name: name.to_owned(),
        path: checkpoint(file),
        max_depth_meters,
        labels: None,
    };
    vec![head("linear", "linear_ddp.pth", 10.0), head("dpt", "dpt.pth", 80.0)]
}

/// The normalised input `[1, 3, height, width]` of a golden picture.
fn input(picture: &Golden) -> Vec<f32> {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let channel =
        |c: usize| picture.values.iter().skip(c).step_by(3).map(move |v| (v / 255.0 - mean[c]) / std[c]);
    (0..3).flat_map(channel).collect()
}

/// Runs a network on values for its inputs.
fn run<E: Engine>(engine: &mut E, network: &Network, inputs: &[&[f32]]) -> BTreeMap<String, Vec<f32>> {
    run_loaded(engine, network, inputs, |engine, inputs| engine.load(network, inputs))
}

fn run_loaded<E: Engine>(
    engine: &mut E,
    network: &Network,
    inputs: &[&[f32]],
    load: impl FnOnce(&mut E, &[E::Tensor]) -> Result<E::Network, perception::EngineError>,
) -> BTreeMap<String, Vec<f32>> {
    let mut tensors = Vec::new();
    for (port, values) in network.inputs().iter().zip(inputs) {
        let tensor = engine.allocate(&port.shape).unwrap();
        engine.upload(values, &tensor).unwrap();
        tensors.push(tensor);
    }
    let mut loaded = load(engine, &tensors).unwrap();
    engine.run(&mut loaded).unwrap();
    let outputs = engine.outputs(&loaded).to_vec();
    let mut values = BTreeMap::new();
    for (port, tensor) in network.outputs().iter().zip(&outputs) {
        let mut numbers = vec![0.0; port.shape.iter().product()];
        engine.download(tensor, &mut numbers).unwrap();
        values.insert(port.name.clone(), numbers);
    }
    values
}

fn bundle(folder: &std::path::Path) -> Bundle {
    let request = ImportRequest { heads: heads(), ..request(checkpoint("official_fp32.pth")) };
    import(&request).unwrap().write(&folder.join("bundle"), false, |_| ()).unwrap()
}

#[test]
fn every_tap_and_head_is_that_of_the_official_code() {
    let (golden, folder, mut engine) =
        (golden::read("networks.safetensors"), tempfile::tempdir().unwrap(), onnx_runtime());
    let bundle = bundle(folder.path());
    for size in SIZES {
        let expected = |name: &str| &golden[&format!("{size}/{name}")].values;
        let image = input(&golden[&format!("{size}/image")]);
        let taps: Vec<_> =
            (0..4).flat_map(|block| [(block, Tokens::Normalised), (block, Tokens::Raw)]).collect();
        let network = backbone(&bundle.manifest().architecture, bundle.weights(), size, &taps).unwrap();
        let tokens = run(&mut engine, &network, &[&image]);
        assert_eq!(tokens.len(), 8);
        for (name, values) in &tokens {
            let difference = max_difference(values, expected(name));
            assert!(difference < TOLERANCE, "{size} {name}: {difference}");
        }
        let difference = max_difference(&tokens["tokens_3"], expected("hugging_face"));
        assert!(difference < TOLERANCE, "{size} transformers: {difference}");
        for name in ["linear", "dpt"] {
            let head = bundle.head(name, size).unwrap();
            let inputs: Vec<_> = head.inputs().iter().map(|port| tokens[&port.name].as_slice()).collect();
            let depth = run(&mut engine, &head, &inputs);
            // The metre scale multiplies the error of the sigmoid's 0 to 1.
            let scale = bundle.manifest().heads[name].depth().unwrap().max_depth_meters;
            let difference = max_difference(&depth["depth"], expected(name)) / scale;
            assert!(difference < TOLERANCE, "{size} {name}: {difference}");
        }
    }
}

#[test]
fn every_form_on_disk_holds_the_same_model() {
    let reference = import(&request(checkpoint("official_fp32.pth"))).unwrap();
    let forms = [
        ("official_fp16.pth", 1e-6),
        ("official_bf16.pth", 0.0),
        ("trainer.pth", 0.0),
        ("linear_ddp.pth", 0.0),
        ("dpt.pth", 0.0),
        ("hugging_face_fp32", 0.0),
        ("hugging_face_fp32/model.safetensors", 0.0),
        ("hugging_face_fp16", 1e-6),
        ("hugging_face_bf16", 0.0),
        ("hugging_face_sharded", 0.0),
        ("hugging_face_sharded/model.safetensors.index.json", 0.0),
        ("hugging_face_memory_names", 0.0),
    ];
    for (form, tolerance) in forms {
        let model = import(&request(checkpoint(form))).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(model.manifest.architecture, reference.manifest.architecture, "{form}");
        for (name, shape) in reference.manifest.architecture.tensors() {
            let name = format!("encoder.{name}");
            let (ours, theirs) = (
                model.weights.read_f32(&name, &shape).unwrap(),
                reference.weights.read_f32(&name, &shape).unwrap(),
            );
            let difference = max_difference(&ours, &theirs);
            assert!(difference <= tolerance, "{form} {name}: {difference}");
        }
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let without_heads = ImportRequest { attention_heads: None, ..request(checkpoint("official_fp32.pth")) };
    let text = import(&without_heads).unwrap_err().to_string();
    assert!(text.contains("official_fp32.pth") && text.contains("--heads"), "{text}");
    // Hugging Face's configuration says the number.
    import(&ImportRequest { attention_heads: None, ..request(checkpoint("hugging_face_fp32")) }).unwrap();
    let text = import(&request(checkpoint("config.json"))).unwrap_err().to_string();
    assert!(text.contains("expected a .pth"), "{text}");
    let backbone_as_head = HeadSource { path: checkpoint("official_fp32.pth"), ..heads().remove(0) };
    let text =
        import(&ImportRequest { heads: vec![backbone_as_head], ..request(checkpoint("official_fp32.pth")) });
    assert!(text.unwrap_err().to_string().contains("below head."));
}

#[test]
fn heads_are_recognised_by_their_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let heads = &bundle.manifest().heads;
    assert_eq!(heads["linear"].kind, HeadKind::LinearDepth {});
    assert_eq!(heads["dpt"].kind, HeadKind::DptDepth { features: 8, out_channels: [4, 6, 8, 8] });
    assert_eq!(heads["dpt"].taps, [0, 1, 2, 3]);
}

#[test]
fn external_data_give_the_same_numbers() {
    let (folder, mut engine) = (tempfile::tempdir().unwrap(), onnx_runtime());
    let bundle = bundle(folder.path());
    let network = bundle.backbone(SIZES[1]).unwrap();
    let path = folder.path().join("backbone.onnx");
    let files = network::onnx::write(&network, &path, 1000).unwrap();
    assert_eq!(files.len(), 2, "weights lie beside the graph");
    assert!(std::fs::metadata(&path).unwrap().len() < 100_000);
    let image = input(&golden::read("networks.safetensors")[&format!("{}/image", SIZES[1])]);
    let inside = run(&mut engine, &network, &[&image]);
    let outside = run_loaded(&mut engine, &network, &[&image], |engine, inputs| {
        engine.load_file(&path, &network, inputs)
    });
    assert_eq!(inside, outside);
}

#[test]
fn bundles_share_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let (first, second) = (bundle.backbone(SIZES[0]).unwrap(), bundle.backbone(SIZES[1]).unwrap());
    assert!(Arc::ptr_eq(first.weights(), second.weights()));
}
