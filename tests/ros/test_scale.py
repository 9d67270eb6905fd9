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
    folder.mkdir(exist_ok=True)
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

    def refer(self, reference, frame="front_optical", late_ms=0):
        """Publishes a reference that is stamped so long after the image of this second."""
        message = Image(height=reference.shape[0], width=reference.shape[1], encoding="32FC1", data=reference.astype("<f4").tobytes())
        message.step = 4 * message.width
        message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id = self.sec, 1_000_000 * late_ms, frame
        self.reference.publish(message)

    def send(self, reference=None):
        self.sec += 1
        if reference is not None:
            self.refer(reference)
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
    node = start("perception_node", {"bundle": relative(bundle, tmp_path), "scale": "anchored"})
    camera.send_until(lambda: camera.told() and camera.told()[-1]["mode"] == "anchored", "scale")
    assert not camera.told()[-1]["metric"] and "no metres are claimed" in camera.told()[-1]["reason"]
    assert len(camera.depths()) == before
    # What the network's pixels show, at the size of the camera's image.
    # The random head says nearly one depth; the truth spreads from 1.5 to 3.5 m, or nothing would tell scale and shift apart.
    low, high = np.nanmin(raw), np.nanmax(raw)
    truth = 1.5 + 2.0 * (raw - low) / (high - low)
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
    # Of another frame, or stamped far from every image: no reference, and it is said.
    for wrong, words in (({"frame": "depth_optical"}, "reference/depth: frame_id: expected the image's"),
                         ({"late_ms": 400}, "the nearest is 400 ms from an image")):
        for _ in range(20):
            camera.send()
            peer.spin(0.2)
            camera.refer(reference, **wrong)
            peer.spin(0.2)
            camera.send()
            peer.spin(0.2)
            if words in node.output():
                break
        assert words in node.output()
    assert len(camera.depths()) == before
    camera.send_until(lambda: len(camera.depths()) > before, "anchored depth", reference)
    known = np.isfinite(truth)
    error = np.abs(camera.depths()[-1][known] / truth[known] - 1)
    assert error.max() < 0.01, error.max()
    assert camera.told()[-1]["metric"]
    # A reference that comes after its image serves the next one, which comes too soon for the last scale to be too old.
    node.stop()
    before = len(camera.depths())
    start("perception_node", {"bundle": relative(bundle, tmp_path / "again"), "scale": "anchored"})

    def late():
        camera.send()
        peer.spin(0.3)
        camera.refer(reference, late_ms=30)
        peer.spin(0.2)
        camera.image.publish(image(camera.sec, pixels(), nanosec=500_000_000))
        peer.spin(0.3)
        return len(camera.depths()) > before

    peer.spin_until(late, "depth anchored to the image before")
    error = np.abs(camera.depths()[-1][known] / truth[known] - 1)
    assert error.max() < 0.01, error.max()
