//! `metadata.yaml` beside the MCAP file: version 9 for Jazzy, version 5 for Humble; any from 4 is read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use super::qos::{QosProfile, parse_qos, qos_yaml};
use super::{BagError, Distro, at};
use crate::files::write_whole;

/// What a bag's `metadata.yaml` says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BagMetadata {
    /// The format's version; what is written follows the distribution instead.
    pub version: u32,
    /// Receive time of the first message, nanoseconds since 1970; 0 when there is none.
    pub start_nanos: u64,
    /// From the first to the last message, nanoseconds.
    pub duration_nanos: u64,
    /// Messages of all topics.
    pub message_count: u64,
    /// Each topic with the number of its messages.
    pub topics: Vec<TopicCount>,
    /// The bag's files, relative to its folder, in the order of time.
    pub files: Vec<String>,
    /// What the recorder added: task, contract, provenance.
    pub custom_data: BTreeMap<String, String>,
    /// `humble` or `jazzy`; empty when unknown.
    pub ros_distro: String,
}

/// A topic of `metadata.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicCount {
    /// Fully qualified name.
    pub name: String,
    /// The type, as `package/msg/Type`.
    pub type_name: String,
    /// `RIHS01_...`, or empty.
    pub type_hash: String,
    /// What the publishers offered.
    pub offered_qos: Vec<QosProfile>,
    /// Its messages.
    pub message_count: u64,
}

/// A YAML double-quoted scalar; JSON's escapes are YAML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl BagMetadata {
    /// The body, without the top key, as MCAP's `rosbag2` record holds it.
    pub(super) fn body(&self, distro: Distro) -> String {
        let mut text = String::new();
        let version = distro.metadata_version();
        let _ = write!(
            text,
            "version: {version}\nstorage_identifier: mcap\nduration:\n  nanoseconds: {}\nstarting_time:\n  \
             nanoseconds_since_epoch: {}\nmessage_count: {}\ntopics_with_message_count:{}\n",
            self.duration_nanos,
            self.start_nanos,
            self.message_count,
            if self.topics.is_empty() { " []" } else { "" },
        );
        for topic in &self.topics {
            text.push_str(&topic.yaml(distro));
        }
        text.push_str("compression_format: \"\"\ncompression_mode: \"\"\nrelative_file_paths:\n");
        for file in &self.files {
            let _ = writeln!(text, "  - {}", quoted(file));
        }
        text.push_str("files:\n");
        for file in &self.files {
            let _ = write!(
                text,
                "  - path: {}\n    starting_time:\n      nanoseconds_since_epoch: {}\n    duration:\n      \
                 nanoseconds: {}\n    message_count: {}\n",
                quoted(file),
                self.start_nanos,
                self.duration_nanos,
                self.message_count,
            );
        }
        // Humble reads no custom data and no distribution; unknown keys do not disturb it.
        let none = if self.custom_data.is_empty() { " ~" } else { "" };
        let _ = writeln!(text, "custom_data:{none}");
        for (key, value) in &self.custom_data {
            let _ = writeln!(text, "  {}: {}", quoted(key), quoted(value));
        }
        let _ = writeln!(text, "ros_distro: {}", distro.name());
        text
    }

    /// The whole file.
    fn file(&self, distro: Distro) -> String {
        let mut text = "rosbag2_bagfile_information:\n".to_owned();
        for line in self.body(distro).lines() {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// Writes the file into a bag's folder, whole or not at all. The copy in a finished MCAP file stays as it is.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub(crate) fn write(&self, folder: &Path, distro: Distro) -> Result<(), BagError> {
        let path = folder.join("metadata.yaml");
        write_whole(&path, self.file(distro).as_bytes()).map_err(at(&path))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Field and line, when it is not a `metadata.yaml` of version 4 to 9 for MCAP files.
    pub(super) fn parse_file(text: &str) -> Result<Self, String> {
        let stored: StoredFile = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        stored.rosbag2_bagfile_information.checked()
    }
}

impl TopicCount {
    fn yaml(&self, distro: Distro) -> String {
        let mut text = format!(
            "  - topic_metadata:\n      name: {}\n      type: {}\n      serialization_format: cdr\n      \
             offered_qos_profiles: ",
            quoted(&self.name),
            quoted(&self.type_name),
        );
        match distro {
            Distro::Humble => text.push_str(&quoted(&qos_yaml(&self.offered_qos, distro, ""))),
            Distro::Jazzy if self.offered_qos.is_empty() => text.push_str("[]"),
            Distro::Jazzy => {
                let _ = write!(text, "\n        {}", qos_yaml(&self.offered_qos, distro, "        "));
            }
        }
        if distro == Distro::Jazzy {
            let _ = write!(text, "\n      type_description_hash: {}", quoted(&self.type_hash));
        }
        let _ = write!(text, "\n    message_count: {}\n", self.message_count);
        text
    }
}

#[derive(Debug, Deserialize)]
struct StoredFile {
    rosbag2_bagfile_information: Stored,
}

#[derive(Debug, Deserialize)]
struct Stored {
    version: u32,
    storage_identifier: String,
    duration: Duration,
    starting_time: Time,
    message_count: u64,
    topics_with_message_count: Vec<StoredTopic>,
    #[serde(default)]
    compression_mode: String,
    relative_file_paths: Vec<String>,
    #[serde(default)]
    custom_data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    ros_distro: String,
}

#[derive(Debug, Deserialize)]
struct Duration {
    nanoseconds: u64,
}

#[derive(Debug, Deserialize)]
struct Time {
    nanoseconds_since_epoch: u64,
}

#[derive(Debug, Deserialize)]
struct StoredTopic {
    topic_metadata: StoredTopicMetadata,
    message_count: u64,
}

#[derive(Debug, Deserialize)]
struct StoredTopicMetadata {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    #[serde(default)]
    offered_qos_profiles: Profiles,
    #[serde(default)]
    type_description_hash: String,
}

/// Version 9 has a list, older versions a string that holds one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Profiles {
    Text(String),
    List(Vec<serde_json::Value>),
}

