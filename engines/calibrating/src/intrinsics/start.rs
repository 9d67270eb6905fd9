//! Where the search starts: a focal length, no distortion, and the poses that follow from them.

use calibration::Size;
use nalgebra::{DVector, Isometry3, Matrix2, Vector2};

use super::{CameraProblem, LensKind, State, scatter};
use crate::View;
use crate::homography::{homography, pose_of_plane};
use crate::least_squares::{Loss, Problem, minimise};

/// Horizontal fields of view that are tried besides the closed form, degrees.
const PINHOLE_FIELDS: [f64; 3] = [40.0, 70.0, 100.0];
const FISHEYE_FIELDS: [f64; 5] = [80.0, 110.0, 140.0, 170.0, 200.0];
/// What a corner may be off before it counts as wrong while the start is chosen, pixels.
const SCALE: f64 = 4.0;

/// The first of several starts that explains most corners, each refined a little; else the best.
pub(super) fn find(size: Size, views: &[View], lens: LensKind) -> Option<State> {
    if lens == LensKind::Rational {
        // From five coefficients on: from none, numerator and denominator run off against each other.
        let mut five = find(size, views, LensKind::PlumbBob)?;
        five.parameters = five.parameters.resize_vertically(lens.names().len(), 0.0);
        return Some(five);
    }
    let centre = [size.width as f64 / 2.0 - 0.5, size.height as f64 / 2.0 - 0.5];
    let fields = |fields: &[f64], focal: fn(f64) -> f64| -> Vec<[f64; 2]> {
        fields
            .iter()
            .map(|degrees| [size.width as f64 / 2.0 * focal(degrees.to_radians() / 2.0); 2])
            .collect()
    };
    let mut focals: Vec<[f64; 2]> = zhang(size, centre, views).into_iter().collect();
    focals.extend(match lens {
        LensKind::Equidistant => fields(&FISHEYE_FIELDS, |half| 1.0 / half),
        _ => fields(&PINHOLE_FIELDS, |half| 1.0 / half.tan()),
    });
    let problem = CameraProblem { size, lens, views: views.to_vec() };
    let mut best: Option<(f64, State)> = None;
    for focal in focals {
        let refined = at(size, focal, centre, views, lens)
            .and_then(|start| minimise(&problem, start, Loss::Cauchy { scale: SCALE }, 30));
        let Some(refined) = refined else { continue };
        // Half of the corners within a pixel are not there by chance: the other starts lead to the same place.
        let near = problem.residuals(&refined.state).is_some_and(|residuals| scatter(&residuals) < 1.0);
        if near {
            return Some(refined.state);
        }
        if best.as_ref().is_none_or(|(cost, _)| refined.cost < *cost) {
            best = Some((refined.cost, refined.state));
        }
    }
    best.map(|(_, state)| state)
}

/// The state of a focal length: no distortion, principal point in the middle, each pose from its plane.
fn at(size: Size, [fx, fy]: [f64; 2], [cx, cy]: [f64; 2], views: &[View], lens: LensKind) -> Option<State> {
    let mut parameters = DVector::zeros(lens.names().len());
    parameters.as_mut_slice()[..4].copy_from_slice(&[fx, fy, cx, cy]);
    let camera = lens.camera(size, &parameters)?;
    let pose = |view: &View| -> Option<Isometry3<f64>> {
        let rays: Option<Vec<_>> = view.observations.iter().map(|seen| camera.ray(seen.pixel)).collect();
        pose_of_plane(&view.observations, &rays?)
    };
    Some(State { poses: views.iter().map(pose).collect::<Option<_>>()?, parameters })
}

/// Focal lengths from the views' homographies, the principal point taken to be the middle: each view says that its board's
/// axes stand at right angles and have one scale, which is linear in `1 / f^2`. None for views that do not tell.
fn zhang(size: Size, [cx, cy]: [f64; 2], views: &[View]) -> Option<[f64; 2]> {
    let unit = size.width as f64;
    let (mut normal, mut right) = (Matrix2::zeros(), Vector2::zeros());
    for view in views {
        let ray = |seen: &crate::Observation| {
            let ray = nalgebra::Vector3::new((seen.pixel[0] - cx) / unit, (seen.pixel[1] - cy) / unit, 1.0);
            ray.normalize().into()
        };
        let rays: Vec<[f64; 3]> = view.observations.iter().map(ray).collect();
        let Some(plane) = homography(&view.observations, &rays) else { continue };
        let plane = plane / plane.norm();
        let (a, b) = (plane.column(0), plane.column(1));
        for (row, value) in [
            (Vector2::new(a.x * b.x, a.y * b.y), -a.z * b.z),
            (Vector2::new(a.x * a.x - b.x * b.x, a.y * a.y - b.y * b.y), b.z * b.z - a.z * a.z),
        ] {
            normal += row * row.transpose();
            right += row * value;
        }
    }
    let inverse_squares = normal.try_inverse()? * right;
    let focal = |value: f64| (value > 0.0).then(|| unit / value.sqrt());
    let found = [focal(inverse_squares.x)?, focal(inverse_squares.y)?];
    found.iter().all(|f| f.is_finite() && (0.05..100.0).contains(&(f / unit))).then_some(found)
}
