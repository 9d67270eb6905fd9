//! Times single steps of training: what `tests/bench/training.py` sets beside PyTorch.
//!
//! `steps THREADS` reads lines `pretraining` or `depth` and answers each with one step's milliseconds and loss, a line each. Sizes are
//! those of the bundle tabletop-tiny: pictures of 128 px, an encoder of 192x8x3, a decoder of 128x4x4, batches of 32.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use calibration::Size;
use network::manifest::{DepthMeaning, HeadScale, Meaning};
use network::modules::pretraining::{self, Decoder};
use network::modules::{self, Grid};
use network::{Architecture, HeadKind, HeadSpec};
use training::dense::{Dense, Drawing, Target};
use training::features::{FeaturesOf, FeaturesWriter};
use training::optimiser::{AdamW, Schedule};
use training::pretrain::{self, Colours, Images, MaskedImages, Showing};
use training::{Learner, Learning, Numbers, Program, Task, fresh};

const BATCH: usize = 32;
/// Samples that there are: their contents do not matter.
const SAMPLES: usize = 64;
const SIZE: Size = Size { width: 128, height: 128 };

fn architecture() -> Result<Architecture, Box<dyn Error>> {
    let tiny = Architecture::named("pixio-tiny16").ok_or("no tiny architecture")?;
    Ok(Architecture { dim: 192, blocks: 8, heads: 3, mlp_hidden: 768, grid: 8, ..tiny })
}

fn learning(threads: usize) -> Learning {
    let schedule = Schedule { peak: 1e-3, warm_up: 10, steps: 100_000, floor: 0.0 };
    Learning { optimiser: AdamW::default(), schedule, longest_gradient: 3.0, threads }
}

fn pretraining(threads: usize) -> Result<Learner<MaskedImages>, Box<dyn Error>> {
    let (architecture, decoder) = (architecture()?, Decoder { dim: 128, blocks: 4, heads: 4 });
    let mut numbers = Numbers::of(1, &[1]);
    let rgb = (0..SAMPLES * 3 * SIZE.area()).map(|_| numbers.below(256) as u8).collect();
    let showing = Showing {
        batch: BATCH,
        part: 8,
        block: 2,
        ratio: 0.75,
        smallest_crop: 0.6,
        mirror: false,
        curate: true,
        seed: 1,
    };
    let colours = Colours { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    let task = MaskedImages::new(Images { side: SIZE.width, rgb }, &architecture, colours, showing)?;
    let program = Program::new(pretraining::graph(&architecture, &decoder, task.seen())?, |_| true);
    let parameters = pretrain::initial(&architecture, &decoder, 1);
    Ok(Learner::new(program, parameters, learning(threads), "bench".to_owned(), task))
}

fn depth(threads: usize) -> Result<Learner<Dense>, Box<dyn Error>> {
    let architecture = architecture()?;
    let kind = HeadKind::DptDepth { features: 16, out_channels: [16, 32, 48, 48] };
    let range = DepthMeaning { min_depth_meters: 0.001, max_depth_meters: 3.0, scale: HeadScale::Metric };
    let spec = HeadSpec { taps: kind.official_taps(8), kind, meaning: Meaning::Depth(range) };
    let graph = modules::head("depth", &spec, &architecture, Grid::new(&architecture, SIZE)?, 1)?;
    let program = Program::new(graph, |_| true);
    let parameters = fresh(&program.tensors(), 1);
    let tap_len = (8 + 64) * architecture.dim;
    let of = FeaturesOf {
        encoder_id: "bench".to_owned(),
        taps: spec.taps,
        tap_len,
        samples: SAMPLES,
        data: String::new(),
    };
    let folder = std::env::temp_dir().join(format!("pixio-steps-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut writer = FeaturesWriter::create(&folder.join("features.f16"), of)?;
    let mut numbers = Numbers::of(1, &[2]);
    for _ in 0..4 * SAMPLES {
        writer.push(&(0..tap_len).map(|_| numbers.normal() as f32).collect::<Vec<_>>())?;
    }
    let features = writer.finish()?;
    // The file stays open; its name is not needed any more.
    std::fs::remove_dir_all(&folder)?;
    let millimeters = (0..SAMPLES * SIZE.area()).map(|_| 500 + numbers.below(2000) as u16).collect();
    let target = Target::Depth { millimeters, range: (0.001, 3.0) };
    let task = Dense::new(features, target, SIZE.area(), Drawing { batch: BATCH, part: 4, seed: 1 })?;
    Ok(Learner::new(program, parameters, learning(threads), "bench".to_owned(), task))
}

/// Milliseconds and loss of one step.
fn step<T: Task>(learner: &mut Learner<T>) -> Result<String, Box<dyn Error>> {
    let began = Instant::now();
    let loss = learner.advance()?;
    Ok(format!("{:.3} {loss:.5}", began.elapsed().as_secs_f64() * 1000.0))
}

fn main() -> Result<(), Box<dyn Error>> {
    let threads = std::env::args().nth(1).ok_or("usage: steps THREADS")?.parse()?;
    let (mut pretraining, mut depth) = (pretraining(threads)?, depth(threads)?);
    let mut out = std::io::stdout();
    writeln!(out, "{} {}", pretraining.parameters().count(), depth.parameters().count())?;
    for line in std::io::stdin().lock().lines() {
        let answer = match line?.as_str() {
            "pretraining" => step(&mut pretraining)?,
            "depth" => step(&mut depth)?,
            other => return Err(format!("expected pretraining or depth, got {other:?}").into()),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
