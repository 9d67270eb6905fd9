//! RGB to 4:2:0 YCbCr and back: ITU-R BT.601 in limited range (Y 16 to 235, Cb and Cr 16 to 240), as the video's VUI says.
//!
//! openh264 brings a conversion that cuts off where this one rounds: half a step of each plane, which is three of 255 in blue.

use calibration::Size;

/// Weights of red and blue in luma.
const RED: f64 = 0.299;
const BLUE: f64 = 0.114;
const GREEN: f64 = 1.0 - RED - BLUE;
/// Fixed point: this many bits behind the point.
const BITS: u32 = 16;
const HALF: i32 = 1 << (BITS - 1);

/// A factor in fixed point.
const fn fixed(factor: f64) -> i32 {
    let scaled = factor * (1_u32 << BITS) as f64;
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

const LUMA: [i32; 3] =
    [fixed(219.0 / 255.0 * RED), fixed(219.0 / 255.0 * GREEN), fixed(219.0 / 255.0 * BLUE)];
/// Of the sum of four pixels.
const CB: [i32; 3] = chroma([-RED, -GREEN, 1.0 - BLUE], 1.0 - BLUE);
const CR: [i32; 3] = chroma([1.0 - RED, -GREEN, -BLUE], 1.0 - RED);

const fn chroma(of: [f64; 3], range: f64) -> [i32; 3] {
    let scale = 224.0 / 255.0 / (2.0 * range) / 4.0;
    [fixed(scale * of[0]), fixed(scale * of[1]), fixed(scale * of[2])]
}

const FROM_Y: i32 = fixed(255.0 / 219.0);
const RED_FROM_CR: i32 = fixed(255.0 / 224.0 * 2.0 * (1.0 - RED));
const GREEN_FROM_CR: i32 = fixed(-255.0 / 224.0 * 2.0 * (1.0 - RED) * RED / GREEN);
const GREEN_FROM_CB: i32 = fixed(-255.0 / 224.0 * 2.0 * (1.0 - BLUE) * BLUE / GREEN);
const BLUE_FROM_CB: i32 = fixed(255.0 / 224.0 * 2.0 * (1.0 - BLUE));

fn byte(fixed: i32) -> u8 {
    ((fixed + HALF) >> BITS).clamp(0, 255) as u8
}

fn weighted(weights: [i32; 3], rgb: [i32; 3]) -> i32 {
    weights[0] * rgb[0] + weights[1] * rgb[1] + weights[2] * rgb[2]
}

/// The planes Y, Cb, Cr one after the other, of three bytes per pixel, rows from the top; width and height are even. Cb and Cr are of
/// the mean of four pixels.
pub(super) fn from_rgb(size: Size, rgb: &[u8]) -> Vec<u8> {
    let (width, pixels) = (size.width, size.width * size.height);
    let mut planes = vec![0; pixels + pixels / 2];
    let (luma, chroma) = planes.split_at_mut(pixels);
    let (cb, cr) = chroma.split_at_mut(pixels / 4);
    for (y, rgb) in luma.iter_mut().zip(rgb.chunks_exact(3)) {
        *y = byte(weighted(LUMA, [0, 1, 2].map(|c| i32::from(rgb[c]))) + (16 << BITS));
    }
    let chroma = cb.chunks_exact_mut(width / 2).zip(cr.chunks_exact_mut(width / 2));
    for ((cb, cr), rows) in chroma.zip(rgb.chunks_exact(2 * 3 * width)) {
        let (upper, lower) = rows.split_at(3 * width);
        let squares = upper.chunks_exact(6).zip(lower.chunks_exact(6));
        for ((cb, cr), (upper, lower)) in cb.iter_mut().zip(cr).zip(squares) {
            let sum = [0, 1, 2]
                .map(|c| [upper[c], upper[c + 3], lower[c], lower[c + 3]].map(i32::from).iter().sum());
            *cb = byte(weighted(CB, sum) + (128 << BITS));
            *cr = byte(weighted(CR, sum) + (128 << BITS));
        }
    }
    planes
}

/// A plane, and the bytes from one of its rows to the next.
pub(super) type Plane<'p> = (&'p [u8], usize);

/// A plane from a row on.
fn from_row((plane, stride): Plane<'_>, row: usize) -> &[u8] {
    plane.get(row * stride..).unwrap_or_default()
}

