//! Where a camera is mounted, from poses of the robot's hand and of a board that the camera saw.
//!
//! Closed-form starts from the relative motions, `A X = X B` (Park and Martin, "Robot sensor calibration: solving AX = XB on
//! the Euclidean group", 1994), and from the poses themselves, `A X = Z B` (Shah, "Solving the robot-world/hand-eye calibration
//! problem using the Kronecker product", 2013); then both transforms together against the board poses.

mod start;

use nalgebra::{DMatrix, DVector, Isometry3, Matrix3, SymmetricEigen, Translation3, UnitQuaternion, Vector3};

use crate::least_squares::{Block, Loss, Problem, minimise};
use crate::pose::moved;

/// Poses that a calibration needs at least: three give two independent motions.
const MIN_POSES: usize = 3;
/// Turns below this leave positions to noise, radians (about 1 degree).
const MIN_TURN: f64 = 0.02;
/// Turns below this make a position doubtful, radians (about 8 degrees).
const DOUBTFUL_TURN: f64 = 0.15;
/// Board poses further off than this many standard deviations are taken for wrong.
const WRONG_BEYOND: f64 = 5.0;
/// Root mean squares above which something else than noise is in the poses, and above which the result is doubtful: metres,
/// radians (5 and 1 degrees). A board is seen to a millimetre and a few tenths of a degree, and arms repeat better than that.
const REFUSED_ABOVE: [f64; 2] = [0.05, 0.087_27];
const DOUBTFUL_ABOVE: [f64; 2] = [0.005, 0.017_45];
/// Median of the length of a Gaussian vector of three coordinates of standard deviation 1.
const MAXWELL_MEDIAN: f64 = 1.538_17;

/// What carries the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// The camera is on the hand, the board stands still.
    EyeInHand,
    /// The camera stands still, the board is on the hand.
    EyeToHand,
}

/// The hand and the board at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HandEyePoses {
    /// Name of the moment, for people.
    pub name: String,
    /// The hand in the robot's base frame.
    pub base_from_hand: Isometry3<f64>,
    /// The board in the camera's optical frame.
    pub camera_from_board: Isometry3<f64>,
}

/// How far a board pose is from where the result puts it.
#[derive(Clone, Debug, PartialEq)]
pub struct PoseResidual {
    /// The moment.
    pub name: String,
    /// Distance of the board's origin, metres.
    pub meters: f64,
    /// Turn of the board, radians.
    pub radians: f64,
    /// Whether the result used it; if not it was taken for wrong.
    pub used: bool,
}

/// A measured mount.
#[derive(Clone, Debug, PartialEq)]
pub struct HandEye {
    /// Where the camera is: in the hand's frame for [`Mount::EyeInHand`], in the base frame for [`Mount::EyeToHand`].
    pub parent_from_camera: Isometry3<f64>,
    /// Where the board is: in the base frame for [`Mount::EyeInHand`], in the hand's frame for [`Mount::EyeToHand`].
    pub other_from_board: Isometry3<f64>,
    /// Standard deviations of the camera's turn about its parent's axes, radians, and of its position, metres.
    pub deviations: [f64; 6],
    /// Root mean square over the poses used: distance in metres, turn in radians.
    pub rms: [f64; 2],
    /// Every pose, in the order in which they came.
    pub residuals: Vec<PoseResidual>,
    /// What makes the result doubtful, for people.
    pub warnings: Vec<String>,
}

