//! What a trained head is worth on pictures never trained on, by the deployed engine, beside predictors that see nothing.

use anyhow::{Result, ensure};
use calibration::Size;
use network::Bundle;
use onnx::OnnxRuntime;
use perception::Engine;
use training::metrics::{self, DepthMetrics};

use super::folder::Pairs;
use super::head::Encoder;
use crate::progress;

/// The first output of a head for every picture, through the bundle's ONNX networks.
///
/// # Errors
/// When the engine does not run.
pub fn outputs(
    engine: &mut OnnxRuntime,
    bundle: &Bundle,
    head: &str,
    size: Size,
    rgb: &[u8],
) -> Result<Vec<Vec<f32>>> {
    let mut first = Vec::with_capacity(rgb.len() / (3 * size.area()).max(1));
    each(engine, bundle, head, size, rgb, |outputs| {
        first.extend(outputs.into_iter().next());
        Ok(())
    })?;
    Ok(first)
}

/// Gives every picture's outputs of a head, in the head's order, through the bundle's ONNX networks.
///
/// # Errors
/// When the engine does not run, or what hears the outputs fails.
pub fn each(
    engine: &mut OnnxRuntime,
    bundle: &Bundle,
    head: &str,
    size: Size,
    rgb: &[u8],
    mut hear: impl FnMut(Vec<Vec<f32>>) -> Result<()>,
) -> Result<()> {
    let mut encoder = Encoder::load(engine, bundle, size)?;
    let network = bundle.head(head, size)?;
    let inputs = encoder.bound(engine, &network)?;
    let mut loaded = engine.load(&network, &inputs)?;
    let lengths: Vec<usize> = network.outputs().iter().map(|port| port.shape.iter().product()).collect();
    let pictures = rgb.chunks_exact(3 * size.area());
    let bar = progress::items(pictures.len() as u64, "evaluating");
    for picture in pictures {
        encoder.run(engine, picture)?;
        engine.run(&mut loaded)?;
        let tensors = engine.outputs(&loaded).to_vec();
        let mut outputs = Vec::with_capacity(tensors.len());
        for (tensor, length) in tensors.iter().zip(&lengths) {
            let mut values = vec![0.0; *length];
            engine.download(tensor, &mut values)?;
            outputs.push(values);
        }
        hear(outputs)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Mean metrics over the images of a prediction each.
pub fn depth<'p>(
    predictions: impl Iterator<Item = &'p [f32]>,
    truth: &Pairs<u16>,
    pixels: usize,
    range: (f32, f32),
) -> Option<DepthMetrics> {
    let meters = |map: &[u16]| {
        map.iter().map(|mm| if *mm == 0 { f32::NAN } else { f32::from(*mm) * 1e-3 }).collect::<Vec<_>>()
    };
    let images: Vec<DepthMetrics> = predictions
        .zip(truth.maps.chunks_exact(pixels))
        .filter_map(|(prediction, map)| metrics::depth(prediction, &meters(map), range))
        .collect();
    DepthMetrics::mean(&images)
}

/// The depths that a head learns and is judged by, millimetres: those in `range`, metres, and 0, unknown, for the others.
///
/// # Errors
/// When there is none.
pub fn counted(maps: &[u16], range: (f32, f32)) -> Result<Vec<u16>> {
    let counts = |mm: u16| (range.0..=range.1).contains(&(f32::from(mm) * 1e-3));
    let counted: Vec<u16> = maps.iter().map(|mm| if counts(*mm) { *mm } else { 0 }).collect();
    some(&counted, range)?;
    Ok(counted)
}

/// Refuses maps in which no depth is in range.
///
/// # Errors
/// When there is none.
pub fn some(counted: &[u16], range: (f32, f32)) -> Result<()> {
    let any = counted.iter().any(|mm| *mm > 0);
    ensure!(any, "expected depth within the head's range of {} to {} m, there is none", range.0, range.1);
    Ok(())
}

/// Depth that a predictor without eyes gives: the median of all training pixels, and that of each pixel over the training images,
/// metres. It learns from what the head learns from, `maps` in millimetres with 0 for what does not count: with the depths beyond the
/// head's range it would be a worse predictor of those within. A pixel never known gets the median of all.
pub fn blind(maps: &[u16], pixels: usize) -> (f32, Vec<f32>) {
    let mut all: Vec<u16> = maps.iter().copied().filter(|mm| *mm > 0).collect();
    let constant = median(&mut all).unwrap_or(f32::NAN);
    let column = |pixel: usize| {
        let mut own: Vec<u16> = maps[pixel..].iter().step_by(pixels).copied().filter(|mm| *mm > 0).collect();
        median(&mut own).unwrap_or(constant)
    };
    (constant, (0..pixels).map(column).collect())
}

fn median(values: &mut [u16]) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| f32::from(*values.select_nth_unstable(middle).1) / 1000.0)
}

