//! Reading a bag in the order of time, whoever wrote it.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use mcap::records::ChunkIndex;
use mcap::sans_io::indexed_reader::ReadOrder;
use mcap::sans_io::{
    IndexedReadEvent, IndexedReader, IndexedReaderOptions, LinearReadEvent, LinearReader,
    LinearReaderOptions, SummaryReadEvent, SummaryReader, SummaryReaderOptions,
};
use mcap::{McapError, Summary};

use super::metadata::BagMetadata;
use super::qos::parse_qos;
use super::writer::IN_PROGRESS;
use super::{BagError, at, mcap_at};
use crate::message::{Definition, Message, Stamps, Topic};

/// Above this many bytes a record or chunk is not read: the length is wrong, or it is no camera's.
pub(super) const MAX_RECORD: usize = 1 << 28;

/// A finished bag: a folder with `metadata.yaml`, a folder of MCAP files, or one MCAP file.
#[derive(Debug)]
pub struct BagReader {
    path: PathBuf,
    metadata: Option<BagMetadata>,
    topics: Vec<Topic>,
    files: Vec<BagFile>,
}

/// One MCAP file of a bag.
#[derive(Debug)]
struct BagFile {
    path: PathBuf,
    summary: Summary,
    /// Channel ids to indexes of the bag's topics.
    topics: HashMap<u16, usize>,
}

impl BagReader {
    /// Opens a bag and reads its indexes.
    ///
    /// # Errors
    /// Not a bag of ROS 2, damaged, or cut off.
    pub fn open(path: &Path) -> Result<Self, BagError> {
        let (metadata, files) = bag_files(path)?;
        let mut bag = Self { path: path.to_owned(), metadata, topics: Vec::new(), files: Vec::new() };
        for file in files {
            bag.add_file(file)?;
        }
        Ok(bag)
    }

    /// Where the bag is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `metadata.yaml` says, if there is one.
    pub fn metadata(&self) -> Option<&BagMetadata> {
        self.metadata.as_ref()
    }

    /// The bag's topics; messages name them by index.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Messages, as the files' indexes count them; `None` when a file has no statistics.
    pub fn message_count(&self) -> Option<u64> {
        self.files.iter().map(|file| Some(file.summary.stats.as_ref()?.message_count)).sum()
    }

    /// All messages: within a file by receive time (by place in a file without indexes), file after file.
    ///
    /// # Errors
    /// The file system says no, or an index is damaged.
    pub fn messages(&self) -> Result<Messages<'_>, BagError> {
        Ok(Messages { bag: self, next_file: 0, source: None })
    }

    /// The bag's MCAP files, in the order of time.
    pub(super) fn file_paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    fn add_file(&mut self, path: PathBuf) -> Result<(), BagError> {
        let mut file = File::open(&path).map_err(at(&path))?;
        check_profile(&mut file, &path)?;
        let summary = read_summary(&mut file, &path)?;
        let mut channels: Vec<_> = summary.channels.values().collect();
        channels.sort_by_key(|channel| channel.id);
        let mut topics = HashMap::new();
        for channel in channels {
            let topic = topic_of(channel, &path)?;
            let known = self.topics.iter().position(|known| known.name == topic.name);
            let index = match known {
                Some(index) if self.topics[index].type_name == topic.type_name => index,
                Some(index) => {
                    return Err(BagError::TypeChanged {
                        was: self.topics[index].type_name.clone(),
                        topic: topic.name,
                        came: topic.type_name,
                    });
                }
                None => {
                    self.topics.push(topic);
                    self.topics.len() - 1
                }
            };
            topics.insert(channel.id, index);
        }
        self.files.push(BagFile { path, summary, topics });
        Ok(())
    }
}

