"""Launch and parameter files, in every form, against what the node declares."""

import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

import launch_forms
from conftest import BIN, ROOT, Process

LAUNCH = ROOT / "launch"
# What every node has, and what follows from the machine rather than from a file of parameters.
EVERY_NODE = {"use_sim_time"}
NOT_IN_FILE = {"cameras", "onnxruntime", "tensorrt"}

CASES = [
    {},
    {"bundle": "/models/b16"},
    {"bundle": "/models/b16", "engine": "onnx", "cameras": "[front, rear]", "namespace": "robot", "name": "eyes"},
    {"cameras": "front, rear", "use_sim_time": "true", "log_level": "debug"},
    {"image": "/camera/image_raw", "camera_info": "/camera/camera_info", "params_file": "/etc/robot.yaml"},
    {"rviz": "true", "fastdds_profile": "false"},
]
ENVIRONMENTS = [{}, {"FASTRTPS_DEFAULT_PROFILES_FILE": "/my.xml"}, {"FASTDDS_DEFAULT_PROFILES_FILE": "/my.xml"}]


def form(suffix):
    return LAUNCH / f"perception.launch.{suffix}"


def declared():
    """The node's parameters, as its refusal of an unknown one lists them."""
    command = [str(BIN / "perception_node"), "--ros-args", "-p", "no_such_parameter:=1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    return set(re.search(r"this node has ([\w, ]+)", ended.stdout + ended.stderr).group(1).split(", "))


def test_the_parameter_file_names_every_parameter_with_a_comment():
    lines = (LAUNCH / "config/perception.yaml").read_text().splitlines()
    entries = [re.match(r"^    (?:# )?(\w+): (.*)$", line) for line in lines]
    entries = {entry.group(1): entry.group(2) for entry in entries if entry}
    assert set(entries) | NOT_IN_FILE == declared()
    assert all("#" in value for value in entries.values()), "every entry says what it is, numbers with their unit"


def test_every_form_declares_the_same_arguments():
    forms = {suffix: launch_forms.arguments(form(suffix)) for suffix in launch_forms.FORMS}
    assert forms["py"] == forms["xml"] == forms["yaml"]
    assert len(forms["py"]) >= 12 and all(description for _, description in forms["py"].values())
    for suffix in ("xml", "yaml"):
        text = form(suffix).read_text()
        used = set(re.findall(r"\$\(var (\w+)\)", text))
        assert set(forms["py"]) <= used, "every argument is used"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("given", CASES)
def test_every_form_starts_the_same(given, environment):
    python, xml, written = (launch_forms.started(form(suffix), given, environment) for suffix in launch_forms.FORMS)
    assert python == xml == written
    node = python[0]
    assert node.executable == ("pixio", "perception_node")
    assert set(node.parameters) <= declared() | EVERY_NODE
    # What is given arrives, and what is not leaves the parameter file alone.
    assert set(node.parameters) == {"use_sim_time"} | ({"bundle", "engine", "cameras"} & set(given))
    assert node.parameters.get("bundle") == given.get("bundle")
    assert dict(node.remaps) == {name: given.get(name, name) for name in ("image", "camera_info")}
    assert node.names == (given.get("namespace", ""), given.get("name", "perception_node"))
    assert node.parameters["use_sim_time"] is (given.get("use_sim_time") == "true")
    assert [len(python), bool(node.environment)] == [
        2 if given.get("rviz") else 1,
        not environment and given.get("fastdds_profile") != "false",
    ]


@pytest.mark.parametrize("suffix", launch_forms.FORMS)
def test_the_node_takes_what_each_form_gives(suffix, bundle, tmp_path, peer):
    given = {"bundle": str(bundle), "cameras": "left, right", "namespace": "robot", "name": f"eyes_{suffix}"}
    [started] = launch_forms.started(form(suffix), given)
    node = Process(started.command(BIN / "perception_node"), tmp_path / "log")
    try:
        node.wait_for("ready: 2 camera(s)")
        topic = f"/robot/eyes_{suffix}/right/depth/image_rect"
        peer.spin_until(lambda: peer.node.count_publishers(topic) == 1, topic)
    finally:
        assert node.stop() == 0


def test_a_default_of_the_parameter_file_is_the_nodes():
    [node] = launch_forms.started(form("py"))
    parameters = yaml.safe_load(open(node.params_files[0]))["/**"]["ros__parameters"]
    assert set(parameters) <= declared()


def test_files_that_the_launch_file_names_are_there():
    for name in ("config/perception.yaml", "rviz/perception.rviz", "fastdds.xml"):
        assert (LAUNCH / name).is_file(), name


def strings(value):
    """Every string inside parsed YAML or JSON, keys too."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in [key, *strings(inner)]]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("view", ["rviz/perception.rviz", "foxglove/perception.json"])
def test_views_show_topics_that_the_node_publishes(start, peer, bundle, view):
    start("perception_node", {"bundle": bundle})
    shown = {text for text in strings(yaml.safe_load((LAUNCH / view).read_text())) if text.startswith("/perception_node/")}
    assert len(shown) >= 3
    peer.spin_until(lambda: all(peer.node.count_publishers(topic) == 1 for topic in shown), shown)


def test_examples_of_cameras_pass_arguments_that_are_declared():
    examples = sorted((LAUNCH / "cameras").glob("*.launch.xml"))
    assert len(examples) >= 5
    known = set(launch_forms.arguments(form("xml")))
    for example in examples:
        root = ElementTree.parse(example).getroot()
        own = {argument.get("name") for argument in root.iter("arg") if argument.get("value") is None}
        for include in root.iter("include"):
            assert include.get("file") == "$(dirname)/../perception.launch.xml", example.name
            passed = {argument.get("name") for argument in include}
            assert passed and passed <= known, f"{example.name}: {passed - known}"
        for used in re.findall(r"\$\(var (\w+)\)", example.read_text()):
            assert used in own, f"{example.name}: {used}"
