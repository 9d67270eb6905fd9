//! A policy's prediction.

use std::sync::Arc;

use crate::space::ActionSpace;
use crate::time::RosTime;

/// Actions for the time from an observation on: step `k` is due at `observation + k * period`.
///
/// At least one step, every number finite, the period positive.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionChunk {
    space: Arc<ActionSpace>,
    observation: RosTime,
    period_secs: f64,
    steps: usize,
    values: Vec<f64>,
}

/// Why numbers are no chunk.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChunkError {
    /// Steps are missing or too many.
    #[error("steps: expected 1 to {MAX_STEPS}, got {came}")]
    Steps {
        /// How many came.
        came: usize,
    },
    /// The period is none.
    #[error("period: expected a positive number of seconds up to {MAX_PERIOD_SECS}, got {came}")]
    Period {
        /// Seconds that came.
        came: f64,
    },
    /// There are not as many numbers as steps of the space.
    #[error("values: expected {expected} ({steps} steps of {dimensions}), got {came}")]
    Values {
        /// Numbers of all steps.
        expected: usize,
        /// Steps.
        steps: usize,
        /// Numbers of a step.
        dimensions: usize,
        /// How many came.
        came: usize,
    },
    /// A number is NaN or infinite.
    #[error("step {step}, {name}: expected a finite number, got {came}")]
    NotFinite {
        /// Step.
        step: usize,
        /// Name of the dimension.
        name: String,
        /// The number.
        came: f64,
    },
    /// The names are not those of the action space.
    #[error("names: expected {expected:?} in any order, got {came:?}")]
    Names {
        /// The space's names.
        expected: Vec<String>,
        /// Those that came.
        came: Vec<String>,
    },
    /// A quaternion that has no direction.
    #[error("step {step}: expected a quaternion of length 1, got one of length {came}")]
    Quaternion {
        /// Step.
        step: usize,
        /// Its length.
        came: f64,
    },
    /// Only velocities can be made of displacements.
    #[error("displacements become velocities: expected an action space of velocities")]
    NotVelocities,
}

/// The most steps of one chunk.
pub const MAX_STEPS: usize = 4096;
/// The longest period, s.
pub const MAX_PERIOD_SECS: f64 = 60.0;

impl ActionChunk {
    /// `values` step by step, dimensions in the space's order.
    ///
    /// # Errors
    /// When a number is missing, too many or not finite.
    pub fn new(
        space: Arc<ActionSpace>,
        observation: RosTime,
        period_secs: f64,
        values: Vec<f64>,
    ) -> Result<Self, ChunkError> {
        let dimensions = space.dimensions();
        let steps = values.len() / dimensions.max(1);
        if steps == 0 || steps > MAX_STEPS {
            return Err(ChunkError::Steps { came: steps });
        }
        if values.len() != steps * dimensions {
            let expected = steps * dimensions;
            return Err(ChunkError::Values { expected, steps, dimensions, came: values.len() });
        }
        if !(period_secs.is_finite() && period_secs > 0.0 && period_secs <= MAX_PERIOD_SECS) {
            return Err(ChunkError::Period { came: period_secs });
        }
        let mut chunk = Self { space, observation, period_secs, steps, values };
        chunk.check_values()?;
        Ok(chunk)
    }

    fn check_values(&mut self) -> Result<(), ChunkError> {
        let dimensions = self.space.dimensions();
        if let Some(index) = self.values.iter().position(|value| !value.is_finite()) {
            let (step, name) = (index / dimensions, self.space.names()[index % dimensions].to_owned());
            return Err(ChunkError::NotFinite { step, name, came: self.values[index] });
        }
        if !matches!(*self.space, ActionSpace::EndEffectorPose { .. }) {
            return Ok(());
        }
        for (step, action) in self.values.chunks_exact_mut(dimensions).enumerate() {
            let length = action[3..7].iter().map(|value| value * value).sum::<f64>().sqrt();
            if (length - 1.0).abs() > 0.1 {
                return Err(ChunkError::Quaternion { step, came: length });
            }
            action[3..7].iter_mut().for_each(|value| *value /= length);
        }
        Ok(())
    }

