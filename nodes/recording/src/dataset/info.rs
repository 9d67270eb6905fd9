//! `meta/info.json`: what a dataset holds, and how much of it is committed.

use std::fmt;

use calibration::Size;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::layout::{Feature, FeatureKind, Layout};

/// The version of the format.
pub(super) const VERSION: &str = "v3.0";
/// Files per folder; names have three digits, so that they sort.
pub(super) const CHUNK_FILES: u64 = 1000;
/// The key of a feature's `info` that names the encoder of its tokens.
const ENCODER: &str = "encoder_id";
const DATA_PATH: &str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
const VIDEO_PATH: &str = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";

/// `info.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// `v3.0`.
    pub codebase_version: String,
    /// The robot's name.
    pub robot_type: Option<String>,
    /// Episodes that are committed.
    pub total_episodes: u64,
    /// Frames of all of them.
    pub total_frames: u64,
    /// Different tasks.
    pub total_tasks: u64,
    /// Files per folder.
    pub chunks_size: u64,
    /// Where LeRobot starts a new data file; here each episode has its own.
    #[serde(default)]
    pub data_files_size_in_mb: u64,
    /// Where LeRobot starts a new video file.
    #[serde(default)]
    pub video_files_size_in_mb: u64,
    /// Frames per second.
    pub fps: f64,
    /// Which episodes are for training: `0:<total_episodes>`.
    pub splits: Ordered<String>,
    /// Pattern of data files.
    pub data_path: String,
    /// Pattern of video files; none without videos.
    pub video_path: Option<String>,
    /// What each frame holds, in order.
    pub features: Ordered<FeatureInfo>,
}

/// One feature of `info.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureInfo {
    /// `float32`, `int64`, `bool`, `string`, `image`, `video`, ...
    pub dtype: String,
    /// Its length, or height, width and channels.
    pub shape: Vec<usize>,
    /// Names of elements or of axes.
    pub names: Value,
    /// About the video; of tokens, their encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Value>,
}

impl FeatureInfo {
    /// Whether its values are pictures, in rows or in videos.
    pub fn is_picture(&self) -> bool {
        self.is_video() || self.dtype == "image"
    }

    /// Whether its pictures are in videos.
    pub fn is_video(&self) -> bool {
        self.dtype == "video"
    }

    /// The encoder whose tokens its values are, as `~/features/info` names it.
    pub fn encoder_id(&self) -> Option<&str> {
        self.info.as_ref()?.get(ENCODER)?.as_str()
    }

    /// The number of values per frame.
    pub fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A JSON object that keeps its order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ordered<V>(pub Vec<(String, V)>);

impl<V> Ordered<V> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }
}

impl<V: Serialize> Serialize for Ordered<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Pairs<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

impl Info {
    /// An empty dataset's.
    pub(super) fn new(layout: &Layout) -> Self {
        let features = feature_infos(layout);
        let videos = features.0.iter().any(|(_, feature)| feature.is_video());
        Self {
            codebase_version: VERSION.to_owned(),
            robot_type: Some(layout.robot_type().to_owned()),
            total_episodes: 0,
            total_frames: 0,
            total_tasks: 0,
            chunks_size: CHUNK_FILES,
            data_files_size_in_mb: 100,
            video_files_size_in_mb: 200,
            fps: f64::from(layout.fps()),
            splits: Ordered(vec![("train".to_owned(), "0:0".to_owned())]),
            data_path: DATA_PATH.to_owned(),
            video_path: videos.then(|| VIDEO_PATH.to_owned()),
            features,
        }
    }

    /// Counts one more episode.
    pub(super) fn add_episode(&mut self, frames: u64, tasks: u64) {
        self.total_episodes += 1;
        self.total_frames += frames;
        self.total_tasks = tasks;
        self.splits = Ordered(vec![("train".to_owned(), format!("0:{}", self.total_episodes))]);
    }

    /// The file's text; a whole number of frames per second is written as an integer, as LeRobot does.
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string_pretty(self)?;
        let whole = format!("\"fps\": {:?}", self.fps);
        Ok(text.replacen(&whole, &format!("\"fps\": {}", self.fps), 1))
    }

    /// Fills a pattern such as `data_path`.
    pub(super) fn fill(pattern: &str, key: &str, chunk: u64, file: u64) -> String {
        pattern
            .replace("{chunk_index:03d}", &format!("{chunk:03}"))
            .replace("{file_index:03d}", &format!("{file:03}"))
            .replace("{video_key}", key)
    }
}

