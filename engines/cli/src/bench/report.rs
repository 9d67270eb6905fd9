//! What was measured, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::memory::Memory;
use super::stages::{Frame, Spread, spreads};

/// What was measured, and on what.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this JSON.
    schema: &'static str,
    pub about: About,
    frames: usize,
    seconds: f64,
    throughput_hz: f64,
    stages: Vec<Stage>,
    memory_before: Memory,
    memory_after: Memory,
    /// The keys of ros2_benchmark.
    #[serde(flatten)]
    ros2_benchmark: Map<String, Value>,
}

/// One stage, in the order in which stages run.
#[derive(Debug, Serialize)]
struct Stage {
    stage: &'static str,
    #[serde(flatten)]
    spread: Spread,
}

/// What ran.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    pub bundle: String,
    pub engine: String,
    pub engine_version: String,
    pub device: String,
    pub precision: String,
    pub threads: usize,
    pub network: String,
    pub frame: String,
    pub encoding: &'static str,
    pub outputs: Vec<String>,
    /// Bytes of the messages that a frame gives.
    pub output_bytes: usize,
}

impl Report {
    /// Of frames that came one after another, `ends` being when each was done.
    pub fn new(about: About, frames: &[Frame], ends: &[Duration], memory: [Memory; 2]) -> Self {
        let seconds = ends.last().copied().unwrap_or_default().as_secs_f64();
        let stages = spreads(frames).into_iter().map(|(stage, spread)| Stage { stage, spread }).collect();
        Self {
            schema: "pixio/bench/1",
            about,
            frames: frames.len(),
            seconds,
            throughput_hz: frames.len() as f64 / seconds.max(f64::MIN_POSITIVE),
            stages,
            memory_before: memory[0],
            memory_after: memory[1],
            ros2_benchmark: ros2_benchmark(frames, ends),
        }
    }
}

/// The figures of NVIDIA's ros2_benchmark (`BasicPerformanceMetrics`, with matched keys) under its names. Frames are sent when the one
/// before is done, so that none is missed.
fn ros2_benchmark(frames: &[Frame], ends: &[Duration]) -> Map<String, Value> {
    let millis = |duration: Duration| 1e3 * duration.as_secs_f64();
    let ends: Vec<f64> = ends.iter().copied().map(millis).collect();
    let latencies: Vec<f64> = frames.iter().map(|frame| millis(frame.whole)).collect();
    let (Some(spread), Some(first), Some(last)) =
        (Spread::of(frames.iter().map(|frame| frame.whole)), ends.first(), ends.last())
    else {
        return Map::new();
    };
    let rate = |duration: f64| (duration > 0.0).then(|| 1e3 * frames.len() as f64 / duration);
    let starts: Vec<f64> = ends.iter().zip(&latencies).map(|(end, latency)| end - latency).collect();
    let played = starts.last().zip(starts.first()).map_or(0.0, |(last, first)| last - first);
    let mut figures = vec![
        ("RECEIVED_DURATION", json!(last - first)),
        ("MEAN_PLAYBACK_FRAME_RATE", json!(rate(played))),
        ("MEAN_FRAME_RATE", json!(rate(last - first))),
        ("NUM_MISSED_FRAMES", json!(0)),
        ("NUM_FRAMES_SENT", json!(frames.len())),
        ("FIRST_SENT_RECEIVED_LATENCY", json!(latencies.first())),
        ("LAST_SENT_RECEIVED_LATENCY", json!(latencies.last())),
        ("FIRST_INPUT_LATENCY", json!(latencies.first())),
        ("LAST_INPUT_LATENCY", json!(latencies.last())),
        ("MAX_LATENCY", json!(spread.max_ms)),
        ("MIN_LATENCY", json!(spread.min_ms)),
        ("MEAN_LATENCY", json!(spread.mean_ms)),
    ];
    let periods: Vec<f64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let jitters: Vec<f64> = periods.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    if !jitters.is_empty() {
        let mean = jitters.iter().sum::<f64>() / jitters.len() as f64;
        let variance =
            jitters.iter().map(|jitter| (jitter - mean).powi(2)).sum::<f64>() / jitters.len() as f64;
        figures.push(("MAX_JITTER", json!(jitters.iter().copied().fold(0.0, f64::max))));
        figures.push(("MIN_JITTER", json!(jitters.iter().copied().fold(f64::INFINITY, f64::min))));
        figures.push(("MEAN_JITTER", json!(mean)));
        figures.push(("STD_DEV_JITTER", json!(variance.sqrt())));
    }
    figures.into_iter().map(|(name, value)| (format!("BasicPerformanceMetrics.{name}"), value)).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About { bundle, engine, engine_version, device, precision, threads, .. } = &self.about;
        writeln!(f, "{bundle} on {engine} {engine_version}, {precision}, {threads} threads, {device}")?;
        let About { frame, encoding, network, outputs, output_bytes, .. } = &self.about;
        let (outputs, kilobytes) = (outputs.join(", "), *output_bytes as f64 / 1e3);
        writeln!(f, "{frame} {encoding} -> {network} -> {outputs} ({kilobytes:.0} kB)\n")?;
        writeln!(f, "{:18} {:>9} {:>9} {:>9} {:>9}", "ms", "p50", "p95", "p99", "max")?;
        for Stage { stage, spread } in &self.stages {
            let Spread { p50_ms, p95_ms, p99_ms, max_ms, .. } = spread;
            writeln!(f, "{stage:18} {p50_ms:>9.3} {p95_ms:>9.3} {p99_ms:>9.3} {max_ms:>9.3}")?;
        }
        let (frames, seconds, rate) = (self.frames, self.seconds, self.throughput_hz);
        writeln!(f, "\n{frames} frames in {seconds:.1} s, {rate:.2} frames a second, one after another")?;
        let mib = |mib: Option<f64>| mib.map_or("unknown".to_owned(), |mib| format!("{mib:.1} MiB"));
        let (before, after) = (mib(self.memory_before.resident_mib), mib(self.memory_after.resident_mib));
        write!(
            f,
            "resident memory {before} when warm, {after} at the end, {} at most",
            mib(self.memory_after.peak_mib)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_figures_are_those_of_ros2_benchmark() {
        let frame = |millis: u64| Frame { whole: Duration::from_millis(millis), ..Frame::default() };
        let frames = [frame(10), frame(20), frame(12), frame(10)];
        let ends = [10, 30, 42, 52].map(Duration::from_millis);
        let figures = ros2_benchmark(&frames, &ends);
        let figure = |name: &str| figures[&format!("BasicPerformanceMetrics.{name}")].as_f64().unwrap();
        let close = |name: &str, expected: f64| {
            assert!((figure(name) - expected).abs() < 1e-9, "{name}: {}", figure(name));
        };
        close("RECEIVED_DURATION", 42.0);
        close("MEAN_FRAME_RATE", 4000.0 / 42.0);
        close("MEAN_PLAYBACK_FRAME_RATE", 4000.0 / 42.0);
        close("NUM_FRAMES_SENT", 4.0);
        close("MAX_LATENCY", 20.0);
        close("MEAN_LATENCY", 13.0);
        // Periods 20, 12, 10: jitters 8 and 2.
        close("MAX_JITTER", 8.0);
        close("MIN_JITTER", 2.0);
        close("MEAN_JITTER", 5.0);
        close("STD_DEV_JITTER", 3.0);
        assert!(ros2_benchmark(&[], &[]).is_empty());
    }
}
