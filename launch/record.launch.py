"""Records episodes of teleoperation by a contract (docs/recorder.md).

    ros2 launch pixio record.launch.py contract:=/robot/contract.yaml root:=/data/towels task:="fold the towel"
    ros2 launch pixio record.launch.py contract:=/robot/contract.yaml root:=/data/towels episodes:=20 episode_seconds:=30.0

ros2 launch gives its nodes no keyboard: for arrow keys run recorder_node in a terminal of its own.
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
    ("contract", "", "contract file; empty: the parameter file's"),
    ("root", "", "folder for bags and dataset; empty: the parameter file's"),
    ("task", "", "what the operator does, one short sentence; empty: the parameter file's"),
    ("episodes", "", "episodes of a run, 0: each by a start of its own; empty: the parameter file's"),
    ("episode_seconds", "", "s; an episode ends by itself after so long, 0: never; empty: the parameter file's"),
    ("reset_seconds", "", "s; pause between the episodes of a run; empty: the parameter file's"),
    ("namespace", "", "namespace of the node"),
    ("name", "recorder_node", "name of the node"),
    ("params_file", str(SHARE / "config" / "recorder.yaml"), "parameter file"),
    ("use_sim_time", "false", "true: follow /clock", shared.BOOL),
    ("log_level", "info", "debug, info, warn, error or fatal"),
    ("fastdds_profile", "true", "true: a shared-memory segment that holds images, unless a Fast DDS profile is set already",
     shared.BOOL),
]

# Arguments that are parameters of the node, and how each is read; left empty, the parameter file's value counts. launch_ros hands
# a str on as it is, whatever it holds.
PARAMETERS = {
    "contract": str,
    "root": str,
    "task": str,
    "episodes": int,
    "episode_seconds": float,
    "reset_seconds": float,
}


def nodes(context):
    values = shared.Values(context)
    value = values.text
    given = {name: read(value(name)) for name, read in PARAMETERS.items() if value(name)}
    return [
        Node(
            package="pixio",
            executable="recorder_node",
            name=value("name"),
            namespace=value("namespace"),
            parameters=[{"use_sim_time": values.is_true("use_sim_time"), **given}],
            ros_arguments=shared.ros_arguments(values),
            output="screen",
        )
    ]


def generate_launch_description():
    return LaunchDescription([*shared.declare(ARGUMENTS), OpaqueFunction(function=shared.transport), OpaqueFunction(function=nodes)])
