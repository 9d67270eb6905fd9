//! A camera from views of a board: closed-form start (Zhang, "A flexible new technique for camera calibration", 2000), then
//! all parameters and poses together against the reprojection error.

mod start;

use calibration::{CameraModel, Distortion, Intrinsics, Size};
use nalgebra::{DMatrix, DVector, Isometry3};

use crate::View;
use crate::least_squares::{Block, Loss, Problem, Solution, minimise};
use crate::pose::{MIN_CORNERS, by_pose, moved, reprojection};

/// Views that a calibration needs at least: two determine the parameters, a third shows an error.
const MIN_VIEWS: usize = 3;
/// Corners further off than this many standard deviations are taken for wrong: of right ones 4 in 100000 are.
const WRONG_BEYOND: f64 = 4.5;
/// No corner nearer than this is taken for wrong, pixels: below it lies rounding.
const NEVER_WRONG: f64 = 1e-4;
/// Median of the distance from the centre of a circular Gaussian of standard deviation 1.
const RAYLEIGH_MEDIAN: f64 = 1.177_41;

/// The lens model to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LensKind {
    /// No distortion.
    Pinhole,
    /// Brown-Conrady, five coefficients: most lenses.
    PlumbBob,
    /// Rational polynomial, eight coefficients: wide lenses up to some 120 degrees.
    Rational,
    /// Kannala-Brandt, four coefficients: fisheye lenses.
    Equidistant,
}

/// What is done about wrong corners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// Nothing: plain least squares over all corners, as OpenCV does.
    Squares,
    /// A Cauchy loss finds the corners that agree; those that do not are left out of the final least squares.
    Robust,
}

/// One measured parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// `fx fy cx cy`, in pixels, or a coefficient's name: `k1 k2 p1 p2 k3 k4 k5 k6`.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Its standard deviation, from the scatter of the corners and how the views determine it.
    pub deviation: f64,
}

/// How one view fits.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredView {
    /// The picture's name.
    pub name: String,
    /// Where the board was.
    pub camera_from_board: Isometry3<f64>,
    /// Root mean square reprojection error of the corners used, pixels.
    pub rms_pixels: f64,
    /// Largest reprojection error of the corners used, pixels.
    pub max_pixels: f64,
    /// Corners used.
    pub used: usize,
    /// Corners seen but taken for wrong.
    pub rejected: usize,
}

/// A measured camera and how well it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredCamera {
    /// The camera.
    pub camera: CameraModel,
    /// Its parameters with their standard deviations.
    pub parameters: Vec<Parameter>,
    /// Root mean square reprojection error over all corners used, pixels (both coordinates together, as OpenCV gives it).
    pub rms_pixels: f64,
    /// The views, in the order in which they came.
    pub views: Vec<MeasuredView>,
    /// What makes the result doubtful, for people.
    pub warnings: Vec<String>,
}

/// Why views give no camera.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IntrinsicsError {
    /// Too few views.
    #[error("expected at least {MIN_VIEWS} views of the board, got {came}")]
    Views {
        /// Views that came.
        came: usize,
    },
    /// A view has too few corners, or numbers that are none.
    #[error(
        "view {name}: expected at least {MIN_CORNERS} corners at finite places inside the image of {size}, got {came}"
    )]
    Corners {
        /// The view.
        name: String,
        /// The image size.
        size: Size,
        /// Usable corners.
        came: usize,
    },
    /// No start was found.
    #[error("no {lens:?} camera explains the views: {reason}")]
    NoStart {
        /// The lens model asked for.
        lens: LensKind,
        /// Why.
        reason: String,
    },
    /// The views leave a combination of parameters free.
    #[error(
        "the views do not determine the camera: turn the board about different axes, by 30 degrees and more, and fill the image's corners; or choose a lens model with fewer coefficients"
    )]
    Undetermined,
}

impl LensKind {
    /// Names of the parameters, in the order of the vector that is solved for.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Pinhole => &["fx", "fy", "cx", "cy"],
            Self::PlumbBob => &["fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3"],
            Self::Rational => &["fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"],
            Self::Equidistant => &["fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"],
        }
    }

    /// The camera of a parameter vector, None where it is none.
    fn camera(self, size: Size, parameters: &DVector<f64>) -> Option<CameraModel> {
        let p = parameters.as_slice();
        let (head, d) = p.split_at_checked(4)?;
        let intrinsics = Intrinsics { fx: head[0], fy: head[1], cx: head[2], cy: head[3] };
        let distortion = match self {
            Self::Pinhole => Distortion::None,
            Self::PlumbBob => Distortion::PlumbBob(d.try_into().ok()?),
            Self::Rational => Distortion::RationalPolynomial(d.try_into().ok()?),
            Self::Equidistant => Distortion::Equidistant(d.try_into().ok()?),
        };
        CameraModel::new(size, intrinsics, distortion).ok()
    }
}

