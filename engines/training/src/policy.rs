//! Policies on features of a frozen encoder: behaviour cloning from recorded episodes.

use std::ops::Range;

use network::manifest::Pooling;
use network::modules::policy::{PAST, STATE};

use crate::TrainingError;
use crate::dense::{Drawing, Epochs};
use crate::features::Features;
use crate::learner::Task;
use crate::loss::{self, Loss};
use crate::step::{Part, PartLoss};

/// What a policy's batches are made of. Rows lie one after another, episode after episode.
#[derive(Debug)]
pub struct Recorded {
    /// Features of every row's image, of one tap.
    pub features: Features,
    /// Class tokens of an image, and numbers of a token.
    pub class_tokens: (usize, usize),
    /// Rows of each episode.
    pub episodes: Vec<Range<usize>>,
    /// Normalised state of every row; empty for a policy that only sees.
    pub state: Vec<f32>,
    /// Normalised action of every row.
    pub actions: Vec<f32>,
}

/// What the policy's network asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Names of its inputs, in order.
    pub inputs: Vec<String>,
    /// Names of its outputs, in order.
    pub outputs: Vec<String>,
    /// How class tokens become the vector that history is made of.
    pub pooling: Pooling,
    /// Images that it sees.
    pub history: usize,
    /// Actions that it predicts.
    pub steps: usize,
    /// Mean absolute error instead of mean squared error.
    pub absolute: bool,
}

/// Draws rows of recorded episodes.
#[derive(Debug)]
pub struct Cloning {
    recorded: Recorded,
    asked: Asked,
    drawing: Drawing,
    epochs: Epochs,
    /// Episode and row, in the order of the features.
    rows: Vec<(usize, usize)>,
    /// Which of them are trained on.
    drawn: Vec<usize>,
}

/// Part of a batch.
#[derive(Clone, Debug)]
pub struct CloningPart {
    inputs: Vec<Vec<f32>>,
    samples: usize,
    target: Vec<f32>,
    weight: Vec<f32>,
    output: usize,
    outputs: usize,
    absolute: bool,
}

