//! What cameras there are on the ROS graph, for `pixio doctor`: topics, publishers' offers, rates, and what the node would
//! refuse.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use calibration::{CameraInfoError, Size};
use futures::StreamExt;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use perception::Decompressor;
use r2r::QosProfile;
use r2r::diagnostic_msgs::msg::{DiagnosticArray, DiagnosticStatus};
use r2r::qos::ReliabilityPolicy;
use r2r::sensor_msgs::msg::{CameraInfo, CompressedImage, Image};
use r2r::std_msgs::msg::Header;
use serde::Serialize;

use crate::convert;
use crate::declare::Direction;
use crate::perception::REFERENCE;
use crate::raw::Participant;
use crate::window;

/// How long the graph is given to show itself.
const DISCOVERY: Duration = Duration::from_secs(3);
/// How long one wait for messages lasts.
const WAIT: Duration = Duration::from_millis(5);

const IMAGE: &str = "sensor_msgs/msg/Image";
const COMPRESSED: &str = "sensor_msgs/msg/CompressedImage";

/// What was seen.
#[derive(Debug, Serialize)]
pub struct Graph {
    /// How long each image topic was listened to, seconds.
    pub seconds: f64,
    /// Every image topic but the outputs of nodes such as ours, which would start to compute for the listener.
    pub images: Vec<Camera>,
    /// Cameras of running nodes, as their diagnostics tell of them.
    pub running: Vec<Running>,
}

/// One camera of a running node, from the newest status that came.
#[derive(Debug, Serialize)]
pub struct Running {
    /// The status' name: the node's, and which camera of it.
    pub name: String,
    /// 0 OK, 1 WARN, 2 ERROR.
    pub level: u8,
    /// What the node says.
    pub message: String,
    /// Images a second that reach it; none of fewer than two lately.
    pub input_rate_hz: Option<f64>,
    /// Results a second that it publishes; none of fewer than two lately.
    pub output_rate_hz: Option<f64>,
    /// 99 of 100 results were younger than this when they were published, milliseconds.
    pub age_p99_ms: Option<f64>,
}

/// One image topic.
#[derive(Debug, Default, Serialize)]
pub struct Camera {
    /// Full name.
    pub topic: String,
    /// Message type.
    pub kind: String,
    /// Who publishes.
    pub publishers: Vec<Endpoint>,
    /// Who subscribes, but for this helper.
    pub subscribers: Vec<Endpoint>,
    /// Frames that came.
    pub frames: usize,
    /// Frames a second by their arrival; none of fewer than two frames.
    pub rate_hz: Option<f64>,
    /// Share of frames that did not come, by gaps between stamps; none of fewer than four frames.
    pub lost: Option<f64>,
    /// Pixels and encoding of the newest frame, or its compressed format.
    pub form: Option<String>,
    /// Why the node would refuse the newest frame.
    pub refused: Option<String>,
    /// Frame id of the newest frame.
    pub frame_id: Option<String>,
    /// The camera_info beside it.
    pub info: Info,
}

/// One publisher or subscription of an image topic.
#[derive(Debug, Serialize)]
pub struct Endpoint {
    /// Full name of its node.
    pub node: String,
    /// Whether it offers, or asks for, reliable delivery.
    pub reliable: bool,
}

/// The camera_info beside an image topic.
#[derive(Debug, Default, Serialize)]
pub struct Info {
    /// Full name of the topic that belongs to the image.
    pub topic: String,
    /// Messages that came.
    pub messages: usize,
    /// Why the node would refuse the newest one.
    pub refused: Option<String>,
    /// The model of the distortion, or an empty name for a mere turn, that the node takes out of the image.
    pub distortion: Option<String>,
}

/// What was heard on one image topic.
#[derive(Default)]
struct Heard {
    arrivals: Vec<Instant>,
    stamps_secs: Vec<f64>,
    size: Option<Size>,
    form: String,
    refused: Option<String>,
    frame_id: String,
    infos: usize,
    info: Option<CameraInfo>,
    decompressor: Decompressor,
}

impl Heard {
    fn frame(&mut self, header: &Header) {
        self.arrivals.push(Instant::now());
        self.stamps_secs.push(f64::from(header.stamp.sec) + f64::from(header.stamp.nanosec) * 1e-9);
        self.frame_id.clone_from(&header.frame_id);
    }

    fn image(&mut self, image: &Image) {
        self.frame(&image.header);
        self.size = Some(Size { width: image.width as usize, height: image.height as usize });
        self.form = format!("{}x{} {}", image.width, image.height, image.encoding);
        self.refused = convert::image(&convert::image_view(image)).err().map(|error| error.to_string());
    }

    fn compressed(&mut self, image: &CompressedImage) {
        self.frame(&image.header);
        self.form = format!("compressed, {}", image.format);
        match self.decompressor.decode(&image.format, &image.data) {
            Ok(pixels) => {
                self.size = Some(pixels.size());
                self.form = format!("{} compressed, {}", pixels.size(), image.format);
                self.refused = None;
            }
            Err(error) => self.refused = Some(error.to_string()),
        }
    }
}

