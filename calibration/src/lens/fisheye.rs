//! Kannala-Brandt's equidistant fisheye: the radius is a polynomial of the angle to the axis (OpenCV `fisheye`).

use std::f64::consts::PI;

use super::first_fall;

const SCAN_STEPS: u32 = 8192;
const MAX_ITERATIONS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fisheye {
    coefficients: [f64; 4],
    /// The largest angle to the optical axis, in radians: where the radius stops growing, at most pi.
    max_angle: f64,
}

impl Fisheye {
    pub(crate) fn new(coefficients: [f64; 4]) -> Self {
        let mut fisheye = Self { coefficients, max_angle: 0.0 };
        fisheye.max_angle = first_fall(0.0, PI, SCAN_STEPS, |angle| fisheye.radius(angle).1 > 0.0);
        fisheye
    }

    /// Also for points behind the camera, up to the largest angle.
    pub(crate) fn distort(&self, [x, y, z]: [f64; 3]) -> Option<[f64; 2]> {
        let across = x.hypot(y);
        let angle = across.atan2(z);
        if !(across.is_finite() && z.is_finite() && angle < self.max_angle && (across > 0.0 || z > 0.0)) {
            return None;
        }
        if across == 0.0 {
            return Some([0.0, 0.0]);
        }
        let radius = self.radius(angle).0;
        Some([radius * (x / across), radius * (y / across)])
    }

    pub(crate) fn direction(&self, [x, y]: [f64; 2]) -> Option<[f64; 3]> {
        let radius = x.hypot(y);
        if radius == 0.0 {
            return Some([0.0, 0.0, 1.0]);
        }
        let (sin, cos) = self.angle(radius)?.sin_cos();
        Some([sin * (x / radius), sin * (y / radius), cos])
    }

    /// The angle of a radius: Newton's method, held between bounds that close in.
    fn angle(&self, radius: f64) -> Option<f64> {
        if !(radius.is_finite() && radius < self.radius(self.max_angle).0) {
            return None;
        }
        let (mut low, mut high) = (0.0, self.max_angle);
        let mut angle = radius.min(0.5 * self.max_angle);
        for _ in 0..MAX_ITERATIONS {
            let (value, slope) = self.radius(angle);
            if value < radius {
                low = angle
            } else {
                high = angle
            }
            let newton = angle - (value - radius) / slope;
            let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
            if (next - angle).abs() <= f64::EPSILON * angle {
                return Some(next);
            }
            angle = next;
        }
        ((self.radius(angle).0 - radius).abs() <= 1e-12 * (1.0 + radius)).then_some(angle)
    }

    /// The radius of an angle, and its slope.
    fn radius(&self, angle: f64) -> (f64, f64) {
        let [k1, k2, k3, k4] = self.coefficients;
        let s = angle * angle;
        let value = angle * (1.0 + s * (k1 + s * (k2 + s * (k3 + s * k4))));
        let slope = 1.0 + s * (3.0 * k1 + s * (5.0 * k2 + s * (7.0 * k3 + s * 9.0 * k4)));
        (value, slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ideal_fisheye_sees_behind_itself() {
        let fisheye = Fisheye::new([0.0; 4]);
        let [x, y] = fisheye.distort([1.0, 0.0, -1.0]).unwrap();
        assert!((x - 0.75 * PI).abs() < 1e-15 && y == 0.0);
        let [dx, _, dz] = fisheye.direction([x, y]).unwrap();
        assert!((dx - 0.5_f64.sqrt()).abs() < 1e-15 && (dz + 0.5_f64.sqrt()).abs() < 1e-15);
        assert_eq!(fisheye.distort([0.0, 0.0, -1.0]), None);
        assert_eq!(fisheye.direction([PI, 0.0]), None);
    }

    #[test]
    fn the_domain_ends_where_the_radius_stops_growing() {
        // d/da (a - 0.1 a^3) = 0 at a = sqrt(1 / 0.3)
        let fisheye = Fisheye::new([-0.1, 0.0, 0.0, 0.0]);
        assert!((fisheye.max_angle - (1.0_f64 / 0.3).sqrt()).abs() < 1e-9);
    }
}
