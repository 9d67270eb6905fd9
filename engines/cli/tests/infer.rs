//! `pixio infer` as its user runs it, on pictures and, through a stand-in for ffmpeg and an installed one, on videos.

#![allow(clippy::unwrap_used)] // A test may panic: that is how it fails.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use calibration::{CameraInfo, CameraModel, Distortion, Intrinsics, NamedCameraInfo, Size};
use safetensors::SafeTensors;

/// Describes a video of 5 frames at 10 a second, delivers three, and keeps what it is given to encode. `broken.mp4` breaks off.
const FFMPEG: &str = r#"#!/bin/sh
set -e
case "$*" in
  *image2pipe*)
    for level in 10 20 30; do
      printf 'P6\n80 60\n255\n'; head -c 14400 /dev/zero | tr '\0' "\\$level"
      case "$*" in *broken.mp4*) echo 'moov atom not found' >&2; exit 1;; esac
    done;;
  *rawvideo*) for last; do :; done; echo "$*" > "$last.arguments"; cat > "$last";;
  *text.mp4*) echo 'text.mp4: Invalid data found when processing input' >&2; exit 1;;
  *) echo '  Duration: 00:00:00.50, start: 0' >&2; echo '  Stream #0:0: Video: h264, 80x60, 10 fps, 10 tbr' >&2; exit 1;;
