//! One step of training: a batch's loss and gradient, on all cores, the same whatever their number.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::program::RunningStatistics;
use crate::{Gradients, Mode, Parameters, Program, TrainingError};

/// Part of a batch, ready for a program.
pub trait Part: Sync {
    /// Samples.
    fn samples(&self) -> usize;
    /// Inputs in the graph's order, samples one after another.
    fn inputs(&self) -> Vec<&[f32]>;
    /// Loss of this part, given the program's outputs in the graph's order, its gradient by each, and each sample's own loss where
    /// the loss has one. The part's loss is a mean; parts are joined weighted by their samples.
    fn loss(&self, outputs: &[&[f32]]) -> PartLoss;
}

/// Loss of part of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct PartLoss {
    /// Mean over the part.
    pub value: f64,
    /// Gradient by each output; none where the loss does not look at it.
    pub gradients: Vec<Option<Vec<f32>>>,
    /// Each sample's own loss; empty where the loss has none.
    pub samples: Vec<f32>,
}

/// What came of one batch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Mean loss.
    pub loss: f64,
    /// Its gradient.
    pub gradients: Gradients,
    /// Each sample's own loss, where there is one.
    pub samples: Vec<f32>,
    /// Batch statistics for the running ones.
    pub statistics: Vec<RunningStatistics>,
}

/// Runs the parts of a batch on `threads` threads and joins them in their order.
///
/// # Errors
/// When a part does not fit the program. A program that couples samples takes one part.
pub fn run(
    program: &Program,
    parameters: &Parameters,
    parts: &[impl Part],
    threads: usize,
) -> Result<Outcome, TrainingError> {
    let total: usize = parts.iter().map(Part::samples).sum();
    if program.couples_samples() && parts.len() != 1 {
        let network = program.graph().name().to_owned();
        let what = "parts of a batch with batch normalisation".to_owned();
        return Err(TrainingError::Misfit { network, what, expected: 1, came: parts.len() });
    }
    let mut outcome: Option<Outcome> = None;
    let share = |part: &_| Part::samples(part) as f64 / total.max(1) as f64;
    let run = |part: &_| run_part(program, parameters, part, share(part));
    for done in in_order(parts, threads, run) {
        join(&mut outcome, done?);
    }
    outcome.ok_or_else(|| TrainingError::Data("expected a batch of at least one sample, got none".to_owned()))
}

type Done = Result<Outcome, TrainingError>;

/// Every part's outcome in the order of the parts. A thread takes the next part when it is done with one, so that a core that
/// another program uses too holds the others up by no more than a part.
fn in_order<P: Part>(parts: &[P], threads: usize, run: impl Fn(&P) -> Done + Sync) -> Vec<Done> {
    let threads = threads.min(parts.len());
    if threads <= 1 {
        return parts.iter().map(run).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(at) else { return done };
            done.push((at, run(part)));
        }
    };
    let done: Vec<(usize, Done)> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let lost = || Err(TrainingError::Data("a training thread panicked".to_owned()));
    let mut outcomes: Vec<Done> = parts.iter().map(|_| lost()).collect();
    done.into_iter().for_each(|(at, outcome)| outcomes[at] = outcome);
    outcomes
}

/// A part's outcome, weighted by its share of the batch.
fn run_part(program: &Program, parameters: &Parameters, part: &impl Part, share: f64) -> Done {
    let trace = program.forward(parameters, &part.inputs(), part.samples(), Mode::Training)?;
    let outputs: Vec<&[f32]> =
        (0..program.graph().outputs().len()).map(|index| program.output(&trace, index)).collect();
    let PartLoss { value, mut gradients, samples } = part.loss(&outputs);
    // Here and not when the parts are joined: outputs have fewer numbers than parameters.
    gradients.iter_mut().flatten().flatten().for_each(|g| *g *= share as f32);
    let gradients = program.backward(&trace, &gradients)?;
    Ok(Outcome { loss: value * share, gradients, samples, statistics: program.statistics(&trace)? })
}

/// Adds a part's outcome.
fn join(whole: &mut Option<Outcome>, part: Outcome) {
    match whole {
        None => *whole = Some(part),
        Some(whole) => {
            whole.loss += part.loss;
            whole.gradients.add(part.gradients);
            whole.samples.extend(part.samples);
        }
    }
}

/// PyTorch's share of the new batch in running statistics.
const MOMENTUM: f32 = 0.1;

/// Moves the running statistics of batch normalisation towards a batch's.
pub fn count_statistics(parameters: &mut Parameters, statistics: &[RunningStatistics]) {
    let mut mix = |name: &str, batch: &[f32]| {
        let values = parameters.values_mut(name).into_iter().flatten();
        values.zip(batch).for_each(|(running, batch)| *running += MOMENTUM * (batch - *running));
    };
    for statistics in statistics {
        mix(&statistics.mean_name, &statistics.mean);
        mix(&statistics.variance_name, &statistics.variance);
    }
}
