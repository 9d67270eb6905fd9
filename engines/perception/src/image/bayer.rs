//! One colour a pixel to RGB: bilinear, as OpenCV's `demosaicing` without `_VNG` or `_EA`.
//!
//! ROS names the pattern by its first two rows, OpenCV by the second row and column: `bayer_rggb8` is OpenCV's `BayerBG`.

/// The colour of a row from it and its neighbours. `coloured` is the column parity of the pixels that are not green,
/// `is_red` whether those are red.
///
/// The first and last columns repeat their neighbours, as OpenCV does; the caller repeats rows.
pub fn row(rows: [&[u8]; 3], coloured: usize, is_red: bool, rgb: &mut [[u8; 3]]) {
    let [above, here, below] = rows.map(|row| row.windows(3));
    let last = rgb.len() - 1;
    let inner = rgb[1..last].iter_mut().enumerate();
    for (((index, out), above), (here, below)) in inner.zip(above).zip(here.zip(below)) {
        let (own, green, other) = if (index + 1) % 2 == coloured {
            (
                here[1],
                mean4([above[1], below[1], here[0], here[2]]),
                mean4([above[0], above[2], below[0], below[2]]),
            )
        } else {
            (mean2(here[0], here[2]), here[1], mean2(above[1], below[1]))
        };
        *out = if is_red { [own, green, other] } else { [other, green, own] };
    }
    rgb[0] = rgb[1];
    rgb[last] = rgb[last - 1];
}

#[inline]
fn mean2(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

#[inline]
fn mean4(values: [u8; 4]) -> u8 {
    ((values.iter().map(|value| u16::from(*value)).sum::<u16>() + 2) / 4) as u8
}
