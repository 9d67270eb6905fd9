//! What a policy's numbers mean, by the names and values of the rows that it learns from.

use std::ops::Range;

use anyhow::{Result, ensure};
use network::manifest::{ActionChannel, Memory, Pooling, Quantity, Scaling, SpaceKind, StateChannel, Unit};
use network::{Bundle, HeadKind, HeadSpec, Meaning, PolicySpec};

use super::rows::Rows;
use super::{Arguments, Form};

/// What deviates less is constant, in the data's unit.
const CONSTANT: f64 = 1e-6;

impl Arguments {
    /// The head that learns from these rows.
    ///
    /// # Errors
    /// When the actions' names say another quantity than the space commands.
    pub(super) fn spec(&self, bundle: &Bundle, rows: &Rows) -> Result<HeadSpec> {
        let mlp = self.form == Form::Mlp;
        let kind = if mlp {
            let pooling = if self.concatenated { Pooling::Concatenated } else { Pooling::Mean };
            HeadKind::MlpPolicy { pooling, history: self.history.unwrap_or(3), hidden: vec![256; 3] }
        } else {
            let reads = if self.patches { Memory::Patches } else { Memory::Class };
            HeadKind::ChunkPolicy { reads, width: 128, layers: 2, heads: 4, mlp_hidden: 512 }
        };
        let action = |(at, name): (usize, &String)| -> Result<ActionChannel> {
            let (name, unit) = self.action_name(name)?;
            // What was never done is not done: whatever the network says of it stays next to nothing.
            let scaling = scaling(&rows.actions, &rows.training, (rows.action_names.len(), at), CONSTANT);
            Ok(ActionChannel { name, unit, scaling })
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
            actions: rows.action_names.iter().enumerate().map(action).collect::<Result<_>>()?,
            state: rows.state_names.iter().enumerate().map(state).collect(),
            contract: None,
        };
        let taps = kind.official_taps(bundle.manifest().architecture.blocks);
        Ok(HeadSpec { taps, kind, meaning: Meaning::Policy(policy) })
    }

    /// What a number of the actions commands, and its unit.
    fn action_name(&self, name: &str) -> Result<(String, Unit)> {
        let (moved, quantity, unit) = read_name(name);
        let expected = match self.space {
            SpaceKind::JointPositions | SpaceKind::JointDisplacements => Some(Quantity::Position),
            SpaceKind::JointVelocities => Some(Quantity::Velocity),
            _ => None,
        };
        if let (Some(expected), Some(came)) = (expected, quantity) {
            let (key, space) = (&self.action, self.space);
            ensure!(
                expected == came,
                "{key}: {name}: expected a {expected:?} for --space {space:?}, got a {came:?}"
            );
        }
        Ok((moved.to_owned(), unit.unwrap_or_else(|| self.action_unit(moved))))
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

/// Units as the ends of names.
const UNITS: [(&str, Unit); 8] = [
    (".rad", Unit::Radians),
    (".deg", Unit::Degrees),
    (".m", Unit::Metres),
    (".rad/s", Unit::RadiansPerSecond),
    (".deg/s", Unit::DegreesPerSecond),
    (".m/s", Unit::MetresPerSecond),
    (".N", Unit::Newtons),
    (".Nm", Unit::NewtonMetres),
];

/// The quantity that a unit is of, if it is one.
fn quantity_of(unit: Unit) -> Option<Quantity> {
    match unit {
        Unit::Radians | Unit::Degrees | Unit::Metres => Some(Quantity::Position),
        Unit::RadiansPerSecond | Unit::DegreesPerSecond | Unit::MetresPerSecond => Some(Quantity::Velocity),
        Unit::Newtons | Unit::NewtonMetres => Some(Quantity::Effort),
        Unit::One => None,
    }
}

/// What a number's name says: of what it is, as ROS names it, and perhaps which quantity and in which unit. `elbow`,
/// `elbow.velocity`, a field of a contract as it stands there (`velocity[elbow]`), each perhaps with a unit behind (`elbow.rad/s`).
fn read_name(name: &str) -> (&str, Option<Quantity>, Option<Unit>) {
    let told = UNITS.iter().find_map(|(end, unit)| Some((name.strip_suffix(*end)?, *unit)));
    let (name, unit) = told.map_or((name, None), |(name, unit)| (name, Some(unit)));
    let words =
        [("position", Quantity::Position), ("velocity", Quantity::Velocity), ("effort", Quantity::Effort)];
    let quantities = words.into_iter().find_map(|(word, quantity)| {
        let behind = name.strip_suffix(word).and_then(|name| name.strip_suffix('.'));
        let before = || name.strip_prefix(word)?.strip_prefix('[')?.strip_suffix(']');
        Some((behind.or_else(before)?, quantity))
    });
    match quantities {
        Some((name, quantity)) => (name, Some(quantity), unit),
        None => (name, unit.and_then(quantity_of), unit),
    }
}

/// What a number of the state is, by its name; without a unit in it, an SI unit.
fn state_channel(name: &str) -> (String, Quantity, Unit) {
    let (name, quantity, unit) = read_name(name);
    let quantity = quantity.unwrap_or(Quantity::Position);
    let usual = match quantity {
        Quantity::Velocity => Unit::RadiansPerSecond,
        Quantity::Effort => Unit::NewtonMetres,
        Quantity::Position if name.starts_with("position.") => Unit::Metres,
        Quantity::Position if name == "gripper" => Unit::One,
        Quantity::Position => Unit::Radians,
    };
    (name.to_owned(), quantity, unit.unwrap_or(usual))
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
    fn names_say_quantities_and_units() {
        for (name, joint, quantity, unit) in [
            ("elbow", "elbow", Quantity::Position, Unit::Radians),
            ("elbow.position", "elbow", Quantity::Position, Unit::Radians),
            ("elbow.velocity", "elbow", Quantity::Velocity, Unit::RadiansPerSecond),
            ("elbow.effort", "elbow", Quantity::Effort, Unit::NewtonMetres),
            ("position.x", "position.x", Quantity::Position, Unit::Metres),
            ("gripper", "gripper", Quantity::Position, Unit::One),
            // As launch/contracts/so101.yaml names them, and as they are named where a contract gives no names.
            ("elbow.rad", "elbow", Quantity::Position, Unit::Radians),
            ("position[elbow]", "elbow", Quantity::Position, Unit::Radians),
            ("velocity[elbow]", "elbow", Quantity::Velocity, Unit::RadiansPerSecond),
            ("elbow.deg", "elbow", Quantity::Position, Unit::Degrees),
            ("elbow.deg/s", "elbow", Quantity::Velocity, Unit::DegreesPerSecond),
            ("elbow.velocity.deg/s", "elbow", Quantity::Velocity, Unit::DegreesPerSecond),
            ("slide.m", "slide", Quantity::Position, Unit::Metres),
            ("slide.m/s", "slide", Quantity::Velocity, Unit::MetresPerSecond),
            ("slide.N", "slide", Quantity::Effort, Unit::Newtons),
            ("elbow.Nm", "elbow", Quantity::Effort, Unit::NewtonMetres),
            ("arm", "arm", Quantity::Position, Unit::Radians),
        ] {
            assert_eq!(state_channel(name), (joint.to_owned(), quantity, unit), "{name}");
        }
    }
}
