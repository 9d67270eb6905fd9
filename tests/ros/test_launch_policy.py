"""Launch, parameter and controller files of the policy, and of the whole, against what the node declares."""

import re

import pytest
import yaml

import launch_forms
import parameter_files
from conftest import BIN, ROOT, Process
from policy import URDF

LAUNCH = ROOT / "launch"
EVERY_NODE = {"use_sim_time"}
COMMANDS = ["~/joint_trajectory", "~/commands", "~/joint_jog", "~/twist"]

CASES = [
    {},
    {"params_file": "/etc/robot.yaml", "robot_description": "/etc/arm.urdf", "dry_run": "true"},
    {"command_interface": "twist", "command": "/servo_node/delta_twist_cmds", "gripper_command": "/grip/commands"},
    {"namespace": "robot", "use_sim_time": "true", "log_level": "debug", "joint_states": "/arm/joint_states"},
    {"dry_run": "True", "use_sim_time": "True"},
    {"dry_run": "1", "use_sim_time": "1"},
    {"dry_run": "false", "use_sim_time": "false"},
    {"dry_run": "False", "use_sim_time": "False"},
    {"dry_run": "0", "use_sim_time": "0"},
    {"dry_run": ""},
]
TRUTH = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}


def form(name, suffix):
    return LAUNCH / f"{name}.launch.{suffix}"


def described():
    return parameter_files.described("policy_node")


def test_the_parameter_file_names_every_parameter_with_its_default_and_a_unit():
    parameter_files.check(LAUNCH / "config/policy.yaml", "policy_node")


@pytest.mark.parametrize("name", ["policy", "robot"])
def test_every_form_declares_the_same_arguments_and_uses_them(name):
    forms = {suffix: launch_forms.arguments(form(name, suffix)) for suffix in launch_forms.FORMS}
    assert forms["py"] == forms["xml"] == forms["yaml"]
    assert len(forms["py"]) >= 12 and all(description for _, description, _ in forms["py"].values())
    for suffix in ("xml", "yaml"):
        used = set(re.findall(r"\$\(var (\w+)\)", form(name, suffix).read_text()))
        assert set(forms["py"]) <= used


@pytest.mark.parametrize("given", CASES)
def test_every_form_starts_the_same_policy(given):
    python, xml, written = (launch_forms.started(form("policy", suffix), given) for suffix in launch_forms.FORMS)
    assert python == xml == written
    [node] = python
    assert node.executable == ("pixio", "policy_node")
    assert set(node.parameters) == EVERY_NODE | {name for name in ("robot_description", "command_interface", "dry_run") if given.get(name)}
    # A robot that is not to move does not: not said is None, and the parameter file counts.
    assert node.parameters.get("dry_run") is TRUTH.get(given.get("dry_run"))
    assert node.parameters["use_sim_time"] is TRUTH[given.get("use_sim_time", "false")]
    assert node.names == (given.get("namespace", ""), "policy_node")
    remaps = dict(node.remaps)
    assert {remaps[topic] for topic in COMMANDS} == {given.get("command", "joint_trajectory_controller/joint_trajectory")}
    assert remaps["joint_states"] == given.get("joint_states", "joint_states")
    assert node.params_files == [given.get("params_file", str(LAUNCH / "config/policy.yaml"))]


@pytest.mark.parametrize("name", ["policy", "robot"])
@pytest.mark.parametrize("suffix", launch_forms.FORMS)
@pytest.mark.parametrize("text", ["maybe", "yes", "TRUE", "ture", "2"])
def test_a_dry_run_that_is_neither_true_nor_false_is_refused(name, suffix, text):
    with pytest.raises(launch_forms.Refused, match=f'"dry_run" provided value "{text}" is not valid. Valid options are: .*true.*False'):
        launch_forms.started(form(name, suffix), {"dry_run": text})
    with pytest.raises(launch_forms.Refused, match='"use_sim_time"'):
        launch_forms.started(form(name, suffix), {"use_sim_time": text})


@pytest.mark.parametrize("given", [*CASES, {"bundle": "/models/arm", "cameras": "[front]", "perception_params_file": "/p.yaml"}])
def test_every_form_starts_the_same_whole(given):
    python, xml, written = (launch_forms.started(form("robot", suffix), given) for suffix in launch_forms.FORMS)
    assert python == xml == written
    perception, policy = python
    assert (perception.executable[1], policy.executable[1]) == ("perception_node", "policy_node")
    # What perception's file is given must not reach policy's: each keeps its name and its parameter file.
    assert (perception.names[1], policy.names[1]) == ("perception_node", "policy_node")
    assert perception.params_files == [given.get("perception_params_file", str(LAUNCH / "config/perception.yaml"))]
    assert policy.params_files == [given.get("params_file", str(LAUNCH / "config/policy.yaml"))]
    assert policy.parameters.get("dry_run") is TRUTH.get(given.get("dry_run"))
    assert perception.names[0] == policy.names[0] == given.get("namespace", "")
    assert dict(policy.remaps)["action_chunk"] == "perception_node/action_chunk"
    assert perception.parameters.get("bundle") == given.get("bundle")


@pytest.mark.parametrize("suffix", launch_forms.FORMS)
def test_the_node_takes_what_each_form_gives(suffix, tmp_path, peer):
    params = tmp_path / "robot.yaml"
    params.write_text(
        "/**:\n  ros__parameters:\n    joints: [shoulder_pan, elbow]\n    max_velocity: [1, 1]\n    workspace_min: []\n")
    given = {"robot_description": str(URDF), "params_file": str(params), "namespace": "robot", "command": "/arm/trajectory",
             "name": f"acts_{suffix}", "dry_run": "true"}
    [started] = launch_forms.started(form("policy", suffix), given)
    node = Process(started.command(BIN / "policy_node"), tmp_path / "log")
    try:
        node.wait_for("ready: IDLE, 2 dimensions at 100 Hz, DRY RUN")
        peer.spin_until(lambda: peer.node.count_publishers("/arm/trajectory") == 1, "the controller's topic")
        chunks = "/robot/perception_node/action_chunk"
        peer.spin_until(lambda: peer.node.count_subscribers(chunks) == 1, chunks)
    finally:
        assert node.stop() == 0


def test_the_example_controllers_fit_the_robot_and_the_node():
    parameters = lambda file, node: yaml.safe_load((LAUNCH / "ros2_control" / file).read_text())[node]["ros__parameters"]
    described_joints = set(re.findall(r'<joint name="(\w+)" type="(?:revolute|continuous|prismatic)"', URDF.read_text()))
    for controller in ("joint_trajectory_controller", "forward_position_controller", "gripper_controller"):
        assert set(parameters("controllers.yaml", controller)["joints"]) <= described_joints
        assert controller in parameters("controllers.yaml", "controller_manager")
    streamed = parameters("controllers.yaml", "joint_trajectory_controller")
    assert streamed["interpolate_from_desired_state"] and not streamed["allow_nonzero_velocity_at_trajectory_end"]
    assert parameters("controllers.yaml", "controller_manager")["update_rate"] >= described()["control_rate_hz"]["default"]
    servo = parameters("servo.yaml", "servo_node")["moveit_servo"]
    assert servo["command_in_type"] == "speed_units"
    most = described()["controller_timeout_secs"]["allowed"]["to"]
    assert 2 / described()["control_rate_hz"]["default"] <= servo["incoming_command_timeout"] <= most
