//! Many results on one picture.

use std::path::Path;

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// Pictures on a sheet; more would not be looked at.
const MOST: usize = 40;
/// Height of each, pixels.
const HEIGHT: u32 = 160;
const GAP: u32 = 4;
const COLUMNS: usize = 4;

/// Pairs of picture and depth, in the order of the files, in rows.
#[derive(Debug, Default)]
pub struct Sheet {
    tiles: Vec<RgbImage>,
}

impl Sheet {
    /// Adds a picture with its depth beside it; those after the fortieth are left out.
    pub fn add(&mut self, pair: &RgbImage) {
        if self.tiles.len() < MOST {
            let width = (pair.width() * HEIGHT / pair.height().max(1)).max(1);
            self.tiles.push(imageops::resize(pair, width, HEIGHT, FilterType::Triangle));
        }
    }

    /// Writes the sheet, if there is more than one picture on it; says whether it did.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<bool> {
        if self.tiles.len() < 2 {
            return Ok(false);
        }
        let columns = COLUMNS.min(self.tiles.len());
        let width = self.tiles.iter().map(RgbImage::width).max().unwrap_or(1) + GAP;
        let rows = self.tiles.len().div_ceil(columns) as u32;
        let mut sheet = RgbImage::from_pixel(width * columns as u32, rows * (HEIGHT + GAP), Rgb([32; 3]));
        for (index, tile) in self.tiles.iter().enumerate() {
            let (column, row) = ((index % columns) as u32, (index / columns) as u32);
            imageops::replace(&mut sheet, tile, i64::from(column * width), i64::from(row * (HEIGHT + GAP)));
        }
        sheet.save(path).with_context(|| path.display().to_string())?;
        Ok(true)
    }
}

/// Two pictures of one size side by side, RGB bytes.
pub fn beside(left: &[u8], right: &[u8], width: usize) -> Vec<u8> {
    let rows = left.chunks_exact(3 * width).zip(right.chunks_exact(3 * width));
    rows.flat_map(|(left, right)| left.iter().chain(right).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_in_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        let mut sheet = Sheet::default();
        assert!(!sheet.save(&path).unwrap());
        for level in 1..=5 {
            sheet.add(&RgbImage::from_pixel(32, 16, Rgb([level * 40; 3])));
        }
        assert!(sheet.save(&path).unwrap());
        let saved = image::open(&path).unwrap().into_rgb8();
        assert_eq!(saved.dimensions(), (4 * 324, 2 * 164));
        assert_eq!(saved.get_pixel(324 + 10, 10), &Rgb([80; 3]));
        assert_eq!(saved.get_pixel(10, 164 + 10), &Rgb([200; 3]));
    }

    #[test]
    fn beside_joins_rows() {
        assert_eq!(beside(&[1, 1, 1, 2, 2, 2], &[3, 3, 3, 4, 4, 4], 1), [1, 1, 1, 3, 3, 3, 2, 2, 2, 4, 4, 4]);
    }
}
