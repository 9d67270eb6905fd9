//! From a camera's pixels to depth and features: preprocess, backbone, heads, decode.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use calibration::{CameraModel, CameraModelError, Size};
use network::manifest::{DepthCalibration, HeadScale};
use network::{BuildError, Bundle};

use crate::depth::{DepthMap, DepthRange, FarPolicy};
use crate::engine::{Engine, EngineError};
use crate::features::FeatureMap;
use crate::geometry::{GeometryError, ImageGeometry};
use crate::image::ImageView;
use crate::scale::{RelativeDepth, Scaling};
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
    Camera(#[from] CameraModelError),
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
        "network size {asked}: expected one of the bundle's sizes {known:?}; import it with --size {asked}"
    )]
    Size {
        /// What was asked for.
        asked: Size,
        /// What the bundle has, as text.
        known: Vec<String>,
    },
    /// The bundle has no depth head of that name, or several and none was named.
    #[error("depth head: expected one of {known:?}, got {asked:?}")]
    Head {
        /// What was asked for.
        asked: Option<String>,
        /// What the bundle has.
        known: Vec<String>,
    },
}

/// What is asked of one frame; what is not asked for is not computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The depth map.
    pub depth: bool,
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

/// How long the stages of one frame took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Colour order, resize, crop, normalisation.
    pub preprocess: Duration,
    /// The encoder.
    pub backbone: Duration,
    /// The heads that were wanted.
    pub heads: Duration,
    /// Copying results out and marking what is not valid.
    pub decode: Duration,
}

impl Timings {
    /// The whole frame.
    pub fn total(&self) -> Duration {
        self.preprocess + self.backbone + self.heads + self.decode
    }
}

/// What one frame gave; present is what was wanted.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'v> {
    /// Metres along Z at the view's output size; absent too when the head's numbers are no metres for this frame.
    pub depth: Option<&'v DepthMap>,
    /// Depth without a scale, at the network's size: in place of metres where there are none.
    pub relative: Option<&'v RelativeDepth>,
    /// Tokens of every tap.
    pub features: Option<&'v [FeatureMap]>,
    /// RGB pixels, three bytes each, at the view's output size: what the network saw, or the whole image.
    pub color: Option<&'v [u8]>,
    /// How long it took.
    pub timings: Timings,
}

/// Networks of one input size, bound to each other in the engine's memory.
struct Networks<E: Engine> {
    input: E::Tensor,
    backbone: E::Network,
    depth: Option<E::Network>,
}

/// A bundle on an engine. Cameras share the networks of their size; features stay in the engine's memory.
pub struct Pipeline<E: Engine> {
    engine: E,
    bundle: Bundle,
    depth_head: Option<(String, DepthRange)>,
    far: FarPolicy,
    networks: BTreeMap<Size, Networks<E>>,
}

