//! What is known of the depth in a picture.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use calibrating::{Board, Grey, View, board_pose, detect};
use calibration::{CameraModel, Size};
use image::DynamicImage;
use perception::scale::Known;

use super::npy;
use crate::photographs;

/// Pixels of a depth image that are used at most; those chosen lie in a regular grid.
const MAX_PIXELS: usize = 4000;

/// A metric reference, one of three kinds.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Reference {
    /// Depth images of the same size and name as the pictures: 16-bit PNG in millimetres (0 unknown), or .npy or .npz in metres
    #[arg(long, value_name = "DIR")]
    depth_images: Option<PathBuf>,
    /// Points: CSV with the columns image,u,v,meters (the picture's file name, pixel, metres along Z), or image,x,y,z (metres in the
    /// camera's optical frame, as TF tells it; needs --camera)
    #[arg(long, value_name = "CSV")]
    points: Option<PathBuf>,
    /// A board of known size in the pictures, as in `pixio calibrate intrinsics`; needs --camera
    #[arg(long, value_name = "BOARD", requires = "camera")]
    board: Option<Board>,
}

/// The reference, read as far as it can be before the pictures are.
pub enum Source {
    /// A folder of depth images.
    Folder(PathBuf),
    /// Points by picture.
    Points(BTreeMap<String, Vec<Known>>),
    /// A board seen by a known camera.
    Board(Board, Box<CameraModel>),
}

impl Reference {
    /// Reads what there is to read.
    ///
    /// # Errors
    /// When a file is refused.
    pub fn open(&self, camera: Option<&CameraModel>) -> Result<Source> {
        match (&self.depth_images, &self.points, &self.board, camera) {
            (Some(folder), _, _, _) => Ok(Source::Folder(folder.clone())),
            (_, Some(path), _, _) => Ok(Source::Points(read_points(path, camera)?)),
            (_, _, Some(board), Some(camera)) => Ok(Source::Board(*board, Box::new(*camera))),
            _ => bail!("expected --depth-images, --points, or --board with --camera"),
        }
    }

    /// The reference in words, for the bundle.
    pub fn describe(&self, pictures: usize) -> String {
        let what = match (&self.board, &self.points) {
            (Some(board), _) => board.to_string(),
            (_, Some(_)) => "points".to_owned(),
            _ => "depth images".to_owned(),
        };
        format!("{what} in {pictures} pictures")
    }
}

impl Source {
    /// The known pixels of a picture; none when the reference does not speak of it.
    ///
    /// # Errors
    /// When the reference of this picture is damaged or of another size.
    pub fn of(&self, picture: &Path, size: Size) -> Result<Vec<Known>> {
        match self {
            Self::Folder(folder) => of_depth_image(folder, picture, size),
            Self::Points(points) => {
                let name = picture.file_name().unwrap_or_default().to_string_lossy();
                Ok(points.get(name.as_ref()).cloned().unwrap_or_default())
            }
            Self::Board(board, camera) => of_board(board, camera, picture, size),
        }
    }
}

fn of_depth_image(folder: &Path, picture: &Path, size: Size) -> Result<Vec<Known>> {
    let stem = picture.file_stem().unwrap_or_default();
    let named = |ending: &str| folder.join(stem).with_extension(ending);
    let Some(path) = ["png", "npy", "npz"].map(named).into_iter().find(|path| path.is_file()) else {
        return Ok(Vec::new());
    };
    let (came, meters) = read_depth(&path).with_context(|| path.display().to_string())?;
    if came != size {
        bail!("{}: expected the picture's size {size}, got {came}", path.display());
    }
    let step = ((size.area() as f64 / MAX_PIXELS as f64).sqrt().ceil() as usize).max(1);
    let known = |index: &usize| meters[*index].is_finite() && meters[*index] > 0.0;
    let on_grid = |index: &usize| {
        (index % size.width).is_multiple_of(step) && (index / size.width).is_multiple_of(step)
    };
    let pixel = |index: usize| [(index % size.width) as f64, (index / size.width) as f64];
    let chosen = (0..size.area()).filter(on_grid).filter(known);
    Ok(chosen.map(|index| Known { pixel: pixel(index), meters: meters[index] }).collect())
}

