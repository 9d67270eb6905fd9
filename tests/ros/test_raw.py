"""Serialised messages taken and published without decoding (`pixio_ros::raw`), against rclpy's own raw subscriptions."""

import json
import time

import pytest
from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from conftest import BIN, Process


def echo(tmp_path, *arguments):
    command = [BIN / "examples/raw_echo", *arguments]
    node = Process(command, tmp_path / "echo.log")
    node.wait_for("ready")
    return node


def lines(node):
    return [json.loads(line) for line in node.output().splitlines() if line.startswith("{") and line.endswith("}")]


def of(node, topic):
    return [line for line in lines(node) if line.get("topic") == topic]


def odometry(number):
    message = Odometry(child_frame_id="base " * number)
    message.pose.pose.position.x = 0.5 * number
    return message


def joints(number):
    return JointState(name=[f"j{i}" for i in range(number)], position=[0.1 * i for i in range(number)])


def test_bytes_stamps_and_publishers_come_whole_and_go_out_again(tmp_path, peer):
    """nav_msgs is not compiled into the nodes: its type support is loaded at run time."""
    node = echo(tmp_path, 10_000_000, 0, "/odometry", "nav_msgs/msg/Odometry", "/joints", "sensor_msgs/msg/JointState")
    try:
        peer.listen("/odometry/again", Odometry)
        peer.listen("/joints/again", JointState)
        out = {"/odometry": peer.publisher("/odometry", Odometry), "/joints": peer.publisher("/joints", JointState)}
        raw = {topic: [] for topic in out}
        for topic, kind in (("/odometry", Odometry), ("/joints", JointState)):
            peer.node.create_subscription(kind, topic, raw[topic].append, peer.qos, raw=True)
        peer.connected(out)
        before = time.time_ns()
        sent = {topic: [] for topic in out}
        for number in range(12):
            for topic, make in (("/odometry", odometry), ("/joints", joints)):
                sent[topic].append(make(number))
                out[topic].publish(sent[topic][-1])
            peer.spin(0.01)
        for topic, messages in sent.items():
            peer.spin_until(lambda: len(peer.received[topic + "/again"]) == 12, f"echoes of {topic}")
            assert peer.received[topic + "/again"] == messages
            peer.spin_until(lambda: len(raw[topic]) == 12, f"raw messages of {topic}")
            taken = of(node, topic)
            assert [line["hex"] for line in taken] == [message.hex() for message in raw[topic]]
            assert len({line["publisher"] for line in taken}) == 1
            sequences = [line["sequence"] for line in taken]
            assert sequences == [None] * 12 or sequences == list(range(sequences[0], sequences[0] + 12))
            for line in taken:
                assert before <= line["source_ns"] <= line["received_ns"] <= time.time_ns()
        assert {line["publisher"] for line in of(node, "/odometry")} != {line["publisher"] for line in of(node, "/joints")}
    finally:
        assert node.stop() == 0, node.output()
    assert {line["received"] for line in lines(node) if "counts" in line} == {12}
    assert all(line["dropped"] == line["lost"] == 0 for line in lines(node) if "counts" in line)


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(tmp_path, peer):
    node = echo(tmp_path, 500, 200, "/text", "std_msgs/msg/String")
    try:
        peer.listen("/text/again", String)
        out = peer.publisher("/text", String)
        peer.connected(["/text"])
        for number in range(30):
            out.publish(String(data=str(number).rjust(80)))
        peer.spin_until(lambda: len(of(node, "/text")) >= 3, "messages")
        peer.spin(1.0)
    finally:
        assert node.stop() == 0, node.output()
    counts = next(line for line in lines(node) if "counts" in line)
    taken = len(of(node, "/text"))
    assert counts["received"] == 30 and counts["dropped"] >= 10, counts
    assert counts["received"] - counts["dropped"] >= taken
    numbers = [int(bytes.fromhex(line["hex"])[8:].rstrip(b"\0")) for line in of(node, "/text")]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("sensor_msgs/Image", "expected package/msg/Name"),
        ("no_such_msgs/msg/Image", "libno_such_msgs__rosidl_typesupport_c.so is in none of the ament prefixes"),
        ("sensor_msgs/msg/NoSuch", "NoSuch"),
    ],
)
def test_types_that_cannot_be_had_are_refused_with_a_reason(tmp_path, kind, reason):
    node = Process([BIN / "examples/raw_echo", 1000, 0, "/x", kind], tmp_path / "echo.log")
    assert node.process.wait(timeout=30) == 2
    assert reason in node.output()
