//! What the desk tells: warnings, the status, what became of an episode.

use std::path::Path;
use std::time::Instant;

use recording::align::Quality;
use recording::contract::Stream;
use recording::session::{Outcome, State};

use super::{Desk, Phase};
use crate::recorder::status::Snapshot;

impl Desk {
    /// Streams of tokens that come from another encoder than the contract's.
    pub(super) fn encoder_problems(&self) -> Vec<String> {
        let streams = self.settings.contract.streams.iter().zip(&self.encoders);
        let problem = |(stream, came): (&Stream, &Option<String>)| {
            let (expected, came) = (&stream.tokens.as_ref()?.encoder_id, came.as_ref()?);
            Some(format!(
                "{}: expected tokens of encoder {expected}, as in the contract, got those of {came}; they are not recorded",
                stream.name
            ))
        };
        streams.filter_map(problem).collect()
    }

    pub(super) fn disk_problem(&self) -> Option<String> {
        let free = self.disk.1.filter(|free| *free < self.settings.min_free_bytes)?;
        Some(format!(
            "{}: expected {} MB free (min_free_mb), there are {}",
            self.settings.root.display(),
            self.settings.min_free_bytes >> 20,
            free >> 20
        ))
    }

    /// Puts what is going on where the spinning thread sees it, and warns.
    pub(super) fn show(&mut self) {
        let now = self.now();
        let quality = self.session.quality();
        let mut warnings: Vec<String> = quality
            .as_ref()
            .map_or(Vec::new(), |q| q.warnings(now).iter().map(ToString::to_string).collect());
        let (problems, awaited) = self.session.take_row_problems();
        for (stream, kind) in self.settings.contract.streams.iter().zip(&self.foreign) {
            let wrong = kind
                .as_ref()
                .map(|kind| format!("{}: published as {kind}, not {}", stream.name, stream.kind));
            warnings.extend(wrong);
        }
        warnings.extend(self.disk_problem());
        warnings.extend(self.encoder_problems());
        warnings.extend(self.session.rows_failed().map(|reason| format!("no more rows: {reason}")));
        let told: Vec<_> = problems.iter().chain(&warnings).cloned().collect();
        if self.session.state() == State::Recording
            && !told.is_empty()
            && let Some(more) = self.warnings.ready(Instant::now())
        {
            let more = if more == 0 { String::new() } else { format!(" ({more} more warnings not logged)") };
            self.logger.warn(format!("{}{more}", told.join("; ")));
        }
        let state = match self.phase {
            Phase::Reset(_) => "resetting",
            _ => self.session.state().name(),
        };
        self.board.show(Snapshot {
            state,
            task: self.task.clone(),
            episode: self.session.episodes(),
            seconds: quality.as_ref().map_or(0.0, |quality| quality.seconds(now)),
            rows: quality.as_ref().map_or(0, Quality::rows),
            messages: self.session.messages(),
            streams: self.watch.streams().to_vec(),
            missed: self.missed.clone(),
            now_nanos: now,
            awaited: if state == "recording" { awaited } else { Vec::new() },
            warnings,
            disk_free_bytes: self.disk.1,
            queue: self.queue.bytes(),
            last: self.last.clone(),
        });
    }
}

/// What became of an episode, in a sentence.
pub(super) fn describe(outcome: &Outcome) -> String {
    let what = match (outcome.kept, outcome.episode) {
        (true, Some(episode)) => format!("episode {episode} kept"),
        (true, None) => "bag kept".to_owned(),
        (false, _) => "episode REJECTED by the gate".to_owned(),
    };
    let mut text = format!(
        "{what}: {:.1} s, {} messages, {} rows, {}",
        outcome.seconds,
        outcome.messages,
        outcome.rows,
        outcome.bag.display()
    );
    if outcome.rows_from_bag {
        text.push_str("; the rows were made from the bag, because making them live fell behind");
    }
    for failure in &outcome.failures {
        text.push_str(&format!("; {failure}"));
    }
    text
}

/// Bytes that are free where a folder is, or would be.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
