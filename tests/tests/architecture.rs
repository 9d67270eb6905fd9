//! Holds the direction of dependence that ARCHITECTURE.md draws.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which workspace crates each crate may name in `[dependencies]`; whoever is not listed may name none.
const ALLOWED: &[(&str, &[&str])] = &[
    ("calibrating", &["calibration"]),
    ("calibration", &[]),
    ("control", &[]),
    ("network", &["calibration"]),
    ("perception", &["calibration", "control", "network"]),
    ("onnx", &["network", "perception"]),
    (
        "pixio",
        &[
            "calibrating",
            "calibration",
            "control",
            "network",
            "onnx",
            "perception",
            "recording",
            "robot",
            "tensorrt",
            "training",
            "wire",
        ],
    ),
    (
        "pixio_ros",
        &[
            "calibration",
            "control",
            "network",
            "onnx",
            "perception",
            "recording",
            "robot",
            "tensorrt",
            "wire",
        ],
    ),
    ("recording", &["calibration", "perception"]),
    ("tensorrt", &["calibration", "network", "perception"]),
    ("robot", &["calibration"]),
    ("tests", &["network", "onnx", "perception"]),
    ("training", &["calibration", "network"]),
    ("wire", &["calibration", "perception"]),
];

/// Outside crates that may appear, directly or not, only below the crates named.
const RESERVED: &[(&str, &[&str])] = &[
    ("r2r", &["pixio_ros"]),
    ("ort", &["onnx", "pixio", "pixio_ros", "tests"]),
    ("cudarc", &["tensorrt", "pixio", "pixio_ros"]),
    ("tokio", &["pixio_ros"]),
];

/// Files that may hold `unsafe`, as prefixes from the workspace root.
const UNSAFE_ALLOWED: &[&str] = &[
    "engines/onnx/src/memory.rs",
    "engines/tensorrt/",
    "nodes/ros/src/perception/picture.rs",
    "nodes/ros/src/raw",
];

fn metadata() -> Metadata {
    MetadataCommand::new().exec().expect("cargo metadata")
}

fn members(metadata: &Metadata) -> BTreeSet<String> {
    metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect()
}

/// Every package with the names of all it is built from, dev-dependencies left out.
fn closures(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.to_string())).collect();
    let edges: BTreeMap<_, Vec<_>> = metadata
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes)
        .map(|node| {
            let normal = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development));
            (&node.id, normal.map(|dep| &dep.pkg).collect())
        })
        .collect();
    let mut closures = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![&package.id]);
        while let Some(id) = queue.pop() {
            for next in edges.get(id).into_iter().flatten() {
                if seen.insert(names[next].clone()) {
                    queue.push(next);
                }
            }
        }
        closures.insert(package.name.to_string(), seen);
    }
    closures
}

#[test]
fn crates_depend_only_downwards() {
    let metadata = metadata();
    let members = members(&metadata);
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(name, below)| (*name, below.iter().copied().collect())).collect();
    for package in metadata.workspace_packages() {
        let Some(below) = allowed.get(package.name.as_str()) else {
            panic!("{} is not in the table of this test: add it, and to ARCHITECTURE.md", package.name);
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            let (name, inside) = (dependency.name.as_str(), members.contains(&dependency.name));
            assert!(!inside || below.contains(name), "{} must not depend on {name}", package.name);
        }
    }
}

#[test]
fn heavy_crates_stay_where_they_belong() {
    let closures = closures(&metadata());
    for (outside, homes) in RESERVED {
        for (member, below) in &closures {
            let at_home = homes.contains(&member.as_str());
            assert!(at_home || !below.contains(*outside), "{member} must not pull in {outside}");
        }
    }
    assert!(closures["pixio_ros"].contains("r2r"), "the table above would hold nothing");
    assert!(closures["onnx"].contains("ort"), "the table above would hold nothing");
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable folder").map(|entry| entry.expect("entry").path())
    {
        let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if entry.is_dir() && !hidden && !entry.ends_with("target") {
            rust_files(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

#[test]
fn unsafe_code_is_allowed_only_where_architecture_says() {
    let root = metadata().workspace_root.into_std_path_buf();
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 10, "no sources found under {}", root.display());
    let permission = ["allow(", "unsafe_code)"].concat();
    for file in files {
        let relative = file.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("source");
        let permitted = UNSAFE_ALLOWED.iter().any(|prefix| relative.starts_with(prefix));
        assert!(permitted || !text.contains(&permission), "{relative} allows unsafe code");
    }
}

#[test]
fn the_picture_names_every_crate() {
    let metadata = metadata();
    let picture =
        std::fs::read_to_string(metadata.workspace_root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for member in members(&metadata) {
        assert!(picture.contains(&format!("| `{member}` |")), "ARCHITECTURE.md has no line for {member}");
    }
}

/// CONTRIBUTING.md's limit; the scripts that made the files do not count.
#[test]
fn golden_files_stay_below_a_megabyte() {
    let folder = metadata().workspace_root.into_std_path_buf().join("tests/golden");
    let entries = std::fs::read_dir(&folder).expect("golden files").map(|entry| entry.expect("entry"));
    let files = entries.filter(|entry| {
        let script = entry.path().extension().is_some_and(|extension| extension == "py" || extension == "sh");
        entry.path().is_file() && !script
    });
    let sizes: Vec<u64> = files.map(|entry| entry.metadata().expect("metadata").len()).collect();
    assert!(sizes.len() > 10, "no golden files in {}", folder.display());
    assert!(sizes.iter().sum::<u64>() < 1_000_000, "golden files have {} bytes", sizes.iter().sum::<u64>());
}
