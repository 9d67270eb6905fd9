//! Writing a bag so that a crash costs at most half a second, and a finished bag appears at once.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcap::records::{MessageHeader, Metadata};

use super::metadata::{BagMetadata, TopicCount};
use super::output::Output;
use super::qos::qos_yaml;
use super::{BagError, Distro, QosProfile, at, mcap_at};
use crate::files::{is_removed, parent, rename, sync_folder};
use crate::message::{Stamps, Topic};
use crate::sync::Syncer;

/// The suffix of a bag's folder until it is finished.
pub const IN_PROGRESS: &str = ".recording";

/// How chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all: the least work, and rosbag2's default.
    #[default]
    None,
    /// LZ4.
    Lz4,
    /// Zstandard, on the thread that writes.
    Zstd,
}

/// How a bag is written.
#[derive(Debug, Clone)]
pub struct BagOptions {
    /// Who is to read it.
    pub distro: Distro,
    /// How chunks are compressed.
    pub compression: Compression,
    /// Uncompressed bytes after which a chunk is closed.
    pub chunk_bytes: u64,
    /// An open chunk older than this is closed and handed to the system: what a crash of the process may cost.
    pub flush_every: Duration,
    /// How often the disk is told to keep what it was handed: what a power cut may cost.
    pub sync_every: Duration,
    /// Key and value pairs for `metadata.yaml`, such as the task and the contract.
    pub custom_data: BTreeMap<String, String>,
}

impl Default for BagOptions {
    fn default() -> Self {
        Self {
            distro: Distro::default(),
            compression: Compression::default(),
            chunk_bytes: 1 << 20,
            flush_every: Duration::from_millis(400),
            sync_every: Duration::from_secs(1),
            custom_data: BTreeMap::new(),
        }
    }
}

/// Names a channel of the [`BagWriter`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelId(usize);

/// A channel's topic and what was counted on it.
#[derive(Debug)]
struct Channel {
    id: u16,
    topic: Topic,
    messages: u64,
}

/// Writes one bag into `<place>.recording/`, which [`BagWriter::finish`] renames to `<place>/`.
///
/// Not finished (crash, drop) it stays where it is, for [`super::recover_bag`]. After an error of [`BagWriter::write`]
/// (a full disk) everything up to the last flush is on the disk and nothing more can be written; the bag can be recovered.
#[derive(Debug)]
pub struct BagWriter {
    place: PathBuf,
    folder: PathBuf,
    file_name: String,
    options: BagOptions,
    mcap: McapWriter,
    syncer: Syncer,
    /// The open file, to see whether it still has a name.
    watched: File,
    channels: Vec<Channel>,
    by_name: HashMap<String, usize>,
    first_and_last: Option<(u64, u64)>,
    bytes: u64,
    open_since: Option<Instant>,
}

/// The MCAP library's writer, which prints nothing of itself.
struct McapWriter(mcap::Writer<Output>);

impl std::fmt::Debug for McapWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("McapWriter")
    }
}

impl BagWriter {
    /// Starts a bag that will appear at `place` (a folder that must not exist) when finished.
    ///
    /// # Errors
    /// Something is there already, or the file system says no.
    pub fn create(place: &Path, options: BagOptions) -> Result<Self, BagError> {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self::create_named(place, &name, options)
    }

    /// Starts a bag whose files have another name than its folder, which is going to be renamed.
    pub(super) fn create_named(place: &Path, name: &str, options: BagOptions) -> Result<Self, BagError> {
        let mut folder = place.as_os_str().to_owned();
        folder.push(IN_PROGRESS);
        let folder = PathBuf::from(folder);
        for path in [place, &folder] {
            if path.symlink_metadata().is_ok() {
                return Err(BagError::Exists { path: path.to_owned() });
            }
        }
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        let file_name = format!("{name}_0.mcap");
        let path = folder.join(&file_name);
        let file = File::create_new(&path).map_err(at(&path))?;
        sync_folder(&parent(&folder)).map_err(at(&folder))?;
        let syncer =
            Syncer::start(file.try_clone().map_err(at(&path))?, options.sync_every).map_err(at(&path))?;
        let watched = file.try_clone().map_err(at(&path))?;
        let output = Output::new(&path, file, options.compression == Compression::None);
        let mcap = McapWriter(mcap_options(&options).create(output).map_err(mcap_at(&path))?);
        Ok(Self {
            place: place.to_owned(),
            folder,
            file_name,
            options,
            mcap,
            syncer,
            watched,
            channels: Vec::new(),
            by_name: HashMap::new(),
            first_and_last: None,
            bytes: 0,
            open_since: None,
        })
    }

