//! ROS camera_info YAML, as `camera_calibration` writes it and `camera_calibration_parsers` reads it.

use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use super::yaml::{self, numbers, quoted};
use super::{CalibrationFileError, FieldError, write_text};
use crate::{CameraInfo, Roi, Size};

/// A camera's name and calibration, as a camera_info file holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCameraInfo {
    /// The camera's name.
    pub name: String,
    /// Its calibration: the full image, without region or binning, which the format does not keep.
    pub info: CameraInfo,
}

#[derive(Deserialize)]
struct Record {
    image_width: usize,
    image_height: usize,
    camera_name: String,
    camera_matrix: Matrix,
    distortion_model: String,
    distortion_coefficients: Matrix,
    rectification_matrix: Matrix,
    projection_matrix: Matrix,
}

#[derive(Deserialize)]
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

/// Reads a ROS camera_info file. What it holds makes a camera: [`CameraInfo::raw`], [`CameraInfo::rectified`] and
/// [`CameraInfo::rectified_from_camera`] then succeed. OpenCV's `%YAML:1.0` header and matrix tags are let pass.
///
/// # Errors
/// A file that cannot be read, is not YAML, lacks a field, has a matrix of another size, or describes no camera; each
/// names the file and the field.
pub fn read_camera_info_yaml(path: impl AsRef<Path>) -> Result<NamedCameraInfo, CalibrationFileError> {
    let path = path.as_ref();
    let named = yaml::read::<Record>(path)?.check().map_err(|error| error.at(path))?;
    let refuse = |reason| CalibrationFileError::Camera { path: path.to_owned(), reason };
    named.info.raw().map_err(refuse)?;
    named.info.rectified_from_camera().map_err(refuse)?;
    named.info.rectified().map_err(refuse)?;
    Ok(named)
}

/// Writes a ROS camera_info file, whole or not at all. Every number is read back to the bit.
///
/// # Errors
/// A region or binning, which the format does not keep; a calibration that describes no camera; or a file that cannot
/// be written.
pub fn write_camera_info_yaml(
    path: impl AsRef<Path>,
    named: &NamedCameraInfo,
) -> Result<(), CalibrationFileError> {
    let path = path.as_ref();
    let info = &named.info;
    if info.roi != Roi::default() || info.binning.iter().any(|bin| *bin > 1) {
        let came = format!("roi {:?}, binning {:?}", info.roi, info.binning);
        return Err(FieldError::new("roi and binning", "none, as the format keeps none", came).at(path));
    }
    let refuse = |reason| CalibrationFileError::Camera { path: path.to_owned(), reason };
    info.raw().map_err(refuse)?;
    info.rectified_from_camera().map_err(refuse)?;
    info.rectified().map_err(refuse)?;
    write_text(path, &format(named))
}

impl Record {
    fn check(self) -> Result<NamedCameraInfo, FieldError> {
        let d = self.distortion_coefficients;
        if d.rows.checked_mul(d.cols) != Some(d.data.len()) {
            let came = format!("{} rows, {} cols and {} numbers", d.rows, d.cols, d.data.len());
            return Err(FieldError::new("distortion_coefficients", "rows x cols numbers", came));
        }
        Ok(NamedCameraInfo {
            name: self.camera_name,
            info: CameraInfo {
                size: Size { width: self.image_width, height: self.image_height },
                distortion_model: self.distortion_model,
                d: d.data,
                k: self.camera_matrix.check("camera_matrix", 3, 3)?,
                r: self.rectification_matrix.check("rectification_matrix", 3, 3)?,
                p: self.projection_matrix.check("projection_matrix", 3, 4)?,
                binning: [0; 2],
                roi: Roi::default(),
            },
        })
    }
}

impl Matrix {
    fn check<const N: usize>(self, field: &str, rows: usize, cols: usize) -> Result<[f64; N], FieldError> {
        let came = format!("{} rows, {} cols and {} numbers", self.rows, self.cols, self.data.len());
        let expected = format!("{rows} rows, {cols} cols and {N} numbers");
        let refusal = || FieldError::new(field, expected, came);
        match <[f64; N]>::try_from(self.data) {
            Ok(data) if (self.rows, self.cols) == (rows, cols) => Ok(data),
            _ => Err(refusal()),
        }
    }
}

fn format(named: &NamedCameraInfo) -> String {
    let info = &named.info;
    let mut text = format!(
        "image_width: {}\nimage_height: {}\ncamera_name: {}\n",
        info.size.width,
        info.size.height,
        quoted(&named.name),
    );
    matrix(&mut text, "camera_matrix", 3, &info.k);
    // Writing into a String cannot fail.
    let _ = writeln!(text, "distortion_model: {}", quoted(&info.distortion_model));
    matrix(&mut text, "distortion_coefficients", 1, &info.d);
    matrix(&mut text, "rectification_matrix", 3, &info.r);
    matrix(&mut text, "projection_matrix", 3, &info.p);
    text
}