/// Looks for the graph, listens to its image topics for so long, and says what came.
///
/// # Errors
/// When the graph cannot be asked or a topic cannot be subscribed.
pub fn probe(node: &mut r2r::Node, seconds: f64) -> Result<Graph> {
    let mut tasks = LocalPool::new();
    let own_name = node.fully_qualified_name().context("the helper's name")?;
    let observer = Participant::new(&format!("{}_observer", own_name.trim_start_matches('/')), "/")?;
    let statuses = Rc::new(RefCell::new(BTreeMap::new()));
    hear_diagnostics(node, &tasks, &statuses)?;
    spin(node, &mut tasks, DISCOVERY);
    let topics = node.get_topic_names_and_types().context("topics")?;
    let kind_of = |name: &String| {
        let kinds = topics.get(name).into_iter().flatten();
        kinds.filter(|kind| *kind == IMAGE || *kind == COMPRESSED).min().cloned()
    };
    let wanted: BTreeMap<String, String> = topics
        .keys()
        .filter(|name| !is_output(name, &topics))
        .filter_map(|name| Some((name.clone(), kind_of(name)?)))
        .collect();
    let mut heard = Vec::new();
    for (topic, kind) in wanted {
        let publishers = publishers(node, &topic)?;
        let slot = Rc::new(RefCell::new(Heard::default()));
        if !publishers.is_empty() {
            listen(node, &tasks, &topic, &kind, &publishers, &slot).with_context(|| topic.clone())?;
        }
        heard.push((topic, kind, publishers, slot));
    }
    spin(node, &mut tasks, Duration::from_secs_f64(seconds));
    let mut images = Vec::new();
    for (topic, kind, publishers, slot) in heard {
        let listeners = observer.listeners(&topic)?.into_iter().filter(|listener| listener.node != own_name);
        let subscribers =
            listeners.map(|listener| Endpoint { node: listener.node, reliable: listener.reliable }).collect();
        images.push(Camera { subscribers, ..camera(topic, kind, publishers, &slot.borrow()) });
    }
    let running = statuses.borrow().values().filter_map(running).collect();
    Ok(Graph { seconds, images, running })
}

/// Keeps the newest status of each name.
fn hear_diagnostics(
    node: &mut r2r::Node,
    tasks: &LocalPool,
    statuses: &Rc<RefCell<BTreeMap<String, DiagnosticStatus>>>,
) -> Result<()> {
    let stream = node.subscribe::<DiagnosticArray>("/diagnostics", QosProfile::default())?;
    let statuses = statuses.clone();
    Ok(tasks.spawner().spawn_local(stream.for_each(move |array| {
        statuses.borrow_mut().extend(array.status.into_iter().map(|status| (status.name.clone(), status)));
        std::future::ready(())
    }))?)
}

/// A status of one of our cameras, which tells its rates.
fn running(status: &DiagnosticStatus) -> Option<Running> {
    let value = |key: &str| status.values.iter().find(|pair| pair.key == key).map(|pair| &pair.value);
    let number = |key: &str| value(key).and_then(|text| text.parse().ok());
    value("output_rate_hz")?;
    Some(Running {
        name: status.name.clone(),
        level: status.level,
        message: status.message.clone(),
        input_rate_hz: number("input_rate_hz"),
        output_rate_hz: number("output_rate_hz"),
        age_p99_ms: number("age_p99_ms"),
    })
}

fn spin(node: &mut r2r::Node, tasks: &mut LocalPool, how_long: Duration) {
    let end = Instant::now() + how_long;
    while Instant::now() < end {
        node.spin_once(WAIT);
        tasks.run_until_stalled();
    }
}

/// Whether a topic is an image that a perception node publishes: below a name that has `depth/image_rect` and `points` too.
fn is_output<V>(name: &str, topics: &std::collections::HashMap<String, V>) -> bool {
    let images =
        REFERENCE.topics.iter().filter(|topic| topic.direction == Direction::Out && topic.kind == IMAGE);
    images.filter_map(|topic| name.strip_suffix(topic.name.strip_prefix('~')?)).any(|owner| {
        ["depth/image_rect", "depth/camera_info", "points"]
            .iter()
            .all(|other| topics.contains_key(&format!("{owner}/{other}")))
    })
}

fn publishers(node: &r2r::Node, topic: &str) -> Result<Vec<Endpoint>> {
    let found = node.get_publishers_info_by_topic(topic, false).with_context(|| topic.to_owned())?;
    let publisher = found.into_iter().map(|endpoint| Endpoint {
        node: format!("{}/{}", endpoint.node_namespace.trim_end_matches('/'), endpoint.node_name),
        reliable: endpoint.qos_profile.reliability == ReliabilityPolicy::Reliable,
    });
    Ok(publisher.collect())
}

/// The camera_info that belongs to an image topic: its neighbour (REP 118, image_transport's `getCameraInfoTopic`).
fn info_topic(image: &str, is_compressed: bool) -> String {
    let base = if is_compressed { image.rsplit_once('/').map_or(image, |(base, _)| base) } else { image };
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/camera_info")
}

