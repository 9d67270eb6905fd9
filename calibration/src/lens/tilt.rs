//! The tilted sensor of a Scheimpflug camera: a homography of the distorted plane (OpenCV `calib3d`).

use nalgebra::{Matrix3, Vector3};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tilt {
    tilted_from_flat: Matrix3<f64>,
    flat_from_tilted: Matrix3<f64>,
}

impl Tilt {
    /// From the tilt about x, then y, in radians, each less than a right angle either way.
    pub(crate) fn new(about_x: f64, about_y: f64) -> Self {
        let (sin_x, cos_x) = about_x.sin_cos();
        let (sin_y, cos_y) = about_y.sin_cos();
        let turn_x = Matrix3::new(1.0, 0.0, 0.0, 0.0, cos_x, sin_x, 0.0, -sin_x, cos_x);
        let turn_y = Matrix3::new(cos_y, 0.0, -sin_y, 0.0, 1.0, 0.0, sin_y, 0.0, cos_y);
        let turn = turn_y * turn_x;
        let (depth, x, y) = (turn[(2, 2)], turn[(0, 2)], turn[(1, 2)]);
        let onto_sensor = Matrix3::new(depth, 0.0, -x, 0.0, depth, -y, 0.0, 0.0, 1.0);
        let back = Matrix3::new(1.0 / depth, 0.0, x / depth, 0.0, 1.0 / depth, y / depth, 0.0, 0.0, 1.0);
        Self { tilted_from_flat: onto_sensor * turn, flat_from_tilted: turn.transpose() * back }
    }

    pub(crate) fn apply(&self, flat: [f64; 2]) -> Option<[f64; 2]> {
        map(&self.tilted_from_flat, flat)
    }

    pub(crate) fn invert(&self, tilted: [f64; 2]) -> Option<[f64; 2]> {
        map(&self.flat_from_tilted, tilted)
    }
}

/// The homography of a point, None where it does not lie in front of the sensor.
fn map(matrix: &Matrix3<f64>, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
    let mapped = matrix * Vector3::new(x, y, 1.0);
    super::flatten(mapped.into())
}
