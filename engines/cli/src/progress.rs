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

/// Shows why an engine is built and how far its build is. While one is built, Ctrl-C stops the build between two steps, a second
/// one the program; at any other time the first does.
pub fn builds() -> BuildWatch {
    let bar = styled(0, "building", "{msg:48} {bar:32} {pos:>4}/{len} {elapsed}");
    let ctrl_c = ctrl_c();
    Box::new(move |what, progress| {
        match progress {
            None => {
                ctrl_c.ends_the_program.store(false, Ordering::Relaxed);
                bar.suspend(|| eprintln!("{what}"));
            }
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
            Some(Progress::Ended) => ctrl_c.ends_the_program.store(true, Ordering::Relaxed),
        }
        !ctrl_c.came.load(Ordering::Relaxed)
    })
}

/// Whether Ctrl-C stopped a build.
pub fn was_stopped() -> bool {
    ctrl_c().came.load(Ordering::Relaxed)
}

/// What Ctrl-C does and did.
#[derive(Clone)]
struct CtrlC {
    /// Ends the program at once, as if nobody listened.
    ends_the_program: Arc<AtomicBool>,
    /// Came when it did not; the next one ends the program.
    came: Arc<AtomicBool>,
}

/// Listens for Ctrl-C from the first call on.
fn ctrl_c() -> CtrlC {
    static CTRL_C: OnceLock<CtrlC> = OnceLock::new();
    let listen = || {
        let ctrl_c = CtrlC { ends_the_program: Arc::new(true.into()), came: Arc::default() };
        let code_of_interrupt = 130;
        // In the order in which they are asked: the last only notes that it came.
        let listening = flag::register_conditional_default(SIGINT, ctrl_c.ends_the_program.clone())
            .and_then(|_| flag::register_conditional_shutdown(SIGINT, code_of_interrupt, ctrl_c.came.clone()))
            .and_then(|_| flag::register(SIGINT, ctrl_c.came.clone()));
        if let Err(error) = listening {
            eprintln!("Ctrl-C will end the program at once: {error}");
        }
        ctrl_c
    };
    CTRL_C.get_or_init(listen).clone()
}
