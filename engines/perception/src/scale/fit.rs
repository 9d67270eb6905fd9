//! Scale and shift from samples of which many may be wrong.

/// Samples that a fit needs at least.
pub const MIN_SAMPLES: usize = 8;
/// Pairs (single samples for a scale alone) that are tried: with 45 % wrong samples all of them hold one with probability
/// 1e-9.
const TRIES: u64 = 60;
/// Samples further off than this many standard deviations are taken for wrong.
const WRONG_BEYOND: f64 = 3.0;
/// Of a Gaussian, the median of the distance from its mean.
const NORMAL_MEDIAN: f64 = 0.674_49;
/// Share of the samples that must agree.
const MIN_AGREEING: f64 = 0.5;
/// Relative error beyond which nothing agrees, whatever the median says.
const MAX_RELATIVE: f64 = 0.25;
/// Share of the middle depth by which depths must differ (from the 5th to the 95th of 100) to tell scale and shift apart.
const MIN_SPREAD: f64 = 0.1;
/// So many times better than one depth for all must the line be: below, a head's errors pass for differences of depth, and the line
/// is flatter or steeper than the truth by more than a tenth.
const MIN_GAIN: f64 = 3.0;
/// Below this relative error lies rounding.
const MIN_RELATIVE: f64 = 1e-6;

/// One pixel whose depth is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What the head says.
    pub raw: f64,
    /// What it is, metres along Z.
    pub meters: f64,
}

/// `metres = scale * raw + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Metres per raw unit, above 0.
    pub scale: f64,
    /// Metres at a raw 0.
    pub shift: f64,
}

impl Affine {
    /// Raw numbers are metres.
    pub const IDENTITY: Self = Self { scale: 1.0, shift: 0.0 };

    /// Metres of a raw number.
    pub fn meters(self, raw: f64) -> f64 {
        self.scale * raw + self.shift
    }
}

/// What is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The scale alone: for heads whose zero is the camera.
    Scale,
    /// Scale and shift.
    ScaleAndShift,
}

/// A fit with how well it explains the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineFit {
    /// Scale and shift.
    pub affine: Affine,
    /// Median of `|error| / depth` over the samples that agree.
    pub residual: f64,
    /// Samples that agree.
    pub agreeing: usize,
    /// Samples that were usable.
    pub samples: usize,
}

/// Why samples give no scale.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Too few.
    #[error("expected at least {MIN_SAMPLES} samples with a known depth, got {came}")]
    Samples {
        /// Usable samples that came.
        came: usize,
    },
    /// The samples do not follow one line.
    #[error("{agreeing} of {samples} samples agree on a scale, expected at least half")]
    Disagree {
        /// Samples of the best fit.
        agreeing: usize,
        /// Usable samples.
        samples: usize,
    },
    /// All samples lie at one depth, so that scale and shift cannot be told apart.
    #[error(
        "all samples lie at one depth: scale and shift cannot be told apart; give depths that differ, or fit the scale alone"
    )]
    OneDepth,
    /// The head's errors are too large beside the differences of depth to tell scale and shift apart.
    #[error(
        "the depths differ by {:.1} % and the head is off by {:.1} % all the same: scale and shift cannot be told apart; give depths \
         that differ more, or fit the scale alone",
        100.0 * .spread, 100.0 * .residual
    )]
    Undetermined {
        /// Median of the depths' distance from their median, over the depth.
        spread: f64,
        /// Median of `|error| / depth` of the best line.
        residual: f64,
    },
}

