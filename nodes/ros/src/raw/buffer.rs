//! Bytes that the middleware writes into, used again and again.
#![allow(unsafe_code)]

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use r2r_rcl::rcl_serialized_message_t;

/// Memory of rcutils' allocator, which the middleware may grow.
struct Array(rcl_serialized_message_t);

// SAFETY: an array is plain memory owned by this value alone; rcutils' default allocator is malloc, which any thread frees.
unsafe impl Send for Array {}
// SAFETY: through a shared reference the memory is only read.
unsafe impl Sync for Array {}

impl Array {
    fn new() -> Self {
        // SAFETY: a plain constructor; an array without memory and with the default allocator may be grown and freed.
        unsafe {
            let mut array = r2r_rcl::rcutils_get_zero_initialized_uint8_array();
            array.allocator = r2r_rcl::rcutils_get_default_allocator();
            Self(array)
        }
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        if !self.0.buffer.is_null() {
            // SAFETY: the memory came from the array's own allocator and nobody else has it.
            unsafe { r2r_rcl::rcutils_uint8_array_fini(&mut self.0) };
        }
    }
}

/// A serialised message, encapsulation header first. Goes back to its pool when dropped.
pub struct Buffer {
    array: Option<Array>,
    home: Weak<Pool>,
}

impl Buffer {
    /// For rcl to write a message into.
    pub(super) fn array_mut(&mut self) -> &mut rcl_serialized_message_t {
        &mut self.array.get_or_insert_with(Array::new).0
    }

    /// The memory it holds on to, in bytes; the message may be shorter.
    pub fn capacity(&self) -> usize {
        self.array.as_ref().map_or(0, |array| array.0.buffer_capacity)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.array {
            // SAFETY: the middleware wrote `buffer_length` bytes at `buffer`, which is not null and lives as long as `self`;
            // they change only through `array_mut`, which needs a unique reference.
            Some(Array(array)) if !array.buffer.is_null() => unsafe {
                std::slice::from_raw_parts(array.buffer, array.buffer_length)
            },
            _ => &[],
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer of {} bytes", self.len())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let (Some(array), Some(pool)) = (self.array.take(), self.home.upgrade()) {
            pool.give_back(array);
        }
    }
}

/// Spare buffers of one subscription, whose messages are of about one size. Without it every image would be memory fresh
/// from the system, which costs more than copying into it.
pub struct Pool {
    spare: Mutex<Vec<Array>>,
    most: usize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool of at most {} spare buffers", self.most)
    }
}

impl Pool {
    /// A pool that keeps so many spare buffers at most; those beyond are freed.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { spare: Mutex::new(Vec::new()), most })
    }

    /// A spare buffer, or an empty new one.
    pub fn take(self: &Arc<Self>) -> Buffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { array: Some(spare.unwrap_or_else(Array::new)), home: Arc::downgrade(self) }
    }

    fn give_back(&self, mut array: Array) {
        array.0.buffer_length = 0;
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < self.most {
            spare.push(array);
        }
    }
}

#[cfg(test)]
pub(super) fn filled(pool: &Arc<Pool>, bytes: &[u8]) -> Buffer {
    let mut buffer = pool.take();
    let array = buffer.array_mut();
    // SAFETY: grown to `bytes.len()`, if need be, before as many bytes are copied in.
    unsafe {
        if array.buffer_capacity < bytes.len() {
            assert_eq!(r2r_rcl::rcutils_uint8_array_resize(array, bytes.len()), 0);
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), array.buffer, bytes.len());
    }
    array.buffer_length = bytes.len();
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_up_to_a_bound() {
        let pool = Pool::new(1);
        let (first, second) = (filled(&pool, b"abc"), filled(&pool, b"defgh"));
        let address = first.as_ptr();
        assert_eq!((&*first, &*second), (&b"abc"[..], &b"defgh"[..]));
        drop(first);
        drop(second);
        let again = pool.take();
        assert_eq!((again.len(), again.capacity()), (0, 3));
        let other = filled(&pool, b"x");
        assert_eq!(other.capacity(), 1, "the second was one too many and is gone");
        drop(again);
        assert_eq!(filled(&pool, b"ab").as_ptr(), address);
    }

    #[test]
    fn a_buffer_outlives_its_pool() {
        let pool = Pool::new(4);
        let buffer = filled(&pool, b"abc");
        drop(pool);
        assert_eq!(&*buffer, b"abc");
    }
}
