//! The engine: networks bound to each other in the GPU's memory, runs in order on one stream.

use std::path::PathBuf;
use std::sync::Arc;

use network::{Network, Precision, PrecisionSpec};
use perception::engine::check_inputs;
use perception::{Engine, EngineError, EngineIdentity, ImageView, Preprocessing};

use crate::build::{Progress, Target};
use crate::cache::{Cache, Certificate};
use crate::cuda::{CudaError, Device, Memory, Stream};
use crate::frames::Frames;
use crate::gate::{Verdict, judge, remedy};
use crate::library::{Flavour, Library};
use crate::plans::Plans;
use crate::queue::{Queue, Running, Step, run_error};
use crate::runtime::{Context, Runtime};

/// How the engine is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRtOptions {
    /// Which library.
    pub flavour: Flavour,
    /// Folder of the library; see [`Library::open`].
    pub library: Option<PathBuf>,
    /// What the networks compute in.
    pub precision: Precision,
    /// What keeps more than float16; the manifest's list.
    pub kept: PrecisionSpec,
    /// Names the model; [`network::Bundle::hash`].
    pub model: String,
    /// Where built engines are kept.
    pub cache: Cache,
    /// Starts with a version known to be bad even if it was not accepted: only for the check that may accept it.
    pub is_on_trial: bool,
}

