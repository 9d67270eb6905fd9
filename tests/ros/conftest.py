"""Nodes as processes, and an rclpy peer beside them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
BIN = Path(os.environ.get("PIXIO_BIN", ROOT / "target/release"))
NETWORK = (64, 48)
CAMERA = (80, 60)
PATIENCE = 30.0


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A tiny model with random weights, one size, one linear depth head."""
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    command = [BIN / "pixio", "import", "--random-weights", "3", "--architecture", "pixio-tiny16"]
    command += ["--head", "depth=linear", "--size", "%dx%d" % NETWORK, "--out", folder]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return folder


class Process:
    """A node as a process; its output is kept."""

    def __init__(self, command, log):
        self.log = log
        self.file = open(log, "w")
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.file, stderr=subprocess.STDOUT)

    def output(self):
        return Path(self.log).read_text()

    def wait_for(self, text, patience=PATIENCE):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if text in self.output():
                return
            assert self.process.poll() is None or text in self.output(), f"ended early:\n{self.output()}"
            time.sleep(0.02)
        raise AssertionError(f"no {text!r} within {patience} s:\n{self.output()}")

    def stop(self, sent=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(sent)
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture
def start(tmp_path):
    """Starts nodes with parameters and remaps; whatever still runs must stop cleanly at the end."""
    running = []

    def start_node(executable, parameters=None, remaps=None, name=None, wait="ready", arguments=()):
        command = [BIN / executable, "--ros-args"]
        for key, value in (parameters or {}).items():
            command += ["-p", f"{key}:={value}"]
        for source, target in (remaps or {}).items():
            command += ["-r", f"{source}:={target}"]
        if name:
            command += ["-r", f"__node:={name}"]
        command += arguments
        node = Process(command, tmp_path / f"{len(running)}.log")
        running.append(node)
        if wait:
            node.wait_for(wait)
        return node

    yield start_node
    codes = [(node.stop(), node.output()) for node in running if node.process.poll() is None]
    assert all(code == 0 for code, _ in codes), codes


@pytest.fixture(scope="session", autouse=True)
def ros():
    assert "ROS_DOMAIN_ID" in os.environ, "run by `make ros-test`, which chooses a free ROS_DOMAIN_ID"
    rclpy.init()
    yield
    rclpy.shutdown()


class Peer:
    """What a user's node would be: publishes images, keeps what comes back."""

    def __init__(self):
        self.node = rclpy.create_node("peer")
        self.received = {}
        self.qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
        self.publishers = {}

    def listen(self, topic, kind):
        self.received[topic] = []
        self.node.create_subscription(kind, topic, self.received[topic].append, self.qos)

    def publisher(self, topic, kind, qos=None):
        if topic not in self.publishers:
            self.publishers[topic] = self.node.create_publisher(kind, topic, qos or self.qos)
        return self.publishers[topic]

    def connected(self, topics, count=1):
        """Waits until every topic that we publish has a subscriber and every one that we hear a publisher."""
        def all_there():
            heard = all(self.node.count_publishers(topic) >= count for topic in self.received)
            return heard and all(self.publishers[topic].get_subscription_count() >= 1 for topic in topics)

        self.spin_until(all_there, "connections")
        self.spin(0.7)  # the node follows our QoS offer twice a second

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.01)

    def spin_until(self, condition, what, patience=PATIENCE):
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"no {what} within {patience} s"
            rclpy.spin_once(self.node, timeout_sec=0.01)


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.node.destroy_node()


def image(sec, pixels, encoding="rgb8", frame="front_optical", nanosec=0, step=None):
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    if step:
        rows = np.pad(rows, ((0, 0), (0, step - rows.shape[1])), constant_values=255)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1], data=rows.tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    message.header.frame_id = frame
    return message


def camera_info(sec=0, size=CAMERA, focal=70.0, frame="front_optical"):
    width, height = size
    cx, cy = (width - 1) / 2 + 1.5, (height - 1) / 2 - 0.5
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    message.header.stamp.sec, message.header.frame_id = sec, frame
    return message


def pixels(seed=0, size=CAMERA):
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def depth_array(message):
    assert message.encoding == "32FC1" and not message.is_bigendian and message.step == 4 * message.width
    return np.frombuffer(bytes(message.data), "<f4").reshape(message.height, message.width)
