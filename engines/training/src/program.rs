//! A graph made ready to run forward and backward on batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use network::graph::{Data, Graph, Node, Op, ValueId};

use crate::ops::{BatchStatistics, Call, Operand, batch_statistics};
use crate::{Parameters, TrainingError, lanes};

/// What batch normalisation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Takes the batch's own statistics, and reports them.
    Training,
    /// Takes the stored statistics, as the exported network does.
    Inference,
}

/// A graph with what a pass over it needs to know beforehand.
///
/// Networks are defined for one sample; here each value that depends on an input is there once per sample of a batch, and
/// batch normalisation counts over all of them.
#[derive(Debug)]
pub struct Program {
    graph: Graph,
    computed: BTreeMap<ValueId, Arc<Vec<f32>>>,
    stored: BTreeMap<ValueId, String>,
    batched: Vec<bool>,
    wanted: Vec<bool>,
}

/// The values of one pass forward.
#[derive(Debug)]
pub struct Trace {
    values: Vec<Option<Arc<Vec<f32>>>>,
    samples: usize,
    mode: Mode,
}

/// A loss' gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients {
    /// By the parameter's name.
    pub parameters: BTreeMap<String, Vec<f32>>,
}

impl Gradients {
    /// Adds another part of the batch's gradient.
    pub fn add(&mut self, other: Self) {
        for (name, gradient) in other.parameters {
            match self.parameters.get_mut(&name) {
                Some(sum) => lanes::add(sum, &gradient),
                None => drop(self.parameters.insert(name, gradient)),
            }
        }
    }
}

/// Running statistics of one batch normalisation after a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningStatistics {
    /// Name of the stored mean.
    pub mean_name: String,
    /// Name of the stored variance.
    pub variance_name: String,
    /// The batch's means by channel.
    pub mean: Vec<f32>,
    /// The batch's variances by channel, unbiased as PyTorch counts them.
    pub variance: Vec<f32>,
}

/// Names of running statistics end like this; they are counted, not learnt.
const STATISTICS: [&str; 2] = [".running_mean", ".running_var"];

impl Program {
    /// Prepares a graph; `trainable` says which stored weights want a gradient.
    pub fn new(graph: Graph, trainable: impl Fn(&str) -> bool) -> Self {
        let count = graph.value_count();
        let (mut batched, mut wanted) = (vec![false; count], vec![false; count]);
        graph.inputs().iter().for_each(|(_, value)| batched[value.index()] = true);
        let (mut computed, mut stored) = (BTreeMap::new(), BTreeMap::new());
        for constant in graph.constants() {
            match &constant.data {
                Data::Computed(values) => drop(computed.insert(constant.value, Arc::new(values.to_vec()))),
                Data::Stored => {
                    let learnt = !STATISTICS.iter().any(|end| constant.name.ends_with(end));
                    wanted[constant.value.index()] = learnt && trainable(&constant.name);
                    stored.insert(constant.value, constant.name.clone());
                }
            }
        }
        for node in graph.nodes() {
            let any = |flags: &[bool]| node.operands.iter().any(|value| flags[value.index()]);
            batched[node.result.index()] = any(&batched);
            wanted[node.result.index()] = any(&wanted);
        }
        Self { graph, computed, stored, batched, wanted }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Names of the weights that get a gradient.
    pub fn trainable(&self) -> impl Iterator<Item = &str> {
        let wanted = self.stored.iter().filter(|(value, _)| self.wanted[value.index()]);
        wanted.map(|(_, name)| name.as_str())
    }

    /// Names and shapes of all stored weights.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let shaped = |(value, name): (&ValueId, &String)| (name.clone(), self.graph.shape(*value).to_vec());
        self.stored.iter().map(shaped).collect()
    }

    /// Whether a sample's result depends on the other samples of its batch (batch normalisation in training).
    pub fn couples_samples(&self) -> bool {
        self.graph.nodes().iter().any(|node| matches!(node.op, Op::BatchNorm { .. }))
    }

    /// Runs forward on `samples` samples; `inputs` in the graph's order, samples one after another.
    ///
    /// # Errors
    /// When an input has another length or a parameter is missing or has another shape.
    pub fn forward(
        &self,
        parameters: &Parameters,
        inputs: &[&[f32]],
        samples: usize,
        mode: Mode,
    ) -> Result<Trace, TrainingError> {
        let mut values: Vec<Option<Arc<Vec<f32>>>> = vec![None; self.graph.value_count()];
        self.bind_inputs(inputs, samples, &mut values)?;
        self.bind_constants(parameters, &mut values)?;
        for node in self.graph.nodes() {
            let result = if matches!(node.op, Op::Reshape { .. }) {
                values[node.operands[0].index()].clone()
            } else {
                let operands = self.operands(node, &values)?;
                Some(Arc::new(self.call(node, &operands, samples, mode).forward()))
            };
            values[node.result.index()] = result;
        }
        Ok(Trace { values, samples, mode })
    }

    /// Runs backward: the gradient of a loss whose gradient by the outputs is given, in the graph's order.
    ///
    /// # Errors
    /// When a gradient has another length than its output.
    pub fn backward(&self, trace: &Trace, outputs: &[Option<Vec<f32>>]) -> Result<Gradients, TrainingError> {
        let mut gradients: Vec<Option<Vec<f32>>> = vec![None; self.graph.value_count()];
        for ((port, value), gradient) in self.graph.outputs().iter().zip(outputs) {
            let Some(gradient) = gradient else { continue };
            let expected = trace.values[value.index()].as_ref().map_or(0, |values| values.len());
            if gradient.len() != expected {
                return Err(self.misfit(&format!("gradient of {}", port.name), expected, gradient.len()));
            }
            accumulate(&mut gradients[value.index()], gradient.clone());
        }
        for node in self.graph.nodes().iter().rev() {
            let Some(gradient) = gradients[node.result.index()].take() else { continue };
            self.pull(node, trace, gradient, &mut gradients)?;
        }
        let mut found = Gradients::default();
        for (value, name) in &self.stored {
            if let Some(gradient) = gradients[value.index()].take() {
                found.parameters.insert(name.clone(), gradient);
            }
        }
        Ok(found)
    }

