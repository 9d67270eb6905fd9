//! Kalibr's camchain YAML: a chain of cameras, each posed by the one before it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use super::yaml::{self, number, numbers, quoted};
use super::{CalibrationFileError, FieldError, write_text};
use crate::{CameraModel, CameraModelError, Distortion, Intrinsics, Size};

/// How far the rotation of a pose may be from orthonormal.
const POSE_TOLERANCE: f64 = 1e-4;

/// The cameras of a camchain, `cam0` first.
#[derive(Clone, Debug, PartialEq)]
pub struct KalibrChain {
    /// At least one camera.
    pub cameras: Vec<KalibrCamera>,
}

/// One camera of a camchain.
#[derive(Clone, Debug, PartialEq)]
pub struct KalibrCamera {
    /// Size, intrinsics and distortion.
    pub camera: CameraModel,
    /// `T_cn_cnm1`, metres, row-major: from the optical frame of the camera before to this one's. `cam0` has none.
    pub camera_from_previous: Option<[[f64; 4]; 4]>,
    /// The image topic it was calibrated from.
    pub topic: Option<String>,
}

/// A field's numbers, kept with what is not read (`cam_overlaps`, `T_cam_imu`, `timeshift_cam_imu`) left out.
#[derive(Deserialize)]
struct Record {
    camera_model: String,
    intrinsics: Vec<f64>,
    distortion_model: String,
    #[serde(default)]
    distortion_coeffs: Vec<f64>,
    resolution: Vec<usize>,
    #[serde(rename = "T_cn_cnm1")]
    camera_from_previous: Option<Vec<Vec<f64>>>,
    rostopic: Option<String>,
}

/// Reads a Kalibr camchain: pinhole cameras with `radtan`, `equidistant` or no distortion.
///
/// # Errors
/// A file that cannot be read, is not YAML or lacks a field; another camera or distortion model; cameras that are not
/// named `cam0`, `cam1`, ... in a row; a missing or impossible pose. Each names the file, the camera and the field.
pub fn read_kalibr_camchain(path: impl AsRef<Path>) -> Result<KalibrChain, CalibrationFileError> {
    let path = path.as_ref();
    let mut records = yaml::read::<BTreeMap<String, Record>>(path)?;
    let mut cameras = Vec::new();
    while let Some(record) = records.remove(&format!("cam{}", cameras.len())) {
        let camera = record.check(cameras.len()).map_err(|error| error.at(path))?;
        cameras.push(camera);
    }
    if cameras.is_empty() || !records.is_empty() {
        let expected = format!("cam{} next", cameras.len());
        let came = records.into_keys().next().unwrap_or_else(|| "nothing".to_owned());
        return Err(FieldError::new("cameras", expected, came).at(path));
    }
    Ok(KalibrChain { cameras })
}

/// Writes a Kalibr camchain, whole or not at all. Every number is read back to the bit.
///
/// # Errors
/// A chain without cameras, a distortion that Kalibr does not have, a pose missing or given to `cam0`, or a file that
/// cannot be written.
pub fn write_kalibr_camchain(
    path: impl AsRef<Path>,
    chain: &KalibrChain,
) -> Result<(), CalibrationFileError> {
    let path = path.as_ref();
    if chain.cameras.is_empty() {
        return Err(FieldError::new("cameras", "at least one", "none").at(path));
    }
    let mut text = String::new();
    for (index, camera) in chain.cameras.iter().enumerate() {
        camera.format(index, &mut text).map_err(|error| error.at(path))?;
    }
    write_text(path, &text)
}

impl Record {
    fn check(self, index: usize) -> Result<KalibrCamera, FieldError> {
        let field = |name: &str| format!("cam{index}.{name}");
        if self.camera_model != "pinhole" {
            return Err(FieldError::new(field("camera_model"), "pinhole", self.camera_model));
        }
        let [fx, fy, cx, cy] = array(&self.intrinsics)
            .ok_or_else(|| counted(field("intrinsics"), "fx, fy, cx, cy", self.intrinsics.len()))?;
        let [width, height] = array(&self.resolution)
            .ok_or_else(|| counted(field("resolution"), "width, height", self.resolution.len()))?;
        let distortion = distortion(&self.distortion_model, &self.distortion_coeffs)
            .map_err(|(name, expected, came)| FieldError::new(field(name), expected, came))?;
        let camera = CameraModel::new(Size { width, height }, Intrinsics { fx, fy, cx, cy }, distortion)
            .map_err(|error| FieldError::new(field(source_field(&error)), "a camera", error.to_string()))?;
        let camera_from_previous = self.camera_from_previous.map(|rows| pose(index, &rows)).transpose()?;
        check_chain(index, camera_from_previous.as_ref())?;
        Ok(KalibrCamera { camera, camera_from_previous, topic: self.rostopic })
    }
}

