//! The position embedding, resized to the image's patch grid and folded into a constant.

/// Cubic convolution kernel coefficient of PyTorch's bicubic `interpolate`.
const A: f64 = -0.75;

/// Resizes a square grid of vectors bicubically, as PyTorch's `interpolate(mode="bicubic", align_corners=False)` does
/// (no antialiasing, borders repeated).
///
/// `grid` holds `side * side` vectors of `dim`, row by row; the result `rows * columns`.
pub(crate) fn resize(grid: &[f32], side: usize, dim: usize, rows: usize, columns: usize) -> Vec<f32> {
    if (rows, columns) == (side, side) {
        return grid.to_vec();
    }
    let vertical: Vec<_> = (0..rows).map(|row| taps(row, rows, side)).collect();
    let horizontal: Vec<_> = (0..columns).map(|column| taps(column, columns, side)).collect();
    let mut resized = Vec::with_capacity(rows * columns * dim);
    let mut sum = vec![0.0_f64; dim];
    for row_taps in &vertical {
        for column_taps in &horizontal {
            sum.fill(0.0);
            for (y, wy) in row_taps {
                for (x, wx) in column_taps {
                    let vector = &grid[(y * side + x) * dim..][..dim];
                    sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += wy * wx * f64::from(*value));
                }
            }
            resized.extend(sum.iter().map(|value| *value as f32));
        }
    }
    resized
}

/// The four source positions and weights of one output position.
fn taps(index: usize, outputs: usize, inputs: usize) -> [(usize, f64); 4] {
    let at = (index as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5;
    let fraction = at - at.floor();
    let last = inputs as i64 - 1;
    std::array::from_fn(|tap| {
        let offset = tap as i64 - 1;
        let source = (at.floor() as i64 + offset).clamp(0, last) as usize;
        (source, cubic((fraction - offset as f64).abs()))
    })
}

fn cubic(distance: f64) -> f64 {
    let x = distance;
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * x * A - 4.0 * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.interpolate(torch.arange(9.).view(1,1,3,3)**2, size=(2,4), mode="bicubic")`, torch 2.15.
    #[test]
    fn equals_torch() {
        let grid: Vec<f32> = (0..9).map(|i| (i * i) as f32).collect();
        let expected: [f32; 8] =
            [0.9356346, 2.0083275, 4.9692116, 7.6844825, 29.348543, 36.258278, 48.34427, 56.89657];
        let resized = resize(&grid, 3, 1, 2, 4);
        for (ours, torch) in resized.iter().zip(expected) {
            assert!((ours - torch).abs() < 1e-4, "{resized:?}");
        }
    }

    #[test]
    fn same_grid_is_untouched() {
        let grid: Vec<f32> = (0..32).map(|i| i as f32 * 0.1).collect();
        assert_eq!(resize(&grid, 4, 2, 4, 4), grid);
    }
}
