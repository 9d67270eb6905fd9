//! Folders of pictures with a map beside each: `rgb/NAME.png` and `depth/NAME.png` or `label/NAME.png`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use calibration::{CameraModel, Distortion, Intrinsics, Size};
use image::DynamicImage;
use perception::geometry::ImageGeometry;
use serde::Deserialize;

use super::pictures;
use crate::photographs;
use crate::progress;

/// Pictures at the network's size with a map each.
#[derive(Debug, Default)]
pub struct Pairs<T> {
    /// RGB, picture after picture.
    pub rgb: Vec<u8>,
    /// The maps, at the same size.
    pub maps: Vec<T>,
    /// How many there are.
    pub count: usize,
    /// Their names, without an ending.
    pub names: Vec<String>,
    /// Size of the pictures in the folder.
    pub from: Option<Size>,
}

/// Reads every pair of a folder: the map is scaled by taking the nearest pixel, and cropped as the picture is.
///
/// # Errors
/// The file that is missing, damaged, or of another size than the others.
pub fn read<T: Copy>(
    root: &Path,
    maps: &str,
    size: Size,
    decode: impl Fn(DynamicImage) -> Result<(Size, Vec<T>)>,
) -> Result<Pairs<T>> {
    let listed = listed(root)?;
    let mut pairs = Pairs { rgb: Vec::new(), maps: Vec::new(), count: 0, names: Vec::new(), from: None };
    let files = pictures::files(&root.join("rgb"))?;
    let bar = progress::items(files.len() as u64, "reading pictures");
    for file in files {
        bar.inc(1);
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if listed.as_ref().is_some_and(|listed| !listed.contains(&stem)) {
            continue;
        }
        let picture = photographs::read(&file)?;
        let path = root.join(maps).join(format!("{stem}.png"));
        let (map_size, map) = map(&path, &decode).with_context(|| path.display().to_string())?;
        ensure!(
            map_size == picture.size,
            "{}: expected {}, the size of {}, got {map_size}",
            path.display(),
            picture.size,
            file.display()
        );
        let expected = *pairs.from.get_or_insert(picture.size);
        ensure!(
            picture.size == expected,
            "{}: expected {expected}, the size of the pictures before it, got {}",
            file.display(),
            picture.size
        );
        pairs.rgb.extend(pictures::fit(&picture, size).with_context(|| file.display().to_string())?);
        pairs.maps.extend(nearest(&map, map_size, size)?);
        pairs.count += 1;
        pairs.names.push(stem);
    }
    bar.finish_and_clear();
    ensure!(
        pairs.count > 0,
        "{}: expected pictures in rgb/ that camera.json names, there are none",
        root.display()
    );
    Ok(pairs)
}

/// A picture's camera in `camera.json`: pixels, pixel centres at integers; other fields are not looked at.
#[derive(Debug, Deserialize)]
struct Camera {
    fx: f64,
    fy: f64,
    cx: f64,
    cy: f64,
    width: Option<usize>,
    height: Option<usize>,
}

/// The pinholes of a folder's pictures.
#[derive(Debug)]
pub struct Cameras {
    path: PathBuf,
    cameras: serde_json::Map<String, serde_json::Value>,
}

impl Cameras {
    /// Reads `camera.json`.
    ///
    /// # Errors
    /// When it is missing or no JSON object.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join("camera.json");
        let what = "expected fx, fy, cx and cy of every picture, in pixels";
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}: {what}", path.display()))?;
        let cameras = serde_json::from_str(&text).with_context(|| format!("{}: {what}", path.display()))?;
        Ok(Self { path, cameras })
    }

    /// The pinhole of each picture as it is at the network's `size`.
    ///
    /// # Errors
    /// The picture whose camera is missing, no pinhole, or of another size.
    pub fn of<T>(&self, pairs: &Pairs<T>, size: Size) -> Result<Vec<Intrinsics>> {
        let Some(from) = pairs.from else { return Ok(Vec::new()) };
        let geometry = ImageGeometry::new(from, size)?;
        let one = |name: &String| {
            let camera =
                self.camera(name, from).and_then(|camera| Ok(geometry.camera(&camera)?.intrinsics()));
            camera.with_context(|| format!("{}: {name}", self.path.display()))
        };
        pairs.names.iter().map(one).collect()
    }

    fn camera(&self, name: &str, from: Size) -> Result<CameraModel> {
        let value = self.cameras.get(name).context("expected the picture's camera, it is not named")?;
        let Camera { fx, fy, cx, cy, width, height } =
            Camera::deserialize(value).context("expected numbers fx, fy, cx and cy, in pixels")?;
        let of = Size { width: width.unwrap_or(from.width), height: height.unwrap_or(from.height) };
        ensure!(of == from, "expected the camera of a picture of {from}, got one of {of}");
        Ok(CameraModel::new(from, Intrinsics { fx, fy, cx, cy }, Distortion::None)?)
    }
}

