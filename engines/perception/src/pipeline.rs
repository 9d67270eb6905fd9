//! From a camera's pixels to depth and features: preprocess, backbone, heads, decode.

use std::collections::BTreeMap;

use calibration::{CameraModel, CameraModelError, Size};
use control::ActionChunk;
use network::manifest::{DepthCalibration, HeadScale};
use network::{BuildError, Bundle, HeadSpec, Task};

use crate::depth::{DepthMap, DepthRange, FarPolicy};
use crate::engine::{Engine, EngineError};
use crate::features::FeatureMap;
use crate::geometry::{GeometryError, ImageGeometry};
use crate::heads::{Buffers, HeadNames, Heads, Networks, Plan};
use crate::image::ImageView;
use crate::labels::LabelMap;
use crate::point_head::HeadPoints;
use crate::policy::{Observation, Policy, PolicyError};
use crate::scale::{RelativeDepth, Scaling};
use crate::timings::{Clock, Timings};
use crate::view::{CameraView, ViewOptions};

/// Why a pipeline could not be set up or a frame not be computed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The bundle does not give the network.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Camera and network do not go together.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The camera model does not fit.
    #[error("camera model: {0}")]
    Camera(CameraModelError),
    /// The map that is to take out a camera's distortion is for another size of frames.
    #[error("rectification: expected a map for frames of {camera}, got one for {map}")]
    Rectification {
        /// Size of the camera's frames.
        camera: Size,
        /// Size that the map takes.
        map: Size,
    },
    /// The size has no golden outputs in the bundle, so no engine could be checked for it.
    #[error(
        "network size {asked}: expected one of the bundle's sizes {}; import it with --size {asked}",
        known.join(", ")
    )]
    Size {
        /// What was asked for.
        asked: Size,
        /// What the bundle has, as text.
        known: Vec<String>,
    },
    /// The bundle has no head of that name for the task, or several and none was named.
    #[error("{task} head: expected {}, got {}", one_of(known), asked.as_deref().unwrap_or("no name"))]
    Head {
        /// What the head is for.
        task: Task,
        /// What was asked for.
        asked: Option<String>,
        /// What the bundle has.
        known: Vec<String>,
    },
}

/// Names to choose from, as errors list them.
fn one_of(known: &[String]) -> String {
    if known.is_empty() {
        "no name, as the bundle has none".to_owned()
    } else {
        format!("one of {}", known.join(", "))
    }
}

/// What is asked of one frame; what is not asked for is not computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The depth map.
    pub depth: bool,
    /// The points of a point map head.
    pub points: bool,
    /// The confidence of a point map head.
    pub confidence: bool,
    /// The class of every pixel.
    pub segmentation: bool,
    /// The tokens of every tap.
    pub features: bool,
    /// The picture that the network sees.
    pub color: bool,
}

impl Wanted {
    /// Whether anything is asked for.
    pub fn anything(self) -> bool {
        self != Self::default()
    }
}

/// What one frame gave; present is what was wanted and a head gives.
#[derive(Clone, Debug)]
pub struct Outputs<'v> {
    /// Metres along Z at the view's output size; absent too when the head's numbers are no metres for this frame.
    pub depth: Option<&'v DepthMap>,
    /// Depth without a scale, at the network's size: in place of metres where there are none.
    pub relative: Option<&'v RelativeDepth>,
    /// What a point map head gives, at the network's size.
    pub points: Option<&'v HeadPoints>,
    /// The class of every pixel, at the network's size.
    pub segmentation: Option<&'v LabelMap>,
    /// The next actions, or why they are not known; nothing without an observation or a policy.
    pub policy: Option<Result<ActionChunk, PolicyError>>,
    /// Tokens of every tap.
    pub features: Option<&'v [FeatureMap]>,
    /// RGB pixels, three bytes each, at the view's output size: what the network saw, or the whole image.
    pub color: Option<&'v [u8]>,
    /// How long it took.
    pub timings: Timings,
}

/// A bundle on an engine. Cameras share the networks of their size; features stay in the engine's memory.
pub struct Pipeline<E: Engine> {
    engine: E,
    bundle: Bundle,
    heads: Heads,
    far: FarPolicy,
    networks: BTreeMap<Size, Networks<E>>,
}

impl<E: Engine> Pipeline<E> {
    /// As [`Pipeline::with_heads`], with a name for the depth head only.
    ///
    /// # Errors
    /// As [`Pipeline::with_heads`].
    pub fn new(engine: E, bundle: Bundle, depth_head: Option<&str>) -> Result<Self, PipelineError> {
        let depth = depth_head.map(str::to_owned);
        Self::with_heads(engine, bundle, &HeadNames { depth, ..HeadNames::default() })
    }

