//! Weights of the antialiased bicubic resize, as whole numbers: those of `fast_image_resize`, which the CPU path uses.
//!
//! The filter is Catmull-Rom (a = -0.5), widened by the reduction as in PIL. Weights are rounded to 16 bit with one
//! precision for the whole axis, so that the GPU's sums are the CPU's sums bit for bit.

/// Half the width of the filter at its own scale, in pixels.
const SUPPORT: f64 = 2.0;

/// The weights of one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// First input position and number of positions, for every output position.
    pub spans: Vec<[i32; 2]>,
    /// `taps` weights for every output position; those beyond its number are zero.
    pub weights: Vec<i16>,
    /// Weights of one output position.
    pub taps: usize,
    /// A weight's value is the number over 2^precision.
    pub precision: u32,
}

impl Axis {
    /// From the part of `input` positions that begins at `start` and is `length` long (edges at integers) to `output`
    /// positions.
    pub fn new(input: usize, start: f64, length: f64, output: usize) -> Self {
        // Written as the library does: rounding is part of the result.
        let scale = ((start + length) - start) / output as f64;
        let all: Vec<(usize, Vec<f64>)> =
            (0..output).map(|position| weights(position, start, scale, input)).collect();
        let largest = all.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        let precision = precision(largest);
        let taps = all.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let mut axis = Self { spans: Vec::new(), weights: Vec::new(), taps, precision };
        for (first, weights) in &all {
            axis.spans.push([*first as i32, weights.len() as i32]);
            let unit = f64::from(1_u32 << precision);
            let rounded = weights.iter().map(|weight| (weight * unit).round() as i16);
            axis.weights.extend(rounded.chain(std::iter::repeat(0)).take(taps));
        }
        axis
    }
}

/// First position and weights of one output position; no zeros at the ends.
fn weights(position: usize, start: f64, scale: f64, input: usize) -> (usize, Vec<f64>) {
    let widening = scale.max(1.0);
    let centre = start + (position as f64 + 0.5) * scale;
    let radius = SUPPORT * widening;
    let first = (centre - radius).floor().max(0.0) as usize;
    let end = (centre + radius).ceil().min(input as f64) as usize;
    let narrowing = 1.0 / widening;
    let weight = |at: usize| catmull_rom((at as f64 - (centre - 0.5)) * narrowing);
    let all: Vec<f64> = (first..end).map(weight).collect();
    let leading = all.iter().take_while(|weight| **weight == 0.0).count();
    let mut kept = all[leading..].to_vec();
    let sum: f64 = kept.iter().sum();
    while kept.last() == Some(&0.0) {
        kept.pop();
    }
    if sum != 0.0 {
        kept.iter_mut().for_each(|weight| *weight /= sum);
    }
    (first + leading, kept)
}

fn catmull_rom(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The most fractional bits with which the largest weight fits into 16 bit with its sign.
fn precision(largest: f64) -> u32 {
    let fits = |bits: u32| (largest * f64::from(1_u32 << bits)).round() < f64::from(1_u32 << 15);
    (0..22).find(|bits| !fits(bits + 1)).unwrap_or(21)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        let cases = [
            (640, 0.0, 640.0, 256),
            (641, 0.0, 641.0, 257),
            (100, 12.3, 80.25, 256),
            (7, 0.0, 7.0, 16),
            (4000, 0.0, 4000.0, 16),
            (1, 0.0, 1.0, 3),
        ];
        for (input, start, length, output) in cases {
            let axis = Axis::new(input, start, length, output);
            for (index, [first, count]) in axis.spans.iter().enumerate() {
                assert!(*first >= 0 && (first + count) as usize <= input && *count as usize <= axis.taps);
                let weights = &axis.weights[index * axis.taps..][..axis.taps];
                let sum: i32 = weights.iter().map(|weight| i32::from(*weight)).sum();
                let one = 1 << axis.precision;
                assert!((sum - one).abs() <= axis.taps as i32, "{input} {output} {index}: {sum} of {one}");
            }
        }
    }

    #[test]
    fn an_equal_size_changes_nothing() {
        let axis = Axis::new(40, 4.0, 32.0, 32);
        assert_eq!((axis.taps, axis.precision), (1, 14));
        assert!(axis.weights.iter().all(|weight| *weight == 1 << 14));
        assert_eq!(axis.spans[0], [4, 1]);
    }
}
