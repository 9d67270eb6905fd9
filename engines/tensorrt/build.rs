//! Compiles the shim against the TensorRT headers that are installed, once per flavour. Without headers the crate builds
//! all the same, and says at run time what is missing.

use std::env;
use std::path::{Path, PathBuf};

/// One of the two libraries that the shim can be compiled for.
struct Flavour {
    /// Names its table and its `cfg`.
    name: &'static str,
    /// Names the folder of its headers.
    variable: &'static str,
    is_rtx: bool,
}

const FLAVOURS: [Flavour; 2] = [
    Flavour { name: "tensorrt", variable: "TENSORRT_INCLUDE_DIR", is_rtx: false },
    Flavour { name: "tensorrt_rtx", variable: "TENSORRT_RTX_INCLUDE_DIR", is_rtx: true },
];

fn main() {
    println!("cargo::rerun-if-changed=shim");
    for flavour in FLAVOURS {
        println!("cargo::rerun-if-env-changed={}", flavour.variable);
        println!("cargo::rustc-check-cfg=cfg(pixio_{})", flavour.name);
        let upper = flavour.name.to_uppercase();
        match headers(&flavour) {
            Ok(folder) => {
                compile(&flavour, &folder);
                println!("cargo::rustc-cfg=pixio_{}", flavour.name);
                println!("cargo::rustc-env=PIXIO_{upper}_HEADERS={}", folder.display());
            }
            Err(reason) => println!("cargo::rustc-env=PIXIO_{upper}_HEADERS={reason}"),
        }
    }
}

/// The folder of a flavour's headers, of a version that the shim knows; else why there is none.
fn headers(flavour: &Flavour) -> Result<PathBuf, String> {
    let named = env::var_os(flavour.variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = match named {
        Some(folder) => folder,
        None if flavour.is_rtx => {
            return Err(format!("{} was not set when this program was built", flavour.variable));
        }
        None => system_folder().ok_or_else(|| {
            format!("neither {} nor the system had NvInfer.h when this program was built", flavour.variable)
        })?,
    };
    println!("cargo::rerun-if-changed={}", folder.join("NvInferVersion.h").display());
    let missing = ["NvInfer.h", "NvOnnxParser.h"].into_iter().find(|name| !folder.join(name).is_file());
    if let Some(name) = missing {
        return Err(format!("{} had no {name} when this program was built", folder.display()));
    }
    let (major, minor) = version(&folder).ok_or_else(|| format!("{}: no version", folder.display()))?;
    let known = if flavour.is_rtx { major == 1 && minor >= 5 } else { (10..=11).contains(&major) };
    if known {
        return Ok(folder);
    }
    let expected = if flavour.is_rtx { "TensorRT-RTX 1.5 or later" } else { "TensorRT 10 or 11" };
    Err(format!("{} has headers of {major}.{minor}; expected {expected}", folder.display()))
}

/// Where Debian packages (JetPack's are such) put the headers.
fn system_folder() -> Option<PathBuf> {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").ok()?;
    let folders = [format!("/usr/include/{architecture}-linux-gnu"), "/usr/include".to_owned()];
    folders.into_iter().map(PathBuf::from).find(|folder| folder.join("NvInfer.h").is_file())
}

/// Major and minor number in `NvInferVersion.h`, whose macros carry different endings in different versions.
fn version(folder: &Path) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(folder.join("NvInferVersion.h")).ok()?;
    let number = |prefixes: [&str; 2]| {
        let defines =
            text.lines().filter_map(|line| line.trim().strip_prefix("#define ")).filter_map(|line| {
                let mut words = line.split_whitespace();
                Some((words.next()?, words.next()?.parse::<u32>().ok()?))
            });
        let mut found = defines.filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        found.next().map(|(_, number)| number)
    };
    Some((number(["NV_TENSORRT_MAJOR", "TRT_MAJOR"])?, number(["NV_TENSORRT_MINOR", "TRT_MINOR"])?))
}

fn compile(flavour: &Flavour, folder: &Path) {
    let stub = Path::new("shim/stub").display().to_string();
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").file("shim/shim.cpp").include("shim").warnings(true).extra_warnings(true);
    // `-isystem`: warnings are for the shim. The stub of CUDA's header comes last, behind a real one.
    build.flag("-isystem").flag(folder.display().to_string()).flag("-idirafter").flag(stub);
    build.define("PIXIO_RTX", if flavour.is_rtx { "1" } else { "0" });
    build.define("PIXIO_TABLE", format!("pixio_{}_table", flavour.name).as_str());
    // Inline functions of two sets of headers must not meet under one name in one program.
    build.define("nvinfer1", format!("pixio_{}_nvinfer1", flavour.name).as_str());
    build.define("nvonnxparser", format!("pixio_{}_nvonnxparser", flavour.name).as_str());
    build.compile(&format!("pixio_{}_shim", flavour.name));
}
