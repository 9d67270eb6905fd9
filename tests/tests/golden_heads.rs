//! Point maps, segments and policies against PyTorch and the official code (`golden/make_heads.py`).

mod heads;

use std::sync::Arc;

use network::bundle::{HeadSource, ImportRequest, import};
use network::manifest::{Memory, Pooling};
use network::modules::{self, Grid};
use network::weights::Tensor;
use network::{HeadKind, HeadSpec, Network, Weights};
use perception::Engine;
use tests::golden::{self, max_difference};
use tests::onnx_runtime;

use heads::{SIZE, architecture, spec};

const TOLERANCE: f32 = 2e-5;
/// Every third row and column of what has one number per pixel is golden.
const STRIDE: usize = 3;

/// Weights of the golden file under the names of a head.
fn weights(head: &str) -> Weights {
    let mut weights = Weights::default();
    for (name, tensor) in golden::read("heads.safetensors") {
        let own = name.strip_prefix(head).and_then(|rest| rest.strip_prefix('/'));
        if let Some(own) = own.filter(|own| !own.starts_with("out/")) {
            weights.insert(
                format!("heads.{head}.{own}"),
                Tensor::from_f32(&tensor.shape, &tensor.values).unwrap(),
            );
        }
    }
    weights
}

/// The values of an output that are golden.
fn sampled(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let [.., height, width] = shape else { panic!("{shape:?}") };
    if (*width, *height) != (SIZE.width, SIZE.height) {
        return values.to_vec();
    }
    let rows =
        values.chunks_exact(*width).enumerate().filter(|(row, _)| (row % height).is_multiple_of(STRIDE));
    rows.flat_map(|(_, row)| row.iter().step_by(STRIDE)).copied().collect()
}

fn check(head: &str, spec: &HeadSpec, weights: Weights) {
    let (golden, mut engine) = (golden::read("heads.safetensors"), onnx_runtime());
    let grid = Grid::new(&architecture(), SIZE).unwrap();
    let graph = modules::head(head, spec, &architecture(), grid, 1).unwrap();
    let network = Network::new(graph, Arc::new(weights)).unwrap_or_else(|error| panic!("{head}: {error}"));
    let mut inputs = Vec::new();
    for port in network.inputs() {
        let tensor = engine.allocate(&port.shape).unwrap();
        engine.upload(&golden[&format!("in/{}", port.name)].values, &tensor).unwrap();
        inputs.push(tensor);
    }
    let mut loaded = engine.load(&network, &inputs).unwrap();
    engine.run(&mut loaded).unwrap();
    let outputs = engine.outputs(&loaded).to_vec();
    assert!(spec.outputs().len() <= outputs.len(), "{head}");
    for (port, tensor) in network.outputs().iter().zip(&outputs) {
        let mut values = vec![f32::NAN; port.shape.iter().product()];
        engine.download(tensor, &mut values).unwrap();
        let expected = &golden[&format!("{head}/out/{}", port.name)].values;
        let scale = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        let difference = max_difference(&sampled(&port.shape, &values), expected) / scale;
        assert!(difference < TOLERANCE, "{head}/{}: {difference}", port.name);
    }
}

#[test]
fn point_maps_and_policies_are_those_of_pytorch() {
    let dpt = HeadKind::DptPoints { features: 4, out_channels: [2, 3, 4, 4] };
    let mlp = HeadKind::MlpPolicy { pooling: Pooling::Mean, history: 3, hidden: vec![16, 12] };
    let chunk = |reads| HeadKind::ChunkPolicy { reads, width: 8, layers: 2, heads: 2, mlp_hidden: 12 };
    let cases = [
        ("linear_points", HeadKind::LinearPoints {}),
        ("dpt_points", dpt),
        ("mlp_policy", mlp),
        ("class_policy", chunk(Memory::Class)),
        ("patch_policy", chunk(Memory::Patches)),
    ];
    for (name, kind) in cases {
        check(name, &spec(kind), weights(name));
    }
}

#[test]
fn official_segmentation_heads_are_imported() {
    let checkpoint = |name: &str| golden::checkpoints(env!("CARGO_TARGET_TMPDIR")).join(name);
    let labels = ["floor", "cup", "hand"].map(str::to_owned).to_vec();
    let source = |name: &str| HeadSource {
        name: name.to_owned(),
        path: checkpoint(&format!("{name}.pth")),
        max_depth_meters: 10.0,
        labels: Some(labels.clone()),
    };
    let request = |heads| ImportRequest {
        backbone: checkpoint("official_fp32.pth"),
        attention_heads: Some(2),
        heads,
        taps: Vec::new(),
        sizes: vec![SIZE],
        name: "tiny".to_owned(),
        licence: "none".to_owned(),
    };
    for name in ["linear_segmentation", "dpt_segmentation"] {
        let model = import(&request(vec![source(name)])).unwrap();
        let spec = model.manifest.heads[name].clone();
        assert_eq!(spec.labels().unwrap(), labels);
        check(name, &spec, model.weights);
    }
    let unnamed = HeadSource { labels: None, ..source("linear_segmentation") };
    let model = import(&request(vec![unnamed])).unwrap();
    assert_eq!(model.manifest.heads["linear_segmentation"].labels().unwrap()[2], "class_2");
    let too_few = HeadSource { labels: Some(labels[1..].to_vec()), ..source("dpt_segmentation") };
    let error = import(&request(vec![too_few])).unwrap_err().to_string();
    assert!(error.contains("dpt_segmentation") && error.contains("3 outputs, got 2"), "{error}");
}
