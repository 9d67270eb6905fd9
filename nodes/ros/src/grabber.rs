//! `frame_grabber`: pictures of a topic into a folder, for `pixio calibrate intrinsics --topic`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::task::LocalSpawnExt;
use image::RgbImage;
use r2r::QosProfile;
use r2r::sensor_msgs::msg::Image;

use crate::convert;
use crate::declare::{Allowed, Declared, Direction, Preset, Reference, Topic};
use crate::qos::Entity;
use crate::ros_node::RosNode;
use crate::spin::Stop;

/// What `frame_grabber` declares.
pub const REFERENCE: Reference = Reference {
    name: "frame_grabber",
    about: "Pictures of a topic into a folder, one at a time; ends when it has enough.",
    managed: false,
    parameters: PARAMETERS,
    topics: TOPICS,
    services: &[],
};

const PARAMETERS: &[Declared] = &[
    Declared::at_start(
        "folder",
        Preset::Text(""),
        "",
        Allowed::Any,
        "folder that the pictures go to; required, must be there",
    ),
    Declared::at_start(
        "count",
        Preset::Integer(30),
        "pictures",
        Allowed::Integers(1, 10_000),
        "pictures to take",
    ),
    Declared::at_start(
        "interval_secs",
        Preset::Number(1.0),
        "s",
        Allowed::Numbers(0.0, 3600.0),
        "time from one to the next",
    ),
    Declared::at_start(
        "timeout_secs",
        Preset::Number(30.0),
        "s",
        Allowed::Numbers(0.1, 3600.0),
        "without an image for so long it ends with an error",
    ),
];

const TOPICS: &[Topic] = &[Topic {
    name: "image",
    kind: "sensor_msgs/msg/Image",
    direction: Direction::In,
    per_camera: false,
    qos: "best effort, volatile, keep last 1",
    description: "the camera's image, of any encoding that perception_node takes",
}];

/// Saves `count` pictures as PNG, named by their stamps, then ends.
///
/// # Errors
/// A folder that is not there, an image that cannot be read or written, or no image for too long.
pub fn run(ros: &mut RosNode, stop: &Stop) -> Result<()> {
    let Some(folder) = ros.parameters.optional("folder")?.map(PathBuf::from).filter(|folder| folder.is_dir())
    else {
        return Err(ros.parameters.refuse("folder", "a folder that is there").into());
    };
    let count = ros.parameters.integer("count")?;
    let seconds = |name| ros.parameters.number(name).map(Duration::from_secs_f64);
    let (interval, timeout) = (seconds("interval_secs")?, seconds("timeout_secs")?);
    let newest = subscribe(ros)?;
    ros.all_topics_are_named()?;
    ros.logger.info(format!("ready: {count} picture(s) of {} to {}", ros.resolve("image"), folder.display()));
    let (mut due, mut heard, mut saved) = (Instant::now(), Instant::now(), 0);
    while !stop.is_set() && saved < count {
        ros.turn()?;
        let now = Instant::now();
        if newest.borrow().is_some() {
            heard = now;
        } else if now.duration_since(heard) > timeout {
            anyhow::bail!("{}: no image for {:.1} s", ros.resolve("image"), timeout.as_secs_f64());
        }
        if now < due {
            newest.take();
            continue;
        }
        let Some(image) = newest.take() else { continue };
        let path = save(&image, &folder).with_context(|| ros.resolve("image"))?;
        saved += 1;
        ros.logger.info(format!("{saved} of {count}: {}", path.display()));
        due = now + interval;
    }
    Ok(())
}

type Newest = Rc<RefCell<Option<Image>>>;

fn subscribe(ros: &mut RosNode) -> Result<Newest> {
    let newest = Newest::default();
    let qos = ros.qos("image", Entity::Subscription, QosProfile::default().keep_last(1).best_effort())?;
    let stream = ros.node.subscribe::<Image>("image", qos.profile).context("image")?;
    let kept = newest.clone();
    let task = stream.for_each(move |image| {
        *kept.borrow_mut() = Some(image);
        std::future::ready(())
    });
    ros.spawner().spawn_local(task).context("spawn")?;
    Ok(newest)
}

fn save(message: &Image, folder: &Path) -> Result<PathBuf> {
    let view = convert::image(&message.into())?;
    let size = view.size();
    let mut rgb = vec![0; 3 * size.area()];
    view.write_rgb(&mut rgb);
    let stamp = &message.header.stamp;
    let path = folder.join(format!("{}_{:09}.png", stamp.sec, stamp.nanosec));
    let picture =
        RgbImage::from_raw(size.width as u32, size.height as u32, rgb).context("picture of another size")?;
    picture.save(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}
