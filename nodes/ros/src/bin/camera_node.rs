//! `camera_node`: photographs as a camera.

use std::process::ExitCode;

fn main() -> ExitCode {
    pixio_ros::spin::main(&pixio_ros::camera::REFERENCE, pixio_ros::camera::run)
}
