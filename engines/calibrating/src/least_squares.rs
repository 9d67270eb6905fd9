//! Levenberg-Marquardt for parameters that all blocks of residuals share and parameters of one block alone.
//!
//! The normal equations are reduced to the shared parameters (Schur complement), as in bundle adjustment (Triggs et al.,
//! "Bundle Adjustment: A Modern Synthesis", 2000); damping after Nielsen ("Damping Parameter in Marquardt's Method", 1999).

use nalgebra::{DMatrix, DVector};

/// The residuals of one block, in groups of [`Problem::GROUP`] that the loss judges together, and their derivatives.
pub(crate) struct Block {
    pub residuals: DVector<f64>,
    /// By the shared parameters.
    pub shared: DMatrix<f64>,
    /// By the block's own parameters; no columns where it has none.
    pub local: DMatrix<f64>,
}

/// What is to be solved.
pub(crate) trait Problem {
    /// The parameters.
    type State: Clone;
    /// Residuals that are one measurement, for example the two coordinates of a pixel.
    const GROUP: usize;

    /// The residuals of every block, None where the model is not defined.
    fn residuals(&self, state: &Self::State) -> Option<Vec<DVector<f64>>>;

    /// The residuals and their derivatives, None where the model is not defined.
    fn linearise(&self, state: &Self::State) -> Option<Vec<Block>>;

    /// The state after a step of the shared parameters and of each block's own.
    fn stepped(&self, state: &Self::State, shared: &DVector<f64>, local: &[DVector<f64>]) -> Self::State;
}

/// What a residual costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    /// Its square: the best estimate under Gaussian noise.
    Squares,
    /// `scale^2 ln(1 + (r / scale)^2)`: grows ever more slowly, so that outliers pull little.
    Cauchy { scale: f64 },
}

impl Loss {
    /// Cost of a squared residual, and the weight of that residual in the normal equations.
    fn of(self, squared: f64) -> (f64, f64) {
        match self {
            Self::Squares => (squared, 1.0),
            Self::Cauchy { scale } => {
                let unit = squared / (scale * scale);
                (scale * scale * unit.ln_1p(), 1.0 / (1.0 + unit))
            }
        }
    }
}

/// Where the search ended.
pub(crate) struct Solution<S> {
    pub state: S,
    pub cost: f64,
    /// Inverse of the shared parameters' information, all others free: their covariance for residuals of variance 1.
    /// None when the measurements do not determine them.
    pub covariance: Option<DMatrix<f64>>,
}

/// The normal equations of one linearisation.
struct Normal {
    shared: DMatrix<f64>,
    gradient: DVector<f64>,
    blocks: Vec<NormalBlock>,
}

struct NormalBlock {
    local: DMatrix<f64>,
    mixed: DMatrix<f64>,
    gradient: DVector<f64>,
}

/// Searches from `start` for at most `iterations` steps.
///
/// None when the model is not defined at the start.
pub(crate) fn minimise<P: Problem>(
    problem: &P,
    start: P::State,
    loss: Loss,
    iterations: usize,
) -> Option<Solution<P::State>> {
    let mut state = start;
    let mut cost = total_cost::<P>(&problem.residuals(&state)?, loss);
    let mut normal = Normal::new::<P>(&problem.linearise(&state)?, loss);
    let (mut damping, mut growth) = (1e-4, 2.0);
    for _ in 0..iterations {
        let Some((shared, local)) = normal.solve(damping) else {
            if damping > 1e12 {
                break;
            }
            damping *= 10.0;
            continue;
        };
        let expected = normal.expected_gain(&shared, &local, damping);
        let next = problem.stepped(&state, &shared, &local);
        let next_cost = problem.residuals(&next).map_or(f64::INFINITY, |r| total_cost::<P>(&r, loss));
        let gain = cost - next_cost;
        // A step to where the model ends is no step, though the cost be less there.
        if gain > 0.0
            && let Some(blocks) = problem.linearise(&next)
        {
            let settled = gain <= 1e-14 * cost;
            state = next;
            cost = next_cost;
            normal = Normal::new::<P>(&blocks, loss);
            damping =
                (damping * (1.0 - (2.0 * gain / expected - 1.0).powi(3)).clamp(1.0 / 3.0, 2.0)).max(1e-15);
            growth = 2.0;
            if settled {
                break;
            }
        } else {
            // Nothing left to gain but rounding.
            if expected <= 1e-15 * cost || damping > 1e12 {
                break;
            }
            damping *= growth;
            growth *= 2.0;
        }
    }
    Some(Solution { covariance: normal.covariance(), state, cost })
}

