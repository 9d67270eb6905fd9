//! How predictions for one moment become one action.

/// How one dimension is resampled within a chunk and mixed between chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blend {
    /// Straight lines between steps, weighted means between chunks: positions.
    Linear,
    /// Held for its period, weighted means between chunks: velocities, so that what a step covers is what was predicted.
    Held,
    /// Never mixed: the side of `middle` with more weight wins.
    Switch {
        /// Between the two values.
        middle: f64,
    },
    /// The first of four dimensions of a unit quaternion `x y z w`: spherical interpolation.
    Quaternion,
    /// The other three.
    OfQuaternion,
}

/// How chunks that speak of the same moment are combined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// The chunk of the newest observation alone.
    Newest,
    /// The newest, reached linearly from the one before within this time after its arrival, s.
    CrossFade {
        /// Length of the fade, s.
        secs: f64,
    },
    /// ACT's temporal ensembling (arXiv 2304.13705): weights `exp(-m i)`, `i = 0` for the oldest observation.
    Ensemble {
        /// ACT's `m`; 0.01 there. Larger trusts old predictions more.
        m: f64,
    },
}

/// Interpolates within a chunk: `share` of the way from `from` to `to`.
pub(crate) fn interpolate(blends: &[Blend], from: &[f64], to: &[f64], share: f64, out: &mut [f64]) {
    for (index, blend) in blends.iter().enumerate() {
        match blend {
            Blend::Linear => out[index] = from[index] + share * (to[index] - from[index]),
            Blend::Held | Blend::Switch { .. } => out[index] = from[index],
            Blend::Quaternion => {
                slerp(&from[index..index + 4], &to[index..index + 4], share, &mut out[index..])
            }
            Blend::OfQuaternion => {}
        }
    }
}

/// A weighted mean that grows action by action; keeps its buffers.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    blends: Vec<Blend>,
    sum: Vec<f64>,
    /// Weight of those above the middle, per dimension.
    above: Vec<f64>,
    /// The newest value seen on each side of the middle: what a switch gives.
    sides: Vec<[f64; 2]>,
    weight: f64,
}

impl Mix {
    pub(crate) fn new(blends: Vec<Blend>) -> Self {
        let count = blends.len();
        Self {
            blends,
            sum: vec![0.0; count],
            above: vec![0.0; count],
            sides: vec![[0.0; 2]; count],
            weight: 0.0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.weight = 0.0;
        self.sum.fill(0.0);
        self.above.fill(0.0);
    }

    pub(crate) fn add(&mut self, action: &[f64], weight: f64) {
        if weight <= 0.0 {
            return;
        }
        let share = weight / (self.weight + weight);
        for (index, blend) in self.blends.iter().enumerate() {
            match blend {
                Blend::Linear | Blend::Held => self.sum[index] += weight * action[index],
                Blend::Switch { middle } => {
                    let above = action[index] > *middle;
                    self.above[index] += if above { weight } else { 0.0 };
                    self.sides[index][usize::from(above)] = action[index];
                }
                Blend::Quaternion => {
                    let mut so_far = [0.0; 4];
                    so_far.copy_from_slice(&self.sum[index..index + 4]);
                    if self.weight == 0.0 {
                        self.sum[index..index + 4].copy_from_slice(&action[index..index + 4]);
                    } else {
                        slerp(&so_far, &action[index..index + 4], share, &mut self.sum[index..]);
                    }
                }
                Blend::OfQuaternion => {}
            }
        }
        self.weight += weight;
    }

    /// Writes the mean. False, and nothing written, when nothing was added.
    pub(crate) fn write(&self, out: &mut [f64]) -> bool {
        if self.weight <= 0.0 {
            return false;
        }
        for (index, blend) in self.blends.iter().enumerate() {
            out[index] = match blend {
                Blend::Linear | Blend::Held => self.sum[index] / self.weight,
                Blend::Switch { .. } => self.sides[index][usize::from(self.above[index] > 0.5 * self.weight)],
                Blend::Quaternion | Blend::OfQuaternion => self.sum[index],
            };
        }
        true
    }
}

/// Spherical linear interpolation between unit quaternions along the shorter arc (Shoemake 1985).
fn slerp(from: &[f64], to: &[f64], share: f64, out: &mut [f64]) {
    let dot: f64 = from.iter().zip(to).map(|(a, b)| a * b).sum();
    let sign = if dot < 0.0 { -1.0 } else { 1.0 };
    let angle = (dot * sign).clamp(-1.0, 1.0).acos();
    let (a, b) = if angle < 1e-6 {
        (1.0 - share, share)
    } else {
        (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin())
    };
    let mut mixed = [0.0; 4];
    for index in 0..4 {
        mixed[index] = a * from[index] + sign * b * to[index];
    }
    let length = mixed.iter().map(|value| value * value).sum::<f64>().sqrt();
    out[..4].iter_mut().zip(mixed).for_each(|(out, value)| *out = value / length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about_z(degrees: f64) -> [f64; 4] {
        let half = degrees.to_radians() / 2.0;
        [0.0, 0.0, half.sin(), half.cos()]
    }

    #[test]
    fn quaternions_take_the_shorter_arc() {
        let blends = [Blend::Quaternion, Blend::OfQuaternion, Blend::OfQuaternion, Blend::OfQuaternion];
        let mut out = [0.0; 4];
        let to = about_z(90.0).map(|value| -value);
        interpolate(&blends, &about_z(0.0), &to, 1.0 / 3.0, &mut out);
        let expected = about_z(30.0);
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{out:?}");
        let mut mix = Mix::new(blends.to_vec());
        mix.add(&about_z(10.0), 1.0);
        mix.add(&about_z(40.0), 2.0);
        assert!(mix.write(&mut out));
        assert!(out.iter().zip(about_z(30.0)).all(|(a, b)| (a - b).abs() < 1e-12), "{out:?}");
    }

    #[test]
    fn switches_never_take_a_value_between() {
        let mut mix = Mix::new(vec![Blend::Switch { middle: 0.5 }, Blend::Linear]);
        let mut out = [9.0, 9.0];
        assert!(!mix.write(&mut out));
        assert_eq!(out, [9.0, 9.0]);
        mix.add(&[0.0, 0.0], 1.0);
        mix.add(&[1.0, 3.0], 2.0);
        assert!(mix.write(&mut out));
        assert_eq!(out, [1.0, 2.0]);
        mix.add(&[0.0, 2.0], 3.0);
        assert!(mix.write(&mut out));
        assert_eq!(out, [0.0, 2.0]);
    }
}