/// The files of a bag in the order of time, and what `metadata.yaml` says.
fn bag_files(path: &Path) -> Result<(Option<BagMetadata>, Vec<PathBuf>), BagError> {
    if path.metadata().map_err(at(path))?.is_file() {
        return Ok((None, vec![path.to_owned()]));
    }
    if path.as_os_str().to_string_lossy().ends_with(IN_PROGRESS) {
        let problem = "its folder still has the name of one in progress".to_owned();
        return Err(BagError::CutOff { path: path.to_owned(), problem });
    }
    let yaml = path.join("metadata.yaml");
    if yaml.is_file() {
        let text = std::fs::read_to_string(&yaml).map_err(at(&yaml))?;
        let parsed = BagMetadata::parse_file(&text);
        let metadata = parsed.map_err(|problem| BagError::Metadata { path: yaml.clone(), problem })?;
        let outside = |name: &&String| Path::new(name).components().count() != 1 || name.as_str() == "..";
        if let Some(name) = metadata.files.iter().find(outside) {
            let problem = format!("relative_file_paths: expected names of files beside it, got {name}");
            return Err(BagError::Metadata { path: yaml, problem });
        }
        let files = metadata.files.iter().map(|name| path.join(name)).collect();
        return Ok((Some(metadata), files));
    }
    let files = mcap_files(path)?;
    if files.is_empty() {
        return Err(BagError::NoBag { path: path.to_owned() });
    }
    Ok((None, files))
}

/// The MCAP files of a folder, `x_2` before `x_10`.
pub(super) fn mcap_files(folder: &Path) -> Result<Vec<PathBuf>, BagError> {
    let entries = std::fs::read_dir(folder).map_err(at(folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "mcap") {
            files.push(path);
        }
    }
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(files)
}

/// Refuses MCAP files of other worlds.
fn check_profile(file: &mut File, path: &Path) -> Result<(), BagError> {
    let mut reader =
        LinearReader::new_with_options(LinearReaderOptions::default().with_record_length_limit(MAX_RECORD));
    while let Some(event) = reader.next_event() {
        match event.map_err(mcap_at(path))? {
            LinearReadEvent::ReadRequest(need) => {
                let read = file.read(reader.insert(need)).map_err(at(path))?;
                reader.notify_read(read);
            }
            LinearReadEvent::Record { opcode, data } => {
                let came = match mcap::parse_record(opcode, data).map_err(mcap_at(path))? {
                    mcap::records::Record::Header(header) if header.profile == "ros2" => return Ok(()),
                    mcap::records::Record::Header(header) => format!("profile {:?}", header.profile),
                    _ => "no header record".to_owned(),
                };
                return Err(BagError::NotRos2 { path: path.to_owned(), came });
            }
        }
    }
    Err(BagError::NotRos2 { path: path.to_owned(), came: "an empty file".to_owned() })
}

fn read_summary(file: &mut File, path: &Path) -> Result<Summary, BagError> {
    let size = file.metadata().map_err(at(path))?.len();
    let options = SummaryReaderOptions::default().with_file_size(size).with_record_length_limit(MAX_RECORD);
    let mut reader = SummaryReader::new_with_options(options);
    let cut_off = |problem: String| BagError::CutOff { path: path.to_owned(), problem };
    while let Some(event) = reader.next_event() {
        match event.map_err(|error| cut_off(super::chain(&error)))? {
            SummaryReadEvent::ReadRequest(need) => {
                let read = file.read(reader.insert(need)).map_err(at(path))?;
                reader.notify_read(read);
            }
            SummaryReadEvent::SeekRequest(to) => reader.notify_seeked(file.seek(to).map_err(at(path))?),
        }
    }
    let summary = reader.finish().ok_or_else(|| cut_off("no summary at its end".to_owned()))?;
    check_chunks(&summary.chunk_indexes, size).map_err(mcap_at(path))?;
    Ok(summary)
}

/// Refuses chunk indexes that point outside the file or twice to one place, before anything is allocated for them.
fn check_chunks(chunks: &[ChunkIndex], size: u64) -> Result<(), McapError> {
    let mut places = BTreeSet::new();
    for chunk in chunks {
        let start = chunk.compressed_data_offset()?;
        let end = start.checked_add(chunk.compressed_size).ok_or(McapError::BadIndex)?;
        if end > size || !places.insert(start) || chunk.message_start_time > chunk.message_end_time {
            return Err(McapError::BadIndex);
        }
    }
    Ok(())
}

