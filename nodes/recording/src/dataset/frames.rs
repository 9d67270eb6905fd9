//! What training reads: the numbers and the pictures of an episode, frame after frame.

use std::fs::File;
use std::path::PathBuf;

use calibration::Size;

use super::mp4::Mp4Track;
use super::reader::{ColumnData, DatasetReader, EpisodeInfo};
use super::video::FrameDecoder;
use super::{DatasetError, at};

/// The pictures of one feature of an episode, in the order of its frames: their size and RGB, three bytes per pixel, rows from
/// the top. Ends after an error.
#[derive(Debug)]
pub struct Pictures {
    source: Source,
    left: u64,
}

enum Source {
    Video { path: PathBuf, file: File, track: Mp4Track, decoder: Box<FrameDecoder>, next: usize },
    Stills { path: PathBuf, key: String, files: std::vec::IntoIter<Vec<u8>> },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Video { path, .. } | Self::Stills { path, .. }) = self;
        f.debug_tuple("Source").field(path).finish()
    }
}

impl DatasetReader {
    /// Frames per second.
    pub fn fps(&self) -> f64 {
        self.info().fps
    }

    /// What the numbers of a feature are called, in their order; empty when the dataset does not say.
    pub fn names(&self, key: &str) -> Vec<String> {
        let names = self.info().features.get(key).and_then(|feature| feature.names.as_array());
        let text = |name: &serde_json::Value| name.as_str().unwrap_or_default().to_owned();
        names.map_or(Vec::new(), |names| names.iter().map(text).collect())
    }

    /// Features whose values are pictures.
    pub fn picture_keys(&self) -> impl Iterator<Item = &str> {
        self.info().features.0.iter().filter(|(_, feature)| feature.is_picture()).map(|(key, _)| key.as_str())
    }

    /// The numbers of a feature over an episode: how many there are per frame, and all of them, frame after frame. Whole numbers
    /// above 2^53 (nanoseconds since 1970) are rounded to 256.
    ///
    /// # Errors
    /// No such feature, one that holds no numbers, or a damaged file.
    pub fn numbers(&self, episode: &EpisodeInfo, key: &str) -> Result<(usize, Vec<f64>), DatasetError> {
        match self.columns(episode, &[key])?.remove(key) {
            Some(ColumnData::Numbers { length, values }) => Ok((length, values)),
            _ => Err(DatasetError::Parquet {
                path: self.data_file(episode),
                problem: format!("{key}: expected numbers"),
            }),
        }
    }

    /// The pictures of an episode from its first frame on, out of its rows or its video (H.264 only); a video is decoded once,
    /// where [`DatasetReader::picture`] begins at the last key frame each time.
    ///
    /// # Errors
    /// No such feature, or a damaged file.
    pub fn pictures(&self, episode: &EpisodeInfo, key: &str) -> Result<Pictures, DatasetError> {
        let left = episode.frames;
        if let (Some(path), Some(place)) = (self.video_file(episode, key), episode.videos.get(key)) {
            let track = Mp4Track::open(&path)?;
            let first = (place.from_secs * self.fps()).round().max(0.0) as usize;
            let decoder =
                FrameDecoder::new().map_err(|problem| DatasetError::Video { path: path.clone(), problem })?;
            let file = File::open(&path).map_err(at(&path))?;
            let next = track.key_frame_before(first);
            let source = Source::Video { path, file, track, decoder: Box::new(decoder), next };
            let mut pictures = Pictures { source, left: left + (first - next) as u64 };
            for _ in next..first {
                pictures.next().transpose()?;
            }
            return Ok(pictures);
        }
        let path = self.data_file(episode);
        let Some(ColumnData::Pictures(files)) = self.columns(episode, &[key])?.remove(key) else {
            return Err(DatasetError::Parquet { path, problem: format!("{key}: expected pictures") });
        };
        let files = files.into_iter();
        Ok(Pictures { source: Source::Stills { path, key: key.to_owned(), files }, left })
    }
}

impl Pictures {
    fn read(&mut self) -> Result<(Size, Vec<u8>), DatasetError> {
        match &mut self.source {
            Source::Video { path, file, track, decoder, next } => {
                let unit = track.access_unit(path, file, *next)?;
                *next += 1;
                decoder.decode(&unit).map_err(|problem| DatasetError::Video { path: path.clone(), problem })
            }
            Source::Stills { path, key, files } => {
                let refuse = |problem| DatasetError::Parquet {
                    path: path.clone(),
                    problem: format!("{key}: {problem}"),
                };
                let bytes = files.next().ok_or_else(|| refuse("fewer pictures than frames".to_owned()))?;
                let rgb = super::picture::decode(&bytes).map_err(refuse)?.into_rgb8();
                Ok((super::picture::size_of(&rgb), rgb.into_raw()))
            }
        }
    }
}

impl Iterator for Pictures {
    type Item = Result<(Size, Vec<u8>), DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        if read.is_err() {
            self.left = 0;
        }
        Some(read)
    }
}
