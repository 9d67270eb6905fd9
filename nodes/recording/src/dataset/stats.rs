//! Statistics per feature, as LeRobot keeps them per episode and over the dataset.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The quantiles that LeRobot keeps, with their names.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("q01", 0.01), ("q10", 0.10), ("q50", 0.50), ("q90", 0.90), ("q99", 0.99)];

/// Statistics of one feature: one entry per element of a vector, or per channel of a picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stats {
    pub(crate) min: Vec<f64>,
    pub(crate) max: Vec<f64>,
    pub(crate) mean: Vec<f64>,
    /// Of the population (no correction).
    pub(crate) std: Vec<f64>,
    /// Frames.
    pub(crate) count: u64,
    /// In the order of [`QUANTILES`].
    pub(crate) quantiles: [Vec<f64>; 5],
}

/// How often each value came, for one channel of some pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram(pub(crate) BTreeMap<u16, u64>);

impl Histogram {
    pub(crate) fn add(&mut self, other: &Self) {
        for (value, count) in &other.0 {
            *self.0.entry(*value).or_default() += count;
        }
    }
}

impl Stats {
    /// Over frames, from one column per element, none of them empty; one column is held at a time.
    pub(crate) fn of_columns(columns: impl IntoIterator<Item = Vec<f64>>) -> Self {
        let mut stats = Self::empty(0);
        for mut column in columns {
            stats.count = column.len() as u64;
            let count = column.len() as f64;
            let mean = column.iter().sum::<f64>() / count;
            let variance = column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            column.sort_by(f64::total_cmp);
            stats.push(column[0], column[column.len() - 1], mean, variance.sqrt());
            for (into, (_, level)) in stats.quantiles.iter_mut().zip(QUANTILES) {
                into.push(quantile(&column, level));
            }
        }
        stats
    }

    /// Over pixels of `frames` pictures, one histogram per channel; values are multiplied by `scale`.
    pub(crate) fn of_histograms(channels: &[Histogram], frames: u64, scale: f64) -> Self {
        let mut stats = Self::empty(frames);
        for Histogram(counts) in channels {
            let total = counts.values().sum::<u64>().max(1) as f64;
            let sum = |f: &dyn Fn(f64) -> f64| {
                counts.iter().map(|(value, count)| f(f64::from(*value) * scale) * *count as f64).sum::<f64>()
            };
            let mean = sum(&|value| value) / total;
            let variance = sum(&|value| (value - mean).powi(2)) / total;
            let end = |value: Option<&u16>| f64::from(value.copied().unwrap_or(0)) * scale;
            let (min, max) = (end(counts.keys().next()), end(counts.keys().next_back()));
            stats.push(min, max, mean, variance.sqrt());
            for (into, (_, level)) in stats.quantiles.iter_mut().zip(QUANTILES) {
                into.push(counted_quantile(counts, level * total) * scale);
            }
        }
        stats
    }

    fn empty(count: u64) -> Self {
        let (min, max, mean, std) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { min, max, mean, std, count, quantiles: Default::default() }
    }

    fn push(&mut self, min: f64, max: f64, mean: f64, std: f64) {
        self.min.push(min);
        self.max.push(max);
        self.mean.push(mean);
        self.std.push(std);
    }

    /// Over both: exact but for quantiles, which become LeRobot's envelope (the lower of low ones, the higher of high ones).
    pub(crate) fn merge(&mut self, other: &Self) {
        let (a, b) = (self.count as f64, other.count as f64);
        for index in 0..self.min.len().min(other.min.len()) {
            self.min[index] = self.min[index].min(other.min[index]);
            self.max[index] = self.max[index].max(other.max[index]);
            let mean = (self.mean[index] * a + other.mean[index] * b) / (a + b);
            let part = |stats: &Self, count: f64| {
                count * (stats.std[index].powi(2) + (stats.mean[index] - mean).powi(2))
            };
            self.std[index] = ((part(self, a) + part(other, b)) / (a + b)).sqrt();
            self.mean[index] = mean;
            for (place, (_, level)) in QUANTILES.iter().enumerate() {
                let (mine, theirs) = (self.quantiles[place][index], other.quantiles[place][index]);
                self.quantiles[place][index] = if *level > 0.5 { mine.max(theirs) } else { mine.min(theirs) };
            }
        }
        self.count += other.count;
    }

