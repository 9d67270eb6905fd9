//! One step of every head but those for depth: loss and gradients against PyTorch (`golden/make_head_gradients.py`).

mod heads;

use std::collections::BTreeMap;

use calibration::Intrinsics;
use network::checkpoint;
use network::manifest::{Memory, Pooling};
use network::modules::policy::{ACTIONS, PAST, STATE};
use network::modules::{self, Grid};
use network::{HeadKind, Weights};
use tests::golden::{self, Golden, max_difference};
use training::loss::{self, Loss};
use training::points::{PointsLoss, PointsLosses, PointsTruth};
use training::step::{self, Part, PartLoss};
use training::{Parameters, Program};

use heads::{SIZE, architecture, spec};

type File = BTreeMap<String, Golden>;

const SAMPLES: usize = 3;
/// Every 11th number of each weight's gradient is golden.
const STRIDE: usize = 11;
/// What float32 allows between two implementations, as a share of the largest gradient (or absolute, when that is below 1).
const TOLERANCE: f32 = 1e-4;
const DPT: (usize, [usize; 4]) = (4, [2, 3, 4, 4]);

/// The head's weights, from the golden file or, for segments, from the checkpoint that lies beside it.
fn parameters(file: &File, head: &str, program: &Program) -> Parameters {
    let own = |name: &str| name.strip_prefix("heads.head.").unwrap().to_owned();
    let path = golden::checkpoints(env!("CARGO_TARGET_TMPDIR")).join(format!("{head}.pth"));
    let checkpoint =
        path.exists().then(|| Weights::from_tensors(checkpoint::head(&path, 8).unwrap().tensors));
    let mut parameters = Parameters::default();
    for (name, shape) in program.tensors() {
        let values = match &checkpoint {
            Some(checkpoint) => checkpoint.read_f32(&own(&name), &shape).unwrap(),
            None => file[&format!("{head}/{}", own(&name))].values.clone(),
        };
        parameters.insert(name, shape, values);
    }
    parameters
}

/// Three samples of a network's input: sample k takes tap (t + k) % 4 for tap t; state and past are rolled by k.
fn input(file: &File, port: &str) -> Vec<f32> {
    let rolled = |values: &[f32], width: usize, k: usize| {
        let mut values = values.to_vec();
        values.chunks_exact_mut(width).for_each(|row| row.rotate_right(k));
        values
    };
    let sample = |k: usize| match port {
        STATE => rolled(&file["in/state"].values, 5, k),
        PAST => rolled(&file["in/past"].values, 8, k),
        _ => {
            let tap: usize = port.strip_prefix("tokens_").unwrap().parse().unwrap();
            file[&format!("in/tokens_{}", (tap + k) % 4)].values.clone()
        }
    };
    (0..SAMPLES).flat_map(sample).collect()
}

/// A batch and its loss.
struct Batch<F> {
    inputs: Vec<Vec<f32>>,
    loss: F,
}

impl<F: Fn(&[&[f32]]) -> PartLoss + Sync> Part for Batch<F> {
    fn samples(&self) -> usize {
        SAMPLES
    }

    fn inputs(&self) -> Vec<&[f32]> {
        self.inputs.iter().map(Vec::as_slice).collect()
    }

    fn loss(&self, outputs: &[&[f32]]) -> PartLoss {
        (self.loss)(outputs)
    }
}

/// Runs one step of a head and compares the loss and every weight's gradient with those of `golden`.
fn check<F>(head: &str, golden: &str, kind: HeadKind, loss: impl FnOnce(&[String]) -> F)
where
    F: Fn(&[&[f32]]) -> PartLoss + Sync,
{
    let (file, expected) = (golden::read("heads.safetensors"), golden::read("head_gradients.safetensors"));
    let grid = Grid::new(&architecture(), SIZE).unwrap();
    let graph = modules::head("head", &spec(kind), &architecture(), grid, 1).unwrap();
    let names = |ports: Vec<&str>| ports.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let inputs = names(graph.inputs().iter().map(|(port, _)| port.name.as_str()).collect());
    let outputs = names(graph.outputs().iter().map(|(port, _)| port.name.as_str()).collect());
    let program = Program::new(graph, |_| true);
    let parameters = parameters(&file, head, &program);
    let inputs = inputs.iter().map(|port| input(&file, port)).collect();
    let batch = Batch { inputs, loss: loss(&outputs) };
    let outcome = step::run(&program, &parameters, &[batch], 1).unwrap();
    let total = *expected[&format!("{golden}/loss")].values.last().unwrap();
    assert!((outcome.loss - f64::from(total)).abs() < f64::from(TOLERANCE), "{golden}: {outcome:?}");
    let (mut sampled, mut lengths) = (Vec::new(), Vec::new());
    for gradient in outcome.gradients.parameters.values() {
        sampled.extend(gradient.iter().step_by(STRIDE).copied());
        lengths.push(gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt() as f32);
    }
    for (what, ours) in [("gradient", sampled), ("norm", lengths)] {
        let theirs = &expected[&format!("{golden}/{what}")].values;
        assert_eq!(ours.len(), theirs.len(), "{golden}: {what}: another number of weights");
        let scale = theirs.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        let difference = max_difference(&ours, theirs) / scale;
        assert!(difference < TOLERANCE, "{golden}: {what}: {difference}");
        assert!(theirs.iter().any(|x| x.abs() > 100.0 * TOLERANCE), "{golden}: {what}: nothing to compare");
    }
}

