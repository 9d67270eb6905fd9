//! One step of training: loss and gradients against PyTorch and the official code (`golden/make_training.py`).

use std::collections::BTreeMap;

use calibration::Size;
use network::graph::{Graph, GraphBuilder, Op};
use network::manifest::{DepthMeaning, HeadScale, Meaning};
use network::modules::pretraining::{self, Decoder};
use network::modules::{self, Grid};
use network::{Architecture, HeadKind, HeadSpec};
use tests::conformance;
use tests::golden::{self, Golden, max_difference};
use training::loss::{self, Loss};
use training::pretrain::Masked;
use training::step::{self, Part, PartLoss};
use training::{Mode, Parameters, Program};

type File = BTreeMap<String, Golden>;

/// What float32 allows between two implementations, as a share of the gradient's largest number (or absolute, when that is below 1).
const TOLERANCE: f32 = 1e-4;

fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    let scale = theirs.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
    let difference = max_difference(ours, theirs) / scale;
    assert!(difference < TOLERANCE, "{what}: {difference}");
}

/// The operations that the engines are held to; a reshape moves no numbers, so another order of the transpose takes its place.
fn operations() -> Vec<(&'static str, Op)> {
    let mut operations = conformance::operation_table();
    operations.retain(|(name, _)| *name != "reshape");
    operations.push(("transpose_runs", Op::Transpose { order: vec![1, 0, 2] }));
    operations
}

#[test]
fn every_operation_has_pytorchs_gradient() {
    let file = golden::read("training.safetensors");
    for (name, op) in operations() {
        let operands: Vec<_> = (0..).map_while(|i| file.get(&format!("op/{name}/{i}"))).collect();
        let mut builder = GraphBuilder::new(name);
        let values: Vec<_> = operands
            .iter()
            .enumerate()
            .map(|(i, golden)| builder.weight(i.to_string(), &golden.shape))
            .collect();
        let result = builder.node(name, op, &values).unwrap();
        builder.output("result", result);
        let program = Program::new(builder.finish(), |_| true);
        let mut parameters = Parameters::default();
        for (i, golden) in operands.iter().enumerate() {
            parameters.insert(i.to_string(), golden.shape.clone(), golden.values.clone());
        }
        let trace = program.forward(&parameters, &[], 1, Mode::Training).unwrap();
        let out = file[&format!("op/{name}/out")].values.clone();
        let gradients = program.backward(&trace, &[Some(out)]).unwrap().parameters;
        let wanted = (0..operands.len()).filter_map(|i| {
            file.get(&format!("op/{name}/gradient/{i}")).map(|golden| (i.to_string(), golden))
        });
        let mut compared = 0;
        for (i, golden) in wanted {
            assert_close(&format!("{name} by operand {i}"), &gradients[&i], &golden.values);
            compared += 1;
        }
        assert!(compared > 0, "{name}: no gradient in the golden file");
    }
}

/// Parameters of a golden network, renamed.
fn parameters(file: &File, network: &str, rename: impl Fn(&str) -> String) -> Parameters {
    let prefix = format!("{network}/weights/");
    let mut parameters = Parameters::default();
    for (name, golden) in file.iter().filter_map(|(name, golden)| Some((name.strip_prefix(&prefix)?, golden)))
    {
        parameters.insert(rename(name), golden.shape.clone(), golden.values.clone());
    }
    parameters
}

/// Runs one step and compares loss and every gradient; returns how many.
fn compare(
    file: &File,
    network: &str,
    graph: Graph,
    parameters: &Parameters,
    part: &impl Part,
    rename: impl Fn(&str) -> String,
) -> step::Outcome {
    let program = Program::new(graph, |_| true);
    let outcome = step::run(&program, parameters, std::slice::from_ref(part), 1).unwrap();
    let loss = f64::from(file[&format!("{network}/loss")].values[0]);
    assert!(
        (outcome.loss - loss).abs() < f64::from(TOLERANCE),
        "{network}: loss {} for {loss}",
        outcome.loss
    );
    let prefix = format!("{network}/gradient/");
    let wanted: Vec<_> =
        file.iter().filter_map(|(name, golden)| Some((name.strip_prefix(&prefix)?, golden))).collect();
    assert_eq!(outcome.gradients.parameters.len(), wanted.len(), "{network}: another number of gradients");
    for (name, golden) in wanted {
        assert_close(
            &format!("{network}: {name}"),
            &outcome.gradients.parameters[&rename(name)],
            &golden.values,
        );
    }
    outcome
}

