//! The thread that waits for all raw subscriptions and takes from them.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use r2r::QosProfile;
use r2r_rcl::{rcl_guard_condition_t, rcl_wait_set_t};

use super::error::check;
use super::participant::Participant;
use super::queue::{Message, Queue};
use super::subscription::Subscription;
use super::support::TypeSupport;
use super::{RawError, TypeName};

/// How long one wait lasts; commands end it at once.
const WAIT: Duration = Duration::from_millis(500);
/// How many messages of one subscription are taken before the others have their turn.
const TURN: usize = 32;
/// How many messages of a replaced subscription are taken at most: more than any history holds by default.
const MOST_HANDED_OVER: usize = 10_000;

enum Command {
    Add(Box<Subscription>),
    Remove(usize),
    Stop,
}

/// Raw subscriptions, all taken from on one thread, into one queue.
pub struct Receiver {
    participant: Arc<Participant>,
    guard: Arc<Guard>,
    commands: mpsc::Sender<Command>,
    errors: Arc<Mutex<BTreeMap<usize, RawError>>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

impl Receiver {
    /// Starts the thread; messages go into `queue`.
    ///
    /// # Errors
    /// When rcl refuses a guard condition or the system a thread.
    pub fn start(participant: Arc<Participant>, queue: Arc<Queue>) -> Result<Self, RawError> {
        let guard = Arc::new(Guard::new(&participant)?);
        let (commands, inbox) = mpsc::channel();
        let errors = Arc::new(Mutex::default());
        let worker = Worker {
            participant: participant.clone(),
            guard: guard.clone(),
            inbox,
            queue,
            errors: errors.clone(),
            subscriptions: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("raw receiver".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| RawError::Thread(error.to_string()))?;
        Ok(Self { participant, guard, commands, errors, thread: Some(thread) })
    }

    /// Subscribes to a topic by its full name; a subscription of the same `stream` is replaced once the new one has a message, so
    /// that no message is lost or comes twice in between (where the middleware numbers messages).
    ///
    /// # Errors
    /// When the type is not installed, or rcl refuses the topic or the quality of service.
    pub fn subscribe(
        &self,
        stream: usize,
        topic: &str,
        kind: &TypeName,
        qos: &QosProfile,
    ) -> Result<(), RawError> {
        let support = TypeSupport::load(kind, &super::definition::prefixes())?;
        let subscription = Subscription::new(&self.participant, &support, stream, topic, qos)?;
        self.send(Command::Add(Box::new(subscription)))
    }

    /// Ends the subscription of a stream.
    ///
    /// # Errors
    /// When the thread cannot be woken.
    pub fn unsubscribe(&self, stream: usize) -> Result<(), RawError> {
        self.send(Command::Remove(stream))
    }

    /// The last failure to take from a stream's subscription since this was last asked.
    pub fn error(&self, stream: usize) -> Option<RawError> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream)
    }

    fn send(&self, command: Command) -> Result<(), RawError> {
        let gone = |_| RawError::Thread("it has ended".to_owned());
        self.commands.send(command).map_err(gone)?;
        self.guard.trigger()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // A thread that is not woken wakes by itself after `WAIT`.
        let _ = self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    participant: Arc<Participant>,
    guard: Arc<Guard>,
    inbox: mpsc::Receiver<Command>,
    queue: Arc<Queue>,
    errors: Arc<Mutex<BTreeMap<usize, RawError>>>,
    subscriptions: Vec<Subscription>,
}

impl Worker {
    fn run(mut self) {
        let mut set = None;
        while let Some(mut changed) = self.obey() {
            let before = self.subscriptions.len();
            self.subscriptions.retain(|subscription| !subscription.is_retired());
            changed |= self.subscriptions.len() != before;
            if changed || set.is_none() {
                set = WaitSet::new(&self.participant, self.subscriptions.len()).ok();
            }
            let ready = match &mut set {
                Some(set) => set.wait(&self.subscriptions, &self.guard),
                None => Err(RawError::Thread("no wait set".to_owned())),
            };
            match ready {
                Ok(ready) => ready.into_iter().for_each(|index| self.take(index)),
                Err(error) => {
                    self.fail_all(&error);
                    set = None;
                    std::thread::sleep(WAIT);
                }
            }
        }
    }

