//! What a loaded network holds, and what it leaves behind. Alone in its process: the memory of other tests would count too.

use calibration::Size;
use network::bundle::random_model;
use network::{Architecture, Bundle};
use perception::Engine;
use tests::onnx_runtime;

const SIZE: Size = Size { width: 64, height: 64 };

/// What this program and ONNX Runtime may take beside weights: `pixio bench` has 48 MiB with these (where glibc maps every block by
/// itself), and 97 where what loading frees is not given back.
const BESIDE: u64 = 80 << 20;

/// An encoder with 151 MB of weights, 4 MB the largest: smaller than what glibc always maps by itself, as in Pixio-B/16.
fn bundle() -> (tempfile::TempDir, Bundle) {
    let tiny = Architecture::named("pixio-tiny16").unwrap();
    let architecture = Architecture { dim: 512, blocks: 12, heads: 8, mlp_hidden: 2048, ..tiny };
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(architecture, &[], &[SIZE], 1).unwrap();
    let bundle = model.write(&folder.path().join("bundle"), false, |_| ()).unwrap();
    (folder, bundle)
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn weights_are_held_once_and_given_back() {
    let (_folder, bundle) = bundle();
    let backbone = bundle.backbone(SIZE).unwrap();
    let weights = network::onnx::weight_bytes(&backbone);
    assert!(weights > 150_000_000, "{weights}");
    let mut engine = onnx_runtime();
    let image = engine.allocate(&backbone.inputs()[0].shape).unwrap();
    let mut loaded = engine.load(&backbone, &[image]).unwrap();
    engine.run(&mut loaded).unwrap();
    let held = resident();
    assert!((weights..weights + BESIDE).contains(&held), "{held} bytes resident for {weights} of weights");
    drop(loaded);
    let left = resident();
    assert!(left < BESIDE, "{left} bytes resident when the network is gone");
}
