//! One raw subscription.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use r2r::QosProfile;
use r2r_rcl::{rcl_subscription_t, rmw_message_info_t};

use super::buffer::Pool;
use super::error::{check, forget};
use super::participant::{Participant, c_text};
use super::queue::Message;
use super::support::TypeSupport;
use super::{Buffer, RawError};

/// Spare buffers of one subscription: half a second of a camera at 30 Hz, which a disk may take for itself.
const SPARE: usize = 16;

/// A publisher, as the middleware identifies it: the first 16 bytes of its gid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Publisher(pub [u8; 16]);

/// A subscription of serialised messages. Destroyed before its node by holding on to it.
pub(super) struct Subscription {
    handle: Box<UnsafeCell<rcl_subscription_t>>,
    participant: Arc<Participant>,
    _support: Arc<TypeSupport>,
    stream: usize,
    topic: String,
    pool: Arc<Pool>,
    /// The number of each publisher's newest message.
    newest: HashMap<Publisher, u64>,
    /// The same when the predecessor ended: what is not newer came by it.
    inherited: HashMap<Publisher, u64>,
    retired: bool,
}

// SAFETY: rcl ties subscriptions to no thread; taking needs `&mut self`, so it never happens twice at once.
unsafe impl Send for Subscription {}

impl Subscription {
    /// Subscribes to a topic by its full name. `stream` goes with each message.
    pub fn new(
        participant: &Arc<Participant>,
        support: &Arc<TypeSupport>,
        stream: usize,
        topic: &str,
        qos: &QosProfile,
    ) -> Result<Self, RawError> {
        let c_topic = c_text(topic)?;
        // SAFETY: a plain constructor.
        let handle = Box::new(UnsafeCell::new(unsafe { r2r_rcl::rcl_get_zero_initialized_subscription() }));
        let (changing, node) = participant.change();
        // SAFETY: the handle is zero-initialised and boxed; node, type support, text and options outlive the call, and the
        // first two are kept as long as the subscription. Nothing else changes the node meanwhile.
        let code = unsafe {
            let mut options = r2r_rcl::rcl_subscription_get_default_options();
            options.qos = qos.clone().into();
            r2r_rcl::rcl_subscription_init(handle.get(), node, support.handle(), c_topic.as_ptr(), &options)
        };
        drop(changing);
        check(code, || format!("subscribing to {topic} as {}", support.kind()))?;
        Ok(Self {
            handle,
            participant: participant.clone(),
            _support: support.clone(),
            stream,
            topic: topic.to_owned(),
            pool: Pool::new(SPARE),
            newest: HashMap::new(),
            inherited: HashMap::new(),
            retired: false,
        })
    }

    pub fn stream(&self) -> usize {
        self.stream
    }

    /// For wait sets.
    pub fn handle(&self) -> *const rcl_subscription_t {
        self.handle.get()
    }

    /// The next message, if there is one.
    pub fn take(&mut self) -> Result<Option<Message>, RawError> {
        let mut bytes = self.pool.take();
        let mut info = rmw_message_info_t::default();
        // SAFETY: subscription, array and info are valid and ours alone; rcl grows the array with the array's allocator.
        let code = unsafe {
            r2r_rcl::rcl_take_serialized_message(
                self.handle.get(),
                bytes.array_mut(),
                &mut info,
                std::ptr::null_mut(),
            )
        };
        if code == r2r_rcl::RCL_RET_SUBSCRIPTION_TAKE_FAILED as i32 {
            forget();
            return Ok(None);
        }
        check(code, || format!("taking from {}", self.topic))?;
        Ok(Some(self.taken(bytes, &info)))
    }

    /// How many messages of its publisher went missing just before this one; nothing when the predecessor had it already.
    pub fn missing_before(&mut self, message: &Message) -> Option<u64> {
        let Some(number) = message.sequence else { return Some(0) };
        if self.inherited.get(&message.publisher).is_some_and(|newest| number <= *newest) {
            return None;
        }
        Some(missing(&mut self.newest, message.publisher, number))
    }

    /// Goes on where another subscription of the same topic ends.
    pub fn succeed(&mut self, predecessor: &mut Self) {
        self.newest = std::mem::take(&mut predecessor.newest);
        self.inherited = self.newest.clone();
        predecessor.retired = true;
    }

    /// Whether a successor has taken over.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    fn taken(&self, bytes: Buffer, info: &rmw_message_info_t) -> Message {
        let mut gid = [0; 16];
        gid.iter_mut().zip(info.publisher_gid.data).for_each(|(to, from)| *to = from);
        let publisher = Publisher(gid);
        // The middleware says with the largest number that it does not number messages.
        let sequence = Some(info.publication_sequence_number).filter(|number| *number != u64::MAX);
        let received_ns = match info.received_timestamp {
            0 => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64),
            stamp => stamp,
        };
        let source_ns = info.source_timestamp;
        Message { stream: self.stream, bytes, source_ns, received_ns, publisher, sequence }
    }
}

/// How many of a publisher's messages are missing before this one; what was sent before its first does not count.
fn missing(newest: &mut HashMap<Publisher, u64>, publisher: Publisher, number: u64) -> u64 {
    let last = newest.entry(publisher).or_insert(number);
    let lost = number.saturating_sub(*last).saturating_sub(1);
    *last = number.max(*last);
    lost
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (_changing, node) = self.participant.change();
        // SAFETY: the handle was initialised on this node, which still lives, and nobody waits on it: the receiver that owns
        // this value does not drop it while it waits.
        unsafe { r2r_rcl::rcl_subscription_fini(self.handle.get(), node) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_per_publisher() {
        let mut newest = HashMap::new();
        let (a, b) = (Publisher([1; 16]), Publisher([2; 16]));
        let cases = [(a, 7, 0), (a, 8, 0), (b, 1, 0), (a, 11, 2), (b, 2, 0), (a, 10, 0), (a, 12, 0)];
        for (publisher, number, lost) in cases {
            assert_eq!(missing(&mut newest, publisher, number), lost, "{publisher:?} {number}");
        }
    }
}
