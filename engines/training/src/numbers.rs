//! Random numbers that depend on nothing but a seed and what they are for, so that a run resumed at any step draws the same ones.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The stream of a purpose, for example step 7's mask of image 3: `Numbers::of(seed, &[MASK, 7, 3])`.
    pub fn of(seed: u64, purpose: &[u64]) -> Self {
        let mut numbers = Self(seed);
        for part in purpose {
            let mixed = numbers.bits() ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93);
            numbers = Self(mixed);
        }
        numbers.bits();
        numbers
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `low` to below `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// An index below `count`, which is above 0.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// A number of the normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A random order of `0..count`.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_even_and_their_own() {
        let draw = |purpose: &[u64]| Numbers::of(3, purpose).unit();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        let mut numbers = Numbers::of(3, &[9]);
        let mean = (0..20_000).map(|_| numbers.unit()).sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let draws: Vec<f64> = (0..20_000).map(|_| numbers.normal()).collect();
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!((variance - 1.0).abs() < 0.04, "{variance}");
        let mut counts = [0; 5];
        (0..5000).for_each(|_| counts[numbers.below(5)] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        let mut order = numbers.order(40);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..40));
    }
}
