"""What the Python launch files share. They load it with launch's own load_python_launch_file_as_module: an installed folder of
launch files is no Python package."""

import os
from pathlib import Path

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration

SHARE = Path(__file__).resolve().parent

# What an argument that is true or false may be, in every form. Anything else is refused by ros2 launch, which names the
# argument, what came and what is allowed: a mistyped dry_run must not start a robot.
TRUE = ["true", "True", "1"]
FALSE = ["false", "False", "0"]
BOOL = TRUE + FALSE
# Left empty, the parameter file's value counts.
BOOL_OR_EMPTY = ["", *BOOL]


def declare(arguments):
    """Each is a name, a default, a description and, where not every text is one, those that are allowed."""
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=allowed[0] if allowed else None)
        for name, default, text, *allowed in arguments
    ]


class Values:
    """The arguments' values in a launch context."""

    def __init__(self, context):
        self.context = context

    def text(self, name):
        return LaunchConfiguration(name).perform(self.context)

    def is_true(self, name):
        return self.text(name) in TRUE


def ros_arguments(values):
    """The parameter file among them: one that is not there is refused by the node; launch_ros itself would pass over it."""
    return ["--log-level", values.text("log_level"), "--params-file", values.text("params_file")]


def transport(context):
    """The Fast DDS profile, when the argument fastdds_profile asks for it and none is set already."""
    variables = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    if not Values(context).is_true("fastdds_profile") or any(os.environ.get(variable) for variable in variables):
        return []
    return [SetEnvironmentVariable(variable, str(SHARE / "fastdds.xml")) for variable in variables]
