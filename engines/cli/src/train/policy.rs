//! `pixio train policy`: behaviour cloning from LeRobot datasets.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use calibration::Size;
use network::graph::{Port, ValueId};
use network::manifest::{ActionChannel, Memory, Pooling, Quantity, Scaling, SpaceKind, StateChannel, Unit};
use network::modules::Grid;
use network::{Bundle, HeadKind, HeadSpec, Meaning, PolicySpec};
use recording::dataset::{ColumnData, DatasetReader};
use serde_json::json;
use training::dense::Drawing;
use training::features::Features;
use training::optimiser::{AdamW, Schedule};
use training::policy::{Asked, Cloning, Recorded};
use training::step::Part;
use training::{Learner, Learning, Mode, Program};

use super::drive::RunArguments;
use super::{head, pictures};
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
    /// What the actions command
    #[arg(long, value_name = "SPACE", default_value = "end-effector-velocity", value_parser = space)]
    space: SpaceKind,
    /// Frame of an end effector's motion, by its name in TF
    #[arg(long, value_name = "FRAME")]
    frame: Option<String>,
    /// Images that the MLP sees, a period apart
    #[arg(long, default_value_t = 3)]
    history: usize,
    /// Class tokens one after another instead of their mean
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

/// Rows of all datasets.
#[derive(Debug, Default)]
struct Rows {
    rgb: Vec<u8>,
    tokens: Vec<f32>,
    state: Vec<f64>,
    actions: Vec<f64>,
    training: Vec<Range<usize>>,
    held_out: Vec<Range<usize>>,
    state_names: Vec<String>,
    action_names: Vec<String>,
    fps: f64,
    count: usize,
}

/// What deviates less is constant, in the data's unit.
const CONSTANT: f64 = 1e-6;
/// Rows that are computed together on a thread where batch normalisation does not join them.
const PART: usize = 32;

/// Trains, writes the bundle, and says the actions' errors on held-out episodes.
///
/// # Errors
/// When data, bundle or run are refused.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bundle = arguments.head.open()?;
    let mut engine = arguments.engine.start()?;
    let size = bundle.manifest().sizes[0];
    let rows = arguments.rows(&bundle)?;
    let spec = arguments.spec(&bundle, &rows)?;
    let (taps, classes) = (spec.taps.clone(), !arguments.patches);
    let folder = arguments.run.folder()?;
    let features = match arguments.tokens {
        Some(_) => head::recorded_features(&bundle, &taps, &rows.tokens, folder)?,
        None => head::features(&mut engine, &bundle, (&taps, classes), size, &rows.rgb, folder)?,
    };
    let mut learner = arguments.learner(&bundle, &spec, &rows, features)?;
    arguments.run.drive(&mut learner, &arguments.name)?;
    let head = (arguments.name.as_str(), &spec);
    let trained = arguments.head.write(&mut engine, &bundle, head, learner.parameters())?;
    info::print(&trained);
    let policy = spec.policy().context("expected a policy")?;
    arguments.evaluate(&learner, policy, rows.training.len(), rows.held_out.len())?;
    Ok(ExitCode::SUCCESS)
}

/// Numbers of the data as those of the network.
fn normalised(values: &[f64], scalings: &[Scaling]) -> Vec<f32> {
    let scaled = values.iter().zip(scalings.iter().cycle());
    scaled.map(|(value, scaling)| scaling.normalise(*value) as f32).collect()
}

impl Arguments {
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
            "{} {spec:?} on {:?}, {} epochs of {} at {rate}, seed {seed}, without {} episodes",
            self.name,
            features.of(),
            self.epochs,
            self.batch,
            rows.held_out.len()
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
        let batch = self.batch.clamp(1, count);
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