impl Default for Profiles {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Profiles {
    fn checked(&self) -> Result<Vec<QosProfile>, String> {
        match self {
            Self::Text(text) => parse_qos(text),
            // JSON is YAML, and what came from YAML's tree has no other form left.
            Self::List(list) => parse_qos(&serde_json::Value::from(list.clone()).to_string()),
        }
    }
}

impl Stored {
    fn checked(self) -> Result<BagMetadata, String> {
        if !(4..=9).contains(&self.version) {
            return Err(format!("version: expected 4 to 9, got {}", self.version));
        }
        if self.storage_identifier != "mcap" {
            return Err(format!("storage_identifier: expected mcap, got {}", self.storage_identifier));
        }
        if self.compression_mode.eq_ignore_ascii_case("file") {
            return Err("compression_mode: expected none, got FILE: decompress the files first".to_owned());
        }
        let topics = self.topics_with_message_count.iter().map(StoredTopic::checked);
        Ok(BagMetadata {
            version: self.version,
            start_nanos: self.starting_time.nanoseconds_since_epoch,
            duration_nanos: self.duration.nanoseconds,
            message_count: self.message_count,
            topics: topics.collect::<Result<_, _>>()?,
            files: self.relative_file_paths,
            custom_data: self.custom_data.unwrap_or_default(),
            ros_distro: self.ros_distro,
        })
    }
}

impl StoredTopic {
    fn checked(&self) -> Result<TopicCount, String> {
        let topic = &self.topic_metadata;
        let offered_qos = topic.offered_qos_profiles.checked();
        Ok(TopicCount {
            name: topic.name.clone(),
            type_name: topic.type_name.clone(),
            type_hash: topic.type_description_hash.clone(),
            offered_qos: offered_qos.map_err(|p| format!("{}: offered_qos_profiles: {p}", topic.name))?,
            message_count: self.message_count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BagMetadata {
        let topic = |name: &str, offered_qos| TopicCount {
            name: name.to_owned(),
            type_name: "sensor_msgs/msg/JointState".to_owned(),
            type_hash: "RIHS01_00".to_owned(),
            offered_qos,
            message_count: 3,
        };
        BagMetadata {
            version: 9,
            start_nanos: 1_700_000_000_000_000_000,
            duration_nanos: 20,
            message_count: 6,
            topics: vec![topic("/a", vec![QosProfile::default(); 2]), topic("/b", vec![])],
            files: vec!["x_0.mcap".to_owned()],
            custom_data: [("contract".to_owned(), "rate: 30\n\"quoted\": yes".to_owned())].into(),
            ros_distro: "jazzy".to_owned(),
        }
    }

    #[test]
    fn what_is_written_for_jazzy_reads_back() {
        let written = sample();
        assert_eq!(BagMetadata::parse_file(&written.file(Distro::Jazzy)).unwrap(), written);
    }

    #[test]
    fn humble_gets_version_5_with_profiles_in_a_string() {
        let read = BagMetadata::parse_file(&sample().file(Distro::Humble)).unwrap();
        assert_eq!(read.version, 5);
        assert_eq!(read.topics[0].offered_qos, sample().topics[0].offered_qos);
        assert_eq!(read.topics[0].type_hash, "", "Humble knows no type hashes");
    }

    #[test]
    fn an_empty_bag_reads_back() {
        let written = BagMetadata { files: vec!["x_0.mcap".into()], ..BagMetadata::default() };
        let read = BagMetadata::parse_file(&written.file(Distro::Jazzy)).unwrap();
        assert_eq!((read.message_count, read.topics.len()), (0, 0));
    }

    #[test]
    fn other_storages_and_versions_are_refused() {
        let text = sample().file(Distro::Jazzy);
        let refused = |from: &str, to: &str| BagMetadata::parse_file(&text.replace(from, to)).unwrap_err();
        assert!(refused("identifier: mcap", "identifier: sqlite3").contains("expected mcap, got sqlite3"));
        assert!(refused("version: 9", "version: 12").contains("expected 4 to 9"));
        assert!(BagMetadata::parse_file("{}").is_err());
    }
}
