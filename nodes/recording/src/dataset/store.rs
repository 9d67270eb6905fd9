//! The folder of a dataset: its lock, what is committed, and what is left over from crashes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::info::{CHUNK_FILES, Info, VERSION};
use super::reader::{EpisodeInfo, read_episodes, read_tasks};
use super::stats::{Stats, StoredStats};
use super::{DatasetError, at};
use crate::files::{Lock, LockError, rename, write_whole};

/// Everything that is committed, as the writer continues it.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    pub(super) info: Info,
    pub(super) tasks: Vec<String>,
    pub(super) stats: BTreeMap<String, Stats>,
    pub(super) episodes: Vec<EpisodeInfo>,
}

/// Reads and checks `info.json`.
pub(super) fn read_info(root: &Path) -> Result<Info, DatasetError> {
    let path = root.join("meta/info.json");
    let text = std::fs::read_to_string(&path).map_err(at(&path))?;
    let refuse = |problem: String| DatasetError::Meta { path: path.clone(), problem };
    let info: Info = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    if info.codebase_version != VERSION {
        return Err(refuse(format!("codebase_version: expected {VERSION}, got {}", info.codebase_version)));
    }
    if !(info.fps > 0.0 && info.fps <= 1000.0) {
        return Err(refuse(format!("fps: expected above 0 and up to 1000, got {}", info.fps)));
    }
    for pattern in [Some(&info.data_path), info.video_path.as_ref()].into_iter().flatten() {
        let climbs =
            Path::new(pattern).components().any(|part| !matches!(part, std::path::Component::Normal(_)));
        if climbs {
            return Err(refuse(format!("expected a path within the dataset, got {pattern}")));
        }
    }
    if let Some((key, _)) = info.features.0.iter().find(|(key, _)| key.contains('/') || key.contains("..")) {
        return Err(refuse(format!("features: a key with / or ..: {key}")));
    }
    Ok(info)
}

/// Where the statistics are.
const STATS: &str = "meta/stats.json";
/// The statistics as they were before the episode that is being committed.
pub(super) const STATS_BEFORE: &str = ".rec/stats-before.json";

/// `stats.json`; none when there is no such file.
pub(super) fn read_stats(root: &Path) -> Result<BTreeMap<String, Stats>, DatasetError> {
    read_stats_at(&root.join(STATS))
}

fn read_stats_at(path: &Path) -> Result<BTreeMap<String, Stats>, DatasetError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(at(path)(error)),
    };
    let refuse = |problem: String| DatasetError::Meta { path: path.to_owned(), problem };
    let stored: BTreeMap<String, StoredStats> =
        serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    stored
        .iter()
        .map(|(key, stats)| {
            let stats = stats.stats().ok_or_else(|| refuse(format!("{key}: lists of different lengths")))?;
            Ok((key.clone(), stats))
        })
        .collect()
}

/// The statistics of the committed episodes: a crash between `stats.json` and `info.json` leaves those of an episode more,
/// which would be counted twice once that episode is recovered.
fn settle_stats(root: &Path, info: &Info) -> Result<BTreeMap<String, Stats>, DatasetError> {
    let frames = |stats: &BTreeMap<String, Stats>| stats.get("index").map_or(0, |index| index.count);
    let stats = read_stats(root)?;
    let before = root.join(STATS_BEFORE);
    if frames(&stats) == info.total_frames || !before.exists() {
        return Ok(stats);
    }
    let earlier = read_stats_at(&before)?;
    if frames(&earlier) != info.total_frames {
        return Ok(stats);
    }
    rename(&before, &root.join(STATS)).map_err(at(&before))?;
    Ok(earlier)
}

impl Committed {
    /// Reads what is committed, and puts `stats.json` back where a crash left it ahead. For the holder of the lock.
    pub(super) fn read(root: &Path) -> Result<Self, DatasetError> {
        let info = read_info(root)?;
        let mut tasks = read_tasks(root)?;
        // A task that was written before a crash, but whose episode was not.
        tasks.truncate(info.total_tasks as usize);
        let mut episodes = read_episodes(root, &info)?;
        episodes.retain(|episode| episode.episode < info.total_episodes);
        let stats = settle_stats(root, &info)?;
        Ok(Self { info, tasks, stats, episodes })
    }

