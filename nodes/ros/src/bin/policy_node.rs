//! `policy_node`: a policy's action chunks in, safe commands out.

use std::process::ExitCode;

fn main() -> ExitCode {
    pixio_ros::spin::main(&pixio_ros::policy::REFERENCE, pixio_ros::policy::run)
}
