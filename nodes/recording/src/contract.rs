//! The contract: which topics make an episode, and how they become rows. One file for recording, converting and running, so
//! that training and robot see the same rows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use calibration::Size;
use serde::Deserialize;

use crate::cdr::FieldPath;

/// A contract could not be read, or contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The file system said no.
    #[error("{}: {reason}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// Not YAML, an unknown key, a missing one, or one of the wrong kind; with the line.
    #[error("contract: {0}")]
    Syntax(String),
    /// A value that is not allowed.
    #[error("contract: {place}: expected {expected}, got {came}")]
    Value {
        /// Where, as `streams[2].rate_hz`.
        place: String,
        /// What is allowed.
        expected: String,
        /// What was there.
        came: String,
    },
}

/// What to record and how to align it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Version of this format: 1.
    pub version: u32,
    /// What the robot is called in the dataset; checked when a dataset is resumed.
    pub robot_type: String,
    /// Rows per second.
    pub fps: u32,
    /// How long a row waits for messages that are still on their way, in milliseconds.
    #[serde(default = "Contract::default_settle_ms")]
    pub settle_ms: u32,
    /// The topics.
    pub streams: Vec<Stream>,
    /// When an episode is good enough to be kept.
    #[serde(default)]
    pub gate: Gate,
}

/// What a stream is to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Input of the policy.
    Observation,
    /// The command that was sent to the robot: what a policy learns to give.
    Action,
    /// What teleoperator or policy asked for, before limits.
    Requested,
    /// What the policy put out, before everything.
    Policy,
    /// Recorded in the bag only.
    Other,
}

/// Which message of a stream a row takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// The newest at or before the row's time, however old.
    Hold,
    /// The newest at or before the row's time; older than the tolerance it is repeated and flagged as missing.
    AsOf,
    /// As `as_of`, but a row for which it is older than the tolerance is left out.
    Drop,
    /// The first at or after the row's time, for commands that answer the observation; none within the tolerance: the last one
    /// is repeated and flagged as missing.
    Next,
}

/// Which time of a message counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timeline {
    /// The stamp in its header.
    #[default]
    Header,
    /// When it was received.
    Receive,
}

/// Whether a camera's pictures become a video or stay pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pictures {
    /// H.264: small, and a little blurred.
    #[default]
    Video,
    /// JPEG in each row; what came compressed is kept as it came.
    Image,
}

/// Reads `640x480`.
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_: String| {
        serde::de::Error::custom(format!("expected WIDTHxHEIGHT, for example 640x480, got {text:?}"))
    };
    text.parse().map(Some).map_err(wrong)
}

/// Class tokens of an encoder, recorded as they are published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// How many.
    pub count: u32,
    /// Numbers of each.
    pub dim: u32,
    /// The encoder's id; features of another encoder are worthless to a head, so it goes into the dataset.
    pub encoder_id: String,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// What it is called here and in the dataset's `sync.<name>.*` columns.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The message type, as `sensor_msgs/msg/JointState`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is to a policy.
    pub role: Role,
    /// Which message a row takes. Not for role `other`.
    pub align: Option<Align>,
    /// Messages per second that are expected; slower is warned of. 0 for a topic of role `other` without a rate of its own.
    pub rate_hz: f64,
    /// How old a message may be for a row, in milliseconds.
    pub tolerance_ms: u32,
    /// Which time of a message counts.
    #[serde(default)]
    pub timeline: Timeline,
    /// Fields that become numbers, in the dataset's order: `position[pan]`, `pose.position.x`, `data`
    /// ([`crate::cdr::FieldPath`]).
    #[serde(default)]
    pub fields: Vec<String>,
    /// What each number is called in the dataset, with its unit, as `pan.rad`; the fields' own texts when not given, and then
    /// each field must be one number.
    #[serde(default)]
    pub names: Vec<String>,
    /// Makes the stream the pictures of this camera: `observation.images.<camera>`.
    pub camera: Option<String>,
    /// Size of a camera's pictures.
    #[serde(default, deserialize_with = "size")]
    pub size: Option<Size>,
    /// What a camera's pictures become.
    #[serde(default)]
    pub pictures: Pictures,
    /// Makes the stream class tokens: `observation.features.<name>`.
    pub tokens: Option<Tokens>,
}

/// Thresholds of the quality gate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// What happens to an episode that fails.
    pub failing: Failing,
    /// Shortest episode, in seconds.
    pub min_seconds: f64,
    /// Lowest rate of a stream, as a share of its `rate_hz`.
    pub min_rate: f64,
    /// Longest gap between a stream's messages, in periods of its `rate_hz`.
    pub max_gap_periods: f64,
    /// Largest share of rows in which a stream of `as_of` or `next` was missing.
    pub max_missing: f64,
    /// Largest difference between the stamps of a row's observations, in milliseconds.
    pub max_skew_ms: f64,
    /// Most messages that may have been lost or dropped on the way.
    pub max_lost: u64,
}

