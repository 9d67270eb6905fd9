//! A sheet of paintings: a row per image, the original, what was seen, what was painted.

use std::path::Path;

use anyhow::{Context, Result};
use training::pretrain::Painting;

use crate::dataset::canvas::{Area, Canvas};

/// Least side of a picture on the sheet, pixels.
const SHOWN: usize = 128;
const GAP: i64 = 4;

/// Writes the sheet.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, paintings: &[Painting], side: usize) -> Result<()> {
    let shown = side.max(SHOWN) as i64;
    let step = shown + GAP;
    let rows = paintings.len().max(1) as i64;
    let mut canvas = Canvas::new((3 * step) as u32, (rows * step) as u32);
    for (row, painting) in (0..).zip(paintings) {
        let columns = [&painting.original, &painting.seen, &painting.painted];
        for (column, pixels) in (0..).zip(columns) {
            let area = Area { left: column * step, top: row * step, width: shown, height: shown };
            canvas.picture(area, side, pixels);
        }
    }
    canvas.0.save(path).with_context(|| path.display().to_string())
}
