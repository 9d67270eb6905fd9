//! Brightness and colour difference to RGB: BT.601 with 16 to 235 for Y, in OpenCV's whole numbers.

/// Fractional bits of the coefficients.
const SHIFT: i32 = 20;
const HALF: i32 = 1 << (SHIFT - 1);
/// 255 / 219, 2.018, -0.391, -0.813 and 1.596, times 2^20.
const Y: i32 = 1_220_542;
const BLUE_U: i32 = 2_116_026;
const GREEN_U: i32 = -409_993;
const GREEN_V: i32 = -852_492;
const RED_V: i32 = 1_673_527;

/// What one pair of colour differences adds to red, green and blue.
#[inline]
fn chroma(u: u8, v: u8) -> [i32; 3] {
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [HALF + RED_V * v, HALF + GREEN_V * v + GREEN_U * u, HALF + BLUE_U * u]
}

#[inline]
fn pixel(y: u8, chroma: [i32; 3]) -> [u8; 3] {
    let y = (i32::from(y) - 16).max(0) * Y;
    chroma.map(|part| ((y + part) >> SHIFT).clamp(0, 255) as u8)
}

/// A row of `U Y V Y`.
pub fn uyvy(row: &[u8], rgb: &mut [[u8; 3]]) {
    for ([u, y0, v, y1], out) in row.as_chunks::<4>().0.iter().zip(rgb.as_chunks_mut::<2>().0) {
        let chroma = chroma(*u, *v);
        *out = [pixel(*y0, chroma), pixel(*y1, chroma)];
    }
}

/// A row of `Y U Y V`.
pub fn yuyv(row: &[u8], rgb: &mut [[u8; 3]]) {
    for ([y0, u, y1, v], out) in row.as_chunks::<4>().0.iter().zip(rgb.as_chunks_mut::<2>().0) {
        let chroma = chroma(*u, *v);
        *out = [pixel(*y0, chroma), pixel(*y1, chroma)];
    }
}

/// A row of brightness and its row of colour, `U V` for two pixels (V first when `swapped`).
pub fn half(luma: &[u8], colour: &[u8], swapped: bool, rgb: &mut [[u8; 3]]) {
    let pairs = luma.as_chunks::<2>().0.iter().zip(colour.as_chunks::<2>().0);
    for (([y0, y1], [first, second]), out) in pairs.zip(rgb.as_chunks_mut::<2>().0) {
        let chroma = if swapped { chroma(*second, *first) } else { chroma(*first, *second) };
        *out = [pixel(*y0, chroma), pixel(*y1, chroma)];
    }
}

/// A row of brightness and its row of colour, `U V` for every pixel.
pub fn full(luma: &[u8], colour: &[u8], rgb: &mut [[u8; 3]]) {
    for ((y, [u, v]), out) in luma.iter().zip(colour.as_chunks::<2>().0).zip(rgb) {
        *out = pixel(*y, chroma(*u, *v));
    }
}
