//! An engine without a library: it computes nothing real, but does so reproducibly, and records what it was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use network::Network;

use crate::engine::{Engine, EngineError, EngineIdentity};
use crate::image::ImageView;
use crate::preprocess::Preprocessing;

/// Something that a [`Dummy`] was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A network of this name was loaded.
    Load(String),
    /// An image was preprocessed.
    Preprocess,
    /// Numbers were copied into a tensor.
    Upload,
    /// A network of this name ran.
    Run(String),
    /// A tensor was copied out.
    Download,
}

/// A tensor of a [`Dummy`].
#[derive(Clone, Debug)]
pub struct DummyTensor {
    name: String,
    shape: Vec<usize>,
    values: Arc<Mutex<Vec<f32>>>,
}

/// A network of a [`Dummy`].
#[derive(Debug)]
pub struct DummyNetwork {
    name: String,
    inputs: Vec<DummyTensor>,
    outputs: Vec<DummyTensor>,
}

/// An engine whose outputs are a ramp around one plus a share of the inputs' mean: for tests of everything around it.
#[derive(Clone, Debug)]
pub struct Dummy {
    identity: EngineIdentity,
    calls: Arc<Mutex<Vec<Call>>>,
    delay: Duration,
    drift: f32,
}

impl Default for Dummy {
    fn default() -> Self {
        let text = |text: &str| text.to_owned();
        let identity = EngineIdentity {
            flavour: text("dummy"),
            version: text("1"),
            device: text("none"),
            precision: text("fp32"),
        };
        Self { identity, calls: Arc::default(), delay: Duration::ZERO, drift: 0.0 }
    }
}

impl Dummy {
    /// Sleeps this long in every run of the backbone.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Adds this to every output, as an engine would whose numbers drifted.
    #[must_use]
    pub fn with_drift(self, drift: f32) -> Self {
        Self { drift, ..self }
    }

    /// What was asked since the last call of this.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.calls))
    }

    fn record(&self, call: Call) {
        lock(&self.calls).push(call);
    }

    fn tensor(name: &str, shape: &[usize]) -> DummyTensor {
        let values = Arc::new(Mutex::new(vec![0.0; shape.iter().product()]));
        DummyTensor { name: name.to_owned(), shape: shape.to_vec(), values }
    }
}

/// A panic of another test thread does not spoil the numbers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn same_len(tensor: &DummyTensor, actual: usize) -> Result<(), EngineError> {
    if tensor.shape.iter().product::<usize>() == actual {
        return Ok(());
    }
    Err(EngineError::Shape {
        tensor: tensor.name.clone(),
        expected: tensor.shape.clone(),
        actual: vec![actual],
    })
}

impl Engine for Dummy {
    type Tensor = DummyTensor;
    type Network = DummyNetwork;

    fn identity(&self) -> &EngineIdentity {
        &self.identity
    }

    fn allocate(&mut self, shape: &[usize]) -> Result<DummyTensor, EngineError> {
        Ok(Self::tensor("input", shape))
    }

    fn load(&mut self, network: &Network, inputs: &[DummyTensor]) -> Result<DummyNetwork, EngineError> {
        crate::engine::check_inputs(
            network,
            &inputs.iter().map(|input| input.shape.as_slice()).collect::<Vec<_>>(),
        )?;
        self.record(Call::Load(network.name().to_owned()));
        let outputs = network.outputs().iter().map(|port| Self::tensor(&port.name, &port.shape)).collect();
        Ok(DummyNetwork { name: network.name().to_owned(), inputs: inputs.to_vec(), outputs })
    }

    fn outputs<'n>(&self, network: &'n DummyNetwork) -> &'n [DummyTensor] {
        &network.outputs
    }

    fn shape<'t>(&self, tensor: &'t DummyTensor) -> &'t [usize] {
        &tensor.shape
    }

    fn preprocess(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &mut Preprocessing,
        into: &DummyTensor,
    ) -> Result<(), EngineError> {
        self.record(Call::Preprocess);
        preprocessing.run(image, &mut lock(&into.values))
    }

    fn upload(&mut self, values: &[f32], into: &DummyTensor) -> Result<(), EngineError> {
        same_len(into, values.len())?;
        self.record(Call::Upload);
        lock(&into.values).copy_from_slice(values);
        Ok(())
    }

    fn run(&mut self, network: &mut DummyNetwork) -> Result<(), EngineError> {
        self.record(Call::Run(network.name.clone()));
        if network.name == "backbone" {
            std::thread::sleep(self.delay);
        }
        let mut mean = 0.0;
        for input in &network.inputs {
            let values = lock(&input.values);
            mean += values.iter().sum::<f32>() / values.len() as f32;
        }
        for output in &network.outputs {
            let ramp = |index: usize| 1.0 + (index % 97) as f32 / 97.0 + 0.1 * mean + self.drift;
            lock(&output.values).iter_mut().enumerate().for_each(|(index, value)| *value = ramp(index));
        }
        Ok(())
    }

    fn download(&mut self, tensor: &DummyTensor, into: &mut [f32]) -> Result<(), EngineError> {
        same_len(tensor, into.len())?;
        self.record(Call::Download);
        into.copy_from_slice(&lock(&tensor.values));
        Ok(())
    }
}