/// Subscribes as the node would: reliable when every publisher offers it, else best effort.
fn listen(
    node: &mut r2r::Node,
    tasks: &LocalPool,
    topic: &str,
    kind: &str,
    publishers: &[Endpoint],
    slot: &Rc<RefCell<Heard>>,
) -> Result<()> {
    let qos = QosProfile::default().keep_last(10);
    let reliable = publishers.iter().all(|publisher| publisher.reliable);
    let image_qos = if reliable { qos.clone().reliable() } else { qos.clone().best_effort() };
    let spawner = tasks.spawner();
    let heard = slot.clone();
    if kind == IMAGE {
        let stream = node.subscribe::<Image>(topic, image_qos)?;
        spawner.spawn_local(stream.for_each(move |image| {
            heard.borrow_mut().image(&image);
            std::future::ready(())
        }))?;
    } else {
        let stream = node.subscribe::<CompressedImage>(topic, image_qos)?;
        spawner.spawn_local(stream.for_each(move |image| {
            heard.borrow_mut().compressed(&image);
            std::future::ready(())
        }))?;
    }
    let heard = slot.clone();
    let stream = node.subscribe::<CameraInfo>(&info_topic(topic, kind == COMPRESSED), qos.best_effort())?;
    spawner.spawn_local(stream.for_each(move |info| {
        let mut heard = heard.borrow_mut();
        heard.infos += 1;
        heard.info = Some(info);
        std::future::ready(())
    }))?;
    Ok(())
}

fn camera(topic: String, kind: String, publishers: Vec<Endpoint>, heard: &Heard) -> Camera {
    let frames = heard.arrivals.len();
    let info = info(info_topic(&topic, kind == COMPRESSED), heard);
    let some = |text: &String| (frames > 0).then(|| text.clone());
    Camera {
        info,
        frames,
        rate_hz: rate_hz(&heard.arrivals),
        lost: lost(&heard.stamps_secs),
        form: some(&heard.form),
        refused: heard.refused.clone(),
        frame_id: some(&heard.frame_id),
        topic,
        kind,
        publishers,
        subscribers: Vec::new(),
    }
}

/// What the camera_info says, judged as the node does that rectifies, its size against the image's included.
fn info(topic: String, heard: &Heard) -> Info {
    let Some(message) = &heard.info else { return Info { topic, ..Info::default() } };
    let told = |error: CameraInfoError| error.to_string();
    let judged = convert::camera_info(message).and_then(|info| {
        let size = info.delivered_size().map_err(told)?;
        match heard.size {
            Some(image) if image != size => {
                Err(format!("it is for an image of {size}, the image is of {image}"))
            }
            _ => info.rectification().map_err(told).map(|(_, map)| map.is_some()),
        }
    });
    let distortion = matches!(judged, Ok(true)).then(|| message.distortion_model.clone());
    Info { topic, messages: heard.infos, refused: judged.err(), distortion }
}

fn rate_hz(arrivals: &[Instant]) -> Option<f64> {
    let span = arrivals.last()?.duration_since(*arrivals.first()?).as_secs_f64();
    (span > 0.0).then(|| (arrivals.len() - 1) as f64 / span)
}

/// The share of frames that gaps between stamps tell of.
fn lost(stamps_secs: &[f64]) -> Option<f64> {
    let hidden = window::lost(stamps_secs.iter().copied())?;
    Some(hidden as f64 / (hidden + stamps_secs.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_info_beside_it() {
        assert_eq!(info_topic("/camera/image_raw", false), "/camera/camera_info");
        assert_eq!(info_topic("/camera/image_raw/compressed", true), "/camera/camera_info");
        assert_eq!(info_topic("/image", false), "/camera_info");
    }

    #[test]
    fn gaps_between_stamps_tell_of_lost_frames() {
        let at = |indices: &[u32]| indices.iter().map(|index| f64::from(*index) / 30.0).collect::<Vec<_>>();
        assert_eq!(lost(&at(&[0, 1, 2, 3, 4])), Some(0.0));
        assert_eq!(lost(&at(&[0, 1, 2, 4, 5, 8])), Some(3.0 / 9.0));
        assert_eq!(lost(&at(&[0, 1, 2])), None);
        assert_eq!(lost(&at(&[5, 5, 5, 5])), None, "stamps that stand still tell nothing");
    }

    #[test]
    fn outputs_of_a_perception_node_are_left_alone() {
        let names = ["/p/depth/image_rect", "/p/depth/camera_info", "/p/points", "/p/color/image_rect"];
        let topics = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        assert!(is_output("/p/depth/image_rect", &topics) && is_output("/p/color/image_rect", &topics));
        assert!(is_output("/p/segmentation", &topics) && !is_output("/camera/segmentation", &topics));
        assert!(!is_output("/camera/color/image_rect", &topics) && !is_output("/image", &topics));
    }
}
