//! Boards found in files of pictures.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use calibrating::{Board, Grey, View, detect};
use calibration::Size;

use crate::infer::sources::{self, Source};
use crate::{photographs, progress};

/// What the pictures show of the board.
pub struct Boards {
    /// Size of all pictures.
    pub size: Size,
    /// Those that show it, named by file.
    pub views: Vec<View>,
}

/// Looks for the board in every picture and says which do not show it.
///
/// # Errors
/// When a picture cannot be read, sizes differ, or no picture shows the board.
pub fn find(named: &[PathBuf], board: &Board) -> Result<Boards> {
    let paths = pictures(named)?;
    let mut size = None;
    let mut views = Vec::new();
    let bar = progress::items(paths.len() as u64, "looking for the board");
    for path in &paths {
        let (came, pixels) = photographs::read_grey(path)?;
        let expected = *size.get_or_insert(came);
        if came != expected {
            bail!("{}: expected the size of the first picture, {expected}, got {came}", path.display());
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match detect(&Grey::new(came, &pixels)?, board) {
            Ok(observations) => views.push(View { name, observations }),
            Err(error) => bar.suspend(|| eprintln!("{}: left out: {error}", path.display())),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let size = size.context("expected at least one picture")?;
    if views.is_empty() {
        bail!("{} pictures, none shows the {board}", paths.len());
    }
    Ok(Boards { size, views })
}

/// The pictures named, and those in the folders named.
///
/// # Errors
/// When a file is no picture, or a folder holds none.
pub fn pictures(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let picture = |source: Source| match source {
        Source::Picture(path) => Ok(path),
        Source::Video(path) => bail!("{}: expected pictures, got a video", path.display()),
    };
    sources::find(named)?.into_iter().map(picture).collect()
}