/// Why poses give no mount.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HandEyeError {
    /// Too few.
    #[error("expected at least {MIN_POSES} pairs of hand and board poses, got {came}")]
    Poses {
        /// Pairs that came.
        came: usize,
    },
    /// A pose is not made of finite numbers.
    #[error("pose {name}: expected finite numbers")]
    NotFinite {
        /// The moment.
        name: String,
    },
    /// The hand hardly turned.
    #[error(
        "the hand turned by {degrees:.2} degrees at most: shifts alone do not tell where the camera is; turn the hand by 30 degrees and more about different axes"
    )]
    NoTurn {
        /// The largest turn.
        degrees: f64,
    },
    /// All turns have one axis.
    #[error(
        "all turns of the hand are about one axis ({axis}), along which the camera's position is then not determined: turn it about another axis too, by 30 degrees and more"
    )]
    OneAxis {
        /// The axis, in the hand's frame for a camera in the hand, in the base frame else.
        axis: String,
    },
    /// The two sets of poses turn by different angles.
    #[error(
        "hand and board turn by angles that differ by {degrees:.1} degrees in the median pair: the poses do not belong together (order, names, units, or the board's half-turn ambiguity)"
    )]
    Unrelated {
        /// The median difference.
        degrees: f64,
    },
    /// The best mount leaves the board poses far off.
    #[error(
        "the best mount leaves the board off by {millimeters:.0} mm and {degrees:.1} degrees rms: the poses do not belong together (units in metres? camera and board the other way round? frames?){hint}"
    )]
    Misfit {
        /// Root mean square of the distance, millimetres.
        millimeters: f64,
        /// Root mean square of the turn, degrees.
        degrees: f64,
        /// What would make the poses fit, for people; may be empty.
        hint: String,
    },
    /// Too few poses agree with each other.
    #[error(
        "only {agree} of {came} poses agree on a mount: at least {} more needed, 10 to 30 advised",
        MIN_POSES.saturating_sub(*.agree)
    )]
    Disagreeing {
        /// Poses that agree.
        agree: usize,
        /// Poses that came.
        came: usize,
    },
    /// The solution is not finite.
    #[error("the poses determine no mount")]
    Undetermined,
}

/// A pair in the common form `hand * camera_mount * board = other`: hand is `base_from_hand` for a camera in the hand, its
/// inverse for a board in the hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub hand: Isometry3<f64>,
    pub board: Isometry3<f64>,
}

/// The mount `X` and the other end `Z` of `A X B = Z`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mounts {
    pub camera: Isometry3<f64>,
    pub other: Isometry3<f64>,
}

/// Measures where the camera is mounted.
///
/// # Errors
/// Too few poses, poses that do not belong together, or motion that leaves a part of the mount free, with the reason.
pub fn calibrate_hand_eye(mount: Mount, poses: &[HandEyePoses]) -> Result<HandEye, HandEyeError> {
    let mut found = fitted(mount, poses)?;
    let [meters, radians] = found.rms;
    let (millimeters, degrees) = (1e3 * meters, radians.to_degrees());
    if beyond(found.rms, REFUSED_ABOVE) {
        let hint = what_would_fit(mount, poses).map(|what| format!("; they fit {what}")).unwrap_or_default();
        return Err(HandEyeError::Misfit { millimeters, degrees, hint });
    }
    if beyond(found.rms, DOUBTFUL_ABOVE) {
        found.warnings.push(format!(
            "the board is off by {millimeters:.1} mm and {degrees:.2} degrees rms, more than noise makes: check the board's size, the lens, and that hand and board stood still"
        ));
    }
    Ok(found)
}

fn beyond(rms: [f64; 2], limits: [f64; 2]) -> bool {
    rms.iter().zip(limits).any(|(rms, limit)| *rms > limit)
}

fn fitted(mount: Mount, poses: &[HandEyePoses]) -> Result<HandEye, HandEyeError> {
    let pairs = pairs(mount, poses)?;
    let warnings = judge_motion(mount, &pairs)?;
    let mounts = start::find(&pairs).ok_or(HandEyeError::Undetermined)?;
    let fit = Fit::new(&pairs, mounts)?;
    fit.result(poses, &pairs, warnings).ok_or(HandEyeError::Undetermined)
}

