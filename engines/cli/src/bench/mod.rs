//! `pixio bench`: what each stage of a frame costs.

mod frame;
mod memory;
mod outputs;
mod report;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use calibration::{CameraModel, Distortion, Intrinsics, Size};
use control::RosTime;
use network::Bundle;
use perception::points::Rays;
use perception::{CameraView, Engine, Observation, Pipeline, Stamp, ViewOptions};
use wire::ImageMessageView;

use crate::engine::{AnyEngine, EngineArguments, tell_notices};
use crate::progress;
use frame::{Encoding, Frames};
use memory::Memory;
use outputs::{Kind, Messages};
use report::{About, Report};
use stages::Frame;

/// Measure what a frame costs, stage by stage, from the bytes of a camera's message to the bytes of the results
///
/// A photograph as a serialised sensor_msgs/Image is read, preprocessed, run through encoder and heads, decoded and written as the
/// messages of perception_node, again and again, each frame when the one before is done. There is no ROS in it: docs/speed.md has the
/// measurements over ROS. On engines of GPUs, which compute when results are copied out, the stages before are in `decode`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// Size of the camera's frames
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    frame: Size,
    /// Encoding of the camera's frames
    #[arg(long, value_enum, default_value_t = Encoding::Rgb8)]
    encoding: Encoding,
    /// Network input size, one of the bundle's [default: the one that keeps most of the frame]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Messages to write, separated by commas [default: what the bundle's heads give]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    outputs: Vec<Kind>,
    /// Measure so many frames [default: as many as --seconds allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000), conflicts_with = "seconds")]
    frames: Option<u32>,
    /// Measure for so long
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Frames before those that are measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    warm_up: u32,
    /// Print JSON instead of the table, with the keys of ros2_benchmark too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Degrees of view, across, of the camera that clouds assume.
const FIELD_OF_VIEW: f64 = 60.0;

/// Time between frames without a policy, which says its own.
const PERIOD_SECS: f64 = 0.1;

/// Measures and prints.
///
/// # Errors
/// When bundle, sizes, outputs or engine are refused, or a frame fails.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !(arguments.seconds > 0.0 && arguments.seconds <= 86_400.0) {
        bail!("--seconds: expected more than 0 and at most 86400, got {}", arguments.seconds);
    }
    let frames = Frames::new(arguments.frame, arguments.encoding)?;
    let bundle = Bundle::open(&arguments.bundle)?;
    let engine = arguments.engine.start(&bundle)?;
    let mut bench = Bench::new(arguments, Pipeline::new(engine, bundle, None)?, frames)?;
    let report = bench.measure(arguments)?;
    tell_notices(bench.pipeline.engine());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A pipeline with a camera before it and messages behind it.
struct Bench {
    pipeline: Pipeline<AnyEngine>,
    view: CameraView,
    rays: Rays,
    frames: Frames,
    messages: Messages,
    /// The robot's state, where a policy reads one.
    state: Vec<f64>,
    period_secs: f64,
    count: u32,
    output_bytes: usize,
}

impl Bench {
    fn new(arguments: &Arguments, mut pipeline: Pipeline<AnyEngine>, frames: Frames) -> Result<Self> {
        let messages = Messages::new(&arguments.outputs, &pipeline)?;
        let options = ViewOptions { network: arguments.size, ..ViewOptions::default() };
        let mut view = pipeline.view_as(arguments.frame, options)?;
        let camera = pinhole(arguments.frame)?;
        view.set_scaling(pipeline.scaling(&view, Some(&camera), None)?);
        let (_, rays) = view.output_camera(&camera)?;
        let policy = pipeline.policy().filter(|_| messages.has_actions());
        let period_secs = policy.map_or(PERIOD_SECS, |policy| policy.spec().period_secs);
        let state = policy.map(|policy| vec![0.0; policy.spec().state.len()]).unwrap_or_default();
        Ok(Self { pipeline, view, rays, frames, messages, state, period_secs, count: 0, output_bytes: 0 })
    }

    /// Measures, after the frames that warm up.
    fn measure(&mut self, arguments: &Arguments) -> Result<Report> {
        for _ in 0..arguments.warm_up {
            self.frame()?;
        }
        let most = arguments.frames.map_or(usize::MAX, |frames| frames as usize);
        let bar = progress::items(arguments.frames.map_or(0, u64::from), "frames");
        let (mut frames, mut ends) = (Vec::new(), Vec::new());
        let (before, began) = (Memory::now(), Instant::now());
        while frames.len() < most
            && (arguments.frames.is_some()
                || frames.is_empty()
                || began.elapsed().as_secs_f64() < arguments.seconds)
        {
            frames.push(self.frame()?);
            ends.push(began.elapsed());
            bar.inc(1);
        }
        let memory = [before, Memory::now()];
        bar.finish_and_clear();
        Ok(Report::new(self.about(arguments), &frames, &ends, memory))
    }

    /// One frame from bytes to bytes.
    fn frame(&mut self) -> Result<Frame> {
        let seconds = f64::from(self.count) * self.period_secs;
        let nanoseconds = (seconds * 1e9).round() as i64;
        let stamp = Stamp {
            sec: i32::try_from(nanoseconds / 1_000_000_000).context("too many frames")?,
            nanosec: (nanoseconds % 1_000_000_000) as u32,
        };
        self.count += 1;
        let message = self.frames.message(stamp);

        let started = Instant::now();
        let message = ImageMessageView::read(message)?;
        let image = wire::results::image(&message)?;
        let read = started.elapsed();

        let observation = Observation { stamp: RosTime(nanoseconds), state: Some(&self.state) };
        let observation = Some(observation).filter(|_| self.messages.has_actions());
        let wanted = self.messages.wanted(self.pipeline.has_points());
        let (geometry, size) = (*self.view.geometry(), self.view.output_size());
        let outputs = self.pipeline.run_observed(&mut self.view, &image, wanted, observation)?;
        let mut pipeline = outputs.timings;
        if observation.is_none() {
            pipeline.heads.policy = Duration::ZERO; // what it took to see that there is nothing to do
        }

        let computed = Instant::now();
        self.output_bytes = self.messages.write(message.header, &outputs, (&geometry, size, &self.rays))?;
        let ended = Instant::now();
        let (encode, whole): (Duration, Duration) = (ended - computed, ended - started);
        Ok(Frame { read, pipeline, encode, whole })
    }

    fn about(&mut self, arguments: &Arguments) -> About {
        let network = self.view.geometry().network().to_string();
        let identity = self.pipeline.engine().identity().clone();
        About {
            bundle: self.pipeline.bundle().manifest().name.clone(),
            engine: identity.flavour,
            engine_version: identity.version,
            device: identity.device,
            precision: identity.precision,
            threads: arguments.engine.threads(),
            network,
            frame: arguments.frame.to_string(),
            encoding: arguments.encoding.name(),
            outputs: self.messages.names(),
            output_bytes: self.output_bytes,
        }
    }
}

/// A pinhole with its axis in the middle, for clouds and for heads that are normalised by focal length.
fn pinhole(size: Size) -> Result<CameraModel> {
    let focal = size.width as f64 / 2.0 / (FIELD_OF_VIEW.to_radians() / 2.0).tan();
    let centre = |side: usize| (side as f64 - 1.0) / 2.0;
    let intrinsics = Intrinsics { fx: focal, fy: focal, cx: centre(size.width), cy: centre(size.height) };
    CameraModel::new(size, intrinsics, Distortion::None).map_err(|error| anyhow!("--frame {size}: {error}"))
}
