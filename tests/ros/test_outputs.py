"""What comes out, beside 32FC1 depth: millimetres, features, and nothing that nobody asks for."""

import json
import subprocess

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from conftest import BIN, NETWORK, camera_info, depth_array, image, pixels

DEPTH = "/perception_node/depth/image_rect"
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def tapped(tmp_path_factory):
    """A tiny model with a DPT head, which reads four taps."""
    folder = tmp_path_factory.mktemp("bundle") / "tapped"
    command = [BIN / "pixio", "import", "--random-weights", "4", "--architecture", "pixio-tiny16"]
    command += ["--head", "depth=dpt", "--size", "%dx%d" % NETWORK, "--out", folder]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return folder


def connect(peer):
    peer.publisher("/image", Image)
    peer.publisher("/camera_info", CameraInfo)
    peer.connected(["/image", "/camera_info"])
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.2)


def array(message):
    assert message.encoding == "32FC1" and message.step == 4 * message.width
    return np.frombuffer(bytes(message.data), "<f4").reshape(message.height, message.width)


def test_millimetres_are_the_metres(start, peer, bundle):
    start("perception_node", {"bundle": bundle}, name="metres")
    start("perception_node", {"bundle": bundle, "depth_encoding": "16UC1"}, name="millimetres")
    for name in ("metres", "millimetres"):
        peer.listen(f"/{name}/depth/image_rect", Image)
    connect(peer)
    peer.spin(1.0)  # both nodes
    peer.publishers["/image"].publish(image(1, pixels()))
    peer.spin_until(lambda: all(peer.received.values()), "both depths")
    [metres], [millimetres] = (peer.received[f"/{name}/depth/image_rect"] for name in ("metres", "millimetres"))
    assert (millimetres.encoding, millimetres.step, millimetres.is_bigendian) == ("16UC1", 2 * millimetres.width, 0)
    came = np.frombuffer(bytes(millimetres.data), "<u2").reshape(millimetres.height, millimetres.width)
    expected = np.nan_to_num(np.round(depth_array(metres).astype(float) * 1000), nan=0.0)
    assert np.abs(came.astype(float) - expected).max() <= 1 and came.max() > 0


def test_features_are_described_and_alike(start, peer, tapped):
    start("perception_node", {"bundle": tapped}, name="last")
    start("perception_node", {"bundle": tapped, "feature_taps": "all"}, name="all")
    for name in ("last", "all"):
        for part in ("cls", "patches"):
            peer.listen(f"/{name}/features/{part}", Image)
    connect(peer)
    peer.spin(1.0)
    peer.publishers["/image"].publish(image(7, pixels(), nanosec=5))
    peer.spin_until(lambda: all(peer.received.values()), "features")
    described = {}
    for name in ("last", "all"):
        texts = []
        peer.node.create_subscription(String, f"/{name}/features/info", texts.append, LATCHED)
        peer.spin_until(lambda: texts, "the latched description")
        described[name] = json.loads(texts[0].data)
    for name, info in described.items():
        taps, dim = len(info["taps"]), info["dim"]
        [cls], [patches] = (peer.received[f"/{name}/features/{part}"] for part in ("cls", "patches"))
        assert array(cls).shape == (taps * info["class_tokens"], dim)
        assert array(patches).shape == (taps * info["rows"] * info["columns"], dim)
        assert (info["columns"] * info["patch"], info["rows"] * info["patch"]) == NETWORK
        assert (info["schema"], info["frame_id"], info["normalised"]) == ("pixio/features/1", "front_optical", True)
        assert info["image"] == {"width": 80, "height": 60} and info["crop"] == [0, 0] and len(info["encoder_id"]) == 64
        assert (cls.header.stamp.sec, cls.header.stamp.nanosec, cls.header.frame_id) == (7, 5, "front_optical")
        assert np.isfinite(array(cls)).all() and array(patches).std() > 0.1
    assert len(described["last"]["taps"]) == 1 < len(described["all"]["taps"])
    assert described["all"]["taps"][-1] == described["last"]["taps"][0]
    last = array(peer.received["/last/features/patches"][0])
    assert np.array_equal(array(peer.received["/all/features/patches"][0])[-len(last):], last)


def test_features_alone_run_no_head(start, peer, bundle):
    node = start("examples/slow_engine", {"bundle": bundle})
    peer.listen("/slow_engine/features/cls", Image)
    connect(peer)
    before = node.output().count("backbone ran"), node.output().count("depth ran")
    peer.publishers["/image"].publish(image(1, pixels()))
    peer.spin_until(lambda: peer.received["/slow_engine/features/cls"], "class tokens")
    peer.spin(0.2)
    after = node.output().count("backbone ran"), node.output().count("depth ran")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 0)
