//! Where in the image the board was seen.

use calibration::Size;

use crate::View;

/// Cells of the coverage grid along the longer side.
const CELLS: usize = 8;
/// Radius of a corner's dot, pixels.
const DOT: i64 = 3;

/// A picture of the corners seen, and the share of the image they cover.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Red, green, blue, row by row, of the image's size.
    pub rgb: Vec<u8>,
    /// Share of the cells (8 along the longer side) in which a corner was seen, 0 to 1.
    pub share: f64,
}

/// Draws every view's corners in its own colour over a grid whose covered cells are lit; the more corners, the brighter.
pub fn coverage(size: Size, views: &[View]) -> Coverage {
    let cell = size.width.max(size.height).div_ceil(CELLS).max(1);
    let (columns, rows) = (size.width.div_ceil(cell), size.height.div_ceil(cell));
    let mut counts = vec![0_usize; columns * rows];
    for pixel in views.iter().flat_map(|view| &view.observations).map(|seen| seen.pixel) {
        if let Some(index) = inside(size, pixel) {
            counts[index / size.width / cell * columns + index % size.width / cell] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut rgb = Vec::with_capacity(3 * size.area());
    for index in 0..size.area() {
        let (column, row) = (index % size.width, index / size.width);
        let count = counts[row / cell * columns + column / cell];
        let line = column % cell == 0 || row % cell == 0;
        rgb.extend(background(count as f64 / most as f64, line));
    }
    for (number, view) in views.iter().enumerate() {
        let color = hue(number as f64 / views.len() as f64);
        view.observations.iter().for_each(|seen| dot(size, &mut rgb, seen.pixel, color));
    }
    let covered = counts.iter().filter(|count| **count > 0).count();
    Coverage { rgb, share: covered as f64 / counts.len().max(1) as f64 }
}

/// The index of the pixel that holds a place, None outside the image.
fn inside(size: Size, [x, y]: [f64; 2]) -> Option<usize> {
    let (column, row) = ((x + 0.5).floor(), (y + 0.5).floor());
    let within = column >= 0.0 && row >= 0.0 && column < size.width as f64 && row < size.height as f64;
    within.then(|| row as usize * size.width + column as usize)
}

fn background(share: f64, line: bool) -> [u8; 3] {
    let lit = if share > 0.0 { 30.0 + 70.0 * share } else { 0.0 };
    let level = |base: f64| (base + lit + if line { 25.0 } else { 0.0 }) as u8;
    [level(18.0), level(20.0), level(26.0)]
}

fn dot(size: Size, rgb: &mut [u8], [x, y]: [f64; 2], color: [u8; 3]) {
    for down in -DOT..=DOT {
        for across in -DOT..=DOT {
            if across * across + down * down <= DOT * DOT
                && let Some(index) = inside(size, [x + across as f64, y + down as f64])
            {
                rgb[3 * index..3 * index + 3].copy_from_slice(&color);
            }
        }
    }
}

/// A bright colour for a place on the colour circle, 0 to 1.
fn hue(turn: f64) -> [u8; 3] {
    [0.0, 1.0 / 3.0, 2.0 / 3.0].map(|shift| {
        let wave = (std::f64::consts::TAU * (turn + shift)).cos();
        (150.0 + 105.0 * wave) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Observation;

    #[test]
    fn covered_cells_count_and_corners_outside_do_not_draw() {
        let size = Size { width: 80, height: 40 };
        let view = |pixels: &[[f64; 2]]| View {
            name: String::new(),
            observations: pixels.iter().map(|pixel| Observation { point: [0.0; 2], pixel: *pixel }).collect(),
        };
        let views = [
            view(&[[5.0, 5.0], [6.0, 5.0]]),
            view(&[[79.4, 39.4], [1e9, 0.0], [f64::NAN, 3.0], [-9.0, 3.0]]),
        ];
        let covered = coverage(size, &views);
        assert_eq!(covered.rgb.len(), 3 * size.area());
        assert!((covered.share - 2.0 / 32.0).abs() < 1e-12, "{}", covered.share);
        let at = |x: usize, y: usize| &covered.rgb[3 * (y * 80 + x)..][..3];
        assert_eq!(at(5, 5), hue(0.0));
        assert_eq!(at(79, 39), hue(0.5));
        assert!(at(15, 15)[0] < 40 && at(15, 15)[0] < at(1, 1)[0]);
        assert_eq!(coverage(size, &[]).share, 0.0);
    }
}