/// LeRobot's description of every column: the layout's features, the truth columns, then LeRobot's own five.
pub(super) fn feature_infos(layout: &Layout) -> Ordered<FeatureInfo> {
    let mut infos: Vec<(String, FeatureInfo)> = Vec::new();
    for feature in layout.features().iter().chain(&layout.truth_features()) {
        let mut info = feature_info(feature, layout.fps());
        info.info = layout.encoder(&feature.key).map(|id| json!({ ENCODER: id })).or(info.info);
        infos.push((feature.key.clone(), info));
    }
    let own =
        |dtype: &str| FeatureInfo { dtype: dtype.to_owned(), shape: vec![1], names: Value::Null, info: None };
    infos.push(("timestamp".to_owned(), own("float32")));
    for key in ["frame_index", "episode_index", "index", "task_index"] {
        infos.push((key.to_owned(), own("int64")));
    }
    Ordered(infos)
}

fn feature_info(feature: &Feature, fps: u32) -> FeatureInfo {
    let picture = |dtype: &str, size: Size, channels: usize, info| FeatureInfo {
        dtype: dtype.to_owned(),
        shape: vec![size.height, size.width, channels],
        names: json!(["height", "width", "channels"]),
        info,
    };
    let dtype = match feature.kind {
        FeatureKind::Image(size) => return picture("image", size, 3, None),
        FeatureKind::Depth(size) => {
            return picture("image", size, 1, Some(json!({"is_depth_map": true, "depth_unit": "mm"})));
        }
        FeatureKind::Video(size) => {
            let info = json!({
                "video.height": size.height, "video.width": size.width, "video.channels": 3, "video.fps": fps,
                "video.codec": "h264", "video.pix_fmt": "yuv420p", "video.g": super::video::KEY_FRAME_EVERY,
                "is_depth_map": false, "has_audio": false,
            });
            return picture("video", size, 3, Some(info));
        }
        FeatureKind::Text => {
            return FeatureInfo {
                dtype: "string".to_owned(),
                shape: vec![1],
                names: Value::Null,
                info: None,
            };
        }
        FeatureKind::Float32 => "float32",
        FeatureKind::Float64 => "float64",
        FeatureKind::Int64 => "int64",
        FeatureKind::Bool => "bool",
    };
    FeatureInfo {
        dtype: dtype.to_owned(),
        shape: vec![feature.names.len()],
        names: json!(feature.names),
        info: None,
    }
}

/// The layout that a dataset of this program was written with.
///
/// # Errors
/// A feature that this program does not write, or streams that are missing: the dataset is somebody else's.
pub(super) fn layout_of(info: &Info) -> Result<Layout, String> {
    let names = |key: &str, feature: &FeatureInfo| -> Result<Vec<String>, String> {
        let list =
            feature.names.as_array().ok_or_else(|| format!("{key}: expected names of its elements"))?;
        Ok(list.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect())
    };
    let streams = match info.features.get("sync.stamp") {
        Some(feature) => names("sync.stamp", feature)?,
        None => Vec::new(),
    };
    let own =
        |key: &str| key.starts_with("sync.") || ["rec.time", "rec.repeated", "rec.stale"].contains(&key);
    let (mut features, mut encoders) = (Vec::new(), Vec::new());
    for (key, feature) in &info.features.0 {
        if own(key) || super::layout::DEFAULT_FEATURES.contains(&key.as_str()) {
            continue;
        }
        let size = || match feature.shape.as_slice() {
            [height, width, _] => Ok(Size { width: *width, height: *height }),
            other => Err(format!("{key}: expected height, width and channels, got {other:?}")),
        };
        let (kind, named) = match feature.dtype.as_str() {
            "float32" => (FeatureKind::Float32, true),
            "float64" => (FeatureKind::Float64, true),
            "int64" => (FeatureKind::Int64, true),
            "bool" => (FeatureKind::Bool, true),
            "string" => (FeatureKind::Text, false),
            "video" => (FeatureKind::Video(size()?), false),
            "image" if feature.shape.get(2) == Some(&1) => (FeatureKind::Depth(size()?), false),
            "image" => (FeatureKind::Image(size()?), false),
            other => return Err(format!("{key}: dtype {other} is not written by this program")),
        };
        let names = if named { names(key, feature)? } else { Vec::new() };
        features.push(Feature { key: key.clone(), kind, names });
        encoders.extend(feature.encoder_id().map(|id| (key, id)));
    }
    let robot_type = info.robot_type.as_deref().unwrap_or_default();
    if info.fps.fract() != 0.0 {
        return Err(format!("fps: expected a whole number, got {}", info.fps));
    }
    let layout = Layout::new(info.fps as u32, robot_type, features, streams);
    let named = encoders.into_iter().fold(layout, |layout, (key, id)| layout?.with_encoder(key, id));
    named.map_err(|error| error.to_string())
}