impl Cloning {
    /// Draws from the rows of the first `trained` episodes.
    ///
    /// # Errors
    /// When there are none, or their numbers do not fit together.
    pub fn new(
        recorded: Recorded,
        trained: usize,
        asked: Asked,
        drawing: Drawing,
    ) -> Result<Self, TrainingError> {
        let count: usize = recorded.episodes.iter().map(ExactSizeIterator::len).sum();
        let fits = |numbers: &[f32]| count > 0 && numbers.len().is_multiple_of(count);
        if recorded.features.of().samples != count || !fits(&recorded.actions) || !fits(&recorded.state) {
            let (features, actions) = (recorded.features.of().samples, recorded.actions.len());
            return Err(TrainingError::Data(format!(
                "expected features, actions and states of {count} rows, got features of {features} and {actions} numbers of actions"
            )));
        }
        let own = |(episode, range): (usize, &Range<usize>)| {
            range.clone().map(move |row| (episode, row)).collect::<Vec<_>>()
        };
        let rows: Vec<_> = recorded.episodes.iter().enumerate().flat_map(own).collect();
        let drawn: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].0 < trained).collect();
        if drawn.is_empty() {
            return Err(TrainingError::Data("expected episodes to train on, got none".to_owned()));
        }
        let epochs = Epochs::new(drawn.len(), drawing.seed);
        Ok(Self { recorded, asked, drawing, epochs, rows, drawn })
    }

    /// Every row of some episodes, in order, as one part: to evaluate on.
    ///
    /// # Errors
    /// When features cannot be read.
    pub fn all(&self, episodes: Range<usize>) -> Result<CloningPart, TrainingError> {
        let inside = |at: &usize| episodes.contains(&self.rows[*at].0);
        self.part(&(0..self.rows.len()).filter(inside).collect::<Vec<_>>())
    }

    fn part(&self, drawn: &[usize]) -> Result<CloningPart, TrainingError> {
        let width = self.recorded.actions.len() / self.rows.len();
        let mut part = CloningPart {
            inputs: vec![Vec::new(); self.asked.inputs.len()],
            samples: drawn.len(),
            target: Vec::with_capacity(drawn.len() * self.asked.steps * width),
            weight: Vec::with_capacity(drawn.len() * self.asked.steps * width),
            output: self
                .asked
                .outputs
                .iter()
                .position(|name| name == network::modules::policy::ACTIONS)
                .unwrap_or(0),
            outputs: self.asked.outputs.len(),
            absolute: self.asked.absolute,
        };
        for at in drawn {
            let (episode, row) = self.rows[*at];
            for (index, name) in self.asked.inputs.iter().enumerate() {
                self.input(name, episode, row, &mut part.inputs[index])?;
            }
            let last = self.recorded.episodes[episode].end;
            for step in row..row + self.asked.steps {
                // Beyond the episode nothing was done: the last action stands there and does not count.
                let action = &self.recorded.actions[step.min(last - 1) * width..][..width];
                part.target.extend_from_slice(action);
                part.weight.extend(std::iter::repeat_n(f32::from(u8::from(step < last)), width));
            }
        }
        Ok(part)
    }

    /// Adds one row's numbers for one input of the network.
    fn input(
        &self,
        name: &str,
        episode: usize,
        row: usize,
        into: &mut Vec<f32>,
    ) -> Result<(), TrainingError> {
        match name {
            PAST => {
                let first = self.recorded.episodes[episode].start;
                for back in (1..self.asked.history).rev() {
                    // Before the episode began, its first image stands.
                    self.embedding(row.saturating_sub(back).max(first), into)?;
                }
                Ok(())
            }
            STATE => {
                let width = self.recorded.state.len() / self.rows.len();
                into.extend_from_slice(&self.recorded.state[row * width..][..width]);
                Ok(())
            }
            _ => self.recorded.features.read(row, std::slice::from_mut(into)),
        }
    }

    /// Adds what an image becomes in the history.
    fn embedding(&self, row: usize, into: &mut Vec<f32>) -> Result<(), TrainingError> {
        let mut tokens = vec![Vec::new()];
        self.recorded.features.read(row, &mut tokens)?;
        let (count, dim) = self.recorded.class_tokens;
        let class = &tokens[0][..count * dim];
        match self.asked.pooling {
            Pooling::Concatenated => into.extend_from_slice(class),
            Pooling::Mean => {
                into.extend((0..dim).map(|at| class.iter().skip(at).step_by(dim).sum::<f32>() / count as f32))
            }
        }
        Ok(())
    }
}

impl Task for Cloning {
    type Part = CloningPart;

    fn batch(&mut self, step: u64) -> Result<Vec<CloningPart>, TrainingError> {
        let drawn = self.epochs.batch(step, self.drawing.batch);
        let drawn: Vec<usize> = drawn.into_iter().map(|at| self.drawn[at]).collect();
        drawn.chunks(self.drawing.part.max(1)).map(|rows| self.part(rows)).collect()
    }
}

impl CloningPart {
    /// What should have been done, normalised: rows of `steps x actions`.
    pub fn target(&self) -> &[f32] {
        &self.target
    }

    /// Which of the network's outputs are the actions.
    pub fn output(&self) -> usize {
        self.output
    }
}

impl Part for CloningPart {
    fn samples(&self) -> usize {
        self.samples
    }

    fn inputs(&self) -> Vec<&[f32]> {
        self.inputs.iter().map(Vec::as_slice).collect()
    }

    fn loss(&self, outputs: &[&[f32]]) -> PartLoss {
        let compare = if self.absolute { loss::absolute } else { loss::squared };
        let Loss { value, gradient } = compare(outputs[self.output], &self.target, &self.weight);
        let mut gradients = vec![None; self.outputs];
        gradients[self.output] = Some(gradient);
        PartLoss { value, gradients, samples: Vec::new() }
    }
}