fn matrix(text: &mut String, field: &str, rows: usize, data: &[f64]) {
    let cols = data.len() / rows;
    let _ = write!(text, "{field}:\n  rows: {rows}\n  cols: {cols}\n  data: {}\n", numbers(data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CameraModel, Distortion, Intrinsics};

    const GOOD: &str = "\
image_width: 640
image_height: 480
camera_name: left
camera_matrix: {rows: 3, cols: 3, data: [525, 0, 319.5, 0, 525, 239.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, -0.001, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [500, 0, 319.5, 0, 0, 500, 239.5, 0, 0, 0, 1, 0]}
";

    fn read(text: &str) -> Result<NamedCameraInfo, CalibrationFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camera.yaml");
        std::fs::write(&path, text).unwrap();
        read_camera_info_yaml(path)
    }

    #[test]
    fn what_is_written_is_read_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camera.yaml");
        let distortions = [
            Distortion::PlumbBob([-0.3, 0.1 + 1e-17, 1e-7, -1e-300, 0.0]),
            Distortion::Equidistant([0.1, -0.2, 0.3, -0.4]),
            Distortion::Tilted([0.01; 14]),
        ];
        for distortion in distortions {
            let intrinsics = Intrinsics { fx: 1e3 / 3.0, fy: 525.1, cx: 319.7, cy: 1e-9 };
            let size = Size { width: 640, height: 480 };
            let camera = CameraModel::new(size, intrinsics, distortion).unwrap();
            let named = NamedCameraInfo { name: "a \"left\" one".into(), info: CameraInfo::of(&camera) };
            write_camera_info_yaml(&path, &named).unwrap();
            let read = read_camera_info_yaml(&path).unwrap();
            assert_eq!(read, named);
            assert_eq!(read.info.raw(), Ok(camera));
        }
    }

    #[test]
    fn the_example_cameras_are_cameras_of_the_size_in_their_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cameras");
        let mut assumed = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let camera = read_camera_info_yaml(&path).unwrap().info.raw().unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(name.ends_with(&camera.size().to_string()), "{name}");
            if name.starts_with("assumed_60deg") {
                let edge = f64::from(camera.size().width as u32) - 0.5;
                let [x, _, z] = camera.ray([edge, camera.intrinsics().cy]).unwrap();
                assert!((x.atan2(z).to_degrees() - 30.0).abs() < 1e-9);
                assumed += 1;
            }
        }
        assert_eq!(assumed, 1);
    }

    #[test]
    fn refusals_name_file_and_field() {
        let cases = [
            ("image_width: 640", "image_width: -1", "image_width: "),
            ("image_width: 640", "image_width: 1e99", "image_width: "),
            ("image_width: 640", "image_width: 700000", "got 700000x480"),
            ("image_height: 480\n", "", "camera.yaml: missing field `image_height`"),
            ("camera_name: left\n", "", "camera_name"),
            ("[525, 0, 319.5", "[-525, 0, 319.5", "K: fx: expected a focal length above 0"),
            ("[525, 0, 319.5", "[.nan, 0, 319.5", "K: fx: "),
            ("[525, 0, 319.5", "[1e999, 0, 319.5", "camera_matrix: "),
            ("[525, 0, 319.5", "[0x41, 0, banana", "camera_matrix: "),
            (
                "[525, 0, 319.5",
                "[525, 319.5",
                "camera_matrix: expected 3 rows, 3 cols and 9 numbers, got 3 rows, 3 cols and 8",
            ),
            ("{rows: 3, cols: 4", "{rows: 4, cols: 3", "projection_matrix: expected 3 rows, 4 cols"),
            (
                "{rows: 1, cols: 5",
                "{rows: 1, cols: 8",
                "distortion_coefficients: expected rows x cols numbers",
            ),
            ("{rows: 1, cols: 5", "{rows: 18446744073709551615, cols: 5", "distortion_coefficients: "),
            ("plumb_bob", "omni", "D: distortion_model: expected plumb_bob"),
            ("[1, 0, 0, 0, 1, 0,", "[1, 0, 0, 0, 2, 0,", "R: expected a rotation"),
            ("[500, 0, 319.5", "[0, 0, 319.5", "P: fx: expected a focal length above 0"),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from));
            let error = read(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains("camera.yaml: ") && error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn hostile_text_is_refused() {
        let deep = format!("camera_name: {}{}", "[".repeat(5000), "]".repeat(5000));
        let laughs = "a: &a [1, 1, 1, 1]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c]\ncamera_name: *d\n";
        let twice = format!("{GOOD}image_width: 3\n");
        let large = format!("{GOOD}# {}", "x".repeat(1 << 20));
        for text in ["", "\0", "- 1", "%YAML:1.0\n", &deep, laughs, &twice, &large, &GOOD[..400]] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("camera.yaml: "), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_camera_info_yaml(folder.path()), Err(CalibrationFileError::Io { .. })));
        assert!(
            read_camera_info_yaml(folder.path().join("none.yaml"))
                .unwrap_err()
                .to_string()
                .contains("none.yaml")
        );
    }

    #[test]
    fn what_the_format_cannot_hold_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camera.yaml");
        let mut named = read(GOOD).unwrap();
        named.info.binning = [2, 2];
        assert!(write_camera_info_yaml(&path, &named).unwrap_err().to_string().contains("roi and binning"));
        named.info.binning = [0, 0];
        named.info.k[0] = f64::NAN;
        assert!(write_camera_info_yaml(&path, &named).is_err());
        assert!(!path.exists());
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_are_read_or_refused(at in 0..GOOD.len(), byte in 0..128_u8, cut in 0..GOOD.len()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.truncate(cut.max(at + 1));
            if let Ok(named) = read(std::str::from_utf8(&bytes).unwrap()) {
                proptest::prop_assert!(named.info.raw().is_ok() && named.info.rectified().is_ok());
            }
        }
    }
}