    /// A pipeline with no network loaded yet, whose heads are those named.
    ///
    /// # Errors
    /// When the bundle has no head of a name, or none can be chosen.
    pub fn with_heads(engine: E, bundle: Bundle, names: &HeadNames) -> Result<Self, PipelineError> {
        let heads = Heads::choose(bundle.manifest(), names)?;
        Ok(Self { engine, bundle, heads, far: FarPolicy::default(), networks: BTreeMap::new() })
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Range of the depths, if there is a head that gives them: one for depth, or one for points.
    pub fn depth_range(&self) -> Option<DepthRange> {
        self.heads.depth.as_ref().or(self.heads.points.as_ref()).map(|(_, range)| *range)
    }

    /// Whether a point map head serves.
    pub fn has_points(&self) -> bool {
        self.heads.points.is_some()
    }

    /// Class names of the segmentation head, if one serves.
    pub fn labels(&self) -> Option<&[String]> {
        let name = self.heads.segmentation.as_ref()?;
        self.bundle.manifest().heads.get(name)?.labels()
    }

    /// The policy, if one serves.
    pub fn policy(&self) -> Option<&Policy> {
        self.heads.policy.as_ref().map(|(_, policy)| policy)
    }

    /// Name of the depth head, if there is one.
    pub fn depth_head(&self) -> Option<&str> {
        self.heads.depth.as_ref().map(|(name, _)| name.as_str())
    }

    /// What the depth head's numbers mean.
    pub fn head_scale(&self) -> HeadScale {
        let spec = self.depth_head().and_then(|name| self.bundle.manifest().heads.get(name));
        spec.and_then(HeadSpec::depth).map(|depth| depth.scale).unwrap_or_default()
    }

    /// What was measured of the depth head for a camera, by the bundle.
    pub fn measured(&self, camera: &str) -> Option<&DepthCalibration> {
        self.bundle.manifest().cameras.get(camera)?.depth.get(self.depth_head()?)
    }

    /// How the head's depth becomes metres in a view of a camera: `model` is that of the image, rectified, which a
    /// focal-normalised head needs; `measured` what `pixio calibrate depth` found.
    ///
    /// # Errors
    /// When the model is for another image size.
    pub fn scaling(
        &self,
        view: &CameraView,
        model: Option<&CameraModel>,
        measured: Option<&DepthCalibration>,
    ) -> Result<Scaling, PipelineError> {
        let camera = model.map(|model| view.network_camera(model)).transpose()?;
        Ok(Scaling::of(self.head_scale(), camera.as_ref().map(|(camera, _)| camera), measured))
    }

    /// What becomes of depths that are too far, from the next frame on.
    pub fn set_far_policy(&mut self, far: FarPolicy) {
        self.far = far;
    }

    /// As [`Pipeline::view_as`], with depth and colour at the network's size, of frames without distortion.
    ///
    /// # Errors
    /// As [`Pipeline::view_as`].
    pub fn view(&mut self, camera: Size, network: Option<Size>) -> Result<CameraView, PipelineError> {
        self.view_as(camera, ViewOptions { network, ..ViewOptions::default() })
    }

    /// Prepares for a camera whose frames are of `frame` pixels: loads the networks of the size that is asked for, or of the
    /// bundle's size that keeps most of the image, unless they are loaded.
    ///
    /// # Errors
    /// When the bundle has no golden outputs for the size, the networks do not load, or the rectification is for frames of
    /// another size.
    pub fn view_as(&mut self, frame: Size, options: ViewOptions) -> Result<CameraView, PipelineError> {
        let map = options.rectify;
        if let Some(map) = map.as_ref().filter(|map| map.raw_size() != frame) {
            return Err(PipelineError::Rectification { camera: frame, map: map.raw_size() });
        }
        let camera = map.as_ref().map_or(frame, |map| map.rectified().size());
        let sizes = &self.bundle.manifest().sizes;
        let size = options.network.or_else(|| ImageGeometry::best_size(camera, sizes)).unwrap_or(camera);
        self.check_size(size)?;
        let geometry = ImageGeometry::new(camera, size)?;
        self.load(size)?;
        let manifest = self.bundle.manifest();
        let grid = manifest.architecture.patches(size).map_err(BuildError::Size)?;
        let options = ViewOptions { rectify: map, ..options };
        let scaling = Scaling::of(self.head_scale(), None, None);
        let buffers = Buffers::new(&self.heads, size);
        Ok(CameraView::new(geometry, options, scaling, manifest, grid, buffers)?)
    }

    /// Checks a size of networks that was asked for.
    ///
    /// # Errors
    /// When the bundle does not have it.
    pub fn check_size(&self, asked: Size) -> Result<(), PipelineError> {
        let sizes = &self.bundle.manifest().sizes;
        if sizes.contains(&asked) {
            return Ok(());
        }
        Err(PipelineError::Size { asked, known: sizes.iter().map(Size::to_string).collect() })
    }

    /// Loads and binds the networks of a size, unless they are.
    ///
    /// # Errors
    /// When the bundle does not have the size, or they do not load.
    pub fn load(&mut self, size: Size) -> Result<(), PipelineError> {
        self.check_size(size)?;
        if !self.networks.contains_key(&size) {
            let networks = Networks::load(&mut self.engine, &self.bundle, &self.heads, size)?;
            self.networks.insert(size, networks);
        }
        Ok(())
    }

    /// Computes what is wanted of one frame.
    ///
    /// # Errors
    /// When the image is not of the view's size, or the engine fails; nothing of the frame is then delivered.
    pub fn run<'v>(
        &mut self,
        view: &'v mut CameraView,
        image: &ImageView<'_>,
        wanted: Wanted,
    ) -> Result<Outputs<'v>, PipelineError> {
        self.run_observed(view, image, wanted, None)
    }

    /// Computes what is wanted of one frame, and with an observation the policy's actions, all of one pass of the backbone.
    ///
    /// # Errors
    /// As [`Pipeline::run`].
    pub fn run_observed<'v>(
        &mut self,
        view: &'v mut CameraView,
        image: &ImageView<'_>,
        wanted: Wanted,
        observation: Option<Observation<'_>>,
    ) -> Result<Outputs<'v>, PipelineError> {
        let size = view.geometry().network();
        self.load(size)?;
        let Some(networks) = self.networks.get_mut(&size) else {
            return Err(PipelineError::Size { asked: size, known: Vec::new() });
        };
        let plan = self.heads.plan(wanted, observation.is_some());
        let sees = plan.anything() || wanted.features;
        let mut clock = Clock::start();

        let observed = match (&self.heads.policy, view.heads.policy.as_mut(), observation) {
            (Some((_, policy)), Some(memory), Some(observation)) => {
                Some(networks.observe(&mut self.engine, policy, memory, observation)?)
            }
            _ => None,
        };
        let resized = view.preprocessing.loads();
        if sees {
            self.engine.preprocess(image, &mut view.preprocessing, &networks.input)?;
        }
        if wanted.color {
            let seen = view.preprocessing.loads() != resized;
            view.write_color(image, seen)?;
        }
        let preprocess = clock.lap();

        if sees {
            self.engine.run(&mut networks.backbone)?;
        }
        let backbone = clock.lap();

        let mut heads = networks.run(&mut self.engine, plan)?;
        clock.lap();
        let policy = match (&self.heads.policy, view.heads.policy.as_mut(), observed) {
            (Some((_, policy)), Some(memory), Some(observed)) => {
                Some(networks.act(&mut self.engine, policy, memory, observed)?)
            }
            _ => None,
        };
        heads.policy = clock.lap();

        if wanted.features {
            for (tokens, map) in self.engine.outputs(&networks.backbone).iter().zip(&mut view.features) {
                self.engine.download(tokens, map.values_mut())?;
            }
        }
        let has_depth = self.decode(view, size, plan, wanted)?;
        let timings = Timings { preprocess, backbone, heads, decode: clock.lap() };
        Ok(outputs(view, (plan, has_depth), wanted, policy, timings))
    }

    /// Copies out what the heads with an output per pixel gave, and marks what is not valid. Whether there is depth in metres.
    fn decode(
        &mut self,
        view: &mut CameraView,
        size: Size,
        plan: Plan,
        wanted: Wanted,
    ) -> Result<bool, PipelineError> {
        let (Some(networks), engine) = (self.networks.get(&size), &mut self.engine) else { return Ok(false) };
        let mut has_depth = false;
        if let Some((_, range)) = self.heads.points.as_ref().filter(|_| plan.points) {
            networks.read_points(engine, *range, &mut view.heads)?;
            view.finish_points();
            if wanted.depth && !plan.depth {
                view.depth_of_points(*range, self.far);
                view.finish_depth()?;
                has_depth = true;
            }
        }
        if plan.segmentation {
            networks.read_labels(engine, &mut view.heads)?;
        }
        if let Some((_, range)) = self.heads.depth.as_ref().filter(|_| plan.depth) {
            if view.is_scaled() {
                let read = |meters: &mut [f32]| networks.read_depth(engine, meters);
                view.depth.refill(*range, self.far, read)?;
                view.finish_scaled()?;
                has_depth = true;
            } else {
                view.relative.refill(*range, |values| networks.read_depth(engine, values))?;
                has_depth = view.finish_relative()?;
            }
        }
        Ok(has_depth)
    }
}