    fn rows(&self, bundle: &Bundle) -> Result<Rows> {
        let size = bundle.manifest().sizes[0];
        let mut rows = Rows::default();
        let mut later = Vec::new();
        for root in &self.data {
            let reader = DatasetReader::open(root)?;
            self.check(root, &reader, &mut rows)?;
            self.check_tokens(root, &reader, bundle)?;
            let count = reader.episodes().len();
            ensure!(
                self.held_out < count,
                "{}: expected more than {} episodes, got {count}",
                root.display(),
                self.held_out
            );
            for (index, episode) in reader.episodes().iter().enumerate() {
                let first = rows.count;
                self.episode(root, &reader, episode, size, &mut rows)?;
                let range = first..rows.count;
                if index + self.held_out < count { rows.training.push(range) } else { later.push(range) }
            }
        }
        rows.held_out = later;
        ensure!(!rows.training.is_empty(), "expected episodes to train on, got none");
        Ok(rows)
    }

    /// Names and rate, the same in every dataset.
    fn check(&self, root: &Path, reader: &DatasetReader, rows: &mut Rows) -> Result<()> {
        let names = |key: &str| -> Result<Vec<String>> {
            let feature = reader.info().features.get(key);
            let feature = feature
                .with_context(|| format!("{}: expected a feature {key}, there is none", root.display()))?;
            let name = |index: usize| feature.names[index].as_str().map(str::to_owned);
            let named: Option<Vec<_>> = (0..feature.length()).map(name).collect();
            named.with_context(|| {
                format!("{}: {key}: expected a name for each of its numbers", root.display())
            })
        };
        let state = if self.state.is_empty() { Vec::new() } else { names(&self.state)? };
        let (action, fps) = (names(&self.action)?, reader.info().fps);
        if rows.action_names.is_empty() {
            (rows.state_names, rows.action_names, rows.fps) = (state, action, fps);
        } else if (&rows.state_names, &rows.action_names, rows.fps) != (&state, &action, fps) {
            bail!(
                "{}: expected the names and rate of the datasets before it ({:?}, {:?}, {} Hz), got {state:?}, {action:?}, {fps} Hz",
                root.display(),
                rows.state_names,
                rows.action_names,
                rows.fps
            );
        }
        Ok(())
    }

    /// Tokens of another encoder look the same and mean something else.
    fn check_tokens(&self, root: &Path, reader: &DatasetReader, bundle: &Bundle) -> Result<()> {
        let Some(key) = &self.tokens else { return Ok(()) };
        let feature = reader.info().features.get(key);
        let feature = feature
            .with_context(|| format!("{}: expected a feature {key}, there is none", root.display()))?;
        let architecture = &bundle.manifest().architecture;
        let expected = architecture.class_tokens * architecture.dim;
        ensure!(
            feature.length() == expected,
            "{}: {key}: expected {} class tokens of {} numbers, the encoder's last tap; got {} numbers",
            root.display(),
            architecture.class_tokens,
            architecture.dim,
            feature.length()
        );
        let (expected, came) = (bundle.manifest().encoder_id.as_str(), feature.encoder_id());
        ensure!(
            came == Some(expected),
            "{}: {key}: expected tokens of the bundle's encoder {expected}, got those of {}; \
             without --tokens features are computed from the pictures",
            root.display(),
            came.unwrap_or("one that is not named")
        );
        Ok(())
    }

