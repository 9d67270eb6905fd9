//! A node of our own, on a context of its own.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use r2r_rcl::{rcl_context_t, rcl_node_t};

use super::RawError;
use super::error::check;

/// A node beside r2r's: r2r neither lends its handles nor lets others wait while it spins.
///
/// It takes no arguments of the command line, so its name is what is given and topics must be given in full, remapped
/// already ([`crate::names::resolve`]).
pub struct Participant {
    context: Box<UnsafeCell<rcl_context_t>>,
    node: Box<UnsafeCell<rcl_node_t>>,
    /// Held while something of the node is made or destroyed, which rcl does not allow at the same time.
    changing: Mutex<()>,
}

// SAFETY: rcl ties neither contexts nor nodes to a thread. What may not happen at once (making and destroying what belongs to
// the node) happens under `changing`; all else that other threads do (waiting, taking, publishing) reads the handles only.
unsafe impl Send for Participant {}
// SAFETY: as above.
unsafe impl Sync for Participant {}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Participant")
    }
}

/// A text for C.
pub(super) fn c_text(text: &str) -> Result<CString, RawError> {
    CString::new(text).map_err(|_| RawError::Name(text.to_owned()))
}

impl Participant {
    /// A node of this name in this namespace (`/` or `/robot`).
    ///
    /// # Errors
    /// When rcl refuses, for example the name.
    pub fn new(name: &str, namespace: &str) -> Result<Arc<Self>, RawError> {
        let (c_name, c_namespace) = (c_text(name)?, c_text(namespace)?);
        // SAFETY: zero-initialised structures are what rcl wants to be given.
        let (context, node) = unsafe {
            (r2r_rcl::rcl_get_zero_initialized_context(), r2r_rcl::rcl_get_zero_initialized_node())
        };
        let context = Context(Box::new(UnsafeCell::new(context)));
        context.init()?;
        let node = Box::new(UnsafeCell::new(node));
        // SAFETY: the node is zero-initialised and boxed, so it does not move; context, texts and options outlive the call.
        let code = unsafe {
            let mut options = r2r_rcl::rcl_node_get_default_options();
            options.enable_rosout = false;
            let code = r2r_rcl::rcl_node_init(
                node.get(),
                c_name.as_ptr(),
                c_namespace.as_ptr(),
                context.0.get(),
                &options,
            );
            r2r_rcl::rcl_node_options_fini(&mut options);
            code
        };
        check(code, || format!("node {name} in {namespace}"))?;
        Ok(Arc::new(Self { context: context.keep(), node, changing: Mutex::new(()) }))
    }

    /// For making something of the node; `changing` is held meanwhile.
    pub(super) fn change(&self) -> (MutexGuard<'_, ()>, *mut rcl_node_t) {
        (self.changing.lock().unwrap_or_else(PoisonError::into_inner), self.node.get())
    }

    /// For guard conditions and wait sets.
    pub(super) fn context(&self) -> *mut rcl_context_t {
        self.context.get()
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        // SAFETY: whatever was made of the node holds an `Arc` of this value, so it is gone; the node goes before its context.
        unsafe {
            r2r_rcl::rcl_node_fini(self.node.get());
            shut_down(self.context.get());
        }
    }
}

/// A context that is finalised unless it is kept.
struct Context(Box<UnsafeCell<rcl_context_t>>);

impl Context {
    fn init(&self) -> Result<(), RawError> {
        // SAFETY: options are initialised before use and finalised after; rcl copies them. No arguments are passed.
        let code = unsafe {
            let mut options = r2r_rcl::rcl_get_zero_initialized_init_options();
            let code = r2r_rcl::rcl_init_options_init(&mut options, r2r_rcl::rcutils_get_default_allocator());
            check(code, || "init options".to_owned())?;
            let code = r2r_rcl::rcl_init(0, std::ptr::null(), &options, self.0.get());
            r2r_rcl::rcl_init_options_fini(&mut options);
            code
        };
        check(code, || "a second ROS context".to_owned())
    }

    /// Gives the context away, to be finalised by someone else.
    fn keep(mut self) -> Box<UnsafeCell<rcl_context_t>> {
        // SAFETY: a plain constructor. What stays behind is zero-initialised, which `shut_down` leaves alone.
        let nothing = unsafe { r2r_rcl::rcl_get_zero_initialized_context() };
        std::mem::replace(&mut self.0, Box::new(UnsafeCell::new(nothing)))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: nothing uses the context any more.
        unsafe { shut_down(self.0.get()) }
    }
}

/// Ends a context; one that was never initialised is left alone.
///
/// # Safety
/// The pointer is valid, and nothing made in the context is left.
unsafe fn shut_down(context: *mut rcl_context_t) {
    // SAFETY: as the caller promises.
    unsafe {
        if r2r_rcl::rcl_context_is_valid(context) {
            r2r_rcl::rcl_shutdown(context);
            r2r_rcl::rcl_context_fini(context);
        }
    }
}
