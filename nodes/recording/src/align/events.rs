//! What happened to an episode, kept in its bag as messages of its own: a bag that was cut off still tells its task and its
//! pauses, and its rows can be made again.

use serde::{Deserialize, Serialize};

/// The topic that events are recorded on; nobody publishes it.
pub const EVENT_TOPIC: &str = "/pixio/episode_event";
/// Their type, which every ROS has: a text that holds JSON.
pub const EVENT_TYPE: &str = "std_msgs/msg/String";
/// The definition of [`EVENT_TYPE`].
pub const EVENT_DEFINITION: &str = "string data";

/// Something that the recorder did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The episode began.
    Start {
        /// What the operator was to do.
        task: String,
        /// The contract's text.
        contract: String,
        /// Where and by what it was recorded.
        recorder: String,
    },
    /// Nothing is recorded from here.
    Pause,
    /// Recording goes on.
    Resume,
    /// The episode ended.
    Stop {
        /// Why.
        reason: String,
    },
}

impl Event {
    /// The event as a serialised `std_msgs/String`.
    pub fn to_cdr(&self) -> Vec<u8> {
        // A structure of texts always becomes JSON.
        let text = serde_json::to_string(self).unwrap_or_default();
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend((text.len() as u32 + 1).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// The event of a serialised `std_msgs/String`; nothing when it is none.
    pub fn from_cdr(bytes: &[u8]) -> Option<Self> {
        let [0, 1, _, _, l0, l1, l2, l3, text @ ..] = bytes else { return None };
        let length = (u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize).checked_sub(1)?;
        serde_json::from_slice(text.get(..length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::{Schema, Value};

    #[test]
    fn events_are_ordinary_messages() {
        let schema = Schema::parse(EVENT_TYPE, EVENT_DEFINITION).unwrap();
        let start =
            Event::Start {
                task: "fold \"it\" é".into(), contract: "fps: 30\n".into(), recorder: "x".into()
            };
        for event in [start, Event::Pause, Event::Resume, Event::Stop { reason: "done".into() }] {
            let bytes = event.to_cdr();
            let value = schema.decode(&bytes).unwrap();
            let text = value.get("data").and_then(Value::text).unwrap();
            assert_eq!(serde_json::from_str::<Event>(text).unwrap(), event);
            assert_eq!(Event::from_cdr(&bytes), Some(event));
            assert_eq!(bytes.len() % 4, 0);
        }
        for wrong in [&[][..], &[0, 1, 0, 0], &[0, 1, 0, 0, 0, 0, 0, 0], &[0, 1, 0, 0, 255, 255, 255, 255, 1]]
        {
            assert_eq!(Event::from_cdr(wrong), None);
        }
    }
}
