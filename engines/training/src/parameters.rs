//! The numbers that training changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use network::weights::Tensor;
use network::{Weights, WeightsError};

use crate::Numbers;

/// One tensor that training changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row by row; shared with the passes that run at the moment.
    pub values: Arc<Vec<f32>>,
}

/// Tensors by canonical name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    tensors: BTreeMap<String, Parameter>,
}

impl Parameters {
    /// Reads these tensors of a model.
    ///
    /// # Errors
    /// When one is missing, has another shape, or holds a number that is not finite.
    pub fn read(weights: &Weights, tensors: &[(String, Vec<usize>)]) -> Result<Self, WeightsError> {
        let mut parameters = Self::default();
        for (name, shape) in tensors {
            parameters.insert(name.clone(), shape.clone(), weights.read_f32(name, shape)?);
        }
        Ok(parameters)
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.tensors.insert(name, Parameter { shape, values: Arc::new(values) });
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.tensors.get(name)
    }

    /// The numbers of the tensor of this name, to change them; copied only when a pass still holds them.
    pub fn values_mut(&mut self, name: &str) -> Option<&mut Vec<f32>> {
        self.tensors.get_mut(name).map(|parameter| Arc::make_mut(&mut parameter.values))
    }

    /// All tensors by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Parameter)> {
        self.tensors.iter()
    }

    /// Numbers in all tensors.
    pub fn count(&self) -> usize {
        self.tensors.values().map(|parameter| parameter.values.len()).sum()
    }

    /// The first tensor that holds a number that is not finite.
    pub fn not_finite(&self) -> Option<&str> {
        let broken = |(_, parameter): &(&String, &Parameter)| parameter.values.iter().any(|x| !x.is_finite());
        self.tensors.iter().find(broken).map(|(name, _)| name.as_str())
    }

    /// Puts the tensors into a model's weights, as float32.
    ///
    /// # Errors
    /// When a tensor's numbers do not fill its shape.
    pub fn write(&self, weights: &mut Weights) -> Result<(), String> {
        for (name, parameter) in &self.tensors {
            weights.insert(name.clone(), Tensor::from_f32(&parameter.shape, &parameter.values)?);
        }
        Ok(())
    }
}

/// Streams of random numbers.
const FRESH: u64 = 41;

/// Parameters of a head that has learnt nothing: weights uniform within `1 / sqrt(inputs)` as PyTorch draws them, biases 0, scales
/// and variances 1.
pub fn fresh(tensors: &[(String, Vec<usize>)], seed: u64) -> Parameters {
    let mut sorted = tensors.to_vec();
    sorted.sort();
    let mut parameters = Parameters::default();
    for (index, (name, shape)) in sorted.into_iter().enumerate() {
        let mut numbers = Numbers::of(seed, &[FRESH, index as u64]);
        let (count, inputs) = (shape.iter().product(), shape.iter().skip(1).product::<usize>());
        let most = 1.0 / (inputs.max(1) as f64).sqrt();
        let values = match shape.len() {
            1 if name.ends_with("weight") || name.ends_with("running_var") => vec![1.0; count],
            1 => vec![0.0; count],
            _ => (0..count).map(|_| numbers.between(-most, most) as f32).collect(),
        };
        parameters.insert(name, shape, values);
    }
    parameters
}
