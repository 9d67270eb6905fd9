//! Newest-only slots between threads: nothing queues, so nothing is ever served stale.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// One slot per camera. A new value replaces the one that nobody took; the taker goes round the cameras in turn.
#[derive(Debug)]
pub struct Latest<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    slots: Vec<Option<T>>,
    next: usize,
    closed: bool,
}

impl<T> Latest<T> {
    /// Empty slots for so many cameras.
    pub fn new(cameras: usize) -> Self {
        let slots = (0..cameras).map(|_| None).collect();
        Self { state: Mutex::new(State { slots, next: 0, closed: false }), filled: Condvar::new() }
    }

    /// Puts a camera's newest value and returns the one that nobody took.
    pub fn put(&self, camera: usize, value: T) -> Option<T> {
        let replaced = self.lock().slots.get_mut(camera).and_then(|slot| slot.replace(value));
        self.filled.notify_one();
        replaced
    }

    /// Waits for a value; nothing once the slots are closed.
    pub fn take(&self) -> Option<(usize, T)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(taken) = state.take_in_turn() {
                return Some(taken);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes everyone who waits, for good.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// A panic elsewhere does not spoil the slots.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take_in_turn(&mut self) -> Option<(usize, T)> {
        let count = self.slots.len();
        let camera = (0..count).map(|step| (self.next + step) % count).find(|i| self.slots[*i].is_some())?;
        self.next = (camera + 1) % count;
        self.slots[camera].take().map(|value| (camera, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn only_the_newest_is_taken() {
        let latest = Latest::new(1);
        assert_eq!(latest.put(0, 1), None);
        assert_eq!(latest.put(0, 2), Some(1));
        assert_eq!(latest.take(), Some((0, 2)));
    }

    #[test]
    fn a_busy_camera_does_not_starve_another() {
        let latest = Latest::new(2);
        latest.put(0, "a");
        latest.put(1, "b");
        assert_eq!(latest.take(), Some((0, "a")));
        latest.put(0, "c");
        assert_eq!(latest.take(), Some((1, "b")));
        assert_eq!(latest.take(), Some((0, "c")));
    }

    #[test]
    fn closing_wakes_the_taker() {
        let latest = Arc::new(Latest::<u8>::new(1));
        let waiting = std::thread::spawn({
            let latest = latest.clone();
            move || latest.take()
        });
        latest.close();
        assert_eq!(waiting.join().unwrap(), None);
    }
}