impl KalibrCamera {
    fn format(&self, index: usize, text: &mut String) -> Result<(), FieldError> {
        check_chain(index, self.camera_from_previous.as_ref())?;
        let (model, coefficients) = kalibr_distortion(index, self.camera.distortion())?;
        let Intrinsics { fx, fy, cx, cy } = self.camera.intrinsics();
        let Size { width, height } = self.camera.size();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "cam{index}:");
        if let Some(rows) = self.camera_from_previous {
            pose(index, &rows.map(|row| row.to_vec()))?;
            let _ = writeln!(text, "  T_cn_cnm1:");
            for row in rows {
                let _ = writeln!(text, "  - [{}]", row.map(number).join(", "));
            }
        }
        let _ = writeln!(text, "  camera_model: pinhole");
        let _ = writeln!(text, "  distortion_coeffs: {}", numbers(coefficients));
        let _ = writeln!(text, "  distortion_model: {model}");
        let _ = writeln!(text, "  intrinsics: {}", numbers(&[fx, fy, cx, cy]));
        let _ = writeln!(text, "  resolution: [{width}, {height}]");
        if let Some(topic) = &self.topic {
            let _ = writeln!(text, "  rostopic: {}", quoted(topic));
        }
        Ok(())
    }
}

/// The model of Kalibr's name and coefficients; else the field, what it should hold, and what it does.
fn distortion(model: &str, coefficients: &[f64]) -> Result<Distortion, (&'static str, &'static str, String)> {
    let count = || ("distortion_coeffs", "4 numbers", format!("{} numbers", coefficients.len()));
    match model {
        "radtan" => {
            let [k1, k2, p1, p2] = array(coefficients).ok_or_else(count)?;
            Ok(Distortion::PlumbBob([k1, k2, p1, p2, 0.0]))
        }
        "equidistant" => array(coefficients).map(Distortion::Equidistant).ok_or_else(count),
        "none" if coefficients.iter().all(|k| *k == 0.0) => Ok(Distortion::None),
        "none" => Err(("distortion_coeffs", "none", format!("{coefficients:?}"))),
        _ => Err(("distortion_model", "radtan, equidistant or none", model.to_owned())),
    }
}

fn kalibr_distortion(index: usize, distortion: &Distortion) -> Result<(&'static str, &[f64]), FieldError> {
    match distortion {
        Distortion::None => Ok(("none", &[])),
        Distortion::PlumbBob([k @ .., k3]) if *k3 == 0.0 => Ok(("radtan", k)),
        Distortion::Equidistant(k) => Ok(("equidistant", k)),
        other => Err(FieldError::new(
            format!("cam{index}.distortion_model"),
            "what Kalibr has: none, plumb_bob with k3 = 0, or equidistant",
            format!("{other:?}"),
        )),
    }
}

/// `cam0` has no camera before it; every other one needs its pose.
fn check_chain(index: usize, pose: Option<&[[f64; 4]; 4]>) -> Result<(), FieldError> {
    let field = format!("cam{index}.T_cn_cnm1");
    match (index, pose) {
        (0, Some(_)) => Err(FieldError::new(field, "nothing, as it is the first camera", "a pose")),
        (1.., None) => Err(FieldError::new(field, "the pose by the camera before", "nothing")),
        _ => Ok(()),
    }
}

fn pose(index: usize, rows: &[Vec<f64>]) -> Result<[[f64; 4]; 4], FieldError> {
    let refusal = || {
        let came = format!("{rows:?}").chars().take(300).collect::<String>();
        FieldError::new(format!("cam{index}.T_cn_cnm1"), "a rigid motion as 4 rows of 4 numbers", came)
    };
    let rows: Vec<[f64; 4]> = rows.iter().filter_map(|row| array(row)).collect();
    let matrix: [[f64; 4]; 4] = array(&rows).ok_or_else(refusal)?;
    let rotation = nalgebra::Matrix3::from_fn(|row, column| matrix[row][column]);
    let off = (rotation * rotation.transpose() - nalgebra::Matrix3::identity()).abs().max();
    let rigid = off <= POSE_TOLERANCE && rotation.determinant() > 0.0 && matrix[3] == [0.0, 0.0, 0.0, 1.0];
    let finite = matrix.iter().flatten().all(|value| value.is_finite());
    if finite && rigid { Ok(matrix) } else { Err(refusal()) }
}

fn array<T: Copy, const N: usize>(values: &[T]) -> Option<[T; N]> {
    values.try_into().ok()
}

fn counted(field: String, expected: &str, count: usize) -> FieldError {
    FieldError::new(field, expected, format!("{count} numbers"))
}

