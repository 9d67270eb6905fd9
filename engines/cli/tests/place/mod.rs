//! A folder in which a test runs the tool as its user does.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// A folder of a test's own.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the tool here; arguments are divided by single spaces.
    pub fn pixio(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
        command.args(arguments.split(' ')).current_dir(self.folder.path()).output().unwrap()
    }

    /// What it prints, when it succeeds.
    pub fn succeeds(&self, arguments: &str) -> String {
        let output = self.pixio(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains of, when it fails as it should.
    pub fn fails(&self, arguments: &str) -> String {
        let output = self.pixio(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.at(name)).unwrap()).unwrap()
    }
}

/// A number of a JSON file, by its path.
pub fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {value}"))
}
