//! Where a board is, from one view and a known camera.

use calibration::CameraModel;
use nalgebra::{
    DMatrix, DVector, Isometry3, Matrix2x3, Matrix3, Point3, Translation3, UnitQuaternion, Vector3,
};

use crate::homography::pose_of_plane;
use crate::least_squares::{Block, Loss, Problem, minimise};
use crate::{Observation, View};

/// Fewer corners than this are no view.
pub(crate) const MIN_CORNERS: usize = 6;

/// A board's pose with how well it fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoardPose {
    /// From the board's frame (origin at the first corner, x along the columns, y along the rows) to the optical frame.
    pub camera_from_board: Isometry3<f64>,
    /// Root mean square distance of the corners from where the pose puts them, pixels.
    pub rms_pixels: f64,
}

/// The pose of a board in a view; None when the corners lie outside the camera's domain or determine none.
pub fn board_pose(camera: &CameraModel, view: &View) -> Option<BoardPose> {
    if view.observations.len() < MIN_CORNERS {
        return None;
    }
    let rays: Option<Vec<_>> = view.observations.iter().map(|seen| camera.ray(seen.pixel)).collect();
    let start = pose_of_plane(&view.observations, &rays?)?;
    let problem = PoseProblem { camera, observations: &view.observations };
    let solved = minimise(&problem, start, Loss::Cauchy { scale: 2.0 }, 50)?;
    let solved = minimise(&problem, solved.state, Loss::Squares, 50)?;
    let rms_pixels = (solved.cost / view.observations.len() as f64).sqrt();
    Some(BoardPose { camera_from_board: solved.state, rms_pixels })
}

struct PoseProblem<'a> {
    camera: &'a CameraModel,
    observations: &'a [Observation],
}

impl Problem for PoseProblem<'_> {
    type State = Isometry3<f64>;
    const GROUP: usize = 2;

    fn residuals(&self, pose: &Self::State) -> Option<Vec<DVector<f64>>> {
        Some(vec![reprojection(self.camera, pose, self.observations)?])
    }

    fn linearise(&self, pose: &Self::State) -> Option<Vec<Block>> {
        Some(vec![Block {
            residuals: reprojection(self.camera, pose, self.observations)?,
            shared: DMatrix::zeros(2 * self.observations.len(), 0),
            local: by_pose(self.camera, pose, self.observations)?,
        }])
    }

    fn stepped(&self, pose: &Self::State, _: &DVector<f64>, local: &[DVector<f64>]) -> Self::State {
        local.first().map_or(*pose, |step| moved(pose, step.as_slice()))
    }
}

/// Where the pose puts the corners, less where they were seen: x and y of each in turn, pixels.
pub(crate) fn reprojection(
    camera: &CameraModel,
    camera_from_board: &Isometry3<f64>,
    observations: &[Observation],
) -> Option<DVector<f64>> {
    let mut residuals = DVector::zeros(2 * observations.len());
    for (index, seen) in observations.iter().enumerate() {
        let pixel = camera.project(in_camera(camera_from_board, seen).into())?;
        residuals[2 * index] = pixel[0] - seen.pixel[0];
        residuals[2 * index + 1] = pixel[1] - seen.pixel[1];
    }
    Some(residuals)
}

/// The derivative of [`reprojection`] by a step of the pose as [`moved`] makes it.
pub(crate) fn by_pose(
    camera: &CameraModel,
    camera_from_board: &Isometry3<f64>,
    observations: &[Observation],
) -> Option<DMatrix<f64>> {
    let mut derivative = DMatrix::zeros(2 * observations.len(), 6);
    for (index, seen) in observations.iter().enumerate() {
        let point = in_camera(camera_from_board, seen);
        let by_point = by_point(camera, point)?;
        let turned = point - camera_from_board.translation.vector;
        derivative
            .fixed_view_mut::<2, 3>(2 * index, 0)
            .copy_from(&(-by_point * turned.coords.cross_matrix()));
        derivative.fixed_view_mut::<2, 3>(2 * index, 3).copy_from(&by_point);
    }
    Some(derivative)
}

/// The pose after a rotation vector (about the board's origin, in the camera's frame, radians) and a shift in metres.
pub(crate) fn moved(pose: &Isometry3<f64>, step: &[f64]) -> Isometry3<f64> {
    let [turn, shift] = [0, 3].map(|first| Vector3::from_column_slice(&step[first..first + 3]));
    Isometry3::from_parts(
        Translation3::from(pose.translation.vector + shift),
        UnitQuaternion::from_scaled_axis(turn) * pose.rotation,
    )
}