/// What happens to an episode that fails the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failing {
    /// It does not enter the dataset; its bag is put aside.
    #[default]
    Reject,
    /// It is kept, and the log says so.
    Warn,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            failing: Failing::Reject,
            min_seconds: 1.0,
            min_rate: 0.8,
            max_gap_periods: 10.0,
            max_missing: 0.05,
            max_skew_ms: 200.0,
            max_lost: 0,
        }
    }
}

impl Contract {
    fn default_settle_ms() -> u32 {
        200
    }

    /// Reads a contract from a file.
    ///
    /// # Errors
    /// When the file cannot be read, or as [`Contract::parse`].
    pub fn read(path: &Path) -> Result<Self, ContractError> {
        let io =
            |error: std::io::Error| ContractError::Io { path: path.to_owned(), reason: error.to_string() };
        Self::parse(&std::fs::read_to_string(path).map_err(io)?)
    }

    /// Reads a contract from YAML.
    ///
    /// # Errors
    /// The first key that is unknown, missing, of the wrong kind, or not allowed.
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        let contract: Self =
            serde_saphyr::from_str(text).map_err(|error| ContractError::Syntax(error.to_string()))?;
        contract.check()?;
        Ok(contract)
    }

    /// The time between rows of number 0 and `row`, in nanoseconds.
    pub fn row_offset_ns(&self, row: u64) -> i64 {
        let fps = u128::from(self.fps);
        ((u128::from(row) * 1_000_000_000 + fps / 2) / fps) as i64
    }

    fn check(&self) -> Result<(), ContractError> {
        require(self.version == 1, "version", "1", self.version)?;
        require(!self.robot_type.is_empty(), "robot_type", "a name", "nothing")?;
        require((1..=1000).contains(&self.fps), "fps", "1 to 1000", self.fps)?;
        require(self.settle_ms <= 10_000, "settle_ms", "0 to 10000", self.settle_ms)?;
        require(!self.streams.is_empty(), "streams", "at least one", "none")?;
        self.gate.check()?;
        let (mut names, mut topics) = (BTreeSet::new(), BTreeSet::new());
        for (index, stream) in self.streams.iter().enumerate() {
            let at = |key: &str| format!("streams[{index}].{key}");
            stream.check(&at)?;
            require(names.insert(&stream.name), &at("name"), "a name of its own", &stream.name)?;
            require(topics.insert(&stream.topic), &at("topic"), "a topic of its own", &stream.topic)?;
        }
        let longest =
            self.streams.iter().filter(|s| s.align == Some(Align::Next)).map(|s| s.tolerance_ms).max();
        let settle =
            format!("at least the tolerance_ms of streams with align: next ({})", longest.unwrap_or(0));
        require(self.settle_ms >= longest.unwrap_or(0), "settle_ms", &settle, self.settle_ms)
    }
}

/// The refusal of a value unless it is fine.
fn require(
    fine: bool,
    place: &str,
    expected: &str,
    came: impl std::fmt::Display,
) -> Result<(), ContractError> {
    let refusal = || ContractError::Value {
        place: place.to_owned(),
        expected: expected.to_owned(),
        came: came.to_string(),
    };
    if fine { Ok(()) } else { Err(refusal()) }
}

impl Stream {
    /// What its numbers are called in the dataset.
    pub fn number_names(&self) -> &[String] {
        if self.names.is_empty() { &self.fields } else { &self.names }
    }

    /// Whether its messages become part of rows.
    pub fn is_aligned(&self) -> bool {
        self.role != Role::Other
    }

    fn check(&self, at: &dyn Fn(&str) -> String) -> Result<(), ContractError> {
        let name = "letters, digits and underscores, not containing \"image\" (LeRobot takes such columns for pictures)";
        require(is_name(&self.name) && !self.name.contains("image"), &at("name"), name, &self.name)?;
        require(
            self.topic.starts_with('/') && self.topic.len() > 1,
            &at("topic"),
            "a full name, as /joint_states",
            &self.topic,
        )?;
        require(self.kind.split('/').nth(1) == Some("msg"), &at("type"), "package/msg/Name", &self.kind)?;
        let silent = self.rate_hz == 0.0 && !self.is_aligned();
        let rate = silent || (0.01..=10_000.0).contains(&self.rate_hz);
        require(
            rate,
            &at("rate_hz"),
            "0.01 to 10000 (or 0 for role other: no rate is expected)",
            self.rate_hz,
        )?;
        require(self.tolerance_ms >= 1, &at("tolerance_ms"), "at least 1", self.tolerance_ms)?;
        let aligned = self.is_aligned() == self.align.is_some();
        require(
            aligned,
            &at("align"),
            "hold, as_of, drop or next, and nothing for role other",
            "the opposite",
        )?;
        let shapes = [self.camera.is_some(), self.tokens.is_some(), !self.fields.is_empty()];
        let one = shapes.iter().filter(|given| **given).count() == usize::from(self.is_aligned());
        require(
            one,
            &at("fields"),
            "one of camera, tokens and fields, and none for role other",
            "otherwise",
        )?;
        require(self.camera.is_some() == self.size.is_some(), &at("size"), "given with camera", "otherwise")?;
        self.check_camera(at)?;
        require(
            !self.fields.is_empty() || self.names.is_empty(),
            &at("names"),
            "none without fields",
            "some",
        )?;
        let paths: Result<Vec<_>, _> = self.fields.iter().map(|field| FieldPath::parse(field)).collect();
        let wrong = paths.err().map_or(String::new(), |error| error.to_string());
        require(wrong.is_empty(), &at("fields"), "paths to numbers", wrong)?;
        let distinct: BTreeSet<_> = self.names.iter().collect();
        require(distinct.len() == self.names.len(), &at("names"), "different names", self.names.join(", "))?;
        let tokens = self.tokens.as_ref().map_or(1, |tokens| u64::from(tokens.count) * u64::from(tokens.dim));
        require((1..=1 << 20).contains(&tokens), &at("tokens"), "1 to 1048576 numbers", tokens)
    }