/// The mistake without which the poses fit: the other mount, or millimetres.
fn what_would_fit(mount: Mount, poses: &[HandEyePoses]) -> Option<&'static str> {
    let (other, the_other_way) = match mount {
        Mount::EyeInHand => (
            Mount::EyeToHand,
            "when the camera stands still and the hand carries the board, or the hand's poses are inverted",
        ),
        Mount::EyeToHand => (
            Mount::EyeInHand,
            "when the hand carries the camera and the board stands still, or the hand's poses are inverted",
        ),
    };
    let scaled = |hand: f64, board: f64| {
        let mut poses = poses.to_vec();
        for at in &mut poses {
            at.base_from_hand.translation.vector *= hand;
            at.camera_from_board.translation.vector *= board;
        }
        poses
    };
    let guesses = [
        (other, scaled(1.0, 1.0), the_other_way),
        (mount, scaled(1e-3, 1.0), "when the hand's positions are millimetres"),
        (mount, scaled(1.0, 1e-3), "when the board's positions are millimetres"),
    ];
    let fits = |(mount, poses, _): &(Mount, Vec<HandEyePoses>, &str)| {
        fitted(*mount, poses).is_ok_and(|found| !beyond(found.rms, DOUBTFUL_ABOVE))
    };
    guesses.into_iter().find(fits).map(|(_, _, what)| what)
}

fn pairs(mount: Mount, poses: &[HandEyePoses]) -> Result<Vec<Pair>, HandEyeError> {
    if poses.len() < MIN_POSES {
        return Err(HandEyeError::Poses { came: poses.len() });
    }
    let finite = |pose: &Isometry3<f64>| pose.to_matrix().iter().all(|value| value.is_finite());
    let pair = |at: &HandEyePoses| {
        if !(finite(&at.base_from_hand) && finite(&at.camera_from_board)) {
            return Err(HandEyeError::NotFinite { name: at.name.clone() });
        }
        let hand = match mount {
            Mount::EyeInHand => at.base_from_hand,
            Mount::EyeToHand => at.base_from_hand.inverse(),
        };
        Ok(Pair { hand, board: at.camera_from_board })
    };
    poses.iter().map(pair).collect()
}

/// Refuses motion that leaves the mount free; warns where it leaves little.
fn judge_motion(mount: Mount, pairs: &[Pair]) -> Result<Vec<String>, HandEyeError> {
    let motions: Vec<_> = start::motions(pairs).collect();
    let mut differences: Vec<f64> =
        motions.iter().map(|(hand, board)| (hand.rotation.angle() - board.rotation.angle()).abs()).collect();
    let middle = differences.len() / 2;
    let median = *differences.select_nth_unstable_by(middle, f64::total_cmp).1;
    let most = motions.iter().map(|(hand, _)| hand.rotation.angle()).fold(0.0, f64::max);
    if most < MIN_TURN {
        return Err(HandEyeError::NoTurn { degrees: most.to_degrees() });
    }
    if median > 0.1 {
        return Err(HandEyeError::Unrelated { degrees: median.to_degrees() });
    }
    // What a shift of the camera along each direction does to the board: nothing along the one axis of all turns.
    let unmoved = |(hand, _): &(Isometry3<f64>, Isometry3<f64>)| {
        let difference = hand.rotation.to_rotation_matrix().into_inner() - Matrix3::identity();
        difference.transpose() * difference
    };
    let sum: Matrix3<f64> = motions.iter().map(unmoved).sum();
    let eigen = SymmetricEigen::new(sum / motions.len() as f64);
    let (index, least) = eigen.eigenvalues.argmin();
    let axis = eigen.eigenvectors.column(index);
    let axis = format!("{:.2} {:.2} {:.2}", axis[0], axis[1], axis[2]);
    let turn = least.max(0.0).sqrt();
    if turn < MIN_TURN {
        return Err(HandEyeError::OneAxis { axis });
    }
    let frame = if mount == Mount::EyeInHand { "the hand's frame" } else { "the base frame" };
    let doubt = format!(
        "the camera's position along {axis} ({frame}) rests on turns of {:.0} degrees: turn about another axis too",
        turn.to_degrees()
    );
    Ok(if turn < DOUBTFUL_TURN { vec![doubt] } else { Vec::new() })
}

