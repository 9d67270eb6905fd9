//! `perception_node` on an engine that computes nothing: depth comes with the picture. For checks of everything that lies
//! between a depth map and its consumers, against scenes whose depth is known.
//!
//! The image is `rgb8` of the network's size; red, green and blue are the digits of the depth along Z in micrometres, 0 where there
//! is none.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use ::perception::dummy::{Dummy, DummyNetwork, DummyTensor};
use ::perception::parity::{self, Photograph};
use ::perception::{Encoding, Engine, EngineError, EngineIdentity, ImageView, Preprocessing};
use anyhow::{Context, Result};
use calibration::Size;
use network::{Bundle, Network};
use pixio_ros::declare::Reference;
use pixio_ros::perception::{self, Settings};
use pixio_ros::ros_node::RosNode;
use pixio_ros::rosout::Logger;
use pixio_ros::spin::Stop;

fn main() -> ExitCode {
    pixio_ros::spin::main(&REFERENCE, start)
}

/// What `perception_node` declares, under this example's name.
static REFERENCE: Reference = Reference { name: "true_depth", ..perception::REFERENCE };

fn start(ros: &mut RosNode, stop: &Stop) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let golden = folder.path().to_owned();
    let make_engine = move |settings: &mut Settings, _: &Logger| {
        let engine = TrueDepth::default();
        for name in ["model.toml", "weights.safetensors"] {
            let from = settings.bundle.join(name);
            std::fs::copy(&from, golden.join(name)).with_context(|| from.display().to_string())?;
        }
        let bundle = Bundle::open(&golden)?;
        let size = bundle.manifest().sizes[0];
        let photograph = Photograph { size, rgb: ramp(size) };
        bundle.write_golden(&parity::make_golden(&mut engine.clone(), &bundle, &[photograph], || ())?)?;
        settings.bundle.clone_from(&golden);
        Ok(engine)
    };
    perception::run(ros, make_engine, stop)
}

/// A picture of a depth that grows from a metre on by a hundredth of a millimetre a pixel: the parity test needs one that differs.
fn ramp(size: Size) -> Vec<u8> {
    let digits = |micrometres: usize| [16, 8, 0].map(|shift| (micrometres >> shift & 255) as u8);
    (0..size.area()).flat_map(|index| digits(1_000_000 + 10 * index)).collect()
}

/// Metres of the last picture, row by row.
type Meters = Arc<Mutex<Vec<f32>>>;

/// A dummy engine whose depth head gives what the picture says.
#[derive(Clone, Default)]
struct TrueDepth {
    dummy: Dummy,
    meters: Meters,
}

fn lock(meters: &Meters) -> std::sync::MutexGuard<'_, Vec<f32>> {
    meters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine for TrueDepth {
    type Tensor = DummyTensor;
    type Network = DummyNetwork;

    fn identity(&self) -> &EngineIdentity {
        self.dummy.identity()
    }

    fn allocate(&mut self, shape: &[usize]) -> Result<DummyTensor, EngineError> {
        self.dummy.allocate(shape)
    }

    fn load(&mut self, network: &Network, inputs: &[DummyTensor]) -> Result<DummyNetwork, EngineError> {
        self.dummy.load(network, inputs)
    }

    fn outputs<'n>(&self, network: &'n DummyNetwork) -> &'n [DummyTensor] {
        self.dummy.outputs(network)
    }

    fn shape<'t>(&self, tensor: &'t DummyTensor) -> &'t [usize] {
        self.dummy.shape(tensor)
    }

    fn preprocess(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &mut Preprocessing,
        into: &DummyTensor,
    ) -> Result<(), EngineError> {
        if image.encoding() == Encoding::Rgb8 {
            let meters = |pixel: &[u8; 3]| {
                let [red, green, blue] = pixel.map(u32::from);
                (f64::from(red << 16 | green << 8 | blue) * 1e-6) as f32
            };
            let mut rgb = vec![0; 3 * image.size().area()];
            image.write_rgb(&mut rgb);
            *lock(&self.meters) = rgb.as_chunks::<3>().0.iter().map(meters).collect();
        }
        self.dummy.preprocess(image, preprocessing, into)
    }

    fn upload(&mut self, values: &[f32], into: &DummyTensor) -> Result<(), EngineError> {
        self.dummy.upload(values, into)
    }

    fn run(&mut self, network: &mut DummyNetwork) -> Result<(), EngineError> {
        self.dummy.run(network)?;
        let meters = lock(&self.meters).clone();
        let is_map =
            |tensor: &&DummyTensor| self.dummy.shape(tensor).iter().product::<usize>() == meters.len();
        match self.dummy.outputs(network).iter().find(is_map).cloned() {
            Some(depth) => self.dummy.upload(&meters, &depth),
            None => Ok(()),
        }
    }

    fn download(&mut self, tensor: &DummyTensor, into: &mut [f32]) -> Result<(), EngineError> {
        self.dummy.download(tensor, into)
    }
}
