//! The loop of training: batches from a task, steps of the optimiser, a file to go on from.

use std::collections::BTreeMap;
use std::path::Path;

use crate::optimiser::{self, AdamW, Optimiser, Schedule};
use crate::state::State;
use crate::step::{self, Part};
use crate::{Parameters, Program, TrainingError};

/// Where batches come from.
pub trait Task {
    /// Part of a batch.
    type Part: Part;

    /// The batch of a step, counted from 0, in parts. It may depend on nothing but the step and what the task remembers.
    ///
    /// # Errors
    /// When a sample cannot be read.
    fn batch(&mut self, step: u64) -> Result<Vec<Self::Part>, TrainingError>;

    /// Hears each sample's loss, in the order of the batch.
    fn learnt(&mut self, losses: &[f32]) {
        let _ = losses;
    }

    /// What later batches depend on besides the step.
    fn memory(&self) -> BTreeMap<String, Vec<f32>> {
        BTreeMap::new()
    }

    /// Takes back what [`Task::memory`] gave.
    ///
    /// # Errors
    /// What does not fit.
    fn recall(&mut self, memory: &BTreeMap<String, Vec<f32>>) -> Result<(), String> {
        let _ = memory;
        Ok(())
    }
}

/// How to learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// The optimiser.
    pub optimiser: AdamW,
    /// Its learning rate.
    pub schedule: Schedule,
    /// Gradients longer than this are scaled down to it.
    pub longest_gradient: f64,
    /// Threads of a step; the result does not depend on it.
    pub threads: usize,
}

/// A network being trained.
#[derive(Debug)]
pub struct Learner<T> {
    program: Program,
    parameters: Parameters,
    optimiser: Optimiser,
    learning: Learning,
    about: String,
    step: u64,
    losses: Vec<f32>,
    /// Where batches come from.
    pub task: T,
}

/// Name of the losses of all steps in a run's memory.
const LOSSES: &str = "losses";

impl<T: Task> Learner<T> {
    /// Begins at step 0. `about` says what the run is: a file of a run that says otherwise is not continued.
    pub fn new(program: Program, parameters: Parameters, learning: Learning, about: String, task: T) -> Self {
        let optimiser = Optimiser::new(learning.optimiser);
        Self { program, parameters, optimiser, learning, about, step: 0, losses: Vec::new(), task }
    }

    /// Goes on from a run's file, if it is there; says whether it was.
    ///
    /// # Errors
    /// When it is damaged or of another run.
    pub fn resume(&mut self, path: &Path) -> Result<bool, TrainingError> {
        if !path.exists() {
            return Ok(false);
        }
        let mut state = State::read(path, &self.about)?;
        let refused = |reason: String| TrainingError::Run { path: path.to_owned(), reason };
        for (name, shape) in self.program.tensors() {
            let came = state.parameters.get(&name).map(|parameter| parameter.shape.clone());
            if came.as_ref() != Some(&shape) {
                return Err(TrainingError::Parameter { name, expected: shape, came });
            }
        }
        self.losses = state.memory.remove(LOSSES).unwrap_or_default();
        self.task.recall(&state.memory).map_err(refused)?;
        (self.parameters, self.optimiser.moments, self.step) = (state.parameters, state.moments, state.step);
        Ok(true)
    }

    /// Writes the run's file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainingError> {
        let mut memory = self.task.memory();
        memory.insert(LOSSES.to_owned(), self.losses.clone());
        let (about, step) = (self.about.clone(), self.step);
        let (parameters, moments) = (self.parameters.clone(), self.optimiser.moments.clone());
        State { about, step, parameters, moments, memory }.write(path)
    }

    /// One step; returns its loss.
    ///
    /// # Errors
    /// When a batch cannot be read, or the loss is no number any more.
    pub fn advance(&mut self) -> Result<f64, TrainingError> {
        let parts = self.task.batch(self.step)?;
        let mut outcome = step::run(&self.program, &self.parameters, &parts, self.learning.threads)?;
        if !outcome.loss.is_finite() {
            return Err(TrainingError::Diverged { step: self.step, loss: outcome.loss });
        }
        let length = optimiser::clip(&mut outcome.gradients, self.learning.longest_gradient);
        if !length.is_finite() {
            return Err(TrainingError::Diverged { step: self.step, loss: length });
        }
        let rate = self.learning.schedule.rate(self.step);
        self.optimiser.step(&mut self.parameters, &outcome.gradients, rate, self.step + 1);
        step::count_statistics(&mut self.parameters, &outcome.statistics);
        self.task.learnt(&outcome.samples);
        self.losses.push(outcome.loss as f32);
        self.step += 1;
        Ok(outcome.loss)
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Steps that the schedule has.
    pub fn steps(&self) -> u64 {
        self.learning.schedule.steps
    }

    /// Loss of every step so far.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// The parameters as they are.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The network.
    pub fn program(&self) -> &Program {
        &self.program
    }
}