    /// As [`ActionChunk::new`], for values whose dimensions are named in any order.
    ///
    /// # Errors
    /// When the names are not the space's, or as [`ActionChunk::new`].
    pub fn from_named<S: AsRef<str>>(
        space: Arc<ActionSpace>,
        names: &[S],
        observation: RosTime,
        period_secs: f64,
        values: &[f64],
    ) -> Result<Self, ChunkError> {
        let expected = space.names();
        let place = |name: &&str| names.iter().position(|came| came.as_ref() == *name);
        let places: Option<Vec<usize>> = expected.iter().map(place).collect();
        let wrong = || ChunkError::Names {
            expected: expected.iter().map(|name| (*name).to_owned()).collect(),
            came: names.iter().take(crate::space::MAX_JOINTS).map(|name| name.as_ref().to_owned()).collect(),
        };
        let places = places.filter(|_| names.len() == expected.len()).ok_or_else(wrong)?;
        if !values.len().is_multiple_of(places.len()) {
            let (steps, dimensions) = (values.len() / places.len(), places.len());
            let expected = steps * dimensions;
            return Err(ChunkError::Values { expected, steps, dimensions, came: values.len() });
        }
        let ordered = |step: &[f64]| places.iter().map(|place| step[*place]).collect::<Vec<_>>();
        let values = values.chunks_exact(places.len()).flat_map(ordered).collect();
        Self::new(space, observation, period_secs, values)
    }

    /// A chunk of velocities from predicted displacements per step (rad, m): each is covered within its period. A
    /// gripper's dimension stays what it is.
    ///
    /// # Errors
    /// When the space is not one of velocities, or as [`ActionChunk::new`].
    pub fn from_displacements(
        space: Arc<ActionSpace>,
        observation: RosTime,
        period_secs: f64,
        mut displacements: Vec<f64>,
    ) -> Result<Self, ChunkError> {
        if !matches!(*space, ActionSpace::JointVelocities(_) | ActionSpace::EndEffectorVelocity { .. }) {
            return Err(ChunkError::NotVelocities);
        }
        let dimensions = space.dimensions();
        let moving = dimensions - usize::from(space.gripper().is_some());
        for (index, value) in displacements.iter_mut().enumerate() {
            if index % dimensions < moving {
                *value /= period_secs;
            }
        }
        Self::new(space, observation, period_secs, displacements)
    }

    /// What the numbers mean.
    pub fn space(&self) -> &Arc<ActionSpace> {
        &self.space
    }

    /// Stamp of the image that it was predicted from.
    pub fn observation(&self) -> RosTime {
        self.observation
    }

    /// Time from step to step, s.
    pub fn period_secs(&self) -> f64 {
        self.period_secs
    }

    /// Number of steps, at least 1.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The numbers of one step; nothing beyond the last.
    pub fn step(&self, step: usize) -> Option<&[f64]> {
        let dimensions = self.space.dimensions();
        self.values.get(step * dimensions..(step + 1) * dimensions)
    }

    /// When the last step has had its period: after this the chunk says nothing.
    pub fn end(&self) -> RosTime {
        self.observation + self.period_secs * self.steps as f64
    }

