use thiserror::Error;

/// A lens distortion model with its coefficients, in the order of ROS CameraInfo and OpenCV.
///
/// All but [`Equidistant`](Self::Equidistant) act on `(x / z, y / z)`, equidistant on the angle to the optical axis.
/// Formulas: the OpenCV `calib3d` and `fisheye` documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distortion {
    /// A perfect pinhole.
    None,
    /// Brown-Conrady: `k1 k2 p1 p2 k3`.
    PlumbBob([f64; 5]),
    /// Rational radial polynomial: `k1 k2 p1 p2 k3 k4 k5 k6`.
    RationalPolynomial([f64; 8]),
    /// Kannala-Brandt fisheye: `k1 k2 k3 k4`.
    Equidistant([f64; 4]),
    /// Rational with thin prism: `k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4`.
    ThinPrism([f64; 12]),
    /// Thin prism with a tilted sensor (Scheimpflug): the twelve, then `tau_x tau_y` in radians, below a right angle.
    Tilted([f64; 14]),
}

/// Why a distortion model's name and coefficients were refused.
#[derive(Debug, Error, PartialEq)]
pub enum DistortionError {
    /// The name is none of the models this crate computes.
    #[error(
        "distortion_model: expected plumb_bob, rational_polynomial, equidistant or none, got {came:?} with {count} coefficients"
    )]
    Model {
        /// The name that came.
        came: String,
        /// How many coefficients came with it.
        count: usize,
    },
    /// The name does not go with this many coefficients.
    #[error("distortion coefficients: expected {expected} for {model}, got {came}")]
    Count {
        /// The model's name.
        model: String,
        /// The counts that go with it.
        expected: &'static str,
        /// The count that came.
        came: usize,
    },
}

impl Distortion {
    /// The model that ROS CameraInfo means by a name and its coefficients.
    ///
    /// `rational_polynomial` goes with 8, 12 (thin prism) or 14 (tilted) coefficients, as OpenCV reads them, and
    /// `plumb_bob` also with 4 (k3 is 0). Zeros after a model's last coefficient change nothing and are accepted:
    /// some drivers always send five. No name or `none` goes with no coefficients, or with zeros.
    ///
    /// # Errors
    /// Another name, or a count that does not go with the name.
    pub fn from_ros(model: &str, coefficients: &[f64]) -> Result<Self, DistortionError> {
        let count =
            |expected| DistortionError::Count { model: model.to_owned(), expected, came: coefficients.len() };
        match model {
            "plumb_bob" => exactly(coefficients)
                .or_else(|| exactly(coefficients).map(|[k1, k2, p1, p2]: [f64; 4]| [k1, k2, p1, p2, 0.0]))
                .map(Self::PlumbBob)
                .ok_or_else(|| count("4 or 5")),
            "rational_polynomial" => exactly(coefficients)
                .map(Self::RationalPolynomial)
                .or_else(|| exactly(coefficients).map(Self::ThinPrism))
                .or_else(|| exactly(coefficients).map(Self::Tilted))
                .ok_or_else(|| count("8, 12 or 14")),
            "equidistant" | "fisheye" => {
                exactly(coefficients).map(Self::Equidistant).ok_or_else(|| count("4"))
            }
            "" | "none" if coefficients.iter().all(|k| *k == 0.0) => Ok(Self::None),
            _ => Err(DistortionError::Model { came: model.to_owned(), count: coefficients.len() }),
        }
    }

    /// The name of the model in ROS CameraInfo; `plumb_bob` for no distortion, as drivers have it.
    pub fn ros_name(&self) -> &'static str {
        match self {
            Self::None | Self::PlumbBob(_) => "plumb_bob",
            Self::RationalPolynomial(_) | Self::ThinPrism(_) | Self::Tilted(_) => "rational_polynomial",
            Self::Equidistant(_) => "equidistant",
        }
    }

    /// The coefficients as ROS CameraInfo's `d`; five zeros for no distortion.
    pub fn ros_coefficients(&self) -> Vec<f64> {
        match self {
            Self::None => vec![0.0; 5],
            _ => self.coefficients().to_vec(),
        }
    }

    /// The coefficients, in the order of the variant; empty for none.
    pub fn coefficients(&self) -> &[f64] {
        match self {
            Self::None => &[],
            Self::PlumbBob(k) => k,
            Self::RationalPolynomial(k) => k,
            Self::Equidistant(k) => k,
            Self::ThinPrism(k) => k,
            Self::Tilted(k) => k,
        }
    }

    /// Whether the model is a pinhole in effect. Equidistant never is, even with zeros: its angle is its radius.
    pub fn is_none(&self) -> bool {
        !matches!(self, Self::Equidistant(_)) && self.coefficients().iter().all(|k| *k == 0.0)
    }
}

/// The first N coefficients when there are N, or more of which the rest are zeros.
fn exactly<const N: usize>(coefficients: &[f64]) -> Option<[f64; N]> {
    let (head, rest) = coefficients.split_first_chunk()?;
    rest.iter().all(|k| *k == 0.0).then_some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ros_names_and_counts() {
        let k = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 0.01, 0.02];
        let first = |n: usize| &k[..n];
        let cases = [
            ("plumb_bob", first(5), Ok(Distortion::PlumbBob([0.1, 0.2, 0.3, 0.4, 0.5]))),
            ("plumb_bob", first(4), Ok(Distortion::PlumbBob([0.1, 0.2, 0.3, 0.4, 0.0]))),
            ("equidistant", first(4), Ok(Distortion::Equidistant([0.1, 0.2, 0.3, 0.4]))),
            ("equidistant", &[0.1, 0.2, 0.3, 0.4, 0.0], Ok(Distortion::Equidistant([0.1, 0.2, 0.3, 0.4]))),
            ("rational_polynomial", first(14), Ok(Distortion::Tilted(k))),
            ("", &[], Ok(Distortion::None)),
            ("none", &[0.0; 5], Ok(Distortion::None)),
        ];
        for (name, coefficients, expected) in cases {
            assert_eq!(Distortion::from_ros(name, coefficients), expected, "{name} {coefficients:?}");
        }
    }

    #[test]
    fn refusals_name_what_came() {
        let cases = [
            ("plumb_bob", 3, "expected 4 or 5 for plumb_bob, got 3"),
            ("plumb_bob", 8, "expected 4 or 5 for plumb_bob, got 8"),
            ("rational_polynomial", 5, "expected 8, 12 or 14 for rational_polynomial, got 5"),
            ("equidistant", 5, "expected 4 for equidistant, got 5"),
            ("", 5, "got \"\" with 5 coefficients"),
            ("omni", 4, "got \"omni\" with 4 coefficients"),
        ];
        for (name, count, expected) in cases {
            let error = Distortion::from_ros(name, &vec![0.1; count]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let cases = [
            Distortion::PlumbBob([0.1; 5]),
            Distortion::RationalPolynomial([0.1; 8]),
            Distortion::ThinPrism([0.1; 12]),
            Distortion::Tilted([0.1; 14]),
            Distortion::Equidistant([0.1; 4]),
        ];
        for distortion in cases {
            let read = Distortion::from_ros(distortion.ros_name(), &distortion.ros_coefficients());
            assert_eq!(read, Ok(distortion));
        }
    }
}
