//! Progress bars on standard error; silent when it is not a terminal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use tensorrt::{BuildWatch, Progress};

/// A bar that counts bytes with a rate and an estimate of the time left.
pub fn bytes(total: u64, what: &str) -> ProgressBar {
    styled(total, what, "{msg:28} {bar:40} {bytes:>10}/{total_bytes} {bytes_per_sec} {eta}")
}

/// A bar that counts things.
pub fn items(total: u64, what: &str) -> ProgressBar {
    styled(total, what, "{msg:28} {bar:40} {pos:>5}/{len} {eta}")
}

fn styled(total: u64, what: &str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style).with_message(what.to_owned());
    // An error that ends it early leaves no half of it behind.
    bar.with_finish(ProgressFinish::AndClear)
}

/// Shows why an engine is built and how far its build is; Ctrl-C stops the build, a second one the program.
pub fn builds() -> BuildWatch {
    let bar = styled(0, "building", "{msg:48} {bar:32} {pos:>4}/{len} {elapsed}");
    let stop = stopped_by_ctrl_c();
    Box::new(move |what, progress| {
        match progress {
            None => bar.suspend(|| eprintln!("{what}")),
            Some(Progress::Started { phase, parent: None, steps }) => {
                bar.reset();
                bar.set_length(u64::try_from(steps).unwrap_or(0));
                bar.set_message(format!("{what}: {phase}"));
            }
            Some(Progress::Started { phase, .. }) => bar.set_message(format!("{what}: {phase}")),
            Some(Progress::Step { step, .. }) => {
                let done = u64::try_from(step).unwrap_or(0) + 1;
                // Steps of phases within phases count too, but never back.
                bar.set_position(done.max(bar.position()).min(bar.length().unwrap_or(done)));
            }
            Some(Progress::Finished { .. }) => {}
        }
        !stop.load(Ordering::Relaxed)
    })
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends the program as the first would have. Installed once.
pub fn stopped_by_ctrl_c() -> Arc<AtomicBool> {
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let install = || {
        let stop = Arc::new(AtomicBool::new(false));
        let code_of_interrupt = 130;
        let second = flag::register_conditional_shutdown(SIGINT, code_of_interrupt, stop.clone());
        if let Err(error) = second.and_then(|_| flag::register(SIGINT, stop.clone())) {
            eprintln!("Ctrl-C will end the program at once: {error}");
        }
        stop
    };
    STOP.get_or_init(install).clone()
}
