//! The rows of a bag.

use std::sync::Arc;

use super::events::{EVENT_TOPIC, Event};
use super::{AlignError, Aligner, Bytes, Quality};
use crate::bag::{BagError, BagReader, Messages};
use crate::contract::Contract;
use crate::dataset::Row;

/// Rows of a bag could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The bag could not be read.
    #[error(transparent)]
    Bag(#[from] BagError),
    /// A stream of the contract does not go with the bag.
    #[error(transparent)]
    Align(#[from] AlignError),
    /// A topic of the contract has another type in the bag.
    #[error("topic {topic}: expected {expected} as in the contract, the bag has {came}")]
    Type {
        /// The topic.
        topic: String,
        /// The contract's type.
        expected: String,
        /// The bag's type.
        came: String,
    },
}

/// The rows that the contract makes of a bag: the same as were made while it was recorded.
#[derive(Debug)]
pub struct BagRows<'b> {
    messages: Messages<'b>,
    /// Streams of the contract by the bag's topics.
    streams: Vec<Option<usize>>,
    events: Option<usize>,
    aligner: Aligner,
    quality: Quality,
    task: Option<String>,
    refused: Vec<AlignError>,
    newest: u64,
    /// A pause was read, and the rows before it are not all made yet.
    pausing: bool,
}

impl<'b> BagRows<'b> {
    /// The rows of a bag.
    ///
    /// # Errors
    /// The bag does not go with the contract.
    pub fn new(bag: &'b BagReader, contract: &Contract) -> Result<Self, RowsError> {
        let mut aligner = Aligner::new(contract);
        let mut streams = Vec::new();
        for topic in bag.topics() {
            let stream = contract.streams.iter().position(|stream| stream.topic == topic.name);
            if let Some(index) = stream {
                let expected = &contract.streams[index].kind;
                if *expected != topic.type_name {
                    let (expected, came) = (expected.clone(), topic.type_name.clone());
                    return Err(RowsError::Type { topic: topic.name.clone(), expected, came });
                }
                aligner.define(index, &topic.definition)?;
            }
            streams.push(stream);
        }
        let events = bag.topics().iter().position(|topic| topic.name == EVENT_TOPIC);
        let (messages, quality) = (bag.messages()?, Quality::new(contract));
        Ok(Self {
            messages,
            streams,
            events,
            aligner,
            quality,
            task: None,
            refused: Vec::new(),
            newest: 0,
            pausing: false,
        })
    }

    /// What the bag says of its beginning, if a recorder of ours made it.
    ///
    /// # Errors
    /// The bag cannot be read.
    pub fn start_event(bag: &BagReader) -> Result<Option<Event>, BagError> {
        let Some(events) = bag.topics().iter().position(|topic| topic.name == EVENT_TOPIC) else {
            return Ok(None);
        };
        for message in bag.messages()? {
            let message = message?;
            if message.topic == events {
                return Ok(Event::from_cdr(&message.data));
            }
        }
        Ok(None)
    }

    /// The task that the bag names, once its first message has been read.
    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// Streams that no message has come from, so that rows could not begin.
    pub fn awaited(&self) -> Vec<&str> {
        self.aligner.awaited()
    }

    /// What was seen so far, for the gate.
    pub fn quality(&self) -> &Quality {
        &self.quality
    }

    /// Messages that could not be used, since this was last asked.
    pub fn take_errors(&mut self) -> Vec<AlignError> {
        let mut errors = std::mem::take(&mut self.refused);
        errors.extend(self.aligner.take_errors());
        errors
    }

    fn event(&mut self, log_nanos: u64, event: Option<Event>) {
        match event {
            Some(Event::Start { task, .. }) => {
                self.quality.resume(log_nanos);
                self.task = Some(task);
            }
            Some(Event::Pause) => {
                self.aligner.settle(log_nanos);
                self.pausing = true;
                self.quality.pause(log_nanos);
            }
            Some(Event::Resume) => {
                self.aligner.resume();
                self.quality.resume(log_nanos);
            }
            Some(Event::Stop { .. }) => {
                self.aligner.settle(log_nanos);
                self.quality.pause(log_nanos);
            }
            None => {}
        }
    }
}

impl Iterator for BagRows<'_> {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = self.aligner.row();
            self.quality.misses(self.aligner.misses());
            if let Some(row) = row {
                self.quality.row(&row);
                return Some(Ok(row));
            }
            if std::mem::take(&mut self.pausing) {
                self.aligner.pause();
            }
            let message = match self.messages.next() {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Some(Err(error.into())),
                None => {
                    // A bag of another recorder, or one that was cut off, does not say that it ends.
                    self.quality.pause(self.newest);
                    return None;
                }
            };
            let log_nanos = message.stamps.log_nanos;
            self.newest = log_nanos;
            if Some(message.topic) == self.events {
                self.event(log_nanos, Event::from_cdr(&message.data));
                continue;
            }
            let Some(stream) = self.streams[message.topic] else { continue };
            self.quality.message(stream, log_nanos);
            let bytes: Bytes = Arc::new(message.data);
            if let Err(error) = self.aligner.push(stream, log_nanos, &bytes) {
                self.refused.push(error);
            }
        }
    }
}
