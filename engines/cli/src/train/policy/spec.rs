//! What a policy's numbers mean, by the names and values of the rows that it learns from.

use std::ops::Range;

use network::manifest::{ActionChannel, Memory, Pooling, Quantity, Scaling, SpaceKind, StateChannel, Unit};
use network::{Bundle, HeadKind, HeadSpec, Meaning, PolicySpec};

use super::rows::Rows;
use super::{Arguments, Form};

/// What deviates less is constant, in the data's unit.
const CONSTANT: f64 = 1e-6;

impl Arguments {
    /// The head that learns from these rows.
    pub(super) fn spec(&self, bundle: &Bundle, rows: &Rows) -> HeadSpec {
        let mlp = self.form == Form::Mlp;
        let kind = if mlp {
            let pooling = if self.concatenated { Pooling::Concatenated } else { Pooling::Mean };
            HeadKind::MlpPolicy { pooling, history: self.history.unwrap_or(3), hidden: vec![256; 3] }
        } else {
            let reads = if self.patches { Memory::Patches } else { Memory::Class };
            HeadKind::ChunkPolicy { reads, width: 128, layers: 2, heads: 4, mlp_hidden: 512 }
        };
        let action = |(at, name): (usize, &String)| ActionChannel {
            name: name.clone(),
            unit: self.action_unit(name),
            // What was never done is not done: whatever the network says of it stays next to nothing.
            scaling: scaling(&rows.actions, &rows.training, (rows.action_names.len(), at), CONSTANT),
        };
        let state = |(at, name): (usize, &String)| {
            let (name, quantity, unit) = state_channel(name);
            StateChannel {
                name,
                quantity,
                unit,
                // What never changed may change some day, and must not look huge then.
                scaling: scaling(&rows.state, &rows.training, (rows.state_names.len(), at), 1.0),
            }
        };
        let policy = PolicySpec {
            period_secs: 1.0 / rows.fps,
            steps: self.chunk.unwrap_or(if mlp { 1 } else { 16 }),
            space: self.space,
            frame: self.frame.clone(),
            actions: rows.action_names.iter().enumerate().map(action).collect(),
            state: rows.state_names.iter().enumerate().map(state).collect(),
            contract: None,
        };
        let taps = kind.official_taps(bundle.manifest().architecture.blocks);
        HeadSpec { taps, kind, meaning: Meaning::Policy(policy) }
    }

    fn action_unit(&self, name: &str) -> Unit {
        match self.space {
            SpaceKind::EndEffectorVelocity if name.starts_with("linear") => Unit::MetresPerSecond,
            SpaceKind::EndEffectorVelocity if name.starts_with("angular") => Unit::RadiansPerSecond,
            SpaceKind::EndEffectorDisplacement if name.starts_with("linear") => Unit::Metres,
            SpaceKind::EndEffectorDisplacement if name.starts_with("angular") => Unit::Radians,
            SpaceKind::EndEffectorPose if name.starts_with("position") => Unit::Metres,
            SpaceKind::JointPositions | SpaceKind::JointDisplacements => Unit::Radians,
            SpaceKind::JointVelocities => Unit::RadiansPerSecond,
            _ => Unit::One,
        }
    }
}

/// Statistics of one column of these rows; a column that is constant has the deviation `constant`.
fn scaling(values: &[f64], rows: &[Range<usize>], (width, at): (usize, usize), constant: f64) -> Scaling {
    let column = || rows.iter().cloned().flatten().map(move |row| values[row * width + at]);
    let count = column().count().max(1) as f64;
    let mean = column().sum::<f64>() / count;
    let std = (column().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    Scaling::MeanStd { mean, std: if std < CONSTANT { constant } else { std } }
}

/// What a number of the state is, by its name: `joint.position`, `joint.velocity`, `joint.effort`, or an end effector's `position.x`.
fn state_channel(name: &str) -> (String, Quantity, Unit) {
    let end = |end: &str| name.strip_suffix(end).map(str::to_owned);
    if let Some(joint) = end(".velocity") {
        return (joint, Quantity::Velocity, Unit::RadiansPerSecond);
    }
    if let Some(joint) = end(".effort") {
        return (joint, Quantity::Effort, Unit::NewtonMetres);
    }
    let unit = match name {
        _ if name.starts_with("position.") => Unit::Metres,
        "gripper" => Unit::One,
        _ => Unit::Radians,
    };
    (end(".position").unwrap_or_else(|| name.to_owned()), Quantity::Position, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_of_one_column_and_never_zero() {
        // The row in the middle is of an episode that is held out.
        let values = [1.0, 7.0, 9.0, 9.0, 3.0, 7.0];
        let of = |at, constant| scaling(&values, &[0..1, 2..3], (2, at), constant);
        assert_eq!(of(0, 1.0), Scaling::MeanStd { mean: 2.0, std: 1.0 });
        assert_eq!(of(1, 1.0), Scaling::MeanStd { mean: 7.0, std: 1.0 });
        // An axis that was never turned about stays at rest, whatever a network makes of it.
        assert!((of(1, CONSTANT).denormalise(0.5) - 7.0).abs() < 1e-6);
    }

    #[test]
    fn names_say_quantities() {
        assert_eq!(
            state_channel("elbow.velocity"),
            ("elbow".to_owned(), Quantity::Velocity, Unit::RadiansPerSecond)
        );
        assert_eq!(state_channel("position.x").2, Unit::Metres);
        assert_eq!(state_channel("elbow"), ("elbow".to_owned(), Quantity::Position, Unit::Radians));
    }
}