esac
"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(place.at("ffmpeg"), FFMPEG).unwrap();
        std::fs::set_permissions(place.at("ffmpeg"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let imported = place.pixio(&[
            "import",
            "--random-weights",
            "3",
            "--architecture",
            "pixio-tiny16",
            "--head",
            "depth=linear",
            "--size",
            "64x48",
            "--out",
            "tiny",
        ]);
        assert!(imported.status.success(), "{}", text(&imported));
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pixio(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
        command.args(arguments).current_dir(self.folder.path()).env("PIXIO_FFMPEG", self.at("ffmpeg"));
        command.output().unwrap()
    }

    fn made(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn photo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/photos").join(name)
}

#[test]
fn pictures_give_their_files_and_a_contact_sheet() {
    let place = Place::new();
    let [coffee, rocket] =
        ["coffee_small.png", "rocket.jpg"].map(photo).map(|path| path.display().to_string());
    let ran = place.pixio(&["infer", "tiny", &coffee, &rocket, "--field-of-view", "60", "--out", "out"]);
    assert!(ran.status.success(), "{}", text(&ran));
    let mut expected = vec!["contact_sheet.png".to_owned()];
    for stem in ["coffee_small", "rocket"] {
        let endings = ["depth.png", "depth_colour.png", "features.safetensors", "input.png", "points.ply"];
        expected.extend(endings.map(|ending| format!("{stem}_{ending}")));
    }
    expected.sort();
    assert_eq!(place.made("out"), expected);

    let options = ["--write", "depth,colour", "--output-size", "image", "--far-policy", "clamp"];
    let ran = place.pixio(&[&["infer", "tiny", &coffee, "--out", "few"][..], &options].concat());
    assert!(ran.status.success(), "{}", text(&ran));
    assert_eq!(place.made("few"), ["coffee_small_depth.png", "coffee_small_depth_colour.png"]);
    let size = |path: PathBuf| image::image_dimensions(path).unwrap();
    assert_eq!(size(place.at("few/coffee_small_depth.png")), size(photo("coffee_small.png")));
    let refused = place.pixio(&["infer", "tiny", &coffee, "--out", "few", "--far-policy", "far"]);
    assert!(text(&refused).contains("expected nan, inf or clamp"), "{}", text(&refused));
}

/// The calibrations of tests/golden/make_rectified.py, as files, and what OpenCV made of every third row and column.
fn distorted_cameras(place: &Place) -> [(String, Vec<[u8; 3]>); 2] {
    let golden = std::fs::read(photo("../golden/rectified.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let tensor = |name: &str| golden.tensor(name).unwrap();
    ["barrel", "pincushion"].map(|name| {
        let bytes = tensor(&format!("{name}/kd"));
        let numbers: Vec<f64> =
            bytes.data().as_chunks().0.iter().map(|four| f64::from(f32::from_le_bytes(*four))).collect();
        let intrinsics = Intrinsics { fx: numbers[0], cx: numbers[2], fy: numbers[4], cy: numbers[5] };
        let distortion = Distortion::PlumbBob(std::array::from_fn(|at| numbers[9 + at]));
        let (width, height) = image::image_dimensions(photo("coffee_small.png")).unwrap();
        let size = Size { width: width as usize, height: height as usize };
        let camera = CameraModel::new(size, intrinsics, distortion).unwrap();
        let named = NamedCameraInfo { name: name.to_owned(), info: CameraInfo::of(&camera) };
        let file = format!("{name}.yaml");
        calibration::write_camera_info_yaml(place.at(&file), &named).unwrap();
        (file, tensor(&format!("{name}/rgb")).data().as_chunks().0.to_vec())
    })
}

#[test]
fn a_distorted_camera_is_rectified_as_opencv_does_before_anything_else() {
    let place = Place::new();
    let coffee = photo("coffee_small.png").display().to_string();
    for (camera, expected) in distorted_cameras(&place) {
        let ran = place.pixio(&[
            "infer",
            "tiny",
            &coffee,
            "--camera",
            &camera,
            "--output-size",
            "image",
            "--out",
            "out",
        ]);
        assert!(ran.status.success(), "{}", text(&ran));
        let ours = image::open(place.at("out/coffee_small_input.png")).unwrap().into_rgb8();
        let depth = image::open(place.at("out/coffee_small_depth.png")).unwrap().into_luma16();
        let kept = (0..ours.height())
            .step_by(3)
            .flat_map(|row| (0..ours.width()).step_by(3).map(move |column| (column, row)));
        let (mut seen, mut unseen) = (0, 0);
        for ((column, row), expected) in kept.zip(expected) {
            let pixel = ours[(column, row)].0;
            if pixel == [0; 3] {
                assert_eq!(depth[(column, row)].0, [0], "{camera}: depth where the camera saw nothing");
                unseen += 1;
                continue;
            }
            let worst = pixel.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            assert!(worst <= 1, "{camera}: {column} {row}: {pixel:?} for {expected:?}");
            seen += 1;
        }
        assert!(seen > 2500, "{camera}: {seen}");
        assert_eq!(unseen > 0, camera == "pincushion.yaml", "{camera}: {unseen}");
    }
    let rocket = photo("rocket.jpg").display().to_string();
    let refused = place.pixio(&["infer", "tiny", &rocket, "--camera", "barrel.yaml", "--out", "out"]);
    assert!(text(&refused).contains("barrel.yaml: expected a calibration for"), "{}", text(&refused));
}

#[test]
fn videos_give_depth_of_every_frame_and_a_video_beside_it() {
    let place = Place::new();
    for name in ["film.mp4", "text.mp4", "broken.mp4"] {
        std::fs::write(place.at(name), b"not read by the stand-in").unwrap();
    }
    let ran = place.pixio(&["infer", "tiny", "film.mp4", "--every", "2", "--out", "out"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("3 frames of 1 videos"), "{}", text(&ran));
    let frames = ["000000", "000002", "000004"].map(|number| format!("film_{number}_depth.png"));
    let video = ["film_side_by_side.mp4", "film_side_by_side.mp4.arguments"].map(str::to_owned);
    assert_eq!(place.made("out"), [&frames[..], &video].concat());
    // Three frames of picture and depth, 64x48 each, and what the encoder was told of them.
    let encoded = std::fs::read(place.at("out/film_side_by_side.mp4")).unwrap();
    assert_eq!(encoded.len(), 3 * 3 * 128 * 48);
    assert_eq!(encoded[..3], [8; 3], "octal 10, on the left");
    let told = std::fs::read_to_string(place.at("out/film_side_by_side.mp4.arguments")).unwrap();
    assert!(told.contains("-s 128x48 -r 5 "), "{told}");

    let refused = |file: &str, ffmpeg: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
        command.args(["infer", "tiny", file, "--out", "bad"]).current_dir(place.folder.path());
        let ended = command.env("PIXIO_FFMPEG", ffmpeg).output().unwrap();
        (ended.status.code(), text(&ended))
    };
    let stand_in = place.at("ffmpeg").display().to_string();
    let (code, said) = refused("text.mp4", &stand_in);
    assert_eq!(code, Some(1));
    assert!(said.contains("text.mp4: ffmpeg finds no video in it: text.mp4: Invalid data"), "{said}");
    let (code, said) = refused("broken.mp4", &stand_in);
    assert!(
        said.contains("moov atom not found") && said.contains("broken.mp4: after 1 frames: ffmpeg"),
        "{said}"
    );
    assert_eq!(code, Some(1));
    // What came before it broke off is there, and its video is whole.
    assert_eq!(std::fs::read(place.at("bad/broken_side_by_side.mp4")).unwrap().len(), 3 * 128 * 48);
    let (code, said) = refused("film.mp4", "/nowhere/ffmpeg");
    assert_eq!(code, Some(2));
    assert!(said.contains("videos need ffmpeg; install it"), "{said}");
}

#[test]
fn files_that_cannot_be_read_cost_only_themselves() {
    let place = Place::new();
    std::fs::create_dir(place.at("mix")).unwrap();
    let rocket = std::fs::read(photo("rocket.jpg")).unwrap();
    std::fs::copy(photo("coffee_small.png"), place.at("mix/d.png")).unwrap();
    let files = [
        ("a.jpg", &rocket[..]),
        ("b.jpg", &rocket[..5000]),
        ("c.png", b"no picture"),
        ("e.mp4", b""),
        ("text.mp4", b""),
    ];
    for (name, bytes) in files {
        std::fs::write(place.at("mix").join(name), bytes).unwrap();
    }
    let ran = place.pixio(&["infer", "tiny", "mix", "--write", "depth", "--out", "out"]);
    let said = text(&ran);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    for line in [
        "error: mix/b.jpg: JPEG of 5000 bytes: it is cut off: expected the marker of the end of the image\n",
        "error: mix/c.png: data: expected JPEG or PNG, got 10 bytes that begin with",
        "error: mix/text.mp4: ffmpeg finds no video in it",
        "2 pictures, 3 frames of 1 videos -> out\n",
        "3 of 6 files failed, as told above\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let mut expected =
        ["a", "d", "e_000000", "e_000001", "e_000002"].map(|stem| format!("{stem}_depth.png")).to_vec();
    expected.extend(
        ["contact_sheet.png", "e_side_by_side.mp4", "e_side_by_side.mp4.arguments"].map(str::to_owned),
    );
    expected.sort();
    assert_eq!(place.made("out"), expected);
    // What is no file's fault is said once, before anything is computed.
    let refused = |options: &[&str], expected: &str| {
        let ran = place.pixio(&[&["infer", "tiny", "mix", "--out", "none"][..], options].concat());
        let said = text(&ran);
        assert!(
            ran.status.code() == Some(2) && said.contains(expected) && said.lines().count() == 1,
            "{said}"
        );
        assert!(!place.at("none").exists(), "{options:?}");
    };
    refused(&["--size", "32x32"], "--size 32x32: expected one of the bundle's sizes, 64x48");
    refused(&["--field-of-view", "200"], "--field-of-view: expected 1 to 170 degrees, got 200");
    refused(&["--head", "foo"], "error: depth head: expected one of depth, got foo");
    refused(&["--camera", "gone.yaml"], "error: gone.yaml: No such file or directory (os error 2)\n");
    let ran = place.pixio(&["infer", "/nowhere", "mix", "--out", "none"]);
    assert_eq!(text(&ran), "error: /nowhere/model.toml: No such file or directory (os error 2)\n");
}

/// What the installed ffmpeg writes to standard output; nothing where none is installed.
fn installed_ffmpeg(arguments: &[&str], folder: &Path) -> Option<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    let ran = match command.args(["-nostdin", "-v", "error"]).args(arguments).current_dir(folder).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        ran => ran.unwrap(),
    };
    assert!(ran.status.success(), "{}", text(&ran));
    Some(ran.stdout)
}

#[test]
fn a_film_goes_through_an_installed_ffmpeg() {
    let place = Place::new();
    let folder = place.folder.path();
    let source =
        ["-f", "lavfi", "-i", "testsrc2=size=96x72:rate=10", "-frames:v", "7", "-c:v", "mpeg4", "-q:v", "2"];
    if installed_ffmpeg(&[&source[..], &["film.mkv"]].concat(), folder).is_none() {
        eprintln!("left out: no ffmpeg is installed");
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixio"));
    command.args(["infer", "tiny", "film.mkv", "--every", "3", "--write", "depth,input"]);
    command.args(["--output-size", "image", "--out", "out"]).current_dir(folder).env_remove("PIXIO_FFMPEG");
    let ran = command.output().unwrap();
    assert!(ran.status.success() && text(&ran).contains("3 frames of 1 videos"), "{}", text(&ran));
    let stems = ["film_000000", "film_000003", "film_000006"];
    let mut expected: Vec<_> =
        stems.iter().flat_map(|stem| ["depth", "input"].map(|kind| format!("{stem}_{kind}.png"))).collect();
    expected.push("film_side_by_side.mp4".to_owned());
    assert_eq!(place.made("out"), expected);

    // The frames are those that ffmpeg gives when it is asked for all of them.
    let rgb = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
    let frames = installed_ffmpeg(&[&["-i", "film.mkv"][..], &rgb].concat(), folder).unwrap();
    let frames: Vec<&[u8]> = frames.chunks_exact(3 * 96 * 72).collect();
    assert_eq!(frames.len(), 7);
    for (stem, frame) in stems.iter().zip(frames.iter().step_by(3)) {
        let input = image::open(place.at("out").join(format!("{stem}_input.png"))).unwrap().into_rgb8();
        assert_eq!(input.dimensions(), (96, 72));
        let worst = input.as_raw().iter().zip(*frame).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{stem}: {worst:?}");
    }
    // The film beside its depth can be played: three frames, twice as wide, the picture on the left as far as its codec goes.
    let played =
        installed_ffmpeg(&[&["-i", "out/film_side_by_side.mp4"][..], &rgb].concat(), folder).unwrap();
    assert_eq!(played.len(), 3 * 3 * 192 * 72);
    for (pair, frame) in played.chunks_exact(3 * 192 * 72).zip(frames.iter().step_by(3)) {
        let left = pair.chunks_exact(3 * 192).flat_map(|row| &row[..3 * 96]);
        let off: u64 = left.zip(*frame).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(off < 20 * frame.len() as u64, "{} levels off", off / frame.len() as u64);
    }
}
