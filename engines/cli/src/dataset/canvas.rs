//! Lines and letters on a picture: as much as curves and contact sheets need.

use font8x8::legacy::BASIC_LEGACY;
use image::{Rgb, RgbImage};

/// Side of a letter's cell, pixels.
pub const LETTER: i64 = 8;

/// Colours of curves, told apart by eye and in grey.
pub const COLORS: [[u8; 3]; 8] = [
    [31, 119, 180],
    [214, 39, 40],
    [44, 160, 44],
    [255, 127, 14],
    [148, 103, 189],
    [140, 86, 75],
    [227, 119, 194],
    [23, 190, 207],
];

/// A white picture to draw on; what lies outside is left out.
pub struct Canvas(pub RgbImage);

/// A rectangle of a canvas, pixels.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    pub left: i64,
    pub top: i64,
    pub width: i64,
    pub height: i64,
}

/// The ranges of an area's axes, never empty.
#[derive(Debug, Clone, Copy)]
pub struct Axes {
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Canvas {
    pub fn new(width: u32, height: u32) -> Self {
        Self(RgbImage::from_pixel(width, height, Rgb([255; 3])))
    }

    fn dot(&mut self, x: i64, y: i64, color: [u8; 3]) {
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
        {
            *pixel = Rgb(color);
        }
    }

    /// A straight line, one pixel wide.
    pub fn line(&mut self, from: (i64, i64), to: (i64, i64), color: [u8; 3]) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).clamp(1, 1 << 16);
        for step in 0..=steps {
            let along = |a: i64, b: i64| a + ((b - a) as f64 * step as f64 / steps as f64).round() as i64;
            self.dot(along(from.0, to.0), along(from.1, to.1), color);
        }
    }

    /// Text of ASCII from its left top; other letters show as `?`.
    pub fn text(&mut self, x: i64, y: i64, text: &str, color: [u8; 3]) {
        for (place, letter) in (0..).zip(text.chars()) {
            let glyph = BASIC_LEGACY.get(letter as usize).unwrap_or(&BASIC_LEGACY['?' as usize]);
            for (row, bits) in (0..).zip(glyph) {
                for column in (0..LETTER).filter(|column| bits >> column & 1 > 0) {
                    self.dot(x + place * LETTER + column, y + row, color);
                }
            }
        }
    }

    /// The outline of an area.
    pub fn frame(&mut self, area: Area, color: [u8; 3]) {
        let (right, bottom) = (area.left + area.width, area.top + area.height);
        self.line((area.left, area.top), (right, area.top), color);
        self.line((area.left, bottom), (right, bottom), color);
        self.line((area.left, area.top), (area.left, bottom), color);
        self.line((right, area.top), (right, bottom), color);
    }

    /// The ends of both axes, in numbers.
    pub fn labels(&mut self, area: Area, axes: Axes, unit: &str) {
        let grey = [90; 3];
        self.frame(area, [190; 3]);
        self.text(area.left + 4, area.top + 4, &format!("{:.4} {unit}", axes.y.1), grey);
        self.text(area.left + 4, area.top + area.height - 12, &format!("{:.4} {unit}", axes.y.0), grey);
        self.text(area.left, area.top + area.height + 4, &format!("{:.2} s", axes.x.0), grey);
        let end = format!("{:.2} s", axes.x.1);
        self.text(area.left + area.width - end.len() as i64 * LETTER, area.top + area.height + 4, &end, grey);
    }

    /// A curve through points; a point that is no number breaks it.
    pub fn curve(
        &mut self,
        area: Area,
        axes: Axes,
        points: impl Iterator<Item = (f64, f64)>,
        color: [u8; 3],
    ) {
        let mut last = None;
        for (x, y) in points {
            let here = (x.is_finite() && y.is_finite()).then(|| area.place(axes, x, y));
            if let (Some(from), Some(to)) = (last, here) {
                self.line(from, to, color);
            }
            last = here;
        }
    }

    /// Small crosses at points.
    pub fn crosses(
        &mut self,
        area: Area,
        axes: Axes,
        points: impl Iterator<Item = (f64, f64)>,
        color: [u8; 3],
    ) {
        for (x, y) in points.filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = area.place(axes, x, y);
            self.line((x - 2, y - 2), (x + 2, y + 2), color);
            self.line((x - 2, y + 2), (x + 2, y - 2), color);
        }
    }

    /// A picture, scaled to fit an area by taking the nearest pixels.
    pub fn picture(&mut self, area: Area, width: usize, pixels: &[u8]) {
        let height = pixels.len() / 3 / width.max(1);
        for y in 0..area.height {
            for x in 0..area.width {
                let from =
                    |place: i64, side: i64, count: usize| place as usize * count / side.max(1) as usize;
                let at = 3 * (from(y, area.height, height) * width + from(x, area.width, width));
                if let Some(&[r, g, b]) = pixels.get(at..at + 3).and_then(|pixel| pixel.first_chunk()) {
                    self.dot(area.left + x, area.top + y, [r, g, b]);
                }
            }
        }
    }
}

impl Area {
    fn place(self, axes: Axes, x: f64, y: f64) -> (i64, i64) {
        let part = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(-1.0, 2.0);
        let along = self.left + (part(x, axes.x) * self.width as f64) as i64;
        (along, self.top + self.height - (part(y, axes.y) * self.height as f64) as i64)
    }
}

/// The range of some numbers, with a margin, never empty.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let margin = ((high - low) * 0.05).max(1e-9 * (1.0 + high.abs()));
    (low - margin, high + margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_and_letters_land_where_they_belong() {
        let mut canvas = Canvas::new(120, 60);
        let area = Area { left: 10, top: 10, width: 100, height: 40 };
        let axes = Axes { x: (0.0, 1.0), y: (0.0, 1.0) };
        canvas.curve(area, axes, [(0.0, 0.0), (1.0, 1.0)].into_iter(), COLORS[1]);
        assert_eq!(canvas.0.get_pixel(10, 50).0, COLORS[1]);
        assert_eq!(canvas.0.get_pixel(110, 10).0, COLORS[1]);
        assert_eq!(canvas.0.get_pixel(60, 30).0, COLORS[1]);
        canvas.text(0, 0, "I", [0; 3]);
        assert!((0..8).any(|x| canvas.0.get_pixel(x, 3).0 == [0; 3]));
        canvas.line((-500, -500), (5000, 5000), [0; 3]);
    }

    #[test]
    fn ranges_are_never_empty() {
        for values in [vec![], vec![f64::NAN], vec![3.0], vec![-1.0, 2.0]] {
            let (low, high) = range(values.into_iter());
            assert!(low < high);
        }
    }
}
