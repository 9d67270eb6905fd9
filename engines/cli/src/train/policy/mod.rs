//! `pixio train policy`: behaviour cloning from LeRobot datasets.

mod rows;
mod spec;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use network::graph::{Port, ValueId};
use network::manifest::{Pooling, SpaceKind};
use network::modules::Grid;
use network::{Bundle, HeadSpec, PolicySpec};
use serde_json::json;
use training::dense::Drawing;
use training::features::Features;
use training::optimiser::{AdamW, Schedule};
use training::policy::{Asked, Cloning, Recorded};
use training::step::Part;
use training::{Learner, Learning, Mode, Program};

use self::rows::{Rows, normalised};
use super::drive::{RunArguments, check_rate};
use super::head;
use crate::engine::ReferenceArguments;
use crate::info;

/// Train a policy by cloning recorded behaviour: LeRobot datasets (v3.0) to actions
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// LeRobot datasets with the same features
    #[arg(long, value_name = "DATASET", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Name of the head
    #[arg(long, default_value = "policy")]
    name: String,
    /// Form: CortexBench's MLP on class tokens, or a transformer decoder that predicts a chunk
    #[arg(long, value_enum, default_value_t = Form::Mlp)]
    form: Form,
    /// Feature with the pictures [default: the only one]
    #[arg(long, value_name = "KEY")]
    image: Option<String>,
    /// Feature with class tokens that the bundle's encoder made while recording (docs/recorder.md), instead of pictures
    #[arg(long, value_name = "KEY", conflicts_with_all = ["image", "patches"])]
    tokens: Option<String>,
    /// Feature with the robot's state; empty: the policy only sees
    #[arg(long, value_name = "KEY", default_value = "observation.state")]
    state: String,
    /// Feature with the actions
    #[arg(long, value_name = "KEY", default_value = "action")]
    action: String,
    /// What the actions command: joint-positions, joint-velocities, joint-displacements, end-effector-velocity,
    /// end-effector-displacement or end-effector-pose
    #[arg(long, value_name = "SPACE", default_value = "end-effector-velocity", value_parser = space)]
    space: SpaceKind,
    /// Frame of an end effector's motion, by its name in TF
    #[arg(long, value_name = "FRAME")]
    frame: Option<String>,
    /// Images that the MLP sees, a period apart [default: 3]
    #[arg(long)]
    history: Option<usize>,
    /// The MLP sees the class tokens one after another instead of their mean
    #[arg(long)]
    concatenated: bool,
    /// Actions predicted at once [default: 1 for the MLP, 16 for a chunk]
    #[arg(long)]
    chunk: Option<usize>,
    /// The chunk's decoder attends to the patches instead of the class tokens
    #[arg(long)]
    patches: bool,
    /// Last episodes of each dataset that are not trained on, to evaluate on
    #[arg(long, default_value_t = 0)]
    held_out: usize,
    /// Passes over the data
    #[arg(long, default_value_t = 100)]
    epochs: u64,
    /// Rows of a step
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    #[command(flatten)]
    head: head::HeadArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    engine: ReferenceArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Mlp,
    Chunk,
}

fn space(text: &str) -> Result<SpaceKind, String> {
    serde_json::from_value(json!(text)).map_err(|error| error.to_string())
}

/// Rows that are computed together on a thread where batch normalisation does not join them.
const PART: usize = 32;

