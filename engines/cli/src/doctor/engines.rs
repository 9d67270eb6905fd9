//! What networks could run on: ONNX Runtime, NVIDIA's driver, TensorRT.

use std::path::PathBuf;

use perception::EngineError;
use tensorrt::gate::{self, Verdict};
use tensorrt::library::misfit;
use tensorrt::{Cache, Flavour, Version};

use super::machine::{Library, Machine};
use super::report::{Area, Check};

/// The first TensorRT whose networks can be typed as a whole.
const OLDEST_MAJOR: i32 = 10;

/// The first driver that reads the PTX of the engine's kernels, ISA 8.5.
const OLDEST_DRIVER: u32 = 555;

/// The first release of Jetson's system with such a driver, which counts otherwise there (540.4.0 knows CUDA 12.6): JetPack 6.1.
const OLDEST_L4T: (u32, u32) = (36, 4);

/// The engine that must work; the others may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// ONNX Runtime on the CPU
    Onnx,
    /// TensorRT on an NVIDIA GPU or Jetson
    Tensorrt,
    /// TensorRT-RTX on an NVIDIA RTX GPU
    TensorrtRtx,
}

impl Wanted {
    fn is_on_gpu(self) -> bool {
        self != Self::Onnx
    }

    /// The library to look for; which of the two matters little where neither is needed.
    pub fn flavour(self) -> Flavour {
        if self == Self::TensorrtRtx { Flavour::TensorRtRtx } else { Flavour::TensorRt }
    }
}

/// The check of ONNX Runtime; `started` is its version and device, or why it does not start.
pub fn onnxruntime(started: Result<String, String>, wanted: Wanted) -> Check {
    match started {
        Ok(version) => Check::ok(Area::Onnxruntime, format!("ONNX Runtime {version}")),
        Err(reason) => Check::lacking(
            wanted == Wanted::Onnx,
            Area::Onnxruntime,
            reason,
            "make setup && source .pixio/setup.bash, or pip install onnxruntime and \
             export PIXIO_ONNXRUNTIME=<site-packages>/onnxruntime/capi/libonnxruntime.so.*",
        ),
    }
}

/// NVIDIA devices that the kernel shows: GPUs on PCI, or a Jetson's.
fn devices(machine: &Machine) -> Vec<String> {
    let mut devices: Vec<_> = machine
        .names("/proc/driver/nvidia/gpus")
        .iter()
        .filter_map(|gpu| machine.read(format!("/proc/driver/nvidia/gpus/{gpu}/information")))
        .filter_map(|text| {
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
            model.map(|model| model.trim().to_owned())
        })
        .collect();
    if let Some(release) = machine.read("/etc/nv_tegra_release") {
        let model = machine.read("/proc/device-tree/model").unwrap_or_else(|| "Jetson".into());
        let release = release.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']).to_owned();
        devices.push(format!("{} ({release})", model.trim_end_matches(['\0', '\n'])));
    }
    devices
}

