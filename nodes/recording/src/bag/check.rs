//! Every rule that a bag must keep to be played, read and converted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use mcap::sans_io::LinearReaderOptions;

use super::reader::MAX_RECORD;
use super::{BagError, BagMetadata, BagReader, at, mcap_at};
use crate::cdr::Schema;
use crate::message::Topic;
use crate::report::Report;

/// What was counted on one topic.
#[derive(Default)]
struct Tally {
    messages: u64,
    undecodable: Option<(u64, String)>,
    undecodable_count: u64,
    last_sequence: Option<u32>,
    skipped: u64,
    sent_after_receipt: u64,
}

/// Checks a bag: indexes, counts, checksums, and every message against its definition. `progress` is told the messages
/// done.
///
/// # Errors
/// It cannot even be opened, or is damaged where no further message can be read.
pub fn check_bag(path: &Path, mut progress: impl FnMut(u64)) -> Result<Report, BagError> {
    let bag = BagReader::open(path)?;
    let mut report = Report { episodes: 1, ..Report::default() };
    let schemas: BTreeMap<&str, Result<Schema, String>> = bag.topics().iter().map(schema_of).collect();
    for (topic, schema) in &schemas {
        if let Err(problem) = schema {
            report.remark(*topic, problem.clone());
        }
    }
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut bounds: Option<(u64, u64)> = None;
    for file in bag.file_paths() {
        // File order, checking each chunk's checksum, as the indexes' order does not.
        let opened = BufReader::new(File::open(file).map_err(at(file))?);
        let options = LinearReaderOptions::default()
            .with_prevalidate_chunk_crcs(true)
            .with_record_length_limit(MAX_RECORD);
        for message in mcap::io::MessageReader::new_with_options(opened, options) {
            let message = message.map_err(mcap_at(file))?;
            let tally = tallies.entry(message.channel.topic.clone()).or_default();
            tally.add(&message, schemas.get(message.channel.topic.as_str()));
            let (first, last) = bounds.unwrap_or((u64::MAX, 0));
            bounds = Some((first.min(message.log_time), last.max(message.log_time)));
            report.items += 1;
            if report.items.is_multiple_of(256) {
                progress(report.items);
            }
        }
    }
    if let Some(indexed) = bag.message_count()
        && indexed != report.items
    {
        report.broken("statistics", format!("the file says {indexed} messages, there are {}", report.items));
    }
    for (topic, tally) in &tallies {
        tally.report(topic, &mut report);
    }
    match bag.metadata() {
        Some(metadata) => check_metadata(metadata, &tallies, bounds, &mut report),
        None => report.remark("metadata.yaml", "there is none; `pixio dataset recover` writes it"),
    }
    Ok(report)
}

fn schema_of(topic: &Topic) -> (&str, Result<Schema, String>) {
    let schema = match topic.definition.text.as_str() {
        "" => Err(format!("no ros2msg definition of {}: its messages cannot be decoded", topic.type_name)),
        text => Schema::parse(&topic.type_name, text).map_err(|error| error.to_string()),
    };
    (&topic.name, schema)
}

impl Tally {
    fn add(&mut self, message: &mcap::Message<'_>, schema: Option<&Result<Schema, String>>) {
        if let Some(Ok(schema)) = schema
            && let Err(error) = schema.decode(&message.data)
        {
            self.undecodable_count += 1;
            self.undecodable.get_or_insert((self.messages, error.to_string()));
        }
        if let Some(last) =
            self.last_sequence.filter(|last| *last > 0 && message.sequence > last.saturating_add(1))
        {
            self.skipped += u64::from(message.sequence - last - 1);
        }
        self.last_sequence = Some(message.sequence);
        self.sent_after_receipt += u64::from(message.publish_time > message.log_time);
        self.messages += 1;
    }

    fn report(&self, topic: &str, report: &mut Report) {
        if let Some((number, error)) = &self.undecodable {
            let count = self.undecodable_count;
            report.broken(
                topic,
                format!("{count} messages do not fit their definition; the first is {number}: {error}"),
            );
        }
        if self.skipped > 0 {
            report.remark(
                topic,
                format!("sequence numbers skip {} messages: lost before the recorder", self.skipped),
            );
        }
        if self.sent_after_receipt > 0 {
            let count = self.sent_after_receipt;
            report.remark(topic, format!("{count} messages sent after they were received: clocks differ"));
        }
    }
}

fn check_metadata(
    metadata: &BagMetadata,
    tallies: &BTreeMap<String, Tally>,
    bounds: Option<(u64, u64)>,
    report: &mut Report,
) {
    let mut expect = |what: String, said: u64, came: u64| {
        if said != came {
            report.broken("metadata.yaml", format!("{what}: says {said}, there are {came}"));
        }
    };
    let total = tallies.values().map(|tally| tally.messages).sum();
    expect("message_count".to_owned(), metadata.message_count, total);
    if let Some((first, last)) = bounds {
        expect("starting_time".to_owned(), metadata.start_nanos, first);
        expect("duration".to_owned(), metadata.duration_nanos, last - first);
    }
    for topic in &metadata.topics {
        let came = tallies.get(&topic.name).map_or(0, |tally| tally.messages);
        expect(format!("messages of {}", topic.name), topic.message_count, came);
    }
    for topic in tallies.keys().filter(|topic| !metadata.topics.iter().any(|known| known.name == **topic)) {
        report.broken("metadata.yaml", format!("topic {topic} is missing"));
    }
}
