"""Launch, parameter and controller files of the policy, and of the whole, against what the node declares."""

import json
import re
import subprocess

import pytest
import yaml

import launch_forms
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
]


def form(name, suffix):
    return LAUNCH / f"{name}.launch.{suffix}"


def described():
    ended = subprocess.run([str(BIN / "policy_node"), "--describe"], capture_output=True, text=True, timeout=60)
    return {p["name"]: p for p in json.loads(ended.stdout)["parameters"] if not p["common"]}


def test_the_parameter_file_names_every_parameter_with_its_default_and_a_unit():
    lines = (LAUNCH / "config/policy.yaml").read_text().splitlines()
    entries = [re.match(r"^    (# )?(\w+): (.*?)\s+# (.*)$", line) for line in lines]
    entries = {entry.group(2): (entry.group(1), entry.group(3), entry.group(4)) for entry in entries if entry}
    known = described()
    assert set(entries) == set(known)
    for name, (commented, value, comment) in entries.items():
        if not commented:
            assert yaml.safe_load(value) == known[name]["default"], name
        if known[name]["type"] in ("double", "double_array"):
            first = known[name]["unit"].split()[0]
            assert first in comment, f"{name}: expected its unit {known[name]['unit']!r} in {comment!r}"


@pytest.mark.parametrize("name", ["policy", "robot"])
def test_every_form_declares_the_same_arguments_and_uses_them(name):
    forms = {suffix: launch_forms.arguments(form(name, suffix)) for suffix in launch_forms.FORMS}
    assert forms["py"] == forms["xml"] == forms["yaml"]
    assert len(forms["py"]) >= 12 and all(description for _, description in forms["py"].values())
    for suffix in ("xml", "yaml"):
        used = set(re.findall(r"\$\(var (\w+)\)", form(name, suffix).read_text()))
        assert set(forms["py"]) <= used


@pytest.mark.parametrize("given", CASES)
def test_every_form_starts_the_same_policy(given):
    python, xml, written = (launch_forms.started(form("policy", suffix), given) for suffix in launch_forms.FORMS)
    assert python == xml == written
    [node] = python
    assert node.executable == ("pixio", "policy_node")
    assert set(node.parameters) == EVERY_NODE | ({"robot_description", "command_interface", "dry_run"} & set(given))
    assert node.parameters.get("dry_run") is (True if given.get("dry_run") else None)
    remaps = dict(node.remaps)
    assert {remaps[topic] for topic in COMMANDS} == {given.get("command", "joint_trajectory_controller/joint_trajectory")}
    assert remaps["joint_states"] == given.get("joint_states", "joint_states")
    assert node.params_files == [given.get("params_file", str(LAUNCH / "config/policy.yaml"))]


@pytest.mark.parametrize("given", [*CASES, {"bundle": "/models/arm", "cameras": "[front]", "perception_params_file": "/p.yaml"}])
def test_every_form_starts_the_same_whole(given):
    python, xml, written = (launch_forms.started(form("robot", suffix), given) for suffix in launch_forms.FORMS)
    assert python == xml == written
    perception, policy = python
    assert (perception.executable[1], policy.executable[1]) == ("perception_node", "policy_node")
    assert perception.names[0] == policy.names[0] == given.get("namespace", "")
    assert dict(policy.remaps)["action_chunk"] == "perception_node/action_chunk"
    assert perception.parameters.get("bundle") == given.get("bundle")
    assert policy.params_files != perception.params_files


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
