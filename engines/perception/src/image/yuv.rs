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

/// Sums reach from -277 to 535 levels; [`Tables::clipped`] begins at this below zero.
const BELOW: i32 = 384;

/// The products of all bytes, and sums cut to 0 to 255: a third faster than multiplying, and without branches, which the noise of a
/// camera makes four times slower.
struct Tables {
    y: [i32; 256],
    red_v: [i32; 256],
    green_u: [i32; 256],
    green_v: [i32; 256],
    blue_u: [i32; 256],
    clipped: [u8; 1024],
}

static TABLES: Tables = Tables::new();

impl Tables {
    const fn new() -> Self {
        let zeros = [0; 256];
        let mut tables = Self {
            y: zeros,
            red_v: zeros,
            green_u: zeros,
            green_v: zeros,
            blue_u: zeros,
            clipped: [0; 1024],
        };
        let mut byte = 0;
        while byte < 256 {
            let (y, difference) = (byte as i32 - 16, byte as i32 - 128);
            tables.y[byte] = if y < 0 { 0 } else { y * Y };
            tables.red_v[byte] = HALF + RED_V * difference;
            tables.green_u[byte] = HALF + GREEN_U * difference;
            tables.green_v[byte] = GREEN_V * difference;
            tables.blue_u[byte] = HALF + BLUE_U * difference;
            byte += 1;
        }
        let mut at = 0;
        while at < 1024 {
            let level = at as i32 - BELOW;
            tables.clipped[at] = if level < 0 {
                0
            } else if level > 255 {
                255
            } else {
                level as u8
            };
            at += 1;
        }
        tables
    }
}

/// What one pair of colour differences adds to red, green and blue.
#[inline(always)]
fn chroma(u: u8, v: u8) -> [i32; 3] {
    let (u, v) = (usize::from(u), usize::from(v));
    [TABLES.red_v[v], TABLES.green_u[u].wrapping_add(TABLES.green_v[v]), TABLES.blue_u[u]]
}

/// Nothing overflows, as [`BELOW`] says; wrapping spares the checks.
#[inline(always)]
fn pixel(y: u8, [red, green, blue]: [i32; 3]) -> [u8; 3] {
    let y = TABLES.y[usize::from(y)];
    let level = |part: i32| {
        let sum = (y.wrapping_add(part) >> SHIFT).wrapping_add(BELOW);
        TABLES.clipped[(sum & 1023) as usize]
    };
    [level(red), level(green), level(blue)]
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