/// The names in `camera.json`, where there is one: what is not named there is not finished.
fn listed(root: &Path) -> Result<Option<BTreeSet<String>>> {
    let path = root.join("camera.json");
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let names: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(Some(names.into_iter().map(|(name, _)| name).collect()))
}

fn map<T>(path: &PathBuf, decode: impl Fn(DynamicImage) -> Result<(Size, Vec<T>)>) -> Result<(Size, Vec<T>)> {
    let bytes = std::fs::read(path)?;
    decode(photographs::picture(&bytes)?)
}

/// A map of pictures of the size `from` as [`read`] brings it to the network's size.
///
/// # Errors
/// When the sizes do not suit each other.
pub fn nearest<T: Copy>(map: &[T], from: Size, to: Size) -> Result<Vec<T>> {
    if from == to {
        return Ok(map.to_vec());
    }
    Ok(ImageGeometry::new(from, to)?.sampled(from, map))
}

/// Depth of a 16-bit picture, millimetres.
///
/// # Errors
/// When it is of another form, or knows no depth at all.
pub fn millimeters(picture: DynamicImage) -> Result<(Size, Vec<u16>)> {
    let DynamicImage::ImageLuma16(grey) = picture else {
        bail!("expected depth as 16-bit grey PNG in millimetres, got {:?}", picture.color());
    };
    let size = Size { width: grey.width() as usize, height: grey.height() as usize };
    let depth = grey.into_raw();
    ensure!(depth.iter().any(|mm| *mm > 0), "expected depth in millimetres, every pixel is 0 (unknown)");
    Ok((size, depth))
}

/// The label of a pixel that is of no class, as the official code has it.
const NO_CLASS: u8 = 255;

