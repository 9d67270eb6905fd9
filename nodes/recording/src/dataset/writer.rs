//! Writing a dataset: rows into a log as they come, an episode's files at its end, `info.json` last.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::assembly::{self, Assembled};
use super::episode::OpenEpisode;
use super::info::{Info, difference, layout_of};
use super::layout::Layout;
use super::row::Row;
use super::spool::SpoolReader;
use super::store::{self, write_info, write_stats};
use super::tables::{EpisodeRow, write_episode, write_tasks};
use super::{DatasetError, at, parquet_at};
use crate::files::{Lock, beside, parent, rename, sync_folder};

/// Writes one dataset; nobody else can at the same time.
#[derive(Debug)]
pub struct DatasetWriter {
    root: PathBuf,
    layout: Layout,
    committed: store::Committed,
    /// What was committed before the last episode, when this writer committed that one.
    before_last: Option<store::Committed>,
    quarantined: Vec<PathBuf>,
    open: Option<OpenEpisode>,
    /// Episodes begun, for names.
    begun: AtomicU64,
    _lock: Lock,
}

/// An episode that is committed: it survives whatever comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its number.
    pub episode: u64,
    /// Its frames.
    pub frames: u64,
}

/// An episode that a crash left in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// The log.
    pub path: PathBuf,
    /// The task it was begun with.
    pub task: String,
    /// Rows that can be saved.
    pub rows: u64,
    /// Whether a last row was cut off.
    pub torn: bool,
}