/// Metres, row by row; what is unknown is not above 0 or not finite.
fn read_depth(path: &Path) -> Result<(Size, Vec<f64>)> {
    let bytes = std::fs::read(path)?;
    if path.extension().is_some_and(|ending| ending == "png") {
        let DynamicImage::ImageLuma16(depth) = photographs::picture(&bytes)? else {
            bail!("expected 16 bit of grey, millimetres");
        };
        let size = Size { width: depth.width() as usize, height: depth.height() as usize };
        return Ok((size, depth.into_raw().into_iter().map(|mm| f64::from(mm) / 1000.0).collect()));
    }
    let array = npy::read(&bytes)?;
    Ok((array.size, array.values))
}

fn of_board(board: &Board, camera: &CameraModel, picture: &Path, size: Size) -> Result<Vec<Known>> {
    if size != camera.size() {
        bail!("expected the calibration's size {}, got {size}", camera.size());
    }
    let (_, grey) = photographs::read_grey(picture)?;
    let observations = match detect(&Grey::new(size, &grey)?, board) {
        Ok(observations) => observations,
        Err(error) => {
            eprintln!("{}: {error}", picture.display());
            return Ok(Vec::new());
        }
    };
    let view = View { name: picture.display().to_string(), observations };
    let Some(pose) = board_pose(camera, &view) else { return Ok(Vec::new()) };
    let known = view.observations.iter().map(|seen| {
        let point = pose.camera_from_board * calibrating::Point3::new(seen.point[0], seen.point[1], 0.0);
        Known { pixel: seen.pixel, meters: point.z }
    });
    Ok(known.collect())
}

/// Points by picture.
fn read_points(path: &Path, camera: Option<&CameraModel>) -> Result<BTreeMap<String, Vec<Known>>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse_points(&text, camera).with_context(|| path.display().to_string())
}

/// Pixels with their metres; or points of the camera's optical frame, which a camera then sees.
const PIXELS: [&str; 4] = ["image", "u", "v", "meters"];
const POINTS: [&str; 4] = ["image", "x", "y", "z"];

fn parse_points(text: &str, camera: Option<&CameraModel>) -> Result<BTreeMap<String, Vec<Known>>> {
    let mut lines = text.lines().enumerate();
    let head = lines.next().map_or("", |(_, head)| head.trim());
    let columns: Vec<&str> = head.split(',').map(str::trim).collect();
    let camera = match (columns == PIXELS, columns == POINTS, camera) {
        (true, _, _) => None,
        (_, true, Some(camera)) => Some(camera),
        (_, true, None) => bail!("line 1: the columns image,x,y,z need --camera"),
        _ => bail!("line 1: expected the columns image,u,v,meters or image,x,y,z, got {head:?}"),
    };
    let mut points: BTreeMap<String, Vec<Known>> = BTreeMap::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let [image, first, second, third] = cells[..] else {
            bail!("line {}: expected {}, got {line:?}", index + 1, columns.join(","));
        };
        let number = |name: &str, text: &str| {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            value.with_context(|| {
                format!("line {}: {name}: expected a finite number, got {text:?}", index + 1)
            })
        };
        let (a, b, meters) =
            (number(columns[1], first)?, number(columns[2], second)?, number(columns[3], third)?);
        if meters <= 0.0 {
            bail!("line {}: {}: expected more than 0, got {third}", index + 1, columns[3]);
        }
        let pixel = match camera {
            None => [a, b],
            Some(camera) => {
                camera.project([a, b, meters]).filter(|pixel| inside(*pixel, camera.size())).with_context(
                    || format!("line {}: expected a point that the camera sees, got {line:?}", index + 1),
                )?
            }
        };
        let known = Known { pixel, meters };
        points.entry(image.to_owned()).or_default().push(known);
    }
    Ok(points)
}

