//! What a policy head reads besides the image, and what its numbers command.

use std::collections::VecDeque;
use std::sync::Arc;

use control::{ActionChunk, ActionSpace, ChunkError, Gripper, Joint, JointLimits, RosTime, TwistLimits};
use network::manifest::{SpaceKind, StateChannel};
use network::{HeadSpec, PolicySpec};

/// What the robot was when an image was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation<'a> {
    /// Stamp of the image.
    pub stamp: RosTime,
    /// SI values of the policy's state channels at that stamp, in their order; nothing when they are not known: the image then only
    /// joins the history.
    pub state: Option<&'a [f64]>,
}

/// Why a policy's actions are not known.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// The robot's state at the image's stamp is not known.
    #[error("the robot's state at the image's stamp is not known")]
    NoState,
    /// The state has another number of values.
    #[error("state: expected {expected} numbers, got {came}")]
    StateCount {
        /// The policy's.
        expected: usize,
        /// Those that came.
        came: usize,
    },
    /// A value of the state is NaN or infinite.
    #[error("state: {name}: expected a finite number, got {came}")]
    StateNotFinite {
        /// The joint.
        name: String,
        /// What came.
        came: f64,
    },
    /// The images before this one do not lie a period apart.
    #[error(
        "history: expected an image {back_millis} ms before this one, within {tolerance_millis} ms; the nearest is off by \
         {off_millis} ms"
    )]
    Gap {
        /// How long before.
        back_millis: i64,
        /// How far off it may be.
        tolerance_millis: i64,
        /// How far off the nearest is.
        off_millis: i64,
    },
    /// The network's numbers are no actions.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// How a policy head's numbers become actions.
#[derive(Clone, Debug)]
pub struct Policy {
    spec: Arc<PolicySpec>,
    space: Arc<ActionSpace>,
    history: usize,
}

impl Policy {
    /// The policy of a head; nothing when the head is none.
    pub fn new(head: &HeadSpec) -> Option<Self> {
        let spec = Arc::new(head.policy()?.clone());
        Some(Self { space: Arc::new(space(&spec)), spec, history: head.kind.history() })
    }

    /// What it reads and predicts.
    pub fn spec(&self) -> &Arc<PolicySpec> {
        &self.spec
    }

    /// What its actions mean, without limits: a controller has those of the robot and takes no others.
    pub fn space(&self) -> &Arc<ActionSpace> {
        &self.space
    }

    /// An empty history for one camera.
    pub fn memory(&self) -> PolicyMemory {
        PolicyMemory::new(self.spec.period_secs, self.history)
    }

    /// The network's numbers for a state.
    ///
    /// # Errors
    /// When a number is missing, too many or not finite.
    pub fn encode(&self, state: &[f64]) -> Result<Vec<f32>, PolicyError> {
        let channels = &self.spec.state;
        if state.len() != channels.len() {
            return Err(PolicyError::StateCount { expected: channels.len(), came: state.len() });
        }
        let encode = |(channel, value): (&StateChannel, &f64)| {
            let not_finite = || PolicyError::StateNotFinite { name: channel.name.clone(), came: *value };
            value.is_finite().then(|| channel.encode(*value) as f32).ok_or_else(not_finite)
        };
        channels.iter().zip(state).map(encode).collect()
    }

    /// The network's numbers for what was observed.
    ///
    /// # Errors
    /// When the policy reads a state that is not known, or as [`Policy::encode`].
    pub(crate) fn observed(&self, observation: Observation<'_>) -> Result<Vec<f32>, PolicyError> {
        if self.spec.state.is_empty() {
            return Ok(Vec::new());
        }
        self.encode(observation.state.ok_or(PolicyError::NoState)?)
    }

    /// The actions that the network's numbers mean, from the stamp of the image on.
    ///
    /// # Errors
    /// When a number is not finite, or a quaternion has no direction.
    pub fn decode(&self, observation: RosTime, numbers: &[f32]) -> Result<ActionChunk, ChunkError> {
        let channels = self.spec.actions.iter().cycle();
        let values =
            channels.zip(numbers).map(|(channel, number)| channel.decode(f64::from(*number))).collect();
        let (space, period) = (self.space.clone(), self.spec.period_secs);
        match self.spec.space {
            SpaceKind::JointDisplacements | SpaceKind::EndEffectorDisplacement => {
                ActionChunk::from_displacements(space, observation, period, values)
            }
            _ => ActionChunk::new(space, observation, period, values),
        }
    }
}

