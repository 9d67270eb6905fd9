//! `pixio doctor`: what this machine has and lacks, and the remedy.

mod engines;
mod graph;
mod machine;
mod memory;
mod report;
mod ros;
mod transport;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use network::Bundle;
use onnx::{OnnxOptions, OnnxRuntime};
use perception::Engine;
use serde_json::json;

use engines::Wanted;
use graph::Places;
use machine::Machine;
use report::{Area, Check, Status, worst};

/// Say what this machine has and lacks: ROS, transport, engines, cameras on the graph, each with the remedy
///
/// One line per check: OK, WARN (works, but not well) or FAIL (does not work). Exit code 1 when something fails.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A bundle to look at too
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,
    /// The engine that must work here; what only others need may be absent
    #[arg(long, value_enum, default_value_t = Wanted::Onnx, help_heading = "Engine")]
    engine: Wanted,
    /// Leave an area out; may be given several times
    #[arg(long, value_enum, value_name = "AREA")]
    skip: Vec<Area>,
    /// An image topic that must be right, full name; may be given several times. Others are left out then; without it all
    /// are looked at, and what is wrong with one is a warning
    #[arg(long = "image", value_name = "TOPIC")]
    images: Vec<String>,
    /// How long to listen to each camera on the graph, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// ONNX Runtime's shared library (libonnxruntime.so.*)
    #[arg(long, value_name = "FILE", env = "PIXIO_ONNXRUNTIME", help_heading = "Engine")]
    onnxruntime: Option<PathBuf>,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.ok_or_else(|| format!("expected 0.1 to 600 seconds, got {text:?}"))
}

/// Looks at everything and prints what it found.
///
/// # Errors
/// When the report cannot be written as JSON; what is wrong with the machine is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let checks = arguments.checks(&Machine::this());
    let status = worst(&checks);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "status": status, "checks": checks }))?);
    } else {
        checks.iter().for_each(|check| println!("{check}"));
    }
    Ok(if status == Status::Fail { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

impl Arguments {
    fn checks(&self, machine: &Machine) -> Vec<Check> {
        let mut checks = Vec::new();
        let wanted = |area| !self.skip.contains(&area);
        if wanted(Area::Ros) {
            checks.extend(ros::checks(machine));
        }
        if wanted(Area::Transport) {
            checks.extend(transport::checks(machine));
        }
        if wanted(Area::Memory) {
            checks.extend(memory::checks(machine));
        }
        if wanted(Area::Onnxruntime) {
            checks.push(engines::onnxruntime(self.started(), self.engine));
        }
        if wanted(Area::Cuda) {
            checks.push(engines::cuda(machine, self.engine));
        }
        if wanted(Area::Tensorrt) {
            let bundle = self.bundle.as_deref().and_then(|folder| Bundle::open(folder).ok());
            let (headers, model) = (self.engine.flavour().headers(), bundle.as_ref().map(Bundle::hash));
            checks.push(engines::tensorrt(machine, self.engine, headers, model));
        }
        if wanted(Area::Bundle) {
            checks.extend(self.bundle.as_deref().map(bundle));
        }
        if wanted(Area::Graph) && machine.variable("ROS_DISTRO").is_some() {
            let tool = std::env::current_exe().ok();
            let places = Places {
                tool: tool.as_deref().and_then(Path::parent).map(Path::to_owned),
                prefixes: machine.folders("AMENT_PREFIX_PATH"),
                path: machine.folders("PATH"),
            };
            checks.extend(graph::checks(self.seconds, &self.images, &places));
        }
        checks
    }

    /// Starts ONNX Runtime: its version and device, or why it does not start.
    fn started(&self) -> Result<String, String> {
        let library = onnx::library(self.onnxruntime.as_deref()).map_err(|error| error.to_string())?;
        let options = OnnxOptions::new(library, 1);
        let engine = OnnxRuntime::new(options).map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
        let identity = engine.identity();
        Ok(format!("{} on {}", identity.version, identity.device))
    }
}

fn bundle(folder: &Path) -> Check {
    match Bundle::open(folder) {
        Ok(bundle) => {
            let manifest = bundle.manifest();
            let heads: Vec<_> = manifest.heads.keys().map(String::as_str).collect();
            let sizes: Vec<_> = manifest.sizes.iter().map(ToString::to_string).collect();
            let found = format!(
                "{}: {}, heads {}, sizes {}; pixio verify checks its numbers",
                folder.display(),
                manifest.name,
                heads.join(" "),
                sizes.join(" ")
            );
            Check::ok(Area::Bundle, found)
        }
        Err(error) => {
            let remedy = "pixio import makes a bundle; the three files of one belong together";
            Check::fail(Area::Bundle, format!("{:#}", anyhow::Error::new(error)), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn checks(words: &[&str]) -> Vec<Check> {
        let line = Line::parse_from([&["doctor"], words].concat());
        let (machine, _root) = machine::tests::stand_in(&[], &[]);
        line.arguments.checks(&machine)
    }

    #[test]
    fn areas_are_skipped_and_a_missing_bundle_fails() {
        let areas = |checks: &[Check]| checks.iter().map(|check| check.area).collect::<Vec<_>>();
        let skip = ["--skip", "onnxruntime", "--skip", "cuda", "--skip", "tensorrt"];
        let without = checks(&skip);
        assert_eq!(areas(&without), [Area::Ros, Area::Memory], "without a ROS there is no graph to ask");
        let found =
            checks(&[&skip[..], &["--skip", "ros", "--skip", "memory", "--bundle", "/nowhere"]].concat());
        assert_eq!((found[0].area, worst(&found)), (Area::Bundle, Status::Fail));
        assert!(found[0].found.contains("/nowhere"), "{found:#?}");
    }

    #[test]
    fn the_report_is_json_that_scripts_can_read() {
        let checks = checks(&["--skip", "onnxruntime"]);
        let report = serde_json::to_value(&checks).unwrap();
        assert_eq!(report[0]["area"], "ros");
        assert_eq!(report[0]["status"], "FAIL");
        assert!(report[0]["remedy"].as_str().unwrap().contains("setup.bash"));
    }

    #[test]
    fn seconds_are_bounded() {
        for wrong in ["0", "-1", "nan", "601", "soon"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_seconds("2.5"), Ok(2.5));
    }
}
