//! `frame_grabber`: pictures of a topic into a folder.

use std::process::ExitCode;

fn main() -> ExitCode {
    pixio_ros::spin::main(&pixio_ros::grabber::REFERENCE, pixio_ros::grabber::run)
}