    /// The folder that is being written, until [`BagWriter::finish`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of messages so far.
    pub fn message_bytes(&self) -> u64 {
        self.bytes
    }

    fn file(&self) -> PathBuf {
        self.folder.join(&self.file_name)
    }

    /// Adds a topic, or finds it again. Profiles that publishers offer later go to `set_offered_qos`.
    ///
    /// # Errors
    /// The topic had another type before; rosbag2 knows one type per topic, so the episode has to end.
    pub fn channel(&mut self, topic: &Topic) -> Result<ChannelId, BagError> {
        if let Some(&index) = self.by_name.get(&topic.name) {
            let known = &self.channels[index];
            if known.topic.type_name != topic.type_name || known.topic.definition != topic.definition {
                return Err(BagError::TypeChanged {
                    topic: topic.name.clone(),
                    was: format!("{} {}", known.topic.type_name, known.topic.definition.hash),
                    came: format!("{} {}", topic.type_name, topic.definition.hash),
                });
            }
            return Ok(ChannelId(index));
        }
        let id = self.add_channel(topic).map_err(mcap_at(&self.file()))?;
        let index = self.channels.len();
        self.by_name.insert(topic.name.clone(), index);
        self.channels.push(Channel { id, topic: topic.clone(), messages: 0 });
        self.open_since.get_or_insert_with(Instant::now);
        Ok(ChannelId(index))
    }

    fn add_channel(&mut self, topic: &Topic) -> mcap::McapResult<u16> {
        let schema = match topic.definition.text.as_str() {
            "" => 0,
            text => self.mcap.0.add_schema(&topic.type_name, "ros2msg", text.as_bytes())?,
        };
        let distro = self.options.distro;
        let mut metadata = BTreeMap::new();
        metadata.insert("offered_qos_profiles".to_owned(), qos_yaml(&topic.offered_qos, distro, ""));
        if !topic.definition.hash.is_empty() {
            metadata.insert("topic_type_hash".to_owned(), topic.definition.hash.clone());
        }
        self.mcap.0.add_channel(schema, &topic.name, "cdr", &metadata)
    }

    /// Replaces what the publishers of a channel offer, for `metadata.yaml`; the MCAP channel keeps what it began with.
    pub fn set_offered_qos(&mut self, channel: ChannelId, offered: Vec<QosProfile>) {
        self.channels[channel.0].topic.offered_qos = offered;
    }

    /// Sets a pair of `metadata.yaml`, until the bag is finished.
    pub fn set_custom_data(&mut self, key: &str, value: &str) {
        self.options.custom_data.insert(key.to_owned(), value.to_owned());
    }

    /// Appends a message (its CDR bytes with the encapsulation header), and flushes when that is due.
    ///
    /// # Errors
    /// The disk is full or gone; everything up to the last flush is kept and the bag can be recovered.
    pub fn write(&mut self, channel: ChannelId, stamps: Stamps, data: &[u8]) -> Result<(), BagError> {
        let header = MessageHeader {
            channel_id: self.channels[channel.0].id,
            sequence: stamps.sequence,
            log_time: stamps.log_nanos,
            publish_time: stamps.publish_nanos,
        };
        self.open_since.get_or_insert_with(Instant::now);
        self.mcap.0.write_to_known_channel(&header, data).map_err(mcap_at(&self.file()))?;
        self.channels[channel.0].messages += 1;
        self.bytes += data.len() as u64;
        let (first, last) = self.first_and_last.unwrap_or((u64::MAX, 0));
        self.first_and_last = Some((first.min(stamps.log_nanos), last.max(stamps.log_nanos)));
        self.flush_if_due()
    }

