//! The lens models as functions between directions and points on the plane z = 1 of the distorted image.

mod fisheye;
mod polynomial;
mod tilt;

use fisheye::Fisheye;
use polynomial::Polynomial;
use tilt::Tilt;

use crate::Distortion;

/// What a [`Distortion`] computes, with its valid domain worked out once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lens {
    Pinhole,
    Polynomial(Polynomial),
    Tilted(Polynomial, Tilt),
    Fisheye(Fisheye),
}

impl Lens {
    pub(crate) fn new(distortion: &Distortion) -> Self {
        match distortion {
            _ if distortion.is_none() => Self::Pinhole,
            Distortion::None => Self::Pinhole,
            Distortion::PlumbBob(k) => Self::Polynomial(Polynomial::new(k)),
            Distortion::RationalPolynomial(k) => Self::Polynomial(Polynomial::new(k)),
            Distortion::ThinPrism(k) => Self::Polynomial(Polynomial::new(k)),
            Distortion::Tilted(k) => Self::Tilted(Polynomial::new(&k[..12]), Tilt::new(k[12], k[13])),
            Distortion::Equidistant(k) => Self::Fisheye(Fisheye::new(*k)),
        }
    }

    /// Where on the distorted plane a point lands, None outside the domain.
    pub(crate) fn distort(&self, point: [f64; 3]) -> Option<[f64; 2]> {
        match self {
            Self::Pinhole => flatten(point),
            Self::Polynomial(polynomial) => polynomial.distort(flatten(point)?),
            Self::Tilted(polynomial, tilt) => tilt.apply(polynomial.distort(flatten(point)?)?),
            Self::Fisheye(fisheye) => fisheye.distort(point),
        }
    }

    /// The unit direction that lands on a point of the distorted plane, None outside the domain.
    pub(crate) fn direction(&self, plane: [f64; 2]) -> Option<[f64; 3]> {
        match self {
            Self::Pinhole => unit(plane),
            Self::Polynomial(polynomial) => unit(polynomial.undistort(plane)?),
            Self::Tilted(polynomial, tilt) => unit(polynomial.undistort(tilt.invert(plane)?)?),
            Self::Fisheye(fisheye) => fisheye.direction(plane),
        }
    }
}

/// The point of the plane z = 1 on the line to a point in front of the camera.
fn flatten([x, y, z]: [f64; 3]) -> Option<[f64; 2]> {
    let flat = [x / z, y / z];
    (z > 0.0 && flat[0].is_finite() && flat[1].is_finite()).then_some(flat)
}

/// The unit direction to a point of the plane z = 1.
fn unit([x, y]: [f64; 2]) -> Option<[f64; 3]> {
    let length = x.hypot(y).hypot(1.0);
    length.is_finite().then(|| [x / length, y / length, 1.0 / length])
}

/// The first place from `start` to `end` where a function is no longer above 0, or `end`: sampled in `steps`, then
/// bisected. The answer lies on the side where the function is above 0.
fn first_fall(start: f64, end: f64, steps: u32, positive: impl Fn(f64) -> bool) -> f64 {
    let at = |step: u32| start + (end - start) * f64::from(step) / f64::from(steps);
    let Some(step) = (1..=steps).find(|step| !positive(at(*step))) else {
        return end;
    };
    let (mut inside, mut outside) = (at(step - 1), at(step));
    for _ in 0..60 {
        let middle = 0.5 * (inside + outside);
        if positive(middle) { inside = middle } else { outside = middle }
    }
    inside
}