/// Turn and shift of the predicted board from the measured one, in the camera's frame, over what they scatter by.
struct MountProblem<'p> {
    pairs: &'p [Pair],
    /// Standard deviations: radians, metres.
    scatter: [f64; 2],
}

fn off(pair: &Pair, mounts: &Mounts) -> [Vector3<f64>; 2] {
    let predicted = (pair.hand * mounts.camera).inverse() * mounts.other;
    let turn = (predicted.rotation * pair.board.rotation.inverse()).scaled_axis();
    [turn, predicted.translation.vector - pair.board.translation.vector]
}

impl MountProblem<'_> {
    fn block(&self, pair: &Pair, mounts: &Mounts) -> DVector<f64> {
        let [turn, shift] = off(pair, mounts);
        let (turn, shift) = (turn / self.scatter[0], shift / self.scatter[1]);
        DVector::from_iterator(6, turn.iter().chain(shift.iter()).copied())
    }
}

impl Problem for MountProblem<'_> {
    type State = Mounts;
    const GROUP: usize = 6;

    fn residuals(&self, mounts: &Mounts) -> Option<Vec<DVector<f64>>> {
        Some(self.pairs.iter().map(|pair| self.block(pair, mounts)).collect())
    }

    fn linearise(&self, mounts: &Mounts) -> Option<Vec<Block>> {
        let none: [DVector<f64>; 0] = [];
        let mut blocks: Vec<_> = self
            .residuals(mounts)?
            .into_iter()
            .map(|residuals| Block { residuals, shared: DMatrix::zeros(6, 12), local: DMatrix::zeros(6, 0) })
            .collect();
        for column in 0..12 {
            let at = |shift: f64| {
                let mut step = DVector::zeros(12);
                step[column] = shift;
                self.residuals(&self.stepped(mounts, &step, &none))
            };
            let step = 1e-6;
            for ((block, ahead), behind) in blocks.iter_mut().zip(at(step)?).zip(at(-step)?) {
                block.shared.set_column(column, &((ahead - behind) / (2.0 * step)));
            }
        }
        Some(blocks)
    }

    fn stepped(&self, mounts: &Mounts, shared: &DVector<f64>, _: &[DVector<f64>]) -> Mounts {
        let (camera, other) = shared.as_slice().split_at(6);
        Mounts { camera: moved(&mounts.camera, camera), other: moved(&mounts.other, other) }
    }
}

/// The least-squares mounts over the pairs that agree.
struct Fit {
    mounts: Mounts,
    used: Vec<bool>,
    deviations: [f64; 6],
}

impl Fit {
    fn new(pairs: &[Pair], start: Mounts) -> Result<Self, HandEyeError> {
        let least = |pairs: &[Pair], scatter, start, loss| {
            minimise(&MountProblem { pairs, scatter }, start, loss, 100).ok_or(HandEyeError::Undetermined)
        };
        let mut mounts = start;
        let mut scatter = scatter_of(pairs, &mounts);
        // The scatter of turns against that of shifts decides how much each counts; it settles in a few rounds.
        for _ in 0..6 {
            mounts = least(pairs, scatter, mounts, Loss::Cauchy { scale: 3.0 })?.state;
            scatter = scatter_of(pairs, &mounts);
        }
        let agrees = |pair: &Pair| {
            let [turn, shift] = off(pair, &mounts);
            turn.norm() <= WRONG_BEYOND * scatter[0] && shift.norm() <= WRONG_BEYOND * scatter[1]
        };
        let used: Vec<bool> = pairs.iter().map(agrees).collect();
        let kept: Vec<Pair> =
            pairs.iter().zip(&used).filter(|(_, used)| **used).map(|(pair, _)| *pair).collect();
        if kept.len() < MIN_POSES {
            return Err(HandEyeError::Disagreeing { agree: kept.len(), came: pairs.len() });
        }
        let mut solution = least(&kept, scatter, mounts, Loss::Squares)?;
        // Among those that agree the mean square says more than the median.
        for _ in 0..4 {
            solution = least(&kept, spread_of(&kept, &solution.state), solution.state, Loss::Squares)?;
        }
        let variance = solution.cost / (6 * kept.len() - 12) as f64;
        let covariance = solution.covariance.ok_or(HandEyeError::Undetermined)?;
        let deviations = std::array::from_fn(|index| (variance * covariance[(index, index)]).sqrt());
        Ok(Self { mounts: solution.state, used, deviations })
    }

