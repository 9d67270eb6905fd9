//! The engine: sessions with fixed bindings.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network::Network;
use network::onnx::WeightBits;
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
use ort::value::Tensor;
use perception::engine::check_inputs;
use perception::{Engine, EngineError, EngineIdentity, ImageView, Preprocessing};

use crate::library::{FLAVOUR, environment, unavailable};
use crate::memory::{GivesBack, give_back};

/// How the engine is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// ONNX Runtime's shared library; see [`crate::library`].
    pub library: PathBuf,
    /// Threads that one network may use, at least 1.
    pub threads: usize,
    /// Products of the encoder's linear layers in 8 bits: faster, and less exact.
    pub int8: bool,
}

impl OnnxOptions {
    /// Everything in float32.
    pub fn new(library: PathBuf, threads: usize) -> Self {
        Self { library, threads, int8: false }
    }
}

/// ONNX Runtime on the CPU, float32.
#[derive(Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    identity: EngineIdentity,
    threads: usize,
    int8: Option<WeightBits>,
}

/// Name of the encoder's network.
const BACKBONE: &str = "backbone";

/// How finely work is cut for threads that are free: `session.dynamic_block_base`, for which ONNX Runtime's headers recommend 4.
const DYNAMIC_BLOCK_BASE: u32 = 4;

/// The setting by which threads do not spin on when the last run has ended.
const STOP_SPINNING: &str = "session.force_spinning_stop";

/// A float32 tensor in ONNX Runtime's memory.
#[derive(Clone, Debug)]
pub struct OnnxTensor {
    name: Arc<str>,
    shape: Arc<[usize]>,
    value: Arc<Mutex<Tensor<f32>>>,
}

impl OnnxTensor {
    /// ONNX Runtime allocates without initialising; a tensor is zeroed before anyone can read it.
    fn zeros(name: &str, shape: &[usize]) -> Result<Self, EngineError> {
        let failed = |error: ort::Error| run_error(name, error);
        let mut value = Tensor::<f32>::new(&Allocator::default(), shape.to_vec()).map_err(failed)?;
        value.extract_tensor_mut().1.fill(0.0);
        Ok(Self { name: name.into(), shape: shape.into(), value: Arc::new(Mutex::new(value)) })
    }

    /// All calls go through `&mut OnnxRuntime`, so the lock is never waited for.
    fn lock(&self) -> MutexGuard<'_, Tensor<f32>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_len(&self, actual: usize) -> Result<(), EngineError> {
        if self.shape.iter().product::<usize>() == actual {
            return Ok(());
        }
        let (tensor, expected) = (self.name.to_string(), self.shape.to_vec());
        Err(EngineError::Shape { tensor, expected, actual: vec![actual] })
    }
}

/// A session bound to its tensors once and for all.
#[derive(Debug)]
pub struct OnnxNetwork {
    name: String,
    session: Session,
    binding: IoBinding,
    outputs: Vec<OnnxTensor>,
    /// After all that it is to give back.
    _memory: GivesBack,
}

impl OnnxRuntime {
    /// Loads the library and starts the engine.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the library cannot be loaded, is too old, or another one is loaded already.
    pub fn new(options: OnnxOptions) -> Result<Self, EngineError> {
        if options.threads == 0 {
            return Err(unavailable("expected at least one thread, got 0".to_owned()));
        }
        let environment = environment(&options.library)?;
        let identity = EngineIdentity {
            flavour: FLAVOUR.to_owned(),
            version: version(&options.library),
            device: processor(),
            precision: if options.int8 { "int8" } else { "fp32" }.to_owned(),
        };
        let int8 = options.int8.then(weight_bits);
        Ok(Self { environment, identity, threads: options.threads, int8 })
    }

    /// A session of the network: from memory, or through files where protobuf is too small.
    fn session(&self, network: &Network) -> Result<Session, EngineError> {
        let name = network.name();
        let failed = |reason: String| EngineError::Load { network: name.to_owned(), reason };
        // Heads stay in float32: metres and actions are made there, and they cost little.
        if let Some(bits) = self.int8.filter(|_| name == BACKBONE) {
            let model =
                network::onnx::encode_int8(network, bits).map_err(|error| failed(error.to_string()))?;
            return self.session_of_bytes(name, &model);
        }
        if network::onnx::weight_bytes(network) <= network::onnx::MAX_EMBEDDED_BYTES {
            let model = network::onnx::encode(network).map_err(|error| failed(error.to_string()))?;
            return self.session_of_bytes(name, &model);
        }
        let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let path = folder.path().join(format!("{name}.onnx"));
        network::onnx::write(network, &path, network::onnx::MAX_EMBEDDED_BYTES)
            .map_err(|error| failed(error.to_string()))?;
        self.session_of_file(name, &path)
    }

    fn session_of_bytes(&self, name: &str, model: &[u8]) -> Result<Session, EngineError> {
        // What making the file left behind would add to what reading it takes.
        give_back();
        let failed =
            |error: ort::Error| EngineError::Load { network: name.to_owned(), reason: error.to_string() };
        self.builder(name)?.commit_from_memory(model).map_err(failed)
    }

