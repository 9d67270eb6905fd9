"""Where the depth's metres come from, over real ROS 2."""

import json
import subprocess

import numpy as np
import tomllib
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from conftest import CAMERA, NETWORK, camera_info, depth_array, image, pixels


def relative(bundle, folder):
    """The same model with a head whose numbers have no scale."""
    copy = folder / "relative"
    subprocess.run(["cp", "-r", bundle, copy], check=True)
    manifest = copy / "model.toml"
    text = manifest.read_text()
    assert "max_depth_meters = 10.0\n" in text
    manifest.write_text(text.replace("max_depth_meters = 10.0\n", 'max_depth_meters = 10.0\nscale = "relative"\n', 1))
    return copy


class Camera:
    """A camera whose frames are one picture, with a reference beside it."""

    def __init__(self, peer):
        self.peer = peer
        self.sec = 100
        peer.listen("/perception_node/depth/image_rect", Image)
        peer.listen("/perception_node/depth/scale", String)
        self.info = peer.publisher("/camera_info", CameraInfo)
        self.image = peer.publisher("/image", Image)
        self.reference = peer.publisher("/reference/depth", Image)

    def send(self, reference=None):
        self.sec += 1
        if reference is not None:
            message = Image(height=reference.shape[0], width=reference.shape[1], encoding="32FC1", data=reference.astype("<f4").tobytes())
            message.step = 4 * message.width
            message.header.stamp.sec = self.sec
            self.reference.publish(message)
            self.peer.spin(0.2)
        self.info.publish(camera_info(self.sec))
        self.image.publish(image(self.sec, pixels()))

    def depths(self):
        return [depth_array(message) for message in self.peer.received["/perception_node/depth/image_rect"]]

    def told(self):
        return [json.loads(message.data) for message in self.peer.received["/perception_node/depth/scale"]]

    def send_until(self, condition, what, reference=None):
        for _ in range(60):
            self.send(reference)
            self.peer.spin(0.5)
            if condition():
                return
        raise AssertionError(f"no {what}")


def test_a_metric_head_says_so_and_what_was_measured_for_the_camera_counts(start, peer, bundle, tmp_path):
    camera = Camera(peer)
    node = start("perception_node", {"bundle": bundle})
    camera.send_until(camera.depths, "depth")
    peer.spin_until(camera.told, "scale")
    assert camera.told()[-1] == {
        "schema": "pixio/scale/1", "mode": "metric", "metric": True, "scale": 1.0, "shift_meters": 0.0, "residual": None, "reason": None,
    }
    plain = camera.depths()[-1]
    node.stop()
    measured = tmp_path / "measured"
    subprocess.run(["cp", "-r", bundle, measured], check=True)
    with open(measured / "model.toml", "a") as manifest:
        manifest.write('\n[cameras.camera.depth.depth]\nscale = 2.0\nshift_meters = 0.25\nresidual = 0.01\nsamples = 9\nreference = "test"\n')
    tomllib.loads((measured / "model.toml").read_text())
    before = len(camera.depths())
    start("perception_node", {"bundle": measured})
    camera.send_until(lambda: len(camera.depths()) > before, "depth")
    np.testing.assert_allclose(camera.depths()[-1], 2.0 * plain + 0.25, rtol=1e-5)
    peer.spin_until(lambda: camera.told()[-1]["scale"] == 2.0, "scale")


def test_relative_depth_is_never_published_as_metres(start, peer, bundle, tmp_path):
    camera = Camera(peer)
    start("perception_node", {"bundle": relative(bundle, tmp_path)})
    camera.send_until(camera.told, "scale")
    camera.send()
    peer.spin(1.0)
    told = camera.told()[-1]
    assert told["mode"] == "relative" and not told["metric"] and "relative" in told["reason"]
    assert camera.depths() == []


def test_an_anchor_gives_metres_from_a_reference_and_none_without(start, peer, bundle, tmp_path):
    camera = Camera(peer)
    node = start("perception_node", {"bundle": bundle})
    camera.send_until(camera.depths, "depth")
    raw = camera.depths()[-1]
    node.stop()
    before = len(camera.depths())
    start("perception_node", {"bundle": relative(bundle, tmp_path), "scale": "anchored"})
    camera.send_until(lambda: camera.told() and camera.told()[-1]["mode"] == "anchored", "scale")
    assert not camera.told()[-1]["metric"] and "no metres are claimed" in camera.told()[-1]["reason"]
    assert len(camera.depths()) == before
    # What the network's pixels show, at the size of the camera's image.
    truth = 3.0 * raw + 0.5
    (width, height), (columns, rows) = CAMERA, NETWORK
    scale = max(columns / width, rows / height)
    nearest = lambda count, kept: np.round((np.arange(count) + 0.5) * scale - 0.5 - (round(count * scale) - kept) // 2).astype(int)
    at_row, at_column = nearest(height, rows), nearest(width, columns)
    reference = np.zeros((height, width))
    inside = np.ix_((at_row >= 0) & (at_row < rows), (at_column >= 0) & (at_column < columns))
    reference[inside] = truth[np.ix_(at_row[(at_row >= 0) & (at_row < rows)], at_column[(at_column >= 0) & (at_column < columns)])]
    reference = np.nan_to_num(reference)
    reference[::7] = 0.0
    reference[:, ::3] *= 1.8
    camera.send_until(lambda: len(camera.depths()) > before, "anchored depth", reference)
    known = np.isfinite(truth)
    error = np.abs(camera.depths()[-1][known] / truth[known] - 1)
    assert error.max() < 0.01, error.max()
    assert camera.told()[-1]["metric"]
