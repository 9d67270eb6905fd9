//! Publishing serialised messages.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::Arc;

use r2r::QosProfile;
use r2r_rcl::{rcl_publisher_t, rcl_serialized_message_t};

use super::error::check;
use super::participant::{Participant, c_text};
use super::support::TypeSupport;
use super::{RawError, TypeName};

/// A publisher of serialised messages of any type.
pub struct Publisher {
    handle: Box<UnsafeCell<rcl_publisher_t>>,
    participant: Arc<Participant>,
    _support: Arc<TypeSupport>,
    topic: String,
}

// SAFETY: rcl ties publishers to no thread.
unsafe impl Send for Publisher {}
// SAFETY: rcl allows publishing and counting from several threads at once; destroying needs the value itself.
unsafe impl Sync for Publisher {}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publisher on {}", self.topic)
    }
}

impl Publisher {
    /// A publisher on a topic by its full name.
    ///
    /// # Errors
    /// When the type is not installed, or rcl refuses the topic or the quality of service.
    pub fn new(
        participant: &Arc<Participant>,
        topic: &str,
        kind: &TypeName,
        qos: &QosProfile,
    ) -> Result<Self, RawError> {
        let support = TypeSupport::load(kind, &super::definition::prefixes())?;
        let c_topic = c_text(topic)?;
        // SAFETY: a plain constructor.
        let handle = Box::new(UnsafeCell::new(unsafe { r2r_rcl::rcl_get_zero_initialized_publisher() }));
        let (changing, node) = participant.change();
        // SAFETY: the handle is zero-initialised and boxed; node, type support, text and options outlive the call, and the
        // first two are kept as long as the publisher. Nothing else changes the node meanwhile.
        let code = unsafe {
            let mut options = r2r_rcl::rcl_publisher_get_default_options();
            options.qos = qos.clone().into();
            r2r_rcl::rcl_publisher_init(handle.get(), node, support.handle(), c_topic.as_ptr(), &options)
        };
        drop(changing);
        check(code, || format!("publishing {kind} on {topic}"))?;
        Ok(Self { handle, participant: participant.clone(), _support: support, topic: topic.to_owned() })
    }

    /// Publishes CDR with its encapsulation header. May block as long as the middleware does; the bytes are not checked.
    ///
    /// # Errors
    /// When the middleware does not take the message, for example because a reliable one's history is full.
    pub fn publish(&self, bytes: &[u8]) -> Result<(), RawError> {
        // SAFETY: rcl only reads the message, and only during the call; its allocator is not used.
        let code = unsafe {
            let message = rcl_serialized_message_t {
                buffer: bytes.as_ptr().cast_mut(),
                buffer_length: bytes.len(),
                buffer_capacity: bytes.len(),
                allocator: r2r_rcl::rcutils_get_default_allocator(),
            };
            r2r_rcl::rcl_publish_serialized_message(self.handle.get(), &message, std::ptr::null_mut())
        };
        check(code, || format!("publishing on {}", self.topic))
    }

    /// How many subscriptions match.
    ///
    /// # Errors
    /// When the middleware does not say.
    pub fn subscriptions(&self) -> Result<usize, RawError> {
        let mut count = 0;
        // SAFETY: publisher and count are valid.
        let code = unsafe { r2r_rcl::rcl_publisher_get_subscription_count(self.handle.get(), &mut count) };
        check(code, || format!("subscriptions of {}", self.topic))?;
        Ok(count)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let (_changing, node) = self.participant.change();
        // SAFETY: the handle was initialised on this node, which still lives; the last owner drops it.
        unsafe { r2r_rcl::rcl_publisher_fini(self.handle.get(), node) };
    }
}
