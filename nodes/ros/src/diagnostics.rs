//! `/diagnostics`, once a second.

use std::time::{Duration, Instant};

use anyhow::Result;
use r2r::diagnostic_msgs::msg::{DiagnosticArray, DiagnosticStatus, KeyValue};
use r2r::std_msgs::msg::Header;
use r2r::{Publisher, QosProfile};

use crate::clock::NOT_HEARD;
use crate::declare::{Direction, Topic};
use crate::ros_node::RosNode;

const PERIOD: Duration = Duration::from_secs(1);

/// `/diagnostics` in the table of a node that has them.
pub const TOPIC: Topic = Topic {
    name: "/diagnostics",
    kind: "diagnostic_msgs/msg/DiagnosticArray",
    direction: Direction::Out,
    per_camera: false,
    qos: "reliable, volatile, keep last 1",
    description: "once a second: OK, WARN or ERROR with the reasons, rates, losses, ages, what runs",
};

/// How a part of the node is; numbers of `diagnostic_msgs/msg/DiagnosticStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    #[default]
    Ok = 0,
    /// Works, but someone should look at it.
    Warn = 1,
    /// Does not do its work.
    Error = 2,
}

/// One part of a node: its level is the worst of its reasons.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    name: String,
    level: Level,
    reasons: Vec<String>,
    fine: String,
    values: Vec<(&'static str, String)>,
}

impl Status {
    /// A part of this name (empty for the node as a whole); `fine` is what it says when nothing is wrong.
    pub fn new(name: impl Into<String>, fine: impl Into<String>) -> Self {
        Self { name: name.into(), fine: fine.into(), ..Self::default() }
    }

    /// Adds a reason to look at it.
    pub fn warn(&mut self, reason: impl Into<String>) {
        self.because(Level::Warn, reason.into());
    }

    /// Adds a reason why it does not work.
    pub fn error(&mut self, reason: impl Into<String>) {
        self.because(Level::Error, reason.into());
    }

    fn because(&mut self, level: Level, reason: String) {
        // The worst comes first, for whoever shows only the beginning.
        let at = if level > self.level { 0 } else { self.reasons.len() };
        self.level = self.level.max(level);
        self.reasons.insert(at, reason);
    }

    /// Adds a value.
    pub fn value(&mut self, key: &'static str, value: impl ToString) {
        self.values.push((key, value.to_string()));
    }

    /// Adds a number with a digit or two, or `unknown`.
    pub fn number(&mut self, key: &'static str, value: Option<f64>) {
        self.values.push((key, value.map_or("unknown".to_owned(), |value| format!("{value:.2}"))));
    }

    /// The level so far.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The reasons so far.
    pub fn message(&self) -> String {
        if self.reasons.is_empty() { self.fine.clone() } else { self.reasons.join("; ") }
    }
}

/// Publishes the diagnostics of a node.
pub struct Diagnostics {
    publisher: Publisher<DiagnosticArray>,
    due: Instant,
}

impl Diagnostics {
    /// Diagnostics of a node.
    ///
    /// # Errors
    /// When the middleware refuses the topic.
    pub fn new(ros: &mut RosNode) -> Result<Self> {
        let publisher = ros.publisher("/diagnostics", QosProfile::default().keep_last(1).reliable())?;
        Ok(Self { publisher, due: Instant::now() + PERIOD })
    }

    /// Publishes what `report` tells, of the node as a whole first, when a second has passed, by the machine's clock; `hardware` is what
    /// it runs on. Every node warns of a ROS time that there is not.
    pub fn turn(&mut self, ros: &RosNode, hardware: &str, report: impl FnOnce(Instant) -> Vec<Status>) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = (self.due + PERIOD).max(now);
        let node = ros.full_name().trim_start_matches('/');
        let header = Header { stamp: ros.clock.now(), frame_id: String::new() };
        let statuses = with_time(report(now), ros.clock.is_known());
        let status = statuses.into_iter().map(|status| message(node, hardware, status)).collect();
        if let Err(error) = self.publisher.publish(&DiagnosticArray { header, status }) {
            ros.logger.error(format!("/diagnostics: cannot publish: {error}"));
        }
    }
}

/// Adds to the status of the node as a whole, the first, that there is no ROS time.
fn with_time(mut statuses: Vec<Status>, is_known: bool) -> Vec<Status> {
    if let Some(whole) = statuses.first_mut().filter(|_| !is_known) {
        whole.warn(NOT_HEARD);
    }
    statuses
}

fn message(node: &str, hardware: &str, status: Status) -> DiagnosticStatus {
    let message = status.message();
    let pair = |(key, value): (&'static str, String)| KeyValue { key: key.to_owned(), value };
    DiagnosticStatus {
        level: status.level as u8,
        name: if status.name.is_empty() { node.to_owned() } else { format!("{node}: {}", status.name) },
        message,
        hardware_id: hardware.to_owned(),
        values: status.values.into_iter().map(pair).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_reason_decides_and_comes_first() {
        let mut status = Status::new("camera", "ok");
        assert_eq!((status.level(), status.message()), (Level::Ok, "ok".to_owned()));
        status.warn("slow");
        status.error("broken");
        status.warn("old");
        status.number("rate_hz", Some(9.876));
        status.number("age_ms", None);
        let message = message("robot/perception_node", "cpu", status);
        assert_eq!((message.level, message.message.as_str()), (2, "broken; slow; old"));
        assert_eq!(message.name, "robot/perception_node: camera");
        let values: Vec<_> = message.values.iter().map(|pair| pair.value.as_str()).collect();
        assert_eq!(values, ["9.88", "unknown"]);
    }

    #[test]
    fn a_node_without_ros_time_warns_and_its_parts_do_not() {
        let told = |is_known: bool| {
            let statuses = with_time(vec![Status::new("", "active"), Status::new("camera", "ok")], is_known);
            statuses.iter().map(|status| (status.level(), status.message())).collect::<Vec<_>>()
        };
        let (whole, camera) = ((Level::Ok, "active".to_owned()), (Level::Ok, "ok".to_owned()));
        assert_eq!(told(true), [whole, camera.clone()]);
        assert_eq!(told(false), [(Level::Warn, NOT_HEARD.to_owned()), camera]);
    }
}
