//! The engine that a command was asked to use.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use network::{Bundle, Precision};
use onnx::{OnnxOptions, OnnxRuntime};
use perception::{Either, Engine};
use tensorrt::{Cache, Flavour, TensorRt, TensorRtOptions};

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
    pub threads: usize,
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
    /// Take the products of the encoder's linear layers in 8 bits, on engine onnx: faster, less exact (docs/speed.md says how much)
    #[arg(long, help_heading = "Engine")]
    int8: bool,
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
        self.start_in(false)
    }

    fn start_in(&self, int8: bool) -> Result<OnnxRuntime> {
        let library = onnx::library(self.onnxruntime.as_deref())?;
        let options = OnnxOptions { library, threads: self.threads, int8 };
        OnnxRuntime::new(options).context("cannot start the engine")
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
    /// Threads that one network may use on the CPU.
    pub fn threads(&self) -> usize {
        self.reference.threads
    }

    /// Starts the engine for a bundle; engines that are not built yet are built when they are loaded.
    ///
    /// # Errors
    /// When the library is not there, or does not suit.
    pub fn start(&self, bundle: &Bundle) -> Result<AnyEngine> {
        let flavour = match self.engine {
            Choice::Onnx => return Ok(Either::First(self.reference.start_in(self.int8)?)),
            other if self.int8 => bail!("--int8: expected --engine onnx, which alone has it, got {other:?}"),
            Choice::Tensorrt => Flavour::TensorRt,
            Choice::TensorrtRtx => Flavour::TensorRtRtx,
        };
        let options = self.tensorrt.options(flavour, bundle)?;
        let engine = TensorRt::watched(options, progress::builds()).context("cannot start the engine")?;
        Ok(Either::Second(engine))
    }
}

/// The engine that was chosen: the reference, or one on a GPU.
pub type AnyEngine = Either<OnnxRuntime, TensorRt>;

/// Tells on standard error what an engine has to say since the last time.
pub fn tell_notices(engine: &mut impl Engine) {
    engine.take_notices().iter().for_each(|notice| eprintln!("{notice}"));
}