/// An action space of the policy's dimensions without limits: what is predicted is not yet what is allowed.
fn space(spec: &PolicySpec) -> ActionSpace {
    let endless = f64::INFINITY;
    let limits = JointLimits {
        min_position: -endless,
        max_position: endless,
        max_velocity: endless,
        max_acceleration: endless,
        max_jerk: None,
    };
    let joints = || spec.actions.iter().map(|channel| Joint { name: channel.name.clone(), limits }).collect();
    let twist = TwistLimits {
        max_linear: endless,
        max_angular: endless,
        max_linear_acceleration: endless,
        max_angular_acceleration: endless,
    };
    let gripper =
        spec.has_gripper().then_some(Gripper { min: -endless, max: endless, max_speed: None, binary: false });
    match spec.space {
        SpaceKind::JointPositions => ActionSpace::JointPositions(joints()),
        SpaceKind::JointVelocities | SpaceKind::JointDisplacements => ActionSpace::JointVelocities(joints()),
        SpaceKind::EndEffectorVelocity | SpaceKind::EndEffectorDisplacement => {
            ActionSpace::EndEffectorVelocity { limits: twist, gripper }
        }
        SpaceKind::EndEffectorPose => {
            ActionSpace::EndEffectorPose { limits: twist, time_constant_secs: endless, gripper }
        }
    }
}

/// What the images of one camera became, by their stamps.
#[derive(Clone, Debug)]
pub struct PolicyMemory {
    period_nanos: i64,
    history: usize,
    images: VecDeque<(i64, Vec<f32>)>,
}

impl PolicyMemory {
    fn new(period_secs: f64, history: usize) -> Self {
        let period_nanos = (period_secs * 1e9).round() as i64;
        Self { period_nanos, history, images: VecDeque::new() }
    }

    /// Forgets all images: the next one begins a new history.
    pub fn reset(&mut self) {
        self.images.clear();
    }

    /// How far off the stamp of an image of the history may be: as far as leaves no other period nearer.
    fn tolerance(&self) -> i64 {
        self.period_nanos / 2
    }

    /// Time from the oldest image of a history to the newest.
    fn span(&self) -> i64 {
        self.period_nanos * (self.history as i64 - 1)
    }

    /// What the images before `stamp` became, a period apart, oldest first, one after another; before the first image it repeats
    /// the first, as the policy saw it in training.
    ///
    /// # Errors
    /// When an image is missing in between.
    pub fn past(&self, stamp: RosTime) -> Result<Option<Vec<f32>>, PolicyError> {
        let Some((first, _)) = self.images.front() else { return Ok(None) };
        let mut past = Vec::new();
        for back in (1..self.history as i64).rev() {
            let wanted = (stamp.0 - back * self.period_nanos).max(*first);
            let off = |(image, _): &&(i64, Vec<f32>)| (image - wanted).abs();
            let Some(nearest) = self.images.iter().min_by_key(off) else { return Ok(None) };
            if off(&nearest) > self.tolerance() {
                return Err(PolicyError::Gap {
                    back_millis: back * self.period_nanos / 1_000_000,
                    tolerance_millis: self.tolerance() / 1_000_000,
                    off_millis: off(&nearest) / 1_000_000,
                });
            }
            past.extend_from_slice(&nearest.1);
        }
        Ok(Some(past))
    }

    /// Prepares for an image: a stamp that is not later than the newest (time jumped back), or so much later that the history
    /// would hold nothing, begins a new history.
    pub fn advance(&mut self, stamp: RosTime) {
        let Some((newest, _)) = self.images.back() else { return };
        if stamp.0 <= *newest || stamp.0 - newest > self.span() + self.tolerance() {
            self.reset();
        }
    }