/// A number from 0 to 100 for a pixel of a sample.
fn cell(k: usize, pixel: usize) -> usize {
    (37 * pixel + 11 * k) % 101
}

fn truth() -> PointsTruth {
    let mut truth = PointsTruth::new(SIZE);
    for k in 0..SAMPLES {
        let at = k as f64;
        let camera = Intrinsics { fx: 40.0 + 5.0 * at, fy: 42.0 + 4.0 * at, cx: 23.5 + at, cy: 15.5 - at };
        let depth = |pixel| if (pixel + k) % 7 == 0 { 0 } else { (1000 + 90 * cell(k, pixel)) as u16 };
        truth.push(&camera, &(0..SIZE.area()).map(depth).collect::<Vec<_>>());
    }
    truth
}

fn points(head: &str, golden: &str, kind: HeadKind, doubt_unknown: bool) {
    let settings = PointsLoss { rays: 2.0, confidence: 0.3, range: (0.5, 8.0), doubt_unknown };
    check(head, golden, kind, |outputs| {
        assert_eq!(outputs, ["rays", "distance", "confidence"]);
        let expected = golden::read("head_gradients.safetensors")[&format!("{golden}/loss")].values.clone();
        move |outputs: &[&[f32]]| {
            let losses = settings.of(outputs[0], outputs[1], outputs[2], &truth());
            let PointsLosses { parts, value, gradients } = losses;
            let parts = parts.map(|part| part as f32);
            assert!(max_difference(&parts, &expected[..3]) < TOLERANCE, "{parts:?}, {expected:?}");
            PartLoss { value, gradients: gradients.map(Some).into(), samples: Vec::new() }
        }
    });
}

#[test]
fn point_maps_learn_as_in_pytorch() {
    let (features, out_channels) = DPT;
    points("linear_points", "linear_points", HeadKind::LinearPoints {}, false);
    points("linear_points", "linear_points_doubting", HeadKind::LinearPoints {}, true);
    points("dpt_points", "dpt_points", HeadKind::DptPoints { features, out_channels }, false);
}

#[test]
fn segments_learn_as_in_pytorch() {
    let (features, out_channels) = DPT;
    let kinds = [
        ("linear_segmentation", HeadKind::LinearSegmentation {}),
        ("dpt_segmentation", HeadKind::DptSegmentation { features, out_channels }),
    ];
    for (head, kind) in kinds {
        let label =
            |k: usize, pixel: usize| if cell(k, pixel) % 4 < 3 { (cell(k, pixel) % 4) as u8 } else { 255 };
        let labels: Vec<u8> =
            (0..SAMPLES).flat_map(|k| (0..SIZE.area()).map(move |pixel| label(k, pixel))).collect();
        check(head, head, kind, |_| {
            move |outputs: &[&[f32]]| {
                let Loss { value, gradient } = loss::cross_entropy(outputs[0], &labels, SIZE.area());
                PartLoss { value, gradients: vec![Some(gradient)], samples: Vec::new() }
            }
        });
    }
}

/// A policy's loss: each action's target, and whether it counts.
fn policy(head: &str, kind: HeadKind, steps: usize, compare: fn(&[f32], &[f32], &[f32]) -> Loss) {
    let (mut target, mut weight) = (Vec::new(), Vec::new());
    for (k, step) in (0..SAMPLES).flat_map(|k| (0..steps).map(move |step| (k, step))) {
        target.extend((0..4).map(|action| (1.0 + (k + 2 * step + 3 * action) as f64).sin() as f32));
        // The last two actions of sample 1 lie beyond the episode's end.
        weight.extend([f32::from(u8::from(steps == 1 || k != 1 || step < steps - 2)); 4]);
    }
    check(head, head, kind, |outputs| {
        let (at, count) = (outputs.iter().position(|name| name == ACTIONS).unwrap(), outputs.len());
        move |outputs: &[&[f32]]| {
            let Loss { value, gradient } = compare(outputs[at], &target, &weight);
            let mut gradients = vec![None; count];
            gradients[at] = Some(gradient);
            PartLoss { value, gradients, samples: Vec::new() }
        }
    });
}

#[test]
fn policies_learn_as_in_pytorch() {
    let mlp = HeadKind::MlpPolicy { pooling: Pooling::Mean, history: 3, hidden: vec![16, 12] };
    policy("mlp_policy", mlp, 1, loss::squared);
    let chunk = |reads| HeadKind::ChunkPolicy { reads, width: 8, layers: 2, heads: 2, mlp_hidden: 12 };
    policy("class_policy", chunk(Memory::Class), 6, loss::absolute);
    policy("patch_policy", chunk(Memory::Patches), 6, loss::absolute);
}