/// Measures a camera from views of a board.
///
/// # Errors
/// Too few views or corners, corners outside the image, or views that do not determine the parameters.
pub fn calibrate_intrinsics(
    size: Size,
    views: &[View],
    lens: LensKind,
    loss: LossKind,
) -> Result<MeasuredCamera, IntrinsicsError> {
    check(size, views)?;
    let start = start::find(size, views, lens).ok_or_else(|| IntrinsicsError::NoStart {
        lens,
        reason: "no focal length was near enough".to_owned(),
    })?;
    let lost =
        || IntrinsicsError::NoStart { lens, reason: "corners lie outside the model's domain".to_owned() };
    let all = CameraProblem { size, lens, views: views.to_vec() };
    let (problem, solution) = match loss {
        LossKind::Squares => {
            let solution = minimise(&all, start, Loss::Squares, 300).ok_or_else(lost)?;
            (all, solution)
        }
        LossKind::Robust => robust(&all, start).ok_or_else(lost)?,
    };
    result(&problem, solution, views)
}

fn check(size: Size, views: &[View]) -> Result<(), IntrinsicsError> {
    if views.len() < MIN_VIEWS {
        return Err(IntrinsicsError::Views { came: views.len() });
    }
    let inside = |value: f64, side: usize| value >= -0.5 && value <= side as f64 - 0.5;
    for view in views {
        let usable = view.observations.iter().filter(|seen| {
            inside(seen.pixel[0], size.width)
                && inside(seen.pixel[1], size.height)
                && seen.point.iter().all(|value| value.is_finite())
        });
        let came = usable.count();
        if came < MIN_CORNERS || came < view.observations.len() {
            return Err(IntrinsicsError::Corners { name: view.name.clone(), size, came });
        }
    }
    Ok(())
}

/// Everything that is solved for: the camera's parameters and the board's pose in each view.
#[derive(Clone, Debug)]
struct State {
    parameters: DVector<f64>,
    poses: Vec<Isometry3<f64>>,
}

struct CameraProblem {
    size: Size,
    lens: LensKind,
    views: Vec<View>,
}

impl CameraProblem {
    fn residuals_of(&self, camera: &CameraModel, state: &State) -> Option<Vec<DVector<f64>>> {
        let views = self.views.iter().zip(&state.poses);
        views.map(|(view, pose)| reprojection(camera, pose, &view.observations)).collect()
    }
}

impl Problem for CameraProblem {
    type State = State;
    const GROUP: usize = 2;

    fn residuals(&self, state: &State) -> Option<Vec<DVector<f64>>> {
        self.residuals_of(&self.lens.camera(self.size, &state.parameters)?, state)
    }

    fn linearise(&self, state: &State) -> Option<Vec<Block>> {
        let camera = self.lens.camera(self.size, &state.parameters)?;
        let count = state.parameters.len();
        let mut blocks = Vec::with_capacity(self.views.len());
        for ((view, pose), residuals) in
            self.views.iter().zip(&state.poses).zip(self.residuals_of(&camera, state)?)
        {
            let shared = DMatrix::zeros(residuals.len(), count);
            blocks.push(Block { local: by_pose(&camera, pose, &view.observations)?, residuals, shared });
        }
        // By central differences, a camera at a time: working out a model's domain costs more than projecting.
        for column in 0..count {
            let step = 1e-6 * state.parameters[column].abs().max(if column < 4 { 1.0 } else { 0.1 });
            let at = |shift: f64| {
                let mut parameters = state.parameters.clone();
                parameters[column] += shift;
                self.residuals_of(&self.lens.camera(self.size, &parameters)?, state)
            };
            for ((block, ahead), behind) in blocks.iter_mut().zip(at(step)?).zip(at(-step)?) {
                block.shared.set_column(column, &((ahead - behind) / (2.0 * step)));
            }
        }
        Some(blocks)
    }

    fn stepped(&self, state: &State, shared: &DVector<f64>, local: &[DVector<f64>]) -> State {
        let poses = state.poses.iter().zip(local).map(|(pose, step)| moved(pose, step.as_slice()));
        State { parameters: &state.parameters + shared, poses: poses.collect() }
    }
}

