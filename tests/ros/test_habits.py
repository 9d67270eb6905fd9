"""The habits of every ROS node: parameters, their events, the log topic, describing itself, overrides of QoS."""

import json
import subprocess
import time

import pytest
from rcl_interfaces.msg import Log, ParameterEvent
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from conftest import PATIENCE, BIN, camera_info, image, pixels
from habits import describe, get_parameter, list_parameters, set_parameters, types

NODE = "/perception_node"
LATCHED = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_parameters_describe_themselves(start, peer, bundle):
    start("perception_node", {"bundle": bundle, "threads": 2})
    names = ["threads", "engine", "cameras", "bundle", "use_sim_time", "nothing_of_this_name"]
    threads, engine, cameras, model, sim, unknown = describe(peer, NODE, names)
    assert threads.integer_range[0].from_value == 0 and threads.integer_range[0].to_value == 1024
    assert "threads" in threads.description and not threads.read_only
    assert "while the node is unconfigured" in threads.additional_constraints
    assert engine.additional_constraints.startswith("one of onnx")
    assert cameras.read_only and "letters" in cameras.additional_constraints
    assert not sim.read_only and "/clock" in sim.description
    assert (unknown.name, unknown.type) == ("nothing_of_this_name", 0)
    assert types(peer, NODE, names) == [2, 4, 9, 4, 1, 0]
    assert get_parameter(peer, NODE, "threads").integer_value == 2
    assert get_parameter(peer, NODE, "bundle").string_value == str(bundle)
    assert get_parameter(peer, NODE, "nothing_of_this_name").type == 0
    listed = list_parameters(peer, NODE)
    assert {"bundle", "threads", "use_sim_time", "autostart"} <= set(listed.names)
    assert "qos_overrides./perception_node/points.publisher" in listed.prefixes
    shallow = list_parameters(peer, NODE, depth=1)
    assert "bundle" in shallow.names and not any(name.startswith("qos_overrides") for name in shallow.names)
    below = list_parameters(peer, NODE, prefixes=["qos_overrides./image"])
    assert below.names and all(name.startswith("qos_overrides./image.") for name in below.names)


def test_a_set_is_refused_with_a_reason_or_told(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    peer.listen("/parameter_events", ParameterEvent)
    peer.spin_until(lambda: peer.node.count_publishers("/parameter_events") >= 2, "the publisher")
    reasons = {
        "cameras": (["a"], "read-only"),
        "threads": (3, "while the node is unconfigured"),
        "no_such_parameter": (1, "not known; this node has bundle"),
        "use_sim_time": ("yes", "expected true or false, got \"yes\""),
    }
    for name, (tried, reason) in reasons.items():
        [result] = set_parameters(peer, NODE, **{name: tried})
        assert not result.successful and reason in result.reason, result
    node.wait_for("refused to set a parameter: parameter cameras")
    refused = set_parameters(peer, NODE, atomically=True, use_sim_time=True, threads=3)
    assert not refused.successful and "threads" in refused.reason
    assert not get_parameter(peer, NODE, "use_sim_time").bool_value, "all or none"
    [result] = set_parameters(peer, NODE, use_sim_time=True)
    assert result.successful and result.reason == ""
    changed = lambda: [p for event in peer.received["/parameter_events"] for p in event.changed_parameters]
    peer.spin_until(lambda: len(changed()) == 1, "the event of the change")
    assert (changed()[0].name, changed()[0].value.bool_value) == ("use_sim_time", True)


def test_all_parameters_are_told_at_start(start, peer, bundle):
    peer.listen("/parameter_events", ParameterEvent)
    start("perception_node", {"bundle": bundle, "threads": 3})
    own = lambda: [event for event in peer.received["/parameter_events"] if event.node == NODE]
    peer.spin_until(own, "the event of the start")
    new = {p.name: p.value for event in own() for p in event.new_parameters}
    assert new["threads"].integer_value == 3 and new["engine"].string_value == "onnx"
    assert own()[0].stamp.sec > 0


def test_the_log_reaches_rosout_late_and_early(start, peer, bundle):
    start("perception_node", {"bundle": bundle})
    logs = []
    peer.node.create_subscription(Log, "/rosout", logs.append, LATCHED)
    ours = lambda text: [log for log in logs if log.name == "perception_node" and text in log.msg]
    peer.spin_until(lambda: ours("ready"), "a line from before the subscription")
    [ready] = ours("ready")
    assert (ready.level, ready.stamp.sec > 0) == (20, True) and ready.file.endswith(".rs") and ready.line > 0
    warned = ours("RANDOM WEIGHTS")
    assert warned and warned[0].level == 30
    peer.publisher("/image", Image)
    peer.publisher("/camera_info", CameraInfo)
    peer.listen("/perception_node/depth/image_rect", Image)
    peer.connected(["/image", "/camera_info"])
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.1)
    for sec in range(1, 21):
        wrong = image(sec, pixels())
        # A zero byte would end a C string, and the process, were it logged as it came.
        wrong.encoding = "yuv\0of_mars"
        peer.publishers["/image"].publish(wrong)
        peer.spin(0.02)
    peer.spin_until(lambda: ours("encoding"), "the error")
    assert len(ours("encoding")) == 1 and ours("encoding")[0].level == 40, "throttled"
    qos = [info.qos_profile for info in peer.node.get_publishers_info_by_topic("/rosout") if info.node_name == "perception_node"]
    assert len(qos) == 1, "one publisher"
    assert (qos[0].durability, qos[0].reliability) == (DurabilityPolicy.TRANSIENT_LOCAL, ReliabilityPolicy.RELIABLE)
    assert qos[0].lifespan.nanoseconds == 10_000_000_000


