//! Progress bars on standard error; silent when it is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

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
    ProgressBar::new(total).with_style(style).with_message(what.to_owned())
}
