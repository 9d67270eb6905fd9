//! Cameras on the ROS graph, as `graph_probe` of `pixio_ros` sees them, against what perception_node wants.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::report::{Area, Check};

/// The helper's name; only `pixio_ros` may use ROS.
const PROBE: &str = "graph_probe";
/// How much longer than it measures the helper may take, to start and to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Share of frames that may be lost before it is told.
const LOSS: f64 = 0.05;

/// What the helper prints.
#[derive(Debug, Deserialize)]
pub struct Graph {
    /// How long it listened to each image topic, seconds.
    pub seconds: f64,
    /// Every image topic that is no output of a perception_node.
    pub images: Vec<Camera>,
}

/// One image topic.
#[derive(Debug, Default, Deserialize)]
pub struct Camera {
    /// Full name.
    pub topic: String,
    /// Who publishes.
    pub publishers: Vec<Publisher>,
    /// Frames that came.
    pub frames: usize,
    /// Frames a second by their arrival; none of fewer than two frames.
    pub rate_hz: Option<f64>,
    /// Share of frames that did not come, by gaps between stamps; none of fewer than four frames.
    pub lost: Option<f64>,
    /// Pixels and encoding of the newest frame, or the compressed format.
    pub form: Option<String>,
    /// Why the node would refuse the newest frame.
    pub refused: Option<String>,
    /// Frame id of the newest frame.
    pub frame_id: Option<String>,
    /// The camera_info topic beside it, and what it says.
    pub info: Info,
}

/// One publisher.
#[derive(Debug, Deserialize)]
pub struct Publisher {
    /// Full name of its node.
    pub node: String,
    /// Whether it offers reliable delivery.
    pub reliable: bool,
}

/// The camera_info beside an image topic.
#[derive(Debug, Default, Deserialize)]
pub struct Info {
    /// Full name of the topic that belongs to the image.
    pub topic: String,
    /// Messages that came.
    pub messages: usize,
    /// Why the node would refuse the newest one, its size against the image's included.
    pub refused: Option<String>,
    /// Whether the newest one has distortion.
    pub distorted: bool,
}

/// Runs the helper and judges what it says.
pub fn checks(seconds: f64, near: Option<&Path>, prefixes: &[PathBuf], path: &[PathBuf]) -> Vec<Check> {
    let Some(probe) = find(near, prefixes, path) else {
        return vec![Check::warn(
            Area::Graph,
            format!("the helper {PROBE} is neither beside this tool nor in a sourced prefix nor on PATH"),
            "cargo build --release -p pixio_ros, or install the package (docs/launch.md)",
        )];
    };
    match run(&probe, seconds) {
        Ok(graph) => judge(&graph),
        Err(reason) => vec![Check::fail(
            Area::Graph,
            format!("{}: {reason}", probe.display()),
            "the lines on ROS above say what is missing; or run the helper by hand",
        )],
    }
}

/// The helper: beside the tool, in `lib/pixio` of its prefix, of a sourced prefix, or on PATH.
fn find(near: Option<&Path>, prefixes: &[PathBuf], path: &[PathBuf]) -> Option<PathBuf> {
    let beside = near.iter().flat_map(|folder| [folder.to_path_buf(), folder.join("../lib/pixio")]);
    let installed = prefixes.iter().map(|prefix| prefix.join("lib/pixio"));
    let folders = beside.chain(installed).chain(path.iter().cloned());
    folders.map(|folder| folder.join(PROBE)).find(|file| file.is_file())
}

