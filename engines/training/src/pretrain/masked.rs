//! Part of a batch of masked images.

use network::Architecture;

use crate::loss::{self, MaskedLoss};
use crate::step::{Part, PartLoss};

/// Images of which the encoder sees some patches, as the network of pre-training takes them.
#[derive(Clone, Debug)]
pub struct Masked {
    patch: usize,
    grid: usize,
    seen: usize,
    samples: usize,
    patches: Vec<f32>,
    places: Vec<f32>,
    masked: Vec<f32>,
    target: Vec<f32>,
}

impl Masked {
    /// No image yet; of each, the encoder will see `seen` patches.
    pub fn new(architecture: &Architecture, seen: usize) -> Self {
        let (patch, grid) = (architecture.patch, architecture.grid);
        let empty = Vec::new;
        Self {
            patch,
            grid,
            seen,
            samples: 0,
            patches: empty(),
            places: empty(),
            masked: empty(),
            target: empty(),
        }
    }

    /// Adds an image `[3, side, side]` (RGB, normalised) of the native size, of which these patches are seen: as many as
    /// [`Masked::new`] was told, row by row.
    pub fn push(&mut self, image: &[f32], seen: &[usize]) {
        debug_assert_eq!(seen.len(), self.seen, "a mask of another size");
        let count = self.grid * self.grid;
        let start = self.masked.len();
        self.masked.resize(start + count, 1.0);
        for &patch in seen {
            self.masked[start + patch] = 0.0;
            let row = self.places.len();
            self.places.resize(row + count, 0.0);
            self.places[row + patch] = 1.0;
            (0..3).for_each(|channel| self.push_seen(image, patch, channel));
        }
        (0..count).for_each(|patch| self.push_target(image, patch));
        self.samples += 1;
    }

    fn row<'i>(&self, image: &'i [f32], patch: usize, channel: usize, y: usize) -> &'i [f32] {
        let side = self.grid * self.patch;
        let (top, left) = (patch / self.grid * self.patch, patch % self.grid * self.patch);
        &image[(channel * side + top + y) * side + left..][..self.patch]
    }

    fn push_seen(&mut self, image: &[f32], patch: usize, channel: usize) {
        for y in 0..self.patch {
            let row = self.row(image, patch, channel, y);
            self.patches.extend_from_slice(row);
        }
    }

    /// Channels last, as the decoder predicts.
    fn push_target(&mut self, image: &[f32], patch: usize) {
        for y in 0..self.patch {
            let [red, green, blue] = [0, 1, 2].map(|channel| self.row(image, patch, channel, y));
            let pixels = red.iter().zip(green).zip(blue);
            self.target.extend(pixels.flat_map(|((red, green), blue)| [*red, *green, *blue]));
        }
    }

    /// Loss of the network's output for these images.
    pub fn compare(&self, pixels: &[f32]) -> MaskedLoss {
        let (patches, len) = (self.grid * self.grid, 3 * self.patch * self.patch);
        loss::masked_pixels(pixels, &self.target, &self.masked, patches, len)
    }

    /// Pixels of all patches, channels last, image after image.
    pub fn target(&self) -> &[f32] {
        &self.target
    }

    /// 1 for patches that the encoder does not see, image after image.
    pub fn masked(&self) -> &[f32] {
        &self.masked
    }
}

impl Part for Masked {
    fn samples(&self) -> usize {
        self.samples
    }

    fn inputs(&self) -> Vec<&[f32]> {
        vec![&self.patches, &self.places, &self.masked]
    }

    fn loss(&self, outputs: &[&[f32]]) -> PartLoss {
        let MaskedLoss { loss, images } = self.compare(outputs[0]);
        PartLoss { value: loss.value, gradients: vec![Some(loss.gradient)], samples: images }
    }
}

/// Patches that the encoder sees of an image of `grid` x `grid` patches masked in blocks of `block` x `block`: the share
/// `1 - ratio` of the blocks, rounded down, at least one.
pub fn seen_blocks(grid: usize, block: usize, ratio: f64) -> usize {
    let blocks = (grid / block) * (grid / block);
    // 100 blocks of which 0.9 are masked leave 10, though 1 - 0.9 in binary is less than a tenth.
    ((blocks as f64 * (1.0 - ratio) + 1e-9) as usize).max(1)
}

/// Draws which patches the encoder sees, ascending: `count` blocks of `block` x `block`, each set of them as likely as any other.
pub fn draw_mask(grid: usize, block: usize, count: usize, numbers: &mut crate::Numbers) -> Vec<usize> {
    let side = grid / block;
    let order = numbers.order(side * side);
    let mut seen: Vec<usize> = order[..count.min(order.len())]
        .iter()
        .flat_map(|at| {
            let (top, left) = (at / side * block, at % side * block);
            (0..block * block).map(move |i| (top + i / block) * grid + left + i % block)
        })
        .collect();
    seen.sort_unstable();
    seen
}

/// Checks that a mask of these blocks is possible.
///
/// # Errors
/// What was expected and what came.
pub fn check_mask(architecture: &Architecture, block: usize, ratio: f64) -> Result<(), String> {
    let grid = architecture.grid;
    if block == 0 || !grid.is_multiple_of(block) || grid / block < 2 {
        return Err(format!(
            "expected mask blocks that divide the grid of {grid} patches at least in two, got {block}"
        ));
    }
    if !(0.0 < ratio && ratio < 1.0) {
        return Err(format!("expected a share of masked patches between 0 and 1, got {ratio}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Numbers;

    /// Each patch is seen equally often, blocks are whole, and the share is that of the paper.
    #[test]
    fn masks_are_blocks_and_every_patch_has_its_turn() {
        let (grid, block) = (16, 4);
        let count = seen_blocks(grid, block, 0.75);
        assert_eq!(count, 4);
        let mut counts = vec![0_u32; grid * grid];
        for draw in 0..4000 {
            let seen = draw_mask(grid, block, count, &mut Numbers::of(5, &[draw]));
            assert_eq!(seen.len(), grid * grid / 4);
            for &patch in &seen {
                counts[patch] += 1;
                let (row, column) = (patch / grid / block * block, patch % grid / block * block);
                let whole = (0..block * block)
                    .all(|i| seen.binary_search(&((row + i / block) * grid + column + i % block)).is_ok());
                assert!(whole, "a torn block");
            }
        }
        // A quarter of 4000 with deviation 27; 5 of them.
        assert!(counts.iter().all(|count| (863..1137).contains(count)), "{counts:?}");
    }

    #[test]
    fn shares_are_rounded_down_but_not_by_binary_fractions() {
        let came = [(10, 1, 0.9), (10, 1, 0.8), (8, 2, 0.75), (8, 4, 0.9), (8, 1, 0.9)]
            .map(|(grid, block, ratio)| seen_blocks(grid, block, ratio));
        assert_eq!(came, [10, 20, 4, 1, 6]);
    }

    #[test]
    fn neighbouring_blocks_are_independent() {
        let mut both = 0;
        for draw in 0..4000 {
            let seen = draw_mask(8, 2, 4, &mut Numbers::of(8, &[draw]));
            both += u32::from(seen.contains(&0) && seen.contains(&2));
        }
        // 4/16 * 3/15 of 4000 is 200, deviation 14.
        assert!((130..270).contains(&both), "{both}");
    }
}
