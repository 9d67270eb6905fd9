//! Which heads of a bundle serve, and their networks on an engine.

use calibration::Size;
use control::{ActionChunk, RosTime};
use network::manifest::DepthMeaning;
use network::modules::policy::{ACTIONS, EMBEDDING, PAST, STATE};
use network::{Bundle, HeadSpec, Manifest, Network, Task};

use crate::depth::DepthRange;
use crate::engine::{Engine, EngineError};
use crate::labels::LabelMap;
use crate::pipeline::{PipelineError, Wanted};
use crate::point_head::{HeadPoints, Raw};
use crate::policy::{Observation, Policy, PolicyError, PolicyMemory};
use crate::timings::{Clock, HeadTimings};

/// Names of the heads that serve; for a task without a name the head called as the task is (`depth`, `points`, `segmentation`,
/// `policy`), or the only one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadNames {
    /// The head for depth.
    pub depth: Option<String>,
    /// The head for point maps.
    pub points: Option<String>,
    /// The head for segments.
    pub segmentation: Option<String>,
    /// The head for actions.
    pub policy: Option<String>,
}

/// The heads of a bundle that serve.
pub(crate) struct Heads {
    pub depth: Option<(String, DepthRange)>,
    pub points: Option<(String, DepthRange)>,
    pub segmentation: Option<String>,
    pub policy: Option<(String, Policy)>,
}

impl Heads {
    /// The heads that names choose.
    ///
    /// # Errors
    /// When a bundle has no head of a name for its task, or several and none was named.
    pub fn choose(manifest: &Manifest, names: &HeadNames) -> Result<Self, PipelineError> {
        let ranged = |task, name: &Option<String>| -> Result<_, PipelineError> {
            let chosen = choose(manifest, task, name.as_deref())?;
            Ok(chosen.and_then(|(name, head)| Some((name.to_owned(), range(head.depth()?)))))
        };
        let policy = choose(manifest, Task::Policy, names.policy.as_deref())?;
        Ok(Self {
            depth: ranged(Task::Depth, &names.depth)?,
            points: ranged(Task::Points, &names.points)?,
            segmentation: choose(manifest, Task::Segmentation, names.segmentation.as_deref())?
                .map(|(name, _)| name.to_owned()),
            policy: policy.and_then(|(name, head)| Some((name.to_owned(), Policy::new(head)?))),
        })
    }

    /// Which networks run for what is wanted. Depth comes of the head for it, or of the points where there is none.
    pub fn plan(&self, wanted: Wanted, observed: bool) -> Plan {
        let depth = wanted.depth && self.depth.is_some();
        let of_points = wanted.points || wanted.confidence || (wanted.depth && !depth);
        Plan {
            depth,
            points: of_points && self.points.is_some(),
            segmentation: wanted.segmentation && self.segmentation.is_some(),
            policy: observed && self.policy.is_some(),
        }
    }
}

fn range(depth: &DepthMeaning) -> DepthRange {
    DepthRange { min_meters: depth.min_depth_meters, max_meters: depth.max_depth_meters }
}

/// The head for a task: the one that is named, or the one called as the task is, or the only one; nothing when there is none.
fn choose<'m>(
    manifest: &'m Manifest,
    task: Task,
    asked: Option<&str>,
) -> Result<Option<(&'m str, &'m HeadSpec)>, PipelineError> {
    let of_task = manifest.heads.iter().filter(|(_, head)| head.task() == task);
    let heads: Vec<(&str, &HeadSpec)> = of_task.map(|(name, head)| (name.as_str(), head)).collect();
    let named = |wanted: &str| heads.iter().find(|(name, _)| *name == wanted).copied();
    let found = match asked {
        Some(name) => named(name),
        None if heads.is_empty() => return Ok(None),
        None => named(&task.to_string()).or_else(|| heads.first().filter(|_| heads.len() == 1).copied()),
    };
    found.map(Some).ok_or_else(|| PipelineError::Head {
        task,
        asked: asked.map(str::to_owned),
        known: heads.iter().map(|(name, _)| (*name).to_owned()).collect(),
    })
}

/// Which networks run for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub depth: bool,
    pub points: bool,
    pub segmentation: bool,
    pub policy: bool,
}

impl Plan {
    /// Whether any head runs.
    pub fn anything(self) -> bool {
        self.depth || self.points || self.segmentation || self.policy
    }
}

/// Networks of one input size, bound to each other in the engine's memory: the heads read the backbone's outputs where they lie.
pub(crate) struct Networks<E: Engine> {
    pub input: E::Tensor,
    pub backbone: E::Network,
    depth: Option<E::Network>,
    points: Option<E::Network>,
    segmentation: Option<E::Network>,
    policy: Option<PolicyNetwork<E>>,
}