fn topic_of(channel: &mcap::Channel<'_>, path: &Path) -> Result<Topic, BagError> {
    if channel.message_encoding != "cdr" {
        let came = format!("encoding {:?} of topic {}", channel.message_encoding, channel.topic);
        return Err(BagError::NotRos2 { path: path.to_owned(), came });
    }
    let profiles = channel.metadata.get("offered_qos_profiles").map_or("", String::as_str);
    let offered_qos = parse_qos(profiles).map_err(|problem| BagError::Metadata {
        path: path.to_owned(),
        problem: format!("{}: offered_qos_profiles: {problem}", channel.topic),
    })?;
    let schema = channel.schema.as_ref();
    // Other encodings of definitions (ros2idl) are not read: such topics are played and copied, not decoded.
    let readable = schema.filter(|schema| schema.encoding == "ros2msg");
    let text = readable.map_or(String::new(), |schema| String::from_utf8_lossy(&schema.data).into_owned());
    Ok(Topic {
        name: channel.topic.clone(),
        type_name: schema.map_or(String::new(), |schema| schema.name.clone()),
        definition: Definition {
            text,
            hash: channel.metadata.get("topic_type_hash").cloned().unwrap_or_default(),
        },
        offered_qos,
    })
}

/// Iterates over the messages of a [`BagReader`]; ends after the first error.
pub struct Messages<'a> {
    bag: &'a BagReader,
    next_file: usize,
    source: Option<Source>,
}

impl std::fmt::Debug for Messages<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Messages({}, file {})", self.bag.path.display(), self.next_file)
    }
}

/// How the open file is read.
enum Source {
    Indexed { file: File, reader: Box<IndexedReader>, buffer: Vec<u8> },
    Linear(Box<mcap::io::MessageReader<BufReader<File>>>),
}

impl Source {
    fn open(file: &BagFile) -> Result<Self, BagError> {
        let path = &file.path;
        let opened = File::open(path).map_err(at(path))?;
        if file.summary.chunk_indexes.is_empty() {
            let options = LinearReaderOptions::default().with_record_length_limit(MAX_RECORD);
            let reader = mcap::io::MessageReader::new_with_options(BufReader::new(opened), options);
            return Ok(Self::Linear(Box::new(reader)));
        }
        let options =
            IndexedReaderOptions::new().with_order(ReadOrder::LogTime).with_record_length_limit(MAX_RECORD);
        let reader = IndexedReader::new_with_options(&file.summary, options).map_err(mcap_at(path))?;
        Ok(Self::Indexed { file: opened, reader: Box::new(reader), buffer: Vec::new() })
    }

    /// The next message with its channel's id.
    fn next(&mut self) -> Result<Option<(u16, Stamps, Vec<u8>)>, McapError> {
        match self {
            Self::Linear(reader) => Ok(reader.next().transpose()?.map(|message| {
                let stamps = Stamps {
                    log_nanos: message.log_time,
                    publish_nanos: message.publish_time,
                    sequence: message.sequence,
                };
                (message.channel.id, stamps, message.data.into_owned())
            })),
            Self::Indexed { file, reader, buffer } => next_indexed(file, reader, buffer),
        }
    }
}

fn next_indexed(
    file: &mut File,
    reader: &mut IndexedReader,
    buffer: &mut Vec<u8>,
) -> Result<Option<(u16, Stamps, Vec<u8>)>, McapError> {
    while let Some(event) = reader.next_event() {
        match event? {
            IndexedReadEvent::ReadChunkRequest { offset, length } => {
                file.seek(SeekFrom::Start(offset))?;
                buffer.resize(length, 0);
                file.read_exact(buffer)?;
                reader.insert_chunk_record_data(offset, buffer)?;
            }
            IndexedReadEvent::Message { header, data } => {
                let stamps = Stamps {
                    log_nanos: header.log_time,
                    publish_nanos: header.publish_time,
                    sequence: header.sequence,
                };
                return Ok(Some((header.channel_id, stamps, data.to_vec())));
            }
        }
    }
    Ok(None)
}

impl Messages<'_> {
    fn advance(&mut self) -> Result<Option<Message>, BagError> {
        loop {
            if let Some(source) = &mut self.source {
                let file = &self.bag.files[self.next_file - 1];
                if let Some((channel, stamps, data)) = source.next().map_err(mcap_at(&file.path))? {
                    let unknown = McapError::UnknownChannel(stamps.sequence, channel);
                    let topic = file.topics.get(&channel).ok_or(unknown).map_err(mcap_at(&file.path))?;
                    return Ok(Some(Message { topic: *topic, stamps, data }));
                }
            }
            let Some(file) = self.bag.files.get(self.next_file) else { return Ok(None) };
            self.source = Some(Source::open(file)?);
            self.next_file += 1;
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, BagError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.next_file = self.bag.files.len();
            self.source = None;
        }
        next
    }
}
