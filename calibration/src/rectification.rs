//! What a CameraInfo means for the raw images beside it: the rectified camera, and the way there.

use crate::{CameraInfo, CameraInfoError, CameraModel, RectifyMap};

const IDENTITY: [f64; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

impl CameraInfo {
    /// The camera of the rectified image (P), and what takes the raw image there (K, D, R); no map when both images are the
    /// same. Both are after region and binning.
    ///
    /// # Errors
    /// A camera that is not calibrated, the first field that does not make sense, by name, or images too small or too large
    /// to rectify. An R of zeros, as simulators leave it, passes only where nothing is to be done: D zero and P like K.
    pub fn rectification(&self) -> Result<(CameraModel, Option<RectifyMap>), CameraInfoError> {
        let (raw, rectified) = (self.raw()?, self.rectified()?);
        let turned = self.r != IDENTITY && self.r != [0.0; 9];
        if self.d.iter().all(|d| *d == 0.0) && !turned && raw.is_same_pinhole(&rectified) {
            return Ok((rectified, None));
        }
        let map = RectifyMap::new(&raw, self.rectified_from_camera()?, &rectified)
            .map_err(|error| CameraInfoError::Rectify(Box::new(error)))?;
        Ok((rectified, Some(map)))
    }

    /// The camera of an image that was rectified elsewhere: P counts, K and D belong to the raw image.
    ///
    /// # Errors
    /// A camera that is not calibrated, a K of other than finite numbers, or the first field of P that does not make sense.
    pub fn already_rectified(&self) -> Result<CameraModel, CameraInfoError> {
        if self.k.iter().all(|value| *value == 0.0) {
            return Err(CameraInfoError::Uncalibrated);
        }
        if let Some(at) = self.k.iter().position(|value| !value.is_finite()) {
            let (row, column, came) = (at / 3, at % 3, self.k[at]);
            return Err(CameraInfoError::Matrix {
                field: "K",
                expected: "a finite number",
                row,
                column,
                came,
            });
        }
        self.rectified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distortion, Intrinsics, Size};

    fn info(d: [f64; 5]) -> CameraInfo {
        let intrinsics = Intrinsics { fx: 52.0, fy: 51.0, cx: 31.5, cy: 23.5 };
        let size = Size { width: 64, height: 48 };
        CameraInfo::of(&CameraModel::new(size, intrinsics, Distortion::PlumbBob(d)).unwrap())
    }

    #[test]
    fn a_map_is_made_only_where_the_images_differ() {
        let (sin, cos) = 0.1_f64.sin_cos();
        let about_z = [cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0];
        type Change = fn(&mut CameraInfo);
        let cases: [(CameraInfo, Change, bool); 6] = [
            (info([0.0; 5]), |_| {}, false),
            (info([0.0; 5]), |info| info.r = [0.0; 9], false),
            (CameraInfo { distortion_model: String::new(), d: Vec::new(), ..info([0.0; 5]) }, |_| {}, false),
            (info([0.0; 5]), |info| info.p[0] += 1.0, true),
            (CameraInfo { r: about_z, ..info([0.0; 5]) }, |_| {}, true),
            (info([-0.3, 0.1, 0.0, 0.0, 0.0]), |info| info.binning = [2, 2], true),
        ];
        for (mut info, change, expected) in cases {
            change(&mut info);
            let (camera, map) = info.rectification().unwrap();
            assert_eq!(Ok(camera), info.rectified());
            assert_eq!(map.is_some(), expected, "{info:?}");
            let Some(map) = map else { continue };
            assert_eq!((Ok(map.raw_size()), *map.rectified()), (info.delivered_size(), camera));
        }
    }

    #[test]
    fn what_cannot_be_rectified_is_refused_with_the_field() {
        type Change = fn(&mut CameraInfo);
        let cases: [(Change, &str); 5] = [
            (|info| info.r = [0.0; 9], "R: expected a rotation matrix"),
            (|info| info.k = [0.0; 9], "not calibrated"),
            (|info| info.p = [0.0; 12], "P: expected 1 at row 2"),
            (|info| info.distortion_model = "omni".into(), "got \"omni\""),
            (|info| info.binning = [1, 48], "raw image: expected at least 2 pixels a side, got 64x1"),
        ];
        for (change, expected) in cases {
            let mut changed = info([-0.3, 0.1, 0.0, 0.0, 0.0]);
            change(&mut changed);
            let error = changed.rectification().err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn of_an_image_rectified_elsewhere_only_p_counts() {
        let there = CameraInfo { distortion_model: "omni".into(), r: [0.0; 9], ..info([0.3; 5]) };
        assert_eq!(there.already_rectified(), there.rectified());
        let refused = |info: &CameraInfo| info.already_rectified().unwrap_err().to_string();
        assert!(refused(&CameraInfo { k: [0.0; 9], ..there.clone() }).contains("not calibrated"));
        let mut endless = there;
        endless.k[4] = f64::NAN;
        assert_eq!(refused(&endless), "K: expected a finite number at row 1, column 1, got NaN");
    }
}
