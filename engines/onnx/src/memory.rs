//! Freed memory, given back to the system.
#![allow(unsafe_code)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    /// From glibc: gives the free pages of every thread's arena back, but for `pad` bytes at the end.
    // SAFETY: the signature is that of malloc.h; any number will do, and any thread may call it at any time.
    safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
}

/// Gives back what was freed. A weight is smaller than what glibc surely maps by itself (a threshold that grows up to 32 MiB with the
/// blocks that are freed), so the copies that loading makes stay, free but resident, between blocks that live on: of Pixio-B/16
/// two thirds of the weights again on a program's first thread, twice the weights on others. It takes some 10 ms.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    malloc_trim(0);
}

/// Gives back what was freed when it is dropped itself: the last field of what holds much.
#[derive(Debug)]
pub(crate) struct GivesBack;

impl Drop for GivesBack {
    fn drop(&mut self) {
        give_back();
    }
}