@pytest.mark.parametrize(
    "parameters, reason",
    [({"no_such_parameter": 1}, "no_such_parameter"), ({"autostart": True}, "/nowhere/model.toml")],
    ids=["refused before it has its habits", "refused when it starts"],
)
def test_last_words_reach_rosout(start, peer, parameters, reason):
    logs = []
    peer.node.create_subscription(Log, "/rosout", logs.append, LATCHED)
    fatal = lambda: [log for log in logs if log.name == "perception_node" and log.level == 50]
    # It waits a moment and no longer, which on a busy machine may be before we know it: then another one has its turn.
    end = time.monotonic() + 2 * PATIENCE
    while not fatal():
        assert time.monotonic() < end, "no last words on /rosout"
        node = start("perception_node", {"bundle": "/nowhere", **parameters}, wait=None)
        while node.process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{node.output()}"
            peer.spin(0.05)
        assert node.process.returncode == 2 and reason in node.output()
        peer.spin(0.5)
    assert len(fatal()) == 1 and reason in fatal()[0].msg


@pytest.mark.parametrize("node", ["perception_node", "camera_node"])
def test_a_node_describes_itself(node):
    ended = subprocess.run([str(BIN / node), "--describe"], capture_output=True, text=True, timeout=30)
    described = json.loads(ended.stdout)
    assert ended.returncode == 0 and described["name"] == node
    own = [parameter for parameter in described["parameters"] if not parameter["common"]]
    assert own and all(parameter["description"] and "default" in parameter for parameter in own)
    numbers = [parameter for parameter in own if parameter["type"] in ("integer", "double")]
    assert all(parameter["unit"] and parameter["allowed"] for parameter in numbers), "a number has a unit and a range"


def qos_of(peer, topic, node="perception_node", publishers=True):
    find = peer.node.get_publishers_info_by_topic if publishers else peer.node.get_subscriptions_info_by_topic
    peer.spin_until(lambda: any(info.node_name == node for info in find(topic)), topic)
    return next(info.qos_profile for info in find(topic) if info.node_name == node)


def test_qualities_of_service_are_overridden(start, peer, bundle):
    overrides = {
        "qos_overrides./perception_node/points.publisher.reliability": "best_effort",
        "qos_overrides./perception_node/depth/image_rect.publisher.durability": "transient_local",
        "qos_overrides./cam.subscription.reliability": "best_effort",
        "qos_overrides./cam.subscription.deadline": 500000000,
    }
    start("perception_node", {"bundle": bundle, **overrides}, remaps={"image": "/cam"})
    assert qos_of(peer, "/perception_node/points").reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos_of(peer, "/perception_node/depth/image_rect").durability == DurabilityPolicy.TRANSIENT_LOCAL
    # A reliable publisher does not change what a parameter says.
    peer.publisher("/cam", Image)
    peer.spin(1.5)
    camera = qos_of(peer, "/cam", publishers=False)
    assert camera.reliability == ReliabilityPolicy.BEST_EFFORT
    assert camera.deadline.nanoseconds == 500_000_000
    [result] = set_parameters(peer, NODE, **{"qos_overrides./perception_node/points.publisher.reliability": "reliable"})
    assert not result.successful and "read-only" in result.reason


