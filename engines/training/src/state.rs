//! A run's file: everything that the next step depends on, so that a run killed at any moment goes on to the same result.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::optimiser::Moments;
use crate::{Parameters, TrainingError};

/// Key of the description in the file's metadata.
const ABOUT: &str = "about";

/// What a run's file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// What the run is, in words that another run's differ from: settings and data.
    pub about: String,
    /// Steps done.
    pub step: u64,
    /// The parameters.
    pub parameters: Parameters,
    /// The optimiser's memory.
    pub moments: BTreeMap<String, Moments>,
    /// Whatever else the task remembers.
    pub memory: BTreeMap<String, Vec<f32>>,
}

impl State {
    /// Writes the file beside its place and moves it there when it is whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainingError> {
        let io = |reason| TrainingError::Io { path: path.to_owned(), reason };
        let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, parameter) in self.parameters.iter() {
            let shape = parameter.shape.clone();
            tensors.insert(format!("parameter/{name}"), (shape, bytes(&parameter.values)));
        }
        for (name, moments) in &self.moments {
            for (kind, values) in [("first", &moments.first), ("second", &moments.second)] {
                tensors.insert(format!("{kind}/{name}"), (vec![values.len()], bytes(values)));
            }
        }
        for (name, values) in &self.memory {
            tensors.insert(format!("memory/{name}"), (vec![values.len()], bytes(values)));
        }
        let refused = |error: safetensors::SafeTensorError| TrainingError::Run {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, (shape, bytes))| {
                TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
            })
            .collect();
        let metadata: HashMap<_, _> =
            [(ABOUT.to_owned(), self.about.clone()), ("step".to_owned(), self.step.to_string())].into();
        let beside = path.with_extension("partial");
        safetensors::serialize_to_file(views.map_err(refused)?, Some(metadata), &beside).map_err(refused)?;
        std::fs::File::open(&beside).and_then(|file| file.sync_all()).map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)
    }

    /// Reads the file of the run `about`.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or belongs to another run.
    pub fn read(path: &Path, about: &str) -> Result<Self, TrainingError> {
        let refused = |reason: String| TrainingError::Run { path: path.to_owned(), reason };
        let all =
            std::fs::read(path).map_err(|reason| TrainingError::Io { path: path.to_owned(), reason })?;
        let (_, header) = SafeTensors::read_metadata(&all).map_err(|error| refused(error.to_string()))?;
        let words = header.metadata().clone().unwrap_or_default();
        let theirs = words.get(ABOUT).cloned().unwrap_or_default();
        if theirs != about {
            return Err(refused(format!(
                "expected a run of these settings and data, got another; take another folder to begin anew\n  expected {about}\n  got      {theirs}"
            )));
        }
        let step = words.get("step").and_then(|step| step.parse().ok());
        let step = step.ok_or_else(|| refused("expected the number of steps in its metadata".to_owned()))?;
        let mut state = Self { about: theirs, step, ..Self::default() };
        let file = SafeTensors::deserialize(&all).map_err(|error| refused(error.to_string()))?;
        for (name, tensor) in file.iter() {
            state.take(name, &tensor).map_err(|reason| refused(format!("{name}: {reason}")))?;
        }
        Ok(state)
    }

    fn take(&mut self, name: &str, tensor: &TensorView<'_>) -> Result<(), String> {
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("expected float32, got {:?}", tensor.dtype()));
        }
        let values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let (kind, name) = name.split_once('/').ok_or("expected kind/name")?;
        match kind {
            "parameter" => self.parameters.insert(name.to_owned(), tensor.shape().to_vec(), values),
            "first" => self.moments.entry(name.to_owned()).or_default().first = values,
            "second" => self.moments.entry(name.to_owned()).or_default().second = values,
            "memory" => drop(self.memory.insert(name.to_owned(), values)),
            _ => return Err("expected parameter, first, second or memory".to_owned()),
        }
        Ok(())
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_its_file_and_refuses_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        let mut state = State { about: "a".to_owned(), step: 7, ..State::default() };
        state.parameters.insert("w".to_owned(), vec![1, 2], vec![0.25, f32::MIN_POSITIVE]);
        state.moments.insert("w".to_owned(), Moments { first: vec![1.0, 2.0], second: vec![3.0, 4.0] });
        state.memory.insert("hardness".to_owned(), vec![0.5]);
        state.write(&path).unwrap();
        assert_eq!(State::read(&path, "a").unwrap(), state);
        let error = State::read(&path, "b").unwrap_err().to_string();
        assert!(error.contains("expected b") && error.contains("run.safetensors"), "{error}");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(State::read(&path, "a").is_err());
    }
}
