"""The whole: cameras to depth and action chunks (perception.launch.py), and those to the robot's controller (policy.launch.py).

    ros2 launch pixio robot.launch.py bundle:=/models/arm params_file:=/etc/robot/policy.yaml image:=/camera/image_raw \\
      camera_info:=/camera/camera_info

robot.launch.xml and robot.launch.yaml take the same arguments and do the same. Nothing moves before someone calls ~/arm.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource, load_python_launch_file_as_module
from launch.substitutions import LaunchConfiguration

SHARE = Path(__file__).resolve().parent
shared = load_python_launch_file_as_module(str(SHARE / "arguments.py"))

# name, default, description, what is allowed
ARGUMENTS = [
    ("bundle", "", "folder of the model bundle with depth and policy heads; empty: the parameter file's"),
    ("cameras", "", "names of several cameras, for example [front, rear]; empty: the parameter file's, else one without a name"),
    ("image", "image", "image topic of a single camera"),
    ("camera_info", "camera_info", "camera info topic of a single camera"),
    ("robot_description", "", "URDF file; empty: the parameter file's, else the topic robot_description"),
    ("command_interface", "", "who is commanded; empty: the parameter file's"),
    ("dry_run", "", "true: the robot is told nothing; empty: the parameter file's", shared.BOOL_OR_EMPTY),
    ("joint_states", "joint_states", "topic of the robot's joint states"),
    ("command", "joint_trajectory_controller/joint_trajectory", "the controller's command topic"),
    ("gripper_command", "gripper_controller/commands", "with command_interface twist: the gripper controller's command topic"),
    ("namespace", "", "namespace of the nodes"),
    ("perception_params_file", str(SHARE / "config" / "perception.yaml"), "parameter file of perception_node"),
    ("params_file", str(SHARE / "config" / "policy.yaml"), "parameter file of policy_node"),
    ("use_sim_time", "false", "true: follow /clock", shared.BOOL),
    ("log_level", "info", "debug, info, warn, error or fatal"),
]

PERCEPTION = ["bundle", "cameras", "image", "camera_info", "namespace", "use_sim_time", "log_level"]
POLICY = ["robot_description", "command_interface", "dry_run", "joint_states", "command", "gripper_command", "namespace",
          "params_file", "use_sim_time", "log_level"]


def include(file, names, **own):
    """In a group: else what the one file sets (name, params_file) would count in the next."""
    passed = {**{name: LaunchConfiguration(name) for name in names}, **own}
    source = PythonLaunchDescriptionSource(str(SHARE / file))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=list(passed.items()))])


def generate_launch_description():
    perception = include("perception.launch.py", PERCEPTION, params_file=LaunchConfiguration("perception_params_file"))
    return LaunchDescription([*shared.declare(ARGUMENTS), perception, include("policy.launch.py", POLICY)])
