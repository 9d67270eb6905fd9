"""The robot's description and perception together: /tf of the robot, and depth and points without the robot's own body.

    ros2 launch pixio description.launch.py bundle:=/models/b16 image:=/camera/image_raw camera_info:=/camera/camera_info
    ros2 launch pixio description.launch.py bundle:=/models/b16 description:=/etc/robot/arm.urdf.xacro frame_id:=wrist_camera_optical \\
      calibration:=wrist video_device:=/dev/video2

Starts robot_state_publisher, which publishes /robot_description and, from /joint_states, /tf; perception_node with the self-filter, which takes
both; and, when a calibration is named, usb_cam with it (calibration/cameras/<name>.yaml). Camera mounts stand in the
description alone: frame_id is the link of the camera's optical frame there.
"""

import subprocess
from pathlib import Path

from launch import LaunchDescription
from launch.actions import OpaqueFunction
from launch.launch_description_sources import load_python_launch_file_as_module
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(__file__).resolve().parent
shared = load_python_launch_file_as_module(str(SHARE / "arguments.py"))
# Installed beside this folder, and where they lie in the source tree.
DESCRIPTION = SHARE.parent / "urdf" / "robots" / "arm.urdf"
CAMERAS = [SHARE.parent / "cameras", SHARE.parent / "calibration" / "cameras"]

# name, default, description, what is allowed
ARGUMENTS = [
    ("bundle", "", "folder of the model bundle; empty: the parameter file's"),
    ("description", str(DESCRIPTION), "the robot: a URDF file, or a xacro file when xacro is installed"),
    ("self_filter", "true", "true: the robot's own links become unknown in depth and points", shared.BOOL),
    ("self_filter_padding", "0.02", "m around the links' shapes"),
    ("image", "image", "image topic"),
    ("camera_info", "camera_info", "camera info topic"),
    ("calibration", "", "a file of calibration/cameras by its name: starts usb_cam with it; empty: a driver runs already"),
    ("video_device", "/dev/video0", "with calibration: the camera"),
    ("frame_id", "static_camera_optical", "with calibration: the link of the camera's optical frame in the description"),
    ("params_file", str(SHARE / "config" / "perception.yaml"), "parameter file of perception_node"),
    ("use_sim_time", "false", "true: follow /clock", shared.BOOL),
    ("log_level", "info", "debug, info, warn, error or fatal"),
]


def description_text(file):
    """The URDF of a file."""
    if not Path(file).is_file():
        raise RuntimeError(f"description: expected a URDF or xacro file, got {file}")
    if not file.endswith(".xacro"):
        return Path(file).read_text()
    return subprocess.run(["xacro", file], check=True, capture_output=True, text=True).stdout


def calibration_file(name):
    """The camera info file of this name."""
    known = {path.stem: path for folder in CAMERAS for path in sorted(folder.glob("*.yaml"))}
    if name not in known:
        raise RuntimeError(f"calibration: expected one of {', '.join(sorted(known))}, got {name}")
    return known[name]


def nodes(context):
    values = shared.Values(context)
    value = values.text
    clock = {"use_sim_time": values.is_true("use_sim_time")}
    ros_arguments = ["--log-level", value("log_level")]
    topics = [("image", value("image")), ("camera_info", value("camera_info"))]
    # As text: launch would read a URDF as YAML.
    urdf = ParameterValue(description_text(value("description")), value_type=str)
    perception = {
        "self_filter": values.is_true("self_filter"),
        "self_filter_padding": float(value("self_filter_padding")),
        **({"bundle": value("bundle")} if value("bundle") else {}),
    }
    started = [
        Node(
            package="robot_state_publisher",
            executable="robot_state_publisher",
            parameters=[{**clock, "robot_description": urdf}],
            ros_arguments=ros_arguments,
            output="screen",
        ),
        Node(
            package="pixio",
            executable="perception_node",
            name="perception_node",
            parameters=[{**clock, **perception}],
            remappings=topics,
            ros_arguments=shared.ros_arguments(values),
            output="screen",
        ),
    ]
    if value("calibration"):
        camera = {
            "video_device": value("video_device"),
            "frame_id": value("frame_id"),
            "camera_info_url": calibration_file(value("calibration")).as_uri(),
        }
        started.append(
            Node(
                package="usb_cam",
                executable="usb_cam_node_exe",
                parameters=[{**clock, **camera}],
                remappings=[("image_raw", value("image")), ("camera_info", value("camera_info"))],
                ros_arguments=ros_arguments,
                output="screen",
            )
        )
    return started


def generate_launch_description():
    return LaunchDescription([*shared.declare(ARGUMENTS), OpaqueFunction(function=nodes)])