    fn episode(
        &self,
        root: &Path,
        reader: &DatasetReader,
        episode: &recording::dataset::EpisodeInfo,
        size: Size,
        rows: &mut Rows,
    ) -> Result<()> {
        if self.tokens.is_none() {
            self.episode_pictures(root, reader, episode, size, rows)?;
        }
        let wanted: Vec<&str> = [&self.state, &self.action]
            .into_iter()
            .chain(&self.tokens)
            .map(String::as_str)
            .filter(|key| !key.is_empty())
            .collect();
        let columns = reader.columns(episode, &wanted)?;
        for key in wanted {
            let Some(ColumnData::Numbers { length, values }) = columns.get(key) else {
                bail!("{}: {key}: expected numbers", reader.data_file(episode).display());
            };
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                bail!(
                    "{}: {key}: row {} of episode {}: expected finite numbers, got {}",
                    reader.data_file(episode).display(),
                    at / length,
                    episode.episode,
                    values[at]
                );
            }
            match key {
                key if key == self.action => rows.actions.extend_from_slice(values),
                key if Some(key) == self.tokens.as_deref() => {
                    rows.tokens.extend(values.iter().map(|value| *value as f32));
                }
                _ => rows.state.extend_from_slice(values),
            }
        }
        rows.count += episode.frames as usize;
        Ok(())
    }

    fn episode_pictures(
        &self,
        root: &Path,
        reader: &DatasetReader,
        episode: &recording::dataset::EpisodeInfo,
        size: Size,
        rows: &mut Rows,
    ) -> Result<()> {
        let keys = pictures::picture_features(reader);
        let image = match (&self.image, keys.as_slice()) {
            (Some(image), _) => image.as_str(),
            (None, [only]) => only,
            (None, _) => bail!(
                "{}: expected one feature of pictures, got {keys:?}; choose with --image",
                root.display()
            ),
        };
        for picture in pictures::episode_pictures(reader, episode, image)? {
            rows.rgb.extend(pictures::fit(&picture, size)?);
        }
        Ok(())
    }

    fn spec(&self, bundle: &Bundle, rows: &Rows) -> Result<HeadSpec> {
        let mlp = self.form == Form::Mlp;
        let kind = if mlp {
            let pooling = if self.concatenated { Pooling::Concatenated } else { Pooling::Mean };
            HeadKind::MlpPolicy { pooling, history: self.history, hidden: vec![256; 3] }
        } else {
            let reads = if self.patches { Memory::Patches } else { Memory::Class };
            HeadKind::ChunkPolicy { reads, width: 128, layers: 2, heads: 4, mlp_hidden: 512 }
        };
        ensure!(!(mlp && self.patches), "--patches: expected --form chunk, the MLP reads class tokens");
        let used: usize = rows.training.iter().map(|range| range.end).max().unwrap_or(0);
        let action = |(at, name): (usize, &String)| ActionChannel {
            name: name.clone(),
            unit: self.action_unit(name),
            // What was never done is not done: whatever the network says of it stays next to nothing.
            scaling: scaling(&rows.actions, used, (rows.action_names.len(), at), CONSTANT),
        };
        let state = |(at, name): (usize, &String)| {
            let (name, quantity, unit) = state_channel(name);
            StateChannel {
                name,
                quantity,
                unit,
                // What never changed may change some day, and must not look huge then.
                scaling: scaling(&rows.state, used, (rows.state_names.len(), at), 1.0),
            }
        };
        let policy = PolicySpec {
            period_secs: 1.0 / rows.fps,
            steps: self.chunk.unwrap_or(if mlp { 1 } else { 16 }),
            space: self.space,
            frame: self.frame.clone(),
            actions: rows.action_names.iter().enumerate().map(action).collect(),
            state: rows.state_names.iter().enumerate().map(state).collect(),
            contract: None,
        };
        let taps = kind.official_taps(bundle.manifest().architecture.blocks);
        Ok(HeadSpec { taps, kind, meaning: Meaning::Policy(policy) })
    }

    fn action_unit(&self, name: &str) -> Unit {
        match self.space {
            SpaceKind::EndEffectorVelocity if name.starts_with("linear") => Unit::MetresPerSecond,
            SpaceKind::EndEffectorVelocity if name.starts_with("angular") => Unit::RadiansPerSecond,
            SpaceKind::EndEffectorDisplacement if name.starts_with("linear") => Unit::Metres,
            SpaceKind::EndEffectorDisplacement if name.starts_with("angular") => Unit::Radians,
            SpaceKind::EndEffectorPose if name.starts_with("position") => Unit::Metres,
            SpaceKind::JointPositions | SpaceKind::JointDisplacements => Unit::Radians,
            SpaceKind::JointVelocities => Unit::RadiansPerSecond,
            _ => Unit::One,
        }
    }

    /// Mean absolute error of each action on held-out episodes, in the data's unit, beside that of their mean.
    fn evaluate(
        &self,
        learner: &Learner<Cloning>,
        policy: &PolicySpec,
        training: usize,
        held_out: usize,
    ) -> Result<()> {
        if held_out == 0 {
            return Ok(());
        }
        let part = learner.task.all(training..training + held_out)?;
        let trace = learner.program().forward(
            learner.parameters(),
            &part.inputs(),
            part.samples(),
            Mode::Inference,
        )?;
        let said = learner.program().output(&trace, part.output());
        let (width, row) = (policy.actions.len(), policy.actions.len() * policy.steps);
        println!(
            "\n{:12} {:>12} {:>12}   held-out error of the first action, mean |error|",
            "action", self.name, "their mean"
        );
        let mut found = serde_json::Map::new();
        for (at, channel) in policy.actions.iter().enumerate() {
            let back = |value: &f32| channel.scaling.denormalise(f64::from(*value));
            let first =
                |values: &[f32]| values.chunks_exact(row).map(|row| back(&row[at])).collect::<Vec<_>>();
            let (said, done) = (first(said), first(part.target()));
            let mean = done.iter().sum::<f64>() / done.len() as f64;
            let error = |of: &dyn Fn(usize) -> f64| {
                (0..done.len()).map(|i| (of(i) - done[i]).abs()).sum::<f64>() / done.len() as f64
            };
            let (ours, blind) = (error(&|i| said[i]), error(&|_| mean));
            println!("{:12} {ours:12.5} {blind:12.5}", channel.name);
            found.insert(channel.name.clone(), json!({ "error": ours, "mean_action_error": blind }));
        }
        ensure!(width > 0, "no actions");
        let path = self.run.run.join("evaluation.json");
        std::fs::write(&path, serde_json::to_string_pretty(&found)?)
            .with_context(|| path.display().to_string())
    }
}

