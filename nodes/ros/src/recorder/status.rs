//! What the recorder tells of itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use recording::align::StreamState;
use recording::contract::Contract;
use serde_json::{Value, json};

use crate::diagnostics::Status;

/// What is going on at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub state: &'static str,
    pub task: String,
    pub episode: u64,
    pub seconds: f64,
    pub rows: u64,
    pub messages: u64,
    pub streams: Vec<StreamState>,
    pub missed: Vec<u64>,
    pub now_nanos: u64,
    pub awaited: Vec<String>,
    pub warnings: Vec<String>,
    pub disk_free_bytes: Option<u64>,
    /// Bytes that wait to be written, and the most that ever did.
    pub queue: (usize, usize),
    pub last: String,
}

/// Where the desk leaves snapshots and the spinning thread finds them.
pub(super) struct Board {
    names: Vec<String>,
    /// Streams that messages are expected of.
    expected: Vec<bool>,
    seen: Mutex<Snapshot>,
}

impl Board {
    pub fn new(contract: &Contract) -> Self {
        let names = contract.streams.iter().map(|stream| stream.name.clone()).collect();
        let expected = contract.streams.iter().map(|stream| stream.rate_hz > 0.0).collect();
        Self { names, expected, seen: Mutex::new(Snapshot { state: "idle", ..Snapshot::default() }) }
    }

    pub fn show(&self, snapshot: Snapshot) {
        *self.seen() = snapshot;
    }

    fn seen(&self) -> MutexGuard<'_, Snapshot> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `~/status`.
    pub fn json(&self) -> String {
        let seen = self.seen().clone();
        let streams: serde_json::Map<String, Value> =
            (0..seen.streams.len()).map(|index| (self.names[index].clone(), stream(&seen, index))).collect();
        json!({
            "state": seen.state,
            "task": seen.task,
            "episode": seen.episode,
            "seconds": round(seen.seconds),
            "rows": seen.rows,
            "messages": seen.messages,
            "streams": streams,
            "awaited": seen.awaited,
            "warnings": seen.warnings,
            "disk_free_mb": seen.disk_free_bytes.map(|bytes| bytes >> 20),
            "queue_mb": round(seen.queue.0 as f64 / 1e6),
            "queue_peak_mb": round(seen.queue.1 as f64 / 1e6),
            "last": seen.last,
        })
        .to_string()
    }

    /// For `/diagnostics`.
    pub fn diagnostics(&self) -> Vec<Status> {
        let seen = self.seen().clone();
        let mut whole = Status::new("", seen.state);
        seen.warnings.iter().for_each(|warning| whole.warn(warning));
        whole.value("episode", seen.episode);
        whole.number("seconds", Some(seen.seconds));
        whole.value("rows", seen.rows);
        whole.number("disk_free_gb", seen.disk_free_bytes.map(|bytes| bytes as f64 / 1e9));
        whole.number("queue_mb", Some(seen.queue.0 as f64 / 1e6));
        let mut all = vec![whole];
        for (index, state) in seen.streams.iter().enumerate() {
            let mut status = Status::new(&*self.names[index], "ok");
            if state.messages == 0 && self.expected[index] {
                status.warn("no message has come yet");
            }
            if seen.missed[index] > 0 {
                status.warn(format!("{} messages were lost or dropped since the start", seen.missed[index]));
            }
            status.number("rate_hz", Some(state.rate_hz(seen.now_nanos)));
            status.number("age_s", age(&seen, state));
            status.value("lost", seen.missed[index]);
            all.push(status);
        }
        all
    }
}

fn stream(seen: &Snapshot, index: usize) -> Value {
    let state = &seen.streams[index];
    json!({
        "hz": round(state.rate_hz(seen.now_nanos)),
        "age_s": age(seen, state).map(round),
        "longest_gap_s": round(state.longest_gap_nanos as f64 / 1e9),
        "messages": state.messages,
        "lost": seen.missed[index],
    })
}

/// Seconds since its last message, if one came.
fn age(seen: &Snapshot, state: &StreamState) -> Option<f64> {
    (state.messages > 0).then(|| seen.now_nanos.saturating_sub(state.newest_nanos) as f64 / 1e9)
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
