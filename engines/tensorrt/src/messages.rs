//! What the library says: its errors and warnings, and the list of layers that a build prints.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use perception::EngineError;

use crate::layers::{self, Layer};
use crate::library::{Flavour, Library};

/// Lines kept of each kind; a library may say the same thing for every frame.
const MOST_LINES: usize = 100;

/// The longest list of layers that is kept, in bytes.
const MOST_LAYER_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
struct Said {
    errors: VecDeque<String>,
    warnings: VecDeque<String>,
    layers: String,
}

impl Said {
    fn hear(&mut self, severity: i32, text: &str) {
        let lines = match severity {
            ..=1 => &mut self.errors,
            2 => &mut self.warnings,
            _ => {
                if layers::is_list(text) && self.layers.len() + text.len() <= MOST_LAYER_BYTES {
                    self.layers.push_str(text);
                }
                return;
            }
        };
        if lines.len() == MOST_LINES {
            lines.pop_front();
        }
        lines.push_back(text.trim().to_owned());
    }
}

/// What hears a library. A library registers the first logger that it is given for as long as anything lives that was made with any,
/// warns of a second one, and goes on using the first even when all that was made with it is gone (seen with TensorRT-RTX 1.7.1). So
/// there is one for each flavour, which stays until the process ends.
#[derive(Debug)]
pub struct Logger {
    handle: NonNull<c_void>,
    /// Where `hear` writes; its address is given to the library.
    said: &'static Mutex<Said>,
}

// SAFETY: the handle is used by the library alone, from any thread; what it writes to is behind a lock.
unsafe impl Send for Logger {}
// SAFETY: as above.
unsafe impl Sync for Logger {}

impl Logger {
    /// The logger of a library's flavour.
    pub fn of(library: &Library) -> Result<&'static Self, EngineError> {
        static LOGGERS: [Mutex<Option<&'static Logger>>; 2] = [Mutex::new(None), Mutex::new(None)];
        let place = usize::from(library.flavour() == Flavour::TensorRtRtx);
        let mut known = LOGGERS[place].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(logger) = *known {
            return Ok(logger);
        }
        let said: &'static Mutex<Said> = Box::leak(Box::<Mutex<Said>>::default());
        let user = std::ptr::from_ref(said).cast_mut().cast();
        // SAFETY: `user` points to what is never freed.
        let handle = NonNull::new(unsafe { (library.table().logger_create)(hear, user) });
        let handle =
            handle.ok_or_else(|| library.flavour().unavailable("no memory for a logger".to_owned()))?;
        let logger: &'static Self = Box::leak(Box::new(Self { handle, said }));
        *known = Some(logger);
        Ok(logger)
    }

    pub fn handle(&self) -> *mut c_void {
        self.handle.as_ptr()
    }

    fn with<T>(&self, read: impl FnOnce(&mut Said) -> T) -> T {
        read(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets all that was said so far: what a build says after this is the build's.
    pub fn forget(&self) {
        self.with(|said| *said = Said::default());
    }

    /// The errors since the last call of this, one a line; or that there were none.
    pub fn take_errors(&self) -> String {
        let lines: Vec<_> = self.with(|said| said.errors.drain(..).collect());
        if lines.is_empty() { "the library gave no reason".to_owned() } else { lines.join("\n  ") }
    }

    /// The warnings since the last call of this.
    pub fn take_warnings(&self) -> Vec<String> {
        self.with(|said| said.warnings.drain(..).collect())
    }

    /// The layers that were listed since the last call of this; none if no list was printed.
    pub fn take_layers(&self) -> Vec<Layer> {
        layers::read(&self.with(|said| std::mem::take(&mut said.layers)))
    }
}

/// Called by the library, from any of its threads.
unsafe extern "C" fn hear(user: *mut c_void, severity: i32, text: *const c_char) {
    // A panic must not reach C++; a line that cannot be kept is let go.
    drop(std::panic::catch_unwind(|| {
        // SAFETY: `user` is what the logger that is being called writes to; `text` is a string of the library's.
        let (said, text) = unsafe { (&*user.cast::<Mutex<Said>>(), CStr::from_ptr(text)) };
        said.lock().unwrap_or_else(PoisonError::into_inner).hear(severity, &text.to_string_lossy());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_by_kind_and_bounded() {
        let mut said = Said::default();
        (0..300).for_each(|i| said.hear(1, &format!("error {i}\n")));
        said.hear(2, "warning");
        said.hear(3, "chatter");
        said.hear(4, "Engine Layer Information:\nLayer(gemm): a");
        assert_eq!(said.errors.len(), MOST_LINES);
        assert_eq!(said.errors.back().unwrap(), "error 299");
        assert_eq!(said.warnings, ["warning"]);
        assert!(said.layers.ends_with("Layer(gemm): a"));
    }
}
