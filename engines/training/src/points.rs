//! Point maps: what a head for them should say, and its loss.

use calibration::{Intrinsics, Size};

use crate::loss::{self, Loss};

/// What a head for points should say of some images of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct PointsTruth {
    size: Size,
    rays: Vec<f32>,
    distance: Vec<f32>,
}

impl PointsTruth {
    /// Of no image yet.
    pub fn new(size: Size) -> Self {
        Self { size, rays: Vec::new(), distance: Vec::new() }
    }

    /// Adds an image: the pinhole that took it, at this size, and its depth along Z in millimetres, 0 where unknown.
    pub fn push(&mut self, camera: &Intrinsics, millimeters: &[u16]) {
        let slope = |pixel: usize| {
            let [x, y] =
                camera.normalized([(pixel % self.size.width) as f64, (pixel / self.size.width) as f64]);
            [x, y, (x * x + y * y + 1.0).sqrt()]
        };
        let slopes: Vec<[f64; 3]> = (0..self.size.area()).map(slope).collect();
        self.rays.extend(slopes.iter().map(|[x, _, length]| (x / length) as f32));
        self.rays.extend(slopes.iter().map(|[_, y, length]| (y / length) as f32));
        self.rays.extend(slopes.iter().map(|[_, _, length]| (1.0 / length) as f32));
        let along = |(mm, [_, _, length]): (&u16, &[f64; 3])| {
            if *mm == 0 { f32::NAN } else { (f64::from(*mm) * 1e-3 * length) as f32 }
        };
        self.distance.extend(millimeters.iter().zip(&slopes).map(along));
    }

    /// Unit vectors, x right, y down, z forward; per image all x, all y, all z.
    pub fn rays(&self) -> &[f32] {
        &self.rays
    }

    /// Metres along the ray, NaN where unknown, image after image.
    pub fn distance(&self) -> &[f32] {
        &self.distance
    }
}

/// A distance counts as found within this share of the true one: what a head's confidence is the probability of.
pub const CLOSE: f32 = 0.1;

/// Whether a distance is found.
pub fn is_close(distance: f32, truth: f32) -> bool {
    (distance - truth).abs() <= CLOSE * truth
}

/// How much each part of the loss counts beside the distances' own, which counts 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointsLoss {
    /// Of the rays.
    pub rays: f64,
    /// Of the confidence.
    pub confidence: f64,
    /// Distances that count, metres.
    pub range: (f32, f32),
    /// Whether the head should have no confidence where the truth is unknown. If not, such pixels teach it nothing.
    pub doubt_unknown: bool,
}

/// The loss of a batch of point maps.
#[derive(Clone, Debug, PartialEq)]
pub struct PointsLosses {
    /// Of the distances, the rays and the confidence, each by itself.
    pub parts: [f64; 3],
    /// Their weighted sum.
    pub value: f64,
    /// Its gradients by rays, distance and confidence.
    pub gradients: [Vec<f32>; 3],
}

impl PointsLoss {
    /// `silog(distance) + w_r mean |ray - true ray| + w_c cross-entropy(confidence)`, over all images of the batch together.
    ///
    /// Distances count where the true one is in the range, rays in every pixel (a chord between unit vectors is their angle in radians,
    /// but for its cube), and the confidence where the distance is known: its target is whether [`is_close`] holds, which it does not
    /// teach the distance.
    pub fn of(
        &self,
        rays: &[f32],
        distance: &[f32],
        confidence: &[f32],
        truth: &PointsTruth,
    ) -> PointsLosses {
        let far = loss::silog(distance, &truth.distance, self.range);
        let across = scaled(chords(rays, &truth.rays, truth.size.area()), self.rays);
        let sure = scaled(self.doubts(distance, confidence, truth), self.confidence);
        let share = |loss: &Loss, weight: f64| if weight > 0.0 { loss.value / weight } else { 0.0 };
        PointsLosses {
            parts: [far.value, share(&across, self.rays), share(&sure, self.confidence)],
            value: far.value + across.value + sure.value,
            gradients: [across.gradient, far.gradient, sure.gradient],
        }
    }