    /// Steps from the observation to `time`, with the fraction; nothing before the observation and from the end on.
    pub(crate) fn position(&self, time: RosTime) -> Option<f64> {
        let steps = time.secs_since(self.observation) / self.period_secs;
        // Nanoseconds do not hold every period: a step that is due now, by less than a nanosecond, is due.
        let whole = steps.round();
        let steps = if (steps - whole).abs() * self.period_secs < 2e-9 { whole } else { steps };
        (0.0..self.steps as f64).contains(&steps).then_some(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::{joint, twist};

    fn joints() -> Arc<ActionSpace> {
        Arc::new(ActionSpace::JointPositions(vec![joint("a"), joint("b")]))
    }

    #[test]
    fn only_whole_finite_chunks_construct() {
        let chunk = |period, values: &[f64]| ActionChunk::new(joints(), RosTime(0), period, values.to_vec());
        assert_eq!(chunk(0.1, &[1.0, 2.0, 3.0, 4.0]).unwrap().step(1), Some(&[3.0, 4.0][..]));
        assert_eq!(chunk(0.1, &[]), Err(ChunkError::Steps { came: 0 }));
        assert!(matches!(chunk(0.1, &[1.0, 2.0, 3.0]), Err(ChunkError::Values { expected: 2, .. })));
        assert!(matches!(chunk(0.0, &[1.0, 2.0]), Err(ChunkError::Period { .. })));
        assert!(matches!(chunk(f64::NAN, &[1.0, 2.0]), Err(ChunkError::Period { .. })));
        let error = chunk(0.1, &[1.0, 2.0, 3.0, f64::NAN]).unwrap_err().to_string();
        assert!(error.contains("step 1, b"), "{error}");
        assert!(matches!(chunk(0.1, &vec![0.0; 2 * (MAX_STEPS + 1)]), Err(ChunkError::Steps { .. })));
    }

    #[test]
    fn names_come_in_any_order_but_all_of_them() {
        let named = |names: &[&str], values: &[f64]| {
            ActionChunk::from_named(joints(), names, RosTime(0), 0.1, values)
        };
        assert_eq!(named(&["b", "a"], &[1.0, 2.0]).unwrap().step(0), Some(&[2.0, 1.0][..]));
        for wrong in [&["a"][..], &["a", "c"], &["a", "a"], &["a", "b", "c"], &[]] {
            assert!(matches!(named(wrong, &[1.0, 2.0]), Err(ChunkError::Names { .. })), "{wrong:?}");
        }
        assert!(matches!(named(&["b", "a"], &[1.0]), Err(ChunkError::Values { .. })));
    }

    #[test]
    fn displacements_are_covered_within_their_period() {
        let space = Arc::new(ActionSpace::EndEffectorVelocity {
            limits: twist(),
            gripper: Some(crate::Gripper { min: 0.0, max: 1.0, max_speed: None, binary: true }),
        });
        let values = vec![0.02, 0.0, -0.01, 0.0, 0.0, 0.1, 1.0];
        let chunk = ActionChunk::from_displacements(space, RosTime(0), 0.1, values).unwrap();
        let expected = [0.2, 0.0, -0.1, 0.0, 0.0, 1.0, 1.0];
        let came = chunk.step(0).unwrap();
        assert!(came.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{came:?}");
        let refused = ActionChunk::from_displacements(joints(), RosTime(0), 0.1, vec![0.1, 0.1]);
        assert_eq!(refused, Err(ChunkError::NotVelocities));
    }

    #[test]
    fn quaternions_have_length_one() {
        let space = Arc::new(ActionSpace::EndEffectorPose {
            limits: twist(),
            time_constant_secs: 0.2,
            gripper: None,
        });
        let pose = |w| vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, w];
        let chunk = ActionChunk::new(space.clone(), RosTime(0), 0.1, pose(1.05)).unwrap();
        assert_eq!(chunk.step(0).unwrap()[6], 1.0);
        assert!(matches!(
            ActionChunk::new(space, RosTime(0), 0.1, pose(0.0)),
            Err(ChunkError::Quaternion { .. })
        ));
    }

    #[test]
    fn steps_are_due_by_the_observation_stamp() {
        let chunk = ActionChunk::new(joints(), RosTime(1_000), 0.1, vec![0.0; 6]).unwrap();
        assert_eq!(chunk.position(RosTime(900)), None);
        assert_eq!(chunk.position(RosTime(1_000)), Some(0.0));
        assert!((chunk.position(RosTime(1_000) + 0.15).unwrap() - 1.5).abs() < 1e-9);
        assert_eq!(chunk.position(chunk.end()), None);
        assert_eq!(chunk.position(RosTime(i64::MIN)), None);
    }
}
