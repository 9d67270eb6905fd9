//! What an episode is made of: topics, and their messages in the order in which they came.

use crate::bag::QosProfile;

/// A topic of an episode, with all that a reader needs to understand its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Fully qualified name, such as `/joint_states`.
    pub name: String,
    /// The type, as `package/msg/Type`.
    pub type_name: String,
    /// What the type is made of.
    pub definition: Definition,
    /// What the publishers offered; empty when none was seen yet.
    pub offered_qos: Vec<QosProfile>,
}

/// The text of a message type and of all that it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definition {
    /// `ros2msg`: the .msg text, then each dependency after a line of 80 `=` and a line `MSG: package/Type`.
    /// Empty when unknown: such a topic is recorded and played, but no reader can decode it.
    pub text: String,
    /// The hash of the type, `RIHS01_` and 64 hexadecimal digits; empty when the ROS distribution has none (Humble).
    pub hash: String,
}

/// When a message came and was sent, both in nanoseconds since 1970, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    /// When the recorder received it (of the ROS clock when that is simulated).
    pub log_nanos: u64,
    /// When the publisher sent it, as the middleware says.
    pub publish_nanos: u64,
    /// The number the publisher gave it; 0 when the middleware tells none.
    pub sequence: u32,
}

/// One message: which topic (an index into the topics of its episode), when, and its CDR bytes with their
/// four-byte encapsulation header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Index into [`crate::bag::BagReader::topics`].
    pub topic: usize,
    /// When it came and was sent.
    pub stamps: Stamps,
    /// The bytes, as they were on the wire.
    pub data: Vec<u8>,
}
