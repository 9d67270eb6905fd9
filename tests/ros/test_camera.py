"""camera_node over real ROS 2."""

import numpy as np
import pytest
from PIL import Image as Picture
from sensor_msgs.msg import CameraInfo, Image

from conftest import ROOT

YAML = ROOT / "calibration/cameras/photos_60deg_432x288.yaml"
PHOTOS = ROOT / "tests/photos"


def listen(peer):
    peer.listen("/image", Image)
    peer.listen("/camera_info", CameraInfo)


def test_photographs_come_with_their_calibration(start, peer):
    listen(peer)
    files = f"['{PHOTOS}/coffee.jpg', '{PHOTOS}/rocket.jpg']"
    parameters = {"images": files, "camera_info_file": YAML, "rate_hz": 20.0, "frame_id": "cam_optical"}
    start("camera_node", parameters, wait="2 picture(s)")
    peer.spin_until(lambda: len(peer.received["/image"]) >= 4, "images")
    infos = {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in peer.received["/camera_info"]}
    for message in peer.received["/image"]:
        assert (message.width, message.height, message.encoding, message.step) == (432, 288, "rgb8", 3 * 432)
        assert message.header.frame_id == "cam_optical"
    paired = [infos[key] for m in peer.received["/image"] if (key := (m.header.stamp.sec, m.header.stamp.nanosec)) in infos]
    assert len(paired) >= 3 and all(abs(info.k[0] - 374.122974434878) < 1e-9 for info in paired)
    # JPEG decoders differ by a level or so.
    seen = [np.frombuffer(bytes(m.data), np.uint8).reshape(288, 432, 3).astype(int) for m in peer.received["/image"]]
    coffee = np.asarray(Picture.open(PHOTOS / "coffee.jpg").convert("RGB")).astype(int)
    assert min(np.abs(picture - coffee).max() for picture in seen) <= 4


def test_without_looping_it_ends_by_itself(start, peer):
    listen(peer)
    parameters = {"images": f"['{PHOTOS}/coffee.jpg']", "camera_info_file": YAML, "loop": "false"}
    node = start("camera_node", parameters, wait=None)
    assert node.process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    "parameters, reason",
    [
        ({"camera_info_file": YAML}, "parameter images"),
        ({"images": f"['{PHOTOS}/coffee.jpg']"}, "parameter camera_info_file"),
        ({"images": f"['{PHOTOS}/coffee_small.png']", "camera_info_file": YAML}, "expected the calibration's size 432x288"),
        ({"images": "['/nowhere.jpg']", "camera_info_file": YAML}, "/nowhere.jpg"),
        ({"images": f"['{PHOTOS}/README.md']", "camera_info_file": YAML}, "README.md"),
    ],
)
def test_wrong_parameters_are_refused_with_a_reason(start, parameters, reason):
    node = start("camera_node", parameters, wait=None)
    assert node.process.wait(timeout=30) == 2
    assert reason in node.output()
