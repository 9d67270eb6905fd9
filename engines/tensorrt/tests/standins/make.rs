//! Builds the stand-in for libcuda and TensorRT (`standin.cpp`) against the headers that the engine was built against.
// Every user of this file takes one of the two.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tensorrt::Flavour;

/// The classes of `NvInferImpl.h` that the stand-in implements.
const CLASSES: [&str; 7] = [
    "VHostMemory",
    "VNetworkDefinition",
    "VBuilderConfig",
    "VBuilder",
    "VExecutionContext",
    "VCudaEngine",
    "VRuntime",
];

/// Builds the stand-in in a folder, under every name that the engine looks for; the path of the file itself.
pub fn stand_in(flavour: Flavour, folder: &Path) -> PathBuf {
    // The loader knows a library by its soname: whoever asks for `libcuda.so` later gets this one.
    make(flavour, folder, "libcuda.so", &["-Wl,-soname,libcuda.so"])
}

/// Builds the stand-in for TensorRT alone, whose networks copy their inputs on the machine's own GPU.
pub fn on_real_driver(flavour: Flavour, folder: &Path) -> PathBuf {
    make(flavour, folder, "libpixio_copies.so", &["-DPIXIO_ON_GPU=1", "-ldl"])
}

fn make(flavour: Flavour, folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let headers = headers(flavour);
    std::fs::create_dir_all(folder).expect("folder");
    std::fs::write(folder.join("generated.h"), generate(&headers)).expect("generated.h");
    let file = folder.join(name);
    compile(flavour, &headers, folder, &file, arguments);
    let major = flavour.headers().expect("headers").major;
    let names = match flavour {
        Flavour::TensorRt => [format!("libnvinfer.so.{major}"), format!("libnvonnxparser.so.{major}")],
        Flavour::TensorRtRtx => {
            [format!("libtensorrt_rtx.so.{major}"), format!("libtensorrt_onnxparser_rtx.so.{major}")]
        }
    };
    for link in names.map(|link| folder.join(link)) {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(name, link).expect("link");
    }
    file
}

/// The headers that the engine was built against, which the same variables name.
fn headers(flavour: Flavour) -> PathBuf {
    let variable = match flavour {
        Flavour::TensorRt => "TENSORRT_INCLUDE_DIR",
        Flavour::TensorRtRtx => "TENSORRT_RTX_INCLUDE_DIR",
    };
    let named = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let system = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    named.unwrap_or_else(|| PathBuf::from(system))
}

fn compile(flavour: Flavour, headers: &Path, folder: &Path, file: &Path, arguments: &[&str]) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned()));
    command.args([
        "-std=c++17",
        "-O1",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]);
    command.args(["-ffp-contract=off", "-DPIXIO_HOST=1"]);
    command.arg(format!("-DPIXIO_RTX={}", u8::from(flavour == Flavour::TensorRtRtx)));
    command.arg("-isystem").arg(headers).arg("-idirafter").arg(here.join("shim/stub"));
    command.arg("-I").arg(folder).arg("-I").arg(here.join("kernels"));
    command.arg(here.join("tests/standins/standin.cpp")).arg("-o").arg(file).args(arguments);
    let output = command.output().expect("a C++ compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// For each abstract class a class whose methods end the process with their name.
fn generate(headers: &Path) -> String {
    let implementation = source(&headers.join("NvInferImpl.h"));
    let mut text = String::from(
        "#pragma once\n#pragma GCC system_header\n#include <NvInfer.h>\n#include <NvOnnxParser.h>\n#include <cstdio>\n#include <cstdlib>\n\
         [[noreturn]] inline void unexpected(char const* name)\n{\n    \
         std::fprintf(stderr, \"stand-in: unexpected call of %s\\n\", name);\n    std::abort();\n}\n\
         namespace nvinfer1::apiv\n{\n",
    );
    CLASSES.iter().for_each(|class| text += &stub(&implementation, class));
    text += "}\nnamespace nvonnxparser\n{\n";
    text += &stub(&source(&headers.join("NvOnnxParser.h")), "IParser");
    text + "}\n"
}

/// A header without comments.
fn source(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let without_blocks: String = text.split("/*").enumerate().fold(String::new(), |whole, (index, part)| {
        let kept = if index == 0 { part } else { part.split_once("*/").map_or("", |(_, after)| after) };
        whole + kept
    });
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    without_blocks.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The pure virtual methods of a class, overridden.
fn stub(source: &str, class: &str) -> String {
    let head = format!("class {class}");
    let named = |at: &usize| source[at + head.len()..].starts_with([' ', '\n']);
    let mut starts = source.match_indices(&head).map(|(at, _)| at).filter(named);
    let body = starts.find_map(|at| braces(&source[at..]));
    let body = body.unwrap_or_else(|| panic!("no class {class}"));
    let mut methods = BTreeMap::new();
    for statement in body.split(';') {
        let Some(declaration) = statement.trim_end().strip_suffix('0') else { continue };
        let Some(declaration) = declaration.trim_end().strip_suffix('=') else { continue };
        let Some((_, declaration)) = declaration.split_once("virtual ") else { continue };
        if !declaration.contains('~') {
            let name = declaration.split('(').next().unwrap_or_default();
            let name = name.rsplit([' ', '*', '&']).next().unwrap_or_default();
            let line =
                format!("    {} override {{ unexpected(\"{class}::{name}\"); }}\n", declaration.trim());
            methods.insert(declaration.trim().to_owned(), line);
        }
    }
    assert!(!methods.is_empty(), "{class} has no methods");
    let methods: String = methods.into_values().collect();
    format!("class {class}Stub : public {class}\n{{\npublic:\n{methods}}};\n")
}

/// What stands between the first brace and its partner; nothing for a mere declaration.
fn braces(text: &str) -> Option<&str> {
    let open = text.find('{').filter(|open| !text[..*open].contains(';'))?;
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(&text[open + 1..open + at]),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}
