"""From a policy's action chunks to a robot's controller.

    ros2 launch pixio policy.launch.py params_file:=/etc/robot/policy.yaml
    ros2 launch pixio policy.launch.py params_file:=/etc/robot/policy.yaml dry_run:=true

policy.launch.xml and policy.launch.yaml take the same arguments and do the same (tests/ros/test_launch_policy.py). Nothing moves
before someone calls ~/arm (docs/policy.md).
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
    ("robot_description", "", "URDF file; empty: the parameter file's, else the topic robot_description"),
    ("command_interface", "", "who is commanded; empty: the parameter file's"),
    ("dry_run", "", "true: the robot is told nothing; empty: the parameter file's", shared.BOOL_OR_EMPTY),
    ("action_chunk", "perception_node/action_chunk", "topic of the policy's action chunks"),
    ("joint_states", "joint_states", "topic of the robot's joint states"),
    ("command", "joint_trajectory_controller/joint_trajectory", "the controller's command topic"),
    ("gripper_command", "gripper_controller/commands", "with command_interface twist: the gripper controller's command topic"),
    ("namespace", "", "namespace of the node"),
    ("name", "policy_node", "name of the node"),
    ("params_file", str(SHARE / "config" / "policy.yaml"), "parameter file"),
    ("use_sim_time", "false", "true: follow /clock", shared.BOOL),
    ("log_level", "info", "debug, info, warn, error or fatal"),
]

# Arguments that are parameters of the node too; left empty, the parameter file's value counts.
PARAMETERS = ["robot_description", "command_interface", "dry_run"]

# One of these is published, as command_interface says.
COMMANDS = ["~/joint_trajectory", "~/commands", "~/joint_jog", "~/twist"]


def nodes(context):
    values = shared.Values(context)
    value = values.text
    given = {name: value(name) for name in PARAMETERS if value(name)}
    if "dry_run" in given:
        given["dry_run"] = values.is_true("dry_run")
    return [
        Node(
            package="pixio",
            executable="policy_node",
            name=value("name"),
            namespace=value("namespace"),
            parameters=[{"use_sim_time": values.is_true("use_sim_time"), **given}],
            remappings=[("action_chunk", value("action_chunk")), ("joint_states", value("joint_states"))]
            + [(topic, value("command")) for topic in COMMANDS]
            + [("~/gripper", value("gripper_command"))],
            ros_arguments=shared.ros_arguments(values),
            output="screen",
        )
    ]


def generate_launch_description():
    return LaunchDescription([*shared.declare(ARGUMENTS), OpaqueFunction(function=nodes)])
