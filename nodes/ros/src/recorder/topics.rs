//! Subscriptions that follow what publishers offer.

use std::str::FromStr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use r2r::QosProfile;
use r2r::qos::{DurabilityPolicy, HistoryPolicy, LivelinessPolicy, ReliabilityPolicy};
use recording::bag;
use recording::contract::Contract;
use recording::{Definition, Topic};

use super::desk::{Ask, Command};
use super::send;
use crate::qos::{Entity, Qos};
use crate::raw::{self, Receiver, TypeName};
use crate::ros_node::RosNode;

/// How often the publishers' offers are looked at.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);
/// How much of a stream the middleware holds while the receiving thread does not get the processor.
const HELD_SECONDS: f64 = 2.0;

struct Followed {
    resolved: String,
    kind: TypeName,
    topic: Topic,
    qos: Qos,
    subscribed: Option<QosProfile>,
    /// Types that publishers have and the contract does not, told once.
    foreign: Vec<String>,
}

/// The topics of a contract.
pub(super) struct Topics {
    followed: Vec<Followed>,
    looked: Option<Instant>,
}

impl Topics {
    /// Finds every type of the contract.
    ///
    /// # Errors
    /// The first type that is not installed, or an override that is refused.
    pub fn new(ros: &mut RosNode, contract: &Contract) -> Result<Self> {
        let mut followed = Vec::new();
        for stream in &contract.streams {
            let kind = TypeName::from_str(&stream.kind)?;
            let found = raw::Definition::find(&kind, &raw::definition::prefixes())?;
            raw::support::TypeSupport::load(&kind, &raw::definition::prefixes())?;
            let depth = (stream.rate_hz * HELD_SECONDS).ceil().clamp(10.0, 1000.0) as usize;
            let default = QosProfile::default().keep_last(depth).best_effort();
            let qos = ros.qos(&stream.topic, Entity::Subscription, default)?;
            let definition = Definition { text: found.text, hash: found.hash.unwrap_or_default() };
            let topic = Topic {
                // Of the contract, so that remapping a robot's topics leaves its recordings alike.
                name: stream.topic.clone(),
                type_name: stream.kind.clone(),
                definition,
                offered_qos: Vec::new(),
            };
            let resolved = ros.resolve(&stream.topic);
            followed.push(Followed { resolved, kind, topic, qos, subscribed: None, foreign: Vec::new() });
        }
        Ok(Self { followed, looked: None })
    }

    /// Every stream with its topic.
    pub fn definitions(&self) -> impl Iterator<Item = (usize, Topic)> + '_ {
        self.followed.iter().map(|followed| followed.topic.clone()).enumerate()
    }

    /// Subscribes as the publishers offer: reliable when every one does, and latched when every one is.
    ///
    /// # Errors
    /// When the middleware refuses a subscription.
    pub fn follow(&mut self, ros: &RosNode, receiver: &Receiver, commands: &Sender<Ask>) -> Result<()> {
        if self.looked.is_some_and(|last| last.elapsed() < FOLLOW_PERIOD) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        for (stream, followed) in self.followed.iter_mut().enumerate() {
            if let Some(error) = receiver.error(stream) {
                ros.logger.error(format!("{}: {error}", followed.resolved));
            }
            let found = ros.node.get_publishers_info_by_topic(&followed.resolved, false);
            let found = found.with_context(|| followed.resolved.clone())?;
            let (same, foreign): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|publisher| publisher.topic_type == followed.topic.type_name);
            let foreign: Vec<String> = foreign.into_iter().map(|publisher| publisher.topic_type).collect();
            followed.tell_foreign(foreign, ros, stream, commands);
            let offers: Vec<QosProfile> = same.into_iter().map(|publisher| publisher.qos_profile).collect();
            followed.adapt(&offers, receiver, stream)?;
            let offered: Vec<bag::QosProfile> = offers.iter().map(as_recorded).collect();
            // Who is gone has offered all the same.
            if !offered.is_empty() && offered != followed.topic.offered_qos {
                followed.topic.offered_qos = offered;
                send(commands, Command::Define(stream, Box::new(followed.topic.clone())), None);
            }
        }
        Ok(())
    }
}

impl Followed {
    fn tell_foreign(&mut self, foreign: Vec<String>, ros: &RosNode, stream: usize, commands: &Sender<Ask>) {
        if foreign == self.foreign {
            return;
        }
        if let Some(came) = foreign.first() {
            let (topic, expected) = (&self.resolved, &self.topic.type_name);
            let text = format!(
                "{topic}: published as {came}, expected {expected} as in the contract; it is not recorded"
            );
            ros.logger.error(text);
        }
        send(commands, Command::Foreign(stream, foreign.first().cloned()), None);
        self.foreign = foreign;
    }

    fn adapt(&mut self, offers: &[QosProfile], receiver: &Receiver, stream: usize) -> Result<()> {
        // A publisher that went away for a moment comes back to the subscription it had.
        if offers.is_empty() && self.subscribed.is_some() {
            return Ok(());
        }
        let every = |wanted: fn(&QosProfile) -> bool| !offers.is_empty() && offers.iter().all(wanted);
        let mut profile = self.qos.profile.clone();
        if !self.qos.reliability_is_given {
            let reliable = every(|offer| offer.reliability == ReliabilityPolicy::Reliable);
            profile = if reliable { profile.reliable() } else { profile.best_effort() };
        }
        if every(|offer| offer.durability == DurabilityPolicy::TransientLocal) {
            profile = profile.transient_local();
        }
        if self.subscribed.as_ref() != Some(&profile) {
            receiver.subscribe(stream, &self.resolved, &self.kind, &profile)?;
            self.subscribed = Some(profile);
        }
        Ok(())
    }
}

/// An offer as a bag keeps it.
fn as_recorded(offer: &QosProfile) -> bag::QosProfile {
    let duration = |duration: Duration| match duration {
        // What the middleware says for "no limit".
        none if none.is_zero() || none.as_secs() >= 9_223_372_036 => bag::QosDuration::default(),
        some => bag::QosDuration { sec: some.as_secs(), nsec: u64::from(some.subsec_nanos()) },
    };
    bag::QosProfile {
        history: match offer.history {
            HistoryPolicy::KeepLast => bag::History::KeepLast,
            HistoryPolicy::KeepAll => bag::History::KeepAll,
            HistoryPolicy::SystemDefault => bag::History::SystemDefault,
            HistoryPolicy::Unknown => bag::History::Unknown,
        },
        depth: offer.depth as u64,
        reliability: match offer.reliability {
            ReliabilityPolicy::Reliable => bag::Reliability::Reliable,
            ReliabilityPolicy::BestEffort => bag::Reliability::BestEffort,
            _ => bag::Reliability::Unknown,
        },
        durability: match offer.durability {
            DurabilityPolicy::TransientLocal => bag::Durability::TransientLocal,
            DurabilityPolicy::Volatile => bag::Durability::Volatile,
            _ => bag::Durability::Unknown,
        },
        deadline: duration(offer.deadline),
        lifespan: duration(offer.lifespan),
        liveliness: match offer.liveliness {
            LivelinessPolicy::Automatic => bag::Liveliness::Automatic,
            LivelinessPolicy::ManualByTopic => bag::Liveliness::ManualByTopic,
            _ => bag::Liveliness::Unknown,
        },
        liveliness_lease: duration(offer.liveliness_lease_duration),
        avoid_ros_namespace_conventions: offer.avoid_ros_namespace_conventions,
    }
}