    /// Carries out what was asked. Whether the subscriptions changed; nothing when the thread should end.
    fn obey(&mut self) -> Option<bool> {
        let mut changed = false;
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Add(subscription)) => {
                    self.keep_one_predecessor(subscription.stream());
                    self.subscriptions.push(*subscription);
                }
                Ok(Command::Remove(stream)) => self.subscriptions.retain(|old| old.stream() != stream),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => return Some(changed),
            }
            changed = true;
        }
    }

    /// Of several subscriptions of a stream only the one that works: the oldest, whose successors have no message yet.
    fn keep_one_predecessor(&mut self, stream: usize) {
        let mut seen = false;
        self.subscriptions.retain(|old| {
            !old.is_retired() && (old.stream() != stream || !std::mem::replace(&mut seen, true))
        });
    }

    fn take(&mut self, index: usize) {
        for _ in 0..TURN {
            let Some(subscription) = self.subscriptions.get_mut(index) else { return };
            match subscription.take() {
                Ok(Some(message)) => {
                    self.take_over(index, message.sequence.is_some());
                    self.put(index, message);
                }
                Ok(None) => return,
                Err(error) => {
                    let stream = subscription.stream();
                    self.errors.lock().unwrap_or_else(PoisonError::into_inner).insert(stream, error);
                    return;
                }
            }
        }
    }

    /// Ends the subscription that this one, which now has a message, replaces. What came there before that message is taken first.
    fn take_over(&mut self, index: usize, numbered: bool) {
        let stream = self.subscriptions[index].stream();
        let older = |old: &Subscription| old.stream() == stream && !old.is_retired();
        let Some(from) = self.subscriptions[..index].iter().position(older) else { return };
        // Without numbers nobody could tell which of these the new subscription has as well.
        for _ in 0..if numbered { MOST_HANDED_OVER } else { 0 } {
            let Ok(Some(message)) = self.subscriptions[from].take() else { break };
            self.put(from, message);
        }
        let (before, after) = self.subscriptions.split_at_mut(index);
        after[0].succeed(&mut before[from]);
    }

    fn put(&mut self, index: usize, message: Message) {
        if let Some(lost) = self.subscriptions[index].missing_before(&message) {
            self.queue.put(message, lost);
        }
    }

    fn fail_all(&self, error: &RawError) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for subscription in &self.subscriptions {
            errors.insert(subscription.stream(), error.clone());
        }
    }
}

/// Wakes a waiting thread.
struct Guard {
    handle: Box<UnsafeCell<rcl_guard_condition_t>>,
    _participant: Arc<Participant>,
}

// SAFETY: rcl ties guard conditions to no thread, and triggering one while another thread waits on it is what it is for.
unsafe impl Send for Guard {}
// SAFETY: as above; besides triggering and waiting nothing is done through a shared reference.
unsafe impl Sync for Guard {}

impl Guard {
    fn new(participant: &Arc<Participant>) -> Result<Self, RawError> {
        // SAFETY: a plain constructor.
        let empty = unsafe { r2r_rcl::rcl_get_zero_initialized_guard_condition() };
        let handle = Box::new(UnsafeCell::new(empty));
        // SAFETY: the handle is zero-initialised and boxed; the context lives as long as the participant, which is kept.
        let code = unsafe {
            let options = r2r_rcl::rcl_guard_condition_get_default_options();
            r2r_rcl::rcl_guard_condition_init(handle.get(), participant.context(), options)
        };
        check(code, || "guard condition".to_owned())?;
        Ok(Self { handle, _participant: participant.clone() })
    }

    fn trigger(&self) -> Result<(), RawError> {
        // SAFETY: the handle is initialised; triggering from any thread is allowed.
        let code = unsafe { r2r_rcl::rcl_trigger_guard_condition(self.handle.get()) };
        check(code, || "waking the receiving thread".to_owned())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`; the last owner drops it, so nobody waits on it.
        unsafe { r2r_rcl::rcl_guard_condition_fini(self.handle.get()) };
    }
}

/// What one wait waits for: so many subscriptions and the guard condition.
struct WaitSet {
    set: rcl_wait_set_t,
    _participant: Arc<Participant>,
}

impl WaitSet {
    fn new(participant: &Arc<Participant>, subscriptions: usize) -> Result<Self, RawError> {
        // SAFETY: the set is zero-initialised; the context lives as long as the participant, which is kept.
        let (set, code) = unsafe {
            let mut set = r2r_rcl::rcl_get_zero_initialized_wait_set();
            let allocator = r2r_rcl::rcutils_get_default_allocator();
            let context = participant.context();
            let code = r2r_rcl::rcl_wait_set_init(&mut set, subscriptions, 1, 0, 0, 0, 0, context, allocator);
            (set, code)
        };
        check(code, || "wait set".to_owned())?;
        Ok(Self { set, _participant: participant.clone() })
    }

    /// Waits; the indices of the subscriptions that have messages.
    fn wait(&mut self, subscriptions: &[Subscription], guard: &Guard) -> Result<Vec<usize>, RawError> {
        // SAFETY: the set has room for exactly these handles (it is made anew when their number changes), and they live until
        // the wait has ended, because `subscriptions` and `guard` are borrowed.
        let code = unsafe {
            check(r2r_rcl::rcl_wait_set_clear(&mut self.set), || "clearing the wait set".to_owned())?;
            for subscription in subscriptions {
                let code = r2r_rcl::rcl_wait_set_add_subscription(
                    &mut self.set,
                    subscription.handle(),
                    std::ptr::null_mut(),
                );
                check(code, || "waiting for a subscription".to_owned())?;
            }
            let code = r2r_rcl::rcl_wait_set_add_guard_condition(
                &mut self.set,
                guard.handle.get(),
                std::ptr::null_mut(),
            );
            check(code, || "waiting for commands".to_owned())?;
            r2r_rcl::rcl_wait(&mut self.set, WAIT.as_nanos() as i64)
        };
        if code == r2r_rcl::RCL_RET_TIMEOUT as i32 {
            return Ok(Vec::new());
        }
        check(code, || "waiting for messages".to_owned())?;
        if subscriptions.is_empty() {
            return Ok(Vec::new());
        }
        // SAFETY: rcl keeps an array of as many entries as subscriptions were added, and nulls those without messages.
        let entries = unsafe { std::slice::from_raw_parts(self.set.subscriptions, subscriptions.len()) };
        Ok((0..entries.len()).filter(|index| !entries[*index].is_null()).collect())
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, and nobody waits: that needs `&mut self`.
        unsafe { r2r_rcl::rcl_wait_set_fini(&mut self.set) };
    }
}