/// Tokens of four taps and their depth.
struct Depth<'f> {
    tokens: Vec<&'f [f32]>,
    target: &'f [f32],
}

impl Part for Depth<'_> {
    fn samples(&self) -> usize {
        3
    }

    fn inputs(&self) -> Vec<&[f32]> {
        self.tokens.clone()
    }

    fn loss(&self, outputs: &[&[f32]]) -> PartLoss {
        let Loss { value, gradient } = loss::silog(outputs[0], self.target, (0.001, 10.0));
        PartLoss { value, gradients: vec![Some(gradient)], samples: Vec::new() }
    }
}

fn depth_head(file: &File, network: &str, kind: HeadKind) -> step::Outcome {
    let architecture = Architecture {
        dim: 8,
        heads: 2,
        mlp_hidden: 32,
        grid: 2,
        ..Architecture::named("pixio-tiny16").unwrap()
    };
    let rename = |name: &str| name.replacen("head", "heads.depth", 1);
    let parameters = parameters(file, network, rename);
    let range = DepthMeaning { min_depth_meters: 0.001, max_depth_meters: 10.0, scale: HeadScale::Metric };
    let spec = HeadSpec { taps: kind.official_taps(4), kind, meaning: Meaning::Depth(range) };
    let grid = Grid::new(&architecture, Size { width: 48, height: 32 }).unwrap();
    let graph = modules::head("depth", &spec, &architecture, grid, 1).unwrap();
    let tokens = &file["depth/tokens"].values;
    let tap = tokens.len() / 4;
    let tokens = spec.taps.iter().map(|block| &tokens[block * tap..][..tap]).collect();
    let part = Depth { tokens, target: &file["depth/target"].values };
    compare(file, network, graph, &parameters, &part, rename)
}

#[test]
fn depth_heads_learn_as_the_official_ones_do() {
    let file = golden::read("training.safetensors");
    depth_head(&file, "dpt", HeadKind::DptDepth { features: 4, out_channels: [2, 3, 4, 4] });
    let outcome = depth_head(&file, "linear", HeadKind::LinearDepth {});
    let mut counted = parameters(&file, "linear", |name| name.replacen("head", "heads.depth", 1));
    step::count_statistics(&mut counted, &outcome.statistics);
    for name in ["running_mean", "running_var"] {
        let ours = &counted.get(&format!("heads.depth.0.{name}")).unwrap().values;
        assert_close(name, ours, &file[&format!("linear/after/head.0.{name}")].values);
    }
}

#[test]
fn pretraining_learns_as_the_official_model_does() {
    let file = golden::read("training.safetensors");
    let architecture = Architecture {
        dim: 8,
        blocks: 2,
        heads: 2,
        mlp_hidden: 32,
        class_tokens: 8,
        patch: 4,
        grid: 4,
        layer_norm_epsilon: 1e-6,
    };
    let rename = |name: &str| {
        if name.starts_with("encoder.") { name.to_owned() } else { format!("pretraining.{name}") }
    };
    let parameters = parameters(&file, "pretraining", rename);
    let seen = 4;
    let mut part = Masked::new(&architecture, seen);
    let images = file["pretraining/images"].values.chunks_exact(3 * 16 * 16);
    for (image, masked) in images.zip(file["pretraining/masked"].values.chunks_exact(16)) {
        let seen: Vec<usize> = (0..16).filter(|&patch| masked[patch] == 0.0).collect();
        part.push(image, &seen);
    }
    let decoder = Decoder { dim: 6, blocks: 2, heads: 3 };
    let graph = pretraining::graph(&architecture, &decoder, seen).unwrap();
    let outcome = compare(&file, "pretraining", graph, &parameters, &part, rename);
    let mean = outcome.samples.iter().sum::<f32>() / 3.0;
    assert!((f64::from(mean) - outcome.loss).abs() < 1e-5, "images' losses: {mean} for {}", outcome.loss);
}
