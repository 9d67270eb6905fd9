//! How often each stage of the filter chain stepped in.

/// A stage of the filter chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// A chunk was refused: names, numbers, age, order.
    Chunk,
    /// No chunk speaks of now.
    Expired,
    /// The observation behind the action is too old, or no chunk came for too long.
    Stale,
    /// Joint states are missing, too old, or stamped by another clock.
    Joints,
    /// A position limit, or the braking way before it.
    Position,
    /// A velocity limit.
    Velocity,
    /// An acceleration or jerk limit.
    Acceleration,
    /// The greatest deviation from the measured joints.
    Deviation,
    /// The workspace box.
    Workspace,
    /// The start-up ramp.
    Ramp,
    /// The deadman was not held.
    Deadman,
    /// The gripper's speed or range.
    Gripper,
}

impl Stage {
    /// All stages with the names that diagnostics show.
    pub const ALL: [(Stage, &'static str); 12] = [
        (Stage::Chunk, "chunk_refused"),
        (Stage::Expired, "chunk_expired"),
        (Stage::Stale, "observation_stale"),
        (Stage::Joints, "joint_states_stale"),
        (Stage::Position, "position_limit"),
        (Stage::Velocity, "velocity_limit"),
        (Stage::Acceleration, "acceleration_limit"),
        (Stage::Deviation, "max_deviation"),
        (Stage::Workspace, "workspace"),
        (Stage::Ramp, "ramp"),
        (Stage::Deadman, "deadman"),
        (Stage::Gripper, "gripper_limit"),
    ];
}

/// The stages that stepped in during one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interventions(u16);

impl Interventions {
    pub(crate) fn add(&mut self, stage: Stage, happened: bool) {
        self.0 |= u16::from(happened) << stage as u8;
    }

    /// Whether this stage stepped in.
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    /// Whether none did.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One bit per stage, in the order of [`Stage::ALL`].
    pub fn bits(self) -> u16 {
        self.0
    }
}

/// Ticks in which each stage stepped in, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Stage::ALL.len()]);

impl Counters {
    pub(crate) fn count(&mut self, interventions: Interventions) {
        for (stage, _) in Stage::ALL {
            self.0[stage as usize] += u64::from(interventions.contains(stage));
        }
    }

    pub(crate) fn one(&mut self, stage: Stage) {
        self.0[stage as usize] += 1;
    }

    /// The count of one stage.
    pub fn get(&self, stage: Stage) -> u64 {
        self.0[stage as usize]
    }

    /// Name and count of every stage.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Stage::ALL.iter().map(|(stage, name)| (*name, self.get(*stage)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_own_bit_and_count() {
        let mut counters = Counters::default();
        for (index, (stage, _)) in Stage::ALL.iter().enumerate() {
            assert_eq!(*stage as usize, index);
            let mut one = Interventions::default();
            one.add(*stage, true);
            one.add(*stage, false);
            assert_eq!(one.bits(), 1 << index);
            counters.count(one);
        }
        assert!(counters.iter().all(|(_, count)| count == 1));
    }
}