impl DatasetWriter {
    /// Opens the dataset at `root` to continue it, or begins one. Files that no committed episode has, left by a crash,
    /// move to `.rec/orphans/`.
    ///
    /// # Errors
    /// Another writer, another layout than the dataset's (rate, robot, features), a damaged dataset, no permission.
    pub fn open(root: &Path, layout: Layout) -> Result<Self, DatasetError> {
        let meta = root.join("meta/episodes");
        std::fs::create_dir_all(&meta).map_err(at(&meta))?;
        let lock = store::lock(root)?;
        let committed = if root.join("meta/info.json").exists() {
            store::Committed::read(root)?
        } else {
            let info = Info::new(&layout);
            store::Committed { info, tasks: Vec::new(), stats: BTreeMap::new(), episodes: Vec::new() }
        };
        if let Some((what, stored, came)) = difference(&committed.info, &layout) {
            return Err(DatasetError::Mismatch { path: root.to_owned(), what, stored, came });
        }
        let quarantined = committed.quarantine(root)?;
        write_info(root, &committed.info)?;
        Ok(Self {
            root: root.to_owned(),
            layout,
            committed,
            before_last: None,
            quarantined,
            open: None,
            begun: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Opens a dataset to continue it as it is, for recovery.
    ///
    /// # Errors
    /// As [`DatasetWriter::open`]; or it was not written by this program.
    pub fn reopen(root: &Path) -> Result<Self, DatasetError> {
        let info = store::read_info(root)?;
        let refuse = |problem| DatasetError::Meta { path: root.join("meta/info.json"), problem };
        let layout = layout_of(&info).map_err(refuse)?;
        Self::open(root, layout)
    }

    /// Where the dataset is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it holds per frame.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Episodes that are committed.
    pub fn episodes(&self) -> u64 {
        self.committed.info.total_episodes
    }

    /// Files of no committed episode that opening moved to `.rec/orphans/`, relative to the root.
    pub fn quarantined(&self) -> &[PathBuf] {
        &self.quarantined
    }

    /// Rows of the episode in progress.
    pub fn rows(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.rows())
    }

    /// Begins an episode. The task is what a recovery after a crash uses.
    ///
    /// # Errors
    /// One is in progress already, or the file system says no.
    pub fn begin_episode(&mut self, task: &str) -> Result<(), DatasetError> {
        if self.open.is_some() {
            return Err(DatasetError::Order {
                expected: "the episode in progress to be committed or discarded first",
            });
        }
        self.open = Some(self.separate_episode(task)?);
        Ok(())
    }

    /// Begins an episode that is made beside others, to be given to [`DatasetWriter::commit_separate`].
    ///
    /// # Errors
    /// The file system says no.
    pub fn separate_episode(&self, task: &str) -> Result<OpenEpisode, DatasetError> {
        let folder = self.root.join(".rec");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("spool-{:06}-{now}-{number}", self.episodes()));
        let episode = OpenEpisode::begin(path, &self.layout, task)?;
        sync_folder(&folder).map_err(at(&folder))?;
        Ok(episode)
    }

    /// Appends a row to the episode in progress, see [`OpenEpisode::push`].
    ///
    /// # Errors
    /// No episode was begun; or as [`OpenEpisode::push`].
    pub fn push(&mut self, row: &Row) -> Result<(), DatasetError> {
        let expected = DatasetError::Order { expected: "an episode to be begun before rows" };
        self.open.as_mut().ok_or(expected)?.push(row)
    }

    /// Commits the episode in progress: all its files appear, `info.json` last. `provenance` (the bag, the contract,
    /// quality figures) goes to `meta/pixio/episodes.jsonl`.
    ///
    /// # Errors
    /// No rows, or the disk is full or gone: nothing is committed, and it can be tried again.
    pub fn commit(&mut self, task: &str, provenance: &serde_json::Value) -> Result<Committed, DatasetError> {
        let expected = DatasetError::Order { expected: "an episode with at least one row to commit" };
        let Some(open) = self.open.as_ref().filter(|open| open.rows() > 0) else {
            return Err(expected);
        };
        let path = open.path().to_owned();
        let committed = self.commit_spool(&path, task, provenance)?;
        self.open = None;
        Ok(committed)
    }

    /// Commits an episode that was made beside others, with its task.
    ///
    /// # Errors
    /// No rows, or the disk is full or gone: nothing is committed, and its log is left over.
    pub fn commit_separate(
        &mut self,
        episode: &OpenEpisode,
        provenance: &serde_json::Value,
    ) -> Result<Committed, DatasetError> {
        if episode.rows() == 0 {
            return Err(DatasetError::Order { expected: "an episode with at least one row to commit" });
        }
        self.commit_spool(episode.path(), episode.task(), provenance)
    }

    /// Throws the episode in progress away; nothing committed is touched.
    ///
    /// # Errors
    /// The file system says no.
    pub fn discard(&mut self) -> Result<(), DatasetError> {
        self.open.take().map_or(Ok(()), OpenEpisode::discard)
    }

    /// Takes the last episode out again, if this writer committed it and it was not taken out already. Its files move to
    /// `.rec/orphans/`.
    ///
    /// # Errors
    /// There is no such episode, or the disk is full or gone.
    pub fn take_back(&mut self) -> Result<(), DatasetError> {
        let Some(before) = self.before_last.take() else {
            return Err(DatasetError::Order {
                expected: "an episode that was committed just now to take back",
            });
        };
        // As long as `info.json` counts the episode it is whole; then the statistics before it are the ones that hold.
        store::write_stats_before(&self.root, &before.info, &before.stats)?;
        write_info(&self.root, &before.info)?;
        let provenance = serde_json::json!({"episode_index": before.info.total_episodes, "taken_back": true});
        self.append_line(&provenance)?;
        self.committed = before;
        store::restore_stats(&self.root)?;
        self.write_tasks(&self.committed.tasks)?;
        self.committed.quarantine(&self.root)?;
        Ok(())
    }

    /// Lets go of the episode in progress; its spool stays, as after a crash.
    pub fn leave(&mut self) {
        self.open = None;
    }

    /// Episodes that a crash left behind, oldest first, without the one in progress.
    ///
    /// # Errors
    /// The file system says no.
    pub fn left_over(&self) -> Result<Vec<LeftOver>, DatasetError> {
        let folder = self.root.join(".rec");
        let mut found = Vec::new();
        for path in store::files_below(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mine = self.open.as_ref().is_some_and(|open| open.path() == path);
            if mine || !name.starts_with("spool-") {
                continue;
            }
            let mut reader = match SpoolReader::open(&path, &self.layout) {
                Ok(reader) => reader,
                // Cut before its first row: there is nothing in it.
                Err(_) => continue,
            };
            let mut rows = 0;
            while reader.next().map_err(at(&path))?.is_some() {
                rows += 1;
            }
            found.push(LeftOver { task: reader.task().to_owned(), torn: reader.torn(), path, rows });
        }
        Ok(found)
    }

    /// Commits what a crash left behind, with the task it was begun with.
    ///
    /// # Errors
    /// No rows in it, or the disk is full or gone.
    pub fn recover(&mut self, left_over: &LeftOver) -> Result<Committed, DatasetError> {
        if left_over.rows == 0 {
            return Err(DatasetError::Order { expected: "an episode with at least one row to recover" });
        }
        let provenance = serde_json::json!({"recovered": true});
        self.commit_spool(&left_over.path, &left_over.task, &provenance)
    }

    fn commit_spool(
        &mut self,
        spool: &Path,
        task: &str,
        provenance: &serde_json::Value,
    ) -> Result<Committed, DatasetError> {
        let mut tasks = self.committed.tasks.clone();
        let task_index = tasks.iter().position(|known| known == task).unwrap_or_else(|| {
            tasks.push(task.to_owned());
            tasks.len() - 1
        });
        let mut made = Vec::new();
        let outcome =
            self.write_episode_files(spool, task, task_index as u64, &mut made).and_then(|assembled| {
                let mut info = self.committed.info.clone();
                info.add_episode(assembled.frames, tasks.len() as u64);
                let mut stats = self.committed.stats.clone();
                for (key, more) in &assembled.stats {
                    stats
                        .entry(key.clone())
                        .and_modify(|known| known.merge(more))
                        .or_insert_with(|| more.clone());
                }
                if tasks.len() > self.committed.tasks.len() || !self.root.join("meta/tasks.parquet").exists()
                {
                    self.write_tasks(&tasks)?;
                }
                self.append_provenance(&assembled, task, provenance)?;
                write_stats(&self.root, &info, &self.committed.stats, &stats)?;
                write_info(&self.root, &info)?;
                Ok((info, stats, assembled))
            });
        let (info, stats, assembled) = match outcome {
            Ok(done) => done,
            Err(error) => {
                // Not committed: a loader must not find them. What cannot be removed the next opening moves away.
                for path in made {
                    let _ = std::fs::remove_file(path);
                }
                return Err(error);
            }
        };
        let episode = info.total_episodes - 1;
        self.before_last = Some(self.committed.clone());
        self.committed.episodes.push(assembled.episode);
        self.committed.info = info;
        self.committed.tasks = tasks;
        self.committed.stats = stats;
        // No harm if it stays: it is looked at only when `stats.json` is ahead.
        let _ = std::fs::remove_file(self.root.join(store::STATS_BEFORE));
        std::fs::remove_file(spool).map_err(at(spool))?;
        Ok(Committed { episode, frames: assembled.frames })
    }

    /// Makes the episode's own files and gives them their names.
    fn write_episode_files(
        &self,
        spool: &Path,
        task: &str,
        task_index: u64,
        made: &mut Vec<PathBuf>,
    ) -> Result<Assembled, DatasetError> {
        let mut assembled = assembly::assemble(&self.root, &self.layout, &self.committed, spool, task_index)?;
        for path in &assembled.files {
            made.push(path.clone());
            rename(&beside(path), path).map_err(at(path))?;
        }
        let meta = self.committed.next_file(|episode| assembly::meta_place(&episode.meta_file));
        let meta_file =
            PathBuf::from(format!("meta/episodes/chunk-{:03}/file-{:03}.parquet", meta.0, meta.1));
        let path = self.root.join(&meta_file);
        let folder = parent(&path);
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        let info = &self.committed.info;
        let row = EpisodeRow {
            episode: info.total_episodes,
            task,
            frames: assembled.frames,
            from: info.total_frames,
            data: assembled.episode.data,
            videos: assembled
                .episode
                .videos
                .iter()
                .map(|(key, v)| (key.as_str(), (v.chunk, v.file)))
                .collect(),
            fps: self.layout.fps(),
            stats: assembled
                .stats
                .iter()
                .map(|(key, stats)| {
                    (key.as_str(), stats, info.features.get(key).is_some_and(|f| f.is_picture()))
                })
                .collect(),
            meta,
        };
        write_episode(&beside(&path), &row).map_err(parquet_at(&path))?;
        made.push(path.clone());
        rename(&beside(&path), &path).map_err(at(&path))?;
        assembled.episode.meta_file = meta_file;
        assembled.episode.tasks = vec![task.to_owned()];
        Ok(assembled)
    }

    fn write_tasks(&self, tasks: &[String]) -> Result<(), DatasetError> {
        let path = self.root.join("meta/tasks.parquet");
        write_tasks(&beside(&path), tasks).map_err(parquet_at(&path))?;
        rename(&beside(&path), &path).map_err(at(&path))
    }

    /// One line per episode; of two lines for one episode, after a crash, the later holds.
    fn append_provenance(
        &self,
        assembled: &Assembled,
        task: &str,
        provenance: &serde_json::Value,
    ) -> Result<(), DatasetError> {
        self.append_line(&serde_json::json!({
            "episode_index": self.committed.info.total_episodes, "frames": assembled.frames, "task": task,
            "first_nanos": assembled.first_nanos, "last_nanos": assembled.last_nanos,
            "repeated": assembled.repeated, "stale": assembled.stale, "provenance": provenance,
        }))
    }

    fn append_line(&self, line: &serde_json::Value) -> Result<(), DatasetError> {
        let path = self.root.join("meta/pixio/episodes.jsonl");
        let folder = parent(&path);
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(at(&path))?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(at(&path))?;
        file.sync_all().map_err(at(&path))
    }
}
