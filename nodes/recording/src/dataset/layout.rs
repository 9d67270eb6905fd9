//! What a dataset holds, per frame: rate, robot, features, and the streams they were taken from.

use std::collections::{BTreeMap, BTreeSet};

use calibration::Size;
use thiserror::Error;

/// Columns that LeRobot adds to every dataset, in its order.
pub(crate) const DEFAULT_FEATURES: [&str; 5] =
    ["timestamp", "frame_index", "episode_index", "index", "task_index"];

/// The longest side of a picture; H.264 encoders take 3840.
const MAX_SIDE: usize = 16384;

/// What one feature is in every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureKind {
    /// A vector of float32.
    Float32,
    /// A vector of float64.
    Float64,
    /// A vector of int64.
    Int64,
    /// A vector of truths.
    Bool,
    /// A text.
    Text,
    /// A picture per frame, as JPEG or PNG bytes within the row.
    Image(Size),
    /// A picture per frame, as a frame of an H.264 file; width and height are even.
    Video(Size),
    /// A depth map per frame, as 16-bit PNG bytes within the row: millimetres along Z, 0 where unknown.
    Depth(Size),
}

/// One feature of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Such as `observation.state`, `action`, `observation.images.wrist`.
    pub key: String,
    /// What it is.
    pub kind: FeatureKind,
    /// The names of a vector's elements, such as `shoulder.pos`; their number is its length. Empty for pictures and texts.
    pub names: Vec<String>,
}

/// Rate, robot, features and streams of a dataset, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    fps: u32,
    robot_type: String,
    features: Vec<Feature>,
    streams: Vec<String>,
    encoders: BTreeMap<String, String>,
}

/// Why a layout was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("dataset layout: {what}: {problem}")]
pub struct LayoutError {
    /// The feature, stream or setting.
    pub what: String,
    /// What was expected, and what came.
    pub problem: String,
}

impl Layout {
    /// Checks and makes a layout. `streams` are the sources (topics, by short names) whose stamps are kept per frame:
    /// [`Layout::truth_features`] come on top of `features`.
    ///
    /// # Errors
    /// A rate of 0 or above 1000, keys that LeRobot cannot hold, vectors without names, odd video sizes.
    pub fn new(
        fps: u32,
        robot_type: &str,
        features: Vec<Feature>,
        streams: Vec<String>,
    ) -> Result<Self, LayoutError> {
        if !(1..=1000).contains(&fps) {
            return Err(refuse("fps", format!("expected 1 to 1000, got {fps}")));
        }
        let mut keys = BTreeSet::new();
        let layout =
            Self { fps, robot_type: robot_type.to_owned(), features, streams, encoders: BTreeMap::new() };
        for feature in layout.features.iter().chain(&layout.truth_features()) {
            check_feature(feature)?;
            if !keys.insert(feature.key.clone()) {
                return Err(refuse(&feature.key, "a key that comes twice, or is kept for truth columns"));
            }
        }
        if layout.features.is_empty() {
            return Err(refuse("features", "expected at least one"));
        }
        Ok(layout)
    }

    /// Says which encoder a feature's tokens come from: tokens of another one mean something else, so the dataset is continued
    /// with this one only.
    ///
    /// # Errors
    /// No vector of numbers has this key, or the id is empty.
    pub fn with_encoder(mut self, key: &str, encoder_id: &str) -> Result<Self, LayoutError> {
        let is_vector =
            |feature: &Feature| feature.key == key && matches!(feature.kind, FeatureKind::Float32);
        if encoder_id.is_empty() || !self.features.iter().any(is_vector) {
            return Err(refuse(key, "expected a vector of float32 and the id of its encoder"));
        }
        self.encoders.insert(key.to_owned(), encoder_id.to_owned());
        Ok(self)
    }

    /// The encoder that a feature's tokens come from.
    pub fn encoder(&self, key: &str) -> Option<&str> {
        self.encoders.get(key).map(String::as_str)
    }

    /// Frames per second.
    pub fn fps(&self) -> u32 {
        self.fps
    }

    /// The robot's name, which must be the same when a dataset is continued.
    pub fn robot_type(&self) -> &str {
        &self.robot_type
    }

    /// The features, in the order in which [`super::Row::values`] holds them.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The streams, in the order in which [`super::Row::streams`] holds them.
    pub fn streams(&self) -> &[String] {
        &self.streams
    }