/// The check of NVIDIA's driver.
pub fn cuda(machine: &Machine, wanted: Wanted) -> Check {
    let needed = wanted.is_on_gpu();
    let devices = devices(machine);
    let version = machine.read("/proc/driver/nvidia/version").and_then(|text| driver_version(&text));
    match (devices.as_slice(), machine.library("libcuda")) {
        ([], None) if !needed => {
            Check::ok(Area::Cuda, "no NVIDIA GPU and no driver: networks run on the CPU")
        }
        ([], None) => Check::fail(
            Area::Cuda,
            "no NVIDIA GPU and no driver (libcuda.so.1)",
            "use a machine with a GPU, or the engine onnx; in a container: docker run --gpus all \
             (on a Jetson: --runtime nvidia)",
        ),
        ([], Some(library)) => Check::lacking(
            needed,
            Area::Cuda,
            format!("{} is there, but the kernel shows no NVIDIA GPU", library.path.display()),
            "load the driver (nvidia-smi shows why it is not); in a container: docker run --gpus all",
        ),
        (devices, None) => Check::lacking(
            needed,
            Area::Cuda,
            format!("{}: the driver's library libcuda.so.1 is not there", devices.join(", ")),
            "install the driver; in a container: docker run --gpus all with NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        ),
        (devices, Some(_)) => {
            let driver = version.as_deref().unwrap_or("of unknown version");
            let found = format!("{} device(s): {}; driver {driver}", devices.len(), devices.join(", "));
            match too_old(machine, version.as_deref()) {
                Some((expected, remedy)) => {
                    Check::lacking(needed, Area::Cuda, format!("{found}: expected {expected}"), remedy)
                }
                None => Check::ok(Area::Cuda, found),
            }
        }
    }
}

/// What is expected of a driver that does not read the kernels of the engine, and the remedy.
fn too_old(machine: &Machine, driver: Option<&str>) -> Option<(String, &'static str)> {
    if let Some(release) = l4t(machine) {
        let (major, minor) = OLDEST_L4T;
        let expected = format!("R{major}, revision {minor} or later (JetPack 6.1)");
        return (release < OLDEST_L4T).then_some((expected, "update JetPack"));
    }
    let expected = format!("{OLDEST_DRIVER} or later (CUDA 12.5)");
    driver.is_some_and(is_too_old).then_some((expected, "update NVIDIA's driver"))
}

/// Release and revision of a Jetson's system, of a line such as `# R36 (release), REVISION: 4.3, GCID: ...`.
fn l4t(machine: &Machine) -> Option<(u32, u32)> {
    let text = machine.read("/etc/nv_tegra_release")?;
    let number = |mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    Some((number("# R")?, number("REVISION: ")?))
}

/// Whether a driver does not read the kernels of the engine.
fn is_too_old(driver: &str) -> bool {
    let major = driver.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major < OLDEST_DRIVER)
}

/// The driver's version in the first line of /proc/driver/nvidia/version: the first word of numbers and points.
fn driver_version(text: &str) -> Option<String> {
    let words = text.lines().next()?.split_whitespace();
    let version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    words.into_iter().find(version).map(str::to_owned)
}

/// The check of TensorRT, or of TensorRT-RTX if that is wanted; `headers` are those that this program was built against, `model` is the hash of
/// the bundle that is looked at, if one is.
pub fn tensorrt(
    machine: &Machine,
    wanted: Wanted,
    headers: Result<Version, EngineError>,
    model: Option<&str>,
) -> Check {
    let (needed, flavour) = (wanted.is_on_gpu(), wanted.flavour());
    if !needed && devices(machine).is_empty() {
        return Check::ok(Area::Tensorrt, "not asked for, and no GPU that could use it");
    }
    let lacking = |found: String, remedy: &str| Check::lacking(needed, Area::Tensorrt, found, remedy);
    let [engine, parser] = flavour.libraries();
    let (Some(library), Some(_)) =
        (machine.library_of(flavour.variable(), engine), machine.library_of(flavour.variable(), parser))
    else {
        let found = format!("{} ({engine}.so and {parser}.so) is not there", flavour.title());
        return lacking(found, &install(flavour));
    };
    let headers = match headers {
        Ok(headers) => headers,
        Err(error) => return lacking(error.to_string(), &build_again(flavour)),
    };
    let Some(version) = version(&library) else {
        let found = format!("{}: its name does not tell the version", library.path.display());
        return Check::warn(
            Area::Tensorrt,
            found,
            "pixio verify tells whether it suits and its numbers are right",
        );
    };
    if flavour == Flavour::TensorRt && version.major < OLDEST_MAJOR {
        return lacking(format!("TensorRT {version}: expected {OLDEST_MAJOR} or later"), &gate::remedy());
    }
    let verdict = gate::judge(flavour, version);
    let accepted = accepted(machine, (flavour, version), model);
    if let (Verdict::KnownBad(reason), None) = (&verdict, &accepted) {
        return lacking(reason.clone(), &gate::remedy());
    }
    if let Some(reason) = misfit(flavour, headers, version) {
        return lacking(reason, &build_again(flavour));
    }
    let verify = "pixio verify tells whether its numbers are right";
    match verdict {
        Verdict::Good => {
            Check::ok(Area::Tensorrt, format!("{} {version} ({})", flavour.title(), library.path.display()))
        }
        Verdict::Warn(reason) => Check::warn(Area::Tensorrt, reason, verify),
        Verdict::KnownBad(reason) => {
            Check::warn(Area::Tensorrt, format!("{reason}; {}", accepted.unwrap_or_default()), verify)
        }
    }
}

