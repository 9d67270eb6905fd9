//! Builds the stand-in for libcuda and TensorRT (`standin.cpp`) against the headers that the engine was built against, and
//! puts it where the engine loads them from.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

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

/// The loaded stand-in. One test at a time has it.
pub struct StandIn {
    /// Where the engine finds the libraries.
    pub folder: PathBuf,
    library: libloading::Library,
}

/// The stand-in, with its books reset, for one test.
pub fn stand_in(flavour: Flavour) -> MutexGuard<'static, StandIn> {
    static LOADED: OnceLock<Mutex<StandIn>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| Mutex::new(StandIn::load(flavour)));
    let stand_in = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    stand_in.call::<unsafe extern "C" fn()>("standin_reset", |function| unsafe { function() });
    stand_in
}

impl StandIn {
    fn load(flavour: Flavour) -> Self {
        let headers = headers(flavour);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("standin-{flavour}"));
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join("generated.h"), generate(&headers)).expect("generated.h");
        let file = folder.join("libcuda.so");
        compile(flavour, &headers, &folder, &file);
        let major = flavour.headers().expect("headers").major;
        let names = match flavour {
            Flavour::TensorRt => [format!("libnvinfer.so.{major}"), format!("libnvonnxparser.so.{major}")],
            Flavour::TensorRtRtx => {
                [format!("libtensorrt_rtx.so.{major}"), format!("libtensorrt_onnxparser_rtx.so.{major}")]
            }
        };
        for name in names {
            let link = folder.join(name);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink("libcuda.so", link).expect("link");
        }
        // The loader knows a loaded library by its name, so this is what cudarc gets for `libcuda.so`.
        let library = unsafe { libloading::Library::new(&file) }.expect("the stand-in");
        Self { folder, library }
    }

    fn call<F: Copy>(&self, name: &str, call: impl FnOnce(F)) {
        let function = unsafe { self.library.get::<F>(name.as_bytes()) }.expect("function of the stand-in");
        call(*function);
    }

    /// Lets the nth call of a name from now on fail.
    pub fn fail(&self, call: &str, nth: c_int) {
        let name = CString::new(call).expect("name");
        type Fail = unsafe extern "C" fn(*const c_char, c_int);
        self.call::<Fail>("standin_fail", |function| unsafe { function(name.as_ptr(), nth) });
    }

    pub fn set(&self, name: &str, value: c_int) {
        let name = CString::new(name).expect("name");
        type Set = unsafe extern "C" fn(*const c_char, c_int);
        self.call::<Set>("standin_set", |function| unsafe { function(name.as_ptr(), value) });
    }

    fn text(&self, function: &str) -> Vec<String> {
        let mut text = String::new();
        type Text = unsafe extern "C" fn() -> *const c_char;
        self.call::<Text>(function, |function| {
            text = unsafe { CStr::from_ptr(function()) }.to_str().expect("text").to_owned();
        });
        text.lines().map(str::to_owned).collect()
    }

    /// Calls since the last reset.
    pub fn calls(&self) -> Vec<String> {
        self.text("standin_calls")
    }

    /// Calls that begin with one of these, since the last reset.
    pub fn calls_of(&self, names: &[&str]) -> Vec<String> {
        let wanted = |call: &String| names.iter().any(|name| call.starts_with(name));
        self.calls().into_iter().filter(wanted).collect()
    }

    /// Forgets the calls, failures and settings so far.
    pub fn reset(&self) {
        self.call::<unsafe extern "C" fn()>("standin_reset", |function| unsafe { function() });
    }

    /// Objects that live.
    pub fn live(&self) -> Vec<String> {
        self.text("standin_live")
    }
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

fn compile(flavour: Flavour, headers: &Path, folder: &Path, file: &Path) {
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
    command.args(["-ffp-contract=off", "-Wl,-soname,libcuda.so", "-DPIXIO_HOST=1"]);
    command.arg(format!("-DPIXIO_RTX={}", u8::from(flavour == Flavour::TensorRtRtx)));
    command.arg("-isystem").arg(headers).arg("-idirafter").arg(here.join("shim/stub"));
    command.arg("-I").arg(folder).arg("-I").arg(here.join("kernels"));
    command.arg(here.join("tests/standins/standin.cpp")).arg("-o").arg(file);
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
