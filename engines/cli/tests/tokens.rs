//! `pixio train policy` on class tokens that were recorded: the same policy as from the pictures that they came from.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use calibration::Size;
use recording::dataset::{Cell, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row};
use serde_json::{Value, json};

const SIZE: Size = Size { width: 64, height: 48 };
const EPISODES: usize = 2;
const ROWS: usize = 12;
const KEY: &str = "observation.features.eye";

fn pixio(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
    command.args(arguments.split(' ')).current_dir(folder).output().unwrap()
}

fn feature(key: &str, kind: FeatureKind, names: Vec<String>) -> Feature {
    Feature { key: key.to_owned(), kind, names }
}

/// Pictures that say their number, a state and an action that follow from it; tokens, when there are some for each row.
fn write_dataset(root: &Path, tokens: Option<(&str, &[f32])>) {
    write_with_other(root, tokens, None);
}

/// The same, with another picture in row `other`.
fn write_with_other(root: &Path, tokens: Option<(&str, &[f32])>, other: Option<usize>) {
    let one = || vec!["x".to_owned()];
    let mut features = vec![
        feature("observation.state", FeatureKind::Float32, one()),
        feature("action", FeatureKind::Float32, one()),
        feature("observation.images.eye", FeatureKind::Image(SIZE), vec![]),
    ];
    let length = tokens.map_or(0, |(_, values)| values.len() / (EPISODES * ROWS));
    if tokens.is_some() {
        let names = (0..length).map(|number| number.to_string()).collect();
        features.push(feature(KEY, FeatureKind::Float32, names));
    }
    let mut layout = Layout::new(10, "arm", features, vec![]).unwrap();
    if let Some((encoder, _)) = tokens {
        layout = layout.with_encoder(KEY, encoder).unwrap();
    }
    let mut writer = DatasetWriter::open(root, layout).unwrap();
    for episode in 0..EPISODES {
        writer.begin_episode("look").unwrap();
        for row in 0..ROWS {
            let number = episode * ROWS + row;
            let told = if other == Some(number) { 77 } else { number + 1 };
            let pixels = (0..3 * SIZE.area()).map(|at| (at * told % 251) as u8).collect();
            let mut values = vec![
                Cell::Float32(vec![number as f32]),
                Cell::Float32(vec![(number as f32).sin()]),
                Cell::Picture(Arc::new(Picture::Rgb8 { size: SIZE, pixels })),
            ];
            values.extend(tokens.map(|(_, all)| Cell::Float32(all[number * length..][..length].to_vec())));
            writer.push(&Row { time_nanos: number as u64, values, streams: vec![] }).unwrap();
        }
        writer.commit("look", &json!({})).unwrap();
    }
}

fn train(folder: &Path, data: &str, run: &str, more: &str) -> Output {
    let arguments = format!(
        "train policy --data {data} --bundle tiny --run {run} --out {run}-out --epochs 2 --history 2 --threads 1 --space joint-positions{more}"
    );
    pixio(folder, &arguments)
}

/// Numbers of half precision (IEEE 754 binary16), without infinities.
fn from_halves(bytes: &[u8]) -> Vec<f32> {
    let halves = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    halves
        .map(|half| {
            let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f32::from(half & 0x3ff) / 1024.0);
            let size = match exponent {
                0 => fraction * 2_f32.powi(-14),
                _ => (1.0 + fraction) * 2_f32.powi(exponent - 15),
            };
            if half >> 15 == 1 { -size } else { size }
        })
        .collect()
}