impl<E: Engine> Pipeline<E> {
    /// A pipeline with no network loaded yet. `depth_head` names the head for depth; without it the bundle's only
    /// head serves, or the one called `depth`.
    ///
    /// # Errors
    /// When the bundle has no head of that name, or none can be chosen.
    pub fn new(engine: E, bundle: Bundle, depth_head: Option<&str>) -> Result<Self, PipelineError> {
        let heads = &bundle.manifest().heads;
        let only = || (heads.len() == 1).then(|| heads.keys().next()).flatten();
        let chosen = match depth_head {
            Some(name) => heads.get_key_value(name).map(|(name, _)| name),
            None => heads.get_key_value("depth").map(|(name, _)| name).or_else(only),
        };
        if chosen.is_none() && (depth_head.is_some() || !heads.is_empty()) {
            let (asked, known) = (depth_head.map(str::to_owned), heads.keys().cloned().collect());
            return Err(PipelineError::Head { asked, known });
        }
        let range = |name: &String| {
            let spec = &heads[name];
            DepthRange { min_meters: spec.min_depth_meters, max_meters: spec.max_depth_meters }
        };
        let depth_head = chosen.map(|name| (name.clone(), range(name)));
        Ok(Self { engine, bundle, depth_head, far: FarPolicy::default(), networks: BTreeMap::new() })
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Range of the depth head, if there is one.
    pub fn depth_range(&self) -> Option<DepthRange> {
        self.depth_head.as_ref().map(|(_, range)| *range)
    }

    /// Name of the depth head, if there is one.
    pub fn depth_head(&self) -> Option<&str> {
        self.depth_head.as_ref().map(|(name, _)| name.as_str())
    }

    /// What the depth head's numbers mean.
    pub fn head_scale(&self) -> HeadScale {
        let spec = self.depth_head().and_then(|name| self.bundle.manifest().heads.get(name));
        spec.map(|spec| spec.scale).unwrap_or_default()
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
        if !sizes.contains(&size) {
            let known = sizes.iter().map(Size::to_string).collect();
            return Err(PipelineError::Size { asked: size, known });
        }
        let geometry = ImageGeometry::new(camera, size)?;
        self.load(size)?;
        let manifest = self.bundle.manifest();
        let grid = manifest.architecture.patches(size).map_err(BuildError::Size)?;
        let options = ViewOptions { rectify: map, ..options };
        Ok(CameraView::new(geometry, options, Scaling::of(self.head_scale(), None, None), manifest, grid)?)
    }

    /// Loads and binds the networks of a size: the heads read the backbone's outputs where they lie.
    fn load(&mut self, size: Size) -> Result<(), PipelineError> {
        if self.networks.contains_key(&size) {
            return Ok(());
        }
        let network = self.bundle.backbone(size)?;
        let input = self.engine.allocate(&network.inputs()[0].shape)?;
        let backbone = self.engine.load(&network, std::slice::from_ref(&input))?;
        let depth = match &self.depth_head {
            None => None,
            Some((name, _)) => {
                let head = self.bundle.head(name, size)?;
                let tokens = bound_inputs(&self.engine, &network, &backbone, &head)?;
                Some(self.engine.load(&head, &tokens)?)
            }
        };
        self.networks.insert(size, Networks { input, backbone, depth });
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
        let size = view.geometry().network();
        self.load(size)?;
        let Some(networks) = self.networks.get_mut(&size) else {
            return Err(PipelineError::Size { asked: size, known: Vec::new() });
        };
        let head = self.depth_head.as_ref().zip(networks.depth.as_mut()).filter(|_| wanted.depth);
        let mut clock = Clock::start();

        let resized = view.preprocessing.loads();
        if head.is_some() || wanted.features {
            self.engine.preprocess(image, &mut view.preprocessing, &networks.input)?;
        }
        if wanted.color {
            let seen = view.preprocessing.loads() != resized;
            view.write_color(image, seen)?;
        }
        let preprocess = clock.lap();

        if head.is_some() || wanted.features {
            self.engine.run(&mut networks.backbone)?;
        }
        let backbone = clock.lap();

        let mut depth = None;
        if let Some(((_, range), network)) = head {
            self.engine.run(network)?;
            depth = Some((&self.engine.outputs(network)[0], *range));
        }
        let heads = clock.lap();

        if wanted.features {
            for (tokens, map) in self.engine.outputs(&networks.backbone).iter().zip(&mut view.features) {
                self.engine.download(tokens, map.values_mut())?;
            }
        }
        let (mut has_depth, asked) = (false, depth.is_some());
        if let Some((tensor, range)) = depth {
            if view.is_scaled() {
                view.depth.refill(range, self.far, |meters| self.engine.download(tensor, meters))?;
                view.finish_scaled()?;
                has_depth = true;
            } else {
                view.relative.refill(range, |values| self.engine.download(tensor, values))?;
                has_depth = view.finish_relative()?;
            }
        }
        let decode = clock.lap();

        Ok(Outputs {
            depth: has_depth.then_some(view.output_depth()),
            relative: (asked && !has_depth).then_some(&view.relative),
            features: wanted.features.then_some(view.features.as_slice()),
            color: wanted.color.then_some(view.color.as_slice()),
            timings: Timings { preprocess, backbone, heads, decode },
        })
    }
}

/// The backbone's output tensors that a head reads, in the head's order.
pub(crate) fn bound_inputs<E: Engine>(
    engine: &E,
    backbone: &network::Network,
    loaded: &E::Network,
    head: &network::Network,
) -> Result<Vec<E::Tensor>, EngineError> {
    let tensors = engine.outputs(loaded);
    let find = |port: &network::graph::Port| {
        let found = backbone.outputs().iter().position(|output| output.name == port.name);
        found.map(|at| tensors[at].clone()).ok_or_else(|| EngineError::Load {
            network: head.name().to_owned(),
            reason: format!("expected the backbone to deliver {}", port.name),
        })
    };
    head.inputs().iter().map(find).collect()
}

/// Measures one stage after another.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::dummy::{Call, Dummy};
    use crate::image::Encoding;
    use network::bundle::random_model;
    use network::{Architecture, HeadKind};

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
        model.manifest.heads.get_mut("depth").unwrap().scale = scale;
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
