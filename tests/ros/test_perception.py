"""perception_node over real ROS 2."""

import signal
import subprocess

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from conftest import BIN, CAMERA, NETWORK, camera_info, depth_array, image, pixels

DEPTH = "/perception_node/depth/image_rect"
INFO = "/perception_node/depth/camera_info"
COLOR = "/perception_node/color/image_rect"
POINTS = "/perception_node/points"


def feed(peer, message, info=None, prefix=""):
    if info is not None:
        peer.publisher(f"{prefix}/camera_info", CameraInfo).publish(info)
        peer.spin(0.1)
    peer.publisher(f"{prefix}/image", Image).publish(message)


def connect(peer, prefix=""):
    peer.publisher(f"{prefix}/image", Image)
    peer.publisher(f"{prefix}/camera_info", CameraInfo)
    peer.connected([f"{prefix}/image", f"{prefix}/camera_info"])


def test_depth_has_the_exact_stamp_frame_size_and_camera(start, peer, bundle):
    start("perception_node", {"bundle": bundle})
    for topic, kind in [(DEPTH, Image), (INFO, CameraInfo), (COLOR, Image), (POINTS, PointCloud2)]:
        peer.listen(topic, kind)
    connect(peer)
    feed(peer, image(1234, pixels(), nanosec=987654321), camera_info())
    peer.spin_until(lambda: all(peer.received.values()), "results")
    for topic, messages in peer.received.items():
        header = messages[0].header
        assert (header.stamp.sec, header.stamp.nanosec) == (1234, 987654321), topic
        assert header.frame_id == "front_optical", topic
        assert (messages[0].width, messages[0].height) == NETWORK, topic

    depth = depth_array(peer.received[DEPTH][0])
    known = depth[np.isfinite(depth)]
    assert known.size and (known > 0).all() and np.isnan(depth[~np.isfinite(depth)]).all()

    # 80x60 to 64x48: scale 0.8, no crop; c' = (c + 0.5) s - 0.5.
    source, info = camera_info(), peer.received[INFO][0]
    scale = NETWORK[0] / CAMERA[0]
    expected = [70.0 * scale, (source.k[2] + 0.5) * scale - 0.5, (source.k[5] + 0.5) * scale - 0.5]
    assert np.allclose([info.k[0], info.k[2], info.k[5]], expected, atol=1e-9)
    assert np.allclose([info.p[0], info.p[2], info.p[6]], expected, atol=1e-9)
    assert np.allclose(info.d, 0) and np.allclose(info.r, np.eye(3).ravel())

    # Points reproject onto their pixels with the published P, and their z is the depth.
    cloud = peer.received[POINTS][0]
    assert not cloud.is_dense and cloud.point_step == 16 and cloud.row_step == 16 * cloud.width
    data = np.frombuffer(bytes(cloud.data), "<f4").reshape(cloud.height, cloud.width, 4)
    x, y, z = data[..., 0], data[..., 1], data[..., 2]
    assert np.array_equal(np.nan_to_num(z, nan=-1), np.nan_to_num(depth, nan=-1))
    rows, columns = np.nonzero(np.isfinite(z))
    u = info.p[0] * x[rows, columns] / z[rows, columns] + info.p[2]
    v = info.p[5] * y[rows, columns] / z[rows, columns] + info.p[6]
    assert np.abs(u - columns).max() < 1e-3 and np.abs(v - rows).max() < 1e-3

    # rgb of a point is the colour of its pixel, packed as PCL does.
    color = np.frombuffer(bytes(peer.received[COLOR][0].data), np.uint8).reshape(cloud.height, cloud.width, 3)
    packed = np.ascontiguousarray(data[..., 3]).view(np.uint8).reshape(cloud.height, cloud.width, 4)
    assert np.array_equal(packed[..., 2::-1], color)


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "padded"])
def test_every_encoding_gives_the_depth_of_its_rgb(start, peer, bundle, encoding):
    start("perception_node", {"bundle": bundle})
    peer.listen(DEPTH, Image)
    connect(peer)
    rgb = pixels(5)
    if encoding == "mono8":
        grey = rgb[..., 0]
        rgb, other = np.repeat(grey[..., None], 3, axis=2), image(2, grey, "mono8")
    elif encoding == "bgr8":
        other = image(2, rgb[..., ::-1], "bgr8")
    else:
        other = image(2, rgb, "rgb8", step=256)
    feed(peer, image(1, rgb), camera_info())
    peer.spin_until(lambda: len(peer.received[DEPTH]) == 1, "first depth")
    feed(peer, other)
    peer.spin_until(lambda: len(peer.received[DEPTH]) == 2, "second depth")
    first, second = map(depth_array, peer.received[DEPTH])
    assert np.array_equal(first, second, equal_nan=True)


