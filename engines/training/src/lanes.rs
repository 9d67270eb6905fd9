//! Sums and exponentials written so that the compiler uses vector instructions.

/// Independent partial sums.
const LANES: usize = 16;

/// Sum of `f(x)`, always in the same order.
pub(crate) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        partial.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += f(*value));
    }
    let rest: f32 = chunks.remainder().iter().map(|value| f(*value)).sum();
    partial.iter().sum::<f32>() + rest
}

/// Sum of `f(a, b)`, always in the same order.
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (x, y) in (&mut left).zip(&mut right) {
        for ((sum, x), y) in partial.iter_mut().zip(x).zip(y) {
            *sum += f(*x, *y);
        }
    }
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| f(*x, *y)).sum();
    partial.iter().sum::<f32>() + rest
}

/// `into += values`.
pub(crate) fn add(into: &mut [f32], values: &[f32]) {
    into.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// `exp(x)` to about 2e-7 of its value; 0 below -87, the largest finite result above 88 (Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let turns = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - turns * 0.693_359_4 + turns * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        p = p * r + c;
    }
    let fraction = p * r * r + r + 1.0;
    let scale = f32::from_bits(((turns as i32).wrapping_add(127) as u32) << 23);
    fraction * scale
}

/// The normal distribution's density and `Phi(x)`, its integral up to `x`, which make GELU `x Phi(x)`: Abramowitz and Stegun
/// 7.1.26, 1.5e-7 at worst.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let bell = exp(-z * z);
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4_f32;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p * t + c;
    }
    let upper = 0.5 * p * t * bell;
    let integral = if x < 0.0 { upper } else { 1.0 - upper };
    (bell * 0.398_942_3, integral)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_the_standard_library() {
        for i in -860..=880 {
            let x = i as f32 * 0.1;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 4e-7, "{x}: {} for {exact}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-200.0) < 1e-37);
    }

    /// `torch.special.ndtr` and the normal density, torch 2.15.
    #[test]
    fn normal_is_that_of_torch() {
        let cases = [
            (-3.0, 0.001_349_898, 0.004_431_848_4),
            (0.0, 0.5, 0.398_942_3),
            (1.5, 0.933_192_8, 0.129_517_6),
        ];
        for (x, integral, density) in cases {
            let ours = normal(x);
            assert!((ours.1 - integral).abs() < 3e-7 && (ours.0 - density).abs() < 3e-7, "{x}: {ours:?}");
        }
    }

    #[test]
    fn sums_take_every_value_once() {
        let values: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum(&values, |x| x), 666.0);
        assert_eq!(sum_pairs(&values, &values, |a, b| a - b + 1.0), 37.0);
    }
}