fn in_camera(camera_from_board: &Isometry3<f64>, seen: &Observation) -> Point3<f64> {
    camera_from_board * Point3::new(seen.point[0], seen.point[1], 0.0)
}

/// The pixel's derivative by the point, by central differences: right for every lens model, to about 1e-9.
fn by_point(camera: &CameraModel, point: Point3<f64>) -> Option<Matrix2x3<f64>> {
    let step = 1e-6 * point.coords.norm();
    let mut derivative = Matrix2x3::zeros();
    for axis in 0..3 {
        let mut ahead = point;
        let mut behind = point;
        ahead[axis] += step;
        behind[axis] -= step;
        let (ahead, behind) = (camera.project(ahead.into())?, camera.project(behind.into())?);
        for row in 0..2 {
            derivative[(row, axis)] = (ahead[row] - behind[row]) / (2.0 * step);
        }
    }
    Some(derivative)
}

/// The rotation nearest to a matrix.
pub(crate) fn nearest_rotation(matrix: &Matrix3<f64>) -> Option<UnitQuaternion<f64>> {
    let svd = matrix.svd(true, true);
    let (u, v_t) = (svd.u?, svd.v_t?);
    let sign = Matrix3::from_diagonal(&Vector3::new(1.0, 1.0, (u * v_t).determinant().signum()));
    let rotation = u * sign * v_t;
    rotation.iter().all(|value| value.is_finite()).then(|| UnitQuaternion::from_matrix(&rotation))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use calibration::{Distortion, Intrinsics, Size};
    use proptest::prelude::*;

    pub(crate) fn board_points() -> impl Iterator<Item = [f64; 2]> {
        (0..54).map(|index| [f64::from(index % 9) * 0.025, f64::from(index / 9) * 0.025])
    }

    /// What a camera sees of a 9x6 board; None where it leaves the model's domain.
    pub(crate) fn seen(camera: &CameraModel, camera_from_board: &Isometry3<f64>) -> Option<View> {
        let observations = board_points().map(|point| {
            let pixel = camera.project((camera_from_board * Point3::new(point[0], point[1], 0.0)).into())?;
            Some(Observation { point, pixel })
        });
        Some(View { name: "synthetic".to_owned(), observations: observations.collect::<Option<_>>()? })
    }

    fn cameras() -> [CameraModel; 3] {
        let size = Size { width: 640, height: 480 };
        let intrinsics = Intrinsics { fx: 530.0, fy: 525.0, cx: 321.0, cy: 236.0 };
        let wide = Intrinsics { fx: 250.0, fy: 251.0, ..intrinsics };
        [
            CameraModel::new(size, intrinsics, Distortion::None).unwrap(),
            CameraModel::new(size, intrinsics, Distortion::PlumbBob([-0.28, 0.1, 1e-3, -5e-4, 0.0])).unwrap(),
            CameraModel::new(size, wide, Distortion::Equidistant([0.02, -0.01, 0.004, -0.001])).unwrap(),
        ]
    }

    proptest! {
        #[test]
        fn the_pose_of_what_a_camera_sees_is_the_board_s(
            camera in 0_usize..3, turn in proptest::array::uniform3(-0.6..0.6_f64), spin in -3.0..3.0_f64,
            x in -0.15..0.05_f64, y in -0.1..0.0_f64, z in 0.25..1.5_f64,
        ) {
            let rotation = UnitQuaternion::from_scaled_axis(Vector3::from(turn))
                * UnitQuaternion::from_axis_angle(&Vector3::z_axis(), spin);
            let truth = Isometry3::from_parts(Translation3::new(x, y, z), rotation);
            if let Some(view) = seen(&cameras()[camera], &truth) {
                let found = board_pose(&cameras()[camera], &view).unwrap();
                let off = truth.inverse() * found.camera_from_board;
                prop_assert!(found.rms_pixels < 1e-6, "{} px", found.rms_pixels);
                prop_assert!(off.translation.vector.norm() < 1e-6 && off.rotation.angle() < 1e-6, "{off}");
            }
        }
    }

    #[test]
    fn what_determines_no_pose_has_none() {
        let camera = cameras()[0];
        let line = |count: u32| View {
            name: "line".to_owned(),
            observations: (0..count)
                .map(|i| Observation {
                    point: [f64::from(i) * 0.1, 0.0],
                    pixel: [100.0 + f64::from(i), 50.0],
                })
                .collect(),
        };
        assert_eq!(board_pose(&camera, &line(3)), None);
        assert_eq!(board_pose(&camera, &line(20)), None);
        let mut broken = line(20);
        broken.observations[3].pixel[0] = f64::NAN;
        assert_eq!(board_pose(&camera, &broken), None);
    }
}