    fn session_of_file(&self, name: &str, path: &Path) -> Result<Session, EngineError> {
        let failed =
            |error: ort::Error| EngineError::Load { network: name.to_owned(), reason: error.to_string() };
        self.builder(name)?.commit_from_file(path).map_err(failed)
    }

    /// Work is handed out in small blocks, so that a core which others use too delays the rest little; threads wait for it without
    /// sleeping while a network runs, and not after, when another network, or what is done with the results, has need of their cores.
    fn builder(&self, name: &str) -> Result<SessionBuilder, EngineError> {
        Session::builder(&self.environment)
            .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::Level3)?))
            .and_then(|builder| Ok(builder.with_intra_threads(self.threads)?))
            .and_then(|builder| Ok(builder.with_parallel_execution(false)?))
            .and_then(|builder| Ok(builder.with_dynamic_block_base(DYNAMIC_BLOCK_BASE)?))
            .and_then(|builder| Ok(builder.with_config_entry(STOP_SPINNING, "1")?))
            .map_err(|error: ort::Error| EngineError::Load {
                network: name.to_owned(),
                reason: error.to_string(),
            })
    }

    /// As [`Engine::load`], of an ONNX file that [`network::onnx::write`] made of `network`.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_file(
        &mut self,
        path: &Path,
        network: &Network,
        inputs: &[OnnxTensor],
    ) -> Result<OnnxNetwork, EngineError> {
        check_inputs(network, &inputs.iter().map(|input| &*input.shape).collect::<Vec<_>>())?;
        bind(network, self.session_of_file(network.name(), path)?, inputs)
    }
}

/// Binds a session, just made, to its input tensors and to output tensors of its own.
fn bind(network: &Network, session: Session, inputs: &[OnnxTensor]) -> Result<OnnxNetwork, EngineError> {
    give_back();
    let failed = |error: ort::Error| EngineError::Load {
        network: network.name().to_owned(),
        reason: error.to_string(),
    };
    let mut binding = session.create_binding().map_err(failed)?;
    for (port, input) in network.inputs().iter().zip(inputs) {
        binding.bind_input(port.name.as_str(), &*input.lock()).map_err(failed)?;
    }
    let mut outputs = Vec::with_capacity(network.outputs().len());
    for port in network.outputs() {
        let output = OnnxTensor::zeros(&port.name, &port.shape)?;
        binding.bind_output(port.name.as_str(), &mut *output.lock()).map_err(failed)?;
        outputs.push(output);
    }
    Ok(OnnxNetwork { name: network.name().to_owned(), session, binding, outputs, _memory: GivesBack })
}

fn run_error(network: &str, error: ort::Error) -> EngineError {
    EngineError::Run { network: network.to_owned(), reason: error.to_string() }
}

/// The version that the library's file carries in its name (`libonnxruntime.so.1.32.0`), else what it says of its build.
fn version(library: &Path) -> String {
    let resolved = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let name = resolved.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let suffix = name.split_once(".so.").map(|(_, version)| version.to_owned());
    suffix.filter(|version| version.contains('.')).unwrap_or_else(|| ort::info().to_owned())
}

/// How many bits of a weight this processor multiplies without saturating.
fn weight_bits() -> WeightBits {
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx512vnni") && !std::arch::is_x86_feature_detected!("avxvnni") {
        return WeightBits::Seven;
    }
    WeightBits::Eight
}

/// The processor's name as Linux tells it.
fn processor() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        about.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(':').nth(1));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |name| name.trim().to_owned())
}

impl Engine for OnnxRuntime {
    type Tensor = OnnxTensor;
    type Network = OnnxNetwork;

    fn identity(&self) -> &EngineIdentity {
        &self.identity
    }

    fn allocate(&mut self, shape: &[usize]) -> Result<OnnxTensor, EngineError> {
        OnnxTensor::zeros("input", shape)
    }

    fn load(&mut self, network: &Network, inputs: &[OnnxTensor]) -> Result<OnnxNetwork, EngineError> {
        check_inputs(network, &inputs.iter().map(|input| &*input.shape).collect::<Vec<_>>())?;
        bind(network, self.session(network)?, inputs)
    }

    fn outputs<'n>(&self, network: &'n OnnxNetwork) -> &'n [OnnxTensor] {
        &network.outputs
    }

    fn shape<'t>(&self, tensor: &'t OnnxTensor) -> &'t [usize] {
        &tensor.shape
    }

    fn preprocess(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &mut Preprocessing,
        into: &OnnxTensor,
    ) -> Result<(), EngineError> {
        preprocessing.run(image, into.lock().extract_tensor_mut().1)
    }

    fn upload(&mut self, values: &[f32], into: &OnnxTensor) -> Result<(), EngineError> {
        into.check_len(values.len())?;
        into.lock().extract_tensor_mut().1.copy_from_slice(values);
        Ok(())
    }

    fn run(&mut self, network: &mut OnnxNetwork) -> Result<(), EngineError> {
        let outputs = network.session.run_binding(&network.binding);
        outputs.map(drop).map_err(|error| run_error(&network.name, error))
    }

    fn download(&mut self, tensor: &OnnxTensor, into: &mut [f32]) -> Result<(), EngineError> {
        tensor.check_len(into.len())?;
        into.copy_from_slice(tensor.lock().extract_tensor().1);
        Ok(())
    }
}
