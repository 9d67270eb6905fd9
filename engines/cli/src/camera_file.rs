//! The camera of `--camera`, from ROS's file or Kalibr's.

use std::path::Path;

use anyhow::{Result, bail};
use calibration::{CameraInfo, read_camera_info_yaml, read_kalibr_camchain};

/// Reads a ROS camera_info YAML, or a Kalibr camchain of one camera: it is rectified with its own intrinsics, not turned.
///
/// # Errors
/// A file that is neither, with what each lacks, or a camchain of several cameras.
pub fn read(path: &Path) -> Result<CameraInfo> {
    let of_ros = match read_camera_info_yaml(path) {
        Ok(named) => return Ok(named.info),
        Err(error) if !path.is_file() => return Err(error.into()),
        Err(error) => error,
    };
    match read_kalibr_camchain(path) {
        Ok(chain) => match &chain.cameras[..] {
            [only] => Ok(CameraInfo::of(&only.camera)),
            several => bail!(
                "{}: expected a Kalibr camchain of one camera, got {}: keep the one that took the pictures, as cam0 without T_cn_cnm1",
                path.display(),
                several.len()
            ),
        },
        Err(of_kalibr) => bail!("{of_ros}; as a Kalibr camchain: {of_kalibr}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic: that is how it fails.
mod tests {
    use super::*;

    const CAMERA: &str = "  camera_model: pinhole\n  distortion_coeffs: [-0.2, 0.1, 0.001, -0.002]\n  distortion_model: radtan\n  \
                          intrinsics: [460.5, 459.0, 376.0, 240.5]\n  resolution: [752, 480]\n";

    fn read_text(text: &str) -> Result<CameraInfo> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camera.yaml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn kalibrs_camera_is_taken_and_a_choice_is_not_made() {
        let info = read_text(&format!("cam0:\n{CAMERA}")).unwrap();
        assert_eq!((info.size.width, info.size.height), (752, 480));
        assert_eq!(info.k, [460.5, 0.0, 376.0, 0.0, 459.0, 240.5, 0.0, 0.0, 1.0]);
        assert_eq!(
            (info.distortion_model.as_str(), &info.d[..4]),
            ("plumb_bob", &[-0.2, 0.1, 0.001, -0.002][..])
        );
        let pose = "  T_cn_cnm1: [[1, 0, 0, -0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]\n";
        let refused = read_text(&format!("cam0:\n{CAMERA}cam1:\n{CAMERA}{pose}")).unwrap_err().to_string();
        assert!(refused.contains("of one camera, got 2"), "{refused}");
        let refused =
            read_text(&format!("cam0:\n{}", CAMERA.replace("pinhole", "omni"))).unwrap_err().to_string();
        assert!(refused.contains("image_width") && refused.contains("camera_model"), "{refused}");
    }
}