/// How a version known to be bad was accepted in the user's cache, if it was: for `model`, or without one for any. For which GPU is
/// told only: what the driver calls this machine's is not known before the driver runs.
fn accepted(machine: &Machine, library: (Flavour, Version), model: Option<&str>) -> Option<String> {
    let cache = Cache::of_environment(|name| {
        let folder = PathBuf::from(machine.variable(name)?);
        Some(if folder.is_absolute() { machine.at(folder) } else { folder })
    });
    let mut accepted = cache.ok()?.acceptances();
    accepted.retain(|it| it.is_of(library) && model.is_none_or(|model| it.model == model));
    let how = accepted.iter().map(|it| {
        let (of, error) = (it.photographs, it.worst_relative);
        format!("{} in {}, {of} photographs within {error:.1e} of the range", it.target, it.precision)
    });
    let how = how.collect::<Vec<_>>().join("; ");
    let of = if model.is_some() { "this bundle" } else { "a bundle (--bundle says whether for that one)" };
    (!how.is_empty()).then(|| format!("accepted for {of} on {how}"))
}

fn install(flavour: Flavour) -> String {
    let variable = flavour.variable();
    match flavour {
        Flavour::TensorRt => format!(
            "install it: sudo apt install tensorrt (JetPack, or NVIDIA's CUDA repository), and see that its folder is in \
             /etc/ld.so.conf.d or LD_LIBRARY_PATH, or name it in {variable}"
        ),
        Flavour::TensorRtRtx => {
            format!(
                "pip install tensorrt_rtx_cu12_libs, or NVIDIA's archive, and name its folder of libraries in {variable}"
            )
        }
    }
}

fn build_again(flavour: Flavour) -> String {
    match flavour {
        Flavour::TensorRt => "install the headers of the library that is here (sudo apt install tensorrt-dev; unset \
                              TENSORRT_INCLUDE_DIR) and build this program again"
            .to_owned(),
        Flavour::TensorRtRtx => {
            "set TENSORRT_RTX_INCLUDE_DIR to the headers of the library that is here, and build this program again".to_owned()
        }
    }
}

