//! Pictures from folders, datasets and recordings, at the size that a network takes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use calibration::Size;
use network::manifest::PreprocessingSpec;
use perception::geometry::ImageGeometry;
use perception::image::{Encoding, ImageView};
use perception::parity::Photograph;
use perception::preprocess::Preprocessing;
use recording::dataset::{ColumnData, DatasetReader, EpisodeInfo};

use super::bag::ImageArguments;
use crate::photographs;
use crate::progress;

/// Resizes and crops an RGB picture to `size` as the deployed preprocessing does.
///
/// # Errors
/// When the picture does not suit the size.
pub fn fit(picture: &Photograph, size: Size) -> Result<Vec<u8>> {
    if picture.size == size {
        return Ok(picture.rgb.clone());
    }
    let geometry = ImageGeometry::new(picture.size, size)?;
    let view = ImageView::new(&picture.rgb, picture.size, 3 * picture.size.width, Encoding::Rgb8)?;
    let mut rgb = vec![0; 3 * size.area()];
    Preprocessing::new(geometry, &PreprocessingSpec::default()).picture(&view, &mut rgb)?;
    Ok(rgb)
}

/// Says when held-out pictures, RGB at `size` one after another, are among those trained on: what is measured on them is worth
/// nothing.
pub fn warn_of_trained(root: &Path, trained: &[u8], held_out: &[u8], size: Size) {
    let again = count_again(trained, held_out, 3 * size.area());
    if again > 0 {
        let all = held_out.len() / (3 * size.area());
        eprintln!("warning: {}: {again} of {all} held-out pictures were trained on", root.display());
    }
}

/// How many of the pictures of `length` bytes are among others.
fn count_again(others: &[u8], pictures: &[u8], length: usize) -> usize {
    let known: HashSet<&[u8]> = others.chunks_exact(length).collect();
    pictures.chunks_exact(length).filter(|picture| known.contains(picture)).count()
}

/// All PNG and JPEG files below a folder, by name. Of a folder, at any depth, that holds `rgb/` (as rendered data with depth and labels
/// beside it does) only those of `rgb/`: the others are no colour pictures.
///
/// # Errors
/// When the folder cannot be read or holds none.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, &mut found)?;
    ensure!(!found.is_empty(), "{}: expected PNG or JPEG pictures, found none", folder.display());
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let inner = folder.join("rgb");
    let folder = if inner.is_dir() { inner.as_path() } else { folder };
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        if path.is_dir() {
            collect(&path, found)?;
        } else if ending.is_some_and(|ending| ending == "png" || ending == "jpg" || ending == "jpeg") {
            found.push(path);
        }
    }
    Ok(())
}

/// Adds every picture of a folder (see [`files`]) or a LeRobot dataset, and those of a recording that are asked for, RGB at `size`, one
/// after another.
///
/// # Errors
/// The file, row or message that cannot be read.
pub fn read_source(source: &Path, size: Size, recorded: &ImageArguments, rgb: &mut Vec<u8>) -> Result<()> {
    if source.join("meta/info.json").is_file() {
        return read_dataset(source, size, rgb);
    }
    if recorded.read(source, size, rgb)? {
        return Ok(());
    }
    let files = files(source)?;
    let bar = progress::items(files.len() as u64, "reading pictures");
    for file in files {
        let picture = photographs::read(&file)?;
        rgb.extend(fit(&picture, size).with_context(|| file.display().to_string())?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn read_dataset(root: &Path, size: Size, rgb: &mut Vec<u8>) -> Result<()> {
    let reader = DatasetReader::open(root)?;
    let keys: Vec<String> = picture_features(&reader);
    ensure!(!keys.is_empty(), "{}: expected a feature of pictures, there is none", root.display());
    let bar = progress::items(reader.info().total_frames * keys.len() as u64, "reading episodes");
    for episode in reader.episodes() {
        for key in &keys {
            read_episode(&reader, episode, key, size, rgb)?;
            bar.inc(episode.frames);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Features that hold colour pictures.
pub fn picture_features(reader: &DatasetReader) -> Vec<String> {
    let features = reader.info().features.0.iter();
    let pictures = features.filter(|(_, feature)| feature.is_picture() && feature.shape.get(2) == Some(&3));
    pictures.map(|(key, _)| key.clone()).collect()
}

/// Adds all pictures of one feature of an episode, RGB at `size`.
///
/// # Errors
/// The row that cannot be read.
fn read_episode(
    reader: &DatasetReader,
    episode: &EpisodeInfo,
    key: &str,
    size: Size,
    rgb: &mut Vec<u8>,
) -> Result<()> {
    show_episode(reader, episode, key, size, &mut |picture: &[u8]| {
        rgb.extend_from_slice(picture);
        Ok(())
    })
}

/// Shows all pictures of one feature of an episode, RGB at `size`: one at a time, for at their own size an episode's may not fit into
/// memory, nor at the network's all those of a dataset.
///
/// # Errors
/// The row that cannot be read, or what `look` says.
pub fn show_episode(
    reader: &DatasetReader,
    episode: &EpisodeInfo,
    key: &str,
    size: Size,
    look: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let of = episode.episode;
    let place = |file: &Path, row: usize| format!("{}: {key}: row {row} of episode {of}", file.display());
    if let Some(file) = reader.video_file(episode, key) {
        for (row, picture) in reader.pictures(episode, key)?.enumerate() {
            let (came, pixels) = picture?;
            let picture = Photograph { size: came, rgb: pixels };
            look(&fit(&picture, size).with_context(|| place(&file, row))?)?;
        }
        return Ok(());
    }
    let file = reader.data_file(episode);
    let columns = reader.columns(episode, &[key])?;
    let Some(ColumnData::Pictures(pictures)) = columns.get(key) else {
        bail!("{}: {key}: expected pictures", file.display());
    };
    // Height, width and channels, where the format is told in this order.
    let shape = reader.info().features.get(key).map(|feature| feature.shape.as_slice());
    for (row, bytes) in pictures.iter().enumerate() {
        let place = || place(&file, row);
        let picture = photographs::decode(bytes).with_context(place)?;
        if let Some([height, width, 3]) = shape {
            let expected = Size { width: *width, height: *height };
            let came = picture.size;
            ensure!(came == expected, "{}: expected {expected} as meta/info.json says, got {came}", place());
        }
        look(&fit(&picture, size).with_context(place)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_beside_pictures_are_no_pictures() {
        let root = tempfile::tempdir().unwrap();
        let names = ["a/rgb/1.png", "a/depth/1.png", "a/label/1.png", "b/2.JPG", "b/3.txt"];
        for path in names.map(|name| root.path().join(name)) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let found = |folder: PathBuf| files(&folder).unwrap();
        let at = |name: &str| root.path().join(name);
        assert_eq!(found(at("")), [at("a/rgb/1.png"), at("b/2.JPG")]);
        assert_eq!(found(at("a")), found(at("a/rgb")));
        assert!(files(&at("a/nothing")).is_err());
    }

    #[test]
    fn pictures_that_are_there_twice_are_counted() {
        assert_eq!(count_again(&[1, 2, 3, 4, 5, 6], &[4, 5, 6, 1, 2, 4, 1, 2, 3], 3), 2);
        assert_eq!(count_again(&[], &[1, 2, 3], 3), 0);
    }
}
