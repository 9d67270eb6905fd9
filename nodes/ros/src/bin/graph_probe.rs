//! `graph_probe`: cameras on the ROS graph as JSON on the standard output; `pixio doctor` runs it.
//!
//! `graph_probe --seconds 2` listens so long to each image topic.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};

/// Seconds that are listened unless told.
const DEFAULT_SECONDS: f64 = 2.0;

fn main() -> ExitCode {
    match seconds(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("graph_probe: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn seconds(mut arguments: impl Iterator<Item = String>) -> Result<f64> {
    match (arguments.next().as_deref(), arguments.next()) {
        (None, None) => Ok(DEFAULT_SECONDS),
        (Some("--seconds"), Some(text)) => {
            let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.0..=600.0).contains(seconds));
            seconds.with_context(|| format!("--seconds: expected 0 to 600, got {text:?}"))
        }
        _ => bail!("expected nothing or --seconds SECONDS"),
    }
}

fn run(seconds: f64) -> Result<()> {
    let context = r2r::Context::create().map_err(|error| anyhow!("cannot initialise ROS: {error}"))?;
    let name = format!("graph_probe_{}", std::process::id());
    let mut node =
        r2r::Node::create(context, &name, "").map_err(|error| anyhow!("cannot create a node: {error}"))?;
    let graph = pixio_ros::graph::probe(&mut node, seconds)?;
    println!("{}", serde_json::to_string(&graph)?);
    Ok(())
}
