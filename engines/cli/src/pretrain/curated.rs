//! What self-curation made of the pictures: how often each was seen, and those that it thinks least and most of.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use calibration::Size;
use serde_json::json;
use training::pretrain::{Curation, Images, MaskedImages};

use crate::dataset::canvas::{Area, Canvas};
use crate::train::bag::ImageArguments;
use crate::train::pictures;

/// Pictures of a row of the sheet.
const SHOWN: usize = 8;
const SIDE: i64 = 96;
const GAP: i64 = 4;

/// How many pictures came from where, in their order.
pub struct Sources(Vec<(PathBuf, usize)>);

impl Sources {
    /// Reads every picture of these folders, datasets and recordings at this size.
    ///
    /// # Errors
    /// The file, row or message that cannot be read.
    pub fn read(paths: &[PathBuf], size: Size, recorded: &ImageArguments) -> Result<(Self, Vec<u8>)> {
        let (mut rgb, mut counts) = (Vec::new(), Vec::with_capacity(paths.len()));
        for path in paths {
            let before = rgb.len();
            pictures::read_source(path, size, recorded, &mut rgb)?;
            counts.push((path.clone(), (rgb.len() - before) / (3 * size.area())));
        }
        Ok((Self(counts), rgb))
    }

    /// Writes `curation.json` and `curation.png` into a run's folder, and says how often the pictures of each source were seen; nothing of a
    /// run without steps.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path, task: &MaskedImages) -> Result<()> {
        let curation = task.curation();
        let (seen, kept) = (curation.seen(), curation.hardness());
        let all: u64 = seen.iter().map(|count| u64::from(*count)).sum();
        if all == 0 {
            return Ok(());
        }
        let (mut first, mut sources) = (0, Vec::with_capacity(self.0.len()));
        for (path, pictures) in &self.0 {
            let own = first..first + pictures;
            let shown: u64 = seen[own.clone()].iter().map(|count| u64::from(*count)).sum();
            let kept = kept[own].iter().map(|kept| f64::from(*kept)).sum::<f64>() / *pictures as f64;
            let (of_pictures, of_seen) = (*pictures as f64 / seen.len() as f64, shown as f64 / all as f64);
            println!(
                "{}: {:.1} % of the pictures, {:.1} % of what was seen, {:.1} times each; kept with probability {kept:.2} now",
                path.display(),
                100.0 * of_pictures,
                100.0 * of_seen,
                shown as f64 / *pictures as f64
            );
            sources.push(
                json!({ "source": path, "first": first, "pictures": pictures, "seen": shown, "kept": kept }),
            );
            first += pictures;
        }
        let text = json!({ "schema": "pixio.curation/1", "sources": sources, "seen": seen, "kept": kept });
        let path = folder.join("curation.json");
        std::fs::write(&path, text.to_string()).with_context(|| path.display().to_string())?;
        let path = folder.join("curation.png");
        sheet(curation, task.images()).0.save(&path).with_context(|| path.display().to_string())
    }
}

/// Two rows: the pictures that are kept least, and those that are kept most, of all that were seen.
fn sheet(curation: &Curation, images: &Images) -> Canvas {
    let mut order: Vec<usize> = (0..images.count()).filter(|image| curation.seen()[*image] > 0).collect();
    order.sort_by(|a, b| curation.hardness()[*a].total_cmp(&curation.hardness()[*b]));
    let mut canvas = Canvas::new((SHOWN as i64 * (SIDE + GAP)) as u32, (2 * (SIDE + GAP)) as u32);
    let least = order.iter().take(SHOWN);
    let most = order.iter().rev().take(SHOWN);
    for (row, images_of_row) in [(0, least.collect::<Vec<_>>()), (1, most.collect())] {
        for (column, image) in (0..).zip(images_of_row) {
            let area =
                Area { left: column * (SIDE + GAP), top: row * (SIDE + GAP), width: SIDE, height: SIDE };
            canvas.picture(area, images.side, images.image(*image));
        }
    }
    canvas
}
