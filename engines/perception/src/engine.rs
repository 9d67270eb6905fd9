//! The engine seam: where a network runs. Implementers live in their own crates and ignore each other.

use network::Network;

use crate::image::ImageView;
use crate::preprocess::Preprocessing;

/// What an engine is, for logs, diagnostics and certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineIdentity {
    /// Flavour, for example `onnxruntime-cpu` or `tensorrt`.
    pub flavour: String,
    /// Version of the library that computes, as it reports it.
    pub version: String,
    /// The device, for example the processor's or the GPU's name.
    pub device: String,
    /// Arithmetic of the networks: `fp32`, `fp16` or `int8`.
    pub precision: String,
}

/// Why an engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine, its library or its device is not there.
    #[error("engine {flavour} is not available: {reason}")]
    Unavailable {
        /// Which engine was asked for.
        flavour: &'static str,
        /// What is missing, and the remedy.
        reason: String,
    },
    /// A network could not be built or loaded.
    #[error("network {network}: {reason}")]
    Load {
        /// Name of the network.
        network: String,
        /// What the engine said.
        reason: String,
    },
    /// A tensor has another shape than was asked for.
    #[error("tensor {tensor}: expected shape {expected:?}, got {actual:?}")]
    Shape {
        /// Name of the tensor.
        tensor: String,
        /// What the network or caller needs.
        expected: Vec<usize>,
        /// What came.
        actual: Vec<usize>,
    },
    /// The computation failed.
    #[error("network {network} failed: {reason}")]
    Run {
        /// Name of the network or step.
        network: String,
        /// What the engine said.
        reason: String,
    },
}

/// A place where networks run: tensors live in its memory, and features never leave it between backbone and heads.
///
/// A network is loaded against its input tensors and owns its output tensors, so all addresses are fixed from then
/// on: ONNX Runtime binds once, TensorRT sets addresses once, and a captured CUDA graph stays valid. Calls are in
/// order on one queue; only [`Engine::download`] waits for what came before. All methods take `&mut self` because ONNX
/// Runtime sessions and TensorRT contexts need it.
pub trait Engine {
    /// A float32 tensor in the engine's memory, as a cheap handle: a clone names the same memory.
    type Tensor: Clone + Send;
    /// A network that is ready to run on its bound tensors.
    type Network: Send;

    /// What this engine is.
    fn identity(&self) -> &EngineIdentity;

    /// Allocates a tensor of `shape`, filled with zeros.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the memory is not there.
    fn allocate(&mut self, shape: &[usize]) -> Result<Self::Tensor, EngineError>;

    /// Builds `network` and binds it: `inputs` in the order of [`Network::inputs`].
    ///
    /// # Errors
    /// [`EngineError::Load`] when it cannot be built, [`EngineError::Shape`] when an input does not fit.
    fn load(&mut self, network: &Network, inputs: &[Self::Tensor]) -> Result<Self::Network, EngineError>;

    /// The output tensors of a loaded network, in the order of [`Network::outputs`].
    fn outputs<'n>(&self, network: &'n Self::Network) -> &'n [Self::Tensor];

    /// Shape of a tensor.
    fn shape<'t>(&self, tensor: &'t Self::Tensor) -> &'t [usize];

    /// Turns camera pixels into the network's normalised input `[1, 3, height, width]`: colour order, antialiased
    /// resize, crop and normalisation. CPU engines call [`Preprocessing::run`]; a GPU engine runs its kernel.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when the image or the tensor is not of the size that `preprocessing` was made for.
    fn preprocess(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &mut Preprocessing,
        into: &Self::Tensor,
    ) -> Result<(), EngineError>;

    /// Copies `values` into a tensor.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when the number of values is not the tensor's.
    fn upload(&mut self, values: &[f32], into: &Self::Tensor) -> Result<(), EngineError>;

    /// Runs a network: reads its bound inputs, fills its outputs.
    ///
    /// # Errors
    /// [`EngineError::Run`] with what the engine said.
    fn run(&mut self, network: &mut Self::Network) -> Result<(), EngineError>;

    /// Copies a tensor out, after everything asked for before has finished.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when `into` has not the tensor's number of values.
    fn download(&mut self, tensor: &Self::Tensor, into: &mut [f32]) -> Result<(), EngineError>;

    /// What people should hear that happened since the last call of this, and is no error: an engine that was rebuilt and
    /// why, a frame that cannot be captured into one graph. Engines that have nothing to say need not implement it.
    fn take_notices(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Checks the shapes of the tensors that a network is loaded against.
///
/// # Errors
/// [`EngineError::Load`] for another number of inputs, [`EngineError::Shape`] for the first that does not fit.
pub fn check_inputs(network: &Network, shapes: &[&[usize]]) -> Result<(), EngineError> {
    let ports = network.inputs();
    if ports.len() != shapes.len() {
        let reason = format!("expected {} input tensors, got {}", ports.len(), shapes.len());
        return Err(EngineError::Load { network: network.name().to_owned(), reason });
    }
    match ports.iter().zip(shapes).find(|(port, shape)| port.shape != **shape) {
        None => Ok(()),
        Some((port, shape)) => Err(EngineError::Shape {
            tensor: format!("{}/{}", network.name(), port.name),
            expected: port.shape.clone(),
            actual: shape.to_vec(),
        }),
    }
}
