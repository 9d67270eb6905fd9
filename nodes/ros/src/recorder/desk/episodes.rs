//! Episodes, as the operator and their time begin and end them.

use std::time::{Duration, Instant};

use recording::Stamps;
use recording::contract::Align;
use recording::session::{SessionError, State};

use super::telling::{describe, free_bytes};
use super::{Desk, Phase};
use crate::clock::NOT_HEARD;

impl Desk {
    pub(super) fn begin(&mut self) -> Result<String, String> {
        // Stamps of 0, and then of some day, would make an episode of years.
        if !self.clock.is_known() {
            return Err(format!("{NOT_HEARD}: an episode's messages need their time of arrival"));
        }
        self.disk = (Instant::now(), free_bytes(&self.settings.root));
        if let Some(problem) = self.disk_problem() {
            return Err(problem);
        }
        if let Some(problem) = self.encoder_problems().pop() {
            return Err(problem);
        }
        // What waits was received before the episode.
        while let Some(message) = self.queue.take(Duration::ZERO) {
            self.message(message);
        }
        let number = self.session.episodes();
        self.session.start(&self.task, self.now()).map_err(|error| error.to_string())?;
        self.latest.begin();
        self.record_latest(u64::MAX)?;
        if self.run_left == 0 {
            self.run_left = self.settings.episodes;
        }
        self.phase = Phase::Episode;
        self.count_missed();
        Ok(format!("recording episode {number}: {}", self.task))
    }

    pub(super) fn end(&mut self, reason: &str) -> Result<String, String> {
        self.drain();
        self.count_missed();
        let outcome = self.session.stop(reason, self.now()).map_err(|error| error.to_string());
        self.phase = Phase::Waiting;
        let in_run = self.run_left > 0;
        if outcome.as_ref().is_ok_and(|outcome| outcome.kept) {
            self.run_left = self.run_left.saturating_sub(1);
        }
        if self.run_left > 0 {
            self.phase = Phase::Reset(Instant::now() + self.settings.reset);
        } else if in_run {
            self.logger.info("all episodes of the run are recorded");
        }
        let outcome = outcome?;
        let text = describe(&outcome);
        self.last.clone_from(&text);
        // A rejected episode is an answer that fails, whoever asked.
        if outcome.kept { Ok(text) } else { Err(text) }
    }

    /// The next episode of a run, now that its reset time is over. What keeps it from beginning is told once: the operator begins
    /// it then.
    pub(super) fn begin_next(&mut self) -> Result<String, String> {
        let begun = self.begin();
        if begun.is_err() {
            self.phase = Phase::Waiting;
        }
        begun
    }

    /// Between the episodes of a run: no more of them.
    pub(super) fn end_run(&mut self) -> Result<String, String> {
        self.phase = Phase::Waiting;
        let left = std::mem::take(&mut self.run_left);
        Ok(format!("the run ends here; {left} of its episodes are not recorded"))
    }

    /// What was received before the end, or a pause, belongs to the episode.
    fn drain(&mut self) {
        let end = self.now() as i64;
        while self.session.state() == State::Recording
            && let Some(message) = self.queue.take(Duration::ZERO)
        {
            let later = !self.clock.is_simulated() && message.received_ns > end;
            self.message(message);
            if later {
                break;
            }
        }
    }

    /// Records what was said before and still holds, as received now: of latched topics the newest of each publisher, of streams
    /// that hold the newest. Late listeners would get it too, and nobody says it again.
    fn record_latest(&mut self, until_nanos: u64) -> Result<(), String> {
        for (stream, of) in self.settings.contract.streams.iter().enumerate() {
            if !self.latched[stream] && of.align != Some(Align::Hold) {
                continue;
            }
            for (stamps, bytes) in self.latest.take(stream, self.latched[stream], until_nanos) {
                // The session takes no stamp before its newest: that of the start.
                let stamps = Stamps { log_nanos: self.session.newest(), ..stamps };
                if let Err(error) = self.session.message(stream, stamps, &bytes) {
                    self.session.abandon();
                    self.phase = Phase::Waiting;
                    return Err(error.to_string());
                }
            }
        }
        Ok(())
    }

