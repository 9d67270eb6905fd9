//! What networks could run on: ONNX Runtime, NVIDIA's driver, TensorRT.

use super::machine::Machine;
use super::report::{Area, Check};

/// Versions of TensorRT that are known to compute vision transformers wrongly, with where that is told.
const KNOWN_BAD: [([u32; 2], &str); 2] = [
    ([10, 3], "NVIDIA/TensorRT issues 4419, 4723; JetPack 6.2 ships it"),
    ([10, 4], "NVIDIA/TensorRT issue 4742: wrong in fp32 too"),
];
/// Versions of which something is known that the networks here avoid.
const DOUBTFUL: [([u32; 2], &str); 1] =
    [([10, 7], "wrong fused attention (NVIDIA/TensorRT issue 4333); the networks here write attention out")];
const OLDEST_MAJOR: u32 = 10;

/// The engine that must work; the others may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// ONNX Runtime on the CPU
    Onnx,
    /// TensorRT on an NVIDIA GPU
    Tensorrt,
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
    let needed = wanted == Wanted::Tensorrt;
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
        (devices, Some(_)) => Check::ok(
            Area::Cuda,
            format!(
                "{} device(s): {}; driver {}",
                devices.len(),
                devices.join(", "),
                version.as_deref().unwrap_or("of unknown version")
            ),
        ),
    }
}

/// The driver's version in the first line of /proc/driver/nvidia/version: the first word of numbers and points.
fn driver_version(text: &str) -> Option<String> {
    let words = text.lines().next()?.split_whitespace();
    let version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    words.into_iter().find(version).map(str::to_owned)
}

/// The check of TensorRT.
pub fn tensorrt(machine: &Machine, wanted: Wanted) -> Check {
    let needed = wanted == Wanted::Tensorrt;
    let upgrade = "use TensorRT 10.16 or later (JetPack 7.2), or the engine onnx; pixio verify tells whether numbers are right";
    let Some(library) = machine.library("libnvinfer") else {
        if !needed && devices(machine).is_empty() {
            return Check::ok(Area::Tensorrt, "not there, and no GPU that could use it");
        }
        let remedy = "install it: sudo apt install tensorrt (JetPack, or NVIDIA's CUDA repository), and see that its folder is \
                      in /etc/ld.so.conf.d or LD_LIBRARY_PATH";
        return Check::lacking(needed, Area::Tensorrt, "TensorRT (libnvinfer.so.10) is not there", remedy);
    };
    let [major, minor, ..] = library.version[..] else {
        let found = format!("{}: its name does not tell the version", library.path.display());
        return Check::warn(Area::Tensorrt, found, "pixio verify tells whether its numbers are right");
    };
    let version = library.version.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    let known = |table: &[([u32; 2], &'static str)]| {
        table.iter().find(|(bad, _)| *bad == [major, minor]).map(|(_, reason)| *reason)
    };
    if major < OLDEST_MAJOR {
        let found = format!("TensorRT {version}: expected {OLDEST_MAJOR} or later");
        Check::lacking(needed, Area::Tensorrt, found, upgrade)
    } else if let Some(reason) = known(&KNOWN_BAD) {
        let found = format!("TensorRT {version} is known to compute vision transformers wrongly ({reason})");
        Check::lacking(needed, Area::Tensorrt, found, upgrade)
    } else if let Some(reason) = known(&DOUBTFUL) {
        Check::warn(Area::Tensorrt, format!("TensorRT {version}: {reason}"), upgrade)
    } else {
        Check::ok(Area::Tensorrt, format!("TensorRT {version} ({})", library.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::stand_in;
    use super::super::report::Status;
    use super::*;

    const VERSION: (&str, &str) = (
        "/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\nGCC version: 13.3.0\n",
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

    /// Files, the status for the engines onnx and tensorrt, and words of the line.
    type Case<'a> = (&'a [(&'a str, &'a str)], Status, Status, &'a str);

    #[test]
    fn the_driver_and_the_device_must_both_be_there() {
        let cases: &[Case<'_>] = &[
            (&[], Status::Ok, Status::Fail, "no NVIDIA GPU"),
            (&[GPU, VERSION, DRIVER], Status::Ok, Status::Ok, "RTX 4090; driver 570.86.15"),
            (&[GPU, VERSION], Status::Warn, Status::Fail, "libcuda.so.1 is not there"),
            (&[DRIVER], Status::Warn, Status::Fail, "the kernel shows no NVIDIA GPU"),
            (&JETSON, Status::Ok, Status::Ok, "AGX Orin Developer Kit (R36 (release), REVISION: 4.3)"),
        ];
        for (files, on_cpu, on_gpu, words) in cases {
            let (machine, _root) = stand_in(&[], files);
            for (wanted, status) in [(Wanted::Onnx, on_cpu), (Wanted::Tensorrt, on_gpu)] {
                let check = cuda(&machine, wanted);
                assert_eq!((check.status, check.found.contains(words)), (*status, true), "{check}");
            }
        }
    }

    #[test]
    fn bad_versions_of_tensorrt_are_named() {
        let cases: &[(&str, Status, Status, &str)] = &[
            ("libnvinfer.so.10.16.2", Status::Ok, Status::Ok, "TensorRT 10.16.2"),
            ("libnvinfer.so.10.3.0", Status::Warn, Status::Fail, "JetPack 6.2"),
            ("libnvinfer.so.10.4.0", Status::Warn, Status::Fail, "4742"),
            ("libnvinfer.so.10.7.0", Status::Warn, Status::Warn, "4333"),
            ("libnvinfer.so.8.6.1", Status::Warn, Status::Fail, "expected 10 or later"),
            ("libnvinfer.so.10", Status::Warn, Status::Warn, "does not tell the version"),
            ("libother.so", Status::Warn, Status::Fail, "not there"),
        ];
        for (file, on_cpu, on_gpu, words) in cases {
            let path = format!("/usr/local/cuda/lib64/{file}");
            let (machine, _root) = stand_in(&[], &[GPU, (&path, "")]);
            for (wanted, status) in [(Wanted::Onnx, on_cpu), (Wanted::Tensorrt, on_gpu)] {
                let check = tensorrt(&machine, wanted);
                assert_eq!((check.status, check.found.contains(words)), (*status, true), "{check}");
            }
        }
        let (machine, _root) = stand_in(&[], &[]);
        assert_eq!(tensorrt(&machine, Wanted::Onnx).status, Status::Ok, "no GPU could use it");
    }

    #[test]
    fn a_missing_onnx_runtime_matters_when_it_is_wanted() {
        let missing = || Err("no library was named".to_owned());
        assert_eq!(onnxruntime(missing(), Wanted::Onnx).status, Status::Fail);
        assert_eq!(onnxruntime(missing(), Wanted::Tensorrt).status, Status::Warn);
        assert_eq!(onnxruntime(Ok("1.32.0".into()), Wanted::Onnx).status, Status::Ok);
    }
}
