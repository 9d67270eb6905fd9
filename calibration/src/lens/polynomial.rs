//! Radial, tangential and thin-prism distortion on the plane z = 1 (OpenCV `calib3d`).

use super::first_fall;

/// Beyond this angle to the optical axis no polynomial on the plane z = 1 is believed.
const MAX_ANGLE_DEGREES: f64 = 89.5;
const SCAN_STEPS: u32 = 8192;
const MAX_ITERATIONS: usize = 60;

/// The twelve coefficients (those not given are 0) and the radius up to which the model is one to one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Polynomial {
    numerator: [f64; 3],
    denominator: [f64; 3],
    tangential: [f64; 2],
    prism: [f64; 4],
    max_radius: f64,
}

/// The value of a map of the plane and its derivative `[[dx/dx, dx/dy], [dy/dx, dy/dy]]`.
type WithDerivative = ([f64; 2], [[f64; 2]; 2]);

impl Polynomial {
    /// From `k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4`, of which the last may be left out.
    pub(crate) fn new(coefficients: &[f64]) -> Self {
        let at = |index: usize| coefficients.get(index).copied().unwrap_or(0.0);
        let mut polynomial = Self {
            numerator: [at(0), at(1), at(4)],
            denominator: [at(5), at(6), at(7)],
            tangential: [at(2), at(3)],
            prism: [at(8), at(9), at(10), at(11)],
            max_radius: 0.0,
        };
        let angle = MAX_ANGLE_DEGREES.to_radians();
        polynomial.max_radius =
            first_fall(0.0, angle, SCAN_STEPS, |a| polynomial.stretch(a.tan()) > 0.0).tan();
        polynomial
    }

    pub(crate) fn distort(&self, point: [f64; 2]) -> Option<[f64; 2]> {
        self.contains(point).then(|| self.evaluate(point).0)
    }

    /// Newton's method, each step shortened until it stays in the domain and gets nearer. In the domain the derivative
    /// is never singular, so that it ends at the one solution, or outside at none.
    pub(crate) fn undistort(&self, distorted: [f64; 2]) -> Option<[f64; 2]> {
        let scale = 1.0 + norm(distorted);
        let mut point = self.start(distorted)?;
        let mut miss = self.miss(point, distorted);
        for _ in 0..MAX_ITERATIONS {
            if norm(miss) <= 4.0 * f64::EPSILON * scale {
                break;
            }
            let Some(better) = self.newton_step(point, miss, distorted) else {
                break;
            };
            point = better;
            miss = self.miss(point, distorted);
        }
        (norm(miss) <= 1e-12 * scale).then_some(point)
    }

    /// The distorted point itself, pulled into the domain.
    fn start(&self, distorted: [f64; 2]) -> Option<[f64; 2]> {
        let radius = norm(distorted);
        let shrink = (0.9 * self.max_radius / radius).min(1.0);
        radius.is_finite().then(|| if radius > 0.0 { distorted.map(|c| c * shrink) } else { distorted })
    }

    fn miss(&self, point: [f64; 2], distorted: [f64; 2]) -> [f64; 2] {
        let [x, y] = self.evaluate(point).0;
        [x - distorted[0], y - distorted[1]]
    }

    /// A point in the domain that misses by less, None when there is none along Newton's direction.
    fn newton_step(&self, point: [f64; 2], miss: [f64; 2], distorted: [f64; 2]) -> Option<[f64; 2]> {
        let [[a, b], [c, d]] = self.evaluate(point).1;
        let determinant = a * d - b * c;
        let step = [(d * miss[0] - b * miss[1]) / determinant, (a * miss[1] - c * miss[0]) / determinant];
        (0..30).map(|halvings| 0.5_f64.powi(halvings)).find_map(|share| {
            let next = [point[0] - share * step[0], point[1] - share * step[1]];
            let nearer = norm(self.miss(next, distorted)) < norm(miss);
            (nearer && self.contains(next)).then_some(next)
        })
    }

    fn contains(&self, point: [f64; 2]) -> bool {
        norm(point) <= self.max_radius
    }

