//! Files that are there whole or not at all.

use std::fs::{File, Metadata, TryLockError};
use std::io::{Error, Write};
use std::path::{Path, PathBuf};

/// Makes a folder's entries (new files, renames) survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path)?.sync_all()
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Renames within one file system, then syncs the folder of the new name.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to)?;
    sync_folder(&parent(to))
}

/// Writes a file beside its place, syncs it, and renames it there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&beside, path)
}

/// Where a file is made before it is renamed to `path`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Whether an open file has no name any more: its folder was removed, and what is written to it is lost.
pub(crate) fn is_removed(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 0
}

/// Why a lock cannot be had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody else has it.
    Held,
    /// The file system says no.
    Io(PathBuf, Error),
}

/// A file held against all others who want it, of this process or another, as long as this value lives or the process does.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let io = |error| LockError::Io(path.to_owned(), error);
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }
}