    fn result(self, poses: &[HandEyePoses], pairs: &[Pair], mut warnings: Vec<String>) -> Option<HandEye> {
        let Self { mounts, used, deviations } = self;
        let residual = |((at, pair), used): ((&HandEyePoses, &Pair), &bool)| {
            let [turn, shift] = off(pair, &mounts);
            PoseResidual { name: at.name.clone(), meters: shift.norm(), radians: turn.norm(), used: *used }
        };
        let residuals: Vec<_> = poses.iter().zip(pairs).zip(&used).map(residual).collect();
        let rms = |of: fn(&PoseResidual) -> f64| {
            let squares = residuals.iter().filter(|residual| residual.used).map(|r| of(r) * of(r));
            (squares.sum::<f64>() / used.iter().filter(|used| **used).count() as f64).sqrt()
        };
        let rms = [rms(|residual| residual.meters), rms(|residual| residual.radians)];
        let left_out = used.iter().filter(|used| !**used).count();
        if left_out > 0 {
            warnings.push(format!("{left_out} of {} poses were taken for wrong", used.len()));
        }
        let Mounts { camera, other } = mounts;
        let finite = camera.to_matrix().iter().chain(deviations.iter()).all(|value| value.is_finite());
        finite.then_some(HandEye {
            parent_from_camera: camera,
            other_from_board: other,
            deviations,
            rms,
            residuals,
            warnings,
        })
    }
}

/// Below this lies rounding: radians, metres.
const MIN_SCATTER: f64 = 1e-9;

/// Standard deviations of a turn's and a shift's coordinate, from the median: half of the poses may be wrong.
fn scatter_of(pairs: &[Pair], mounts: &Mounts) -> [f64; 2] {
    let median = |which: usize| {
        let mut lengths: Vec<f64> = pairs.iter().map(|pair| off(pair, mounts)[which].norm()).collect();
        let middle = lengths.len() / 2;
        *lengths.select_nth_unstable_by(middle, f64::total_cmp).1
    };
    [0, 1].map(|which| (median(which) / MAXWELL_MEDIAN).max(MIN_SCATTER))
}

/// Standard deviations of a turn's and a shift's coordinate, from the mean squares.
fn spread_of(pairs: &[Pair], mounts: &Mounts) -> [f64; 2] {
    [0, 1].map(|which| {
        let sum: f64 = pairs.iter().map(|pair| off(pair, mounts)[which].norm_squared()).sum();
        (sum / (3 * pairs.len().max(1)) as f64).sqrt().max(MIN_SCATTER)
    })
}

/// The mean of poses that should be one.
pub(crate) fn mean(poses: impl Iterator<Item = Isometry3<f64>>) -> Option<Isometry3<f64>> {
    let (mut turn, mut shift, mut count) = (Matrix3::zeros(), Vector3::zeros(), 0.0);
    for pose in poses {
        turn += pose.rotation.to_rotation_matrix().into_inner();
        shift += pose.translation.vector;
        count += 1.0;
    }
    let rotation: UnitQuaternion<f64> = crate::pose::nearest_rotation(&turn)?;
    (count > 0.0).then(|| Isometry3::from_parts(Translation3::from(shift / count), rotation))
}
