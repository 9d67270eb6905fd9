//! `recorder_node`: episodes of teleoperation as bags and rows.

use std::process::ExitCode;

fn main() -> ExitCode {
    pixio_ros::spin::main(&pixio_ros::recorder::REFERENCE, pixio_ros::recorder::run)
}
