//! `qos_overrides.<topic>.<publisher|subscription>.<policy>`, as rclcpp names them, for every topic of a node.
//!
//! All are read-only parameters: history (`keep_last`, `keep_all`), depth, reliability (`reliable`, `best_effort`),
//! durability (`volatile`, `transient_local`), each also `system_default`; deadline and, of publishers, lifespan in
//! nanoseconds, where the largest integer means none.

use std::collections::BTreeMap;
use std::time::Duration;

use r2r::qos::{DurabilityPolicy, HistoryPolicy, ReliabilityPolicy};
use r2r::{ParameterValue, QosProfile};

use crate::parameters::{ParameterError, Parameters};

/// Which end of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    /// Sends.
    Publisher,
    /// Receives.
    Subscription,
}

impl Entity {
    fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscription => "subscription",
        }
    }
}

/// The quality of service of one end of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Qos {
    /// With what parameters say.
    pub profile: QosProfile,
    /// Whether a parameter says how reliable; else a subscription follows its publishers.
    pub reliability_is_given: bool,
}

/// The overrides that a node was started with and that no topic has taken yet.
#[derive(Debug, Default)]
pub struct Overrides {
    given: BTreeMap<String, ParameterValue>,
    topics: Vec<String>,
}

const REFUSED_MEANING: &str = "quality of service of a topic; read-only";

impl Overrides {
    /// Overrides by parameter name.
    pub fn new(given: BTreeMap<String, ParameterValue>) -> Self {
        Self { given, topics: Vec::new() }
    }

    /// What holds for one end of a topic (its full name), as parameters of the node too.
    ///
    /// # Errors
    /// When an override has another type or a value that the policy does not know.
    pub fn declare(
        &mut self,
        parameters: &Parameters,
        topic: &str,
        entity: Entity,
        default: QosProfile,
    ) -> Result<Qos, ParameterError> {
        let prefix = format!("qos_overrides.{topic}.{}", entity.name());
        let mut profile = default;
        let mut reliability_is_given = false;
        for policy in POLICIES.iter().filter(|policy| policy.entity.is_none_or(|only| only == entity)) {
            let name = format!("{prefix}.{}", policy.name);
            if let Some(given) = self.given.remove(&name) {
                profile = (policy.apply)(profile, &given).ok_or_else(|| ParameterError::Value {
                    name: name.clone(),
                    expected: policy.expected.to_owned(),
                    came: format!("{given:?}"),
                })?;
                reliability_is_given |=
                    policy.name == "reliability" && text(&given) != Some("system_default");
            }
            parameters.add_qos(name, (policy.read)(&profile), REFUSED_MEANING);
        }
        self.topics.push(format!("{topic}.{}", entity.name()));
        Ok(Qos { profile, reliability_is_given })
    }

    /// Whether every override has found its topic.
    ///
    /// # Errors
    /// The first that has not.
    pub fn all_taken(&self) -> Result<(), ParameterError> {
        let Some(name) = self.given.keys().next() else { return Ok(()) };
        let known = format!(
            "qos_overrides of {} with history, depth, reliability, durability, deadline, lifespan",
            self.topics.join(", ")
        );
        Err(ParameterError::Unknown { name: name.clone(), known })
    }
}

/// One policy: how a parameter changes a profile, and what a profile says of it.
struct Policy {
    name: &'static str,
    entity: Option<Entity>,
    expected: &'static str,
    apply: fn(QosProfile, &ParameterValue) -> Option<QosProfile>,
    read: fn(&QosProfile) -> ParameterValue,
}

