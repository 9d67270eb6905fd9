//! The place of a corner to a small fraction of a pixel.

use crate::detect::Grey;

const MAX_ITERATIONS: usize = 40;
/// A step below this many pixels ends the search.
const SETTLED: f64 = 1e-4;

/// The point near `start` that lies on the edges around it: every grey-level gradient in the window stands at right angles
/// to the line from the corner to its pixel (Foerstner and Guelch 1987; OpenCV's `cornerSubPix` solves the same).
///
/// `half` is half the window in pixels. None where the window leaves the picture, holds no corner, or the search leaves the
/// window.
pub(crate) fn refine(image: &Grey<'_>, start: [f64; 2], half: usize) -> Option<[f64; 2]> {
    let mut corner = start;
    for _ in 0..MAX_ITERATIONS {
        let next = crossing(image, corner, half)?;
        let moved = (next[0] - corner[0]).hypot(next[1] - corner[1]);
        corner = next;
        if (corner[0] - start[0]).abs().max((corner[1] - start[1]).abs()) > half as f64 {
            return None;
        }
        if moved < SETTLED {
            return Some(corner);
        }
    }
    Some(corner)
}

/// The least-squares crossing of the edges in a window about `centre`. Gradients are those of whole pixels: interpolated ones
/// would be blurred by how far between pixels they lie, which pulls the corner.
fn crossing(image: &Grey<'_>, centre: [f64; 2], half: usize) -> Option<[f64; 2]> {
    let reach = half as i64;
    let middle = centre.map(|value| value.round() as i64);
    let (mut xx, mut xy, mut yy, mut x_sum, mut y_sum) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for row in middle[1] - reach..=middle[1] + reach {
        for column in middle[0] - reach..=middle[0] + reach {
            let gradient = image.gradient(column, row)?;
            let offset = [column as f64 - centre[0], row as f64 - centre[1]];
            // Pixels far from the corner count less, so that its neighbours' edges hardly matter.
            let share = (offset[0] * offset[0] + offset[1] * offset[1]) / (half * half) as f64;
            let weight = (-2.0 * share).exp();
            let [a, b, c] = [
                weight * gradient[0] * gradient[0],
                weight * gradient[0] * gradient[1],
                weight * gradient[1] * gradient[1],
            ];
            xx += a;
            xy += b;
            yy += c;
            x_sum += a * offset[0] + b * offset[1];
            y_sum += b * offset[0] + c * offset[1];
        }
    }
    let determinant = xx * yy - xy * xy;
    // Along a single edge the crossing is anywhere.
    let is_corner = determinant > 1e-6 * (xx + yy) * (xx + yy);
    is_corner.then(|| {
        [
            centre[0] + (yy * x_sum - xy * y_sum) / determinant,
            centre[1] + (xx * y_sum - xy * x_sum) / determinant,
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use calibration::Size;

    /// A corner of two edges, each blurred like a lens does, anywhere between pixels.
    fn picture(size: Size, corner: [f64; 2], turn: f64) -> Vec<u8> {
        let (sin, cos) = turn.sin_cos();
        let soft = |distance: f64| (distance / 0.8).tanh();
        (0..size.area())
            .map(|index| {
                let dx = (index % size.width) as f64 - corner[0];
                let dy = (index / size.width) as f64 - corner[1];
                let value = soft(cos * dx + sin * dy) * soft(-sin * dx + cos * dy);
                (128.0 + 90.0 * value).round() as u8
            })
            .collect()
    }

    #[test]
    fn a_corner_between_pixels_is_found() {
        let size = Size { width: 40, height: 36 };
        for (corner, turn) in [([19.3, 17.8], 0.2), ([20.0, 18.5], 0.0), ([18.71, 18.07], 0.7)] {
            let pixels = picture(size, corner, turn);
            let image = Grey::new(size, &pixels).unwrap();
            let found = refine(&image, [corner[0] + 0.9, corner[1] - 0.7], 7).unwrap();
            let off = (found[0] - corner[0]).hypot(found[1] - corner[1]);
            assert!(off < 0.01, "{off} px at {corner:?}");
        }
    }

    #[test]
    fn what_holds_no_corner_has_none() {
        let size = Size { width: 40, height: 36 };
        let flat = vec![100; size.area()];
        assert_eq!(refine(&Grey::new(size, &flat).unwrap(), [20.0, 18.0], 5), None);
        let edge: Vec<u8> = (0..size.area()).map(|i| if i % 40 < 20 { 0 } else { 255 }).collect();
        assert_eq!(refine(&Grey::new(size, &edge).unwrap(), [20.0, 18.0], 5), None);
        let pixels = picture(size, [2.0, 2.0], 0.1);
        assert_eq!(refine(&Grey::new(size, &pixels).unwrap(), [2.0, 2.0], 5), None);
    }
}
