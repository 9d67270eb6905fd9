//! The plane of a board from the rays of its corners: the start of every search.

use nalgebra::{Isometry3, Matrix3, SMatrix, Translation3, Vector3};

use crate::Observation;
use crate::pose::nearest_rotation;

/// Samples of four corners that are tried: of 30 % wrong corners every sample holds one with probability 0.76; all 60 do
/// with 1e-7.
const SAMPLES: u64 = 60;

/// The matrix that takes `(x, y, 1)` of the board to the direction in which the camera sees the point, up to scale: the one
/// of many samples whose median error is smallest (Rousseeuw's least median of squares), refitted to what agrees with it.
pub(crate) fn homography(observations: &[Observation], rays: &[[f64; 3]]) -> Option<Matrix3<f64>> {
    let all: Vec<usize> = (0..observations.len()).collect();
    let sampled = (0..SAMPLES).filter_map(|seed| fit(observations, rays, &sample(seed, all.len())?));
    let every = fit(observations, rays, &all);
    let (median, best) = sampled
        .chain(every)
        .map(|plane| (median_error(&plane, observations, rays), plane))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    let near = |index: &usize| error(&best, &observations[*index], &rays[*index]) <= 3.0 * median + 1e-9;
    let agreeing: Vec<usize> = all.into_iter().filter(near).collect();
    fit(observations, rays, &agreeing)
        .or(Some(best))
        .filter(|plane| plane.iter().all(|value| value.is_finite()))
}

/// The pose of the board's plane; its scale is that of the board's metres.
pub(crate) fn pose_of_plane(observations: &[Observation], rays: &[[f64; 3]]) -> Option<Isometry3<f64>> {
    pose_of_homography(&homography(observations, rays)?, observations, rays)
}

fn pose_of_homography(
    plane: &Matrix3<f64>,
    observations: &[Observation],
    rays: &[[f64; 3]],
) -> Option<Isometry3<f64>> {
    let [right, down, origin] = [0, 1, 2].map(|column| plane.column(column).into_owned());
    let size = 2.0 / (right.norm() + down.norm());
    let ahead = observations
        .iter()
        .zip(rays)
        .filter(|(seen, ray)| direction(plane, seen).dot(&Vector3::from(**ray)) > 0.0);
    let scale = if 2 * ahead.count() >= observations.len() { size } else { -size };
    let (right, down, origin) = (right * scale, down * scale, origin * scale);
    let rotation = nearest_rotation(&Matrix3::from_columns(&[right, down, right.cross(&down)]))?;
    origin
        .iter()
        .all(|value| value.is_finite())
        .then(|| Isometry3::from_parts(Translation3::from(origin), rotation))
}

fn direction(plane: &Matrix3<f64>, seen: &Observation) -> Vector3<f64> {
    plane * Vector3::new(seen.point[0], seen.point[1], 1.0)
}

/// Sine of the angle between where the plane puts a corner and where it was seen, either way along the line.
fn error(plane: &Matrix3<f64>, seen: &Observation, ray: &[f64; 3]) -> f64 {
    direction(plane, seen).normalize().cross(&Vector3::from(*ray)).norm()
}

fn median_error(plane: &Matrix3<f64>, observations: &[Observation], rays: &[[f64; 3]]) -> f64 {
    let mut errors: Vec<f64> =
        observations.iter().zip(rays).map(|(seen, ray)| error(plane, seen, ray)).collect();
    let middle = errors.len() / 2;
    *errors.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Four different corners, the same ones for a seed.
fn sample(seed: u64, count: usize) -> Option<Vec<usize>> {
    let mut numbers = SplitMix(seed);
    let mut chosen = Vec::with_capacity(4);
    for _ in 0..32 {
        let next = (numbers.next() % count.max(1) as u64) as usize;
        if !chosen.contains(&next) {
            chosen.push(next);
        }
        if chosen.len() == 4 {
            return Some(chosen);
        }
    }
    None
}

/// The direct linear transform on rays: `ray x (plane point) = 0`, points shifted and scaled to about 1.
fn fit(observations: &[Observation], rays: &[[f64; 3]], chosen: &[usize]) -> Option<Matrix3<f64>> {
    if chosen.len() < 4 {
        return None;
    }
    let unit = unit_from_board(observations, chosen)?;
    let mut normal = SMatrix::<f64, 9, 9>::zeros();
    for &index in chosen {
        let point = unit * Vector3::new(observations[index].point[0], observations[index].point[1], 1.0);
        let cross = Vector3::from(rays[index]).cross_matrix();
        let rows = SMatrix::<f64, 3, 9>::from_fn(|row, column| cross[(row, column / 3)] * point[column % 3]);
        normal += rows.transpose() * rows;
    }
    if normal.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let eigen = normal.symmetric_eigen();
    let mut order: Vec<usize> = (0..9).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*a].total_cmp(&eigen.eigenvalues[*b]));
    // Points on a line leave more than one plane.
    if eigen.eigenvalues[order[1]] < 1e-12 * eigen.eigenvalues[order[8]] {
        return None;
    }
    let found = eigen.eigenvectors.column(order[0]);
    Some(Matrix3::from_row_slice(found.as_slice()) * unit)
}

/// Takes the chosen points to mean 0 and distance about 1.
fn unit_from_board(observations: &[Observation], chosen: &[usize]) -> Option<Matrix3<f64>> {
    let count = chosen.len() as f64;
    let mean = [0, 1].map(|axis| chosen.iter().map(|i| observations[*i].point[axis]).sum::<f64>() / count);
    let spread = chosen
        .iter()
        .map(|i| (observations[*i].point[0] - mean[0]).hypot(observations[*i].point[1] - mean[1]))
        .sum::<f64>()
        / count;
    (spread > 0.0).then(|| {
        let scale = 1.0 / spread;
        Matrix3::new(scale, 0.0, -scale * mean[0], 0.0, scale, -scale * mean[1], 0.0, 0.0, 1.0)
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
pub(crate) struct SplitMix(pub u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calibration::{CameraModel, Distortion, Intrinsics, Size};
    use nalgebra::UnitQuaternion;

    #[test]
    fn a_third_of_wrong_corners_does_not_move_the_plane() {
        let size = Size { width: 640, height: 480 };
        let intrinsics = Intrinsics { fx: 530.0, fy: 530.0, cx: 319.5, cy: 239.5 };
        let camera = CameraModel::new(size, intrinsics, Distortion::None).unwrap();
        let rotation = UnitQuaternion::from_scaled_axis(Vector3::new(0.4, -0.3, 0.2));
        let truth = Isometry3::from_parts(Translation3::new(-0.1, -0.06, 0.5), rotation);
        let mut view = crate::pose::tests::seen(&camera, &truth).unwrap();
        for index in (0..54).step_by(3) {
            view.observations[index].pixel[index % 2] += 10.0 + index as f64;
        }
        let rays: Vec<_> = view.observations.iter().map(|seen| camera.ray(seen.pixel).unwrap()).collect();
        let off = truth.inverse() * pose_of_plane(&view.observations, &rays).unwrap();
        assert!(off.translation.vector.norm() < 1e-9 && off.rotation.angle() < 1e-9, "{off}");
    }
}
