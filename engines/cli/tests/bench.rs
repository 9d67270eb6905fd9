//! `pixio bench` as its user runs it.

#![allow(clippy::unwrap_used)] // A test may panic: that is how it fails.

use std::process::{Command, Output};

use serde_json::Value;

fn pixio(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pixio")).args(arguments).current_dir(folder).output().unwrap()
}

fn bundle() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let heads = ["depth=linear", "points=linear-points", "seg=linear-segmentation", "policy=mlp-policy"];
    let mut arguments =
        vec!["import", "--random-weights", "3", "--architecture", "pixio-tiny16", "--size", "64x48"];
    arguments.extend(heads.iter().flat_map(|head| ["--head", head]));
    arguments.extend(["--out", "tiny"]);
    let imported = pixio(folder.path(), &arguments);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    folder
}

#[test]
fn every_stage_is_measured_and_adds_up() {
    let folder = bundle();
    let arguments = ["bench", "tiny", "--frame", "160x120", "--frames", "20", "--warm-up", "2", "--json"];
    let output = pixio(folder.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    let heads = ["head_depth", "head_points", "head_segmentation", "head_policy"];
    let expected = ["read", "preprocess", "backbone"].into_iter().chain(heads);
    let expected: Vec<_> = expected.chain(["decode", "encode", "without_networks", "end_to_end"]).collect();
    assert_eq!(names, expected);
    let mean = |name: &str| {
        let stage = stages.iter().find(|stage| stage["stage"] == name).unwrap();
        let [p50, p99, max] = ["p50_ms", "p99_ms", "max_ms"].map(|key| stage[key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{name}: {stage}");
        stage["mean_ms"].as_f64().unwrap()
    };
    let parts: f64 = names[..names.len() - 2].iter().map(|name| mean(name)).sum();
    let whole = mean("end_to_end");
    assert!(parts <= whole && parts > 0.8 * whole, "{parts} of {whole} ms");
    assert_eq!(report["frames"], 20);
    assert_eq!(report["BasicPerformanceMetrics.NUM_FRAMES_SENT"], 20);
    let rate = report["BasicPerformanceMetrics.MEAN_FRAME_RATE"].as_f64().unwrap();
    // Theirs counts frames over the time from the first to the last.
    assert!(rate >= report["throughput_hz"].as_f64().unwrap(), "{rate}");
    assert!(report["memory_after"]["resident_mib"].as_f64().unwrap() > 1.0);
    // Depth 64x48 of float32, points of five float32, labels, and headers.
    let bytes = report["about"]["output_bytes"].as_u64().unwrap();
    assert!((64 * 48 * 25..64 * 48 * 25 + 600).contains(&bytes), "{bytes}");
}

#[test]
fn the_table_is_for_people_and_bad_input_is_refused() {
    let folder = bundle();
    let table =
        pixio(folder.path(), &["bench", "tiny", "--frames", "3", "--outputs", "depth,color,points,features"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.status.success() && text.contains("end_to_end") && text.contains("640x480 rgb8 -> 64x48"),
        "{text}"
    );
    let cases = [
        (vec!["--frame", "0x480"], "expected a size as WIDTHxHEIGHT"),
        (vec!["--frame", "20000x480"], "expected sides of 1 to 16384 pixels, got 20000x480"),
        (vec!["--size", "32x32"], "expected one of the bundle's sizes 64x48"),
        (vec!["--seconds", "0"], "--seconds: expected more than 0"),
        (vec!["--frames", "0"], "0 is not in 1..="),
        (vec!["--outputs", "depth,smell"], "invalid value 'smell'"),
        (vec!["--encoding", "rgb9"], "invalid value 'rgb9'"),
    ];
    for (arguments, reason) in cases {
        let refused = pixio(folder.path(), &[&["bench", "tiny"], &arguments[..]].concat());
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && text.contains(reason), "{arguments:?}: {text}");
    }
    let missing = pixio(folder.path(), &["bench", "nowhere"]);
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(2) && text.contains("nowhere"), "{text}");
}
