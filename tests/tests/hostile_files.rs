//! Real checkpoints and bundles, truncated and damaged at random: read or refused with the file's name, never a panic.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use calibration::Size;
use network::Bundle;
use network::bundle::{HeadSource, ImportRequest, import};
use proptest::prelude::*;
use tests::golden;

const SIZE: Size = Size { width: 64, height: 64 };

fn request(backbone: &Path, heads: Vec<HeadSource>) -> ImportRequest {
    ImportRequest {
        backbone: backbone.to_owned(),
        attention_heads: Some(2),
        heads,
        taps: Vec::new(),
        sizes: vec![SIZE],
        name: "hostile".to_owned(),
        licence: "none".to_owned(),
    }
}

fn checkpoint(name: &str) -> PathBuf {
    golden::checkpoints(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A whole bundle's files, made once.
fn bundle_files() -> &'static [(&'static str, Vec<u8>)] {
    static FILES: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let head = HeadSource {
            name: "depth".into(),
            path: checkpoint("linear_ddp.pth"),
            max_depth_meters: 10.0,
            labels: None,
        };
        let path = folder.path().join("bundle");
        import(&request(&checkpoint("official_fp32.pth"), vec![head]))
            .unwrap()
            .write(&path, false, |_| ())
            .unwrap();
        ["model.toml", "weights.safetensors"]
            .map(|name| (name, std::fs::read(path.join(name)).unwrap()))
            .into()
    })
}

/// Bytes cut off at a share of their length, then with some of them replaced.
fn damaged(bytes: &[u8], cut: f64, replaced: &[(f64, u8)]) -> Vec<u8> {
    let mut bytes = bytes[..((bytes.len() as f64 * cut) as usize).min(bytes.len())].to_vec();
    for (at, value) in replaced {
        let at = (bytes.len() as f64 * at) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *value;
        }
    }
    bytes
}

/// Where damage goes: anywhere, and more often near the ends, where headers and directories lie.
fn damage() -> impl Strategy<Value = (f64, Vec<(f64, u8)>)> {
    let place = prop_oneof![0.0..1.0, 0.0..0.1, 0.9..1.0];
    (prop_oneof![3 => Just(1.0), 1 => 0.0..1.0], proptest::collection::vec((place, any::<u8>()), 0..6))
}

fn check(name: &str, file: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    for source in [&path, &folder.path().to_owned()] {
        if let Err(error) = import(&request(source, Vec::new())) {
            let text = error.to_string();
            assert!(text.contains(&folder.path().display().to_string()), "{file}: {text}");
        }
    }
    let head = HeadSource { name: "depth".into(), path, max_depth_meters: 10.0, labels: None };
    let _ = import(&request(&checkpoint("official_fp32.pth"), vec![head]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_checkpoints(
        file in prop::sample::select(vec![
            "official_fp32.pth", "official_fp16.pth", "trainer.pth", "linear_ddp.pth", "dpt.pth",
            "hugging_face_fp32/model.safetensors", "hugging_face_bf16/model.safetensors",
            "hugging_face_sharded/model.safetensors.index.json", "hugging_face_fp32/config.json",
        ]),
        (cut, replaced) in damage(),
    ) {
        let bytes = damaged(&std::fs::read(checkpoint(file)).unwrap(), cut, &replaced);
        check(file.rsplit('/').next().unwrap(), file, &bytes);
    }

    #[test]
    fn damaged_bundles(which in 0_usize..2, (cut, replaced) in damage()) {
        let folder = tempfile::tempdir().unwrap();
        for (index, (name, bytes)) in bundle_files().iter().enumerate() {
            let bytes = if index == which { damaged(bytes, cut, &replaced) } else { bytes.clone() };
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        match Bundle::open(folder.path()) {
            Ok(bundle) => drop((bundle.backbone(SIZE), bundle.head("depth", SIZE), bundle.golden(), bundle.verify_weights())),
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.contains(&folder.path().display().to_string()), "{text}");
            }
        }
    }

    /// Numbers of the manifest replaced by others: shapes that do not fit, sizes beyond memory.
    #[test]
    fn other_numbers_in_the_manifest(line in 0_usize..60, number in prop_oneof![
        Just("0".to_owned()), Just("-1".to_owned()), Just("18446744073709551615".to_owned()), Just("nan".to_owned()),
        (0_u32..100_000).prop_map(|n| n.to_string()), Just("1e300".to_owned()),
    ]) {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in bundle_files() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let text = String::from_utf8(bundle_files()[0].1.clone()).unwrap();
        let changed: Vec<String> = text.lines().enumerate().map(|(index, text)| match text.split_once(" = ") {
            Some((key, value)) if index == line && value.parse::<f64>().is_ok() => format!("{key} = {number}"),
            _ => text.to_owned(),
        }).collect();
        std::fs::write(folder.path().join("model.toml"), changed.join("\n")).unwrap();
        if let Ok(bundle) = Bundle::open(folder.path()) {
            drop((bundle.backbone(SIZE), bundle.head("depth", SIZE)));
        }
    }
}
