//! Chunks by time: what is due now, whatever the inference took.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::blend::{Blend, Mix, Strategy, interpolate};
use crate::chunk::ActionChunk;
use crate::space::ActionSpace;
use crate::time::RosTime;

/// The most chunks that are held: those of ACT's longest ensemble.
const MOST_CHUNKS: usize = 128;

/// Why a chunk is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is of another action space.
    #[error("expected a chunk of the controller's action space, got one of another")]
    Space,
    /// The image is too old.
    #[error("observation: expected one at most {max_secs} s old, got {age_secs:.3} s")]
    Stale {
        /// The limit, s.
        max_secs: f64,
        /// Its age, s.
        age_secs: f64,
    },
    /// There is no ROS time yet to tell its age by.
    #[error("observation: expected ROS time to tell its age by, got none: nothing came on /clock yet")]
    NoTime,
    /// The image is from the future.
    #[error("observation: expected one of the past, got one {ahead_secs:.3} s ahead")]
    Future {
        /// How far, s.
        ahead_secs: f64,
    },
    /// Every step is over.
    #[error("chunk: its last step ended {late_secs:.3} s ago")]
    Expired {
        /// How long, s.
        late_secs: f64,
    },
    /// A chunk of this very observation is held already.
    #[error("chunk: one of the same observation is held already")]
    Repeated,
}

#[derive(Clone, Debug)]
struct Held {
    chunk: ActionChunk,
    arrived: RosTime,
}

/// Chunks in the order of their observations. Every action has its due time, from the observation's stamp and the period:
/// the inference's latency is made up for, late steps are dropped, and nothing is replayed.
#[derive(Clone, Debug)]
pub struct ChunkStore {
    space: Arc<ActionSpace>,
    strategy: Strategy,
    chunks: VecDeque<Held>,
    blends: Vec<Blend>,
    mix: Mix,
    sampled: Vec<f64>,
}

/// A clock that is this far behind the camera's is still taken as the same, s.
const AHEAD_SECS: f64 = 0.010;

impl ChunkStore {
    /// An empty store.
    pub fn new(space: Arc<ActionSpace>, strategy: Strategy) -> Self {
        let blends = space.blends();
        let (mix, sampled) = (Mix::new(blends.clone()), vec![0.0; space.dimensions()]);
        Self { space, strategy, chunks: VecDeque::with_capacity(MOST_CHUNKS), blends, mix, sampled }
    }

