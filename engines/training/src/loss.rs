//! Losses with their gradients by the network's output. Each is a mean over a batch, as PyTorch counts it.

use crate::lanes;

/// A loss and its gradient by the output it was taken of.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The loss.
    pub value: f64,
    /// Its gradient by every number of the output.
    pub gradient: Vec<f32>,
}

/// Weight of the squared mean in [`silog`], as the official trainer has it.
const SILOG_LAMBDA: f64 = 0.5;

/// Scale-invariant log loss (Eigen et al. 2014) over the pixels whose reference is in `range` metres, all images of the batch
/// together: `sqrt(mean(d^2) - mean(d)^2 / 2)`, `d = ln(target) - ln(depth)`. NaN references do not count. No valid pixel, or a
/// perfect prediction, has no gradient.
pub fn silog(depth: &[f32], target: &[f32], range: (f32, f32)) -> Loss {
    let valid = |target: f32| target >= range.0 && target <= range.1;
    let difference = |depth: f32, target: f32| f64::from(target).ln() - f64::from(depth).ln();
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (depth, target) in depth.iter().zip(target).filter(|(_, target)| valid(**target)) {
        let d = difference(*depth, *target);
        (count, sum, squares) = (count + 1.0, sum + d, squares + d * d);
    }
    let mean = sum / f64::max(count, 1.0);
    let value = (squares / f64::max(count, 1.0) - SILOG_LAMBDA * mean * mean).max(0.0).sqrt();
    let factor = if value > 0.0 { 1.0 / (value * count) } else { 0.0 };
    let gradient = depth.iter().zip(target).map(|(depth, target)| {
        let slope = |d: f64| -(factor * (d - SILOG_LAMBDA * mean) / f64::from(*depth)) as f32;
        if valid(*target) { slope(difference(*depth, *target)) } else { 0.0 }
    });
    Loss { value, gradient: gradient.collect() }
}

/// Mean squared error; numbers whose weight is 0 do not count.
pub fn squared(output: &[f32], target: &[f32], weight: &[f32]) -> Loss {
    weighted(output, target, weight, |d| (d * d, 2.0 * d))
}

/// Mean absolute error; numbers whose weight is 0 do not count.
pub fn absolute(output: &[f32], target: &[f32], weight: &[f32]) -> Loss {
    weighted(output, target, weight, |d| {
        (
            d.abs(),
            if d > 0.0 {
                1.0
            } else if d < 0.0 {
                -1.0
            } else {
                0.0
            },
        )
    })
}

fn weighted(output: &[f32], target: &[f32], weight: &[f32], f: fn(f32) -> (f32, f32)) -> Loss {
    let total: f64 = weight.iter().map(|weight| f64::from(*weight)).sum::<f64>().max(f64::MIN_POSITIVE);
    let mut value = 0.0;
    let pairs = output.iter().zip(target).zip(weight);
    let gradient = pairs.map(|((output, target), weight)| {
        let (loss, slope) = f(output - target);
        value += f64::from(loss * weight);
        (f64::from(slope * weight) / total) as f32
    });
    let gradient = gradient.collect();
    Loss { value: value / total, gradient }
}

/// What a masked patch adds to the loss of its batch, and each patch's own loss.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedLoss {
    /// Mean over the masked patches of this part of the batch, and the gradient.
    pub loss: Loss,
    /// Per image: mean over its masked patches.
    pub images: Vec<f32>,
}

/// Added to a patch's variance before its root is taken.
const PIXEL_EPSILON: f32 = 1e-6;

