"""The pictures of a topic, into a folder."""

import numpy as np
import pytest
from PIL import Image as Picture
from sensor_msgs.msg import Image

from conftest import image, pixels


def test_pictures_of_a_topic_are_saved(start, peer, tmp_path):
    picture = pixels(2)
    publisher = peer.publisher("/left/image_raw", Image)
    node = start("frame_grabber", {"folder": tmp_path, "count": 3, "interval_secs": 0.1}, remaps={"image": "/left/image_raw"})
    for sec in range(200):
        publisher.publish(image(sec, picture[:, :, ::-1], encoding="bgr8"))
        peer.spin(0.2)
        if node.process.poll() is not None:
            break
    assert node.process.wait(timeout=30) == 0, node.output()
    saved = sorted(tmp_path.glob("*.png"))
    assert len(saved) == 3
    np.testing.assert_array_equal(np.asarray(Picture.open(saved[0])), picture)


@pytest.mark.parametrize(
    "parameters, reason",
    [({}, "parameter folder"), ({"folder": "/nowhere"}, "parameter folder"), ({"folder": "/tmp", "timeout_secs": 0.5}, "no image for")],
)
def test_a_grabber_that_cannot_do_its_work_says_so(start, parameters, reason):
    node = start("frame_grabber", parameters, wait=None)
    assert node.process.wait(timeout=60) == 2
    assert reason in node.output()
