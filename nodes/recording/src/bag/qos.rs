//! Quality of service as rosbag2 stores it: words on Jazzy, numbers inside a string on Humble.

use std::fmt::Write;

use serde::Deserialize;

use super::Distro;

/// A duration of a QoS profile; the default is what ROS writes for "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct QosDuration {
    /// Whole seconds.
    pub sec: u64,
    /// Nanoseconds on top.
    pub nsec: u64,
}

impl Default for QosDuration {
    fn default() -> Self {
        Self { sec: 9_223_372_036, nsec: 854_775_807 }
    }
}

/// Declares a policy: its variants with rosbag2's word and rmw's number.
macro_rules! policy {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $number:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The word that rosbag2 of Jazzy writes.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The number of rmw's enumeration, which rosbag2 of Humble writes.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The policy of a word or number; `Unknown` for any other.
            pub fn parse(text: &str) -> Self {
                $(if text == $word || text == stringify!($number) { return Self::$variant; })+
                Self::Unknown
            }
        }
    };
}

policy! {
    /// How many samples are kept.
    History {
        /// The middleware's choice.
        SystemDefault = "system_default" 0,
        /// The newest `depth`.
        KeepLast = "keep_last" 1,
        /// All of them.
        KeepAll = "keep_all" 2,
        /// Not told by the middleware.
        Unknown = "unknown" 3,
    }
}

policy! {
    /// Whether lost samples are sent again.
    Reliability {
        /// The middleware's choice.
        SystemDefault = "system_default" 0,
        /// Sent again.
        Reliable = "reliable" 1,
        /// Not sent again.
        BestEffort = "best_effort" 2,
        /// Not told by the middleware.
        Unknown = "unknown" 3,
        /// Whatever fits the other side.
        BestAvailable = "best_available" 4,
    }
}

policy! {
    /// Whether late joiners get old samples.
    Durability {
        /// The middleware's choice.
        SystemDefault = "system_default" 0,
        /// They do (a latched topic).
        TransientLocal = "transient_local" 1,
        /// They do not.
        Volatile = "volatile" 2,
        /// Not told by the middleware.
        Unknown = "unknown" 3,
        /// Whatever fits the other side.
        BestAvailable = "best_available" 4,
    }
}

policy! {
    /// How a publisher shows that it is alive.
    Liveliness {
        /// The middleware's choice.
        SystemDefault = "system_default" 0,
        /// The middleware does it.
        Automatic = "automatic" 1,
        /// The publisher does it.
        ManualByTopic = "manual_by_topic" 3,
        /// Not told by the middleware.
        Unknown = "unknown" 4,
        /// Whatever fits the other side.
        BestAvailable = "best_available" 5,
    }
}

/// What one publisher of a topic offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QosProfile {
    /// How many samples are kept.
    pub history: History,
    /// Their number, for `KeepLast`.
    pub depth: u64,
    /// Whether lost samples are sent again.
    pub reliability: Reliability,
    /// Whether late joiners get old samples.
    pub durability: Durability,
    /// At most this long between two samples.
    pub deadline: QosDuration,
    /// How long a sample is worth anything.
    pub lifespan: QosDuration,
    /// How the publisher shows that it is alive.
    pub liveliness: Liveliness,
    /// How often it must.
    pub liveliness_lease: QosDuration,
    /// Whether the topic's name is used as it is.
    pub avoid_ros_namespace_conventions: bool,
}

impl Default for QosProfile {
    /// ROS's default for publishers: reliable, volatile, the last 10.
    fn default() -> Self {
        Self {
            history: History::KeepLast,
            depth: 10,
            reliability: Reliability::Reliable,
            durability: Durability::Volatile,
            deadline: QosDuration::default(),
            lifespan: QosDuration::default(),
            liveliness: Liveliness::Automatic,
            liveliness_lease: QosDuration::default(),
            avoid_ros_namespace_conventions: false,
        }
    }
}