/// Narrows a Cauchy loss down to the scatter of the corners that agree, then leaves the others out.
fn robust(all: &CameraProblem, start: State) -> Option<(CameraProblem, Solution<State>)> {
    let mut state = start;
    let mut scale = 4.0;
    for _ in 0..4 {
        state = minimise(all, state, Loss::Cauchy { scale }, 100)?.state;
        scale = scale.min(3.0 * scatter(&all.residuals(&state)?)).max(NEVER_WRONG);
    }
    let limit = (WRONG_BEYOND * scatter(&all.residuals(&state)?)).max(NEVER_WRONG);
    let residuals = all.residuals(&state)?;
    let kept = all.views.iter().zip(&residuals).map(|(view, off)| View {
        name: view.name.clone(),
        observations: view
            .observations
            .iter()
            .zip(off.as_slice().chunks(2))
            .filter(|(_, off)| off[0].hypot(off[1]) <= limit)
            .map(|(seen, _)| *seen)
            .collect(),
    });
    let problem = CameraProblem { size: all.size, lens: all.lens, views: kept.collect() };
    let solution = minimise(&problem, state, Loss::Squares, 300)?;
    Some((problem, solution))
}

/// Standard deviation of a coordinate, from the median distance: half of the corners may be anywhere.
fn scatter(residuals: &[DVector<f64>]) -> f64 {
    let mut distances: Vec<f64> = residuals
        .iter()
        .flat_map(|block| block.as_slice().chunks(2))
        .map(|off| off[0].hypot(off[1]))
        .collect();
    let middle = distances.len() / 2;
    *distances.select_nth_unstable_by(middle, f64::total_cmp).1 / RAYLEIGH_MEDIAN
}

fn result(
    problem: &CameraProblem,
    solution: Solution<State>,
    seen: &[View],
) -> Result<MeasuredCamera, IntrinsicsError> {
    let covariance = solution.covariance.ok_or(IntrinsicsError::Undetermined)?;
    let state = solution.state;
    let lost =
        || IntrinsicsError::NoStart { lens: problem.lens, reason: "the search left the model".to_owned() };
    let camera = problem.lens.camera(problem.size, &state.parameters).ok_or_else(lost)?;
    let residuals = problem.residuals(&state).ok_or_else(lost)?;
    let corners: usize = problem.views.iter().map(|view| view.observations.len()).sum();
    let free = (2 * corners).saturating_sub(state.parameters.len() + 6 * seen.len());
    if free == 0 {
        return Err(IntrinsicsError::Undetermined);
    }
    let variance = solution.cost / free as f64;
    let unit_variances = covariance.diagonal();
    let names = problem.lens.names().iter().zip(state.parameters.iter()).zip(unit_variances.iter());
    let parameters: Vec<_> = names
        .map(|((name, value), unit)| Parameter { name, value: *value, deviation: (variance * unit).sqrt() })
        .collect();
    let views: Vec<_> = problem
        .views
        .iter()
        .zip(&state.poses)
        .zip(&residuals)
        .zip(seen)
        .map(|(((view, pose), off), seen)| measured_view(view, pose, off, seen))
        .collect();
    let rms_pixels = (solution.cost / corners as f64).sqrt();
    let warnings = warnings(&parameters, &views);
    Ok(MeasuredCamera { camera, parameters, rms_pixels, views, warnings })
}

fn measured_view(view: &View, pose: &Isometry3<f64>, off: &DVector<f64>, seen: &View) -> MeasuredView {
    let distances: Vec<f64> = off.as_slice().chunks(2).map(|off| off[0].hypot(off[1])).collect();
    let used = view.observations.len();
    let squares: f64 = distances.iter().map(|distance| distance * distance).sum();
    MeasuredView {
        name: view.name.clone(),
        camera_from_board: *pose,
        rms_pixels: (squares / used.max(1) as f64).sqrt(),
        max_pixels: distances.iter().copied().fold(0.0, f64::max),
        used,
        rejected: seen.observations.len() - used,
    }
}

/// What makes a result doubtful: focal lengths known badly, or no view that was turned enough.
fn warnings(parameters: &[Parameter], views: &[MeasuredView]) -> Vec<String> {
    let mut warnings = Vec::new();
    for parameter in parameters.iter().take(2).filter(|p| p.deviation > 0.01 * p.value) {
        let Parameter { name, value, deviation } = parameter;
        warnings.push(format!("{name} is known to {:.1} % only", 100.0 * deviation / value));
    }
    let tilt =
        |view: &MeasuredView| (view.camera_from_board.rotation * nalgebra::Vector3::z()).z.abs().acos();
    let steepest = views.iter().map(tilt).fold(0.0, f64::max).to_degrees();
    if steepest < 15.0 {
        warnings.push(format!(
            "no view is turned by more than {steepest:.0} degrees; focal length needs 30 and more"
        ));
    }
    let rejected: usize = views.iter().map(|view| view.rejected).sum();
    let seen: usize = rejected + views.iter().map(|view| view.used).sum::<usize>();
    if 10 * rejected > seen {
        warnings.push(format!("{rejected} of {seen} corners were taken for wrong"));
    }
    warnings
}
