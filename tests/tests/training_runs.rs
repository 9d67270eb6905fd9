//! Runs of training: the same result after an interruption and on any number of threads, what self-curation does to black
//! pictures, and that what was trained is what the engine runs.

use std::path::Path;

use calibration::Size;
use network::bundle::random_model;
use network::graph::Graph;
use network::manifest::{Memory, Pooling};
use network::modules::pretraining::{self, Decoder};
use network::modules::{self, Grid};
use network::weights::Tensor;
use network::{Architecture, HeadKind, Network, Weights};
use perception::Engine;
use tests::golden::max_difference;
use tests::onnx_runtime;
use training::optimiser::{AdamW, Schedule};
use training::pretrain::{self, Colours, Images, MaskedImages, Showing};
use training::{Learner, Learning, Mode, Numbers, Parameters, Program};

const DECODER: Decoder = Decoder { dim: 12, blocks: 1, heads: 2 };
const COLOURS: Colours = Colours { mean: [0.5; 3], std: [0.25; 3] };

fn architecture() -> Architecture {
    let tiny = Architecture::named("pixio-tiny16").unwrap();
    Architecture { dim: 16, blocks: 2, heads: 2, mlp_hidden: 32, patch: 4, grid: 4, ..tiny }
}

/// Pictures of noise, of which the share `black` is black.
fn pictures(count: usize, black: f64) -> Images {
    let side = 16;
    let mut numbers = Numbers::of(3, &[]);
    let picture = |index: usize| {
        let dark = (index as f64) < black * count as f64;
        (0..3 * side * side).map(|_| if dark { 0 } else { numbers.below(256) as u8 }).collect::<Vec<_>>()
    };
    Images { side, rgb: (0..count).flat_map(picture).collect() }
}

fn learner(threads: usize, images: Images, curate: bool, steps: u64) -> Learner<MaskedImages> {
    let architecture = architecture();
    let showing = Showing {
        batch: 12,
        part: 5,
        block: 1,
        ratio: 0.75,
        smallest_crop: 0.3,
        mirror: true,
        curate,
        seed: 5,
    };
    let task = MaskedImages::new(images, &architecture, COLOURS, showing).unwrap();
    let graph = pretraining::graph(&architecture, &DECODER, task.seen()).unwrap();
    let learning = Learning {
        optimiser: AdamW::default(),
        schedule: Schedule { peak: 3e-3, warm_up: 2, steps, floor: 0.1 },
        longest_gradient: 1.0,
        threads,
    };
    let parameters = pretrain::initial(&architecture, &DECODER, 5);
    Learner::new(Program::new(graph, |_| true), parameters, learning, "a run".to_owned(), task)
}

fn advance(learner: &mut Learner<MaskedImages>, steps: u64) {
    for _ in 0..steps {
        learner.advance().unwrap();
    }
}

#[test]
fn a_run_cut_off_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run.safetensors");
    let begin = |threads| learner(threads, pictures(20, 0.2), true, 10);
    let mut whole = begin(2);
    advance(&mut whole, 10);
    let mut first = begin(1);
    assert!(!first.resume(&state).unwrap());
    advance(&mut first, 4);
    first.save(&state).unwrap();
    // What comes after the last save is lost, as after a kill.
    advance(&mut first, 2);
    let mut second = begin(2);
    assert!(second.resume(&state).unwrap());
    advance(&mut second, 6);
    assert_eq!(second.parameters(), whole.parameters());
    assert_eq!(second.losses(), whole.losses());
}

/// Pictures of which half are different and half trivial: black ones, flat ones, and a still scene that differs by its noise alone.
fn mixed() -> Images {
    let side = 16;
    let mut numbers = Numbers::of(8, &[]);
    let mut noise = |most: usize| (0..3 * side * side).map(|_| numbers.below(most) as u8).collect::<Vec<_>>();
    let mut rgb: Vec<u8> = (0..32).flat_map(|_| noise(256)).collect();
    rgb.extend(vec![0; 8 * 3 * side * side]);
    (0..8).for_each(|index| rgb.extend(vec![30 * index; 3 * side * side]));
    let scene = noise(252);
    (0..16).for_each(|_| rgb.extend(scene.iter().zip(noise(4)).map(|(pixel, noise)| pixel + noise)));
    Images { side, rgb }
}

/// Shares of what a run saw: different pictures, black, flat, still.
fn shares(curate: bool, steps: u64) -> [f64; 4] {
    let mut learner = learner(2, mixed(), curate, steps);
    advance(&mut learner, steps);
    let seen = learner.task.curation().seen();
    let all: u32 = seen.iter().sum();
    assert_eq!(u64::from(all), 12 * steps);
    [0..32, 32..40, 40..48, 48..64].map(|kind| f64::from(seen[kind].iter().sum::<u32>()) / f64::from(all))
}