impl QosProfile {
    /// One line of YAML, as a flow mapping that yaml-cpp and PyYAML read.
    fn yaml(&self, distro: Distro) -> String {
        let words = |word: &str, number: u8| match distro {
            Distro::Humble => number.to_string(),
            Distro::Jazzy => word.to_owned(),
        };
        let duration = |d: QosDuration| format!("{{sec: {}, nsec: {}}}", d.sec, d.nsec);
        format!(
            "{{history: {}, depth: {}, reliability: {}, durability: {}, deadline: {}, lifespan: {}, liveliness: {}, \
             liveliness_lease_duration: {}, avoid_ros_namespace_conventions: {}}}",
            words(self.history.word(), self.history.number()),
            self.depth,
            words(self.reliability.word(), self.reliability.number()),
            words(self.durability.word(), self.durability.number()),
            duration(self.deadline),
            duration(self.lifespan),
            words(self.liveliness.word(), self.liveliness.number()),
            duration(self.liveliness_lease),
            self.avoid_ros_namespace_conventions,
        )
    }
}

/// A YAML list of profiles, one per line; `[]` when there is none.
pub(super) fn qos_yaml(profiles: &[QosProfile], distro: Distro, indent: &str) -> String {
    if profiles.is_empty() {
        return "[]".to_owned();
    }
    let mut text = String::new();
    for (index, profile) in profiles.iter().enumerate() {
        let lead = if index == 0 { "" } else { indent };
        let newline = if index == 0 { "" } else { "\n" };
        let _ = write!(text, "{newline}{lead}- {}", profile.yaml(distro));
    }
    text
}

/// The profile as any rosbag2 wrote it: policies as words or numbers.
#[derive(Debug, Deserialize)]
struct Stored {
    history: Word,
    depth: u64,
    reliability: Word,
    durability: Word,
    #[serde(default)]
    deadline: QosDuration,
    #[serde(default)]
    lifespan: QosDuration,
    liveliness: Word,
    #[serde(default)]
    liveliness_lease_duration: QosDuration,
    #[serde(default)]
    avoid_ros_namespace_conventions: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Word {
    Number(u8),
    Text(String),
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Reads a YAML list of profiles in either form.
///
/// # Errors
/// The parser's words when it is not such a list.
pub(super) fn parse_qos(yaml: &str) -> Result<Vec<QosProfile>, String> {
    if yaml.trim().is_empty() {
        return Ok(Vec::new());
    }
    let stored: Vec<Stored> = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    Ok(stored.iter().map(profile).collect())
}

fn profile(stored: &Stored) -> QosProfile {
    QosProfile {
        history: History::parse(&stored.history.text()),
        depth: stored.depth,
        reliability: Reliability::parse(&stored.reliability.text()),
        durability: Durability::parse(&stored.durability.text()),
        deadline: stored.deadline,
        lifespan: stored.lifespan,
        liveliness: Liveliness::parse(&stored.liveliness.text()),
        liveliness_lease: stored.liveliness_lease_duration,
        avoid_ros_namespace_conventions: stored.avoid_ros_namespace_conventions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back() {
        let latched =
            QosProfile { durability: Durability::TransientLocal, depth: 1, ..QosProfile::default() };
        let profiles = [QosProfile::default(), latched];
        for distro in [Distro::Humble, Distro::Jazzy] {
            let text = qos_yaml(&profiles, distro, "");
            assert_eq!(parse_qos(&text).unwrap(), profiles, "{text}");
        }
        assert_eq!(parse_qos("[]").unwrap(), []);
        assert_eq!(parse_qos("").unwrap(), []);
    }

    #[test]
    fn a_list_as_rosbag2_of_humble_dumps_it_is_read() {
        let text = "- history: 3\n  depth: 0\n  reliability: 2\n  durability: 2\n  deadline:\n    sec: 2147483647\n    \
                    nsec: 4294967295\n  lifespan:\n    sec: 1\n    nsec: 5\n  liveliness: 1\n  \
                    liveliness_lease_duration:\n    sec: 0\n    nsec: 0\n  avoid_ros_namespace_conventions: false";
        let profile = parse_qos(text).unwrap()[0];
        assert_eq!(profile.history, History::Unknown);
        assert_eq!(profile.reliability, Reliability::BestEffort);
        assert_eq!(profile.lifespan, QosDuration { sec: 1, nsec: 5 });
    }

    #[test]
    fn what_is_no_list_of_profiles_is_refused() {
        assert!(parse_qos("{a: 1}").is_err());
        assert!(parse_qos("- {history: []}").is_err());
    }
}
