//! The loop of a training command: resume, step, save, show.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use training::{Learner, Task};

use super::curve;
use crate::progress;

/// Name of the file that a run goes on from.
const STATE: &str = "run.safetensors";
/// Name of the file that a training holds a lock on; it is empty and stays.
const LOCK: &str = ".lock";

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

/// A run's folder, in which nobody else trains as long as this value lives or the process does.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps an evaluation in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, what: &serde_json::Value) -> Result<()> {
        let path = self.path.join("evaluation.json");
        std::fs::write(&path, serde_json::to_string_pretty(what)?).with_context(|| path.display().to_string())
    }
}

impl RunArguments {
    /// Makes the run's folder and keeps every other training out of it.
    ///
    /// # Errors
    /// When it cannot be made or locked, or another training runs there.
    pub fn begin(&self) -> Result<RunFolder> {
        std::fs::create_dir_all(&self.run).with_context(|| self.run.display().to_string())?;
        let path = self.run.join(LOCK);
        let place = || path.display().to_string();
        let lock =
            File::options().create(true).truncate(false).write(true).open(&path).with_context(place)?;
        match lock.try_lock() {
            Ok(()) => Ok(RunFolder { path: self.run.clone(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "--run {}: another training runs in this folder; let it end, or take another folder",
                self.run.display()
            ),
            Err(TryLockError::Error(reason)) => Err(Error::new(reason).context(place())),
        }
    }

    /// Trains to the end of the schedule, from where the run's file stands.
    ///
    /// # Errors
    /// When the file is another run's, a batch cannot be read, or the loss diverges.
    pub fn drive<T: Task>(&self, folder: &RunFolder, learner: &mut Learner<T>, what: &str) -> Result<()> {
        let (folder, steps) = (folder.path(), learner.steps());
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
