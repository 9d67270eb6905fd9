//! Measures cameras: boards in pictures to intrinsics with their uncertainty, robot and board poses to the camera's mount.
//!
//! Reads downwards: [`Board`] and [`detect`] turn pictures into [`View`]s, [`calibrate_intrinsics`] turns those into a camera,
//! [`board_pose`] a view into a pose, and [`calibrate_hand_eye`] pairs of poses into a mount. Lengths in metres, pixel
//! centres at integers, transforms named `target_from_source`.

mod board;
mod corner;
mod coverage;
mod detect;
mod hand_eye;
mod homography;
mod intrinsics;
mod least_squares;
mod pose;
mod poses;

pub use board::{Board, BoardError};
pub use coverage::{Coverage, coverage};
pub use detect::{DetectError, Grey, detect};
pub use hand_eye::{HandEye, HandEyeError, HandEyePoses, Mount, PoseResidual, calibrate_hand_eye};
pub use intrinsics::{
    IntrinsicsError, LensKind, LossKind, MeasuredCamera, MeasuredView, Parameter, calibrate_intrinsics,
};
pub use nalgebra::{Isometry3, Point3, Quaternion, UnitQuaternion};
pub use pose::{BoardPose, board_pose};
pub use poses::{NamedPose, PosesError, read_poses};

/// A corner of a board that was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Where it is on the board's plane, metres; x along the columns, y along the rows, z away from the viewer.
    pub point: [f64; 2],
    /// Where it is in the picture, pixels.
    pub pixel: [f64; 2],
}

/// What one picture shows of the board.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The picture's name, for people.
    pub name: String,
    /// The corners seen.
    pub observations: Vec<Observation>,
}