const POLICIES: &[Policy] = &[
    Policy {
        name: "history",
        entity: None,
        expected: "keep_last, keep_all or system_default",
        apply: |profile, value| {
            let history = match text(value)? {
                "keep_last" => HistoryPolicy::KeepLast,
                "keep_all" => HistoryPolicy::KeepAll,
                "system_default" => HistoryPolicy::SystemDefault,
                _ => return None,
            };
            Some(profile.history(history))
        },
        read: |profile| {
            named(match profile.history {
                HistoryPolicy::KeepLast => "keep_last",
                HistoryPolicy::KeepAll => "keep_all",
                _ => "system_default",
            })
        },
    },
    Policy {
        name: "depth",
        entity: None,
        expected: "an integer of 1 to 10000",
        apply: |profile, value| match value {
            ParameterValue::Integer(depth @ 1..=10_000) => {
                Some(QosProfile { depth: *depth as usize, ..profile })
            }
            _ => None,
        },
        read: |profile| ParameterValue::Integer(profile.depth as i64),
    },
    Policy {
        name: "reliability",
        entity: None,
        expected: "reliable, best_effort or system_default",
        apply: |profile, value| {
            let reliability = match text(value)? {
                "reliable" => ReliabilityPolicy::Reliable,
                "best_effort" => ReliabilityPolicy::BestEffort,
                "system_default" => ReliabilityPolicy::SystemDefault,
                _ => return None,
            };
            Some(profile.reliability(reliability))
        },
        read: |profile| {
            named(match profile.reliability {
                ReliabilityPolicy::Reliable => "reliable",
                ReliabilityPolicy::BestEffort => "best_effort",
                _ => "system_default",
            })
        },
    },
    Policy {
        name: "durability",
        entity: None,
        expected: "volatile, transient_local or system_default",
        apply: |profile, value| {
            let durability = match text(value)? {
                "volatile" => DurabilityPolicy::Volatile,
                "transient_local" => DurabilityPolicy::TransientLocal,
                "system_default" => DurabilityPolicy::SystemDefault,
                _ => return None,
            };
            Some(profile.durability(durability))
        },
        read: |profile| {
            named(match profile.durability {
                DurabilityPolicy::Volatile => "volatile",
                DurabilityPolicy::TransientLocal => "transient_local",
                _ => "system_default",
            })
        },
    },
    Policy {
        name: "deadline",
        entity: None,
        expected: "an integer of nanoseconds above 0",
        apply: |profile, value| Some(profile.deadline(duration(value)?)),
        read: |profile| nanoseconds(profile.deadline),
    },
    Policy {
        name: "lifespan",
        entity: Some(Entity::Publisher),
        expected: "an integer of nanoseconds above 0",
        apply: |profile, value| Some(profile.lifespan(duration(value)?)),
        read: |profile| nanoseconds(profile.lifespan),
    },
];

fn text(value: &ParameterValue) -> Option<&str> {
    match value {
        ParameterValue::String(text) => Some(text),
        _ => None,
    }
}

fn named(name: &str) -> ParameterValue {
    ParameterValue::String(name.to_owned())
}

/// Nanoseconds as a parameter has them; r2r's zero means none.
fn duration(value: &ParameterValue) -> Option<Duration> {
    match value {
        ParameterValue::Integer(i64::MAX) => Some(Duration::ZERO),
        ParameterValue::Integer(nanoseconds @ 1..) => Some(Duration::from_nanos(*nanoseconds as u64)),
        _ => None,
    }
}

fn nanoseconds(duration: Duration) -> ParameterValue {
    let none = duration.is_zero();
    ParameterValue::Integer(if none {
        i64::MAX
    } else {
        i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::tests::parameters;

    fn overrides(values: &[(&str, ParameterValue)]) -> Overrides {
        Overrides::new(values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn overrides_reach_their_topic() {
        let mut given = overrides(&[
            ("qos_overrides./a/points.publisher.reliability", named("best_effort")),
            ("qos_overrides./a/points.publisher.depth", ParameterValue::Integer(5)),
            ("qos_overrides./a/points.publisher.lifespan", ParameterValue::Integer(2_000_000_000)),
        ]);
        let default = QosProfile::default().keep_last(1).reliable();
        let own = parameters(&[]).unwrap();
        let other = given.declare(&own, "/a/image", Entity::Subscription, default.clone()).unwrap();
        assert_eq!(other, Qos { profile: default.clone(), reliability_is_given: false });
        assert!(given.all_taken().is_err());
        let points = given.declare(&own, "/a/points", Entity::Publisher, default.clone()).unwrap();
        let expected = default.keep_last(5).best_effort().lifespan(Duration::from_secs(2));
        assert_eq!(points, Qos { profile: expected, reliability_is_given: true });
        assert_eq!(given.all_taken(), Ok(()));
        assert_eq!(own.text("qos_overrides./a/image.subscription.reliability").as_deref(), Ok("reliable"));
        assert_eq!(own.integer("qos_overrides./a/points.publisher.deadline"), Ok(i64::MAX));
    }

    #[test]
    fn wrong_overrides_are_refused_with_a_reason() {
        let cases = [
            ("qos_overrides./a.publisher.reliability", named("sure"), "expected reliable, best_effort"),
            ("qos_overrides./a.publisher.depth", ParameterValue::Integer(0), "an integer of 1 to 10000"),
            ("qos_overrides./a.publisher.deadline", ParameterValue::Double(1.0), "nanoseconds"),
            (
                "qos_overrides./b.publisher.depth",
                ParameterValue::Integer(1),
                "not known; this node has qos_overrides of /a",
            ),
            ("qos_overrides./a.subscription.depth", ParameterValue::Integer(1), "not known"),
        ];
        for (name, value, reason) in cases {
            let mut given = overrides(&[(name, value)]);
            let declared =
                given.declare(&parameters(&[]).unwrap(), "/a", Entity::Publisher, QosProfile::default());
            let text = declared.map(drop).and_then(|()| given.all_taken()).unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
    }
}
