//! What is left of a bag whose recorder was cut off, as a bag.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use mcap::sans_io::LinearReaderOptions;

use super::metadata::BagMetadata;
use super::qos::parse_qos;
use super::reader::{MAX_RECORD, mcap_files};
use super::writer::{BagOptions, BagWriter, ChannelId, IN_PROGRESS};
use super::{BagError, Distro, at, chain};
use crate::files::beside;
use crate::message::{Definition, Stamps, Topic};

/// What was saved.
#[derive(Debug)]
pub struct Recovery {
    /// Where the bag is now.
    pub place: PathBuf,
    /// What it holds.
    pub metadata: BagMetadata,
    /// Why reading ended in each file that does not end well, with the file's name.
    pub torn: Vec<(String, String)>,
}

/// Saves a cut-off bag (`<name>.recording/`, a folder without `metadata.yaml`, or an MCAP file) as a finished one at
/// `place`. The source is left as it is. Key and value pairs go to `metadata.yaml`, with `recovered` beside them.
///
/// # Errors
/// There is nothing to read, something at `place` already, or the disk is full.
pub fn recover_bag(
    source: &Path,
    place: &Path,
    distro: Distro,
    custom_data: BTreeMap<String, String>,
) -> Result<Recovery, BagError> {
    let files = if source.metadata().map_err(at(source))?.is_file() {
        vec![source.to_owned()]
    } else {
        mcap_files(source)?
    };
    if files.is_empty() {
        return Err(BagError::NoBag { path: source.to_owned() });
    }
    if place.symlink_metadata().is_ok() {
        return Err(BagError::Exists { path: place.to_owned() });
    }
    // `<place>.recording` may be the source itself: what is recovered is made beside it, and renamed when whole.
    let work = beside(place);
    for left_over in [work.clone(), with_suffix(&work, IN_PROGRESS)] {
        if left_over.exists() {
            std::fs::remove_dir_all(&left_over).map_err(at(&left_over))?;
        }
    }
    let options = BagOptions { distro, custom_data, ..BagOptions::default() };
    let mut writer = BagWriter::create_named(&work, &name_of(place), options)?;
    let mut torn = Vec::new();
    for file in &files {
        if let Some(why) = copy(file, &mut writer)? {
            torn.push((file.file_name().unwrap_or_default().to_string_lossy().into_owned(), why));
        }
    }
    writer.set_custom_data("recovered", if torn.is_empty() { "whole" } else { "cut off" });
    let metadata = writer.finish()?;
    crate::files::rename(&work, place).map_err(at(place))?;
    Ok(Recovery { place: place.to_owned(), metadata, torn })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn name_of(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Copies messages until the file ends or tears; says how it tore.
fn copy(path: &Path, writer: &mut BagWriter) -> Result<Option<String>, BagError> {
    let file = BufReader::new(File::open(path).map_err(at(path))?);
    // A chunk is checked before any of it is taken, so that a half-written one leaves nothing.
    let options = LinearReaderOptions::default()
        .with_skip_end_magic(true)
        .with_prevalidate_chunk_crcs(true)
        .with_record_length_limit(MAX_RECORD);
    let mut channels: HashMap<u16, ChannelId> = HashMap::new();
    for message in mcap::io::MessageReader::new_with_options(file, options) {
        let message = match message {
            Ok(message) => message,
            Err(error) => return Ok(Some(chain(&error))),
        };
        let known = channels.get(&message.channel.id).copied();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = writer.channel(&topic_of(&message.channel))?;
                channels.insert(message.channel.id, channel);
                channel
            }
        };
        let stamps = Stamps {
            log_nanos: message.log_time,
            publish_nanos: message.publish_time,
            sequence: message.sequence,
        };
        writer.write(channel, stamps, &message.data)?;
    }
    Ok(None)
}

/// A topic as far as it can be read: recovery drops no message because its profile is damaged.
fn topic_of(channel: &mcap::Channel<'_>) -> Topic {
    let metadata = |key: &str| channel.metadata.get(key).cloned().unwrap_or_default();
    let schema = channel.schema.as_ref();
    Topic {
        name: channel.topic.clone(),
        type_name: schema.map_or(String::new(), |schema| schema.name.clone()),
        definition: Definition {
            text: schema.map_or(String::new(), |s| String::from_utf8_lossy(&s.data).into_owned()),
            hash: metadata("topic_type_hash"),
        },
        offered_qos: parse_qos(&metadata("offered_qos_profiles")).unwrap_or_default(),
    }
}
