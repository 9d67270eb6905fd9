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
    /// Cameras of running nodes, as their diagnostics tell of them.
    #[serde(default)]
    pub running: Vec<Running>,
}

/// One camera of a running node, from the newest status that came.
#[derive(Debug, Default, Deserialize)]
pub struct Running {
    /// The status' name: the node's, and which camera of it.
    pub name: String,
    /// 0 OK, 1 WARN, 2 ERROR.
    pub level: u8,
    /// What the node says.
    pub message: String,
    /// Images a second that reach it.
    pub input_rate_hz: Option<f64>,
    /// Results a second that it publishes.
    pub output_rate_hz: Option<f64>,
    /// 99 of 100 results were younger than this when they were published, milliseconds.
    pub age_p99_ms: Option<f64>,
}

/// One image topic.
#[derive(Debug, Default, Deserialize)]
pub struct Camera {
    /// Full name.
    pub topic: String,
    /// Who publishes.
    pub publishers: Vec<Endpoint>,
    /// Who subscribes, but for the helper.
    #[serde(default)]
    pub subscribers: Vec<Endpoint>,
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

/// One publisher or subscription.
#[derive(Debug, Deserialize)]
pub struct Endpoint {
    /// Full name of its node.
    pub node: String,
    /// Whether it offers, or asks for, reliable delivery.
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
    /// The model of the distortion, or an empty name for a mere turn, that the node takes out of the image.
    pub distortion: Option<String>,
}

/// Where the helper may be.
#[derive(Debug, Default)]
pub struct Places {
    /// The tool's folder.
    pub tool: Option<PathBuf>,
    /// Sourced prefixes.
    pub prefixes: Vec<PathBuf>,
    /// The folders of PATH.
    pub path: Vec<PathBuf>,
}

/// Runs the helper and judges what it says; of image topics that are named, what does not work is a failure.
pub fn checks(seconds: f64, named: &[String], places: &Places) -> Vec<Check> {
    let Some(probe) = find(places) else {
        return vec![Check::warn(
            Area::Graph,
            format!("the helper {PROBE} is neither beside this tool nor in a sourced prefix nor on PATH"),
            "cargo build --release -p pixio_ros, or install the package (docs/launch.md)",
        )];
    };
    match run(&probe, seconds) {
        Ok(graph) => judge(&graph, named),
        Err(reason) => vec![Check::fail(
            Area::Graph,
            format!("{}: {reason}", probe.display()),
            "the lines on ROS above say what is missing; or run the helper by hand",
        )],
    }
}

/// The helper: beside the tool, in `lib/pixio` of its prefix, of a sourced prefix, or on PATH.
fn find(places: &Places) -> Option<PathBuf> {
    let beside = places.tool.iter().flat_map(|folder| [folder.clone(), folder.join("../lib/pixio")]);
    let installed = places.prefixes.iter().map(|prefix| prefix.join("lib/pixio"));
    let folders = beside.chain(installed).chain(places.path.iter().cloned());
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

/// What the graph means for perception_node: of all image topics, or strictly of those named.
pub fn judge(graph: &Graph, named: &[String]) -> Vec<Check> {
    let none = "start the camera driver; ROS_DOMAIN_ID, discovery range and middleware must be the same there and here";
    let there = |topic: &&String| graph.images.iter().any(|camera| camera.topic == **topic);
    let missing = named.iter().filter(|topic| !there(topic));
    let mut checks: Vec<_> = missing
        .map(|topic| Check::fail(Area::Graph, format!("{topic}: no such image topic on the graph"), none))
        .collect();
    let strict = !named.is_empty();
    for camera in graph.images.iter().filter(|camera| !strict || named.contains(&camera.topic)) {
        checks.extend(camera_checks(camera, strict, graph.seconds));
    }
    if checks.is_empty() {
        checks.push(Check::warn(Area::Graph, "no image topic on the graph", none));
    }
    checks.extend(graph.running.iter().map(running_check));
    checks
}

/// What a running node says of one of its cameras.
fn running_check(running: &Running) -> Check {
    let rate = |rate: Option<f64>| rate.map_or("none".to_owned(), |rate| format!("{rate:.1} Hz"));
    let age = running.age_p99_ms.map_or(String::new(), |age| format!(", 99 of 100 younger than {age:.0} ms"));
    let found = format!(
        "{}: in {}, out {}{age}: {}",
        running.name,
        rate(running.input_rate_hz),
        rate(running.output_rate_hz),
        running.message
    );
    match running.level {
        0 => Check::ok(Area::Graph, found),
        level => Check::lacking(
            level > 1,
            Area::Graph,
            found,
            "the node's own words say what; docs/perception_node.md says when it says so",
        ),
    }
}

/// Subscriptions that ask for what not every publisher offers: the middleware connects them with none of those.
fn quality_checks(camera: &Camera, strict: bool) -> Vec<Check> {
    let Some(offers_less) = camera.publishers.iter().find(|publisher| !publisher.reliable) else {
        return Vec::new();
    };
    let asking = camera.subscribers.iter().filter(|subscriber| subscriber.reliable);
    let told = asking.map(|subscriber| {
        Check::lacking(
            strict,
            Area::Graph,
            format!(
                "{}: {} asks for reliable delivery and {} offers best effort: nothing arrives",
                camera.topic, subscriber.node, offers_less.node
            ),
            "take the reliability out of the subscriber's qos_overrides (or set it to best_effort), or make the camera reliable",
        )
    });
    told.collect()
}

fn camera_checks(camera: &Camera, strict: bool, seconds: f64) -> Vec<Check> {
    let topic = &camera.topic;
    if camera.publishers.is_empty() {
        return vec![Check::lacking(
            strict,
            Area::Graph,
            format!("{topic}: somebody subscribes and nobody publishes"),
            "remap the subscriber to the camera's topic (image:=... of the launch file), or start the camera",
        )];
    }
    let by = camera.publishers.iter().map(|publisher| publisher.node.as_str()).collect::<Vec<_>>().join(", ");
    if camera.frames == 0 {
        return vec![Check::lacking(
            strict,
            Area::Graph,
            format!("{topic} of {by}: no frame came within {seconds} s"),
            "see that the camera runs (ros2 topic hz); many drivers publish only while somebody subscribes; with Fast DDS \
             over several machines or containers, see docs/troubleshooting.md",
        )];
    }
    if !strict && is_depth(camera) {
        let form = camera.form.as_deref().unwrap_or_default();
        return vec![Check::ok(
            Area::Graph,
            format!("{topic} of {by}: {form}: a depth image, no input of ours"),
        )];
    }
    let mut checks = vec![frames_check(camera, strict, &by)];
    checks.extend(quality_checks(camera, strict));
    checks.extend(loss_check(camera));
    checks.extend(frame_id_check(camera));
    checks.push(info_check(camera, strict));
    checks
}

/// Whether the newest frame is a depth image of another node.
fn is_depth(camera: &Camera) -> bool {
    let form = camera.form.as_deref().unwrap_or_default();
    ["16UC1", "32FC1", "compressedDepth"].iter().any(|depth| form.contains(depth))
}

fn frames_check(camera: &Camera, strict: bool, by: &str) -> Check {
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
        Some(reason) => Check::lacking(
            strict,
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

fn info_check(camera: &Camera, strict: bool) -> Check {
    let Info { topic, messages, refused, distortion } = &camera.info;
    if *messages == 0 {
        return Check::lacking(
            strict,
            Area::Graph,
            format!("{}: no camera_info came on {topic}, and without it nothing is published", camera.topic),
            "give the driver a calibration file, or remap camera_info:=... to where it is",
        );
    }
    if let Some(reason) = refused {
        return Check::lacking(
            strict,
            Area::Graph,
            format!("{topic}: the node would refuse it: {reason}"),
            "calibrate the camera, or give the driver its calibration file",
        );
    }
    let found = match distortion.as_deref() {
        None => "no distortion".to_owned(),
        Some(model) => {
            format!("the node takes {model} distortion out (rectify:=false: the image is rectified already)")
        }
    };
    Check::ok(Area::Graph, format!("{topic}: fits, {found}"))
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, worst};
    use super::*;

    fn sound() -> Camera {
        Camera {
            topic: "/camera/image_raw".into(),
            publishers: vec![Endpoint { node: "/camera".into(), reliable: true }],
            frames: 60,
            rate_hz: Some(30.0),
            lost: Some(0.0),
            form: Some("640x480 rgb8".into()),
            frame_id: Some("camera_optical_frame".into()),
            info: Info { topic: "/camera/camera_info".into(), messages: 60, ..Info::default() },
            ..Camera::default()
        }
    }

    /// A change to a sound camera, whether it is named and the status then, and words of the line.
    type Case = (fn(&mut Camera), Status, Status, &'static str);

    #[test]
    fn each_fault_of_a_camera_has_its_line() {
        let best_effort: fn(&mut Camera) = |camera| camera.publishers[0].reliable = false;
        let cases: &[Case] = &[
            (|_| {}, Status::Ok, Status::Ok, "640x480 rgb8, 30.0 Hz, reliable"),
            (best_effort, Status::Ok, Status::Ok, "best effort"),
            (
                |camera| {
                    camera.publishers[0].reliable = false;
                    camera.subscribers = vec![Endpoint { node: "/perception_node".into(), reliable: true }];
                },
                Status::Warn,
                Status::Fail,
                "/perception_node asks for reliable delivery and /camera offers best effort",
            ),
            (|camera| camera.publishers.clear(), Status::Warn, Status::Fail, "nobody publishes"),
            (|camera| camera.frames = 0, Status::Warn, Status::Fail, "no frame came within 2 s"),
            (|camera| camera.refused = Some("short".into()), Status::Warn, Status::Fail, "refuse it: short"),
            (|camera| camera.lost = Some(0.48), Status::Warn, Status::Warn, "about 48 %"),
            (
                |camera| camera.frame_id = Some("camera_link".into()),
                Status::Warn,
                Status::Warn,
                "\"camera_link\"",
            ),
            (
                |camera| camera.info.messages = 0,
                Status::Warn,
                Status::Fail,
                "no camera_info came on /camera/camera_info",
            ),
            (
                |camera| camera.info.refused = Some("K is zero".into()),
                Status::Warn,
                Status::Fail,
                "K is zero",
            ),
            (
                |camera| camera.info.distortion = Some("plumb_bob".into()),
                Status::Ok,
                Status::Ok,
                "the node takes plumb_bob distortion out",
            ),
        ];
        for (change, at_large, named, words) in cases {
            let mut camera = sound();
            change(&mut camera);
            let graph = Graph { seconds: 2.0, images: vec![camera], running: vec![] };
            for (names, status) in [(vec![], at_large), (vec!["/camera/image_raw".to_owned()], named)] {
                let checks = judge(&graph, &names);
                assert_eq!(worst(&checks), *status, "{checks:#?}");
                assert!(checks.iter().any(|check| check.found.contains(words)), "{words}: {checks:#?}");
            }
        }
    }

    #[test]
    fn a_running_node_is_told_with_its_level() {
        for (level, status) in [(0, Status::Ok), (1, Status::Warn), (2, Status::Fail)] {
            let running = Running {
                name: "perception_node: camera".into(),
                level,
                message: "publishing".into(),
                input_rate_hz: Some(30.0),
                output_rate_hz: Some(12.5),
                age_p99_ms: Some(81.0),
            };
            let checks = judge(&Graph { seconds: 2.0, images: vec![sound()], running: vec![running] }, &[]);
            let told =
                "perception_node: camera: in 30.0 Hz, out 12.5 Hz, 99 of 100 younger than 81 ms: publishing";
            assert!(checks.iter().any(|check| check.found == told && check.status == status), "{checks:#?}");
        }
    }

    #[test]
    fn a_named_camera_must_be_there_and_others_are_left_out() {
        let graph = Graph { seconds: 2.0, images: vec![sound()], running: vec![] };
        let checks = judge(&graph, &["/other".to_owned()]);
        assert_eq!((checks.len(), worst(&checks)), (1, Status::Fail), "{checks:#?}");
        assert_eq!(
            worst(&judge(&Graph { seconds: 2.0, images: vec![], running: vec![] }, &[])),
            Status::Warn
        );
    }

    #[test]
    fn another_nodes_depth_is_no_camera() {
        for form in ["640x480 16UC1", "640x480 32FC1", "compressed, 16UC1; compressedDepth png"] {
            let camera = Camera { form: Some(form.into()), refused: Some("no".into()), ..sound() };
            let checks = judge(&Graph { seconds: 2.0, images: vec![camera], running: vec![] }, &[]);
            assert_eq!((checks.len(), worst(&checks)), (1, Status::Ok), "{checks:#?}");
        }
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
            let places = Places { tool: Some(folder.path().to_owned()), ..Places::default() };
            let checks = checks(0.1, &[], &places);
            assert_eq!(checks[0].status, status, "{checks:#?}");
            assert!(checks[0].found.contains(words), "{checks:#?}");
        }
        let nowhere = checks(0.1, &[], &Places::default());
        assert!(nowhere[0].found.contains("neither beside this tool"), "{nowhere:#?}");
    }
}