/// Intersection over union of each class that appears, `(class, share)`, counted over all images.
pub fn intersections(logits: &[Vec<f32>], truth: &[u8], pixels: usize, classes: usize) -> Vec<(usize, f64)> {
    let (mut both, mut either) = (vec![0_u64; classes], vec![0_u64; classes]);
    for (logits, labels) in logits.iter().zip(truth.chunks_exact(pixels)) {
        for (pixel, label) in
            labels.iter().map(|label| usize::from(*label)).enumerate().filter(|(_, l)| *l < classes)
        {
            let at = |class: &usize| logits[class * pixels + pixel];
            let said = (0..classes).max_by(|a, b| at(a).total_cmp(&at(b))).unwrap_or(0);
            either[label] += 1;
            if said == label {
                both[label] += 1;
            } else {
                either[said] += 1;
            }
        }
    }
    let share = |class: usize| both[class] as f64 / either[class] as f64;
    (0..classes).filter(|class| either[*class] > 0).map(|class| (class, share(class))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blind_predictors_are_medians() {
        let maps = [1000, 0, 2000, 0, 4000, 3000];
        assert_eq!(blind(&maps, 2), (3.0, vec![2.0, 3.0]));
        let near = counted(&maps, (0.001, 2.5)).unwrap();
        assert_eq!(near, [1000, 0, 2000, 0, 0, 0]);
        assert_eq!(blind(&near, 2), (2.0, vec![2.0, 2.0]), "what does not count teaches them nothing");
        let error = counted(&maps, (5.0, 9.0)).unwrap_err().to_string();
        assert!(error.contains("range of 5 to 9 m"), "{error}");
    }

    /// `intersectionAndUnion` of facebookresearch/pixio (b83555d), summed over two images: 6 of 22, 6 of 22 and 2 of 14 pixels.
    #[test]
    fn equals_the_official_evaluation() {
        let (classes, pixels) = (3, 24);
        let logits = |k: usize| {
            let number = move |at: usize| ((7 * (at % pixels) + 5 * (at / pixels) + 3 * k) % 11) as f32;
            (0..classes * pixels).map(number).collect::<Vec<_>>()
        };
        // The fourth class is none of the head's: 255 there.
        let label =
            |k: usize, pixel: usize| if (5 * pixel + k) % 4 < 3 { ((5 * pixel + k) % 4) as u8 } else { 255 };
        let truth: Vec<u8> = (0..2).flat_map(|k| (0..pixels).map(move |pixel| label(k, pixel))).collect();
        let shares = intersections(&[logits(0), logits(1)], &truth, pixels, classes);
        assert_eq!(shares, [(0, 6.0 / 22.0), (1, 6.0 / 22.0), (2, 2.0 / 14.0)]);
    }

    #[test]
    fn unions_count_both_sides() {
        // Two classes on three pixels, of which the middle one is wrong.
        let logits = vec![vec![1.0, 1.0, 0.0, 0.0, 0.0, 1.0]];
        let shares = intersections(&logits, &[0, 1, 1], 3, 2);
        assert_eq!(shares, [(0, 0.5), (1, 0.5)]);
    }
}