    /// Cross-entropy of the confidence against whether the distance is close.
    fn doubts(&self, distance: &[f32], confidence: &[f32], truth: &PointsTruth) -> Loss {
        let counts = |truth: &f32| self.doubt_unknown || !truth.is_nan();
        let share = 1.0 / truth.distance.iter().filter(|truth| counts(truth)).count().max(1) as f64;
        let mut value = 0.0;
        let pixels = confidence.iter().zip(distance).zip(&truth.distance);
        let gradient = pixels.map(|((confidence, distance), truth)| {
            if !counts(truth) {
                return 0.0;
            }
            let sure = f64::from(*confidence).clamp(SUREST, 1.0 - SUREST);
            let close = is_close(*distance, *truth);
            value -= share * if close { sure.ln() } else { (1.0 - sure).ln() };
            (share * if close { -1.0 / sure } else { 1.0 / (1.0 - sure) }) as f32
        });
        let gradient = gradient.collect();
        Loss { value, gradient }
    }
}

/// A confidence nearer to 0 or 1 counts as this far from it, so that its logarithm is finite.
const SUREST: f64 = 1e-6;

fn scaled(loss: Loss, weight: f64) -> Loss {
    let gradient = loss.gradient.into_iter().map(|g| (f64::from(g) * weight) as f32).collect();
    Loss { value: loss.value * weight, gradient }
}

/// Mean length of the chord between two fields of unit vectors, per image three planes of `pixels`. Equal vectors have no gradient.
fn chords(rays: &[f32], truth: &[f32], pixels: usize) -> Loss {
    let share = 1.0 / (rays.len() / 3).max(1) as f64;
    let (mut value, mut gradient) = (0.0, vec![0.0; rays.len()]);
    let images = rays.chunks_exact(3 * pixels).zip(truth.chunks_exact(3 * pixels));
    for ((rays, truth), gradient) in images.zip(gradient.chunks_exact_mut(3 * pixels)) {
        for pixel in 0..pixels {
            let off = [0, pixels, 2 * pixels].map(|axis| f64::from(rays[axis + pixel] - truth[axis + pixel]));
            let length = off.iter().map(|x| x * x).sum::<f64>().sqrt();
            value += share * length;
            if length > 0.0 {
                let slopes = off.map(|x| (share * x / length) as f32);
                (0..3).for_each(|axis| gradient[axis * pixels + pixel] = slopes[axis]);
            }
        }
    }
    Loss { value, gradient }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 2, height: 1 };
    const CAMERA: Intrinsics = Intrinsics { fx: 2.0, fy: 2.0, cx: 0.0, cy: 0.0 };

    fn truth() -> PointsTruth {
        let mut truth = PointsTruth::new(SIZE);
        truth.push(&CAMERA, &[2000, 0]);
        truth
    }

    #[test]
    fn truth_is_along_the_ray() {
        let mut truth = truth();
        truth.push(&CAMERA, &[0, 2000]);
        let length = 1.25_f32.sqrt();
        let rays = [0.0, 0.5 / length, 0.0, 0.0, 1.0, 1.0 / length];
        for (came, expected) in truth.rays().iter().zip(rays.iter().cycle()) {
            assert!((came - expected).abs() < 1e-6, "{truth:?}");
        }
        assert!(truth.distance()[1].is_nan() && truth.distance()[2].is_nan());
        assert!(
            (truth.distance()[0] - 2.0).abs() < 1e-6 && (truth.distance()[3] - 2.0 * length).abs() < 1e-6
        );
    }

    #[test]
    fn perfect_points_cost_only_their_doubt() {
        let (truth, confidence) = (truth(), [0.75, 0.25]);
        let loss = PointsLoss { rays: 1.0, confidence: 1.0, range: (0.1, 10.0), doubt_unknown: false };
        let came = loss.of(truth.rays(), &[2.0, 5.0], &confidence, &truth);
        assert_eq!(came.parts[..2], [0.0, 0.0]);
        assert!((came.value + 0.75_f64.ln()).abs() < 1e-6, "the unknown pixel does not count: {came:?}");
        assert_eq!(came.gradients[2][1], 0.0);
        let doubtful =
            PointsLoss { doubt_unknown: true, ..loss }.of(truth.rays(), &[2.0, 5.0], &confidence, &truth);
        assert!((doubtful.value + 0.75_f64.ln()).abs() < 1e-6, "both are 0.75 right: {doubtful:?}");
        let off = loss.of(truth.rays(), &[2.3, 5.0], &[1.0, 0.5], &truth);
        assert!(off.value > 10.0 && off.gradients.iter().flatten().all(|g| g.is_finite()), "{off:?}");
    }
}