    /// What the writer adds beside LeRobot's own columns, because `timestamp` must be `frame_index / fps`:
    ///
    /// | key | per stream | |
    /// |---|---|---|
    /// | `rec.time` | no | when the frame was due, nanoseconds since 1970 |
    /// | `sync.stamp` | yes | the capture stamp of what it shows, nanoseconds since 1970 |
    /// | `sync.age` | yes | `rec.time - sync.stamp`, seconds |
    /// | `sync.skew` | yes | its stamp less that of the first stream, seconds |
    /// | `rec.repeated` | yes | whether it shows the same message as the frame before |
    /// | `rec.stale` | yes | whether it is older than the contract allows |
    pub fn truth_features(&self) -> Vec<Feature> {
        let feature =
            |key: &str, kind, names: &[String]| Feature { key: key.to_owned(), kind, names: names.to_vec() };
        let mut features = vec![feature("rec.time", FeatureKind::Int64, &["nanoseconds".to_owned()])];
        if !self.streams.is_empty() {
            features.push(feature("sync.stamp", FeatureKind::Int64, &self.streams));
            features.push(feature("sync.age", FeatureKind::Float32, &self.streams));
            features.push(feature("sync.skew", FeatureKind::Float32, &self.streams));
            features.push(feature("rec.repeated", FeatureKind::Bool, &self.streams));
            features.push(feature("rec.stale", FeatureKind::Bool, &self.streams));
        }
        features
    }
}

fn refuse(what: &str, problem: impl Into<String>) -> LayoutError {
    LayoutError { what: what.to_owned(), problem: problem.into() }
}

/// The traps of LeRobot's loader, each refused before the first frame.
fn check_feature(feature: &Feature) -> Result<(), LayoutError> {
    let refuse = |problem: String| Err(refuse(&feature.key, problem));
    let sound = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if feature.key.is_empty() || !feature.key.chars().all(sound) {
        return refuse("expected a key of letters, digits, '.', '_' and '-'".to_owned());
    }
    if DEFAULT_FEATURES.contains(&feature.key.as_str()) || feature.key == "task" {
        return refuse("a key of LeRobot's own".to_owned());
    }
    match feature.kind {
        FeatureKind::Image(size) | FeatureKind::Video(size) | FeatureKind::Depth(size) => {
            let odd = size.width % 2 + size.height % 2 > 0;
            if size.width == 0 || size.height == 0 || size.width.max(size.height) > MAX_SIDE {
                return refuse(format!(
                    "expected sides of 1 to {MAX_SIDE}, got {}x{}",
                    size.width, size.height
                ));
            }
            if matches!(feature.kind, FeatureKind::Video(_)) && odd {
                return refuse(format!("expected even sides for H.264, got {}x{}", size.width, size.height));
            }
        }
        // LeRobot takes any key with "image" in it for a picture when it checks statistics.
        _ if feature.key.contains("image") => {
            return refuse("\"image\" in the key of what is no picture".to_owned());
        }
        FeatureKind::Text if !feature.names.is_empty() => return refuse("names for a text".to_owned()),
        FeatureKind::Text => {}
        _ if feature.names.is_empty() => {
            return refuse("expected a name for each element, got none".to_owned());
        }
        _ => {}
    }
    let mut names = BTreeSet::new();
    match feature.names.iter().find(|name| !names.insert(*name)) {
        Some(name) => refuse(format!("the name {name} comes twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(key: &str) -> Feature {
        Feature { key: key.to_owned(), kind: FeatureKind::Float32, names: vec!["a".into(), "b".into()] }
    }

    #[test]
    fn the_loaders_traps_are_refused() {
        let size = Size { width: 31, height: 20 };
        let refused = [
            (vector("a/b"), "letters"),
            (vector("index"), "LeRobot's own"),
            (vector("observation.image_state"), "no picture"),
            (vector("sync.age"), "twice"),
            (Feature { names: vec![], ..vector("action") }, "expected a name"),
            (Feature { names: vec!["a".into(); 2], ..vector("action") }, "comes twice"),
            (Feature { kind: FeatureKind::Video(size), ..vector("v") }, "even"),
        ];
        for (feature, expected) in refused {
            let error = Layout::new(30, "arm", vec![feature], vec!["joints".into()]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Layout::new(0, "arm", vec![vector("action")], vec![]).is_err());
        assert!(Layout::new(30, "arm", vec![], vec![]).is_err());
        assert!(Layout::new(30, "arm", vec![vector("action")], vec!["joints".into()]).is_ok());
    }
}