/// Hears of builds: why one begins, and its progress; answers whether to go on.
pub type BuildWatch = Box<dyn Fn(&str, Option<Progress<'_>>) -> bool + Send + Sync>;

/// TensorRT or TensorRT-RTX on this machine's first GPU.
pub struct TensorRt {
    identity: EngineIdentity,
    queue: Queue,
    frames: Frames,
    /// Memory for values inside networks, shared by all that were loaded since it last grew: they run one after another.
    scratch: Option<Arc<Memory>>,
    runtime: Arc<Runtime>,
    plans: Plans,
    device: Arc<Device>,
    /// Of a version known to be bad only these plans may run, by their hashes; none where any may.
    accepted: Option<Vec<String>>,
    notices: Vec<String>,
    certificates: Vec<Certificate>,
    watch: BuildWatch,
}

impl std::fmt::Debug for TensorRt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TensorRt").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A float32 tensor in the GPU's memory.
#[derive(Clone, Debug)]
pub struct TensorRtTensor {
    name: Arc<str>,
    shape: Arc<[usize]>,
    memory: Arc<Memory>,
}

impl TensorRtTensor {
    fn zeros(device: &Arc<Device>, name: &str, shape: &[usize]) -> Result<Self, CudaError> {
        let memory = Memory::zeros(device, size_of::<f32>() * shape.iter().product::<usize>())?;
        Ok(Self { name: name.into(), shape: shape.into(), memory })
    }

    fn check_len(&self, actual: usize) -> Result<(), EngineError> {
        if self.shape.iter().product::<usize>() == actual {
            return Ok(());
        }
        let (tensor, expected) = (self.name.to_string(), self.shape.to_vec());
        Err(EngineError::Shape { tensor, expected, actual: vec![actual] })
    }
}

/// A network bound to its tensors.
#[derive(Debug)]
pub struct TensorRtNetwork {
    running: Arc<Running>,
    outputs: Vec<TensorRtTensor>,
}

impl TensorRt {
    /// Starts the engine: driver, device, library and its version, then the runtime.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what is missing or refused, and the remedy.
    pub fn new(options: TensorRtOptions) -> Result<Self, EngineError> {
        Self::watched(options, Box::new(|_, _| true))
    }

    /// As [`TensorRt::new`], with someone who hears of builds and may stop them.
    ///
    /// # Errors
    /// As [`TensorRt::new`].
    pub fn watched(options: TensorRtOptions, watch: BuildWatch) -> Result<Self, EngineError> {
        let flavour = options.flavour;
        flavour.headers()?;
        let unavailable = |error: CudaError| flavour.unavailable(error.to_string());
        let device = Device::first().map_err(unavailable)?;
        let library = Library::open(flavour, options.library.as_deref())?;
        let target = Target::Device(device.clone());
        let (mut notices, mut accepted) = (Vec::new(), None);
        match judge(flavour, library.version()) {
            Verdict::Good => {}
            Verdict::Warn(reason) => notices.push(reason),
            Verdict::KnownBad(reason) => {
                let known = (flavour, library.version());
                let (describe, precision) = (target.describe(), options.precision.name());
                let acceptance = options.cache.accepted(&options.model, known, &describe, precision);
                if !options.is_on_trial {
                    accepted = acceptance.map(|acceptance| acceptance.plans);
                    if accepted.is_none() {
                        return Err(flavour.unavailable(format!("{reason}; {}", remedy())));
                    }
                }
                notices.push(format!("a version known to be bad is used: {reason}"));
            }
        }
        let runtime = Runtime::new(&library, &device)?;
        let queue = Queue::new(Stream::new(&device).map_err(unavailable)?);
        let frames = Frames::new(&device).map_err(unavailable)?;
        let identity = EngineIdentity {
            flavour: flavour.name().to_owned(),
            version: library.version().to_string(),
            device: format!("{} (sm_{}, CUDA {})", device.name(), device.capability(), device.driver()),
            precision: options.precision.name().to_owned(),
        };
        let TensorRtOptions { precision, kept, model, cache, .. } = options;
        let plans = Plans { library, cache, target, precision, kept, model };
        Ok(Self {
            identity,
            queue,
            frames,
            scratch: None,
            runtime,
            plans,
            device,
            accepted,
            notices,
            certificates: Vec::new(),
            watch,
        })
    }

    /// Sequences of steps that ran so far, and whether each is one CUDA graph.
    pub fn graphs(&self) -> Vec<(String, bool)> {
        self.queue.graphs()
    }

    /// Certificates of the engines that were loaded, in the order of loading.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// What decides the engines, and where they are kept.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// A bound context of a network, from a cached plan or a fresh one. A cached plan that the library refuses is built anew, unless
    /// only what was accepted may run.
    fn context(&mut self, network: &Network, tensors: &[Arc<Memory>]) -> Result<Context, EngineError> {
        let announce = |reason: &str| {
            // Whether to go on is asked again at the builder's first step.
            let _ = (self.watch)(&format!("building {}: {reason}", network.name()), None);
        };
        let watch = |progress: Progress<'_>| (self.watch)(network.name(), Some(progress));
        let found = match &self.accepted {
            None => self.plans.get(network, &announce, &watch)?,
            Some(accepted) => self.plans.get_accepted(network, accepted)?,
        };
        let warned = |warning: String| format!("{} of {}: {warning}", self.identity.flavour, network.name());
        let note = |reason: &str| format!("built the engine of {}: {reason}", network.name());
        self.notices.extend(found.built_because.as_deref().map(note));
        let mut scratch = self.scratch.clone();
        let first = Context::new(&self.runtime, network, &found.plan, tensors, |bytes| {
            shared_scratch(&mut scratch, &self.device, bytes)
        });
        let (context, certificate) = match first {
            Ok(context) => (context, found.certificate),
            Err(error) if found.built_because.is_none() && self.accepted.is_none() => {
                let reason = format!("the cached engine does not load ({error})");
                announce(&reason);
                self.notices.push(note(&reason));
                self.notices.extend(self.runtime.take_warnings().into_iter().map(warned));
                let fresh = self.plans.rebuild(network, reason, &watch)?;
                let context = Context::new(&self.runtime, network, &fresh.plan, tensors, |bytes| {
                    shared_scratch(&mut scratch, &self.device, bytes)
                })?;
                (context, fresh.certificate)
            }
            Err(error) => return Err(error),
        };
        self.scratch = scratch;
        self.notices.extend(self.runtime.take_warnings().into_iter().map(warned));
        self.certificates.push(certificate);
        Ok(context)
    }
}

/// The memory that networks share, grown if need be. Those loaded before keep theirs.
fn shared_scratch(
    scratch: &mut Option<Arc<Memory>>,
    device: &Arc<Device>,
    bytes: usize,
) -> Result<Arc<Memory>, EngineError> {
    match scratch {
        Some(memory) if memory.byte_len() >= bytes => Ok(memory.clone()),
        _ => {
            let memory = Memory::zeros(device, bytes).map_err(|error| run_error("scratch memory", &error))?;
            Ok(scratch.insert(memory).clone())
        }
    }
}

impl Engine for TensorRt {
    type Tensor = TensorRtTensor;
    type Network = TensorRtNetwork;

    fn identity(&self) -> &EngineIdentity {
        &self.identity
    }

    fn allocate(&mut self, shape: &[usize]) -> Result<TensorRtTensor, EngineError> {
        self.device.bind().map_err(|error| run_error("allocate", &error))?;
        TensorRtTensor::zeros(&self.device, "input", shape).map_err(|error| run_error("allocate", &error))
    }

    fn load(&mut self, network: &Network, inputs: &[TensorRtTensor]) -> Result<TensorRtNetwork, EngineError> {
        check_inputs(network, &inputs.iter().map(|input| &*input.shape).collect::<Vec<_>>())?;
        let failed = |error: CudaError| EngineError::Load {
            network: network.name().to_owned(),
            reason: error.to_string(),
        };
        self.device.bind().map_err(failed)?;
        self.queue.finish()?;
        let ports = network.outputs().iter();
        let outputs = ports
            .map(|port| TensorRtTensor::zeros(&self.device, &port.name, &port.shape))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let tensors: Vec<_> = inputs.iter().chain(&outputs).map(|tensor| tensor.memory.clone()).collect();
        let context = self.context(network, &tensors)?;
        Ok(TensorRtNetwork { running: Running::new(network.name(), context, &self.queue), outputs })
    }

    fn outputs<'n>(&self, network: &'n TensorRtNetwork) -> &'n [TensorRtTensor] {
        &network.outputs
    }

    fn shape<'t>(&self, tensor: &'t TensorRtTensor) -> &'t [usize] {
        &tensor.shape
    }

    fn preprocess(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &mut Preprocessing,
        into: &TensorRtTensor,
    ) -> Result<(), EngineError> {
        let network = preprocessing.geometry().network();
        into.check_len(3 * network.area())?;
        self.device.bind().map_err(|error| run_error("preprocess", &error))?;
        // The pinned pixels of the last frame must have been read before they are overwritten.
        if !self.queue.is_idle() {
            self.queue.finish()?;
        }
        let (stream, sequences) = (self.queue.stream().clone(), self.queue.sequences().clone());
        let frame = self.frames.take(image, preprocessing, &stream, &sequences)?;
        self.queue.push(Step::Preprocess(frame, into.memory.clone()))
    }

    fn upload(&mut self, values: &[f32], into: &TensorRtTensor) -> Result<(), EngineError> {
        into.check_len(values.len())?;
        self.device.bind().map_err(|error| run_error("upload", &error))?;
        self.queue.finish()?;
        into.memory.write(values).map_err(|error| run_error("upload", &error))
    }

    fn run(&mut self, network: &mut TensorRtNetwork) -> Result<(), EngineError> {
        self.device.bind().map_err(|error| run_error("run", &error))?;
        self.queue.push(Step::Run(network.running.clone()))
    }

    fn download(&mut self, tensor: &TensorRtTensor, into: &mut [f32]) -> Result<(), EngineError> {
        tensor.check_len(into.len())?;
        self.device.bind().map_err(|error| run_error("download", &error))?;
        self.queue.read(&tensor.memory, into)
    }

    fn take_notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.queue.take_notices());
        notices
    }
}
