//! A node that answers every image with a depth image of the same stamp, made of nothing, on the thread that takes it: what transport
//! and prober cost by themselves, for `tests/bench/round_trip.py`.
//!
//! Arguments: topic of the images, topic of the answers (full names), size of the answers (WxH, `32FC1`). SIGINT and SIGTERM end it.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use calibration::Size;
use futures::{FutureExt, StreamExt};
use perception::Stamp;
use pixio_ros::cdr::{Header, Written};
use pixio_ros::spin::Stop;
use r2r::QosProfile;
use r2r::sensor_msgs::msg::Image;

const IMAGE: &str = "sensor_msgs/msg/Image";

/// How long one wait lasts, as in perception_node.
const WAIT: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [images, answers, size] = arguments.as_slice() else {
        bail!("expected IMAGE_TOPIC ANSWER_TOPIC WxH")
    };
    let size = Size::from_str(size).map_err(anyhow::Error::msg)?;
    let stop = Stop::on_signals()?;
    let context = r2r::Context::create().context("cannot initialise ROS")?;
    let mut node = r2r::Node::create(context, "echo", "").context("cannot create the node")?;
    // Qualities of service, and the way in which images are taken, of perception_node in the benchmark.
    let newest = QosProfile::default().keep_last(1);
    let taken = node.subscribe_native::<Image>(images, newest.clone().best_effort());
    let mut taken = taken.with_context(|| images.clone())?;
    let publisher = node.create_publisher_untyped(answers, IMAGE, newest.reliable());
    let publisher = publisher.with_context(|| answers.clone())?;
    let mut answer = Written::default();
    while !stop.is_set() {
        node.spin_once(WAIT);
        while let Some(Some(image)) = taken.next().now_or_never() {
            let stamp = Stamp { sec: image.header.stamp.sec, nanosec: image.header.stamp.nanosec };
            let header = Header { stamp, frame_id: image.header.frame_id.to_str() };
            answer.image(header, size, "32FC1", 4 * size.width);
            publisher.publish_raw(answer.bytes()).with_context(|| answers.clone())?;
        }
    }
    Ok(())
}
