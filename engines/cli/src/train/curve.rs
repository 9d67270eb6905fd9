//! The loss of a run, as JSON and as a picture.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::dataset::canvas::{Area, Axes, COLORS, Canvas, range};

const WIDTH: i64 = 900;
const HEIGHT: i64 = 420;
const MARGIN: i64 = 24;
/// Points of the smoothed curve.
const POINTS: usize = 300;

/// Writes `loss.json` (the loss of every step) and `loss.png` (each step's, and the mean over their neighbours).
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path, losses: &[f32]) -> Result<()> {
    let path = folder.join("loss.json");
    let text = serde_json::to_string(&json!({ "schema": "pixio.loss/1", "loss": losses }))?;
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    let path = folder.join("loss.png");
    draw(losses).0.save(&path).with_context(|| path.display().to_string())
}

fn draw(losses: &[f32]) -> Canvas {
    let mut canvas = Canvas::new(WIDTH as u32, HEIGHT as u32);
    let area = Area { left: MARGIN, top: MARGIN, width: WIDTH - 2 * MARGIN, height: HEIGHT - 3 * MARGIN };
    let smooth = smooth(losses);
    let lowest = smooth.iter().map(|point| point.1);
    // The first steps' loss would flatten everything after them.
    let highest = smooth.iter().skip(smooth.len() / 50).map(|point| point.1);
    let axes = Axes { x: (0.0, losses.len().max(1) as f64), y: range(lowest.chain(highest)) };
    canvas.frame(area, [190; 3]);
    let step = (losses.len() / 4000).max(1);
    let every = losses.iter().enumerate().step_by(step).map(|(step, loss)| (step as f64, f64::from(*loss)));
    canvas.curve(area, axes, every, [205, 215, 230]);
    canvas.curve(area, axes, smooth.iter().copied(), COLORS[0]);
    canvas.text(area.left + 4, area.top + 4, &format!("{:.4} loss", axes.y.1), [90; 3]);
    canvas.text(area.left + 4, area.top + area.height - 12, &format!("{:.4}", axes.y.0), [90; 3]);
    let last = smooth.last().map_or(f64::NAN, |point| point.1);
    let words =
        format!("{} steps, mean of the last {}: {last:.4}", losses.len(), losses.len().div_ceil(POINTS));
    canvas.text(area.left, area.top + area.height + 6, &words, [0; 3]);
    canvas
}

/// Means over stretches of the run.
fn smooth(losses: &[f32]) -> Vec<(f64, f64)> {
    let stretch = losses.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[f32]| chunk.iter().map(|loss| f64::from(*loss)).sum::<f64>() / chunk.len() as f64;
    let place = |index: usize| (index as f64 + 0.5) * stretch as f64;
    losses.chunks(stretch).enumerate().map(|(index, chunk)| (place(index), mean(chunk))).collect()
}
