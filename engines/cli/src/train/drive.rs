//! The loop of a training command: resume, step, save, show.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use training::{Learner, Task};

use super::curve;
use crate::progress;

/// Name of the file that a run goes on from.
const STATE: &str = "run.safetensors";

/// Where a run lives and how it runs.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArguments {
    /// Folder of the run: what it goes on from after an interruption, the loss curve, pictures
    #[arg(long, value_name = "FOLDER")]
    pub run: PathBuf,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Save what the run goes on from every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    save_every: u64,
    /// Print the loss every so many steps too, where no progress bar can be shown
    #[arg(long, value_name = "STEPS", default_value_t = 100)]
    print_every: u64,
}

/// Checks a learning rate that was typed.
///
/// # Errors
/// When it is none.
pub fn check_rate(rate: f64) -> Result<()> {
    ensure!(rate.is_finite() && rate > 0.0, "--rate: expected a learning rate above 0, got {rate}");
    Ok(())
}

impl RunArguments {
    /// Makes the run's folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> Result<&Path> {
        std::fs::create_dir_all(&self.run).with_context(|| self.run.display().to_string())?;
        Ok(&self.run)
    }

    /// Trains to the end of the schedule, from where the run's file stands.
    ///
    /// # Errors
    /// When the file is another run's, a batch cannot be read, or the loss diverges.
    pub fn drive<T: Task>(&self, learner: &mut Learner<T>, what: &str) -> Result<()> {
        let (folder, steps) = (self.folder()?, learner.steps());
        let state = folder.join(STATE);
        if learner.resume(&state)? {
            eprintln!("going on at step {} of {steps} ({})", learner.step(), state.display());
        }
        let bar = progress::items(steps, what);
        bar.set_position(learner.step());
        bar.reset_eta();
        let mut saved = Instant::now();
        while learner.step() < steps {
            let loss = learner.advance()?;
            bar.set_message(format!("{what}, loss {loss:.4}"));
            bar.inc(1);
            if bar.is_hidden() && learner.step().is_multiple_of(self.print_every.max(1)) {
                let (done, rate) = (learner.step(), bar.per_sec());
                eprintln!(
                    "{what}: step {done} of {steps}, loss {loss:.4}, {rate:.2} steps/s, {:.0?} left",
                    bar.eta()
                );
            }
            if saved.elapsed() > Duration::from_secs(self.save_every) {
                learner.save(&state)?;
                curve::write(folder, learner.losses())?;
                saved = Instant::now();
            }
        }
        learner.save(&state)?;
        bar.finish_and_clear();
        curve::write(folder, learner.losses())
    }
}
