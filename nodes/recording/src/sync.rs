//! Tells the disk to keep a growing file, from a thread of its own: `fdatasync` may take long.

use std::fs::File;
use std::io::Error;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Syncs a file again and again until it is dropped or finished.
#[derive(Debug)]
pub(crate) struct Syncer {
    stop: Option<Sender<()>>,
    failed: Receiver<Error>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread.
    pub(crate) fn start(file: File, every: Duration) -> Result<Self, Error> {
        let ((stop, stopped), (fail, failed)) = (channel(), channel());
        let thread = std::thread::Builder::new().name("sync".to_owned()).spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = file.sync_data() {
                    // Nobody listens any more when the bag is being dropped.
                    let _ = fail.send(error);
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), failed, thread: Some(thread) })
    }

    /// What the disk complained about, if it did.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.failed.try_recv().map_or(Ok(()), Err)
    }

    /// Stops the thread and says what the disk complained about.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.end();
        self.check()
    }

    fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // The thread has no way to panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.end();
    }
}