    fn check_camera(&self, at: &dyn Fn(&str) -> String) -> Result<(), ContractError> {
        let Some(camera) = &self.camera else { return Ok(()) };
        require(is_name(camera), &at("camera"), "letters, digits and underscores", camera)?;
        let pictures = ["sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"];
        require(pictures.contains(&self.kind.as_str()), &at("type"), &pictures.join(" or "), &self.kind)?;
        require(self.role == Role::Observation, &at("role"), "observation for a camera", "another")
    }
}

impl Gate {
    fn check(&self) -> Result<(), ContractError> {
        let shares = [("gate.min_rate", self.min_rate), ("gate.max_missing", self.max_missing)];
        for (place, share) in shares {
            require((0.0..=1.0).contains(&share), place, "0 to 1", share)?;
        }
        let positive = [
            ("gate.min_seconds", self.min_seconds),
            ("gate.max_gap_periods", self.max_gap_periods),
            ("gate.max_skew_ms", self.max_skew_ms),
        ];
        positive.into_iter().try_for_each(|(place, value)| {
            require(value.is_finite() && value >= 0.0, place, "a number of at least 0", value)
        })
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
version: 1
robot_type: so101
fps: 30
streams:
  - {name: front, topic: /front/image_raw, type: sensor_msgs/msg/Image, role: observation, align: as_of, rate_hz: 30,
     tolerance_ms: 50, camera: front, size: 640x480}
  - {name: joints, topic: /joint_states, type: sensor_msgs/msg/JointState, role: observation, align: hold, rate_hz: 200,
     tolerance_ms: 20, fields: ['position[pan]', 'position[lift]'], names: []}
  - {name: command, topic: /commands, type: std_msgs/msg/Float64MultiArray, role: action, align: next, rate_hz: 30,
     tolerance_ms: 40, timeline: receive, fields: [data], names: [pan.rad, lift.rad]}
  - {name: tf, topic: /tf, type: tf2_msgs/msg/TFMessage, role: other, rate_hz: 50, tolerance_ms: 100}
";

    #[test]
    fn a_contract_is_read_whole() {
        let contract = Contract::parse(GOOD).unwrap();
        assert_eq!((contract.fps, contract.settle_ms, contract.streams.len()), (30, 200, 4));
        assert_eq!(contract.streams[0].size, Some(Size { width: 640, height: 480 }));
        assert_eq!(contract.streams[2].timeline, Timeline::Receive);
        assert_eq!(contract.gate, Gate::default());
        let rows: Vec<_> = [0, 1, 2, 3, 30].iter().map(|row| contract.row_offset_ns(*row)).collect();
        assert_eq!(rows, [0, 33_333_333, 66_666_667, 100_000_000, 1_000_000_000]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let cases = [
            ("fps: 30", "fps: 0", "fps: expected 1 to 1000, got 0"),
            ("fps: 30", "fps: 30\nspeed: 1", "unknown field `speed`"),
            ("robot_type: so101", "", "missing field `robot_type`"),
            ("fields: [data]", "colour: red", "unknown field `colour`"),
            ("name: joints", "name: front", "streams[1].name: expected a name of its own, got front"),
            ("name: joints", "name: my_images", "streams[1].name: expected letters"),
            ("topic: /commands", "topic: commands", "streams[2].topic: expected a full name"),
            ("align: hold", "align: nearest", "nearest"),
            ("align: hold, ", "", "streams[1].align: expected hold"),
            ("role: other", "role: action", "streams[3].align: expected hold"),
            ("tolerance_ms: 40", "tolerance_ms: 400", "settle_ms: expected at least the tolerance_ms"),
            ("size: 640x480", "size: 640", "expected WIDTHxHEIGHT"),
            (", camera: front", "", "streams[0].fields: expected one of camera, tokens and fields"),
            ("lift.rad", "pan.rad", "streams[2].names: expected different names"),
            (
                "position[pan]",
                "position[",
                "streams[1].fields: expected paths to numbers, got position[: a [ without its ]",
            ),
            ("fps: 30", "fps: 30\ngate: {min_rate: 2.0}", "gate.min_rate: expected 0 to 1, got 2"),
            ("version: 1", "version: 2", "version: expected 1, got 2"),
        ];
        for (from, to, expected) in cases {
            let refused = Contract::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(refused.contains(expected), "{to}: {refused}");
        }
    }
}