    /// Flushes an open chunk older than `flush_every`. Call this some times per second when no message comes.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn flush_if_due(&mut self) -> Result<(), BagError> {
        match self.open_since {
            Some(since) if since.elapsed() >= self.options.flush_every => self.flush(),
            _ => Ok(()),
        }
    }

    /// Closes the open chunk and hands all to the system.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn flush(&mut self) -> Result<(), BagError> {
        self.open_since = None;
        self.mcap.0.flush().map_err(mcap_at(&self.file()))?;
        if self.watched.metadata().is_ok_and(|metadata| is_removed(&metadata)) {
            return Err(at(&self.file())(std::io::Error::other("removed while recording")));
        }
        self.syncer.check().map_err(at(&self.file()))
    }

    /// Writes indexes and metadata, syncs, and gives the bag its name.
    ///
    /// # Errors
    /// The disk is full or gone, or the name was taken meanwhile; the bag stays for recovery.
    pub fn finish(mut self) -> Result<BagMetadata, BagError> {
        let (path, metadata) = (self.file(), self.metadata());
        let record = Metadata {
            name: "rosbag2".to_owned(),
            metadata: [("serialized_metadata".to_owned(), metadata.body(self.options.distro))].into(),
        };
        self.mcap.0.write_metadata(&record).map_err(mcap_at(&path))?;
        self.mcap.0.finish().map_err(mcap_at(&path))?;
        self.syncer.finish().map_err(at(&path))?;
        self.mcap.0.into_inner().finish().map_err(at(&path))?;
        metadata.write(&self.folder, self.options.distro)?;
        rename(&self.folder, &self.place).map_err(at(&self.place))?;
        Ok(metadata)
    }

    /// Throws the bag away.
    ///
    /// # Errors
    /// The file system says no.
    pub fn discard(self) -> Result<(), BagError> {
        std::fs::remove_dir_all(&self.folder).map_err(at(&self.folder))
    }

    fn metadata(&self) -> BagMetadata {
        let (first, last) = self.first_and_last.unwrap_or((0, 0));
        let topics = self.channels.iter().map(|channel| TopicCount {
            name: channel.topic.name.clone(),
            type_name: channel.topic.type_name.clone(),
            type_hash: channel.topic.definition.hash.clone(),
            offered_qos: channel.topic.offered_qos.clone(),
            message_count: channel.messages,
        });
        BagMetadata {
            version: self.options.distro.metadata_version(),
            start_nanos: first,
            duration_nanos: last - first,
            message_count: self.channels.iter().map(|channel| channel.messages).sum(),
            topics: topics.collect(),
            files: vec![self.file_name.clone()],
            custom_data: self.options.custom_data.clone(),
            ros_distro: self.options.distro.name().to_owned(),
        }
    }
}