    /// Names and values in LeRobot's order, without the count.
    pub(crate) fn named(&self) -> Vec<(&'static str, &[f64])> {
        let mut named: Vec<(&'static str, &[f64])> =
            vec![("min", &self.min), ("max", &self.max), ("mean", &self.mean), ("std", &self.std)];
        named.extend(
            QUANTILES.iter().zip(&self.quantiles).map(|((name, _), values)| (*name, values.as_slice())),
        );
        named
    }
}

/// Linear interpolation between the neighbours, as numpy does by default.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let place = level * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

fn counted_quantile(counts: &BTreeMap<u16, u64>, target: f64) -> f64 {
    let mut seen = 0;
    for (value, count) in counts {
        seen += count;
        if seen as f64 >= target {
            return f64::from(*value);
        }
    }
    0.0
}

/// `stats.json`'s entry of a feature: vectors as lists, pictures as lists of 1x1 lists per channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredStats {
    min: Shaped,
    max: Shaped,
    mean: Shaped,
    std: Shaped,
    count: Vec<u64>,
    q01: Shaped,
    q10: Shaped,
    q50: Shaped,
    q90: Shaped,
    q99: Shaped,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Shaped {
    Vector(Vec<f64>),
    Picture(Vec<Vec<Vec<f64>>>),
}

impl Shaped {
    fn new(values: &[f64], picture: bool) -> Self {
        match picture {
            true => Self::Picture(values.iter().map(|value| vec![vec![*value]]).collect()),
            false => Self::Vector(values.to_vec()),
        }
    }

    fn values(&self) -> Vec<f64> {
        match self {
            Self::Vector(values) => values.clone(),
            Self::Picture(channels) => channels.iter().flatten().flatten().copied().collect(),
        }
    }
}

impl StoredStats {
    pub(crate) fn new(stats: &Stats, picture: bool) -> Self {
        let shaped = |values: &[f64]| Shaped::new(values, picture);
        let [q01, q10, q50, q90, q99] = &stats.quantiles;
        Self {
            min: shaped(&stats.min),
            max: shaped(&stats.max),
            mean: shaped(&stats.mean),
            std: shaped(&stats.std),
            count: vec![stats.count],
            q01: shaped(q01),
            q10: shaped(q10),
            q50: shaped(q50),
            q90: shaped(q90),
            q99: shaped(q99),
        }
    }

    /// `None` when its lists have different lengths.
    pub(crate) fn stats(&self) -> Option<Stats> {
        let quantiles = [&self.q01, &self.q10, &self.q50, &self.q90, &self.q99].map(Shaped::values);
        let stats = Stats {
            min: self.min.values(),
            max: self.max.values(),
            mean: self.mean.values(),
            std: self.std.values(),
            count: *self.count.first()?,
            quantiles,
        };
        let length = stats.min.len();
        stats.named().iter().all(|(_, values)| values.len() == length).then_some(stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} and {b}"));
    }

    #[test]
    fn numpys_numbers_for_a_small_column() {
        // numpy 2.4: mean, std and quantile of [4, 1, 3, 2, 10].
        let stats = Stats::of_columns([vec![4.0, 1.0, 3.0, 2.0, 10.0]]);
        close(&stats.mean, &[4.0]);
        close(&stats.std, &[3.162_277_660_168_379_5]);
        let quantiles: Vec<f64> = stats.quantiles.iter().map(|q| q[0]).collect();
        close(&quantiles, &[1.04, 1.4, 3.0, 7.6, 9.76]);
        assert_eq!((stats.min[0], stats.max[0], stats.count), (1.0, 10.0, 5));
    }

    #[test]
    fn merged_moments_are_those_of_all_frames() {
        let (a, b) = (vec![1.0, 2.0, 6.0], vec![-3.0, 5.0, 5.5, 7.0]);
        let mut merged = Stats::of_columns([a.clone()]);
        merged.merge(&Stats::of_columns([b.clone()]));
        let all = Stats::of_columns([[a, b].concat()]);
        close(&merged.mean, &all.mean);
        close(&merged.std, &all.std);
        close(&merged.min, &all.min);
        close(&merged.max, &all.max);
        assert_eq!(merged.count, all.count);
    }

    #[test]
    fn histograms_give_the_numbers_of_their_pixels() {
        let values = [0_u16, 0, 10, 200, 255];
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| *histogram.0.entry(*value).or_default() += 1);
        let stats = Stats::of_histograms(&[histogram], 1, 1.0 / 255.0);
        let column = Stats::of_columns([values.iter().map(|v| f64::from(*v) / 255.0).collect()]);
        close(&stats.mean, &column.mean);
        close(&stats.std, &column.std);
        close(&stats.max, &[1.0]);
    }

    #[test]
    fn stored_statistics_read_back() {
        let stats = Stats::of_columns([vec![1.0, 2.0], vec![3.0, 5.0], vec![0.0, 1.0]]);
        for picture in [false, true] {
            let text = serde_json::to_string(&StoredStats::new(&stats, picture)).unwrap();
            assert_eq!(serde_json::from_str::<StoredStats>(&text).unwrap().stats().unwrap(), stats);
        }
    }
}