fn total_cost<P: Problem>(blocks: &[DVector<f64>], loss: Loss) -> f64 {
    let groups = blocks.iter().flat_map(|block| block.as_slice().chunks(P::GROUP));
    let total: f64 = groups.map(|group| loss.of(squared(group)).0).sum();
    if total.is_finite() { total } else { f64::INFINITY }
}

fn squared(group: &[f64]) -> f64 {
    group.iter().map(|value| value * value).sum()
}

impl Normal {
    fn new<P: Problem>(blocks: &[Block], loss: Loss) -> Self {
        let count = blocks.first().map_or(0, |block| block.shared.ncols());
        let mut normal = Self {
            shared: DMatrix::zeros(count, count),
            gradient: DVector::zeros(count),
            blocks: Vec::with_capacity(blocks.len()),
        };
        for block in blocks {
            normal.add(weighted::<P>(block, loss));
        }
        normal
    }

    fn add(&mut self, Block { residuals, shared, local }: Block) {
        self.shared += shared.tr_mul(&shared);
        self.gradient += shared.tr_mul(&residuals);
        self.blocks.push(NormalBlock {
            mixed: shared.tr_mul(&local),
            gradient: local.tr_mul(&residuals),
            local: local.tr_mul(&local),
        });
    }

    /// The damped step: shared parameters, then each block's own.
    fn solve(&self, damping: f64) -> Option<(DVector<f64>, Vec<DVector<f64>>)> {
        let (mut reduced, mut right) = (damped(&self.shared, damping), -&self.gradient);
        let mut inverses = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let inverse = inverse(damped(&block.local, damping))?;
            let carried = &block.mixed * &inverse;
            reduced -= &carried * block.mixed.transpose();
            right += &carried * &block.gradient;
            inverses.push(inverse);
        }
        let shared = if right.is_empty() { right } else { reduced.cholesky()?.solve(&right) };
        let own = |(block, inverse): (&NormalBlock, &DMatrix<f64>)| {
            inverse * (-&block.gradient - block.mixed.tr_mul(&shared))
        };
        let local: Vec<_> = self.blocks.iter().zip(&inverses).map(own).collect();
        let finite = shared.iter().chain(local.iter().flat_map(|l| l.iter())).all(|v| v.is_finite());
        finite.then_some((shared, local))
    }

    /// How much the linear model says that a step gains.
    fn expected_gain(&self, shared: &DVector<f64>, local: &[DVector<f64>], damping: f64) -> f64 {
        let part = |step: &DVector<f64>, matrix: &DMatrix<f64>, gradient: &DVector<f64>| {
            let diagonal = matrix.diagonal();
            let damped: f64 = step
                .iter()
                .zip(diagonal.iter())
                .map(|(s, d)| damping * s * s * (d + f64::MIN_POSITIVE))
                .sum();
            damped - step.dot(gradient)
        };
        let own =
            self.blocks.iter().zip(local).map(|(block, step)| part(step, &block.local, &block.gradient));
        part(shared, &self.shared, &self.gradient) + own.sum::<f64>()
    }

    fn covariance(&self) -> Option<DMatrix<f64>> {
        let mut reduced = self.shared.clone();
        for block in &self.blocks {
            reduced -= &block.mixed * inverse(block.local.clone())? * block.mixed.transpose();
        }
        if reduced.is_empty() {
            return Some(reduced);
        }
        // Scaled to a unit diagonal, so that what counts as singular does not depend on units.
        let scale: DVector<f64> = self.shared.diagonal().map(|value| 1.0 / value.sqrt());
        let unit = DMatrix::from_diagonal(&scale) * reduced * DMatrix::from_diagonal(&scale);
        let eigen = unit.symmetric_eigen();
        let smallest = eigen.eigenvalues.iter().copied().fold(f64::INFINITY, f64::min);
        // Below this lies rounding; the deviations tell of whatever lies above.
        let determined = smallest > 1e-15;
        if !determined {
            return None;
        }
        let inverse = &eigen.eigenvectors
            * DMatrix::from_diagonal(&eigen.eigenvalues.map(|value| 1.0 / value))
            * eigen.eigenvectors.transpose();
        Some(DMatrix::from_diagonal(&scale) * inverse * DMatrix::from_diagonal(&scale))
    }
}