/// What of a view was wanted and computed.
fn outputs(
    view: &CameraView,
    (plan, has_depth): (Plan, bool),
    wanted: Wanted,
    policy: Option<Result<ActionChunk, PolicyError>>,
    timings: Timings,
) -> Outputs<'_> {
    Outputs {
        depth: has_depth.then_some(view.output_depth()),
        relative: (plan.depth && !has_depth).then_some(&view.relative),
        points: view.heads.points.as_ref().filter(|_| plan.points && (wanted.points || wanted.confidence)),
        segmentation: view.heads.labels.as_ref().filter(|_| plan.segmentation),
        features: wanted.features.then_some(view.features.as_slice()),
        color: wanted.color.then_some(view.color.as_slice()),
        policy,
        timings,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::dummy::{Call, Dummy};
    use crate::image::Encoding;
    use network::bundle::random_model;
    use network::{Architecture, HeadKind, Meaning};

    const NETWORK: Size = Size { width: 64, height: 48 };
    pub const CAMERA: Size = Size { width: 80, height: 60 };

    pub fn pipeline(dummy: &Dummy) -> (tempfile::TempDir, Pipeline<Dummy>) {
        pipeline_of(dummy, HeadScale::Metric)
    }

    pub fn pipeline_of(dummy: &Dummy, scale: HeadScale) -> (tempfile::TempDir, Pipeline<Dummy>) {
        let folder = tempfile::tempdir().unwrap();
        let heads = [("depth".to_owned(), HeadKind::LinearDepth {})];
        let mut model =
            random_model(Architecture::named("pixio-tiny16").unwrap(), &heads, &[NETWORK], 1).unwrap();
        if let Meaning::Depth(depth) = &mut model.manifest.heads.get_mut("depth").unwrap().meaning {
            depth.scale = scale;
        }
        let bundle = model.write(&folder.path().join("bundle"), false, |_| ()).unwrap();
        (folder, Pipeline::new(dummy.clone(), bundle, None).unwrap())
    }

    #[test]
    fn only_what_is_wanted_is_computed() {
        let run = |name: &str| Call::Run(name.to_owned());
        let cases = [
            (Wanted::default(), vec![]),
            (Wanted { color: true, ..Wanted::default() }, vec![]),
            (
                Wanted { depth: true, ..Wanted::default() },
                vec![Call::Preprocess, run("backbone"), run("depth"), Call::Download],
            ),
            (
                Wanted { features: true, ..Wanted::default() },
                vec![Call::Preprocess, run("backbone"), Call::Download],
            ),
        ];
        let dummy = Dummy::default();
        let (_folder, mut pipeline) = pipeline(&dummy);
        let mut view = pipeline.view(CAMERA, None).unwrap();
        let pixels = vec![100; CAMERA.area()];
        let image = ImageView::new(&pixels, CAMERA, CAMERA.width, Encoding::Mono8).unwrap();
        for (wanted, expected) in cases {
            dummy.take_calls();
            let outputs = pipeline.run(&mut view, &image, wanted).unwrap();
            assert_eq!(outputs.depth.is_some(), wanted.depth);
            assert_eq!(outputs.features.is_some(), wanted.features);
            assert_eq!(outputs.color.is_some(), wanted.color);
            assert_eq!(dummy.take_calls(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn two_cameras_share_one_network() {
        let dummy = Dummy::default();
        let (_folder, mut pipeline) = pipeline(&dummy);
        pipeline.view(CAMERA, None).unwrap();
        pipeline.view(Size { width: 640, height: 480 }, None).unwrap();
        let loads = dummy.take_calls().into_iter().filter(|call| matches!(call, Call::Load(_))).count();
        assert_eq!(loads, 2, "backbone and head, once each");
    }

    #[test]
    fn unknown_sizes_and_heads_are_refused() {
        let dummy = Dummy::default();
        let (_folder, mut pipeline) = pipeline(&dummy);
        let error = pipeline.view(CAMERA, Some(Size { width: 32, height: 32 })).unwrap_err().to_string();
        assert!(error.contains("32x32") && error.contains("64x48"), "{error}");
        let bundle = pipeline.bundle().clone();
        let error = Pipeline::new(dummy, bundle, Some("flow")).err().unwrap().to_string();
        assert!(error.contains("flow") && error.contains("depth"), "{error}");
    }
}