    fn evaluate(&self, [x, y]: [f64; 2]) -> WithDerivative {
        let s = x * x + y * y;
        let (radial, radial_slope) = self.radial(s);
        let [p1, p2] = self.tangential;
        let [s1, s2, s3, s4] = self.prism;
        let value = [
            x * radial + 2.0 * p1 * x * y + p2 * (s + 2.0 * x * x) + s * (s1 + s * s2),
            y * radial + p1 * (s + 2.0 * y * y) + 2.0 * p2 * x * y + s * (s3 + s * s4),
        ];
        let across = 2.0 * (x * y * radial_slope + p1 * x + p2 * y);
        let [bend_x, bend_y] = [2.0 * (s1 + 2.0 * s * s2), 2.0 * (s3 + 2.0 * s * s4)];
        let derivative = [
            [
                radial + 2.0 * x * x * radial_slope + 2.0 * p1 * y + 6.0 * p2 * x + bend_x * x,
                across + bend_x * y,
            ],
            [
                across + bend_y * x,
                radial + 2.0 * y * y * radial_slope + 6.0 * p1 * y + 2.0 * p2 * x + bend_y * y,
            ],
        ];
        (value, derivative)
    }

    /// The radial factor at a squared radius, and its slope by it.
    fn radial(&self, s: f64) -> (f64, f64) {
        let cubic = |k: &[f64; 3]| 1.0 + s * (k[0] + s * (k[1] + s * k[2]));
        let slope = |k: &[f64; 3]| k[0] + s * (2.0 * k[1] + s * 3.0 * k[2]);
        let (above, below) = (cubic(&self.numerator), cubic(&self.denominator));
        let ratio = above / below;
        (ratio, (slope(&self.numerator) - ratio * slope(&self.denominator)) / below)
    }

    /// A lower bound, over the circle of a radius, of the smallest eigenvalue of the derivative's symmetric part.
    ///
    /// While it stays above 0 from the centre outwards the map is strictly monotone on the disk, hence one to one.
    /// The radial part has the eigenvalues `g` and `g + 2 s g'`; the tangential part `2 (p.x) I + 2 (x p' + p x')`
    /// takes at most `6 |p| r` away and the prism part `2 b x'` at most `2 |b| r`.
    fn stretch(&self, radius: f64) -> f64 {
        let s = radius * radius;
        let below = 1.0 + s * (self.denominator[0] + s * (self.denominator[1] + s * self.denominator[2]));
        if below <= 0.0 {
            return 0.0;
        }
        let (radial, slope) = self.radial(s);
        let [s1, s2, s3, s4] = self.prism;
        let bend = norm([s1 + 2.0 * s * s2, s3 + 2.0 * s * s4]);
        radial.min(radial + 2.0 * s * slope) - radius * (6.0 * norm(self.tangential) + 2.0 * bend)
    }
}

fn norm([x, y]: [f64; 2]) -> f64 {
    x.hypot(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivative_is_that_of_the_value() {
        let polynomial =
            Polynomial::new(&[-0.3, 0.12, 0.01, -0.02, 0.03, 0.1, -0.05, 0.01, 0.004, -0.003, 0.002, 0.005]);
        let (x, y, h) = (0.4, -0.3, 1e-6);
        let derivative = polynomial.evaluate([x, y]).1;
        let along = |plus: [f64; 2], minus: [f64; 2]| {
            let (p, m) = (polynomial.evaluate(plus).0, polynomial.evaluate(minus).0);
            [(p[0] - m[0]) / (2.0 * h), (p[1] - m[1]) / (2.0 * h)]
        };
        let by_x = along([x + h, y], [x - h, y]);
        let by_y = along([x, y + h], [x, y - h]);
        for row in 0..2 {
            assert!((derivative[row][0] - by_x[row]).abs() < 1e-9);
            assert!((derivative[row][1] - by_y[row]).abs() < 1e-9);
        }
    }

    #[test]
    fn the_domain_ends_where_the_radial_curve_turns() {
        // d/dr (r - 0.2 r^3) = 0 at r = sqrt(1 / 0.6)
        let barrel = Polynomial::new(&[-0.2]);
        assert!((barrel.max_radius - (1.0_f64 / 0.6).sqrt()).abs() < 1e-9);
        assert!(barrel.distort([1.2, 0.0]).is_some());
        assert_eq!(barrel.distort([1.3, 0.0]), None);
        assert_eq!(barrel.undistort([0.9, 0.0]), None);
        // 1 / (1 - s): the pole at r = 1 bounds the domain, though the map grows on both sides of it
        assert!(Polynomial::new(&[0.0, 0.0, 0.0, 0.0, 0.0, -1.0]).max_radius <= 1.0);
    }
}