    /// Takes what an image became, and lets go of what no later image needs.
    pub fn push(&mut self, stamp: RosTime, embedding: Vec<f32>) {
        self.images.push_back((stamp.0, embedding));
        let oldest = stamp.0 - self.span() - self.tolerance();
        // The first image stands for all before it, so the one before the oldest needed stays.
        while self.images.get(1).is_some_and(|(next, _)| *next <= oldest) {
            self.images.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use network::bundle::random_model;
    use network::manifest::{Pooling, Scaling, Unit};
    use network::{Architecture, HeadKind, Meaning};

    fn head(change: impl FnOnce(&mut PolicySpec)) -> HeadSpec {
        let kind = HeadKind::MlpPolicy { pooling: Pooling::Mean, history: 3, hidden: vec![8] };
        let size = calibration::Size { width: 64, height: 48 };
        let architecture = Architecture::named("pixio-tiny16").unwrap();
        let model = random_model(architecture, &[("policy".to_owned(), kind)], &[size], 1).unwrap();
        let mut head = model.manifest.heads["policy"].clone();
        if let Meaning::Policy(policy) = &mut head.meaning {
            change(policy);
        }
        head
    }

    fn secs(secs: f64) -> RosTime {
        RosTime((secs * 1e9).round() as i64)
    }

    #[test]
    fn numbers_become_actions_in_si_units() {
        let policy = Policy::new(&head(|policy| {
            policy.actions.truncate(2);
            policy.actions[1].unit = Unit::Degrees;
            policy.actions[1].scaling = Scaling::MinMax { min: -90.0, max: 90.0 };
        }))
        .unwrap();
        let chunk = policy.decode(secs(3.0), &[1.0, 1.0, 0.0, -1.0]).unwrap();
        let quarter = std::f64::consts::FRAC_PI_2;
        assert_eq!((chunk.steps(), chunk.period_secs(), chunk.observation()), (2, 0.1, secs(3.0)));
        let (first, second) = (chunk.step(0).unwrap(), chunk.step(1).unwrap());
        assert!((first[0] - 0.5).abs() < 1e-9 && (first[1] - quarter).abs() < 1e-9, "{first:?}");
        assert!(second[0].abs() < 1e-9 && (second[1] + quarter).abs() < 1e-9, "{second:?}");
        assert!(policy.decode(secs(3.0), &[f32::NAN, 0.0]).is_err());
        assert!(policy.space().check().is_err(), "a controller must not take a space without limits");
    }

    #[test]
    fn displacements_leave_as_velocities() {
        let policy = Policy::new(&head(|policy| policy.space = SpaceKind::JointDisplacements)).unwrap();
        let chunk = policy.decode(secs(0.0), &[1.0; 7]).unwrap();
        assert!(matches!(**chunk.space(), ActionSpace::JointVelocities(_)));
        assert!((chunk.step(0).unwrap()[0] - 5.0).abs() < 1e-9, "half a radian in a tenth of a second");
    }

    #[test]
    fn a_state_must_be_whole_and_finite() {
        let policy = Policy::new(&head(|policy| policy.state.truncate(2))).unwrap();
        assert_eq!(policy.encode(&[0.5, -1.0]), Ok(vec![1.0, -2.0]));
        assert!(matches!(policy.encode(&[0.5]), Err(PolicyError::StateCount { expected: 2, came: 1 })));
        let said = policy.encode(&[0.5, f64::NAN]).unwrap_err().to_string();
        assert!(said.contains("joint_2") && said.contains("NaN"), "{said}");
    }

    /// What three images a period apart became; each image is its own number.
    fn past(memory: &mut PolicyMemory, stamp: f64) -> Result<Option<Vec<f32>>, PolicyError> {
        let stamp = secs(stamp);
        memory.advance(stamp);
        let past = memory.past(stamp);
        memory.push(stamp, vec![stamp.0 as f32 * 1e-9]);
        past
    }

    #[test]
    fn history_is_chosen_by_stamp() {
        let policy = Policy::new(&head(|_| ())).unwrap();
        let mut memory = policy.memory();
        assert_eq!(past(&mut memory, 1.0), Ok(None), "the first image has none before it");
        // Thirty images a second; a policy at ten.
        let mut last = None;
        for image in 1..30 {
            last = past(&mut memory, 1.0 + f64::from(image) / 30.0).unwrap();
            if image == 1 {
                assert_eq!(last, Some(vec![1.0, 1.0]), "before the first image there was only that");
            }
        }
        let last = last.unwrap();
        assert!((last[0] - (1.0 + 23.0 / 30.0)).abs() < 1e-5, "{last:?}");
        assert!((last[1] - (1.0 + 26.0 / 30.0)).abs() < 1e-5, "{last:?}");
        assert!(memory.images.len() < 12, "{}", memory.images.len());
    }

    #[test]
    fn a_gap_is_told_and_a_pause_or_a_jump_begins_anew() {
        let policy = Policy::new(&head(|_| ())).unwrap();
        let mut memory = policy.memory();
        for image in 0..10 {
            past(&mut memory, 1.0 + f64::from(image) * 0.1).unwrap();
        }
        let said = past(&mut memory, 2.1).unwrap_err().to_string();
        assert!(said.contains("100 ms") && said.contains("off by"), "{said}");
        let mut jumped = memory.clone();
        assert_eq!(past(&mut jumped, 0.5), Ok(None));
        assert_eq!(past(&mut memory, 60.0), Ok(None));
        memory.reset();
        assert_eq!(past(&mut memory, 60.1), Ok(None));
    }
}
