//! `pixio pretrain`, `pixio train depth` and `pixio train segmentation` as their user runs them: what is held against held-out pictures,
//! and what is refused before anything is trained.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

mod place;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use safetensors::SafeTensors;

use self::place::{Place, number};

const SIDE: u32 = 32;

/// Pictures that are all different. On the left something is 1 m away, on the right in one of three; in the others it is 5 m. Classes are
/// left and right.
fn pictures(place: &Place, folder: &str, first: u32, count: u32) {
    let root = place.at(folder);
    ["rgb", "depth", "label"].iter().for_each(|name| std::fs::create_dir_all(root.join(name)).unwrap());
    for index in first..first + count {
        let noise =
            |x: u32, y: u32, channel: u32| ((x * 31 + y * 17 + channel * 7 + index * 101) % 251) as u8;
        let far = if index.is_multiple_of(3) { 1000 } else { 5000 };
        let picture: RgbImage =
            ImageBuffer::from_fn(SIDE, SIDE, |x, y| Rgb([0, 1, 2].map(|channel| noise(x, y, channel))));
        let depth: ImageBuffer<Luma<u16>, Vec<u16>> =
            ImageBuffer::from_fn(SIDE, SIDE, |x, _| Luma([if x < 4 { 1000 } else { far }]));
        let classes: GrayImage = ImageBuffer::from_fn(SIDE, SIDE, |x, _| Luma([u8::from(x >= 4)]));
        picture.save(root.join(format!("rgb/{index:03}.png"))).unwrap();
        depth.save(root.join(format!("depth/{index:03}.png"))).unwrap();
        classes.save(root.join(format!("label/{index:03}.png"))).unwrap();
    }
    std::fs::write(root.join("labels.json"), r#"["left", "right"]"#).unwrap();
}

fn prepared() -> Place {
    let place = Place::new();
    place.succeeds(
        "import --random-weights 3 --architecture pixio-tiny16 --head before=dpt --size 32x32 --out tiny",
    );
    pictures(&place, "data", 0, 12);
    pictures(&place, "held-out", 100, 6);
    place
}

/// Nothing was trained and nothing written.
fn refused(place: &Place, command: &str, words: &str) {
    let error = place.fails(&format!("{command} --run never --out never-out"));
    assert!(error.contains(words), "{command}: {error}");
    let began = place.at("never/run.safetensors").exists() || place.at("never/features.json").exists();
    assert!(!began && !place.at("never-out").exists(), "{command}: refused after it had begun");
}

const DEPTH: &str = "train depth --data data --bundle tiny --form linear --steps 3 --batch 4 --max-depth 3";

#[test]
fn controls_learn_what_the_head_learns_and_held_out_pictures_are_not_trained_on() {
    let place = prepared();
    let output = place.pixio(&format!("{DEPTH} --held-out held-out --run run --out out"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("warning"), "{said}");
    let found = place.json("run/evaluation.json");
    for control in ["constant median", "per-pixel median"] {
        // Of what counts, within 3 m, all is 1 m away; of all that was seen on the right, most is 5 m.
        assert!(number(&found, &format!("/held-out/{control}/abs_rel")) < 1e-6, "{control}: {found}");
    }
    assert!(number(&found, "/held-out/depth/abs_rel") > 0.0);
    let output = place.pixio(&format!("{DEPTH} --held-out data --run twins --out twins-out"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("warning: data: 12 of 12 held-out pictures were trained on"), "{said}");
}

#[test]
fn maps_that_changed_are_another_run() {
    let place = prepared();
    let depth = format!("{DEPTH} --run run --out out --force");
    let classes = "train segmentation --data data --bundle tiny --form linear --steps 3 --batch 4";
    let classes = format!("{classes} --run run2 --out out2 --force");
    // A map of depth that was another's, classes that were painted over.
    place.succeeds(&depth);
    place.succeeds(&depth);
    std::fs::copy(place.at("data/depth/003.png"), place.at("data/depth/002.png")).unwrap();
    let error = place.fails(&depth);
    assert!(error.contains("run/run.safetensors") && error.contains(", depth "), "{error}");
    place.succeeds(&classes);
    let map: GrayImage = ImageBuffer::from_pixel(SIDE, SIDE, Luma([0]));
    map.save(place.at("data/label/002.png")).unwrap();
    let error = place.fails(&classes);
    assert!(error.contains("run2/run.safetensors") && error.contains(", labels "), "{error}");
}

#[test]
fn heads_are_refused_before_anything_is_trained() {
    let place = prepared();
    let depth = "train depth --data data --bundle tiny --steps 3 --batch 4";
    for (more, words) in [
        ("--max-depth 0", "range: expected 0 < min < max"),
        ("--max-depth 0.5", "data: expected depth within the head's range of 0.001 to 0.5 m"),
        ("--name a.b", "heads.a.b.name"),
        ("--rate=-1", "--rate: expected"),
        ("--features 0", "channels"),
        ("--out-channels 8,8,8", "--out-channels: expected four numbers"),
        ("--form linear --features 8", "--features, --out-channels: expected --form dpt"),
        ("--held-out nowhere", "nowhere/rgb"),
        ("--held-out tiny", "tiny/rgb"),
    ] {
        refused(&place, &format!("{depth} {more}"), words);
    }
    let classes = "train segmentation --data data --bundle tiny --steps 3 --batch 4";
    let labels = |text: &str| std::fs::write(place.at("data/labels.json"), text).unwrap();
    labels("[]");
    refused(&place, classes, "labels: expected 2");
    labels(r#"["one", "two", "three"]"#);
    let map = |label: u8| {
        let map: GrayImage = ImageBuffer::from_pixel(SIDE, SIDE, Luma([label]));
        map.save(place.at("data/label/004.png")).unwrap();
    };
    map(7);
    refused(&place, classes, "data/label/004.png: expected classes below 3");
    map(255);
    place.succeeds(&format!("{classes} --run run --out out"));
}

#[test]
fn a_head_trained_anew_has_no_calibration_of_the_one_before() {
    let place = prepared();
    let path = place.at("tiny/model.toml");
    let measured = "[cameras.front.depth.before]\nscale = 1.25\nshift_meters = 0.1\nresidual = 0.01\nsamples = 9\nreference = \"a board\"\n";
    let manifest = std::fs::read_to_string(&path).unwrap() + "\n" + measured;
    std::fs::write(&path, manifest).unwrap();
    place.succeeds(&format!("{DEPTH} --name other --run run --out out"));
    assert!(std::fs::read_to_string(place.at("out/model.toml")).unwrap().contains("[cameras.front"));
    let output = place.pixio(&format!("{DEPTH} --name before --run run2 --out out2"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("before: the calibration of camera front"), "{said}");
    assert!(!std::fs::read_to_string(place.at("out2/model.toml")).unwrap().contains("cameras"));
}

/// A bundle's tensors: name and bytes.
fn tensors(place: &Place, bundle: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(place.at(bundle).join("weights.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect()
}

#[test]
fn a_head_of_another_form_leaves_nothing_of_the_one_before() {
    let place = Place::new();
    for (form, bundle) in [("dpt", "tiny"), ("linear", "expected")] {
        place.succeeds(&format!(
            "import --random-weights 3 --architecture pixio-tiny16 --head before={form} --head before_too=dpt --size 32x32 --out {bundle}"
        ));
    }
    pictures(&place, "data", 0, 12);
    place.succeeds(&format!("{DEPTH} --name before --run run --out out"));
    let [before, expected, after] = ["tiny", "expected", "out"].map(|bundle| tensors(&place, bundle));
    assert!(after.keys().eq(expected.keys()), "{:?}", after.keys());
    for (name, bytes) in after.iter().filter(|(name, _)| !name.starts_with("heads.before.")) {
        assert!(before[name] == *bytes, "{name} is another");
    }
}

/// A training that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn one_training_at_a_time_runs_in_a_folder() {
    let place = prepared();
    let endless = DEPTH.replace("--steps 3", "--steps 1000000") + " --run run --out endless --save-every 0";
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
    command.args(endless.split(' ')).current_dir(place.at("")).stderr(Stdio::null());
    let first = Running(command.spawn().unwrap());
    let since = Instant::now();
    while !place.at("run/loss.json").exists() {
        assert!(since.elapsed() < Duration::from_secs(120), "the first training saved nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    let again = format!("{DEPTH} --run run --out out");
    for other in [&again, &format!("{PRETRAIN} {FRESH} --steps 2 --run run --out out")] {
        let error = place.fails(other);
        assert!(error.contains("--run run: another training runs in this folder"), "{error}");
    }
    // Killed, it holds nothing any more.
    drop(first);
    let error = place.fails(&again);
    assert!(error.contains("run/run.safetensors: expected a run of these settings"), "{error}");
    std::fs::remove_file(place.at("run/run.safetensors")).unwrap();
    place.succeeds(&again);
}

#[test]
fn what_the_other_form_of_a_policy_reads_is_refused() {
    let place = Place::new();
    for (form, more) in [("mlp", "--patches"), ("chunk", "--history 3"), ("chunk", "--concatenated")] {
        let option = more.split(' ').next().unwrap();
        let words = format!("{option}: expected --form");
        refused(&place, &format!("train policy --data data --bundle tiny --form {form} {more}"), &words);
    }
}

const PRETRAIN: &str = "pretrain --data data --decoder 16x1x2 --batch 4";
const FRESH: &str = "--side 32 --encoder 16x4x2";

#[test]
fn pretraining_is_refused_before_anything_is_trained() {
    let place = Place::new();
    pictures(&place, "data", 0, 8);
    for (more, words) in [
        ("--tap 4", "--tap: expected blocks below 4, got 4"),
        ("--size 40x40", "--size: expected"),
        ("--held-out nowhere", "nowhere"),
        ("--rate=-1", "--rate: expected"),
        ("--warm-up 2", "--warm-up: expected 0 to 1, got 2"),
        ("--weight-decay=-1", "--weight-decay: expected"),
    ] {
        refused(&place, &format!("{PRETRAIN} {FRESH} --steps 2 {more}"), words);
    }
    let odd = PRETRAIN.replace("16x1x2", "16x1x3");
    refused(&place, &odd, "error: --decoder: heads: expected a divisor of dim 16, got 3");
}

#[test]
fn a_run_goes_on_from_the_encoder_that_it_was_begun_with() {
    let place = Place::new();
    pictures(&place, "data", 0, 8);
    for (name, seed) in [("one", 1), ("other", 2)] {
        place.succeeds(&format!(
            "{PRETRAIN} {FRESH} --steps 0 --seed {seed} --name same --licence CC-BY-4.0 --run {name}-run --out {name}"
        ));
    }
    let output = place.pixio(&format!("{PRETRAIN} --from one --steps 2 --mask-ratio 0.9 --run run --out on"));
    let said = String::from_utf8_lossy(&output.stderr);
    // Of four blocks one is seen, whatever was asked for.
    assert!(output.status.success() && said.contains("75 % masked"), "{said}");
    let manifest = std::fs::read_to_string(place.at("on/model.toml")).unwrap();
    assert!(manifest.contains("licence = \"CC-BY-4.0\""), "its weights come of the bundle's: {manifest}");
    let error =
        place.fails(&format!("{PRETRAIN} --from other --steps 2 --mask-ratio 0.9 --run run --out on2"));
    assert!(error.contains("run/run.safetensors") && error.contains("encoder"), "{error}");
}