/// [`Output`] keeps chunks in memory until they are whole, so that a torn file ends between records or within one write.
fn mcap_options(options: &BagOptions) -> mcap::WriteOptions {
    mcap::WriteOptions::new()
        .profile("ros2")
        .library(concat!("pixio ", env!("CARGO_PKG_VERSION")))
        .compression(match options.compression {
            Compression::None => None,
            Compression::Lz4 => Some(mcap::Compression::Lz4),
            Compression::Zstd => Some(mcap::Compression::Zstd),
        })
        .compression_threads(0)
        .chunk_size(Some(options.chunk_bytes))
        // Filled in by [`Output`], but for compressed chunks.
        .calculate_chunk_crcs(options.compression != Compression::None)
        // Each chunk has its own checksum; a second one over all of them would only cost time.
        .calculate_data_section_crc(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::{BagReader, recover_bag};
    use crate::message::Definition;

    fn topic(name: &str, type_name: &str) -> Topic {
        Topic {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            definition: Definition { text: "int32 data\n".to_owned(), hash: "RIHS01_ab".to_owned() },
            offered_qos: vec![QosProfile::default()],
        }
    }

    fn stamps(number: u32) -> Stamps {
        let log_nanos = 1_000_000_000 + u64::from(number) * 1_000_000;
        Stamps { log_nanos, publish_nanos: log_nanos - 1000, sequence: number }
    }

    fn payload(number: u32) -> Vec<u8> {
        [&[0, 1, 0, 0][..], &number.to_le_bytes()].concat()
    }

    fn write_some(writer: &mut BagWriter, count: u32) {
        let a = writer.channel(&topic("/a", "std_msgs/msg/Int32")).unwrap();
        let b = writer.channel(&topic("/b", "std_msgs/msg/Int32")).unwrap();
        for number in 0..count {
            let channel = if number % 3 == 0 { b } else { a };
            writer.write(channel, stamps(number), &payload(number)).unwrap();
        }
    }

    fn read_all(bag: &BagReader) -> Vec<(String, Stamps, Vec<u8>)> {
        let messages = bag.messages().unwrap().map(|message| message.unwrap());
        messages.map(|m| (bag.topics()[m.topic].name.clone(), m.stamps, m.data)).collect()
    }

    #[test]
    fn what_is_written_is_read_whatever_the_compression() {
        let folder = tempfile::tempdir().unwrap();
        for (index, compression) in
            [Compression::None, Compression::Lz4, Compression::Zstd].into_iter().enumerate()
        {
            let place = folder.path().join(format!("bag{index}"));
            let options = BagOptions { compression, chunk_bytes: 200, ..BagOptions::default() };
            let mut writer = BagWriter::create(&place, options).unwrap();
            write_some(&mut writer, 100);
            assert!(!place.exists(), "the bag must not show before it is finished");
            let metadata = writer.finish().unwrap();
            let bag = BagReader::open(&place).unwrap();
            assert_eq!(bag.metadata(), Some(&metadata));
            assert_eq!(bag.message_count(), Some(100));
            assert_eq!(bag.topics(), [topic("/a", "std_msgs/msg/Int32"), topic("/b", "std_msgs/msg/Int32")]);
            let read = read_all(&bag);
            for (number, (name, stamp, data)) in (0..100).zip(read) {
                let expected = if number % 3 == 0 { "/b" } else { "/a" };
                assert_eq!((name.as_str(), stamp, data), (expected, stamps(number), payload(number)));
            }
        }
    }

    #[test]
    fn messages_come_back_in_the_order_of_time_when_the_clock_jumped_back() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bag");
        let mut writer = BagWriter::create(&place, BagOptions::default()).unwrap();
        let channel = writer.channel(&topic("/a", "std_msgs/msg/Int32")).unwrap();
        for number in [5, 6, 7, 1, 2] {
            writer.write(channel, stamps(number), &payload(number)).unwrap();
            writer.flush().unwrap();
        }
        let metadata = writer.finish().unwrap();
        assert_eq!((metadata.start_nanos, metadata.duration_nanos), (1_001_000_000, 6_000_000));
        let order: Vec<u32> =
            read_all(&BagReader::open(&place).unwrap()).iter().map(|m| m.1.sequence).collect();
        assert_eq!(order, [1, 2, 5, 6, 7]);
    }

    #[test]
    fn a_bag_cut_off_anywhere_gives_back_every_whole_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bag");
        let mut writer =
            BagWriter::create(&place, BagOptions { chunk_bytes: 300, ..BagOptions::default() }).unwrap();
        write_some(&mut writer, 60);
        writer.flush().unwrap();
        let whole = std::fs::read(writer.file()).unwrap();
        std::mem::forget(writer);
        let mut most = 0;
        for length in (60..=whole.len()).step_by(97).chain([whole.len()]) {
            let torn = folder.path().join("torn.mcap");
            std::fs::write(&torn, &whole[..length]).unwrap();
            assert!(matches!(BagReader::open(&torn), Err(BagError::CutOff { .. })), "{length}");
            let saved = folder.path().join(format!("saved{length}"));
            let recovery = recover_bag(&torn, &saved, Distro::Jazzy, BTreeMap::new()).unwrap();
            let read = read_all(&BagReader::open(&saved).unwrap());
            assert_eq!(read.len() as u64, recovery.metadata.message_count);
            for (number, message) in (0..).zip(&read) {
                assert_eq!(message.2, payload(number));
            }
            assert!(read.len() >= most, "a longer file gave back less");
            most = read.len();
        }
        assert_eq!(most, 60);
    }

    #[test]
    fn recovering_in_place_takes_the_name_the_bag_was_to_have() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bag");
        let mut writer = BagWriter::create(&place, BagOptions::default()).unwrap();
        write_some(&mut writer, 9);
        let source = writer.folder().to_owned();
        drop(writer);
        let custom = BTreeMap::from([("task".to_owned(), "pick".to_owned())]);
        let recovery = recover_bag(&source, &place, Distro::Humble, custom).unwrap();
        assert_eq!(recovery.metadata.message_count, 9);
        let bag = BagReader::open(&place).unwrap();
        let metadata = bag.metadata().unwrap();
        assert_eq!(metadata.version, 5);
        assert_eq!(metadata.files, ["bag_0.mcap"]);
        assert_eq!(metadata.custom_data["task"], "pick");
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "only source and bag: {left:?}");
    }

    #[test]
    fn nothing_is_overwritten_and_types_stay() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bag");
        let mut writer = BagWriter::create(&place, BagOptions::default()).unwrap();
        assert!(matches!(BagWriter::create(&place, BagOptions::default()), Err(BagError::Exists { .. })));
        let first = writer.channel(&topic("/a", "std_msgs/msg/Int32")).unwrap();
        assert_eq!(writer.channel(&topic("/a", "std_msgs/msg/Int32")).unwrap(), first);
        let error = writer.channel(&topic("/a", "std_msgs/msg/Int64")).unwrap_err().to_string();
        assert!(error.contains("expected type std_msgs/msg/Int32 RIHS01_ab as at the start"), "{error}");
        writer.finish().unwrap();
        assert!(matches!(BagWriter::create(&place, BagOptions::default()), Err(BagError::Exists { .. })));
    }

    #[test]
    fn a_discarded_bag_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = BagWriter::create(&folder.path().join("bag"), BagOptions::default()).unwrap();
        write_some(&mut writer, 9);
        writer.discard().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