#[test]
fn trivial_pictures_are_seen_less_when_curated() {
    let even = shares(false, 200);
    for (share, of_pictures) in even.iter().zip([0.5, 0.125, 0.125, 0.25]) {
        assert!((share - of_pictures).abs() < 0.01, "every picture is seen as often as any other: {even:?}");
    }
    let curated = shares(true, 200);
    // A still scene is seen less only once it is painted better than others, which takes more than this network.
    assert!(curated[1] < 0.04 && curated[2] < 0.04, "black and flat pictures of {curated:?}");
    assert!(curated[0] > 1.2 * even[0], "different pictures of {curated:?}");
}

fn weights(parameters: &Parameters) -> std::sync::Arc<Weights> {
    let mut weights = Weights::default();
    for (name, parameter) in parameters.iter() {
        weights.insert(name.clone(), Tensor::from_f32(&parameter.shape, &parameter.values).unwrap());
    }
    weights.into()
}

/// Every output of a graph, by ONNX Runtime and by the training code, on inputs drawn at random.
fn compare(graph: Graph, parameters: &Parameters) {
    let mut engine = onnx_runtime();
    let network = Network::new(graph.clone(), weights(parameters)).unwrap();
    let mut numbers = Numbers::of(9, &[]);
    let mut inputs = Vec::new();
    let mut tensors = Vec::new();
    for port in network.inputs() {
        let values: Vec<f32> = (0..port.shape.iter().product()).map(|_| numbers.normal() as f32).collect();
        let tensor = engine.allocate(&port.shape).unwrap();
        engine.upload(&values, &tensor).unwrap();
        tensors.push(tensor);
        inputs.push(values);
    }
    let mut loaded = engine.load(&network, &tensors).unwrap();
    engine.run(&mut loaded).unwrap();
    let program = Program::new(graph, |_| true);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let trace = program.forward(parameters, &inputs, 1, Mode::Inference).unwrap();
    for (index, port) in network.outputs().iter().enumerate() {
        let mut theirs = vec![0.0; port.shape.iter().product()];
        engine.download(&engine.outputs(&loaded)[index].clone(), &mut theirs).unwrap();
        let ours = program.output(&trace, index);
        let scale = theirs.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
        let difference = max_difference(ours, &theirs) / scale;
        assert!(difference < 1e-4, "{}/{}: {difference}", network.name(), port.name);
    }
}

#[test]
fn what_is_trained_is_what_the_engine_runs() {
    let mut learner = learner(2, pictures(20, 0.0), true, 5);
    advance(&mut learner, 5);
    compare(learner.program().graph().clone(), learner.parameters());
    let architecture = Architecture::named("pixio-tiny16").unwrap();
    let size = Size { width: 64, height: 48 };
    let (features, out_channels) = (8, [4, 8, 12, 12]);
    let chunk = |reads| HeadKind::ChunkPolicy { reads, width: 16, layers: 2, heads: 4, mlp_hidden: 24 };
    let kinds = [
        HeadKind::LinearDepth {},
        HeadKind::DptDepth { features, out_channels },
        HeadKind::LinearPoints {},
        HeadKind::DptPoints { features, out_channels },
        HeadKind::LinearSegmentation {},
        HeadKind::DptSegmentation { features, out_channels },
        HeadKind::MlpPolicy { pooling: Pooling::Mean, history: 3, hidden: vec![16, 12] },
        chunk(Memory::Class),
        chunk(Memory::Patches),
    ];
    for kind in kinds {
        let model = random_model(architecture.clone(), &[("head".to_owned(), kind)], &[size], 7).unwrap();
        let spec = &model.manifest.heads["head"];
        let grid = Grid::new(&architecture, size).unwrap();
        let graph = modules::head("head", spec, &architecture, grid, 1).unwrap();
        let tensors = Program::new(graph.clone(), |_| true).tensors();
        compare(graph, &Parameters::read(&model.weights, &tensors).unwrap());
    }
}

/// A run's file that another run left is refused, whatever it is.
#[test]
fn another_runs_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run.safetensors");
    learner(1, pictures(8, 0.0), false, 3).save(&state).unwrap();
    assert!(learner(1, pictures(9, 0.0), false, 3).resume(&state).is_err(), "another number of pictures");
    std::fs::write(&state, b"no run").unwrap();
    assert!(learner(1, pictures(8, 0.0), false, 3).resume(Path::new(&state)).is_err());
}
