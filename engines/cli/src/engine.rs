//! The engine that a command was asked to use.

use std::path::PathBuf;

use anyhow::{Context, Result};
use network::{Bundle, Network, Precision};
use onnx::{OnnxNetwork, OnnxOptions, OnnxRuntime, OnnxTensor};
use perception::{Engine, EngineError, EngineIdentity, ImageView, Preprocessing};
use tensorrt::{Cache, Flavour, TensorRt, TensorRtNetwork, TensorRtOptions, TensorRtTensor};

use crate::progress;

/// Which engine runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// ONNX Runtime on the CPU, the reference
    Onnx,
    /// TensorRT on an NVIDIA GPU or Jetson
    Tensorrt,
    /// TensorRT-RTX on an NVIDIA RTX GPU
    TensorrtRtx,
}

/// Where ONNX Runtime is.
#[derive(Debug, Clone, clap::Args)]
pub struct ReferenceArguments {
    /// ONNX Runtime's shared library (libonnxruntime.so.*)
    #[arg(long, value_name = "FILE", env = "PIXIO_ONNXRUNTIME", help_heading = "Engine")]
    onnxruntime: Option<PathBuf>,
    /// Threads that one network may use
    #[arg(long, default_value_t = default_threads(), help_heading = "Engine")]
    threads: usize,
}

/// Where TensorRT and its built engines are.
#[derive(Debug, Clone, clap::Args)]
pub struct TensorRtArguments {
    /// What the networks compute in; LayerNorm, softmax and the last sums stay in fp32
    #[arg(long, default_value = "fp16", value_name = "fp32|fp16", help_heading = "TensorRT")]
    pub precision: Precision,
    /// Folder of TensorRT's libraries [default: PIXIO_TENSORRT or PIXIO_TENSORRT_RTX, else where the system finds libraries]
    #[arg(long, value_name = "DIR", help_heading = "TensorRT")]
    pub libraries: Option<PathBuf>,
    /// Folder of built engines [default: pixio/engines in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "PIXIO_CACHE", help_heading = "TensorRT")]
    pub cache: Option<PathBuf>,
}

/// Which engine, and where its library is.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArguments {
    /// The engine; there is no fallback to another
    #[arg(long, value_enum, default_value_t = Choice::Onnx, help_heading = "Engine")]
    engine: Choice,
    #[command(flatten)]
    reference: ReferenceArguments,
    #[command(flatten)]
    tensorrt: TensorRtArguments,
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl ReferenceArguments {
    /// Starts the reference engine.
    ///
    /// # Errors
    /// When the library is not named or cannot be loaded.
    pub fn start(&self) -> Result<OnnxRuntime> {
        let library = onnx::library(self.onnxruntime.as_deref())?;
        OnnxRuntime::new(OnnxOptions { library, threads: self.threads }).context("cannot start the engine")
    }
}

impl TensorRtArguments {
    /// The folder of built engines.
    ///
    /// # Errors
    /// When none is named and the user has no cache folder.
    pub fn cache(&self) -> Result<Cache> {
        Ok(self.cache.clone().map_or_else(Cache::of_user, |folder| Ok(Cache::new(folder)))?)
    }

    /// How a bundle runs on a flavour.
    ///
    /// # Errors
    /// As [`TensorRtArguments::cache`].
    pub fn options(&self, flavour: Flavour, bundle: &Bundle) -> Result<TensorRtOptions> {
        Ok(TensorRtOptions {
            flavour,
            library: self.libraries.clone(),
            precision: self.precision,
            kept: bundle.manifest().precision.clone(),
            model: bundle.hash().to_owned(),
            cache: self.cache()?,
            is_on_trial: false,
        })
    }
}

impl EngineArguments {
    /// Starts the engine for a bundle; engines that are not built yet are built when they are loaded.
    ///
    /// # Errors
    /// When the library is not there, or does not suit.
    pub fn start(&self, bundle: &Bundle) -> Result<AnyEngine> {
        let flavour = match self.engine {
            Choice::Onnx => return Ok(AnyEngine::Onnx(self.reference.start()?)),
            Choice::Tensorrt => Flavour::TensorRt,
            Choice::TensorrtRtx => Flavour::TensorRtRtx,
        };
        let options = self.tensorrt.options(flavour, bundle)?;
        let engine = TensorRt::watched(options, progress::builds()).context("cannot start the engine")?;
        Ok(AnyEngine::TensorRt(Box::new(engine)))
    }
}

/// The engine that was chosen.
#[derive(Debug)]
pub enum AnyEngine {
    /// The reference.
    Onnx(OnnxRuntime),
    /// On a GPU.
    TensorRt(Box<TensorRt>),
}

impl AnyEngine {
    /// What the engine had to say since the last call of this.
    pub fn take_notices(&mut self) -> Vec<String> {
        match self {
            Self::Onnx(_) => Vec::new(),
            Self::TensorRt(engine) => engine.take_notices(),
        }
    }
}

