//! What was asked for and not yet waited for, and the CUDA graphs of sequences that were asked for before.
//!
//! [`perception::Engine`] promises order, and that only a download waits. So steps are collected until something is
//! downloaded, and a frame's whole sequence (preprocess, backbone, the heads that are wanted) is known by then. The first
//! time it is enqueued step by step, which also warms the library up; the second time it is captured into one CUDA graph,
//! one per set of heads; from then on it is launched. A sequence that cannot be captured stays enqueued step by step, and a
//! notice says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perception::EngineError;

use crate::cuda::{CudaError, Graph, Memory, Stream};
use crate::frames::Frame;
use crate::runtime::Context;

/// Steps that are collected at most; a caller who never downloads keeps the GPU busy all the same.
const MOST_STEPS: usize = 16;

/// Sequences that are remembered at most; of more, the one that was used longest ago is forgotten.
const MOST_SEQUENCES: usize = 64;

/// A number that no other step of this process has.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A panic of another thread does not spoil handles.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loaded network.
#[derive(Debug)]
pub struct Running {
    id: u64,
    name: String,
    sequences: Arc<Mutex<Vec<Sequence>>>,
    stream: Arc<Stream>,
    context: Mutex<Context>,
}

impl Running {
    pub fn new(name: &str, context: Context, queue: &Queue) -> Arc<Self> {
        let (sequences, stream) = (queue.sequences.clone(), queue.stream.clone());
        Arc::new(Self {
            id: unique(),
            name: name.to_owned(),
            sequences,
            stream,
            context: Mutex::new(context),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        forget(&self.stream, &self.sequences, self.id);
    }
}

/// Waits for what runs, then drops the graphs that hold a step: they go before what they launch.
pub fn forget(stream: &Stream, sequences: &Mutex<Vec<Sequence>>, id: u64) {
    let _ = stream.device().bind();
    let _ = stream.synchronize();
    let mut sequences = lock(sequences);
    sequences.retain(|sequence| !sequence.key.iter().any(|step| step.0 == id));
}

/// One step of a sequence.
#[derive(Clone, Debug)]
pub enum Step {
    /// A camera's pixels to a network's input.
    Preprocess(Arc<Frame>, Arc<Memory>),
    /// A run of a network.
    Run(Arc<Running>),
}

impl Step {
    /// Names the step and the address that it was given.
    fn key(&self) -> (u64, usize) {
        match self {
            Step::Preprocess(frame, into) => (frame.id(), into.pointer() as usize),
            Step::Run(running) => (running.id, 0),
        }
    }

    fn name(&self) -> &str {
        match self {
            Step::Preprocess(..) => "preprocess",
            Step::Run(running) => &running.name,
        }
    }

    fn enqueue(&self, stream: &Stream) -> Result<(), EngineError> {
        match self {
            Step::Preprocess(frame, into) => {
                frame.enqueue(into, stream).map_err(|error| run_error(self.name(), &error))
            }
            Step::Run(running) => lock(&running.context).enqueue(stream),
        }
    }

    fn is_capturable(&self, stream: &Stream) -> bool {
        match self {
            Step::Preprocess(..) => true,
            Step::Run(running) => lock(&running.context).is_capturable(stream),
        }
    }
}

pub fn run_error(network: &str, error: &CudaError) -> EngineError {
    EngineError::Run { network: network.to_owned(), reason: error.to_string() }
}

/// A sequence that was asked for before.
#[derive(Debug)]
pub struct Sequence {
    key: Vec<(u64, usize)>,
    name: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Ran once, step by step.
    Seen,
    /// Is one launch.
    Captured(Graph),
    /// Could not be captured.
    Plain,
}

/// The engine's one stream and what is to be put on it.
#[derive(Debug)]
pub struct Queue {
    steps: Vec<Step>,
    sequences: Arc<Mutex<Vec<Sequence>>>,
    stream: Arc<Stream>,
    notices: Vec<String>,
    is_busy: bool,
}

impl Queue {
    pub fn new(stream: Stream) -> Self {
        let (sequences, stream) = (Arc::default(), Arc::new(stream));
        Self { steps: Vec::new(), sequences, stream, notices: Vec::new(), is_busy: false }
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub fn sequences(&self) -> &Arc<Mutex<Vec<Sequence>>> {
        &self.sequences
    }

    /// Asks for a step.
    pub fn push(&mut self, step: Step) -> Result<(), EngineError> {
        if self.steps.len() == MOST_STEPS {
            self.flush()?;
        }
        self.steps.push(step);
        Ok(())
    }

    /// Whether a frame's pixels may be overwritten: nothing that reads them is asked for or running.
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty() && !self.is_busy
    }

    /// Puts everything asked for on the stream. After an error nothing of it is asked for any more.
    pub fn flush(&mut self) -> Result<(), EngineError> {
        let steps = std::mem::take(&mut self.steps);
        if steps.is_empty() {
            return Ok(());
        }
        self.is_busy = true;
        let key: Vec<_> = steps.iter().map(Step::key).collect();
        let known = {
            let mut sequences = lock(&self.sequences);
            let place = sequences.iter().position(|sequence| sequence.key == key);
            // The one used last stands last.
            if let Some(place) = place {
                sequences[place..].rotate_left(1);
            }
            match place.and(sequences.last()).map(|sequence| &sequence.state) {
                Some(State::Captured(graph)) => {
                    return graph.launch(&self.stream).map_err(|error| run_error(&name(&steps), &error));
                }
                other => other.map(|state| matches!(state, State::Plain)),
            }
        };
        match known {
            // Not captured: known so, or for the first time.
            Some(true) => self.enqueue(&steps),
            None => {
                self.enqueue(&steps)?;
                self.remember(Sequence { key, name: name(&steps), state: State::Seen });
                Ok(())
            }
            Some(false) => self.capture(key, &steps),
        }
    }

    fn enqueue(&self, steps: &[Step]) -> Result<(), EngineError> {
        steps.iter().try_for_each(|step| step.enqueue(&self.stream))
    }

    /// Captures a sequence and launches it; if that cannot be done, enqueues it and says so.
    fn capture(&mut self, key: Vec<(u64, usize)>, steps: &[Step]) -> Result<(), EngineError> {
        let name = name(steps);
        let refusing = steps.iter().find(|step| !step.is_capturable(&self.stream));
        let captured = match refusing {
            Some(step) => Err(format!("the library says that {} cannot be captured", step.name())),
            None => {
                let failed = |error: CudaError| run_error(&name, &error);
                self.stream.capture(|| self.enqueue(steps), failed).map_err(|error| error.to_string())
            }
        };
        let launched = captured.and_then(|graph| match graph.launch(&self.stream) {
            Ok(()) => Ok(graph),
            Err(error) => Err(error.to_string()),
        });
        match launched {
            Ok(graph) => {
                self.remember(Sequence { key, name, state: State::Captured(graph) });
                Ok(())
            }
            Err(reason) => {
                self.notices
                    .push(format!("no CUDA graph of {name}: {reason}; its steps are enqueued one by one"));
                self.remember(Sequence { key, name, state: State::Plain });
                self.enqueue(steps)
            }
        }
    }

    fn remember(&self, sequence: Sequence) {
        let mut sequences = lock(&self.sequences);
        sequences.retain(|known| known.key != sequence.key);
        if sequences.len() == MOST_SEQUENCES {
            // If its graph is still running, the driver frees that when it ends.
            sequences.remove(0);
        }
        sequences.push(sequence);
    }

    /// Waits for everything asked for.
    pub fn finish(&mut self) -> Result<(), EngineError> {
        self.flush()?;
        self.stream.synchronize().map_err(|error| run_error("stream", &error))?;
        self.is_busy = false;
        Ok(())
    }

    /// Copies a tensor out behind everything asked for.
    pub fn read(&mut self, memory: &Memory, values: &mut [f32]) -> Result<(), EngineError> {
        self.flush()?;
        memory.read(&self.stream, values).map_err(|error| run_error("download", &error))?;
        self.is_busy = false;
        Ok(())
    }

    /// What there was to say since the last call of this.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Sequences that are remembered, the one used last at the end, and whether each is one CUDA graph.
    pub fn graphs(&self) -> Vec<(String, bool)> {
        let captured = |sequence: &Sequence| matches!(sequence.state, State::Captured(_));
        lock(&self.sequences).iter().map(|sequence| (sequence.name.clone(), captured(sequence))).collect()
    }
}

fn name(steps: &[Step]) -> String {
    steps.iter().map(Step::name).collect::<Vec<_>>().join(" + ")
}
