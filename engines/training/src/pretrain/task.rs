//! Batches of masked images.

use std::collections::BTreeMap;

use network::Architecture;

use super::crop::{Colours, Crop};
use super::{Curation, Masked, draw_mask, seen_blocks};
use crate::learner::Task;
use crate::{Numbers, TrainingError};

/// Streams of random numbers.
const CROP: u64 = 21;
const MASK: u64 = 22;

/// Images in memory: RGB of the encoder's native size, one after another.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Side in pixels.
    pub side: usize,
    /// All pixels.
    pub rgb: Vec<u8>,
}

impl Images {
    /// Number of images.
    pub fn count(&self) -> usize {
        self.rgb.len() / (3 * self.side * self.side).max(1)
    }

    /// The pixels of an image.
    pub fn image(&self, index: usize) -> &[u8] {
        let len = 3 * self.side * self.side;
        &self.rgb[index * len..][..len]
    }
}

/// How images are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Showing {
    /// Images of a step.
    pub batch: usize,
    /// Images that are computed together on one thread; fixed, so that results do not depend on the number of threads.
    pub part: usize,
    /// Side of a block of patches that are masked together.
    pub block: usize,
    /// Share of blocks that are masked.
    pub ratio: f64,
    /// Least area of a random crop, as a share of the image.
    pub smallest_crop: f64,
    /// Whether crops are mirrored half the time. Where a fixed camera looks at a cell that has a left and a right, a mirrored image is
    /// of a place that does not exist.
    pub mirror: bool,
    /// Whether images that are painted well are seen less.
    pub curate: bool,
    /// Seed of everything random.
    pub seed: u64,
}

/// Draws, crops and masks images.
#[derive(Debug)]
pub struct MaskedImages {
    images: Images,
    architecture: Architecture,
    colours: Colours,
    showing: Showing,
    curation: Curation,
}

impl MaskedImages {
    /// Shows these images.
    ///
    /// # Errors
    /// When there are none, or their size is not the encoder's native one.
    pub fn new(
        images: Images,
        architecture: &Architecture,
        colours: Colours,
        showing: Showing,
    ) -> Result<Self, TrainingError> {
        let side = architecture.grid * architecture.patch;
        if images.count() == 0 || images.side != side {
            let came = format!("{} of side {}", images.count(), images.side);
            return Err(TrainingError::Data(format!(
                "expected images of side {side}, at least one, got {came}"
            )));
        }
        let curation = Curation::new(images.count(), showing.curate, showing.seed);
        Ok(Self { images, architecture: architecture.clone(), colours, showing, curation })
    }

    /// Patches that the encoder sees of each image.
    pub fn seen(&self) -> usize {
        let block = self.showing.block;
        seen_blocks(self.architecture.grid, block, self.showing.ratio) * block * block
    }

    /// All images.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Which images are seen, and how often.
    pub fn curation(&self) -> &Curation {
        &self.curation
    }

    /// The first `count` images, uncropped, under masks that are always the same: for pictures and for comparing models.
    pub fn fixed(&self, count: usize) -> Masked {
        let mut part = Masked::new(&self.architecture, self.seen());
        for index in 0..count.min(self.images.count()) {
            let image =
                Crop::whole(self.images.side).take(self.images.image(index), self.images.side, &self.colours);
            part.push(&image, &self.mask(&[MASK, u64::MAX, index as u64]));
        }
        part
    }

    fn mask(&self, purpose: &[u64]) -> Vec<usize> {
        let Showing { block, ratio, seed, .. } = self.showing;
        let grid = self.architecture.grid;
        draw_mask(grid, block, seen_blocks(grid, block, ratio), &mut Numbers::of(seed, purpose))
    }
}

impl Task for MaskedImages {
    type Part = Masked;

    fn batch(&mut self, step: u64) -> Result<Vec<Masked>, TrainingError> {
        let Showing { batch, part, smallest_crop, mirror, seed, .. } = self.showing;
        let side = self.images.side;
        let drawn = self.curation.draw(batch).to_vec();
        let mut parts = Vec::with_capacity(batch.div_ceil(part.max(1)));
        for (first, group) in drawn.chunks(part.max(1)).enumerate() {
            let mut masked = Masked::new(&self.architecture, self.seen());
            for (place, image) in group.iter().enumerate() {
                let place = (first * part + place) as u64;
                let crop = Crop::draw(side, smallest_crop, &mut Numbers::of(seed, &[CROP, step, place]));
                let crop = Crop { mirrored: crop.mirrored && mirror, ..crop };
                let pixels = crop.take(self.images.image(*image), side, &self.colours);
                masked.push(&pixels, &self.mask(&[MASK, step, place]));
            }
            parts.push(masked);
        }
        Ok(parts)
    }

    fn learnt(&mut self, losses: &[f32]) {
        self.curation.learnt(losses);
    }

    fn memory(&self) -> BTreeMap<String, Vec<f32>> {
        self.curation.memory()
    }

    fn recall(&mut self, memory: &BTreeMap<String, Vec<f32>>) -> Result<(), String> {
        self.curation.recall(memory)
    }
}