    /// Takes a chunk that arrives now. Chunks may come in any order.
    ///
    /// # Errors
    /// Why it is not taken; the store is then as it was.
    pub fn push(&mut self, chunk: ActionChunk, now: RosTime, max_age_secs: f64) -> Result<(), Refusal> {
        if !Arc::ptr_eq(chunk.space(), &self.space) && **chunk.space() != *self.space {
            return Err(Refusal::Space);
        }
        let age_secs = now.secs_since(chunk.observation());
        if age_secs < -AHEAD_SECS {
            return Err(Refusal::Future { ahead_secs: -age_secs });
        }
        if age_secs > max_age_secs {
            return Err(Refusal::Stale { max_secs: max_age_secs, age_secs });
        }
        if chunk.end() <= now {
            return Err(Refusal::Expired { late_secs: now.secs_since(chunk.end()) });
        }
        let place = self.chunks.partition_point(|held| held.chunk.observation() < chunk.observation());
        if self.chunks.get(place).is_some_and(|held| held.chunk.observation() == chunk.observation()) {
            return Err(Refusal::Repeated);
        }
        if self.chunks.len() < MOST_CHUNKS {
            self.chunks.insert(place, Held { chunk, arrived: now });
        } else if place > 0 {
            self.chunks.pop_front();
            self.chunks.insert(place - 1, Held { chunk, arrived: now });
        } else {
            return Err(Refusal::Stale { max_secs: max_age_secs, age_secs });
        }
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Stamp of the newest observation held.
    pub fn newest_observation(&self) -> Option<RosTime> {
        self.chunks.back().map(|held| held.chunk.observation())
    }

    /// Number of chunks held.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Writes the action that is due at `time`; false, and nothing written, when no chunk speaks of it. Allocates nothing.
    pub fn action(&mut self, time: RosTime, out: &mut [f64]) -> bool {
        while self.chunks.front().is_some_and(|held| held.chunk.end() <= time) {
            self.chunks.pop_front();
        }
        self.mix.clear();
        match self.strategy {
            Strategy::Newest => self.add(self.last_covering(time, self.chunks.len()), time, 1.0),
            Strategy::CrossFade { secs } => self.cross_fade(time, secs),
            Strategy::Ensemble { m } => self.ensemble(time, m),
        }
        self.mix.write(out)
    }

    /// The newest chunk before place `before` that speaks of `time`.
    fn last_covering(&self, time: RosTime, before: usize) -> Option<usize> {
        (0..before).rev().find(|index| self.chunks[*index].chunk.position(time).is_some())
    }

    fn cross_fade(&mut self, time: RosTime, secs: f64) {
        let newest = self.last_covering(time, self.chunks.len());
        let Some(place) = newest else { return };
        let since = time.secs_since(self.chunks[place].arrived);
        let share = if secs > 0.0 { (since / secs).clamp(0.0, 1.0) } else { 1.0 };
        let before = self.last_covering(time, place);
        if share < 1.0 && before.is_some() {
            self.add(before, time, 1.0 - share);
            self.add(newest, time, share);
        } else {
            self.add(newest, time, 1.0);
        }
    }

    fn ensemble(&mut self, time: RosTime, m: f64) {
        let mut older = 0;
        for index in 0..self.chunks.len() {
            if self.chunks[index].chunk.position(time).is_some() {
                self.add(Some(index), time, (-m * f64::from(older)).exp());
                older += 1;
            }
        }
    }

    /// Adds one chunk's action at `time` to the mix.
    fn add(&mut self, place: Option<usize>, time: RosTime, weight: f64) {
        let Some(chunk) = place.map(|place| &self.chunks[place].chunk) else { return };
        let Some(position) = chunk.position(time) else { return };
        let (step, share) = (position.floor() as usize, position.fract());
        let Some(from) = chunk.step(step) else { return };
        // The last step is held for its period.
        let to = chunk.step(step + 1).unwrap_or(from);
        interpolate(&self.blends, from, to, share, &mut self.sampled);
        self.mix.add(&self.sampled, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::joint;

    fn space() -> Arc<ActionSpace> {
        Arc::new(ActionSpace::JointPositions(vec![joint("a")]))
    }

    fn chunk(space: &Arc<ActionSpace>, at_secs: f64, values: &[f64]) -> ActionChunk {
        ActionChunk::new(space.clone(), RosTime(0) + at_secs, 0.1, values.to_vec()).unwrap()
    }

    fn at(store: &mut ChunkStore, secs: f64) -> Option<f64> {
        let mut out = [f64::NAN];
        store.action(RosTime(0) + secs, &mut out).then_some(out[0])
    }

    #[test]
    fn latency_is_made_up_for_and_late_steps_are_dropped() {
        let space = space();
        let mut store = ChunkStore::new(space.clone(), Strategy::Newest);
        // Predicted from an image of 1.0 s, arriving at 1.25 s.
        store.push(chunk(&space, 1.0, &[0.0, 1.0, 2.0, 3.0]), RosTime(0) + 1.25, 0.5).unwrap();
        assert!((at(&mut store, 1.25).unwrap() - 2.5).abs() < 1e-9);
        assert_eq!(at(&mut store, 1.35), Some(3.0), "the last step is held for its period");
        assert_eq!(at(&mut store, 1.4), None, "and no longer");
        assert!(store.is_empty());
    }

    #[test]
    fn velocities_are_held_so_that_what_they_cover_is_what_was_predicted() {
        let space = Arc::new(ActionSpace::JointVelocities(vec![joint("a")]));
        let mut store = ChunkStore::new(space.clone(), Strategy::Newest);
        store.push(chunk(&space, 0.0, &[1.0, -2.0]), RosTime(0), 1.0).unwrap();
        let covered: f64 = (0..200).map(|k| at(&mut store, f64::from(k) * 0.001).unwrap() * 0.001).sum();
        assert!((covered - (0.1 - 0.2)).abs() < 1e-9, "{covered}");
    }

    #[test]
    fn chunks_may_come_in_any_order_but_not_late_twice_or_from_the_future() {
        let space = space();
        let mut store = ChunkStore::new(space.clone(), Strategy::Newest);
        let now = RosTime(0) + 2.0;
        store.push(chunk(&space, 1.95, &[5.0; 4]), now, 0.5).unwrap();
        store.push(chunk(&space, 1.9, &[4.0; 4]), now, 0.5).unwrap();
        assert_eq!(
            at(&mut store, 2.0),
            Some(5.0),
            "an older chunk that comes late does not replace a newer one"
        );
        assert_eq!(store.newest_observation(), Some(RosTime(0) + 1.95));
        let mut refused = |at: f64, steps: usize| store.push(chunk(&space, at, &vec![0.0; steps]), now, 0.5);
        assert_eq!(refused(1.95, 4), Err(Refusal::Repeated));
        assert!(matches!(refused(1.4, 90), Err(Refusal::Stale { .. })));
        assert!(matches!(refused(2.1, 4), Err(Refusal::Future { .. })));
        assert!(matches!(refused(1.6, 2), Err(Refusal::Expired { .. })));
        let other = Arc::new(ActionSpace::JointPositions(vec![joint("b")]));
        assert_eq!(store.push(chunk(&other, 1.99, &[0.0]), now, 0.5), Err(Refusal::Space));
    }

    #[test]
    fn a_cross_fade_goes_from_the_old_chunk_to_the_new() {
        let space = space();
        let mut store = ChunkStore::new(space.clone(), Strategy::CrossFade { secs: 0.2 });
        store.push(chunk(&space, 0.0, &[0.0; 20]), RosTime(0), 1.0).unwrap();
        store.push(chunk(&space, 0.5, &[1.0; 20]), RosTime(0) + 0.6, 1.0).unwrap();
        for (secs, expected) in [(0.6, 0.0), (0.65, 0.25), (0.7, 0.5), (0.8, 1.0), (1.5, 1.0)] {
            let came = at(&mut store, secs).unwrap();
            assert!((came - expected).abs() < 1e-9, "{secs}: {came}");
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_newest() {
        let space = space();
        let mut store = ChunkStore::new(space.clone(), Strategy::Newest);
        for k in 0..1000 {
            let at = f64::from(k) * 0.001;
            store.push(chunk(&space, at, &[at; 50]), RosTime(0) + at, 1.0).unwrap();
        }
        assert_eq!(store.len(), MOST_CHUNKS);
        assert_eq!(at(&mut store, 0.999), Some(0.999));
    }
}