fn file(folder: &Path, name: &str) -> Vec<u8> {
    let path: PathBuf = folder.join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn recorded_tokens_train_the_same_policy_as_their_pictures() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let words = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let imported =
        pixio(folder, "import --random-weights 3 --architecture pixio-tiny16 --size 64x48 --out tiny");
    assert!(imported.status.success(), "{}", words(&imported));
    let manifest = String::from_utf8(file(folder, "tiny/model.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("encoder_id")).unwrap();
    let encoder = line.split('"').nth(1).unwrap();

    write_dataset(&folder.join("seen"), None);
    let from_pictures = train(folder, "seen", "pictures", "");
    assert!(from_pictures.status.success(), "{}", words(&from_pictures));
    let tokens = from_halves(&file(folder, "pictures/features.f16"));
    assert!(tokens.iter().any(|value| value.abs() > 0.1));

    write_dataset(&folder.join("felt"), Some((encoder, &tokens)));
    let from_tokens = train(folder, "felt", "tokens", &format!(" --tokens {KEY}"));
    assert!(from_tokens.status.success(), "{}", words(&from_tokens));
    assert!(file(folder, "pictures/features.f16") == file(folder, "tokens/features.f16"));
    let weights = |run: &str| file(folder, &format!("{run}-out/weights.safetensors"));
    assert!(weights("pictures") == weights("tokens"));

    write_dataset(&folder.join("foreign"), Some(("another", &tokens)));
    let refused = train(folder, "foreign", "foreign-run", &format!(" --tokens {KEY}"));
    assert!(!refused.status.success());
    let expected =
        format!("expected tokens of the bundle's encoder {encoder}, got those of another; without --tokens");
    assert!(words(&refused).contains(&expected), "{}", words(&refused));
    let without = train(folder, "seen", "without", &format!(" --tokens {KEY}"));
    assert!(words(&without).contains("expected a feature observation.features.eye, there is none"));
}

#[test]
fn features_of_a_run_are_those_of_its_pictures_whole_and_computed_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pixio(folder, "import --random-weights 3 --architecture pixio-tiny16 --size 64x48 --out tiny");
    write_dataset(&folder.join("seen"), None);
    let trains = |data: &str| {
        let output = train(folder, data, "run", " --force");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (trained, words) = trains("seen");
    assert!(trained, "{words}");
    let (features, about) = (file(folder, "run/features.f16"), file(folder, "run/features.json"));
    let kept = || file(folder, "run/features.f16") == features && file(folder, "run/features.json") == about;

    // As a kill leaves them: some features, and nothing that says that they are all.
    std::fs::write(folder.join("run/features.f16"), &features[..features.len() / 2]).unwrap();
    std::fs::remove_file(folder.join("run/features.json")).unwrap();
    let (trained, words) = trains("seen");
    assert!(trained && kept(), "{words}");

    let written = || std::fs::metadata(folder.join("run/features.f16")).unwrap().modified().unwrap();
    let before = written();
    let (trained, words) = trains("seen");
    assert!(trained && kept(), "{words}");
    assert_eq!(written(), before, "computed again");

    // The last picture of all is another.
    write_with_other(&folder.join("other"), None, Some(EPISODES * ROWS - 1));
    let (trained, words) = trains("other");
    assert!(!trained && words.contains("run/features.json: expected features of"), "{words}");
    assert!(kept() && written() == before);
}

#[test]
fn the_last_episodes_of_every_dataset_are_held_out_and_evaluated() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pixio(folder, "import --random-weights 3 --architecture pixio-tiny16 --size 64x48 --out tiny");
    write_dataset(&folder.join("seen"), None);
    write_with_other(&folder.join("other"), None, Some(3));
    let output = train(folder, "seen other", "run", " --held-out 1");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&file(folder, "run/evaluation.json")).unwrap();
    let number = |key: &str| found["x"][key].as_f64().unwrap();
    // Both held-out episodes have the same actions.
    let done: Vec<f64> = (ROWS..2 * ROWS).map(|row| f64::from((row as f32).sin())).collect();
    let mean = done.iter().sum::<f64>() / ROWS as f64;
    let blind = done.iter().map(|action| (action - mean).abs()).sum::<f64>() / ROWS as f64;
    assert!((number("mean_action_error") - blind).abs() < 1e-5, "{blind}: {found}");
    assert!(number("error") > 0.0, "{found}");
}

#[test]
fn units_in_names_are_kept_apart_from_the_joints_and_other_sizes_are_told() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pixio(folder, "import --random-weights 3 --architecture pixio-tiny16 --size 64x48 --out tiny");
    let named = |root: &str, name: &str| {
        write_dataset(&folder.join(root), None);
        let info = folder.join(root).join("meta/info.json");
        let said = std::fs::read_to_string(&info).unwrap();
        std::fs::write(&info, said.replace("\"x\"", &format!("\"{name}\""))).unwrap();
        train(folder, root, &format!("{root}-run"), "")
    };
    let output = named("degrees", "elbow.deg");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = String::from_utf8(file(folder, "degrees-run-out/model.toml")).unwrap();
    for words in
        ["name = \"elbow\"\nunit = \"deg\"", "name = \"elbow\"\nquantity = \"position\"\nunit = \"deg\""]
    {
        assert!(manifest.contains(words), "{words}: {manifest}");
    }
    // The first size is the one that is learnt at, and perception_node takes the one that suits the camera.
    let told = "perception_node takes 64x48 for pictures of 64x48";
    assert!(!String::from_utf8_lossy(&output.stderr).contains(told));
    pixio(
        folder,
        "import --random-weights 3 --architecture pixio-tiny16 --size 64x64 --size 64x48 --out tiny --force",
    );
    let output = named("sizes", "x");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(told), "{said}");
    let output = named("speeds", "elbow.rad/s");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("action: elbow.rad/s: expected a Position for --space JointPositions"), "{error}");
}

#[test]
fn rows_that_cannot_teach_are_named() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pixio(folder, "import --random-weights 3 --architecture pixio-tiny16 --size 64x48 --out tiny");
    let refused = |data: &str| {
        let output = train(folder, data, "run", "");
        assert!(!output.status.success(), "{data} was taken");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // A file of rows that was cut off.
    write_dataset(&folder.join("cut"), None);
    let mut files = vec![folder.join("cut/data")];
    let cut = loop {
        let path = files.pop().unwrap();
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            break path;
        }
    };
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let (error, name) = (refused("cut"), cut.file_name().unwrap().to_string_lossy().into_owned());
    assert!(error.contains(&name), "{name}: {error}");

    // Pictures of another size than the dataset says.
    write_dataset(&folder.join("small"), None);
    let info = folder.join("small/meta/info.json");
    let said = std::fs::read_to_string(&info).unwrap();
    assert!(said.contains("48"));
    std::fs::write(&info, said.replacen("48", "40", 1)).unwrap();
    let error = refused("small");
    assert!(
        error.contains("row 0 of episode 0: expected 64x40 as meta/info.json says, got 64x48"),
        "{error}"
    );

    // Datasets whose numbers mean something else.
    write_dataset(&folder.join("fine"), None);
    assert!(refused("nothing").contains("nothing"));
    let info = folder.join("cut/meta/info.json");
    std::fs::write(&cut, &bytes).unwrap();
    std::fs::write(&info, std::fs::read_to_string(&info).unwrap().replace("\"x\"", "\"y\"")).unwrap();
    let output = pixio(
        folder,
        "train policy --data fine --data cut --bundle tiny --run run2 --out never --epochs 1 --space joint-positions",
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("cut: expected the names and rate"), "{error}");
}