/// The version that a library's name tells, if it does.
fn version(library: &Library) -> Option<Version> {
    let numbers: Vec<i32> = library.version.iter().map_while(|number| i32::try_from(*number).ok()).collect();
    let [major, minor, ref rest @ ..] = numbers[..] else { return None };
    Some(Version { major, minor, patch: rest.first().copied().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::stand_in;
    use super::super::report::Status;
    use super::*;
    use tensorrt::cache::Acceptance;

    const VERSION: (&str, &str) = (
        "/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\nGCC version: 13.3.0\n",
    );
    const OLD: (&str, &str) = (
        "/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 2024\n",
    );
    const GPU: (&str, &str) = (
        "/proc/driver/nvidia/gpus/0000:01:00.0/information",
        "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 155\n",
    );
    const DRIVER: (&str, &str) = ("/usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15", "");
    const JETSON: [(&str, &str); 3] = [
        ("/etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\n"),
        ("/proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0"),
        ("/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1.1", ""),
    ];

    /// A Jetson of a release, whose driver counts otherwise than those of PCs.
    fn jetson(release: &str) -> [(&str, &str); 4] {
        let version = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n";
        let [_, model, driver] = JETSON;
        [("/etc/nv_tegra_release", release), model, driver, ("/proc/driver/nvidia/version", version)]
    }

    /// Files, the status for the engines onnx and tensorrt, and words of the line.
    type Case<'a> = (&'a [(&'a str, &'a str)], Status, Status, &'a str);

    #[test]
    fn the_driver_and_the_device_must_both_be_there() {
        let cases: &[Case<'_>] = &[
            (&[], Status::Ok, Status::Fail, "no NVIDIA GPU"),
            (&[GPU, VERSION, DRIVER], Status::Ok, Status::Ok, "RTX 4090; driver 570.86.15"),
            (&[GPU, VERSION], Status::Warn, Status::Fail, "libcuda.so.1 is not there"),
            (&[GPU, OLD, DRIVER], Status::Warn, Status::Fail, "driver 535.183.01: expected 555 or later"),
            (&[DRIVER], Status::Warn, Status::Fail, "the kernel shows no NVIDIA GPU"),
            (&JETSON, Status::Ok, Status::Ok, "AGX Orin Developer Kit (R36 (release), REVISION: 4.3)"),
            (&jetson("# R36 (release), REVISION: 4.3, GCID: 1\n"), Status::Ok, Status::Ok, "driver 540.4.0"),
            (&jetson("# R39 (release), REVISION: 2.0\n"), Status::Ok, Status::Ok, "driver 540.4.0"),
            (&jetson("# R36 (release), REVISION: 3.0\n"), Status::Warn, Status::Fail, "revision 4 or later"),
        ];
        for (files, on_cpu, on_gpu, words) in cases {
            let (machine, _root) = stand_in(&[], files);
            for (wanted, status) in [(Wanted::Onnx, on_cpu), (Wanted::Tensorrt, on_gpu)] {
                let check = cuda(&machine, wanted);
                assert_eq!((check.status, check.found.contains(words)), (*status, true), "{check}");
            }
        }
    }

    /// Headers that suit every library but those of another major version.
    const HEADERS: Version = Version { major: 10, minor: 16, patch: 2 };

    /// A machine with a GPU and these files in a folder of libraries.
    fn with_libraries(files: &[&str]) -> (Machine, tempfile::TempDir) {
        let paths: Vec<_> = files.iter().map(|file| format!("/usr/local/cuda/lib64/{file}")).collect();
        let files: Vec<_> = paths.iter().map(|path| (path.as_str(), "")).collect();
        stand_in(&[], &[&files[..], &[GPU]].concat())
    }

    #[test]
    fn bad_versions_of_tensorrt_are_named() {
        let cases: &[(&str, Status, Status, &str)] = &[
            ("libnvinfer.so.10.16.2", Status::Ok, Status::Ok, "TensorRT 10.16.2"),
            ("libnvinfer.so.10.3.0", Status::Warn, Status::Fail, "JetPack 6.1 and 6.2"),
            ("libnvinfer.so.10.4.0", Status::Warn, Status::Fail, "4742"),
            ("libnvinfer.so.10.7.0", Status::Warn, Status::Warn, "4333"),
            ("libnvinfer.so.8.6.1", Status::Warn, Status::Fail, "expected 10 or later"),
            ("libnvinfer.so.11.4.0", Status::Warn, Status::Fail, "expected the same major version"),
            ("libnvinfer.so.10", Status::Warn, Status::Warn, "does not tell the version"),
            ("libother.so", Status::Warn, Status::Fail, "not there"),
        ];
        for (file, on_cpu, on_gpu, words) in cases {
            let (machine, _root) = with_libraries(&[file, "libnvonnxparser.so.10"]);
            for (wanted, status) in [(Wanted::Onnx, on_cpu), (Wanted::Tensorrt, on_gpu)] {
                let check = tensorrt(&machine, wanted, Ok(HEADERS), None);
                assert_eq!((check.status, check.found.contains(words)), (*status, true), "{check}");
            }
        }
        let (machine, _root) = stand_in(&[], &[]);
        let check = tensorrt(&machine, Wanted::Onnx, Ok(HEADERS), None);
        assert_eq!(check.status, Status::Ok, "no GPU could use it");
    }

    #[test]
    fn a_bad_version_that_was_accepted_warns_for_its_bundle_alone() {
        let (mut machine, _root) = with_libraries(&["libnvinfer.so.10.3.0", "libnvonnxparser.so.10"]);
        machine.environment.insert("PIXIO_CACHE".into(), "/cache".into());
        let check = |machine: &Machine, model| tensorrt(machine, Wanted::Tensorrt, Ok(HEADERS), model);
        assert_eq!(check(&machine, None).status, Status::Fail);
        let mut acceptance = Acceptance {
            model: "ours".into(),
            flavour: "tensorrt".into(),
            library: "10.3.0".into(),
            target: "Orin 16 SMs sm_87".into(),
            precision: "fp16".into(),
            plans: vec!["a plan's hash".into()],
            photographs: gate::LEAST_PHOTOGRAPHS,
            worst_relative: 1e-3,
        };
        let cache = Cache::new(machine.at("/cache"));
        cache.accept(&acceptance).unwrap();
        for (model, status, words) in [
            (None, Status::Warn, "on Orin 16 SMs sm_87 in fp16, 16 photographs"),
            (Some("ours"), Status::Warn, "accepted for this bundle"),
            (Some("another"), Status::Fail, "known to compute wrong"),
        ] {
            let check = check(&machine, model);
            assert_eq!((check.status, check.found.contains(words)), (status, true), "{check}");
        }
        let headers = Ok(Version { major: 11, minor: 4, patch: 0 });
        let misfit = tensorrt(&machine, Wanted::Tensorrt, headers, None);
        assert_eq!(misfit.status, Status::Fail, "{misfit}");
        acceptance.photographs = 2;
        cache.accept(&acceptance).unwrap();
        assert_eq!(check(&machine, None).status, Status::Fail, "too few photographs");
        acceptance.library = "10.4.0".into();
        acceptance.photographs = gate::LEAST_PHOTOGRAPHS;
        cache.accept(&acceptance).unwrap();
        assert_eq!(check(&machine, None).status, Status::Fail, "of another version");
    }

    #[test]
    fn what_else_tensorrt_needs_is_named_with_the_remedy() {
        let (machine, _root) = with_libraries(&["libnvinfer.so.10.16.2"]);
        let check = tensorrt(&machine, Wanted::Tensorrt, Ok(HEADERS), None);
        assert_eq!(
            (check.status, check.found.contains("libnvonnxparser.so")),
            (Status::Fail, true),
            "{check}"
        );
        let (machine, _root) = with_libraries(&["libnvinfer.so.10.16.2", "libnvonnxparser.so.10"]);
        let without = || Err(EngineError::Unavailable { flavour: "tensorrt", reason: "no headers".into() });
        let check = tensorrt(&machine, Wanted::Tensorrt, without(), None);
        assert_eq!((check.status, check.found.contains("no headers")), (Status::Fail, true), "{check}");
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("tensorrt-dev")));
    }

    #[test]
    fn tensorrt_rtx_is_looked_for_in_its_own_folder() {
        let (library, parser) =
            ("/opt/rtx/libtensorrt_rtx.so.1.7.1", "/opt/rtx/libtensorrt_onnxparser_rtx.so.1");
        let headers = |minor| Ok(Version { major: 1, minor, patch: 0 });
        let files = [GPU, (library, ""), (parser, "")];
        let (machine, _root) = stand_in(&[("PIXIO_TENSORRT_RTX", "/opt/rtx")], &files);
        let check = tensorrt(&machine, Wanted::TensorrtRtx, headers(7), None);
        assert_eq!((check.status, check.found.contains("TensorRT-RTX 1.7.1")), (Status::Ok, true), "{check}");
        assert_eq!(tensorrt(&machine, Wanted::TensorrtRtx, headers(6), None).status, Status::Fail);
        let (machine, _root) = stand_in(&[], &files);
        let check = tensorrt(&machine, Wanted::TensorrtRtx, headers(7), None);
        assert_eq!((check.status, check.found.contains("is not there")), (Status::Fail, true), "{check}");
    }

    #[test]
    fn a_missing_onnx_runtime_matters_when_it_is_wanted() {
        let missing = || Err("no library was named".to_owned());
        assert_eq!(onnxruntime(missing(), Wanted::Onnx).status, Status::Fail);
        assert_eq!(onnxruntime(missing(), Wanted::Tensorrt).status, Status::Warn);
        assert_eq!(onnxruntime(Ok("1.32.0".into()), Wanted::Onnx).status, Status::Ok);
    }
}
