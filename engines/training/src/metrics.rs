//! The official evaluation's numbers for depth.

use serde::Serialize;

/// Errors of predicted depths, of one image or the mean over images. The names are the official evaluation's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DepthMetrics {
    /// Share of pixels within a factor of 1.25.
    pub delta1: f64,
    /// Within its square.
    pub delta2: f64,
    /// Within its cube.
    pub delta3: f64,
    /// Mean of `|error| / depth`.
    pub abs_rel: f64,
    /// Mean of `error^2 / depth`, metres.
    pub sq_rel: f64,
    /// Root of the mean squared error, metres.
    pub rmse: f64,
    /// Root of the mean squared error of the logarithm.
    pub rmse_log: f64,
    /// Mean error of the decimal logarithm.
    pub log10: f64,
    /// Scale-invariant log error.
    pub silog: f64,
}

/// Fewer valid pixels than this are no image, as the official evaluation has it.
const FEWEST: usize = 10;

/// Compares an image's depths with the true ones where those are in `range`; nothing when almost none are.
pub fn depth(depth: &[f32], truth: &[f32], range: (f32, f32)) -> Option<DepthMetrics> {
    let valid = |(_, truth): &(&f32, &f32)| **truth >= range.0 && **truth <= range.1;
    let pairs: Vec<(f64, f64)> =
        depth.iter().zip(truth).filter(valid).map(|(a, b)| (f64::from(*a), f64::from(*b))).collect();
    if pairs.len() < FEWEST {
        return None;
    }
    let mean = |f: &dyn Fn(f64, f64) -> f64| {
        pairs.iter().map(|(depth, truth)| f(*depth, *truth)).sum::<f64>() / pairs.len() as f64
    };
    let within = |factor: f64| mean(&|p, t| f64::from(u8::from((p / t).max(t / p) < factor)));
    let squared_log = mean(&|p, t| (p.ln() - t.ln()).powi(2));
    let mean_log = mean(&|p, t| p.ln() - t.ln());
    Some(DepthMetrics {
        delta1: within(1.25),
        delta2: within(1.25 * 1.25),
        delta3: within(1.25 * 1.25 * 1.25),
        abs_rel: mean(&|p, t| (p - t).abs() / t),
        sq_rel: mean(&|p, t| (p - t).powi(2) / t),
        rmse: mean(&|p, t| (p - t).powi(2)).sqrt(),
        rmse_log: squared_log.sqrt(),
        log10: mean(&|p, t| (p.log10() - t.log10()).abs()),
        silog: (squared_log - 0.5 * mean_log * mean_log).max(0.0).sqrt(),
    })
}

impl DepthMetrics {
    /// Mean over images; nothing for none.
    pub fn mean(images: &[Self]) -> Option<Self> {
        if images.is_empty() {
            return None;
        }
        let over = |of: fn(&Self) -> f64| images.iter().map(of).sum::<f64>() / images.len() as f64;
        Some(Self {
            delta1: over(|m| m.delta1),
            delta2: over(|m| m.delta2),
            delta3: over(|m| m.delta3),
            abs_rel: over(|m| m.abs_rel),
            sq_rel: over(|m| m.sq_rel),
            rmse: over(|m| m.rmse),
            rmse_log: over(|m| m.rmse_log),
            log10: over(|m| m.log10),
            silog: over(|m| m.silog),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `eval_depth` of facebookresearch/pixio (b83555d) on the same numbers, torch 2.15.
    #[test]
    fn equals_the_official_evaluation() {
        let truth: Vec<f32> = (0..12).map(|i| 1.0 + 0.25 * i as f32).collect();
        let predicted: Vec<f32> =
            truth.iter().enumerate().map(|(i, t)| t * (0.7 + 0.06 * i as f32)).collect();
        let ours = depth(&predicted, &truth, (0.001, 10.0)).unwrap();
        let expected = [
            0.6666667, 1.0000000, 1.0000000, 0.1800000, 0.1147500, 0.5963638, 0.2072385, 0.0774978, 0.2071500,
        ];
        let came = [
            ours.delta1,
            ours.delta2,
            ours.delta3,
            ours.abs_rel,
            ours.sq_rel,
            ours.rmse,
            ours.rmse_log,
            ours.log10,
            ours.silog,
        ];
        for (ours, theirs) in came.iter().zip(expected) {
            assert!((ours - theirs).abs() < 2e-6, "{came:?}");
        }
        assert!(depth(&predicted, &truth, (20.0, 30.0)).is_none());
    }
}
