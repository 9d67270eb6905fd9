//! Closed-form mounts.

use std::f64::consts::PI;

use nalgebra::{DMatrix, DVector, Isometry3, Matrix3, SMatrix, Translation3, UnitQuaternion, Vector3};

use super::{Mounts, Pair, mean, off};
use crate::pose::nearest_rotation;

/// Turns nearer to half a turn than this have no certain axis, radians.
const HALF_TURN_MARGIN: f64 = 0.15;

/// The better of both closed forms.
pub(super) fn find(pairs: &[Pair]) -> Option<Mounts> {
    let error = |mounts: &Mounts| {
        let mut errors: Vec<f64> = pairs
            .iter()
            .map(|pair| {
                let [turn, shift] = off(pair, mounts);
                turn.norm() + shift.norm()
            })
            .collect();
        let middle = errors.len() / 2;
        *errors.select_nth_unstable_by(middle, f64::total_cmp).1
    };
    [park_martin(pairs), shah(pairs)]
        .into_iter()
        .flatten()
        .filter(|mounts| error(mounts).is_finite())
        .min_by(|a, b| error(a).total_cmp(&error(b)))
}

/// The motions between any two moments: of the hand, and of the camera past the board; `hand X = X board`.
pub(super) fn motions(pairs: &[Pair]) -> impl Iterator<Item = (Isometry3<f64>, Isometry3<f64>)> + '_ {
    pairs.iter().enumerate().flat_map(move |(index, a)| {
        pairs[..index].iter().map(move |b| (b.hand.inverse() * a.hand, b.board * a.board.inverse()))
    })
}

/// Rotation vectors of the two motions are turned into each other by the mount; then positions are linear.
fn park_martin(pairs: &[Pair]) -> Option<Mounts> {
    let mut sum = Matrix3::zeros();
    for (hand, board) in motions(pairs).filter(|(hand, _)| hand.rotation.angle() < PI - HALF_TURN_MARGIN) {
        sum += hand.rotation.scaled_axis() * board.rotation.scaled_axis().transpose();
    }
    let rotation = nearest_rotation(&sum)?;
    let (mut normal, mut right) = (Matrix3::zeros(), Vector3::zeros());
    for (hand, board) in motions(pairs) {
        let rows = hand.rotation.to_rotation_matrix().into_inner() - Matrix3::identity();
        let value = rotation * board.translation.vector - hand.translation.vector;
        normal += rows.transpose() * rows;
        right += rows.transpose() * value;
    }
    let camera = Isometry3::from_parts(Translation3::from(normal.try_inverse()? * right), rotation);
    let other = mean(pairs.iter().map(|pair| pair.hand * camera * pair.board))?;
    Some(Mounts { camera, other })
}

/// Both rotations are the singular vectors of a sum of Kronecker products; then both positions are linear.
fn shah(pairs: &[Pair]) -> Option<Mounts> {
    // R_A R_X = R_Z R_B^-1: vec(R_X) and vec(R_Z) are coupled by R_B^-T (x) R_A^T.
    let mut sum = SMatrix::<f64, 9, 9>::zeros();
    for pair in pairs {
        let hand = pair.hand.rotation.to_rotation_matrix().into_inner();
        let board = pair.board.rotation.to_rotation_matrix().into_inner();
        sum += board.transpose().kronecker(&hand);
    }
    let svd = sum.svd(true, true);
    let largest = svd.singular_values.argmax().0;
    let (u, v_t) = (svd.u?, svd.v_t?);
    let [other, camera] = [u.column(largest).into_owned(), v_t.row(largest).transpose()]
        .map(|vector| Matrix3::from_column_slice(vector.as_slice()));
    // Singular vectors come with a common sign.
    let sign = camera.determinant().signum();
    let (camera, other) = (nearest_rotation(&(camera * sign))?, nearest_rotation(&(other * sign))?);
    positions(pairs, camera, other)
}

/// `R_A t_X - t_Z = -t_A - R_A R_X t_B` over all pairs.
fn positions(pairs: &[Pair], camera: UnitQuaternion<f64>, other: UnitQuaternion<f64>) -> Option<Mounts> {
    let mut rows = DMatrix::zeros(3 * pairs.len(), 6);
    let mut values = DVector::zeros(3 * pairs.len());
    for (index, pair) in pairs.iter().enumerate() {
        let hand = pair.hand.rotation.to_rotation_matrix().into_inner();
        rows.fixed_view_mut::<3, 3>(3 * index, 0).copy_from(&hand);
        rows.fixed_view_mut::<3, 3>(3 * index, 3).copy_from(&-Matrix3::identity());
        let value = -pair.hand.translation.vector - hand * (camera * pair.board.translation.vector);
        values.fixed_rows_mut::<3>(3 * index).copy_from(&value);
    }
    let solved = rows.svd(true, true).solve(&values, 1e-12).ok()?;
    let at =
        |first: usize| Translation3::from(Vector3::from_column_slice(&solved.as_slice()[first..first + 3]));
    Some(Mounts { camera: Isometry3::from_parts(at(0), camera), other: Isometry3::from_parts(at(3), other) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::homography::SplitMix;

    #[test]
    fn both_closed_forms_are_exact_without_noise() {
        let mut numbers = SplitMix(3);
        let mut pose = |turn: f64, shift: f64| {
            let mut number = || (numbers.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
            Isometry3::new(
                Vector3::from_fn(|_, _| shift * number()),
                Vector3::from_fn(|_, _| turn * number()),
            )
        };
        let truth = Mounts { camera: pose(1.5, 0.1), other: pose(1.5, 1.0) };
        let pairs: Vec<Pair> = (0..6)
            .map(|_| {
                let hand = pose(1.2, 0.6);
                Pair { hand, board: (hand * truth.camera).inverse() * truth.other }
            })
            .collect();
        for found in [park_martin(&pairs).unwrap(), shah(&pairs).unwrap()] {
            for (came, expected) in [(found.camera, truth.camera), (found.other, truth.other)] {
                let off = expected.inverse() * came;
                assert!(off.translation.vector.norm() < 1e-9 && off.rotation.angle() < 1e-9, "{off}");
            }
        }
    }
}