fn inside([u, v]: [f64; 2], size: Size) -> bool {
    let within = |at: f64, side: usize| at >= -0.5 && at < side as f64 - 0.5;
    within(u, size.width) && within(v, size.height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use calibration::{Distortion, Intrinsics};

    #[test]
    fn points_of_the_cameras_frame_are_seen_or_refused() {
        let intrinsics = Intrinsics { fx: 100.0, fy: 110.0, cx: 31.5, cy: 23.5 };
        let size = Size { width: 64, height: 48 };
        let camera = CameraModel::new(size, intrinsics, Distortion::None).unwrap();
        let points = parse_points("image,x,y,z\na.png,0.1,-0.1,2.0\n", Some(&camera)).unwrap();
        assert_eq!(points["a.png"], [Known { pixel: [36.5, 18.0], meters: 2.0 }]);
        let cases = [
            ("0.1,-0.1,2.0", "1.0,0.0,2.0", "line 2: expected a point that the camera sees"),
            ("0.1,-0.1,2.0", "0.1,-0.1,-2.0", "line 2: z: expected more than 0"),
        ];
        for (from, to, expected) in cases {
            let text = "image,x,y,z\na.png,0.1,-0.1,2.0\n".replacen(from, to, 1);
            let error = format!("{:#}", parse_points(&text, Some(&camera)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        let error = parse_points("image,x,y,z\n", None).unwrap_err().to_string();
        assert!(error.contains("--camera"), "{error}");
    }

    #[test]
    fn points_are_read_or_refused_by_line_and_column() {
        let good = "image,u,v,meters\na.png, 1, 2.5, 0.75\n\nb.png,3,4,2\na.png,0,0,1\n";
        let points = parse_points(good, None).unwrap();
        assert_eq!(
            points["a.png"],
            [Known { pixel: [1.0, 2.5], meters: 0.75 }, Known { pixel: [0.0, 0.0], meters: 1.0 }]
        );
        let cases = [
            ("image,u", "image,x", "line 1: expected the columns"),
            ("2.5, 0.75", "nan, 0.75", "line 2: v: expected a finite number"),
            ("3,4,2", "3,4", "line 4: expected image,u,v,meters"),
            ("3,4,2", "3,4,-2", "line 4: meters: expected more than 0"),
        ];
        for (from, to, expected) in cases {
            let error = format!("{:#}", parse_points(&good.replacen(from, to, 1), None).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn depth_images_are_millimetres_and_zero_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let depth =
            image::ImageBuffer::<image::Luma<u16>, _>::from_raw(3, 1, vec![0_u16, 1500, 65535]).unwrap();
        depth.save(folder.path().join("a.png")).unwrap();
        let size = Size { width: 3, height: 1 };
        let known = of_depth_image(folder.path(), Path::new("pictures/a.jpg"), size).unwrap();
        assert_eq!(
            known,
            [Known { pixel: [1.0, 0.0], meters: 1.5 }, Known { pixel: [2.0, 0.0], meters: 65.535 }]
        );
        assert!(of_depth_image(folder.path(), Path::new("b.jpg"), size).unwrap().is_empty());
        let error =
            of_depth_image(folder.path(), Path::new("a.jpg"), Size { width: 2, height: 1 }).unwrap_err();
        assert!(error.to_string().contains("a.png: expected the picture's size 2x1, got 3x1"), "{error}");
        image::RgbImage::new(3, 1).save(folder.path().join("a.png")).unwrap();
        assert!(
            format!("{:#}", of_depth_image(folder.path(), Path::new("a.jpg"), size).unwrap_err())
                .contains("16 bit")
        );
    }
}