fn weighted<P: Problem>(block: &Block, loss: Loss) -> Block {
    let mut scaled = Block {
        residuals: block.residuals.clone(),
        shared: block.shared.clone(),
        local: block.local.clone(),
    };
    if loss == Loss::Squares {
        return scaled;
    }
    for first in (0..block.residuals.len()).step_by(P::GROUP) {
        let weight = loss.of(squared(&block.residuals.as_slice()[first..first + P::GROUP])).1.sqrt();
        scaled.residuals.rows_mut(first, P::GROUP).scale_mut(weight);
        scaled.shared.rows_mut(first, P::GROUP).scale_mut(weight);
        scaled.local.rows_mut(first, P::GROUP).scale_mut(weight);
    }
    scaled
}

fn damped(matrix: &DMatrix<f64>, damping: f64) -> DMatrix<f64> {
    let mut damped = matrix.clone();
    for index in 0..matrix.nrows() {
        damped[(index, index)] += damping * (matrix[(index, index)] + f64::MIN_POSITIVE);
    }
    damped
}

fn inverse(matrix: DMatrix<f64>) -> Option<DMatrix<f64>> {
    if matrix.is_empty() {
        return Some(matrix);
    }
    Some(matrix.cholesky()?.inverse())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y = a x + b_i: the slope is shared, each block has its own offset.
    struct Lines(Vec<Vec<[f64; 2]>>);

    impl Problem for Lines {
        type State = (f64, Vec<f64>);
        const GROUP: usize = 1;

        fn residuals(&self, (slope, offsets): &Self::State) -> Option<Vec<DVector<f64>>> {
            let block = |(line, offset): (&Vec<[f64; 2]>, &f64)| {
                DVector::from_iterator(line.len(), line.iter().map(|[x, y]| slope * x + offset - y))
            };
            Some(self.0.iter().zip(offsets).map(block).collect())
        }

        fn linearise(&self, state: &Self::State) -> Option<Vec<Block>> {
            let blocks = self.residuals(state)?.into_iter().zip(&self.0);
            let block = |(residuals, line): (DVector<f64>, &Vec<[f64; 2]>)| Block {
                residuals,
                shared: DMatrix::from_fn(line.len(), 1, |row, _| line[row][0]),
                local: DMatrix::from_element(line.len(), 1, 1.0),
            };
            Some(blocks.map(block).collect())
        }

        fn stepped(&self, state: &Self::State, shared: &DVector<f64>, local: &[DVector<f64>]) -> Self::State {
            (state.0 + shared[0], state.1.iter().zip(local).map(|(offset, step)| offset + step[0]).collect())
        }
    }

    fn lines() -> Lines {
        let line = |offset: f64| (0..8).map(|i| [f64::from(i), 2.0 * f64::from(i) + offset]).collect();
        Lines(vec![line(1.0), line(-3.0)])
    }

    #[test]
    fn shared_and_own_parameters_are_found_with_their_covariance() {
        let solution = minimise(&lines(), (0.0, vec![0.0; 2]), Loss::Squares, 50).unwrap();
        let (slope, offsets) = &solution.state;
        assert!(
            (slope - 2.0).abs() < 1e-9 && (offsets[0] - 1.0).abs() < 1e-9 && (offsets[1] + 3.0).abs() < 1e-9
        );
        assert!(solution.cost < 1e-18);
        // Of a slope with free offsets: 1 / sum (x - mean)^2, twice 42 here.
        assert!((solution.covariance.unwrap()[(0, 0)] - 1.0 / 84.0).abs() < 1e-12);
    }

    #[test]
    fn an_outlier_pulls_squares_but_hardly_cauchy() {
        let mut lines = lines();
        lines.0[0][7][1] += 100.0;
        let slope = |loss| minimise(&lines, (0.0, vec![0.0; 2]), loss, 200).unwrap().state.0;
        assert!((slope(Loss::Squares) - 2.0).abs() > 1.0);
        assert!((slope(Loss::Cauchy { scale: 0.1 }) - 2.0).abs() < 1e-3);
    }

    #[test]
    fn what_is_not_determined_has_no_covariance() {
        let flat = Lines(vec![vec![[1.0, 1.0], [1.0, 2.0]]]);
        assert!(minimise(&flat, (0.0, vec![0.0]), Loss::Squares, 20).unwrap().covariance.is_none());
    }
}