/// What a policy reads besides the image, as far as it is known.
pub(crate) struct Observed {
    stamp: RosTime,
    state: Result<Vec<f32>, PolicyError>,
    past: Result<Option<Vec<f32>>, PolicyError>,
}

/// A policy's network and the tensors that do not come of the image.
struct PolicyNetwork<E: Engine> {
    network: E::Network,
    state: Option<E::Tensor>,
    past: Option<E::Tensor>,
    actions: usize,
    embedding: Option<usize>,
}

impl<E: Engine> Networks<E> {
    /// Loads backbone and heads of a size.
    ///
    /// # Errors
    /// When the bundle does not give a network, or the engine refuses it.
    pub fn load(engine: &mut E, bundle: &Bundle, heads: &Heads, size: Size) -> Result<Self, PipelineError> {
        let network = bundle.backbone(size)?;
        let input = engine.allocate(&network.inputs()[0].shape)?;
        let backbone = engine.load(&network, std::slice::from_ref(&input))?;
        let mut load = |name: Option<&String>| -> Result<_, PipelineError> {
            let Some(name) = name else { return Ok(None) };
            let head = bundle.head(name, size)?;
            let inputs = bind(engine, &network, &backbone, &head)?;
            let loaded = engine.load(&head, &inputs)?;
            Ok(Some((head, inputs, loaded)))
        };
        let depth = load(heads.depth.as_ref().map(|(name, _)| name))?;
        let points = load(heads.points.as_ref().map(|(name, _)| name))?;
        let segmentation = load(heads.segmentation.as_ref())?;
        let policy = load(heads.policy.as_ref().map(|(name, _)| name))?;
        let policy = policy.map(|(head, inputs, loaded)| PolicyNetwork::new(&head, &inputs, loaded));
        let only =
            |loaded: Option<(Network, Vec<E::Tensor>, E::Network)>| loaded.map(|(_, _, network)| network);
        Ok(Self {
            input,
            backbone,
            depth: only(depth),
            points: only(points),
            segmentation: only(segmentation),
            policy: policy.transpose()?,
        })
    }

    /// Runs the heads with an output per pixel; how long each took.
    pub fn run(&mut self, engine: &mut E, plan: Plan) -> Result<HeadTimings, EngineError> {
        let (mut timings, mut clock) = (HeadTimings::default(), Clock::start());
        let heads = [
            (plan.depth, &mut self.depth, &mut timings.depth),
            (plan.points, &mut self.points, &mut timings.points),
            (plan.segmentation, &mut self.segmentation, &mut timings.segmentation),
        ];
        for (runs, network, took) in heads {
            if let Some(network) = network.as_mut().filter(|_| runs) {
                engine.run(network)?;
                *took = clock.lap();
            }
        }
        Ok(timings)
    }

    /// Copies the depth head's numbers out.
    pub fn read_depth(&self, engine: &mut E, into: &mut [f32]) -> Result<(), EngineError> {
        let Some(network) = &self.depth else { return Ok(()) };
        let tensor = engine.outputs(network)[0].clone();
        engine.download(&tensor, into)
    }

    /// Copies the points out.
    pub fn read_points(
        &self,
        engine: &mut E,
        range: DepthRange,
        buffers: &mut Buffers,
    ) -> Result<(), EngineError> {
        let (Some(network), Some(points)) = (&self.points, &mut buffers.points) else { return Ok(()) };
        let tensors = engine.outputs(network).to_vec();
        let area = points.points().size().area();
        buffers.numbers.resize(5 * area, 0.0);
        let (rays, rest) = buffers.numbers.split_at_mut(3 * area);
        let (distance, confidence) = rest.split_at_mut(area);
        engine.download(&tensors[0], rays)?;
        engine.download(&tensors[1], distance)?;
        engine.download(&tensors[2], confidence)?;
        points.decode(Raw { rays, distance, confidence }, range).map_err(|reason| failed("points", reason))
    }

    /// Copies the logits out and finds the largest.
    pub fn read_labels(&self, engine: &mut E, buffers: &mut Buffers) -> Result<(), EngineError> {
        let (Some(network), Some(labels)) = (&self.segmentation, &mut buffers.labels) else { return Ok(()) };
        let tensor = engine.outputs(network)[0].clone();
        buffers.numbers.resize(engine.shape(&tensor).iter().product(), 0.0);
        engine.download(&tensor, &mut buffers.numbers)?;
        labels.decode(&buffers.numbers, &mut buffers.largest).map_err(|reason| failed("segmentation", reason))
    }