/// Trains, writes the bundle, and says the actions' errors on held-out episodes.
///
/// # Errors
/// When data, bundle or run are refused.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.check()?;
    let bundle = arguments.head.open()?;
    let mut engine = arguments.engine.start()?;
    let size = bundle.manifest().sizes[0];
    let rows = arguments.rows(&bundle)?;
    let spec = arguments.spec(&bundle, &rows)?;
    head::check(&bundle, &arguments.name, &spec)?;
    let (taps, classes) = (spec.taps.clone(), !arguments.patches);
    let folder = arguments.run.begin()?;
    let features = match arguments.tokens {
        Some(_) => head::recorded_features(&bundle, &taps, &rows.tokens, folder.path())?,
        None => head::features(&mut engine, &bundle, (&taps, classes), size, &rows.seen, folder.path())?,
    };
    let mut learner = arguments.learner(&bundle, &spec, &rows, features)?;
    arguments.run.drive(&folder, &mut learner, &arguments.name)?;
    let head = (arguments.name.as_str(), &spec);
    let trained = arguments.head.write(&mut engine, &bundle, head, learner.parameters())?;
    info::print(&trained);
    let policy = spec.policy().context("expected a policy")?;
    if let Some(found) = arguments.evaluate(&learner, policy, rows.training.len(), rows.held_out.len())? {
        folder.keep(&found)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// Checks the numbers that were typed.
    fn check(&self) -> Result<()> {
        check_rate(self.rate)?;
        ensure!(self.batch > 0 && self.epochs > 0, "expected a batch and epochs of at least 1");
        ensure!(
            self.form == Form::Chunk || self.batch > 1,
            "--batch: expected at least 2 rows for the MLP, whose input is normalised by the batch's own statistics, got 1"
        );
        let chunk = self.form == Form::Chunk;
        for (ignored, words) in [
            (!chunk && self.patches, "--patches: expected --form chunk, the MLP reads class tokens"),
            (chunk && self.history.is_some(), "--history: expected --form mlp, a chunk sees one image"),
            (chunk && self.concatenated, "--concatenated: expected --form mlp, a chunk reads each token"),
        ] {
            ensure!(!ignored, "{words}");
        }
        Ok(())
    }

    fn learner(
        &self,
        bundle: &Bundle,
        spec: &HeadSpec,
        rows: &Rows,
        features: Features,
    ) -> Result<Learner<Cloning>> {
        let architecture = &bundle.manifest().architecture;
        let size = bundle.manifest().sizes[0];
        let grid = if self.patches { Grid::new(architecture, size)? } else { Grid::class_only(architecture) };
        let (program, parameters) = head::program(bundle, &self.name, spec, grid, self.run.seed)?;
        let policy = spec.policy().context("expected a policy")?;
        let (rate, seed) = (self.rate, self.run.seed);
        let about = format!(
            "{} {spec:?} on {:?}, {} epochs of {} at {rate}, seed {seed}, without {} episodes, rows {:016x}",
            self.name,
            features.of(),
            self.epochs,
            self.batch,
            rows.held_out.len(),
            rows.sum()
        );
        let episodes: Vec<_> = rows.training.iter().chain(&rows.held_out).cloned().collect();
        let state: Vec<_> = policy.state.iter().map(|channel| channel.scaling).collect();
        let actions: Vec<_> = policy.actions.iter().map(|channel| channel.scaling).collect();
        let recorded = Recorded {
            features,
            class_tokens: (architecture.class_tokens, architecture.dim),
            episodes,
            state: normalised(&rows.state, &state),
            actions: normalised(&rows.actions, &actions),
        };
        let count: usize = rows.training.iter().map(ExactSizeIterator::len).sum();
        let batch = self.batch.min(count);
        let part = if program.couples_samples() { batch } else { PART };
        let asked = self.asked(&program, spec, policy.steps);
        let task = Cloning::new(recorded, rows.training.len(), asked, Drawing { batch, part, seed })?;
        let steps = (self.epochs * count as u64).div_ceil(batch as u64).max(1);
        let learning = Learning {
            optimiser: AdamW { weight_decay: 1e-4, ..AdamW::default() },
            schedule: Schedule { peak: rate, warm_up: steps / 50, steps, floor: 0.01 },
            longest_gradient: 10.0,
            threads: self.engine.threads,
        };
        Ok(Learner::new(program, parameters, learning, about, task))
    }

    fn asked(&self, program: &Program, spec: &HeadSpec, steps: usize) -> Asked {
        let names = |ports: &[(Port, ValueId)]| ports.iter().map(|(port, _)| port.name.clone()).collect();
        Asked {
            inputs: names(program.graph().inputs()),
            outputs: names(program.graph().outputs()),
            pooling: if self.concatenated { Pooling::Concatenated } else { Pooling::Mean },
            history: spec.kind.history(),
            steps,
            absolute: self.form == Form::Chunk,
        }
    }

    /// Mean absolute error of each action on held-out episodes, in the data's unit, beside that of their mean; none without any.
    fn evaluate(
        &self,
        learner: &Learner<Cloning>,
        policy: &PolicySpec,
        training: usize,
        held_out: usize,
    ) -> Result<Option<serde_json::Value>> {
        if held_out == 0 {
            return Ok(None);
        }
        let row = policy.actions.len() * policy.steps;
        ensure!(row > 0, "no actions");
        // What was said and what was done, of each action; an episode at a time, for the features of all may not fit into memory.
        let mut first: Vec<Vec<(f64, f64)>> = vec![Vec::new(); policy.actions.len()];
        for episode in training..training + held_out {
            let part = learner.task.all(episode..episode + 1)?;
            let (parameters, program) = (learner.parameters(), learner.program());
            let trace = program.forward(parameters, &part.inputs(), part.samples(), Mode::Inference)?;
            let said = program.output(&trace, part.output()).chunks_exact(row);
            for (said, done) in said.zip(part.target().chunks_exact(row)) {
                for (at, (channel, first)) in policy.actions.iter().zip(&mut first).enumerate() {
                    let back = |values: &[f32]| channel.scaling.denormalise(f64::from(values[at]));
                    first.push((back(said), back(done)));
                }
            }
        }
        println!(
            "\n{:12} {:>12} {:>12}   held-out error of the first action, mean |error|",
            "action", self.name, "their mean"
        );
        let mut found = serde_json::Map::new();
        for (channel, first) in policy.actions.iter().zip(&first) {
            let count = first.len() as f64;
            let mean = first.iter().map(|(_, done)| done).sum::<f64>() / count;
            let ours = first.iter().map(|(said, done)| (said - done).abs()).sum::<f64>() / count;
            let blind = first.iter().map(|(_, done)| (mean - done).abs()).sum::<f64>() / count;
            println!("{:12} {ours:12.5} {blind:12.5}", channel.name);
            found.insert(channel.name.clone(), json!({ "error": ours, "mean_action_error": blind }));
        }
        Ok(Some(found.into()))
    }
}