fn run(probe: &Path, seconds: f64) -> Result<Graph, String> {
    let mut child = Command::new(probe)
        .args(["--seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let end = Instant::now() + Duration::from_secs_f64(seconds) + PATIENCE;
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if Instant::now() > end {
            // Reaped by wait_with_output below; a failure to kill shows there too.
            let _ = child.kill();
            return Err(format!("did not end within {} s", (seconds + PATIENCE.as_secs_f64()).round()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().last().unwrap_or("no word of why").to_owned();
        return Err(format!("ended with {}: {last}", output.status));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("printed something else than expected: {error}"))
}

/// What the graph means for perception_node.
pub fn judge(graph: &Graph) -> Vec<Check> {
    if graph.images.is_empty() {
        return vec![Check::warn(
            Area::Graph,
            "no image topic on the graph",
            "start the camera driver; ROS_DOMAIN_ID, discovery range and middleware must be the same there and here",
        )];
    }
    graph.images.iter().flat_map(|camera| camera_checks(camera, graph.seconds)).collect()
}

fn camera_checks(camera: &Camera, seconds: f64) -> Vec<Check> {
    let topic = &camera.topic;
    if camera.publishers.is_empty() {
        return vec![Check::warn(
            Area::Graph,
            format!("{topic}: somebody subscribes and nobody publishes"),
            "remap the subscriber to the camera's topic (image:=... of the launch file), or start the camera",
        )];
    }
    let by = camera.publishers.iter().map(|publisher| publisher.node.as_str()).collect::<Vec<_>>().join(", ");
    if camera.frames == 0 {
        return vec![Check::warn(
            Area::Graph,
            format!("{topic} of {by}: no frame came within {seconds} s"),
            "see that the camera runs (ros2 topic hz); many drivers publish only while somebody subscribes; with Fast DDS \
             over several machines or containers, see docs/troubleshooting.md",
        )];
    }
    let mut checks = vec![frames_check(camera, &by)];
    checks.extend(loss_check(camera));
    checks.extend(frame_id_check(camera));
    checks.push(info_check(camera));
    checks
}

fn frames_check(camera: &Camera, by: &str) -> Check {
    let reliable = camera.publishers.iter().all(|publisher| publisher.reliable);
    let found = format!(
        "{} of {by}: {}, {}, {}",
        camera.topic,
        camera.form.as_deref().unwrap_or("of unknown form"),
        camera.rate_hz.map_or("one frame".to_owned(), |rate| format!("{rate:.1} Hz")),
        if reliable {
            "reliable: the node will ask for that"
        } else {
            "best effort: the node will take that"
        },
    );
    match &camera.refused {
        None => Check::ok(Area::Graph, found),
        Some(reason) => Check::fail(
            Area::Graph,
            format!("{found}; the node would refuse it: {reason}"),
            "set the driver to an encoding of README.md's table, or convert with image_proc",
        ),
    }
}

fn loss_check(camera: &Camera) -> Option<Check> {
    let lost = camera.lost.filter(|lost| *lost > LOSS)?;
    Some(Check::warn(
        Area::Graph,
        format!("{}: about {:.0} % of the frames do not arrive", camera.topic, 100.0 * lost),
        "give the camera driver the Fast DDS profile (docs/transport.md); make it reliable; or lower rate or size",
    ))
}

fn frame_id_check(camera: &Camera) -> Option<Check> {
    let frame = camera.frame_id.as_deref().unwrap_or_default();
    if frame.ends_with("_optical") || frame.ends_with("_optical_frame") {
        return None;
    }
    Some(Check::warn(
        Area::Graph,
        format!(
            "{}: frame_id {frame:?} does not say that it is an optical frame (REP 103: z forward)",
            camera.topic
        ),
        "set the driver's frame_id to the optical frame of the robot's description; depth and points pass it on",
    ))
}

fn info_check(camera: &Camera) -> Check {
    let Info { topic, messages, refused, distorted } = &camera.info;
    if *messages == 0 {
        return Check::fail(
            Area::Graph,
            format!("{}: no camera_info came on {topic}, and without it nothing is published", camera.topic),
            "give the driver a calibration file, or remap camera_info:=... to where it is",
        );
    }
    if let Some(reason) = refused {
        return Check::fail(
            Area::Graph,
            format!("{topic}: the node would refuse it: {reason}"),
            "calibrate the camera, or give the driver its calibration file",
        );
    }
    if *distorted {
        return Check::warn(
            Area::Graph,
            format!("{topic}: D is not zero, and the node takes the image as rectified"),
            "take the driver's rectified image, or rectify with image_proc",
        );
    }
    Check::ok(Area::Graph, format!("{topic}: fits, no distortion"))
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, worst};
    use super::*;

    fn sound() -> Camera {
        Camera {
            topic: "/camera/image_raw".into(),
            publishers: vec![Publisher { node: "/camera".into(), reliable: true }],
            frames: 60,
            rate_hz: Some(30.0),
            lost: Some(0.0),
            form: Some("640x480 rgb8".into()),
            frame_id: Some("camera_optical_frame".into()),
            info: Info { topic: "/camera/camera_info".into(), messages: 60, ..Info::default() },
            ..Camera::default()
        }
    }

    /// A change to a sound camera, the status that it leads to, and words of the line.
    type Case = (fn(&mut Camera), Status, &'static str);

    #[test]
    fn each_fault_of_a_camera_has_its_line() {
        let cases: &[Case] = &[
            (|_| {}, Status::Ok, "640x480 rgb8, 30.0 Hz, reliable"),
            (|camera| camera.publishers[0].reliable = false, Status::Ok, "best effort"),
            (|camera| camera.publishers.clear(), Status::Warn, "nobody publishes"),
            (|camera| camera.frames = 0, Status::Warn, "no frame came within 2 s"),
            (
                |camera| camera.refused = Some("encoding uyvy".into()),
                Status::Fail,
                "refuse it: encoding uyvy",
            ),
            (|camera| camera.lost = Some(0.48), Status::Warn, "about 48 %"),
            (|camera| camera.frame_id = Some("camera_link".into()), Status::Warn, "\"camera_link\""),
            (|camera| camera.info.messages = 0, Status::Fail, "no camera_info came on /camera/camera_info"),
            (|camera| camera.info.refused = Some("K is zero".into()), Status::Fail, "K is zero"),
            (|camera| camera.info.distorted = true, Status::Warn, "D is not zero"),
        ];
        for (change, status, words) in cases {
            let mut camera = sound();
            change(&mut camera);
            let checks = judge(&Graph { seconds: 2.0, images: vec![camera] });
            assert_eq!(worst(&checks), *status, "{checks:#?}");
            assert!(checks.iter().any(|check| check.found.contains(words)), "{words}: {checks:#?}");
        }
        assert_eq!(worst(&judge(&Graph { seconds: 2.0, images: vec![] })), Status::Warn);
    }

    fn helper(text: &str) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PROBE);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn a_helper_that_fails_is_told() {
        let cases = [
            ("echo no rmw >&2; exit 3", Status::Fail, "no rmw"),
            ("echo surprise", Status::Fail, "something else than expected"),
            (r#"echo '{"seconds": 1.0, "images": []}'"#, Status::Warn, "no image topic"),
        ];
        for (text, status, words) in cases {
            let folder = helper(text);
            let checks = checks(0.1, Some(folder.path()), &[], &[]);
            assert_eq!(checks[0].status, status, "{checks:#?}");
            assert!(checks[0].found.contains(words), "{checks:#?}");
        }
        let nowhere = checks(0.1, None, &[], &[]);
        assert!(nowhere[0].found.contains("neither beside this tool"), "{nowhere:#?}");
    }
}