def test_every_topic_of_its_own_takes_overrides(start, bundle):
    described = json.loads(subprocess.run([BIN / "perception_node", "--describe"], check=True, capture_output=True, text=True).stdout)
    topics = {(topic["name"].replace("~", NODE), topic["direction"]) for topic in described["topics"]} - {("/rosout", "out")}
    assert len(topics) > 20
    for transport, other in (("raw", "image/compressed"), ("compressed", "image")):
        ends = {"in": "subscription", "out": "publisher"}
        overrides = {f"qos_overrides./{name.lstrip('/')}.{ends[direction]}.depth": 3 for name, direction in topics if name != other}
        node = start("perception_node", {"bundle": bundle, "image_transport": transport, "self_filter": "true", **overrides})
        assert node.stop() == 0, node.output()


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("qos_overrides./perception_node/points.publisher.reliability", "sure", "expected reliable, best_effort"),
        ("qos_overrides./perception_node/points.publisher.depth", 0, "expected an integer of 1 to 10000"),
        ("qos_overrides./nowhere.publisher.depth", 1, "not known; this node has qos_overrides of /clock"),
    ],
)
def test_wrong_overrides_are_refused(start, bundle, name, value, reason):
    node = start("perception_node", {"bundle": bundle, name: value}, wait=None)
    assert node.process.wait(timeout=60) == 2
    assert reason in node.output()


def test_parameter_files_count(start, peer, bundle, tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n"
        f"    bundle: {bundle}\n    threads: 3\n"
        "    qos_overrides:\n      /perception_node/points:\n        publisher:\n          depth: 4\n"
        "other_node:\n  ros__parameters:\n    rate: 1.0\n"
    )
    start("perception_node", {}, arguments=["--params-file", file])
    assert get_parameter(peer, NODE, "threads").integer_value == 3
    assert get_parameter(peer, NODE, "qos_overrides./perception_node/points.publisher.depth").integer_value == 4


@pytest.mark.parametrize("content, reason", [(None, "Error opening YAML file"), ("a: [1", "Sequences can only be values")])
def test_a_parameter_file_that_rcl_cannot_read_is_refused(start, tmp_path, content, reason):
    file = tmp_path / "parameters.yaml"
    if content:
        file.write_text(content)
    node = start("perception_node", {}, arguments=["--params-file", file], wait=None)
    assert node.process.wait(timeout=60) == 2
    assert "[FATAL]" in node.output() and str(file) in node.output() and reason in node.output()
    assert "panicked" not in node.output()


def test_an_entry_that_would_have_no_effect_is_refused(start, bundle, tmp_path):
    file = tmp_path / "wild.yaml"
    file.write_text(f"/**/perception_node:\n  ros__parameters:\n    bundle: {bundle}\n")
    node = start("perception_node", {}, arguments=["--params-file", file], wait=None)
    assert node.process.wait(timeout=60) == 2
    assert f'parameter file {file}: "/**/perception_node" names this node with a wildcard' in node.output()


def test_two_nodes_in_namespaces_keep_apart(start, peer, bundle):
    for robot in ("a", "b"):
        start("perception_node", {"bundle": bundle}, remaps={"__ns": f"/{robot}"})
        peer.listen(f"/{robot}/perception_node/depth/image_rect", Image)
        peer.listen(f"/{robot}/perception_node/points", PointCloud2)
        peer.publisher(f"/{robot}/image", Image)
        peer.publisher(f"/{robot}/camera_info", CameraInfo)
    peer.connected(["/a/image", "/b/image", "/a/camera_info", "/b/camera_info"])
    for robot, sec in (("a", 1), ("b", 2)):
        peer.publishers[f"/{robot}/camera_info"].publish(camera_info())
        peer.spin(0.1)
        peer.publishers[f"/{robot}/image"].publish(image(sec, pixels(sec)))
    peer.spin_until(lambda: all(peer.received.values()), "depth and points of both")
    for topic, messages in peer.received.items():
        assert [m.header.stamp.sec for m in messages] == [1 if topic.startswith("/a/") else 2], topic
    assert get_parameter(peer, "/b/perception_node", "bundle").string_value == str(bundle)