    /// Copies in what a policy reads besides the image. Before the image: an engine on a GPU waits for what it was asked for before it
    /// overwrites an input, and a frame that waits half-way is not one sequence.
    ///
    /// # Errors
    /// When the engine fails; what is not known is told by [`Networks::act`].
    pub fn observe(
        &self,
        engine: &mut E,
        policy: &Policy,
        memory: &mut PolicyMemory,
        observation: Observation<'_>,
    ) -> Result<Observed, EngineError> {
        let stamp = observation.stamp;
        memory.advance(stamp);
        let state = policy.observed(observation);
        let past = memory.past(stamp);
        let Some(network) = &self.policy else { return Ok(Observed { stamp, state, past }) };
        if let (Some(tensor), Ok(state)) = (&network.state, &state) {
            engine.upload(state, tensor)?;
        }
        if let (Some(tensor), Ok(Some(past))) = (&network.past, &past) {
            engine.upload(past, tensor)?;
        }
        Ok(Observed { stamp, state, past })
    }

    /// Predicts actions; the image joins the history whether they are known or not.
    ///
    /// # Errors
    /// When the engine fails; that the actions are not known is the inner result.
    pub fn act(
        &mut self,
        engine: &mut E,
        policy: &Policy,
        memory: &mut PolicyMemory,
        observed: Observed,
    ) -> Result<Result<ActionChunk, PolicyError>, EngineError> {
        let Some(network) = &mut self.policy else { return Ok(Err(PolicyError::NoState)) };
        let Observed { stamp, state, past } = observed;
        engine.run(&mut network.network)?;
        if let Some((embedding, past_tensor)) = network.embedding.zip(network.past.as_ref()) {
            let embedding = download(engine, &network.network, embedding)?;
            if past == Ok(None) {
                // The first image of a history stands for those before it.
                let before = engine.shape(past_tensor)[1];
                engine.upload(&embedding.repeat(before), past_tensor)?;
                engine.run(&mut network.network)?;
            }
            memory.push(stamp, embedding);
        }
        if let Err(error) = state.map(drop).and(past.map(drop)) {
            return Ok(Err(error));
        }
        let numbers = download(engine, &network.network, network.actions)?;
        Ok(policy.decode(stamp, &numbers).map_err(PolicyError::from))
    }
}

fn failed(head: &str, reason: String) -> EngineError {
    EngineError::Run { network: head.to_owned(), reason }
}

fn download<E: Engine>(engine: &mut E, network: &E::Network, output: usize) -> Result<Vec<f32>, EngineError> {
    let tensor = engine.outputs(network)[output].clone();
    let mut values = vec![0.0; engine.shape(&tensor).iter().product()];
    engine.download(&tensor, &mut values)?;
    Ok(values)
}

impl<E: Engine> PolicyNetwork<E> {
    fn new(head: &Network, inputs: &[E::Tensor], network: E::Network) -> Result<Self, PipelineError> {
        let input = |name: &str| head.inputs().iter().position(|port| port.name == name);
        let output = |name: &str| head.outputs().iter().position(|port| port.name == name);
        let tensor = |name: &str| input(name).map(|at| inputs[at].clone());
        let actions = output(ACTIONS).ok_or_else(|| EngineError::Load {
            network: head.name().to_owned(),
            reason: format!("expected an output {ACTIONS}"),
        })?;
        Ok(Self { network, state: tensor(STATE), past: tensor(PAST), actions, embedding: output(EMBEDDING) })
    }
}

/// A head's inputs: the backbone's output tensors where they lie, and new ones for what does not come of the image.
pub(crate) fn bind<E: Engine>(
    engine: &mut E,
    backbone: &Network,
    loaded: &E::Network,
    head: &Network,
) -> Result<Vec<E::Tensor>, EngineError> {
    let tensors = engine.outputs(loaded).to_vec();
    let mut inputs = Vec::with_capacity(head.inputs().len());
    for port in head.inputs() {
        let found = backbone.outputs().iter().position(|output| output.name == port.name);
        inputs.push(match found {
            Some(at) => tensors[at].clone(),
            None if [STATE, PAST].contains(&port.name.as_str()) => engine.allocate(&port.shape)?,
            None => {
                let reason = format!("expected the backbone to deliver {}", port.name);
                return Err(EngineError::Load { network: head.name().to_owned(), reason });
            }
        });
    }
    Ok(inputs)
}

/// What one camera's heads write into, at the network's size.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub points: Option<HeadPoints>,
    pub labels: Option<LabelMap>,
    pub policy: Option<PolicyMemory>,
    numbers: Vec<f32>,
    largest: Vec<f32>,
}

