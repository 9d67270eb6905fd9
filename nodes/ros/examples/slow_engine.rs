//! `perception_node` on an engine that sleeps 200 ms a frame and computes nothing real: for the tests of what surrounds
//! it. The environment variable `PIXIO_TEST_DRIFT` spoils its numbers after the golden outputs were made. Every load
//! and run of a network is printed.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ::perception::dummy::{Call, Dummy};
use ::perception::parity::{self, Photograph};
use anyhow::{Context, Result};
use calibration::Size;
use network::Bundle;
use pixio_ros::declare::Reference;
use pixio_ros::perception::{self, Settings};
use pixio_ros::ros_node::RosNode;
use pixio_ros::rosout::Logger;
use pixio_ros::spin::Stop;

fn main() -> ExitCode {
    pixio_ros::spin::main(&REFERENCE, start)
}

/// What `perception_node` declares, under this example's name.
static REFERENCE: Reference = Reference { name: "slow_engine", ..perception::REFERENCE };

fn start(ros: &mut RosNode, stop: &Stop) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let golden = folder.path().to_owned();
    let drift =
        std::env::var("PIXIO_TEST_DRIFT").map_or(Ok(0.0), |text| text.parse()).context("PIXIO_TEST_DRIFT")?;
    let engine = Dummy::default().with_delay(Duration::from_millis(200)).with_drift(drift);
    let (watched, done) = (engine.clone(), Stop::default());
    let make_engine = move |settings: &mut Settings, _: &Logger| {
        copy_with_dummy_golden(&settings.bundle, &golden)?;
        settings.bundle.clone_from(&golden);
        Ok(engine.clone())
    };
    std::thread::scope(|scope| {
        scope.spawn(|| print_calls(&watched, &done));
        let ended = perception::run(ros, make_engine, stop);
        done.set();
        ended
    })
}

/// The bundle with golden outputs of the dummy engine in place of the real one's.
fn copy_with_dummy_golden(from: &Path, to: &Path) -> Result<()> {
    for name in ["model.toml", "weights.safetensors"] {
        std::fs::copy(from.join(name), to.join(name))
            .with_context(|| from.join(name).display().to_string())?;
    }
    let bundle = Bundle::open(to)?;
    let photograph = Photograph { size: Size { width: 64, height: 48 }, rgb: vec![128; 3 * 64 * 48] };
    let golden = parity::make_golden(&mut Dummy::default(), &bundle, &[photograph], || ())?;
    Ok(bundle.write_golden(&golden)?)
}

fn print_calls(engine: &Dummy, done: &Stop) {
    while !done.is_set() {
        for call in engine.take_calls() {
            match call {
                Call::Load(name) => println!("{name} loaded"),
                Call::Run(name) => println!("{name} ran"),
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
