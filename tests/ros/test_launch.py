"""Launch and parameter files, in every form, against what the node declares."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

import launch_forms
import parameter_files
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
    {"rviz": "True", "fastdds_profile": "False", "use_sim_time": "True", "name": "eyes", "fixed_frame": "base_link"},
    {"rviz": "1", "fastdds_profile": "0", "use_sim_time": "1", "cameras": "[front, rear]", "namespace": "/robot"},
    {"rviz": "False", "fastdds_profile": "True", "use_sim_time": "False"},
    {"rviz": "0", "fastdds_profile": "1", "use_sim_time": "0"},
    {"rviz": "true", "cameras": "front , rear", "namespace": "robot/left"},
]
# Neither true nor false: refused.
UNCLEAR = ["maybe", "yes", "TRUE", "tru", ""]
ENVIRONMENTS = [{}, {"FASTRTPS_DEFAULT_PROFILES_FILE": "/my.xml"}, {"FASTDDS_DEFAULT_PROFILES_FILE": "/my.xml"}]


TRUTH = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
# What rviz is to show of a node, or of its first camera; test_views_... holds them against the running node.
VIEWED = ["points", "depth/image_rect", "color/image_rect"]


def form(suffix):
    return LAUNCH / f"perception.launch.{suffix}"


def test_the_parameter_file_names_every_parameter_with_its_default_and_a_unit():
    parameter_files.check(LAUNCH / "config/perception.yaml", "perception_node", NOT_IN_FILE)


def test_every_form_declares_the_same_arguments():
    forms = {suffix: launch_forms.arguments(form(suffix)) for suffix in launch_forms.FORMS}
    assert forms["py"] == forms["xml"] == forms["yaml"]
    assert len(forms["py"]) >= 12 and all(description for _, description, _ in forms["py"].values())
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
    assert set(node.parameters) <= set(parameter_files.described("perception_node")) | EVERY_NODE
    # What is given arrives, and what is not leaves the parameter file alone.
    assert set(node.parameters) == {"use_sim_time"} | ({"bundle", "engine", "cameras"} & set(given))
    assert node.parameters.get("bundle") == given.get("bundle")
    assert node.params_files == [given.get("params_file", str(LAUNCH / "config/perception.yaml"))]
    assert dict(node.remaps) == {name: given.get(name, name) for name in ("image", "camera_info")}
    assert node.names == (given.get("namespace", ""), given.get("name", "perception_node"))
    assert node.parameters["use_sim_time"] is TRUTH[given.get("use_sim_time", "false")]
    assert [len(python), bool(node.environment)] == [
        2 if TRUTH[given.get("rviz", "false")] else 1,
        not environment and TRUTH[given.get("fastdds_profile", "true")],
    ]


@pytest.mark.parametrize("suffix", launch_forms.FORMS)
@pytest.mark.parametrize("name", ["use_sim_time", "rviz", "fastdds_profile"])
@pytest.mark.parametrize("text", UNCLEAR)
def test_what_is_neither_true_nor_false_is_refused(suffix, name, text):
    with pytest.raises(launch_forms.Refused, match=f'"{name}" provided value "{text}" is not valid. Valid options are: .*true.*False'):
        launch_forms.started(form(suffix), {name: text})


def published(node, camera):
    """A node's topics as a remap's target is resolved: below its namespace and name."""
    namespace, name = node.names
    return {"/" + "/".join(part for part in (namespace.strip("/"), name, camera, topic) if part) for topic in VIEWED}


@pytest.mark.parametrize("suffix", launch_forms.FORMS)
@pytest.mark.parametrize("given", CASES)
def test_rviz_shows_what_the_node_publishes(suffix, given):
    node, rviz = launch_forms.started(form(suffix), {**given, "rviz": "true"})
    config = Path(rviz.arguments[rviz.arguments.index("-d") + 1])
    shown = {text for text in strings(yaml.safe_load(config.read_text())) if text.startswith("/perception_node/")}
    assert set(dict(rviz.remaps)) == shown == {f"/perception_node/{topic}" for topic in VIEWED}
    # The targets are relative names, so they are resolved in rviz's own namespace.
    resolved = {"/" + "/".join(part for part in (rviz.names[0].strip("/"), target) if part) for _, target in rviz.remaps}
    assert resolved == published(node, (node.parameters.get("cameras") or [""])[0])
    assert all(target.endswith(source.removeprefix("/perception_node")) for source, target in rviz.remaps), "points to points"
    assert rviz.parameters == {"use_sim_time": node.parameters["use_sim_time"]}
    assert rviz.arguments[rviz.arguments.index("-f") + 1] == given.get("fixed_frame", "camera_optical_frame")


def test_rviz_starts_in_the_frame_of_its_configuration():
    config = yaml.safe_load((LAUNCH / "rviz/perception.rviz").read_text())
    fixed = config["Visualization Manager"]["Global Options"]["Fixed Frame"]
    assert launch_forms.arguments(form("py"))["fixed_frame"][0] == fixed


@pytest.mark.parametrize("suffix", launch_forms.FORMS)
def test_the_node_takes_what_each_form_gives(suffix, bundle, tmp_path, peer):
    given = {"bundle": str(bundle), "cameras": "left, right", "namespace": "robot", "name": f"eyes_{suffix}", "rviz": "true"}
    started, rviz = launch_forms.started(form(suffix), given)
    node = Process(started.command(BIN / "perception_node"), tmp_path / "log")
    try:
        node.wait_for("ready: 2 camera(s)")
        shown = [f"/robot/{target}" for _, target in rviz.remaps]
        assert f"/robot/eyes_{suffix}/left/points" in shown
        for topic in [f"/robot/eyes_{suffix}/right/depth/image_rect", *shown]:
            peer.spin_until(lambda: peer.node.count_publishers(topic) == 1, topic)
    finally:
        assert node.stop() == 0


def test_files_that_the_launch_file_names_are_there():
    for name in ("config/perception.yaml", "rviz/perception.rviz", "fastdds.xml", "arguments.py"):
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


@pytest.mark.parametrize("example", sorted((LAUNCH / "cameras").glob("*.launch.xml")), ids=lambda path: path.name)
def test_examples_of_cameras_give_every_camera_its_topics(example):
    context = launch_forms.Context({"rviz": "true"}, {})
    node, rviz = launch_forms.include(example, {"bundle": "/models/b16"}, context)
    remaps = dict(node.remaps)
    for camera in node.parameters.get("cameras", [""]):
        image, info = (remaps[f"{camera}/{topic}".lstrip("/")] for topic in ("image", "camera_info"))
        assert image.startswith("/") and info.startswith("/") and image != info and camera in image
    frame = rviz.arguments[rviz.arguments.index("-f") + 1]
    assert frame.endswith("optical_frame") or frame.endswith("frame_optical")
    # The remaps of an example are not left to what else a launch file starts.
    assert not context.remaps


def test_the_node_hears_the_topics_of_several_cameras(bundle, tmp_path, peer):
    [started] = launch_forms.started(LAUNCH / "cameras/realsense_pair.launch.xml", {"bundle": str(bundle)})
    node = Process(started.command(BIN / "perception_node"), tmp_path / "log")
    try:
        node.wait_for("ready: 2 camera(s)")
        for camera in ("front", "rear"):
            for topic in (f"/camera/{camera}/color/image_raw", f"/camera/{camera}/color/camera_info"):
                peer.spin_until(lambda: peer.node.count_subscribers(topic) == 1, topic)
    finally:
        assert node.stop() == 0