def test_bad_frames_cost_themselves_only(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    peer.listen(DEPTH, Image)
    connect(peer)
    feed(peer, image(1, pixels()), camera_info())
    peer.spin_until(lambda: len(peer.received[DEPTH]) == 1, "depth")
    short, unknown, zero, narrow = (image(2, pixels()) for _ in range(4))
    short.data = short.data[:100]
    unknown.encoding = "yuv_of_mars"
    zero.width = 0
    narrow.step = 10
    for sec, bad in enumerate([short, unknown, zero, narrow], start=10):
        bad.header.stamp.sec = sec
        feed(peer, bad)
        peer.spin(0.2)
    feed(peer, image(20, pixels()))
    peer.spin_until(lambda: len(peer.received[DEPTH]) == 2, "depth after bad frames")
    assert [m.header.stamp.sec for m in peer.received[DEPTH]] == [1, 20]
    assert "image stamped 10.000000000 of /image: data: expected at least" in node.output()


def test_a_camera_info_of_zeros_is_refused(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    peer.listen(DEPTH, Image)
    connect(peer)
    zero = camera_info()
    zero.k, zero.p = [0.0] * 9, [0.0] * 12
    feed(peer, image(1, pixels()), zero)
    node.wait_for("camera_info")
    feed(peer, image(2, pixels()), camera_info())
    peer.spin_until(lambda: peer.received[DEPTH], "depth")
    assert [m.header.stamp.sec for m in peer.received[DEPTH]] == [2]


def test_two_cameras_keep_apart(start, peer, bundle):
    start("perception_node", {"bundle": bundle, "cameras": "[left, right]"})
    for side in ("left", "right"):
        peer.listen(f"/perception_node/{side}/depth/image_rect", Image)
        peer.listen(f"/perception_node/{side}/depth/camera_info", CameraInfo)
        connect(peer, f"/{side}")
    for sec in range(1, 6):
        for side, focal in (("left", 70.0), ("right", 90.0)):
            info = camera_info(sec, focal=focal, frame=f"{side}_optical")
            feed(peer, image(sec, pixels(focal > 80), frame=f"{side}_optical"), info, f"/{side}")
            peer.spin(0.1)
    both = [f"/perception_node/{side}/depth/camera_info" for side in ("left", "right")]
    peer.spin_until(lambda: all(len(peer.received[topic]) >= 3 for topic in both), "camera infos")
    depths = {}
    for side, focal in (("left", 70.0), ("right", 90.0)):
        for info in peer.received[f"/perception_node/{side}/depth/camera_info"]:
            assert info.header.frame_id == f"{side}_optical"
            assert abs(info.k[0] - focal * 0.8) < 1e-9
        messages = peer.received[f"/perception_node/{side}/depth/image_rect"]
        assert all(message.header.frame_id == f"{side}_optical" for message in messages)
        depths[side] = depth_array(messages[0])
    assert not np.array_equal(depths["left"], depths["right"], equal_nan=True)


def test_two_cameras_of_one_frame_id_are_not_mixed(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle, "cameras": "[left, right]"})
    for side in ("left", "right"):
        peer.listen(f"/perception_node/{side}/depth/camera_info", CameraInfo)
        connect(peer, f"/{side}")
    # One after the other, so that it is known whose frame_id it is.
    for sec, (side, focal) in enumerate((("left", 70.0), ("right", 90.0)), start=1):
        for again in range(3):
            feed(peer, image(10 * sec + again, pixels(), frame="camera"), camera_info(sec, focal=focal, frame="camera"), f"/{side}")
            peer.spin(0.3)
        if side == "left":
            peer.spin_until(lambda: peer.received["/perception_node/left/depth/camera_info"], "the first camera's results")
    node.wait_for('frame_id "camera" is that of camera "left" too')
    assert not peer.received["/perception_node/right/depth/camera_info"]


def test_nothing_is_computed_without_subscribers(start, peer, bundle):
    node = start("examples/slow_engine", {"bundle": bundle})
    connect(peer)
    before = node.output().count("backbone ran")
    for sec in range(5):
        feed(peer, image(sec, pixels()), camera_info())
        peer.spin(0.1)
    assert node.output().count("backbone ran") == before, node.output()
    peer.listen("/slow_engine/depth/image_rect", Image)
    peer.connected(["/image"])
    feed(peer, image(50, pixels()))
    peer.spin_until(lambda: peer.received["/slow_engine/depth/image_rect"], "depth")
    peer.spin(0.1)
    assert node.output().count("backbone ran") == before + 1, node.output()


def test_the_first_image_waits_for_no_network_to_load(start, peer, bundle):
    node = start("examples/slow_engine", {"bundle": bundle})
    peer.listen("/slow_engine/depth/image_rect", Image)
    connect(peer)
    peer.spin(0.1)  # until what was done before `ready` is printed
    # Once to be held against golden, and once to serve.
    assert node.output().count("backbone loaded") == 2, node.output()
    feed(peer, image(1, pixels()), camera_info())
    peer.spin_until(lambda: peer.received["/slow_engine/depth/image_rect"], "depth")
    peer.spin(0.1)
    assert node.output().count("backbone loaded") == 2, node.output()


def test_a_slow_engine_drops_frames_and_never_serves_a_stale_one(start, peer, bundle):
    start("examples/slow_engine", {"bundle": bundle})
    topic = "/slow_engine/depth/image_rect"
    peer.listen(topic, Image)
    connect(peer)
    feed(peer, image(0, pixels()), camera_info())
    peer.spin_until(lambda: peer.received[topic], "first depth")
    # The engine sleeps 200 ms a frame; frames come every 20 ms.
    newest, ages = 0, []
    seen = len(peer.received[topic])
    for sec in range(1, 121):
        newest = sec
        feed(peer, image(sec, pixels()))
        peer.spin(0.02)
        for message in peer.received[topic][seen:]:
            ages.append(newest - message.header.stamp.sec)
        seen = len(peer.received[topic])
    peer.spin_until(lambda: peer.received[topic][-1].header.stamp.sec == 120, "the newest frame")
    stamps = [message.header.stamp.sec for message in peer.received[topic]]
    assert stamps == sorted(set(stamps)), "in order, none twice"
    assert len(stamps) < 60, f"frames are dropped, not queued: {stamps}"
    # One frame is computed while at most ten come; twice that is a queue.
    assert np.median(ages) <= 20, ages


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_cleanly(start, bundle, sent):
    node = start("perception_node", {"bundle": bundle})
    assert node.stop(sent) == 0
    assert "stopped" in node.output()


@pytest.mark.parametrize(
    "parameters, reason",
    [
        ({}, "parameter bundle: expected the folder of a model bundle"),
        ({"bundle": "/nowhere"}, "/nowhere/model.toml"),
        ({"bundle": "BUNDLE", "bundel": "x"}, "parameter bundel: not known"),
        ({"bundle": "BUNDLE", "threads": "-1"}, "parameter threads: expected an integer of 0 to"),
        ({"bundle": "BUNDLE", "engine": "cuda"}, "parameter engine: expected one of onnx"),
        ({"bundle": "BUNDLE", "network_size": "640x480"}, "network size 640x480"),
        ({"bundle": "BUNDLE", "onnxruntime": "/nowhere.so"}, "/nowhere.so"),
    ],
)
def test_wrong_parameters_are_refused_with_a_reason(bundle, parameters, reason):
    command = [str(BIN / "perception_node"), "--ros-args"]
    for key, value in parameters.items():
        command += ["-p", f"{key}:={str(value).replace('BUNDLE', str(bundle))}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2 and reason in ended.stderr + ended.stdout, ended