/// Classes of an 8-bit picture: below `classes`, or 255 for none.
///
/// # Errors
/// When it is of another form, or holds a class without a name.
pub fn labels(picture: DynamicImage, classes: usize) -> Result<(Size, Vec<u8>)> {
    let DynamicImage::ImageLuma8(grey) = picture else {
        bail!("expected classes as 8-bit grey PNG, got {:?}", picture.color());
    };
    let size = Size { width: grey.width() as usize, height: grey.height() as usize };
    let labels = grey.into_raw();
    let nameless = |label: &&u8| usize::from(**label) >= classes && **label != NO_CLASS;
    if let Some(label) = labels.iter().find(nameless) {
        bail!("expected classes below {classes}, the number of their names, or 255 for none, got {label}");
    }
    Ok((size, labels))
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, Luma, RgbImage};

    use super::*;

    fn folder(depth: &[(u32, u16)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["rgb", "depth"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (index, (side, mm)) in depth.iter().enumerate() {
            RgbImage::new(*side, 16).save(folder.path().join(format!("rgb/{index}.png"))).unwrap();
            let map: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(*side, 16, Luma([*mm]));
            map.save(folder.path().join(format!("depth/{index}.png"))).unwrap();
        }
        folder
    }

    const SIZE: Size = Size { width: 16, height: 16 };

    #[test]
    fn bad_data_is_named() {
        let good = folder(&[(16, 900), (16, 800)]);
        let pairs = read(good.path(), "depth", SIZE, millimeters).unwrap();
        assert_eq!((pairs.count, pairs.maps[0], pairs.maps[256]), (2, 900, 800));
        let refused = |folder: &tempfile::TempDir| {
            format!("{:#}", read(folder.path(), "depth", SIZE, millimeters).unwrap_err())
        };
        let error = refused(&folder(&[(16, 900), (32, 900)]));
        assert!(error.contains("rgb/1.png") && error.contains("expected 16x16"), "{error}");
        let long = folder(&[]);
        RgbImage::new(1, 5000).save(long.path().join("rgb/0.png")).unwrap();
        let map: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(1, 5000, Luma([900]));
        map.save(long.path().join("depth/0.png")).unwrap();
        let error = refused(&long);
        assert!(error.contains("rgb/0.png: cannot bring a camera image of 1x5000"), "{error}");
        let error = refused(&folder(&[(16, 900), (16, 0)]));
        assert!(error.contains("depth/1.png") && error.contains("every pixel is 0"), "{error}");
        std::fs::remove_file(good.path().join("depth/1.png")).unwrap();
        assert!(refused(&good).contains("depth/1.png"));
        GrayImage::new(16, 16).save(good.path().join("depth/1.png")).unwrap();
        assert!(refused(&good).contains("16-bit"));
        std::fs::write(good.path().join("depth/1.png"), b"no picture").unwrap();
        assert!(refused(&good).contains("depth/1.png"));
    }

    #[test]
    fn classes_without_a_name_are_refused() {
        let map = |label: u8| DynamicImage::ImageLuma8(GrayImage::from_raw(2, 1, vec![label, 255]).unwrap());
        assert_eq!(labels(map(1), 2).unwrap(), (Size { width: 2, height: 1 }, vec![1, 255]));
        let error = labels(map(2), 2).unwrap_err().to_string();
        assert!(error.contains("below 2") && error.contains("got 2"), "{error}");
    }

    #[test]
    fn cameras_go_with_their_pictures() {
        let data = folder(&[(32, 900), (32, 800)]);
        let write = |text: &str| std::fs::write(data.path().join("camera.json"), text).unwrap();
        let came = || -> Result<Vec<Intrinsics>> {
            let cameras = Cameras::open(data.path())?;
            cameras.of(&read(data.path(), "depth", SIZE, millimeters)?, SIZE)
        };
        let good =
            r#"{"fx": 30, "fy": 31.0, "cx": 15.5, "cy": 7.5, "width": 32, "height": 16, "task": "any"}"#;
        write(&format!(r#"{{"1": {good}}}"#));
        // Of 32x16 the middle is kept: the focal length stays, the principal point moves by 8.
        assert_eq!(came().unwrap(), [Intrinsics { fx: 30.0, fy: 31.0, cx: 7.5, cy: 7.5 }]);
        for (fault, words) in [
            (r#"{"fx": 30, "cx": 15.5, "cy": 7.5}"#, "fy"),
            (r#"{"fx": 30, "fy": "x", "cx": 15.5, "cy": 7.5}"#, "numbers"),
            (r#"{"fx": -30, "fy": 30, "cx": 15.5, "cy": 7.5}"#, "fx"),
            (good.replace("32", "64").as_str(), "32x16, got one of 64x16"),
        ] {
            write(&format!(r#"{{"0": {good}, "1": {fault}}}"#));
            let error = format!("{:#}", came().unwrap_err());
            assert!(error.contains("camera.json: 1: ") && error.contains(words), "{error}");
        }
        write("[]");
        assert!(format!("{:#}", came().unwrap_err()).contains("camera.json"));
        std::fs::remove_file(data.path().join("camera.json")).unwrap();
        assert!(format!("{:#}", came().unwrap_err()).contains("camera.json: expected fx"));
    }

    #[test]
    fn maps_are_scaled_and_cropped_as_pictures_are() {
        let wide: Vec<u16> = (0..32 * 16).map(|i| i % 32).collect();
        let map = nearest(&wide, Size { width: 32, height: 16 }, SIZE).unwrap();
        assert_eq!((map[0], map[15]), (8, 23));
    }
}
