//! What a node declares, as data: parameters, topics and services, each with its meaning and unit.
//!
//! A node's [`Reference`] is static. The node reads and checks its parameters by it, the parameter services describe them by
//! it, and `<node> --describe` prints it as JSON ([`crate::describe`]), from which the reference page is made.

/// Everything that a node declares of its own; what every node has is in [`COMMON_PARAMETERS`] and its neighbours.
#[derive(Debug)]
pub struct Reference {
    /// The node's usual name, also that of its executable.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Whether it has a lifecycle: [`LIFECYCLE_PARAMETERS`] and its neighbours apply.
    pub managed: bool,
    /// Its own parameters.
    pub parameters: &'static [Declared],
    /// Its own topics.
    pub topics: &'static [Topic],
    /// Its own services.
    pub services: &'static [Service],
}

/// One parameter.
#[derive(Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Its type, and its value when it is not set.
    pub preset: Preset,
    /// Unit of a number, empty for none.
    pub unit: &'static str,
    /// What it means.
    pub description: &'static str,
    /// Which values of the type are allowed.
    pub allowed: Allowed,
    /// When it can be set.
    pub change: Change,
}

impl Declared {
    /// A parameter that is read once, when the node starts.
    pub const fn at_start(
        name: &'static str,
        preset: Preset,
        unit: &'static str,
        allowed: Allowed,
        description: &'static str,
    ) -> Self {
        Self { name, preset, unit, description, allowed, change: Change::AtStart }
    }
}

/// Type of a parameter, and its value when it is not set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Preset {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text; empty means not set.
    Text(&'static str),
    /// A list of texts.
    Texts(&'static [&'static str]),
    /// A list of numbers.
    Numbers(&'static [f64]),
}

/// Which values of its type a parameter may have.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    /// All.
    Any,
    /// Integers from the first to the second.
    Integers(i64, i64),
    /// Numbers, or every number of a list, from the first to the second; NaN is none.
    Numbers(f64, f64),
    /// These texts.
    Choices(&'static [&'static str]),
    /// Texts, or every text of a list, that fit; an unset (empty) text is not asked.
    Texts {
        /// What fits, in words.
        expected: &'static str,
        /// Whether a text fits.
        fits: fn(&str) -> bool,
    },
}

/// When a parameter can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// When the node starts; read-only afterwards.
    AtStart,
    /// While the node is unconfigured; it takes effect when the node is configured.
    Unconfigured,
    /// At any time; it takes effect at once.
    Anytime,
}

/// Which way messages of a topic go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The node subscribes.
    In,
    /// The node publishes.
    Out,
}

/// One topic.
#[derive(Debug)]
pub struct Topic {
    /// Its name, relative to the node; of several cameras each has it below `<camera>/` (`~/<camera>/` for a private one).
    pub name: &'static str,
    /// Type, for example `sensor_msgs/msg/Image`.
    pub kind: &'static str,
    /// Which way.
    pub direction: Direction,
    /// Whether every camera has one.
    pub per_camera: bool,
    /// Quality of service that holds unless `qos_overrides` say otherwise, in words.
    pub qos: &'static str,
    /// What the messages hold: units, frame, what is invalid, when.
    pub description: &'static str,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name, relative to the node.
    pub name: &'static str,
    /// Type, for example `std_srvs/srv/Trigger`.
    pub kind: &'static str,
    /// What it does.
    pub description: &'static str,
}

/// Parameters of every node.
pub const COMMON_PARAMETERS: &[Declared] = &[
    Declared {
        name: "use_sim_time",
        preset: Preset::Flag(false),
        unit: "",
        description: "ROS time is what /clock says, not the system's time",
        allowed: Allowed::Any,
        change: Change::Anytime,
    },
    Declared {
        name: "start_type_description_service",
        preset: Preset::Flag(false),
        unit: "",
        description: "accepted because launch files set it for every node; there is no such service here",
        allowed: Allowed::Any,
        change: Change::AtStart,
    },
];

/// Parameters of nodes with a lifecycle.
pub const LIFECYCLE_PARAMETERS: &[Declared] = &[Declared {
    name: "autostart",
    preset: Preset::Flag(true),
    unit: "",
    description: "configure and activate at start; the process ends with exit code 2 when that fails. \
                  false: wait for a lifecycle manager",
    allowed: Allowed::Any,
    change: Change::AtStart,
}];

