//! `camera_node`: photographs as a camera.

use std::process::ExitCode;

fn main() -> ExitCode {
    pixio_ros::spin::main("camera_node", pixio_ros::camera::run)
}
