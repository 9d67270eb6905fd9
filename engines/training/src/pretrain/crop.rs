//! Random crops of an image, brought back to the image's size, and mirrored half the time.

use crate::Numbers;

/// What is done to pixels before the network sees them: `(value / 255 - mean) / std` per channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colours {
    /// Mean per channel, of values in 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation per channel.
    pub std: [f32; 3],
}

/// A rectangle of an image, in pixels, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Left and right exchanged.
    pub mirrored: bool,
}

/// Ratios of width to height of crops, as torchvision's `RandomResizedCrop` draws them.
const RATIOS: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

impl Crop {
    /// The whole image of `side` pixels.
    pub fn whole(side: usize) -> Self {
        Self { left: 0.0, top: 0.0, width: side as f64, height: side as f64, mirrored: false }
    }

    /// A random crop of a square image: an area of `smallest` to 1 of it, mirrored half the time (torchvision's
    /// `RandomResizedCrop` and `RandomHorizontalFlip`).
    pub fn draw(side: usize, smallest: f64, numbers: &mut Numbers) -> Self {
        let whole = side as f64;
        let mirrored = numbers.unit() < 0.5;
        for _ in 0..10 {
            let area = whole * whole * numbers.between(smallest, 1.0);
            let ratio = numbers.between(RATIOS.0.ln(), RATIOS.1.ln()).exp();
            let (width, height) = ((area * ratio).sqrt(), (area / ratio).sqrt());
            if width <= whole && height <= whole {
                let (left, top) = (numbers.unit() * (whole - width), numbers.unit() * (whole - height));
                return Self { left, top, width, height, mirrored };
            }
        }
        Self { mirrored, ..Self::whole(side) }
    }

    /// The crop of an RGB image of `side` x `side` at that size again, bilinear, as the network takes it: `[3, side, side]`.
    pub fn take(&self, rgb: &[u8], side: usize, colours: &Colours) -> Vec<f32> {
        let columns: Vec<_> = (0..side)
            .map(|x| {
                let x = if self.mirrored { side - 1 - x } else { x };
                tap(self.left, self.width, x, side)
            })
            .collect();
        let mut out = vec![0.0; 3 * side * side];
        for y in 0..side {
            let (upper, lower, down) = tap(self.top, self.height, y, side);
            let (upper, lower) = (&rgb[3 * side * upper..], &rgb[3 * side * lower..]);
            for (x, &(left, right, along)) in columns.iter().enumerate() {
                for channel in 0..3 {
                    let line = |row: &[u8]| {
                        let (a, b) =
                            (f32::from(row[3 * left + channel]), f32::from(row[3 * right + channel]));
                        a + along * (b - a)
                    };
                    let (above, below) = (line(upper), line(lower));
                    let value = (above + down * (below - above)) / 255.0;
                    out[(channel * side + y) * side + x] =
                        (value - colours.mean[channel]) / colours.std[channel];
                }
            }
        }
        out
    }
}

/// The two source pixels of an output pixel and the second one's weight.
fn tap(start: f64, length: f64, index: usize, side: usize) -> (usize, usize, f32) {
    let at = (start + (index as f64 + 0.5) * length / side as f64 - 0.5).clamp(0.0, (side - 1) as f64);
    let first = at as usize;
    (first, (first + 1).min(side - 1), (at - first as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Colours = Colours { mean: [0.0; 3], std: [1.0; 3] };

    #[test]
    fn the_whole_is_the_image() {
        let rgb: Vec<u8> = (0..48).map(|i| i * 5).collect();
        let image = Crop::whole(4).take(&rgb, 4, &PLAIN);
        assert_eq!(image[0], 0.0);
        assert!((image[16 + 5] - f32::from(rgb[3 * 5 + 1]) / 255.0).abs() < 1e-6);
        let mirrored = Crop { mirrored: true, ..Crop::whole(4) }.take(&rgb, 4, &PLAIN);
        assert_eq!((mirrored[3], mirrored[0]), (image[0], image[3]));
    }

    #[test]
    fn crops_lie_inside_and_have_the_areas_asked_for() {
        for draw in 0..500 {
            let crop = Crop::draw(64, 0.2, &mut Numbers::of(1, &[draw]));
            assert!(crop.left >= 0.0 && crop.left + crop.width <= 64.0 + 1e-9, "{crop:?}");
            let share = crop.width * crop.height / 4096.0;
            assert!((0.199..=1.0 + 1e-9).contains(&share), "{crop:?}");
        }
    }
}
