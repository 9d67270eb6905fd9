//! What the command line names: pictures, videos, and folders of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Endings of pictures.
pub const PICTURES: [&str; 3] = ["jpg", "jpeg", "png"];
const VIDEOS: [&str; 7] = ["mp4", "mov", "mkv", "webm", "avi", "m4v", "gif"];

/// One file to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Picture(PathBuf),
    Video(PathBuf),
}

impl Source {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_string_lossy().to_lowercase();
        if PICTURES.contains(&extension.as_str()) {
            return Some(Source::Picture(path.to_owned()));
        }
        VIDEOS.contains(&extension.as_str()).then(|| Source::Video(path.to_owned()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Source::Picture(path) | Source::Video(path) => path,
        }
    }

    /// The file's name without ending, which output files begin with.
    pub fn stem(&self) -> String {
        self.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The files named, and the pictures and videos in the folders named, each folder in the order of names.
///
/// # Errors
/// When a file is of no known kind, a folder holds none, or two files would write the same output.
pub fn find(named: &[PathBuf]) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for path in named {
        if path.is_dir() {
            found.extend(in_folder(path)?);
        } else if !path.exists() {
            bail!("{}: there is no such file or folder", path.display());
        } else {
            found.push(Source::of(path).with_context(|| {
                format!("{}: expected a file ending in {}, or a folder", path.display(), endings())
            })?);
        }
    }
    for (index, source) in found.iter().enumerate() {
        if let Some(other) = found[..index].iter().find(|other| other.stem() == source.stem()) {
            let (one, two) = (other.path().display(), source.path().display());
            bail!("{one} and {two} would write the same files: rename one, or run them apart");
        }
    }
    Ok(found)
}

fn in_folder(folder: &Path) -> Result<Vec<Source>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let inside: Vec<_> =
        paths.iter().filter(|path| path.is_file()).filter_map(|path| Source::of(path)).collect();
    if inside.is_empty() {
        bail!("{}: expected files ending in {} in this folder, found none", folder.display(), endings());
    }
    Ok(inside)
}

fn endings() -> String {
    PICTURES.iter().chain(&VIDEOS).map(|ending| format!(".{ending}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_found_in_order_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.PNG", "a.jpg", "c.mp4", "notes.txt"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let at = |name: &str| folder.path().join(name);
        let found = find(&[folder.path().to_owned()]).unwrap();
        let expected =
            [Source::Picture(at("a.jpg")), Source::Picture(at("b.PNG")), Source::Video(at("c.mp4"))];
        assert_eq!(found, expected);
        let refused = |paths: &[&str]| {
            find(&paths.iter().map(|path| at(path)).collect::<Vec<_>>()).unwrap_err().to_string()
        };
        assert!(refused(&["notes.txt"]).contains("expected a file ending in .jpg"));
        assert!(refused(&["gone.png"]).contains("no such file"));
        assert!(refused(&["a.jpg", "a.jpg"]).contains("the same files"));
        std::fs::create_dir(at("empty")).unwrap();
        assert!(refused(&["empty"]).contains("found none"));
    }
}
