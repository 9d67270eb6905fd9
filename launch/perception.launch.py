"""Depth and points from one or several cameras.

    ros2 launch pixio perception.launch.py bundle:=/models/b16 image:=/camera/image_raw camera_info:=/camera/camera_info
    ros2 launch pixio perception.launch.py bundle:=/models/b16 cameras:="[front, rear]" namespace:=robot rviz:=true

perception.launch.xml and perception.launch.yaml take the same arguments and do the same (tests/ros/test_launch.py).
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import OpaqueFunction
from launch.launch_description_sources import load_python_launch_file_as_module
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parent
shared = load_python_launch_file_as_module(str(SHARE / "arguments.py"))

# name, default, description, what is allowed
ARGUMENTS = [
    ("bundle", "", "folder of the model bundle; empty: the parameter file's"),
    ("engine", "", "onnx: ONNX Runtime on the CPU; tensorrt, tensorrt-rtx: NVIDIA GPUs; empty: the parameter file's"),
    ("cameras", "", "names of several cameras, for example [front, rear]; empty: the parameter file's, else one without a name"),
    ("image", "image", "image topic of a single camera"),
    ("camera_info", "camera_info", "camera info topic of a single camera"),
    ("namespace", "", "namespace of the node"),
    ("name", "perception_node", "name of the node"),
    ("params_file", str(SHARE / "config" / "perception.yaml"), "parameter file"),
    ("use_sim_time", "false", "true: follow /clock", shared.BOOL),
    ("log_level", "info", "debug, info, warn, error or fatal"),
    ("rviz", "false", "true: start rviz with a view of depth and points, of the first of cameras", shared.BOOL),
    ("fixed_frame", "camera_optical_frame", "rviz's fixed frame: the frame_id of the images, or one that /tf joins with it"),
    ("fastdds_profile", "true", "true: a shared-memory segment that holds images, unless a Fast DDS profile is set already",
     shared.BOOL),
]

# Arguments that are parameters of the node too; left empty, the parameter file's value counts.
PARAMETERS = ["bundle", "engine", "cameras"]

# What rviz/perception.rviz shows, below /perception_node.
VIEWED = ["points", "depth/image_rect", "color/image_rect"]


def nodes(context):
    values = shared.Values(context)
    value = values.text
    given = {name: value(name) for name in PARAMETERS if value(name)}
    if "cameras" in given:
        given["cameras"] = [name.strip() for name in given["cameras"].strip("[]").split(",")]
    started = [
        Node(
            package="pixio",
            executable="perception_node",
            name=value("name"),
            namespace=value("namespace"),
            parameters=[{"use_sim_time": values.is_true("use_sim_time"), **given}],
            remappings=[("image", value("image")), ("camera_info", value("camera_info"))],
            ros_arguments=shared.ros_arguments(values),
            output="screen",
        )
    ]
    if values.is_true("rviz"):
        started.append(rviz(values, "/".join([value("name"), *given.get("cameras", [])[:1]])))
    return started


def rviz(values, shown):
    """rviz in the node's namespace, where `shown` (the node's name, with the camera's if it has one) leads to the topics."""
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=values.text("namespace"),
        arguments=["-d", str(SHARE / "rviz" / "perception.rviz"), "-f", values.text("fixed_frame")],
        parameters=[{"use_sim_time": values.is_true("use_sim_time")}],
        remappings=[(f"/perception_node/{topic}", f"{shown}/{topic}") for topic in VIEWED],
        output="screen",
    )


def generate_launch_description():
    return LaunchDescription([*shared.declare(ARGUMENTS), OpaqueFunction(function=shared.transport), OpaqueFunction(function=nodes)])
