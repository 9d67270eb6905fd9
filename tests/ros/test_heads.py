"""Points, segments and actions from one node: what comes out against the same bundle in ONNX Runtime, and what is refused."""

import json
import subprocess
import tomllib

import numpy as np
import onnxruntime
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from conftest import BIN, NETWORK, camera_info, image
from peer import ask

NODE = "/perception_node"
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
WIDTH, HEIGHT = NETWORK
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A tiny model with a head for points, one for segments and two policies, and its networks as ONNX files."""
    return bundle(tmp_path_factory, "points=linear-points", "segmentation=linear-segmentation", "policy=mlp-policy", "chunk=chunk-policy")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same with a head for every task, as the demo's bundle has them."""
    return bundle(tmp_path_factory, "depth=linear", "points=dpt-points", "segmentation=linear-segmentation", "policy=mlp-policy")


def bundle(tmp_path_factory, *heads):
    folder = tmp_path_factory.mktemp("bundle")
    command = [BIN / "pixio", "import", "--random-weights", "5", "--architecture", "pixio-tiny16"]
    for head in heads:
        command += ["--head", head]
    command += ["--size", "%dx%d" % NETWORK, "--out", folder / "heads"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    export = [BIN / "pixio", "export", folder / "heads", "--out", folder / "onnx"]
    subprocess.run([str(part) for part in export], check=True, capture_output=True)
    return folder


class Model:
    """The bundle's networks in ONNX Runtime, without anything of ours."""

    def __init__(self, folder):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.sessions = {}
        heads = tomllib.loads((folder / "heads/model.toml").read_text())["heads"]
        for name in ("backbone", *heads):
            [path] = folder.glob(f"onnx/**/*{name}*.onnx")
            self.sessions[name] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.manifest = tomllib.loads((folder / "heads/model.toml").read_text())

    def run(self, name, inputs):
        session = self.sessions[name]
        outputs = session.run(None, {port.name: inputs[port.name].astype(np.float32) for port in session.get_inputs()})
        return {port.name: value for port, value in zip(session.get_outputs(), outputs)}

    def tokens(self, rgb):
        normalised = ((rgb / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
        return self.run("backbone", {"image": normalised})


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def state(sec, nanosec, positions):
    message = JointState(name=[f"joint_{joint}" for joint in range(1, 8)], position=[float(value) for value in positions])
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    return message


def floats(message, fields):
    assert [field.name for field in message.fields] == fields and message.point_step == 4 * len(fields)
    return np.frombuffer(bytes(message.data), "<f4").reshape(message.height, message.width, len(fields))


def connect(peer, topics=("/image", "/camera_info")):
    peer.publisher("/image", Image)
    peer.publisher("/camera_info", CameraInfo)
    peer.connected(topics)
    peer.publishers["/camera_info"].publish(camera_info(size=NETWORK))
    peer.spin(0.2)


def test_points_segments_and_confidence_are_those_of_the_networks(start, peer, heads):
    start("perception_node", {"bundle": heads / "heads"})
    for topic, kind in (("points", PointCloud2), ("segmentation", Image), ("confidence", Image), ("depth/image_rect", Image)):
        peer.listen(f"{NODE}/{topic}", kind)
    connect(peer)
    rgb = picture(1)
    peer.publishers["/image"].publish(image(3, rgb, nanosec=4))
    peer.spin_until(lambda: all(peer.received.values()), "points, segments, confidence and depth")
    model = Model(heads)
    tokens = model.tokens(rgb)
    expected = model.run("points", tokens)
    [cloud], [segments], [confidence], [depth] = (peer.received[f"{NODE}/{topic}"] for topic in (
        "points", "segmentation", "confidence", "depth/image_rect"))
    came = floats(cloud, ["x", "y", "z", "rgb", "confidence"])
    points = (expected["rays"] * expected["distance"][:, None])[0].transpose(1, 2, 0)
    np.testing.assert_allclose(came[..., :3], points, atol=1e-4)
    np.testing.assert_allclose(came[..., 4], expected["confidence"][0], atol=1e-5)
    colours = came[..., 3].copy().view(np.uint8).reshape(HEIGHT, WIDTH, 4)[..., 2::-1]
    assert np.array_equal(colours, rgb)
    assert (confidence.encoding, confidence.step) == ("32FC1", 4 * WIDTH)
    shares = np.frombuffer(bytes(confidence.data), "<f4").reshape(HEIGHT, WIDTH)
    np.testing.assert_allclose(shares, expected["confidence"][0], atol=1e-5)
    z = np.frombuffer(bytes(depth.data), "<f4").reshape(HEIGHT, WIDTH)
    np.testing.assert_allclose(z, points[..., 2], atol=1e-4)
    logits = model.run("segmentation", tokens)["logits"][0]
    assert (segments.encoding, segments.step) == ("mono8", WIDTH)
    labels = np.frombuffer(bytes(segments.data), np.uint8).reshape(HEIGHT, WIDTH)
    near = np.sort(logits, axis=0)
    clear = near[-1] - near[-2] > 1e-4
    assert clear.mean() > 0.9 and np.array_equal(labels[clear], logits.argmax(0)[clear])
    for message in (cloud, segments, confidence, depth):
        assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (3, 4, "front_optical")
    texts = []
    peer.node.create_subscription(String, f"{NODE}/segmentation/labels", texts.append, LATCHED)
    peer.spin_until(lambda: texts, "the latched labels")
    assert json.loads(texts[0].data) == {"schema": "pixio/labels/1", "labels": [f"class_{k}" for k in range(4)]}


def test_one_bundle_serves_depth_points_labels_and_actions(start, peer, whole):
    node = start("perception_node", {"bundle": whole / "heads"})
    topics = {"depth/image_rect": Image, "points": PointCloud2, "confidence": Image, "segmentation": Image, "action_chunk": JointTrajectory}
    for topic, kind in topics.items():
        peer.listen(f"{NODE}/{topic}", kind)
    peer.listen("/diagnostics", DiagnosticArray)
    peer.publisher("/joint_states", JointState)
    connect(peer, ["/image", "/camera_info", "/joint_states"])
    peer.publishers["/joint_states"].publish(state(5, 0, np.zeros(7)))
    peer.spin(0.2)
    rgb = picture(31)
    peer.publishers["/image"].publish(image(5, rgb))
    peer.spin_until(lambda: all(peer.received[f"{NODE}/{topic}"] for topic in topics), "what every head says")
    model = Model(whole)
    tokens = model.tokens(rgb)
    [depth], [cloud] = peer.received[f"{NODE}/depth/image_rect"], peer.received[f"{NODE}/points"]
    z = np.frombuffer(bytes(depth.data), "<f4").reshape(HEIGHT, WIDTH)
    np.testing.assert_allclose(z, model.run("depth", tokens)["depth"][0], atol=1e-4)
    expected = model.run("points", tokens)
    came = floats(cloud, ["x", "y", "z", "rgb", "confidence"])
    points = (expected["rays"] * expected["distance"][:, None])[0].transpose(1, 2, 0)
    np.testing.assert_allclose(came[..., :3], points, atol=1e-4)
    assert np.abs(points[..., 2] - z).max() > 0.01, "two heads that say the same show nothing"
    values = lambda: {item.key: item.value for message in peer.received["/diagnostics"] for status in message.status
                      for item in status.values}
    # Least squares of the slopes over the pixels, weighted by the confidence, as numpy solves it.
    slope, column = points[..., 0] / points[..., 2], np.broadcast_to(np.arange(WIDTH), (HEIGHT, WIDTH))
    rise, _ = np.polyfit(column.ravel(), slope.ravel(), 1, w=np.sqrt(expected["confidence"][0]).ravel())
    if rise > 0:
        peer.spin_until(lambda: f"fx {1 / rise:.1f}" in values().get("implied_intrinsics", ""), "the pinhole that the rays imply")
    else:
        assert "implied_intrinsics" not in values()
    assert "ERROR" not in node.output()


def test_actions_are_those_of_the_network_on_the_joints_at_the_stamp(start, peer, heads):
    node = start("perception_node", {"bundle": heads / "heads", "policy_head": "policy"})
    peer.listen(f"{NODE}/action_chunk", JointTrajectory)
    peer.publisher("/joint_states", JointState)
    connect(peer, ["/image", "/camera_info", "/joint_states"])
    chunks = peer.received[f"{NODE}/action_chunk"]
    model, channels = Model(heads), None
    channels = model.manifest["heads"]["policy"]["policy"]
    early, late = np.linspace(-0.4, 0.4, 7), np.linspace(0.5, -0.1, 7)
    pictures, embeddings = [picture(seed) for seed in (11, 12, 13)], []
    for index, rgb in enumerate(pictures):
        # Joints 40 ms before and 60 ms after each image, which come a period apart.
        begin = 100 * index
        for millis, positions in ((begin, early), (begin + 100, late)):
            peer.publishers["/joint_states"].publish(state(10 + millis // 1000, millis % 1000 * 1_000_000, positions))
        peer.spin(0.2)
        peer.publishers["/image"].publish(image(10, rgb, nanosec=(begin + 40) * 1_000_000))
        peer.spin_until(lambda: len(chunks) == index + 1, f"chunk {index}")
    for index, (rgb, chunk) in enumerate(zip(pictures, chunks)):
        tokens = model.tokens(rgb)
        embeddings.append(tokens["tokens_3"][:, :8].mean(1))
        past = np.stack([embeddings[max(index - back, 0)] for back in (2, 1)], axis=1)
        si = early + 0.4 * (late - early)
        numbers = np.array([[(value - c["scaling"]["mean-std"]["mean"]) / c["scaling"]["mean-std"]["std"]
                             for value, c in zip(si, channels["state"])]])
        actions = model.run("policy", {**tokens, "state": numbers, "past": past})["actions"][0, 0]
        expected = [a * c["scaling"]["mean-std"]["std"] + c["scaling"]["mean-std"]["mean"]
                    for a, c in zip(actions, channels["actions"])]
        assert chunk.joint_names == [f"joint_{joint}" for joint in range(1, 8)]
        assert (chunk.header.stamp.sec, chunk.header.stamp.nanosec) == (10, (100 * index + 40) * 1_000_000)
        [point] = chunk.points
        assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 100_000_000)
        np.testing.assert_allclose(point.positions, expected, atol=2e-4)
        assert len(point.velocities) == 0
    assert "policy:" not in node.output()
    # After a reset the next image has no history but itself.
    assert ask(peer.node, peer.spin_until, f"{NODE}/reset_policy").success
    for millis, positions in ((300, early), (400, late)):
        peer.publishers["/joint_states"].publish(state(10, millis * 1_000_000, positions))
    peer.spin(0.2)
    peer.publishers["/image"].publish(image(10, pictures[2], nanosec=340_000_000))
    peer.spin_until(lambda: len(chunks) == 4, "a chunk after the reset")
    tokens = model.tokens(pictures[2])
    past = np.repeat(tokens["tokens_3"][:, :8].mean(1)[:, None], 2, axis=1)
    actions = model.run("policy", {**tokens, "state": numbers, "past": past})["actions"][0, 0]
    np.testing.assert_allclose(chunks[3].points[0].positions, 0.5 * actions, atol=2e-4)


def test_a_chunk_of_many_steps(start, peer, heads):
    start("perception_node", {"bundle": heads / "heads", "policy_head": "chunk"})
    peer.listen(f"{NODE}/action_chunk", JointTrajectory)
    peer.publisher("/joint_states", JointState)
    connect(peer, ["/image", "/camera_info", "/joint_states"])
    positions = np.linspace(-0.5, 0.5, 7)
    peer.publishers["/joint_states"].publish(state(5, 0, positions))
    peer.spin(0.2)
    rgb = picture(21)
    peer.publishers["/image"].publish(image(5, rgb))
    peer.spin_until(lambda: peer.received[f"{NODE}/action_chunk"], "a chunk")
    [chunk], model = peer.received[f"{NODE}/action_chunk"], Model(heads)
    actions = model.run("chunk", {**model.tokens(rgb), "state": 2 * positions[None]})["actions"][0]
    assert actions.shape == (16, 7) and len(chunk.points) == 16
    np.testing.assert_allclose([point.positions for point in chunk.points], 0.5 * actions, atol=2e-4)
    ends = [point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in chunk.points]
    np.testing.assert_allclose(ends, 0.1 * np.arange(1, 17), atol=1e-9)


def test_without_joints_there_is_no_chunk_but_everything_else(start, peer, heads):
    node = start("perception_node", {"bundle": heads / "heads", "policy_head": "policy"})
    peer.listen(f"{NODE}/action_chunk", JointTrajectory)
    peer.listen(f"{NODE}/segmentation", Image)
    peer.listen("/diagnostics", DiagnosticArray)
    peer.publisher("/joint_states", JointState)
    connect(peer, ["/image", "/camera_info", "/joint_states"])
    segments, chunks = peer.received[f"{NODE}/segmentation"], peer.received[f"{NODE}/action_chunk"]

    def shown(sec, count):
        peer.publishers["/image"].publish(image(sec, picture(sec)))
        peer.spin_until(lambda: len(segments) == count, "segments")
        peer.spin(0.3)
        assert not chunks

    shown(5, 1)
    node.wait_for("joint joint_1: no joint_states message has told of its position")
    # Old joints: known, but not around the image.
    peer.publishers["/joint_states"].publish(state(3, 0, np.zeros(7)))
    peer.spin(0.2)
    shown(6, 2)
    reasons = lambda: " ".join(status.message for message in peer.received["/diagnostics"] for status in message.status)
    around = "joint joint_1: expected joint_states around 6.000000000, known from 3.000000000 to 3.000000000"
    peer.spin_until(lambda: around in reasons(), "the reason in diagnostics")
    # A driver that leaves one out.
    broken = state(7, 0, np.zeros(7))
    broken.position = broken.position[:6]
    peer.publishers["/joint_states"].publish(broken)
    node.wait_for("expected a position for each of 7 names, got 6")
    values = lambda: {item.key: item.value for message in peer.received["/diagnostics"] for status in message.status
                      if status.name.endswith("camera") for item in status.values}
    peer.spin_until(lambda: values().get("without_actions") == "2", "diagnostics")
    assert "implied_intrinsics" in values() or values()["bad_images"] == "0"


def test_two_policies_must_be_chosen_between(start, heads):
    node = start("perception_node", {"bundle": heads / "heads", "policy_head": "arm"}, wait=None)
    node.wait_for('policy head: expected one of chunk, policy, got arm')
    node.process.wait(timeout=30)
