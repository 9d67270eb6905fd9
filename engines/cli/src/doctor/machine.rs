//! What the doctor looks at: environment, files, sizes. Everything comes through here, so that tests can stand in for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All.
    pub total: u64,
    /// Free for this process.
    pub free: u64,
}

/// The machine as the doctor sees it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Where paths begin: `/`, or a folder that stands for it.
    pub root: PathBuf,
    /// The file system of /dev/shm.
    pub shared_memory: Option<Space>,
}

/// A shared library that the loader would find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Its file, links resolved.
    pub path: PathBuf,
    /// The numbers after `.so.` in that file's name.
    pub version: Vec<u32>,
}

/// Where loaders look besides LD_LIBRARY_PATH and /etc/ld.so.conf.d; Jetson's and CUDA's folders among them.
const LIBRARY_FOLDERS: [&str; 9] = [
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/nvidia",
    "/usr/lib/aarch64-linux-gnu/tegra",
    "/usr/local/cuda/lib64",
];

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let shared_memory = rustix::fs::statvfs("/dev/shm").ok();
        Self {
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            root: PathBuf::from("/"),
            shared_memory: shared_memory.map(|found| Space {
                total: found.f_blocks.saturating_mul(found.f_frsize),
                free: found.f_bavail.saturating_mul(found.f_frsize),
            }),
        }
    }

    /// An environment variable; one set to nothing counts as not set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The folders of a variable such as PATH.
    pub fn folders(&self, name: &str) -> Vec<PathBuf> {
        let folders = self.variable(name).unwrap_or_default().split(':');
        folders.filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
    }

    /// Where a path is below the root.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a file, if it is there and is text.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        std::fs::read_to_string(self.at(path)).ok()
    }

    /// The names in a folder, sorted; none when it is not there.
    pub fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The first library of that name (`libcuda`) where the loader looks.
    pub fn library(&self, name: &str) -> Option<Library> {
        let mut folders = self.folders("LD_LIBRARY_PATH");
        for file in self.names("/etc/ld.so.conf.d") {
            let text = self.read(Path::new("/etc/ld.so.conf.d").join(file)).unwrap_or_default();
            folders
                .extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from));
        }
        folders.extend(LIBRARY_FOLDERS.map(PathBuf::from));
        folders.iter().find_map(|folder| self.library_in(folder, name))
    }

    /// The library of that name in the folder that a variable names, if it does, else where the loader looks.
    pub fn library_of(&self, variable: &str, name: &str) -> Option<Library> {
        match self.variable(variable) {
            Some(folder) => self.library_in(Path::new(folder), name),
            None => self.library(name),
        }
    }

    /// The library of that name in a folder: the file with the longest version.
    fn library_in(&self, folder: &Path, name: &str) -> Option<Library> {
        let start = format!("{name}.so");
        let fits = |found: &String| {
            found.strip_prefix(&start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found = self.names(folder).into_iter().filter(fits).map(|found| {
            let path = self.at(folder.join(found));
            let path = path.canonicalize().unwrap_or(path);
            let version = version_of(&path);
            Library { path, version }
        });
        found.max_by_key(|library| library.version.len())
    }
}

/// The numbers after `.so.` in a file's name.
fn version_of(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbers = name.split_once(".so.").map(|(_, numbers)| numbers.to_owned()).unwrap_or_default();
    numbers.split('.').map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A machine of these variables and files, below a folder that goes away with the second value.
    pub fn stand_in(variables: &[(&str, &str)], files: &[(&str, &str)]) -> (Machine, tempfile::TempDir) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let machine = Machine {
            environment: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            root: root.path().to_owned(),
            shared_memory: Some(Space { total: 8 << 30, free: 8 << 30 }),
        };
        (machine, root)
    }

    #[test]
    fn libraries_are_found_as_the_loader_does() {
        let files = [
            ("/usr/lib/x86_64-linux-gnu/libnvinfer.so.10.16.2", ""),
            ("/usr/lib/x86_64-linux-gnu/libnvinfer.so.10", ""),
            ("/usr/lib/x86_64-linux-gnu/libnvinfer_plugin.so.10.3.0", ""),
            ("/etc/ld.so.conf.d/mine.conf", "# mine\n/opt/mine\n"),
            ("/opt/mine/libcuda.so.1", ""),
        ];
        let (mut machine, _root) = stand_in(&[], &files);
        assert_eq!(machine.library("libnvinfer").unwrap().version, [10, 16, 2]);
        assert!(machine.library("libcuda").unwrap().path.ends_with("opt/mine/libcuda.so.1"));
        assert_eq!(machine.library("libnothing"), None);
        machine.environment.insert("LD_LIBRARY_PATH".into(), "/first".into());
        std::fs::create_dir(machine.at("/first")).unwrap();
        std::fs::write(machine.at("/first/libnvinfer.so.10.3.0"), "").unwrap();
        assert_eq!(machine.library("libnvinfer").unwrap().version, [10, 3, 0], "the path given comes first");
    }

    #[test]
    fn this_machine_has_an_environment() {
        assert!(Machine::this().variable("PATH").is_some());
    }
}