/// The first difference that forbids continuing a dataset; what is said about videos may differ.
pub(super) fn difference(stored: &Info, layout: &Layout) -> Option<(String, String, String)> {
    let expected = Info::new(layout);
    let differs = |what: &str, old: String, new: String| (old != new).then(|| (what.to_owned(), old, new));
    let robot = |info: &Info| info.robot_type.clone().unwrap_or_default();
    differs("codebase_version", stored.codebase_version.clone(), VERSION.to_owned())
        .or_else(|| differs("fps", stored.fps.to_string(), expected.fps.to_string()))
        .or_else(|| differs("robot_type", robot(stored), robot(&expected)))
        .or_else(|| {
            let keys = |info: &Info| {
                info.features.0.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(" ")
            };
            differs("features", keys(stored), keys(&expected))
        })
        .or_else(|| {
            let shown = |feature: &FeatureInfo| {
                let of = feature.encoder_id().map_or(String::new(), |id| format!(" of encoder {id}"));
                format!("{} {:?} {}{of}", feature.dtype, feature.shape, feature.names)
            };
            let pairs = stored.features.0.iter().zip(&expected.features.0);
            pairs
                .map(|((key, old), (_, new))| (key, shown(old), shown(new)))
                .find_map(|(k, o, n)| differs(k, o, n))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(fps: u32, names: &[&str]) -> Layout {
        let state = Feature {
            key: "observation.state".to_owned(),
            kind: FeatureKind::Float32,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let size = Size { width: 64, height: 48 };
        let video = Feature {
            key: "observation.images.cam".to_owned(),
            kind: FeatureKind::Video(size),
            names: vec![],
        };
        Layout::new(fps, "arm", vec![state, video], vec!["joints".to_owned()]).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_in_order() {
        let info = Info::new(&layout(30, &["b", "a"]));
        let text = info.json().unwrap();
        assert!(text.contains("\"fps\": 30,"), "{text}");
        assert!(text.contains("\"splits\": {"), "{text}");
        assert_eq!(serde_json::from_str::<Info>(&text).unwrap(), info);
        assert_eq!(layout_of(&info).unwrap(), layout(30, &["b", "a"]));
        let keys: Vec<_> = info.features.0.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys[..2], ["observation.state", "observation.images.cam"]);
        assert_eq!(keys[keys.len() - 5..], super::super::layout::DEFAULT_FEATURES);
    }

    #[test]
    fn what_differs_is_named() {
        let stored = Info::new(&layout(30, &["a", "b"]));
        assert_eq!(difference(&stored, &layout(30, &["a", "b"])), None);
        let of = |layout| difference(&stored, &layout).unwrap();
        assert_eq!(of(layout(25, &["a", "b"])), ("fps".into(), "30".into(), "25".into()));
        assert_eq!(of(layout(30, &["b", "a"])).0, "observation.state");
    }

    #[test]
    fn an_encoder_is_kept_and_another_one_is_a_difference() {
        let with = |id| layout(30, &["0.0", "0.1"]).with_encoder("observation.state", id).unwrap();
        let stored = Info::new(&with("aa"));
        let read: Info = serde_json::from_str(&stored.json().unwrap()).unwrap();
        assert_eq!(read.features.get("observation.state").and_then(FeatureInfo::encoder_id), Some("aa"));
        assert_eq!(layout_of(&read).unwrap(), with("aa"));
        assert_eq!(difference(&read, &with("aa")), None);
        let (what, old, new) = difference(&read, &with("bb")).unwrap();
        assert_eq!(what, "observation.state");
        assert!(old.ends_with(" of encoder aa") && new.ends_with(" of encoder bb"), "{old} {new}");
        assert!(difference(&read, &layout(30, &["0.0", "0.1"])).is_some());
        assert!(layout(30, &["a"]).with_encoder("observation.images.cam", "aa").is_err());
    }
}
