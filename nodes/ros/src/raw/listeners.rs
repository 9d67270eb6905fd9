//! Who subscribes to a topic; r2r tells only who publishes.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

use r2r_rcl::{rmw_qos_reliability_policy_e, rmw_topic_endpoint_info_array_t};

use super::participant::c_text;
use super::{Participant, RawError, error::check};

/// One subscription of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Full name of its node.
    pub node: String,
    /// Whether it asks for reliable delivery.
    pub reliable: bool,
}

impl Participant {
    /// The subscriptions of a topic, its name in full, as far as they have been discovered.
    ///
    /// # Errors
    /// When the name is none, or rcl refuses.
    pub fn listeners(&self, topic: &str) -> Result<Vec<Listener>, RawError> {
        let name = c_text(topic)?;
        let (_changing, node) = self.change();
        // SAFETY: node, name, allocator and array outlive the calls; the array is zero-initialised before it is filled and, filled
        // or not, finalised with the allocator that filled it, after everything was copied out of it.
        unsafe {
            let mut allocator = r2r_rcl::rcutils_get_default_allocator();
            let mut found = r2r_rcl::rmw_get_zero_initialized_topic_endpoint_info_array();
            let code = r2r_rcl::rcl_get_subscriptions_info_by_topic(
                node,
                &mut allocator,
                name.as_ptr(),
                false,
                &mut found,
            );
            let read = check(code, || format!("subscriptions of {topic}")).map(|()| copied(&found));
            r2r_rcl::rmw_topic_endpoint_info_array_fini(&mut found, &mut allocator);
            read
        }
    }
}

/// # Safety
/// The array was filled by rcl and not finalised yet.
unsafe fn copied(found: &rmw_topic_endpoint_info_array_t) -> Vec<Listener> {
    if found.info_array.is_null() {
        return Vec::new();
    }
    // SAFETY: rcl says how many it filled, each with texts that end with a zero.
    unsafe {
        let endpoints = std::slice::from_raw_parts(found.info_array, found.size);
        let listener = |endpoint: &r2r_rcl::rmw_topic_endpoint_info_t| Listener {
            node: format!(
                "{}/{}",
                text(endpoint.node_namespace).trim_end_matches('/'),
                text(endpoint.node_name)
            ),
            reliable: endpoint.qos_profile.reliability
                == rmw_qos_reliability_policy_e::RMW_QOS_POLICY_RELIABILITY_RELIABLE,
        };
        endpoints.iter().map(listener).collect()
    }
}

/// # Safety
/// The text is null or ends with a zero.
unsafe fn text(of: *const c_char) -> String {
    if of.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(of) }.to_string_lossy().into_owned()
}