/// Statistics of one column of the first rows; a column that is constant has the deviation `constant`.
fn scaling(values: &[f64], rows: usize, (width, at): (usize, usize), constant: f64) -> Scaling {
    let column = || values[..rows * width].iter().skip(at).step_by(width.max(1));
    let count = column().count().max(1) as f64;
    let mean = column().sum::<f64>() / count;
    let std = (column().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    Scaling::MeanStd { mean, std: if std < CONSTANT { constant } else { std } }
}

/// What a number of the state is, by its name: `joint.position`, `joint.velocity`, `joint.effort`, or an end effector's `position.x`.
fn state_channel(name: &str) -> (String, Quantity, Unit) {
    let end = |end: &str| name.strip_suffix(end).map(str::to_owned);
    if let Some(joint) = end(".velocity") {
        return (joint, Quantity::Velocity, Unit::RadiansPerSecond);
    }
    if let Some(joint) = end(".effort") {
        return (joint, Quantity::Effort, Unit::NewtonMetres);
    }
    let unit = match name {
        _ if name.starts_with("position.") => Unit::Metres,
        "gripper" => Unit::One,
        _ => Unit::Radians,
    };
    (end(".position").unwrap_or_else(|| name.to_owned()), Quantity::Position, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_of_one_column_and_never_zero() {
        let of = |at, constant| scaling(&[1.0, 7.0, 3.0, 7.0, 9.0, 9.0], 2, (2, at), constant);
        assert_eq!(of(0, 1.0), Scaling::MeanStd { mean: 2.0, std: 1.0 });
        assert_eq!(of(1, 1.0), Scaling::MeanStd { mean: 7.0, std: 1.0 });
        // An axis that was never turned about stays at rest, whatever a network makes of it.
        assert!((of(1, CONSTANT).denormalise(0.5) - 7.0).abs() < 1e-6);
    }

    #[test]
    fn names_say_quantities() {
        assert_eq!(
            state_channel("elbow.velocity"),
            ("elbow".to_owned(), Quantity::Velocity, Unit::RadiansPerSecond)
        );
        assert_eq!(state_channel("position.x").2, Unit::Metres);
        assert_eq!(state_channel("elbow"), ("elbow".to_owned(), Quantity::Position, Unit::Radians));
    }
}