    pub(super) fn discard(&mut self) -> Result<String, String> {
        self.session.discard().map_err(|error| error.to_string())?;
        self.phase = Phase::Waiting;
        self.run_left = 0;
        Ok("episode thrown away".to_owned())
    }

    pub(super) fn again(&mut self) -> Result<String, String> {
        if let Phase::Reset(_) = self.phase {
            return self.take_back();
        }
        self.session.discard().map_err(|error| error.to_string())?;
        self.run_left = self.run_left.max(1);
        self.phase = Phase::Reset(Instant::now() + self.settings.reset);
        Ok("episode thrown away; it is recorded again".to_owned())
    }

    /// Between the episodes of a run the last one can still be taken back.
    fn take_back(&mut self) -> Result<String, String> {
        let bag = self.session.take_back().map_err(|error| error.to_string())?;
        self.run_left += 1;
        self.phase = Phase::Reset(Instant::now() + self.settings.reset);
        let text =
            format!("the last episode is taken back, its bag is now {}; it is recorded again", bag.display());
        self.last.clone_from(&text);
        Ok(text)
    }

    pub(super) fn pause(&mut self) -> Result<String, String> {
        self.drain();
        self.session.pause(self.now()).map_err(|error| error.to_string())?;
        Ok("paused".to_owned())
    }

    pub(super) fn resume(&mut self) -> Result<String, String> {
        while let Some(message) = self.queue.take(Duration::ZERO) {
            self.message(message);
        }
        self.session.resume(self.now()).map_err(|error| error.to_string())?;
        self.record_latest(u64::MAX)?;
        Ok("recording goes on".to_owned())
    }

    pub(super) fn highlight(&mut self) -> Result<String, String> {
        if self.settings.highlight.is_zero() {
            return Err("expected parameter highlight_seconds above 0: nothing is held".to_owned());
        }
        let entries = self.ring.take();
        let Some((_, stamps, _)) = entries.first() else { return Err("nothing has come yet".to_owned()) };
        self.session.start(&self.task, stamps.log_nanos).map_err(|error| error.to_string())?;
        self.latest.begin();
        self.record_latest(stamps.log_nanos)?;
        let mut last = stamps.log_nanos;
        for (stream, stamps, bytes) in &entries {
            last = last.max(stamps.log_nanos);
            if let Err(error) = self.session.message(*stream, *stamps, bytes) {
                self.session.abandon();
                return Err(error.to_string());
            }
        }
        let outcome = self.session.stop("highlight", last).map_err(|error| error.to_string())?;
        let text = describe(&outcome);
        self.last.clone_from(&text);
        if outcome.kept { Ok(text) } else { Err(text) }
    }

    pub(super) fn finish(&mut self) -> Result<String, String> {
        self.stop.set();
        match self.session.state() {
            State::Idle => Ok("stopping".to_owned()),
            _ => self.end("the operator stopped"),
        }
    }

    pub(super) fn set_task(&mut self, task: String) -> Result<String, String> {
        if task.trim().is_empty() {
            return Err("~/task: expected a sentence, got nothing".to_owned());
        }
        self.task = task;
        Ok(format!("task: {}", self.task))
    }

    /// Ends an episode that cannot be continued: keeps what there is if the disk lets it.
    pub(super) fn cannot_go_on(&mut self, error: &SessionError) {
        self.logger.error(error.to_string());
        self.phase = Phase::Waiting;
        self.run_left = 0;
        if matches!(error, SessionError::ClockBack(_)) {
            let stopped = self.session.stop(&error.to_string(), 0).map(|outcome| describe(&outcome));
            self.last = stopped.unwrap_or_else(|error| error.to_string());
            self.logger.warn(&self.last);
        } else {
            self.session.abandon();
            self.last = format!("{error}; what was written is saved when the node starts again");
        }
    }

    pub(super) fn is_time_up(&self) -> bool {
        let seconds = self.session.quality().map_or(0.0, |quality| quality.seconds(self.now()));
        self.settings.episode.is_some_and(|longest| seconds >= longest.as_secs_f64())
    }
}