/// Topics of every node.
pub const COMMON_TOPICS: &[Topic] = &[
    Topic {
        name: "/rosout",
        kind: "rcl_interfaces/msg/Log",
        direction: Direction::Out,
        per_camera: false,
        qos: "reliable, transient local, keep last 1000, lifespan 10 s",
        description: "the log, as on the console",
    },
    Topic {
        name: "/parameter_events",
        kind: "rcl_interfaces/msg/ParameterEvent",
        direction: Direction::Out,
        per_camera: false,
        qos: "reliable, volatile, keep last 1000",
        description: "all parameters at start, then every change",
    },
    Topic {
        name: "/clock",
        kind: "rosgraph_msgs/msg/Clock",
        direction: Direction::In,
        per_camera: false,
        qos: "best effort, volatile, keep last 1",
        description: "ROS time, with use_sim_time",
    },
];

/// Topics of nodes with a lifecycle.
pub const LIFECYCLE_TOPICS: &[Topic] = &[Topic {
    name: "~/transition_event",
    kind: "lifecycle_msgs/msg/TransitionEvent",
    direction: Direction::Out,
    per_camera: false,
    qos: "reliable, volatile, keep last 10",
    description: "every change of the lifecycle's state",
}];

macro_rules! services {
    ($(($name:literal, $kind:literal, $description:literal)),* $(,)?) => {
        &[$(Service { name: $name, kind: $kind, description: $description }),*]
    };
}

/// Services of every node.
pub const COMMON_SERVICES: &[Service] = services![
    ("~/get_parameters", "rcl_interfaces/srv/GetParameters", "values; not set for names that are not known"),
    (
        "~/set_parameters",
        "rcl_interfaces/srv/SetParameters",
        "sets each parameter, or refuses it with a reason"
    ),
    (
        "~/set_parameters_atomically",
        "rcl_interfaces/srv/SetParametersAtomically",
        "sets all, or none with a reason"
    ),
    ("~/list_parameters", "rcl_interfaces/srv/ListParameters", "names"),
    ("~/describe_parameters", "rcl_interfaces/srv/DescribeParameters", "type, description, range, read-only"),
    ("~/get_parameter_types", "rcl_interfaces/srv/GetParameterTypes", "types"),
];

/// Services of nodes with a lifecycle.
pub const LIFECYCLE_SERVICES: &[Service] = services![
    (
        "~/change_state",
        "lifecycle_msgs/srv/ChangeState",
        "configure, activate, deactivate, cleanup, shutdown"
    ),
    ("~/get_state", "lifecycle_msgs/srv/GetState", "the state"),
    ("~/get_available_states", "lifecycle_msgs/srv/GetAvailableStates", "all states"),
    (
        "~/get_available_transitions",
        "lifecycle_msgs/srv/GetAvailableTransitions",
        "transitions of this state"
    ),
    ("~/get_transition_graph", "lifecycle_msgs/srv/GetAvailableTransitions", "all transitions"),
];

impl Reference {
    /// All parameters: the node's own, then those that every such node has.
    pub fn all_parameters(&self) -> impl Iterator<Item = &'static Declared> + use<> {
        let lifecycle = if self.managed { LIFECYCLE_PARAMETERS } else { &[] };
        self.parameters.iter().chain(lifecycle).chain(COMMON_PARAMETERS)
    }

    /// All topics: the node's own, then those that every such node has.
    pub fn all_topics(&self) -> impl Iterator<Item = &'static Topic> + use<> {
        let lifecycle = if self.managed { LIFECYCLE_TOPICS } else { &[] };
        self.topics.iter().chain(lifecycle).chain(COMMON_TOPICS)
    }

    /// All services: the node's own, then those that every such node has.
    pub fn all_services(&self) -> impl Iterator<Item = &'static Service> + use<> {
        let lifecycle = if self.managed { LIFECYCLE_SERVICES } else { &[] };
        self.services.iter().chain(lifecycle).chain(COMMON_SERVICES)
    }
}