/// A tensor of the engine that was chosen.
#[derive(Clone, Debug)]
pub enum AnyTensor {
    /// Of the reference.
    Onnx(OnnxTensor),
    /// On a GPU.
    TensorRt(TensorRtTensor),
}

/// A network on the engine that was chosen.
#[derive(Debug)]
pub enum AnyNetwork {
    /// On the reference; the outputs again, as tensors of any engine.
    Onnx(OnnxNetwork, Vec<AnyTensor>),
    /// On a GPU; likewise.
    TensorRt(TensorRtNetwork, Vec<AnyTensor>),
}

/// A tensor or network of one engine was given to another.
fn foreign(what: &str) -> EngineError {
    EngineError::Run { network: what.to_owned(), reason: "it belongs to another engine".to_owned() }
}

impl Engine for AnyEngine {
    type Tensor = AnyTensor;
    type Network = AnyNetwork;

    fn identity(&self) -> &EngineIdentity {
        match self {
            Self::Onnx(engine) => engine.identity(),
            Self::TensorRt(engine) => engine.identity(),
        }
    }

    fn allocate(&mut self, shape: &[usize]) -> Result<AnyTensor, EngineError> {
        Ok(match self {
            Self::Onnx(engine) => AnyTensor::Onnx(engine.allocate(shape)?),
            Self::TensorRt(engine) => AnyTensor::TensorRt(engine.allocate(shape)?),
        })
    }

    fn load(&mut self, network: &Network, inputs: &[AnyTensor]) -> Result<AnyNetwork, EngineError> {
        match self {
            Self::Onnx(engine) => {
                let own = |tensor: &AnyTensor| match tensor {
                    AnyTensor::Onnx(tensor) => Ok(tensor.clone()),
                    AnyTensor::TensorRt(_) => Err(foreign(network.name())),
                };
                let loaded = engine.load(network, &inputs.iter().map(own).collect::<Result<Vec<_>, _>>()?)?;
                let outputs = engine.outputs(&loaded).iter().cloned().map(AnyTensor::Onnx).collect();
                Ok(AnyNetwork::Onnx(loaded, outputs))
            }
            Self::TensorRt(engine) => {
                let own = |tensor: &AnyTensor| match tensor {
                    AnyTensor::TensorRt(tensor) => Ok(tensor.clone()),
                    AnyTensor::Onnx(_) => Err(foreign(network.name())),
                };
                let loaded = engine.load(network, &inputs.iter().map(own).collect::<Result<Vec<_>, _>>()?)?;
                let outputs = engine.outputs(&loaded).iter().cloned().map(AnyTensor::TensorRt).collect();
                Ok(AnyNetwork::TensorRt(loaded, outputs))
            }
        }
    }

    fn outputs<'n>(&self, network: &'n AnyNetwork) -> &'n [AnyTensor] {
        match network {
            AnyNetwork::Onnx(_, outputs) | AnyNetwork::TensorRt(_, outputs) => outputs,
        }
    }

    fn shape<'t>(&self, tensor: &'t AnyTensor) -> &'t [usize] {
        match (self, tensor) {
            (Self::Onnx(engine), AnyTensor::Onnx(tensor)) => engine.shape(tensor),
            (Self::TensorRt(engine), AnyTensor::TensorRt(tensor)) => engine.shape(tensor),
            _ => &[],
        }
    }

    fn preprocess(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &mut Preprocessing,
        into: &AnyTensor,
    ) -> Result<(), EngineError> {
        match (self, into) {
            (Self::Onnx(engine), AnyTensor::Onnx(into)) => engine.preprocess(image, preprocessing, into),
            (Self::TensorRt(engine), AnyTensor::TensorRt(into)) => {
                engine.preprocess(image, preprocessing, into)
            }
            _ => Err(foreign("network input")),
        }
    }

    fn upload(&mut self, values: &[f32], into: &AnyTensor) -> Result<(), EngineError> {
        match (self, into) {
            (Self::Onnx(engine), AnyTensor::Onnx(into)) => engine.upload(values, into),
            (Self::TensorRt(engine), AnyTensor::TensorRt(into)) => engine.upload(values, into),
            _ => Err(foreign("upload")),
        }
    }

    fn run(&mut self, network: &mut AnyNetwork) -> Result<(), EngineError> {
        match (self, network) {
            (Self::Onnx(engine), AnyNetwork::Onnx(network, _)) => engine.run(network),
            (Self::TensorRt(engine), AnyNetwork::TensorRt(network, _)) => engine.run(network),
            _ => Err(foreign("network")),
        }
    }

    fn download(&mut self, tensor: &AnyTensor, into: &mut [f32]) -> Result<(), EngineError> {
        match (self, tensor) {
            (Self::Onnx(engine), AnyTensor::Onnx(tensor)) => engine.download(tensor, into),
            (Self::TensorRt(engine), AnyTensor::TensorRt(tensor)) => engine.download(tensor, into),
            _ => Err(foreign("download")),
        }
    }
}
