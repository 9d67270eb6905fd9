"""Depth and points from one or several cameras.

    ros2 launch pixio perception.launch.py bundle:=/models/b16 image:=/camera/image_raw camera_info:=/camera/camera_info
    ros2 launch pixio perception.launch.py bundle:=/models/b16 cameras:="[front, rear]" namespace:=robot rviz:=true

perception.launch.xml and perception.launch.yaml take the same arguments and do the same (tests/ros/test_launch.py).
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
    ("bundle", "", "folder of the model bundle; empty: the parameter file's"),
    ("engine", "", "onnx: ONNX Runtime on the CPU; tensorrt, tensorrt-rtx: NVIDIA GPUs; empty: the parameter file's"),
    ("cameras", "", "names of several cameras, for example [front, rear]; empty: the parameter file's, else one without a name"),
    ("image", "image", "image topic of a single camera"),
    ("camera_info", "camera_info", "camera info topic of a single camera"),
    ("namespace", "", "namespace of the node"),
    ("name", "perception_node", "name of the node"),
    ("params_file", str(SHARE / "config" / "perception.yaml"), "parameter file"),
    ("use_sim_time", "false", "true: follow /clock"),
    ("log_level", "info", "debug, info, warn, error or fatal"),
    ("rviz", "false", "true: start rviz with a view of depth and points"),
    ("fastdds_profile", "true", "true: a shared-memory segment that holds images, unless a Fast DDS profile is set already"),
]

# Arguments that are parameters of the node too; left empty, the parameter file's value counts.
PARAMETERS = ["bundle", "engine", "cameras"]


def nodes(context):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    given = {name: value(name) for name in PARAMETERS if value(name)}
    if "cameras" in given:
        given["cameras"] = [name.strip() for name in given["cameras"].strip("[]").split(",")]
    started = [
        Node(
            package="pixio",
            executable="perception_node",
            name=value("name"),
            namespace=value("namespace"),
            parameters=[value("params_file"), {"use_sim_time": value("use_sim_time") == "true", **given}],
            remappings=[("image", value("image")), ("camera_info", value("camera_info"))],
            ros_arguments=["--log-level", value("log_level")],
            output="screen",
        )
    ]
    if value("rviz") == "true":
        config = str(SHARE / "rviz" / "perception.rviz")
        started.append(Node(package="rviz2", executable="rviz2", arguments=["-d", config], output="screen"))
    return started


def transport(context):
    variables = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    wanted = LaunchConfiguration("fastdds_profile").perform(context) == "true"
    if not wanted or any(os.environ.get(variable) for variable in variables):
        return []
    return [SetEnvironmentVariable(variable, str(SHARE / "fastdds.xml")) for variable in variables]


def generate_launch_description():
    declared = [DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS]
    return LaunchDescription([*declared, OpaqueFunction(function=transport), OpaqueFunction(function=nodes)])