impl Buffers {
    /// Buffers for the heads that serve.
    pub fn new(heads: &Heads, size: Size) -> Self {
        Self {
            points: heads.points.as_ref().map(|_| HeadPoints::unknown(size)),
            labels: heads.segmentation.as_ref().map(|_| LabelMap::first(size)),
            policy: heads.policy.as_ref().map(|(_, policy)| policy.memory()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dummy::{Call, Dummy};
    use crate::image::{Encoding, ImageView};
    use crate::pipeline::Pipeline;
    use crate::pipeline::tests::CAMERA;
    use network::bundle::random_model;
    use network::manifest::Pooling;
    use network::{Architecture, HeadKind};

    /// With heads for points, segments and a policy that sees three images.
    fn pipeline(dummy: &Dummy) -> (tempfile::TempDir, Pipeline<Dummy>) {
        let folder = tempfile::tempdir().unwrap();
        let mlp = HeadKind::MlpPolicy { pooling: Pooling::Mean, history: 3, hidden: vec![8] };
        let heads = [
            ("points".to_owned(), HeadKind::LinearPoints {}),
            ("segmentation".to_owned(), HeadKind::LinearSegmentation {}),
            ("policy".to_owned(), mlp),
        ];
        let size = Size { width: 64, height: 48 };
        let model = random_model(Architecture::named("pixio-tiny16").unwrap(), &heads, &[size], 1).unwrap();
        let bundle = model.write(&folder.path().join("bundle"), false, |_| ()).unwrap();
        (folder, Pipeline::new(dummy.clone(), bundle, None).unwrap())
    }

    #[test]
    fn every_head_reads_one_pass_of_the_backbone() {
        let dummy = Dummy::default();
        let (_folder, mut pipeline) = pipeline(&dummy);
        let mut view = pipeline.view(CAMERA, None).unwrap();
        let pixels = vec![100; CAMERA.area()];
        let image = ImageView::new(&pixels, CAMERA, CAMERA.width, Encoding::Mono8).unwrap();
        let wanted = Wanted { depth: true, points: true, segmentation: true, ..Wanted::default() };
        dummy.take_calls();
        let mut run = |secs: i64, state: Option<&[f64]>| {
            let observation = Observation { stamp: RosTime(secs * 1_000_000_000), state };
            let outputs = pipeline.run_observed(&mut view, &image, wanted, Some(observation)).unwrap();
            assert!(outputs.depth.is_some() && outputs.points.is_some() && outputs.segmentation.is_some());
            outputs.policy.unwrap()
        };
        let chunk = run(1, Some(&[0.0; 7])).unwrap();
        assert_eq!((chunk.steps(), chunk.observation().0), (1, 1_000_000_000));
        let runs: Vec<_> =
            dummy.take_calls().into_iter().filter(|call| matches!(call, Call::Run(_))).collect();
        let of = |name: &str| runs.iter().filter(|call| **call == Call::Run(name.to_owned())).count();
        assert_eq!(["backbone", "points", "segmentation", "policy"].map(of), [1, 1, 1, 2], "{runs:?}");
        assert_eq!(run(2, None), Err(PolicyError::NoState));
        assert!(run(3, Some(&[0.0; 6])).is_err());
        // Without an observation nothing is predicted.
        assert!(pipeline.run(&mut view, &image, wanted).unwrap().policy.is_none());
    }

    /// What goes in after the image would break a frame's sequence in two on a GPU.
    #[test]
    fn what_a_policy_reads_goes_in_before_the_image() {
        let dummy = Dummy::default();
        let (_folder, mut pipeline) = pipeline(&dummy);
        let mut view = pipeline.view(CAMERA, None).unwrap();
        let pixels = vec![100; CAMERA.area()];
        let image = ImageView::new(&pixels, CAMERA, CAMERA.width, Encoding::Mono8).unwrap();
        for tenths in 1..3 {
            dummy.take_calls();
            let observation = Observation { stamp: RosTime(tenths * 100_000_000), state: Some(&[0.0; 7]) };
            let wanted = Wanted::default();
            let outputs = pipeline.run_observed(&mut view, &image, wanted, Some(observation)).unwrap();
            assert!(outputs.policy.unwrap().is_ok());
        }
        // The second image's: the first one stands for those before it too, and its policy runs twice.
        let run = |name: &str| Call::Run(name.to_owned());
        let expected = [Call::Upload, Call::Upload, Call::Preprocess, run("backbone"), run("policy")];
        assert_eq!(dummy.take_calls(), [&expected[..], &[Call::Download, Call::Download]].concat());
    }
}