/// Which field of a camchain a camera was refused for.
fn source_field(error: &CameraModelError) -> &'static str {
    match error {
        CameraModelError::Size { .. } => "resolution",
        CameraModelError::FocalLength { .. } | CameraModelError::PrincipalPoint { .. } => "intrinsics",
        CameraModelError::Coefficient { .. } | CameraModelError::Tilt { .. } => "distortion_coeffs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the layout of Kalibr's own output: https://github.com/ethz-asl/kalibr/wiki/yaml-formats
    const GOOD: &str = "\
cam0:
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [-0.28, 0.07, 0.0002, 1.8e-05]
  distortion_model: radtan
  intrinsics: [458.6, 457.3, 367.2, 248.4]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
cam1:
  T_cn_cnm1:
  - [1.0, 0.0, 0.0, -0.11]
  - [0.0, 1.0, 0.0, 0.0]
  - [0.0, 0.0, 1.0, 0.0]
  - [0.0, 0.0, 0.0, 1.0]
  cam_overlaps: [0]
  camera_model: pinhole
  distortion_coeffs: [-0.01, 0.02, -0.03, 0.004]
  distortion_model: equidistant
  intrinsics: [457.6, 456.1, 379.9, 255.2]
  resolution: [752, 480]
  rostopic: /cam1/image_raw
";

    fn read(text: &str) -> Result<KalibrChain, CalibrationFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camchain.yaml");
        std::fs::write(&path, text).unwrap();
        read_kalibr_camchain(path)
    }

    #[test]
    fn a_chain_is_read_and_written_back() {
        let chain = read(GOOD).unwrap();
        let [first, second] = &chain.cameras[..] else { panic!("expected two cameras") };
        assert_eq!(first.topic.as_deref(), Some("/cam0/image_raw"));
        assert_eq!(*first.camera.distortion(), Distortion::PlumbBob([-0.28, 0.07, 0.0002, 1.8e-05, 0.0]));
        assert_eq!(second.camera.intrinsics().cy, 255.2);
        assert_eq!(second.camera_from_previous.unwrap()[0][3], -0.11);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camchain.yaml");
        write_kalibr_camchain(&path, &chain).unwrap();
        assert_eq!(read_kalibr_camchain(&path).unwrap(), chain);
    }

    #[test]
    fn refusals_name_file_camera_and_field() {
        let cases = [
            ("camera_model: pinhole", "camera_model: omni", "cam0.camera_model: expected pinhole, got omni"),
            ("radtan", "fov", "cam0.distortion_model: expected radtan, equidistant or none, got fov"),
            ("radtan", "none", "cam0.distortion_coeffs: expected none"),
            ("[-0.28, 0.07,", "[0.07,", "cam0.distortion_coeffs: expected 4 numbers, got 3 numbers"),
            ("[-0.28,", "[.nan,", "cam0.distortion_coeffs: expected a camera, got distortion coefficient 0"),
            ("[458.6,", "[", "cam0.intrinsics: expected fx, fy, cx, cy, got 3 numbers"),
            ("[458.6,", "[-1,", "cam0.intrinsics: expected a camera, got fx"),
            ("[752, 480]", "[752]", "cam0.resolution: expected width, height, got 1 numbers"),
            ("[752, 480]", "[0, 480]", "cam0.resolution: expected a camera"),
            ("  - [1.0, 0.0, 0.0, -0.11]\n", "", "cam1.T_cn_cnm1: expected a rigid motion"),
            ("[1.0, 0.0, 0.0, -0.11]", "[2.0, 0.0, 0.0, -0.11]", "cam1.T_cn_cnm1: expected a rigid motion"),
            ("[1.0, 0.0, 0.0, -0.11]", "[1.0, 0.0, 0.0, .inf]", "cam1.T_cn_cnm1: expected a rigid motion"),
            ("cam0:", "cam2:", "cameras: expected cam0 next, got cam1"),
            ("cam1:", "front:", "cameras: expected cam1 next, got front"),
            ("  resolution: [752, 480]\n", "", "cam0: missing field `resolution`"),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from));
            let error = read(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains("camchain.yaml: ") && error.contains(expected), "{to}: {error}");
        }
        assert!(read("{}").unwrap_err().to_string().contains("expected cam0 next, got nothing"));
    }

    #[test]
    fn what_kalibr_cannot_hold_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camchain.yaml");
        let good = read(GOOD).unwrap();
        let mut distorted = good.clone();
        let camera = distorted.cameras[0].camera;
        let k3 = Distortion::PlumbBob([0.1, 0.0, 0.0, 0.0, 0.1]);
        distorted.cameras[0].camera = CameraModel::new(camera.size(), camera.intrinsics(), k3).unwrap();
        let mut unposed = good.clone();
        unposed.cameras[1].camera_from_previous = None;
        let empty = KalibrChain { cameras: Vec::new() };
        for chain in [distorted, unposed, empty] {
            assert!(matches!(write_kalibr_camchain(&path, &chain), Err(CalibrationFileError::Field { .. })));
        }
        assert!(!path.exists());
    }
}
