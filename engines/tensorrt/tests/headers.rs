//! The shim compiles without a warning against every set of headers that is at hand, and refuses those that are too old.
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Sets that `make setup` fetched (`PIXIO_TENSORRT_CHECKS`), and those in the folder that `PIXIO_TENSORRT_HEADERS` names, such as
/// the `include` folders of many versions, one beside the other.
fn sets() -> Vec<PathBuf> {
    let named =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let fetched = named("PIXIO_TENSORRT_CHECKS").map(|folder| folder.join("headers"));
    let folders = fetched.into_iter().chain(named("PIXIO_TENSORRT_HEADERS"));
    let entries = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut sets: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("NvInfer.h").is_file()).collect();
    sets.sort();
    sets
}

/// Major and minor number; the macros carry different names in different versions.
fn version(set: &Path) -> (u32, u32) {
    let text = std::fs::read_to_string(set.join("NvInferVersion.h")).unwrap();
    let number = |part: &str| {
        let defines = text.lines().filter_map(|line| line.strip_prefix("#define "));
        let numbers = defines.filter_map(|line| {
            let mut words = line.split_whitespace();
            let is_it = words.next()?.contains(&format!("_{part}"));
            words.next()?.parse().ok().filter(|_| is_it)
        });
        numbers.take(1).next().unwrap_or_else(|| panic!("{}: no {part}", set.display()))
    };
    (number("MAJOR"), number("MINOR"))
}

/// What the compiler says of the shim; nothing when all is well.
fn complaints(set: &Path, is_rtx: bool) -> String {
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim");
    let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned()));
    command.args(["-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]);
    command.arg("-isystem").arg(set).arg("-idirafter").arg(shim.join("stub"));
    command.arg(format!("-DPIXIO_RTX={}", u8::from(is_rtx))).arg("-DPIXIO_TABLE=pixio_table");
    command.args(["-Dnvinfer1=pixio_nvinfer1", "-Dnvonnxparser=pixio_nvonnxparser"]);
    let output = command.arg(shim.join("shim.cpp")).output().expect("a C++ compiler");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn the_shim_compiles_against_every_set() {
    let sets = sets();
    if std::env::var_os("PIXIO_TENSORRT_CHECKS").is_some() {
        assert!(sets.len() >= 6, "make setup fetches TensorRT 11.4 and RTX 1.3 to 1.7: {sets:?}");
    }
    for set in sets {
        let (major, minor) = version(&set);
        // TensorRT-RTX counts from 1, TensorRT is at 10 and 11.
        let is_rtx = major == 1;
        let said = complaints(&set, is_rtx);
        println!("{major}.{minor} {}: {}", set.display(), said.lines().next().unwrap_or("no warning"));
        if is_rtx && minor < 5 {
            assert!(
                said.contains("expected headers of TensorRT-RTX 1.5 or later"),
                "{}: {said}",
                set.display()
            );
        } else {
            assert_eq!(said, "", "{}", set.display());
        }
    }
}
