"""Depth and points from one or several cameras.

    ros2 launch pixio perception.launch.py bundle:=/models/b16 image:=/camera/image_raw camera_info:=/camera/camera_info
    ros2 launch pixio perception.launch.py bundle:=/models/b16 cameras:="[front, rear]" namespace:=robot rviz:=true
"""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parent

# name, default, description
ARGUMENTS = [
    ("bundle", "", "folder of the model bundle (required unless the parameter file gives it)"),
    ("namespace", "", "namespace of the node"),
    ("name", "perception_node", "name of the node"),
    ("params_file", str(SHARE / "config" / "perception.yaml"), "parameter file"),
    ("cameras", "", "names of several cameras, for example [front, rear]; empty for one without a name"),
    ("image", "image", "image topic of a single camera"),
    ("camera_info", "camera_info", "camera info topic of a single camera"),
    ("engine", "onnx", "engine: onnx"),
    ("use_sim_time", "false", "follow /clock"),
    ("log_level", "info", "debug, info, warn, error, fatal"),
    ("rviz", "false", "start rviz with a view of depth and points"),
    ("fastdds_profile", "true", "use a shared-memory segment that holds images, unless a profile is set already"),
]


def nodes(context):
    value = lambda name: LaunchConfiguration(name).perform(context)
    parameters = [value("params_file"), {"engine": value("engine"), "use_sim_time": value("use_sim_time") == "true"}]
    if value("bundle"):
        parameters.append({"bundle": value("bundle")})
    cameras = [name.strip() for name in value("cameras").strip("[]").split(",") if name.strip()]
    if cameras:
        parameters.append({"cameras": cameras})
    remappings = [] if cameras else [("image", value("image")), ("camera_info", value("camera_info"))]
    started = [
        Node(
            package="pixio",
            executable="perception_node",
            name=value("name"),
            namespace=value("namespace"),
            parameters=parameters,
            remappings=remappings,
            arguments=["--ros-args", "--log-level", value("log_level")],
            output="screen",
        )
    ]
    if value("rviz") == "true":
        config = str(SHARE / "rviz" / "perception.rviz")
        started.append(Node(package="rviz2", executable="rviz2", arguments=["-d", config], output="screen"))
    return started


def generate_launch_description():
    declared = [DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS]
    profile = str(SHARE / "fastdds.xml")
    variables = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    transport = []
    if not any(os.environ.get(variable) for variable in variables):
        transport = [OpaqueFunction(function=lambda context: [
            SetEnvironmentVariable(variable, profile) for variable in variables
            if LaunchConfiguration("fastdds_profile").perform(context) == "true"
        ])]
    return LaunchDescription([*declared, *transport, OpaqueFunction(function=nodes)])