/// The scale (and shift) that most samples agree on: least median of relative errors over many small subsets (Rousseeuw
/// 1984), then least squares over the samples that agree, each weighted by its nearness, of the head's numbers on the metres: the
/// reference is taken for exact, and the errors are the head's (the other way about, they would flatten the line).
///
/// Samples that are not finite or not above 0 metres are left out.
///
/// # Errors
/// Too few samples, depths that do not differ enough, or no agreement of half of them.
pub fn fit(samples: &[Sample], what: Fit) -> Result<AffineFit, FitError> {
    let usable =
        |s: &&Sample| s.raw.is_finite() && s.meters.is_finite() && s.meters > 0.0 && s.raw.abs() < 1e12;
    let samples: Vec<Sample> = samples.iter().filter(usable).copied().collect();
    if samples.len() < MIN_SAMPLES {
        return Err(FitError::Samples { came: samples.len() });
    }
    let (mut affine, mut limit) = candidates(&samples, what)
        .map(|affine| (affine, median_error(affine, &samples)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .ok_or(FitError::OneDepth)?;
    for _ in 0..5 {
        let near = (WRONG_BEYOND * limit / NORMAL_MEDIAN).clamp(MIN_RELATIVE, MAX_RELATIVE);
        let agreeing =
            samples.iter().filter(|sample| error(affine, sample) <= near).copied().collect::<Vec<_>>();
        let Some(better) = least_squares(&agreeing, what) else { break };
        affine = better;
        limit = median_error(affine, &agreeing).max(MIN_RELATIVE);
    }
    judged(affine, &samples, what)
}

/// Accepts a fit that half of the samples agree with.
fn judged(affine: Affine, samples: &[Sample], what: Fit) -> Result<AffineFit, FitError> {
    let near = |sample: &&Sample| error(affine, sample) <= MAX_RELATIVE;
    let agreeing: Vec<Sample> = samples.iter().filter(near).copied().collect();
    let count = (agreeing.len(), samples.len());
    if affine.scale <= 0.0 || (count.0 as f64) < MIN_AGREEING * count.1 as f64 {
        return Err(FitError::Disagree { agreeing: count.0, samples: count.1 });
    }
    let residual = median_error(affine, &agreeing);
    if what == Fit::ScaleAndShift {
        determined(&agreeing, residual)?;
    }
    Ok(AffineFit { affine, residual, agreeing: count.0, samples: count.1 })
}

/// Whether the depths differ enough, by themselves and beside the line's residual, to determine a line.
fn determined(samples: &[Sample], residual: f64) -> Result<(), FitError> {
    let mut meters: Vec<f64> = samples.iter().map(|sample| sample.meters).collect();
    meters.sort_by(f64::total_cmp);
    let at = |share: f64| meters.get((share * (meters.len() as f64 - 1.0)) as usize).copied().unwrap_or(0.0);
    let middle = at(0.5);
    if at(0.95) - at(0.05) < MIN_SPREAD * middle {
        return Err(FitError::OneDepth);
    }
    let spread = median_error(Affine { scale: 0.0, shift: middle }, samples);
    if residual * MIN_GAIN > spread {
        return Err(FitError::Undetermined { spread, residual });
    }
    Ok(())
}

fn candidates(samples: &[Sample], what: Fit) -> impl Iterator<Item = Affine> + '_ {
    let mut state = 0x5eed_u64;
    let mut pick = move || {
        // SplitMix64: the same samples on every machine.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        samples[((z ^ (z >> 31)) % samples.len() as u64) as usize]
    };
    (0..TRIES).filter_map(move |_| {
        let (a, b) = (pick(), pick());
        let scale = match what {
            Fit::Scale => a.meters / a.raw,
            Fit::ScaleAndShift => (a.meters - b.meters) / (a.raw - b.raw),
        };
        let shift = if what == Fit::Scale { 0.0 } else { a.meters - scale * a.raw };
        (scale.is_finite() && scale > 0.0 && shift.is_finite()).then_some(Affine { scale, shift })
    })
}

/// How far off a sample is, over its depth.
fn error(affine: Affine, sample: &Sample) -> f64 {
    (affine.meters(sample.raw) - sample.meters).abs() / sample.meters
}

fn median_error(affine: Affine, samples: &[Sample]) -> f64 {
    let mut errors: Vec<f64> = samples.iter().map(|sample| error(affine, sample)).collect();
    if errors.is_empty() {
        return f64::INFINITY;
    }
    let middle = errors.len() / 2;
    *errors.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Least squares of `raw = (metres - shift) / scale` with weights `1 / metres^2`, because a head's errors grow with depth.
fn least_squares(samples: &[Sample], what: Fit) -> Option<Affine> {
    let (mut mm, mut m1, mut one, mut rm, mut r1) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for Sample { raw, meters } in samples {
        let weight = 1.0 / (meters * meters);
        mm += 1.0;
        m1 += weight * meters;
        one += weight;
        rm += weight * raw * meters;
        r1 += weight * raw;
    }
    let (slope, at_zero) = match what {
        Fit::Scale => (rm / mm, 0.0),
        Fit::ScaleAndShift => {
            let determinant = mm * one - m1 * m1;
            ((one * rm - m1 * r1) / determinant, (mm * r1 - m1 * rm) / determinant)
        }
    };
    let affine = Affine { scale: 1.0 / slope, shift: -at_zero / slope };
    (affine.scale.is_finite() && affine.shift.is_finite() && affine.scale > 0.0).then_some(affine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Samples of a line between 0.5 and 8 m with 1 % noise, of which a share is anything within the same depths.
    fn samples(truth: Affine, count: usize, wrong: f64, unit: &[f64]) -> Vec<Sample> {
        let at = |index: usize| unit[index % unit.len()];
        (0..count)
            .map(|index| {
                let meters = 0.5 + 7.5 * at(3 * index);
                let raw = (meters - truth.shift) / truth.scale;
                let noisy = meters * (1.0 + 0.01 * (at(3 * index + 1) + at(7 * index + 2) - 1.0));
                let spoilt = (index as f64 * 0.618_034).fract() < wrong;
                Sample { raw, meters: if spoilt { 0.5 + 7.5 * at(5 * index + 2) } else { noisy } }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_third_of_wrong_samples_costs_less_than_a_hundredth(
            scale in 0.05..20.0_f64, shift in -0.4..2.0_f64,
            unit in proptest::collection::vec(0.0..1.0_f64, 997), alone: bool,
        ) {
            let truth = Affine { scale, shift: if alone { 0.0 } else { shift } };
            let samples = samples(truth, 300, 0.3, &unit);
            let what = if alone { Fit::Scale } else { Fit::ScaleAndShift };
            let found = fit(&samples, what).unwrap();
            for meters in [0.7, 2.0, 7.0] {
                let came = found.affine.meters((meters - truth.shift) / truth.scale);
                prop_assert!((came / meters - 1.0).abs() < 0.01, "{came} for {meters}: {found:?}");
            }
            prop_assert!(found.residual < 0.01, "{found:?}");
        }

        #[test]
        fn numbers_from_anywhere_are_answered(
            numbers in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..40), alone: bool,
        ) {
            let samples: Vec<_> = numbers.into_iter().map(|(raw, meters)| Sample { raw, meters }).collect();
            if let Ok(found) = fit(&samples, if alone { Fit::Scale } else { Fit::ScaleAndShift }) {
                prop_assert!(found.affine.scale.is_finite() && found.affine.scale > 0.0 && found.affine.shift.is_finite());
            }
        }
    }

    /// Depths in a range, what a head of slope 1/6 says of them with Gaussian-like relative noise, and the fit.
    fn noisy(near: f64, far: f64, noise: f64) -> Result<AffineFit, FitError> {
        let unit = |index: usize, step: f64| (index as f64 * step).fract();
        let sample = |index: usize| {
            let meters = near + (far - near) * unit(index, 0.618_034);
            let normal: f64 = (0..6).map(|part| unit(index * 7 + part, 0.754_877) - 0.5).sum::<f64>() * 1.414;
            Sample { raw: meters / 6.0 * (1.0 + noise * normal), meters }
        };
        fit(&(0..500).map(sample).collect::<Vec<_>>(), Fit::ScaleAndShift)
    }

    #[test]
    fn a_heads_errors_do_not_flatten_the_line() {
        let found = noisy(0.5, 3.0, 0.05).unwrap().affine;
        for meters in [0.5, 1.0, 3.0] {
            let came = found.meters(meters / 6.0);
            assert!((came / meters - 1.0).abs() < 0.02, "{came} for {meters}: {found:?}");
        }
    }

    #[test]
    fn a_wall_determines_no_scale_and_shift() {
        assert_eq!(noisy(1.98, 2.02, 0.01), Err(FitError::OneDepth));
        assert!(
            matches!(noisy(1.8, 2.2, 0.05), Err(FitError::Undetermined { .. })),
            "{:?}",
            noisy(1.8, 2.2, 0.05)
        );
        // A head that sees nothing, before depths that differ.
        let blind = |index: usize| {
            let unit = |step: f64| (index as f64 * step).fract();
            Sample { raw: 0.5 + 0.01 * unit(0.754_877), meters: 1.5 + unit(0.618_034) }
        };
        let found = fit(&(0..500).map(blind).collect::<Vec<_>>(), Fit::ScaleAndShift);
        assert!(found.is_err(), "{found:?}");
    }

    #[test]
    fn without_noise_the_line_is_exact() {
        let truth = Affine { scale: 3.25, shift: 0.4 };
        let exact = |index: u32| {
            let meters = 0.5 + 0.1 * f64::from(index);
            Sample { raw: (meters - truth.shift) / truth.scale, meters }
        };
        let found = fit(&(0..40).map(exact).collect::<Vec<_>>(), Fit::ScaleAndShift).unwrap();
        assert!((found.affine.scale - 3.25).abs() < 1e-9 && (found.affine.shift - 0.4).abs() < 1e-9);
        assert_eq!((found.agreeing, found.samples), (40, 40));
    }

    #[test]
    fn what_gives_no_scale_says_why() {
        let flat = vec![Sample { raw: 0.5, meters: 2.0 }; 20];
        assert_eq!(fit(&flat[..7], Fit::Scale), Err(FitError::Samples { came: 7 }));
        assert_eq!(fit(&flat, Fit::ScaleAndShift), Err(FitError::OneDepth));
        assert!((fit(&flat, Fit::Scale).unwrap().affine.scale - 4.0).abs() < 1e-12);
        let nothing = vec![Sample { raw: f64::NAN, meters: 2.0 }; 20];
        assert_eq!(fit(&nothing, Fit::Scale), Err(FitError::Samples { came: 0 }));
        let unit: Vec<f64> = (0..997).map(|i| (f64::from(i) * 0.754_877).fract()).collect();
        let random = samples(Affine::IDENTITY, 200, 1.0, &unit);
        assert!(
            matches!(fit(&random, Fit::ScaleAndShift), Err(FitError::Disagree { .. })),
            "{:?}",
            fit(&random, Fit::ScaleAndShift)
        );
        let backwards: Vec<_> =
            (1..30).map(|i| Sample { raw: f64::from(i), meters: 40.0 - f64::from(i) }).collect();
        assert!(fit(&backwards, Fit::ScaleAndShift).is_err());
    }
}
