//! Pictures from a live topic, and the robot's poses with them, through the node that saves them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A live topic instead of files.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Record pictures from this image topic first (needs a sourced ROS 2; runs `frame_grabber`)
    #[arg(long, value_name = "TOPIC", requires = "frames_folder", help_heading = "Live")]
    topic: Option<String>,
    /// Folder that the recorded pictures go to and stay in; made if it is not there
    #[arg(long, value_name = "DIR", help_heading = "Live")]
    frames_folder: Option<PathBuf>,
    /// Pictures to record
    #[arg(long, value_name = "COUNT", default_value_t = 30, help_heading = "Live")]
    frames: u32,
    /// Seconds from one picture to the next: time to move the board or the robot
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, help_heading = "Live")]
    interval: f64,
}

impl Arguments {
    /// Records from the topic, if one is named, and gives the folder of the pictures.
    ///
    /// `parameters` of the node come on top, by name and value.
    ///
    /// # Errors
    /// When the node is not there or ends badly, or poses of an earlier session are in the folder.
    pub fn record(&self, parameters: &[(&str, &str)]) -> Result<Option<PathBuf>> {
        let (Some(topic), Some(folder)) = (&self.topic, &self.frames_folder) else { return Ok(None) };
        let poses = folder.join("robot.csv");
        if !parameters.is_empty() && poses.exists() {
            bail!(
                "--frames-folder: expected a folder without poses of an earlier session, got {0} with robot.csv; to work out the mount from \
                 those: --robot {1} --images {0} instead of --topic",
                folder.display(),
                poses.display()
            );
        }
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let node = node()?;
        eprintln!(
            "recording {} pictures of {topic}, one every {} s: {} between them",
            self.frames,
            self.interval,
            if parameters.is_empty() { "move the board" } else { "move the robot" }
        );
        let more = parameters.iter().flat_map(|(name, value)| ["-p".to_owned(), format!("{name}:={value}")]);
        let status = Command::new(&node)
            .args(["--ros-args", "-r", &format!("image:={topic}")])
            .args(["-p", &format!("folder:={}", folder.display())])
            .args(["-p", &format!("count:={}", self.frames)])
            .args(["-p", &format!("interval_secs:={:?}", self.interval)])
            .args(more)
            .status()
            .with_context(|| format!("cannot run {}", node.display()))?;
        if !status.success() {
            bail!("{} ended with {status}", node.display());
        }
        Ok(Some(folder.clone()))
    }
}

/// The node beside this program, else the one in the search path.
fn node() -> Result<PathBuf> {
    let beside =
        std::env::current_exe().context("cannot find this program's folder")?.with_file_name("frame_grabber");
    Ok(if beside.exists() { beside } else { PathBuf::from("frame_grabber") })
}
