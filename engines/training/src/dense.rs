//! Heads with an output per pixel on features of a frozen encoder: depth, points and segmentation.

use calibration::{Intrinsics, Size};

use crate::features::Features;
use crate::learner::Task;
use crate::loss::{self, Loss};
use crate::points::{PointsLoss, PointsTruth};
use crate::step::{Part, PartLoss};
use crate::{Numbers, TrainingError};

/// Streams of random numbers.
const ORDER: u64 = 31;

/// What the head should say, image after image, row by row.
#[derive(Clone, Debug)]
pub enum Target {
    /// Millimetres along Z, 0 where unknown; only depths in `range` (metres) count.
    Depth {
        /// All maps.
        millimeters: Vec<u16>,
        /// Valid depths, metres.
        range: (f32, f32),
    },
    /// Points: depth as above, and the pinhole that took each image.
    Points {
        /// All maps.
        millimeters: Vec<u16>,
        /// A pinhole per image, at the maps' size.
        cameras: Vec<Intrinsics>,
        /// Size of a map.
        size: Size,
        /// The loss.
        loss: PointsLoss,
    },
    /// A class per pixel; classes beyond the head's do not count.
    Labels {
        /// All maps.
        labels: Vec<u8>,
    },
}

/// How samples are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawing {
    /// Samples of a step.
    pub batch: usize,
    /// Samples that are computed together on one thread: the loss of depth is taken over these. A head with batch normalisation
    /// needs the whole batch.
    pub part: usize,
    /// Seed of the order.
    pub seed: u64,
}

/// Draws every sample once an epoch, in an order that depends on the seed and the epoch alone.
#[derive(Clone, Debug)]
pub struct Epochs {
    count: usize,
    seed: u64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Epochs {
    /// Draws from `count` samples, which is above 0.
    pub fn new(count: usize, seed: u64) -> Self {
        Self { count, seed, epoch: None, order: Vec::new() }
    }

    /// The samples of a step of `batch` samples.
    pub fn batch(&mut self, step: u64, batch: usize) -> Vec<usize> {
        let first = step * batch as u64;
        (first..first + batch as u64).map(|at| self.sample(at)).collect()
    }

    fn sample(&mut self, at: u64) -> usize {
        let (epoch, place) = (at / self.count as u64, (at % self.count as u64) as usize);
        if self.epoch != Some(epoch) {
            self.order = Numbers::of(self.seed, &[ORDER, epoch]).order(self.count);
            self.epoch = Some(epoch);
        }
        self.order[place]
    }
}

/// Samples of a frozen encoder's features and what a head should make of them.
#[derive(Debug)]
pub struct Dense {
    features: Features,
    target: Target,
    pixels: usize,
    drawing: Drawing,
    epochs: Epochs,
}

/// Part of a batch.
#[derive(Clone, Debug)]
pub struct DensePart {
    inputs: Vec<Vec<f32>>,
    samples: usize,
    target: PartTarget,
}

#[derive(Clone, Debug)]
enum PartTarget {
    Depth { meters: Vec<f32>, range: (f32, f32) },
    Points { truth: PointsTruth, loss: PointsLoss },
    Labels { labels: Vec<u8>, pixels: usize },
}

impl Dense {
    /// Joins features, one sample per map, and maps of `pixels` pixels.
    ///
    /// # Errors
    /// When there are no samples, or features, maps and cameras are not of the same number.
    pub fn new(
        features: Features,
        target: Target,
        pixels: usize,
        drawing: Drawing,
    ) -> Result<Self, TrainingError> {
        let maps = match &target {
            Target::Depth { millimeters, .. } | Target::Points { millimeters, .. } => millimeters.len(),
            Target::Labels { labels } => labels.len(),
        };
        let samples = features.of().samples;
        if samples == 0 || pixels == 0 || maps != samples * pixels {
            let reason =
                format!("expected a map of {pixels} pixels for each of {samples} samples, got {maps} pixels");
            return Err(TrainingError::Data(reason));
        }
        if let Target::Points { cameras, size, .. } = &target
            && (cameras.len(), size.area()) != (samples, pixels)
        {
            let reason = format!("expected a camera for each of {samples} samples, got {}", cameras.len());
            return Err(TrainingError::Data(reason));
        }
        let epochs = Epochs::new(samples, drawing.seed);
        Ok(Self { features, target, pixels, drawing, epochs })
    }

    fn part(&self, samples: &[usize]) -> Result<DensePart, TrainingError> {
        let mut inputs = vec![Vec::new(); self.features.of().taps.len()];
        for sample in samples {
            self.features.read(*sample, &mut inputs)?;
        }
        let pixels = self.pixels;
        let target = match &self.target {
            Target::Depth { millimeters, range } => {
                let map = |sample: &usize| millimeters[sample * pixels..][..pixels].iter();
                let meters = samples
                    .iter()
                    .flat_map(map)
                    .map(|mm| if *mm == 0 { f32::NAN } else { f32::from(*mm) * 1e-3 });
                PartTarget::Depth { meters: meters.collect(), range: *range }
            }
            Target::Points { millimeters, cameras, size, loss } => {
                let mut truth = PointsTruth::new(*size);
                for sample in samples {
                    truth.push(&cameras[*sample], &millimeters[sample * pixels..][..pixels]);
                }
                PartTarget::Points { truth, loss: *loss }
            }
            Target::Labels { labels } => {
                let map = |sample: &usize| labels[sample * pixels..][..pixels].iter();
                PartTarget::Labels { labels: samples.iter().flat_map(map).copied().collect(), pixels }
            }
        };
        Ok(DensePart { inputs, samples: samples.len(), target })
    }
}

impl Task for Dense {
    type Part = DensePart;

    fn batch(&mut self, step: u64) -> Result<Vec<DensePart>, TrainingError> {
        let drawn = self.epochs.batch(step, self.drawing.batch);
        drawn.chunks(self.drawing.part.max(1)).map(|samples| self.part(samples)).collect()
    }
}

impl Part for DensePart {
    fn samples(&self) -> usize {
        self.samples
    }

    fn inputs(&self) -> Vec<&[f32]> {
        self.inputs.iter().map(Vec::as_slice).collect()
    }

    fn loss(&self, outputs: &[&[f32]]) -> PartLoss {
        let Loss { value, gradient } = match &self.target {
            PartTarget::Depth { meters, range } => loss::silog(outputs[0], meters, *range),
            PartTarget::Labels { labels, pixels } => loss::cross_entropy(outputs[0], labels, *pixels),
            PartTarget::Points { truth, loss } => {
                let losses = loss.of(outputs[0], outputs[1], outputs[2], truth);
                let gradients = losses.gradients.map(Some).into();
                return PartLoss { value: losses.value, gradients, samples: Vec::new() };
            }
        };
        PartLoss { value, gradients: vec![Some(gradient)], samples: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_once_an_epoch_and_steps_stand_alone() {
        let mut epochs = Epochs::new(10, 4);
        let mut drawn: Vec<usize> = (0..5).flat_map(|step| epochs.batch(step, 4)).collect();
        assert_eq!(Epochs::new(10, 4).batch(3, 4), drawn[12..16]);
        drawn[..10].sort_unstable();
        drawn[10..].sort_unstable();
        assert!(drawn.chunks(10).all(|epoch| epoch.iter().copied().eq(0..10)), "{drawn:?}");
    }
}
