//! What `recorder_node` declares.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use recording::bag::Distro;
use recording::contract::Contract;

use super::desk::Command;
use crate::declare::{Allowed, Declared, Direction, Preset, Reference, Service, Topic};
use crate::diagnostics;
use crate::parameters::Parameters;

/// What `recorder_node` declares.
pub const REFERENCE: Reference = Reference {
    name: "recorder_node",
    about: "Records episodes: everything as bags, and aligned rows as a LeRobot dataset, by a contract.",
    managed: false,
    parameters: PARAMETERS,
    topics: TOPICS,
    services: TABLE,
};

const MEGABYTES: Allowed = Allowed::Integers(1, 1 << 20);
const SECONDS: Allowed = Allowed::Numbers(0.0, 86_400.0);

const PARAMETERS: &[Declared] = &[
    Declared::at_start(
        "contract",
        Preset::Text(""),
        "",
        Allowed::Any,
        "contract file (docs/recorder.md); required",
    ),
    Declared::at_start(
        "root",
        Preset::Text(""),
        "",
        Allowed::Any,
        "folder for bags and dataset; required; continued when it holds some",
    ),
    Declared::at_start(
        "task",
        Preset::Text("unnamed"),
        "",
        Allowed::Any,
        "what the operator does, one short sentence; ~/task changes it",
    ),
    Declared::at_start(
        "dataset",
        Preset::Flag(true),
        "",
        Allowed::Any,
        "make rows while recording; false: bags only",
    ),
    Declared::at_start(
        "episodes",
        Preset::Integer(0),
        "",
        Allowed::Integers(0, 1_000_000),
        "episodes of a run, begun by the first start; 0: each by a start of its own",
    ),
    Declared::at_start(
        "episode_seconds",
        Preset::Number(0.0),
        "s",
        SECONDS,
        "an episode ends by itself after so long; 0: never",
    ),
    Declared::at_start(
        "reset_seconds",
        Preset::Number(0.0),
        "s",
        SECONDS,
        "pause between the episodes of a run, for putting things back",
    ),
    Declared::at_start(
        "queue_mb",
        Preset::Integer(256),
        "MB",
        MEGABYTES,
        "most messages that wait to be written; more are dropped and counted",
    ),
    Declared::at_start(
        "rows_queue_mb",
        Preset::Integer(256),
        "MB",
        MEGABYTES,
        "most messages that wait to become rows; beyond it the rows are made from the bag",
    ),
    Declared::at_start(
        "min_free_mb",
        Preset::Integer(1024),
        "MB",
        Allowed::Integers(0, 1 << 30),
        "free space below which no episode begins and the open one ends",
    ),
    Declared::at_start(
        "highlight_seconds",
        Preset::Number(0.0),
        "s",
        Allowed::Numbers(0.0, 600.0),
        "what ~/highlight saves of the time before it; 0: nothing is held",
    ),
    Declared::at_start("highlight_mb", Preset::Integer(512), "MB", MEGABYTES, "most memory for it"),
    Declared::at_start(
        "keyboard",
        Preset::Flag(true),
        "",
        Allowed::Any,
        "arrow keys and Esc, where the node runs in a terminal",
    ),
];

const TOPICS: &[Topic] = &[
    Topic {
        name: "~/task",
        kind: "std_msgs/msg/String",
        direction: Direction::In,
        per_camera: false,
        qos: "reliable, volatile, keep last 1",
        description: "the task of the episodes that begin from now on",
    },
    Topic {
        name: "~/status",
        kind: "std_msgs/msg/String",
        direction: Direction::Out,
        per_camera: false,
        qos: "reliable, volatile, keep last 1",
        description: "twice a second, JSON: state, episode, seconds, rows, each stream's rate, age, gap and losses, disk left",
    },
    diagnostics::TOPIC,
];

const fn trigger(name: &'static str, description: &'static str) -> Service {
    Service { name, kind: "std_srvs/srv/Trigger", description }
}

const TABLE: &[Service] = &[
    trigger("~/start", "begin an episode, or go on after ~/pause"),
    trigger(
        "~/stop",
        "end the episode: it is kept if it passes the contract's gate; answered when it is on the disk. Between the episodes of a run: end the run",
    ),
    trigger(
        "~/discard",
        "throw the episode in progress away, and end the run; between the episodes of a run: end it",
    ),
    trigger("~/pause", "record nothing until ~/pause or ~/start"),
    trigger("~/highlight", "save the last highlight_seconds as an episode"),
];

/// What each service makes the desk do.
pub(super) const SERVICES: [(&str, &Command); 5] = [
    ("~/start", &Command::Start),
    ("~/stop", &Command::Stop),
    ("~/discard", &Command::Discard),
    ("~/pause", &Command::Pause),
    ("~/highlight", &Command::Highlight),
];

/// The parameters, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub contract: Contract,
    pub contract_text: String,
    pub root: PathBuf,
    pub task: String,
    pub dataset: bool,
    pub episodes: u64,
    pub episode: Option<Duration>,
    pub reset: Duration,
    pub queue_bytes: usize,
    pub rows_bytes: usize,
    pub min_free_bytes: u64,
    pub highlight: Duration,
    pub highlight_bytes: usize,
    pub keyboard: bool,
}

impl Settings {
    pub fn read(parameters: &Parameters) -> Result<Self> {
        let Some(path) = parameters.optional("contract")? else {
            return Err(parameters.refuse("contract", "a contract file").into());
        };
        let Some(root) = parameters.optional("root")? else {
            return Err(parameters.refuse("root", "a folder").into());
        };
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let contract = Contract::parse(&text).with_context(|| path.clone())?;
        let megabytes = |name: &str| parameters.integer(name).map(|number| (number as usize) << 20);
        let seconds = |name: &str| parameters.number(name).map(Duration::from_secs_f64);
        let episode = seconds("episode_seconds")?;
        Ok(Self {
            contract,
            contract_text: text,
            root: root.into(),
            task: parameters.text("task")?,
            dataset: parameters.flag("dataset")?,
            episodes: parameters.integer("episodes")? as u64,
            episode: (!episode.is_zero()).then_some(episode),
            reset: seconds("reset_seconds")?,
            queue_bytes: megabytes("queue_mb")?,
            rows_bytes: megabytes("rows_queue_mb")?,
            min_free_bytes: megabytes("min_free_mb")? as u64,
            highlight: seconds("highlight_seconds")?,
            highlight_bytes: megabytes("highlight_mb")?,
            keyboard: parameters.flag("keyboard")?,
        })
    }

    pub fn session(&self, node: &str) -> recording::session::Settings {
        recording::session::Settings {
            root: self.root.clone(),
            dataset: self.dataset,
            distro: Distro::parse(r2r::ROS_DISTRO).unwrap_or_default(),
            rows_budget: self.rows_bytes,
            recorder: format!("{node}, pixio {}", env!("CARGO_PKG_VERSION")),
        }
    }

    pub fn summary(&self, keyboard: bool) -> String {
        let keys = "; keys: right arrow ends (or begins) an episode, left arrow records it again, space pauses, Esc stops";
        let what = if self.dataset { "bags and rows" } else { "bags" };
        format!(
            "{} stream(s), {what} in {}{}",
            self.contract.streams.len(),
            self.root.display(),
            if keyboard { keys } else { "" }
        )
    }
}