    /// The output number `index` of the graph: samples one after another.
    pub fn output<'t>(&self, trace: &'t Trace, index: usize) -> &'t [f32] {
        let value = self.graph.outputs().get(index).map(|(_, value)| value.index());
        value.and_then(|value| trace.values[value].as_deref()).map_or(&[], Vec::as_slice)
    }

    /// The batch's statistics at each batch normalisation, for the running ones.
    ///
    /// # Errors
    /// None for a trace of this program.
    pub fn statistics(&self, trace: &Trace) -> Result<Vec<RunningStatistics>, TrainingError> {
        let mut found = Vec::new();
        for node in self.graph.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm { .. })) {
            let name = |index: usize| self.stored.get(&node.operands[index]).cloned();
            let (Some(mean_name), Some(variance_name)) = (name(3), name(4)) else { continue };
            let operands = self.operands(node, &trace.values)?;
            let BatchStatistics { mean, mut variance, count } = batch_statistics(&operands[0]);
            let unbiased = count as f32 / (count.max(2) - 1) as f32;
            variance.iter_mut().for_each(|variance| *variance *= unbiased);
            found.push(RunningStatistics { mean_name, variance_name, mean, variance });
        }
        Ok(found)
    }

    fn bind_inputs(
        &self,
        inputs: &[&[f32]],
        samples: usize,
        values: &mut [Option<Arc<Vec<f32>>>],
    ) -> Result<(), TrainingError> {
        if inputs.len() != self.graph.inputs().len() {
            return Err(self.misfit("inputs", self.graph.inputs().len(), inputs.len()));
        }
        for ((port, value), input) in self.graph.inputs().iter().zip(inputs) {
            let expected = samples * port.shape.iter().product::<usize>();
            if input.len() != expected {
                return Err(self.misfit(&port.name, expected, input.len()));
            }
            values[value.index()] = Some(Arc::new(input.to_vec()));
        }
        Ok(())
    }

    fn bind_constants(
        &self,
        parameters: &Parameters,
        values: &mut [Option<Arc<Vec<f32>>>],
    ) -> Result<(), TrainingError> {
        for (value, numbers) in &self.computed {
            values[value.index()] = Some(numbers.clone());
        }
        for (value, name) in &self.stored {
            let expected = self.graph.shape(*value);
            let parameter = parameters.get(name).filter(|parameter| parameter.shape == expected);
            let parameter = parameter.ok_or_else(|| TrainingError::Parameter {
                name: name.clone(),
                expected: expected.to_vec(),
                came: parameters.get(name).map(|parameter| parameter.shape.clone()),
            })?;
            values[value.index()] = Some(parameter.values.clone());
        }
        Ok(())
    }

    fn operands<'v>(
        &'v self,
        node: &Node,
        values: &'v [Option<Arc<Vec<f32>>>],
    ) -> Result<Vec<Operand<'v>>, TrainingError> {
        let operand = |value: &ValueId| {
            let numbers = values[value.index()].as_deref();
            let numbers = numbers.ok_or_else(|| self.misfit(&format!("operands of {}", node.name), 1, 0))?;
            let (shape, batched) = (self.graph.shape(*value), self.batched[value.index()]);
            Ok(Operand { shape, values: numbers, batched })
        };
        node.operands.iter().map(operand).collect()
    }

    fn call<'c>(
        &'c self,
        node: &'c Node,
        operands: &'c [Operand<'c>],
        samples: usize,
        mode: Mode,
    ) -> Call<'c> {
        let samples = if self.batched[node.result.index()] { samples } else { 1 };
        let shape = self.graph.shape(node.result);
        Call { op: &node.op, operands, shape, samples, training: mode == Mode::Training }
    }

    /// Hands a node's gradient on to its operands.
    fn pull(
        &self,
        node: &Node,
        trace: &Trace,
        gradient: Vec<f32>,
        gradients: &mut [Option<Vec<f32>>],
    ) -> Result<(), TrainingError> {
        if matches!(node.op, Op::Reshape { .. }) {
            accumulate(&mut gradients[node.operands[0].index()], gradient);
            return Ok(());
        }
        let operands = self.operands(node, &trace.values)?;
        let call = self.call(node, &operands, trace.samples, trace.mode);
        let result = trace.values[node.result.index()].as_deref().map_or(&[][..], Vec::as_slice);
        for (index, value) in node.operands.iter().enumerate().filter(|(_, value)| self.wanted[value.index()])
        {
            let into =
                gradients[value.index()].get_or_insert_with(|| vec![0.0; operands[index].values.len()]);
            call.backward(index, result, &gradient, into);
        }
        Ok(())
    }

    fn misfit(&self, what: &str, expected: usize, came: usize) -> TrainingError {
        TrainingError::Misfit { network: self.graph.name().to_owned(), what: what.to_owned(), expected, came }
    }
}

fn accumulate(slot: &mut Option<Vec<f32>>, gradient: Vec<f32>) {
    match slot {
        Some(sum) => lanes::add(sum, &gradient),
        None => *slot = Some(gradient),
    }
}