/// Three bytes per pixel, rows from the top, of the planes Y, Cb, Cr.
pub(super) fn to_rgb(size: Size, [luma, cb, cr]: [Plane<'_>; 3]) -> Vec<u8> {
    let mut rgb = vec![0; 3 * size.width * size.height];
    for (row, into) in rgb.chunks_exact_mut(3 * size.width).enumerate() {
        let (luma, cb, cr) = (from_row(luma, row), from_row(cb, row / 2), from_row(cr, row / 2));
        let pairs = luma.chunks(2).zip(cb.iter().zip(cr));
        for (into, (luma, (cb, cr))) in into.chunks_mut(6).zip(pairs) {
            let (cb, cr) = (i32::from(*cb) - 128, i32::from(*cr) - 128);
            let (red, blue) = (RED_FROM_CR * cr, BLUE_FROM_CB * cb);
            let green = GREEN_FROM_CR * cr + GREEN_FROM_CB * cb;
            for (into, luma) in into.chunks_exact_mut(3).zip(luma) {
                let luma = FROM_Y * (i32::from(*luma) - 16);
                into.copy_from_slice(&[byte(luma + red), byte(luma + green), byte(luma + blue)]);
            }
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BT.601-7, table 3 and section 2.5.4, at 8 bits; the colour bars of 100 %.
    #[test]
    fn the_colour_bars_of_the_standard() {
        let bars = [
            ([255, 255, 255], [235, 128, 128]),
            ([255, 255, 0], [210, 16, 146]),
            ([0, 255, 255], [170, 166, 16]),
            ([0, 255, 0], [145, 54, 34]),
            ([255, 0, 255], [106, 202, 222]),
            ([255, 0, 0], [81, 90, 240]),
            ([0, 0, 255], [41, 240, 110]),
            ([0, 0, 0], [16, 128, 128]),
        ];
        let size = Size { width: 2, height: 2 };
        for (rgb, [y, cb, cr]) in bars {
            let planes = from_rgb(size, &rgb.repeat(4));
            assert_eq!(planes, [y, y, y, y, cb, cr], "{rgb:?}");
            let back = to_rgb(size, [(&planes[..4], 2), (&planes[4..5], 1), (&planes[5..], 1)]);
            assert!(back.iter().zip(rgb.repeat(4)).all(|(a, b)| a.abs_diff(b) <= 1), "{rgb:?}: {back:?}");
        }
    }

    /// Rounding both ways: no channel is darker or brighter on the whole.
    #[test]
    fn there_and_back_is_neither_darker_nor_brighter() {
        let size = Size { width: 2, height: 2 };
        let mut sums = [0_i64; 3];
        let levels = || (8..=248).step_by(15);
        for (r, g, b) in levels().flat_map(|r| levels().flat_map(move |g| levels().map(move |b| (r, g, b)))) {
            let planes = from_rgb(size, &[r, g, b].repeat(4));
            let back = to_rgb(size, [(&planes[..4], 2), (&planes[4..5], 1), (&planes[5..], 1)]);
            for (channel, came) in [r, g, b].into_iter().enumerate() {
                assert!(back[channel].abs_diff(came) <= 2, "{r} {g} {b}: {back:?}");
                sums[channel] += i64::from(back[channel]) - i64::from(came);
            }
        }
        let mean = sums.map(|sum| sum as f64 / levels().count().pow(3) as f64);
        assert!(mean.iter().all(|mean| mean.abs() < 0.05), "{mean:?}");
    }

    #[test]
    fn rows_and_columns_keep_their_places() {
        let size = Size { width: 6, height: 4 };
        // Each square of four pixels has one colour.
        let pixel = |x: usize, y: usize| [(40 * (x / 2) + 60) as u8, (90 * (y / 2) + 60) as u8, 100];
        let rgb: Vec<u8> = (0..4).flat_map(|y| (0..6).flat_map(move |x| pixel(x, y))).collect();
        let planes = from_rgb(size, &rgb);
        // With rows that are longer than the picture, as decoders give them.
        let padded = |plane: &[u8], width: usize| -> Vec<u8> {
            plane.chunks(width).flat_map(|row| [row, &[7; 3]].concat()).collect()
        };
        let (y, cb, cr) = (padded(&planes[..24], 6), padded(&planes[24..30], 3), padded(&planes[30..], 3));
        let back = to_rgb(size, [(&y, 9), (&cb, 6), (&cr, 6)]);
        assert!(back.iter().zip(&rgb).all(|(a, b)| a.abs_diff(*b) <= 2), "{back:?}\n{rgb:?}");
    }
}
