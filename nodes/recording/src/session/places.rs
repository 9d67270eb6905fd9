//! The folders of a session: free names, numbers of episodes, the lock, what a crash left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{SessionError, Settings};
use crate::bag::{IN_PROGRESS, recover_bag};
use crate::files::{Lock, LockError};

/// What a crash left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftBehind {
    /// The bag that was cut off.
    pub bag: PathBuf,
    /// Where it was saved, or why not.
    pub saved: Result<PathBuf, String>,
}

/// Holds a root against a second session.
pub(super) fn lock(root: &Path) -> Result<Lock, SessionError> {
    Lock::take(&root.join(".lock")).map_err(|error| match error {
        LockError::Held => SessionError::Locked { path: root.to_owned() },
        LockError::Io(path, reason) => SessionError::Io { path, reason },
    })
}

/// A free name in `rejected/` for a bag.
pub(super) fn rejected_place(root: &Path, bag: &Path) -> Result<PathBuf, SessionError> {
    let folder = root.join("rejected");
    std::fs::create_dir_all(&folder).map_err(|reason| SessionError::Io { path: folder.clone(), reason })?;
    let name = bag.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(free_name(&folder, &name))
}

/// A name that nothing has in a folder yet: `name`, `name_1`, ...
fn free_name(folder: &Path, name: &str) -> PathBuf {
    let mut place = folder.join(name);
    let mut number = 0;
    while place.symlink_metadata().is_ok() {
        number += 1;
        place = folder.join(format!("{name}_{number}"));
    }
    place
}

/// One more than the largest number among `episode_NNNNNN` and `episode_NNNNNN.recording`.
pub(super) fn next_number(bags: &Path) -> u64 {
    let entries = std::fs::read_dir(bags).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(IN_PROGRESS).unwrap_or(&name);
        name.strip_prefix("episode_")?.parse::<u64>().ok()
    };
    entries.filter_map(number).max().map_or(0, |largest| largest + 1)
}

/// Saves every bag that was cut off; its remains are removed once they are saved whole.
pub(super) fn recover_all(bags: &Path, settings: &Settings) -> Result<Vec<LeftBehind>, SessionError> {
    let io = |reason| SessionError::Io { path: bags.to_owned(), reason };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(bags).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(IN_PROGRESS) else { continue };
        let folder = settings.root.join("recovered");
        let place = free_name(&folder, name);
        let saved = std::fs::create_dir_all(&folder).map_err(|error| error.to_string()).and_then(|()| {
            recover_bag(&path, &place, settings.distro, BTreeMap::new()).map_err(|error| error.to_string())
        });
        let saved = saved.map(|recovery| recovery.place);
        if saved.is_ok() {
            std::fs::remove_dir_all(&path).map_err(io)?;
        }
        found.push(LeftBehind { bag: path, saved });
    }
    Ok(found)
}