    /// The chunk and file behind the last that are in use, by what an episode says.
    pub(super) fn next_file(&self, of: impl Fn(&EpisodeInfo) -> Option<(u64, u64)>) -> (u64, u64) {
        match self.episodes.iter().filter_map(of).max() {
            None => (0, 0),
            Some((chunk, file)) if file + 1 >= CHUNK_FILES => (chunk + 1, 0),
            Some((chunk, file)) => (chunk, file + 1),
        }
    }

    /// Every file that belongs to a committed episode, relative to the root.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for episode in &self.episodes {
            let (chunk, file) = episode.data;
            files.push(PathBuf::from(Info::fill(&self.info.data_path, "", chunk, file)));
            files.push(episode.meta_file.clone());
            for (key, video) in &episode.videos {
                let pattern = self.info.video_path.as_deref().unwrap_or_default();
                files.push(PathBuf::from(Info::fill(pattern, key, video.chunk, video.file)));
            }
        }
        files
    }

    /// Moves files that no committed episode has to `.rec/orphans/`: a loader would take them for data.
    pub(super) fn quarantine(&self, root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
        let known = self.files();
        let mut moved = Vec::new();
        for folder in ["data", "meta/episodes", "videos"] {
            for path in files_below(&root.join(folder))? {
                let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
                if known.contains(&relative) {
                    continue;
                }
                let name = relative.to_string_lossy().replace('/', "_");
                let orphans = root.join(".rec/orphans");
                std::fs::create_dir_all(&orphans).map_err(at(&orphans))?;
                let mut place = orphans.join(&name);
                for number in 1.. {
                    if !place.exists() {
                        break;
                    }
                    place = orphans.join(format!("{name}.{number}"));
                }
                rename(&path, &place).map_err(at(&path))?;
                moved.push(relative);
            }
        }
        Ok(moved)
    }
}

/// All files below a folder, sorted.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&folder)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(at(&folder))?;
            let kind = entry.file_type().map_err(at(&folder))?;
            if kind.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes `info.json`, the commit.
pub(super) fn write_info(root: &Path, info: &Info) -> Result<(), DatasetError> {
    let path = root.join("meta/info.json");
    let text =
        info.json().map_err(|error| DatasetError::Meta { path: path.clone(), problem: error.to_string() })?;
    write_whole(&path, text.as_bytes()).map_err(at(&path))
}

/// Writes `stats.json`, keeping those `before` until `info.json` is written too.
pub(super) fn write_stats(
    root: &Path,
    info: &Info,
    before: &BTreeMap<String, Stats>,
    stats: &BTreeMap<String, Stats>,
) -> Result<(), DatasetError> {
    write_stats_before(root, info, before)?;
    write_stats_at(&root.join(STATS), info, stats)
}

/// Keeps statistics beside `stats.json`, for when `info.json` counts their frames.
pub(super) fn write_stats_before(
    root: &Path,
    info: &Info,
    before: &BTreeMap<String, Stats>,
) -> Result<(), DatasetError> {
    write_stats_at(&root.join(STATS_BEFORE), info, before)
}

/// Puts the statistics that were kept back in their place.
pub(super) fn restore_stats(root: &Path) -> Result<(), DatasetError> {
    let before = root.join(STATS_BEFORE);
    rename(&before, &root.join(STATS)).map_err(at(&before))
}

fn write_stats_at(path: &Path, info: &Info, stats: &BTreeMap<String, Stats>) -> Result<(), DatasetError> {
    let picture = |key: &str| info.features.get(key).is_some_and(super::FeatureInfo::is_picture);
    let stored: BTreeMap<&String, StoredStats> =
        stats.iter().map(|(key, stats)| (key, StoredStats::new(stats, picture(key)))).collect();
    let text = serde_json::to_string_pretty(&stored);
    let text =
        text.map_err(|error| DatasetError::Meta { path: path.to_owned(), problem: error.to_string() })?;
    write_whole(path, text.as_bytes()).map_err(at(path))
}

/// Holds a dataset against a second writer.
pub(super) fn lock(root: &Path) -> Result<Lock, DatasetError> {
    let folder = root.join(".rec");
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    Lock::take(&folder.join("lock")).map_err(|error| match error {
        LockError::Held => DatasetError::Locked { path: root.to_owned() },
        LockError::Io(path, reason) => at(&path)(reason),
    })
}