/// Loss of masked pre-training (He et al. 2022, arXiv 2111.06377): mean squared error of masked patches against their pixels,
/// each patch normalised by its own mean and unbiased variance. `pixels` and `target` hold patches of `patch_len` numbers;
/// `masked` is 1 for patches that the encoder did not see; `patches` is the number per image.
pub fn masked_pixels(
    pixels: &[f32],
    target: &[f32],
    masked: &[f32],
    patches: usize,
    patch_len: usize,
) -> MaskedLoss {
    let total: f32 = masked.iter().sum();
    let mut gradient = vec![0.0; pixels.len()];
    let mut losses = Vec::with_capacity(masked.len());
    let rows = pixels.chunks_exact(patch_len).zip(target.chunks_exact(patch_len)).zip(masked);
    for (((pixels, target), masked), gradient) in rows.zip(gradient.chunks_exact_mut(patch_len)) {
        if *masked == 0.0 {
            losses.push(0.0);
            continue;
        }
        let (mean, inverse) = normalisation(target);
        let error = |pixel: f32, target: f32| pixel - (target - mean) * inverse;
        losses.push(lanes::sum_pairs(pixels, target, |p, t| error(p, t) * error(p, t)) / patch_len as f32);
        let factor = 2.0 / (total * patch_len as f32);
        for ((gradient, pixel), target) in gradient.iter_mut().zip(pixels).zip(target) {
            *gradient = factor * error(*pixel, *target);
        }
    }
    let images = losses.chunks_exact(patches).zip(masked.chunks_exact(patches));
    let images =
        images.map(|(losses, masked)| losses.iter().sum::<f32>() / masked.iter().sum::<f32>().max(1.0));
    let value = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / f64::from(total.max(1.0));
    MaskedLoss { images: images.collect(), loss: Loss { value, gradient } }
}

/// Mean and reciprocal deviation of a patch, as the loss normalises its pixels.
pub fn normalisation(target: &[f32]) -> (f32, f32) {
    let mean = lanes::sum(target, |x| x) / target.len() as f32;
    let squares = lanes::sum(target, |x| (x - mean) * (x - mean));
    (mean, 1.0 / (squares / (target.len().max(2) - 1) as f32 + PIXEL_EPSILON).sqrt())
}

/// Cross-entropy of logits `[classes, pixels]` per image against a class per pixel; labels beyond the classes do not count.
pub fn cross_entropy(logits: &[f32], labels: &[u8], pixels: usize) -> Loss {
    let classes = logits.len() / labels.len().max(1);
    let counted = labels.iter().filter(|label| usize::from(**label) < classes).count();
    let share = 1.0 / counted.max(1) as f64;
    let (mut value, mut gradient) = (0.0, vec![0.0; logits.len()]);
    let images = logits.chunks_exact(classes * pixels).zip(gradient.chunks_exact_mut(classes * pixels));
    for ((logits, gradient), labels) in images.zip(labels.chunks_exact(pixels)) {
        for (pixel, label) in labels.iter().map(|label| usize::from(*label)).enumerate() {
            if label >= classes {
                continue;
            }
            let at = |class: usize| f64::from(logits[class * pixels + pixel]);
            let largest = (0..classes).map(at).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..classes).map(|class| (at(class) - largest).exp()).sum();
            value -= share * (at(label) - largest - sum.ln());
            for class in 0..classes {
                let likely = (at(class) - largest).exp() / sum;
                let right = f64::from(u8::from(class == label));
                gradient[class * pixels + pixel] = (share * (likely - right)) as f32;
            }
        }
    }
    Loss { value, gradient }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.cross_entropy(..., ignore_index=255)` of two classes on three pixels, torch 2.15.
    #[test]
    fn cross_entropy_is_that_of_torch() {
        let loss = cross_entropy(&[1.0, 0.0, -1.0, 0.5, 2.0, 3.0], &[0, 1, 255], 3);
        assert!((loss.value - 0.300_502_5).abs() < 1e-6, "{}", loss.value);
        let expected = [-0.188_770_3, 0.059_601_46, 0.0, 0.188_770_3, -0.059_601_46, 0.0];
        for (ours, torch) in loss.gradient.iter().zip(expected) {
            assert!((ours - torch).abs() < 1e-6, "{:?}", loss.gradient);
        }
    }

    /// A patch without contrast is painted without loss by a patch of zeros: what self-curation rests on.
    #[test]
    fn flat_patches_cost_nothing() {
        let black = vec![-2.0; 12];
        let MaskedLoss { loss, images } = masked_pixels(&[0.0; 12], &black, &[1.0], 1, 12);
        assert!(loss.value < 1e-6 && images[0] < 1e-6, "{}", loss.value);
    }
}
