//! `pixio train points` as its user runs it: a head on an encoder that nobody trained, and data that is refused.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

mod place;

use std::path::Path;

use image::{ImageBuffer, Luma, Rgb, RgbImage};
use serde_json::json;

use self::place::{Place, number};

const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;
/// Focal lengths of the two cameras, pixels.
const FOCAL: [f64; 2] = [45.0, 75.0];

/// A place with an encoder that nobody trained, and data.
fn prepared() -> Place {
    let place = Place::new();
    let bundle =
        "import --random-weights 3 --architecture pixio-tiny16 --head depth=linear --size 64x48 --out tiny";
    place.succeeds(bundle);
    pictures(&place, "data", 0, 24);
    pictures(&place, "held-out", 100, 8);
    place
}

/// Walls that face the camera: how red says which camera it is, how green how far the wall is; some pixels of it are unknown.
fn pictures(place: &Place, folder: &str, first: usize, count: usize) {
    let root = place.at(folder);
    ["rgb", "depth"].iter().for_each(|name| std::fs::create_dir_all(root.join(name)).unwrap());
    let mut cameras = serde_json::Map::new();
    for index in first..first + count {
        let (camera, far) = (index % 2, (index / 2 * 7 + index / 10) % 12);
        let noise = |x: u32, y: u32| ((x * 31 + y * 17 + index as u32 * 101) % 23) as u8;
        let colour = |x, y| Rgb([60 + 130 * camera as u8 + noise(x, y), 40 + 15 * far as u8, 90]);
        let depth = |x, _| Luma([if x < 4 { 0 } else { 1000 + 150 * far as u16 }]);
        let picture: RgbImage = ImageBuffer::from_fn(WIDTH, HEIGHT, colour);
        let map: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_fn(WIDTH, HEIGHT, depth);
        picture.save(root.join(format!("rgb/{index:03}.png"))).unwrap();
        map.save(root.join(format!("depth/{index:03}.png"))).unwrap();
        let focal = FOCAL[camera];
        cameras.insert(format!("{index:03}"), json!({ "fx": focal, "fy": focal, "cx": 31.5, "cy": 23.5 }));
    }
    std::fs::write(root.join("camera.json"), serde_json::to_string(&cameras).unwrap()).unwrap();
}

const TRAIN: &str = "train points --data data --held-out held-out --bundle tiny --form linear --batch 12 --steps 300 --rate 2e-2 \
                     --max-distance 4 --doubt-unknown";

#[test]
fn the_head_finds_points_and_says_how_sure_it_is() {
    let place = prepared();
    let said = place.succeeds(&format!("{TRAIN} --run run --out out"));
    assert!(said.contains("points: points, linear, 0.001 to 4 m") && said.contains("ray deg"), "{said}");
    let evaluation = place.json("run/evaluation.json");
    let (ours, blind) = (&evaluation["held-out"]["points"], &evaluation["held-out"]["per-pixel median"]);
    for path in ["/abs_rel", "/rmse", "/silog", "/point_error_meters"] {
        let (ours, blind) = (number(ours, path), number(blind, path));
        assert!(ours < 0.5 * blind, "{path}: {ours}, {blind} for predictors that see nothing");
    }
    // One of 45 and 75 for both: 60 is a third too long for one, a fifth too short for the other.
    assert!((number(blind, "/pinhole/fx") - (1.0 / 3.0 + 0.2) / 2.0).abs() < 1e-6, "{blind}");
    assert_eq!(number(ours, "/without_pinhole"), 0.0);
    assert!(number(ours, "/close") > 0.8, "{ours}");
    // Unknown depth teaches doubt.
    let sure = |path: &str| number(ours, &format!("/confidence/{path}"));
    assert!(sure("known") > sure("unknown"), "{ours}");
    for path in ["/ray_error_degrees", "/pinhole/fy", "/pinhole/cx_pixels", "/pinhole/deviation_pixels"] {
        assert!(number(ours, path) > 0.0 && number(ours, path) < 90.0, "{path}: {ours}");
    }
    assert!(blind["confidence"].is_null());

    place.succeeds("infer out held-out/rgb/100.png --out seen");
    let implied = place.json("seen/100_intrinsics.json");
    assert!(number(&implied, "/implied_intrinsics/fx") > 0.0, "{implied}");

    // The same seed on one thread gives the same bundle, and a run that has ended goes on to it again.
    place.succeeds(&format!("{TRAIN} --run again --out again-out --threads 1"));
    place.succeeds(&format!("{TRAIN} --run run --out resumed"));
    let weights = |name: &str| std::fs::read(place.at(name).join("weights.safetensors")).unwrap();
    assert!(weights("out") == weights("again-out") && weights("out") == weights("resumed"));
}

#[test]
fn what_cannot_teach_points_is_refused_by_name() {
    let place = prepared();
    let train = |folder: &str, more: &str| {
        place.fails(&format!(
            "train points --data {folder} --bundle tiny --form linear --steps 2 --run run{more} --out never"
        ))
    };
    let camera = |text: &str| std::fs::write(place.at("data/camera.json"), text).unwrap();
    let good = place.json("data/camera.json");
    std::fs::remove_file(place.at("data/camera.json")).unwrap();
    let error = train("data", "");
    assert!(error.contains("data/camera.json: expected fx, fy, cx and cy"), "{error}");
    let mut broken = good.clone();
    broken["003"]["fy"] = json!(0.0);
    camera(&broken.to_string());
    let error = train("data", "");
    assert!(error.contains("camera.json: 003") && error.contains("fy"), "{error}");
    camera(&good.to_string().replace("45.0", "NaN"));
    assert!(train("data", "").contains("data/camera.json"));
    camera(&good.to_string());
    assert!(train("data", " --ray-weight=-1").contains("--ray-weight"));
    std::fs::remove_file(place.at("data/depth/005.png")).unwrap();
    assert!(train("data", "").contains("data/depth/005.png"));

    // Cameras are part of what a run goes on from, and features are one encoder's.
    let begin =
        "train points --data held-out --bundle tiny --form linear --steps 2 --run kept --out kept-out";
    place.succeeds(begin);
    let path = place.at("held-out/camera.json");
    let other = std::fs::read_to_string(&path).unwrap().replace("45.0", "46.0");
    std::fs::write(&path, other).unwrap();
    let error = place.fails(&format!("{begin} --force"));
    assert!(error.contains("kept/run.safetensors") && error.contains("cameras"), "{error}");
    place.succeeds(
        "import --random-weights 4 --architecture pixio-tiny16 --head depth=linear --size 64x48 --out tiny2",
    );
    let error = place.fails(&begin.replace("tiny", "tiny2").replace("kept-out", "other"));
    assert!(error.contains("features.json") && error.contains("encoder"), "{error}");
    assert!(!Path::new(&place.at("never")).exists());
}
