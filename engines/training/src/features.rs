//! Features of a frozen encoder, computed once and kept in a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::TrainingError;

/// What a file of features was computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturesOf {
    /// Hash of encoder, preprocessing and taps.
    pub encoder_id: String,
    /// Blocks whose tokens are kept.
    pub taps: Vec<usize>,
    /// Numbers of a tap, of one sample.
    pub tap_len: usize,
    /// Samples.
    pub samples: usize,
    /// Names and contents of what the features were computed of.
    pub data: String,
}

/// A file of features in half precision, sample after sample, tap after tap; a description in JSON lies beside it.
#[derive(Debug)]
pub struct Features {
    file: File,
    path: PathBuf,
    of: FeaturesOf,
}

/// Bytes of a number.
const BYTES: usize = 2;

impl Features {
    /// Opens the file, if it is there and whole.
    ///
    /// # Errors
    /// When it was computed from something else: another encoder, other taps, other data.
    pub fn open(path: &Path, of: &FeaturesOf) -> Result<Option<Self>, TrainingError> {
        let about = path.with_extension("json");
        if !about.exists() {
            return Ok(None);
        }
        let refused = |reason: String| TrainingError::Run { path: about.clone(), reason };
        let io = |path: &Path| {
            let path = path.to_owned();
            move |reason| TrainingError::Io { path, reason }
        };
        let text = std::fs::read_to_string(&about).map_err(io(&about))?;
        let theirs: FeaturesOf = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if theirs.encoder_id != of.encoder_id {
            let (expected, came) = (&of.encoder_id, &theirs.encoder_id);
            return Err(refused(format!(
                "expected features of the encoder {expected}, got those of {came}; remove the file, or take another run folder"
            )));
        }
        if theirs != *of {
            return Err(refused(format!(
                "expected features of {of:?}, got those of {theirs:?}; remove the file, or take another run folder"
            )));
        }
        let file = File::open(path).map_err(io(path))?;
        let (expected, came) = (of.byte_len(), file.metadata().map_err(io(path))?.len());
        if expected != came {
            return Err(refused(format!("expected {expected} bytes of features beside it, got {came}")));
        }
        Ok(Some(Self { file, path: path.to_owned(), of: of.clone() }))
    }

    /// Adds the features of one sample, all taps, to `into`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, sample: usize, into: &mut [Vec<f32>]) -> Result<(), TrainingError> {
        let mut bytes = vec![0; self.of.tap_len * BYTES];
        for (tap, into) in into.iter_mut().enumerate() {
            let offset = (sample * self.of.taps.len() + tap) * bytes.len();
            let read = self.file.read_exact_at(&mut bytes, offset as u64);
            read.map_err(|reason| TrainingError::Io { path: self.path.clone(), reason })?;
            let halves = bytes.as_chunks::<BYTES>().0.iter();
            into.extend(halves.map(|pair| half::f16::from_le_bytes(*pair).to_f32()));
        }
        Ok(())
    }

    /// What the features were computed from.
    pub fn of(&self) -> &FeaturesOf {
        &self.of
    }
}

impl FeaturesOf {
    fn byte_len(&self) -> u64 {
        (self.samples * self.taps.len() * self.tap_len * BYTES) as u64
    }
}

/// Writes a file of features; what was not finished is no file of features.
#[derive(Debug)]
pub struct FeaturesWriter {
    out: BufWriter<File>,
    path: PathBuf,
    of: FeaturesOf,
    numbers: usize,
}

impl FeaturesWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, of: FeaturesOf) -> Result<Self, TrainingError> {
        let file =
            File::create(path).map_err(|reason| TrainingError::Io { path: path.to_owned(), reason })?;
        Ok(Self { out: BufWriter::new(file), path: path.to_owned(), of, numbers: 0 })
    }

    /// Appends one tap of one sample.
    ///
    /// # Errors
    /// When a number is too large for half precision, or the file cannot be written.
    pub fn push(&mut self, values: &[f32]) -> Result<(), TrainingError> {
        for value in values {
            let half = half::f16::from_f32(*value);
            if !half.is_finite() {
                let reason = format!("expected features that half precision holds, got {value}");
                return Err(TrainingError::Run { path: self.path.clone(), reason });
            }
            let wrote = self.out.write_all(&half.to_le_bytes());
            wrote.map_err(|reason| TrainingError::Io { path: self.path.clone(), reason })?;
        }
        self.numbers += values.len();
        Ok(())
    }

    /// Ends the file and opens it.
    ///
    /// # Errors
    /// When samples are missing or it cannot be written.
    pub fn finish(mut self) -> Result<Features, TrainingError> {
        let io = |reason| TrainingError::Io { path: self.path.clone(), reason };
        self.out.flush().map_err(io)?;
        self.out.get_ref().sync_all().map_err(io)?;
        if (self.numbers * BYTES) as u64 != self.of.byte_len() {
            let reason = format!(
                "expected {} numbers of features, got {}",
                self.of.byte_len() / BYTES as u64,
                self.numbers
            );
            return Err(TrainingError::Run { path: self.path, reason });
        }
        let about = self.path.with_extension("json");
        let text = serde_json::to_string_pretty(&self.of).unwrap_or_default();
        // It appears at once and last: where it is, the features are whole.
        let beside = about.with_extension("partial");
        let wrote = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &about));
        wrote.map_err(|reason| TrainingError::Io { path: about.clone(), reason })?;
        let missing = "the file was removed while it was written".to_owned();
        Features::open(&self.path, &self.of)?.ok_or(TrainingError::Run { path: about, reason: missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(encoder_id: &str) -> FeaturesOf {
        FeaturesOf {
            encoder_id: encoder_id.to_owned(),
            taps: vec![1, 3],
            tap_len: 3,
            samples: 2,
            data: "a".to_owned(),
        }
    }

    #[test]
    fn features_come_back_and_those_of_another_encoder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.f16");
        assert!(Features::open(&path, &of("a")).unwrap().is_none());
        let mut writer = FeaturesWriter::create(&path, of("a")).unwrap();
        (0..4).for_each(|tap| writer.push(&[tap as f32, 0.5, -2.0]).unwrap());
        writer.finish().unwrap();
        let features = Features::open(&path, &of("a")).unwrap().unwrap();
        let mut taps = vec![Vec::new(), vec![9.0]];
        features.read(1, &mut taps).unwrap();
        assert_eq!(taps, [vec![2.0, 0.5, -2.0], vec![9.0, 3.0, 0.5, -2.0]]);
        let error = Features::open(&path, &of("b")).unwrap_err().to_string();
        assert!(error.contains("encoder b") && error.contains("features.json"), "{error}");
        std::fs::write(&path, [0; 7]).unwrap();
        assert!(Features::open(&path, &of("a")).is_err());
        let mut short = FeaturesWriter::create(&path, of("a")).unwrap();
        short.push(&[1e6]).unwrap_err();
        assert!(short.finish().is_err());
        let mut files: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, ["features.f16", "features.json"], "nothing half-written is left");
    }
}
