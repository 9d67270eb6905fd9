"""Every kind of image over real ROS: the same depth as from the rgb8 image of the same pixels, which others decoded.

Raw encodings: tests/golden/encodings.safetensors, where OpenCV made the RGB. JPEG and PNG: Pillow reads them.
"""

import io
import json

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from PIL import Image as Picture
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from conftest import CAMERA, NETWORK, ROOT, camera_info, depth_array, image, pixels
from habits import get_parameter, wait_for_status


JPEG_TOLERANCE = 0.002  # of the largest depth


def golden():
    """(encoding, size, step, bytes, rgb) of every case."""
    raw = (ROOT / "tests/golden/encodings.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)

    def array(key):
        begin, end = header[key]["data_offsets"]
        return np.frombuffer(raw[8 + length + begin : 8 + length + end], np.uint8).reshape(header[key]["shape"])

    for key in sorted(header):
        if key.endswith("/data"):
            encoding, size, step, _ = key.split("/")
            width, height = map(int, size.split("x"))
            yield encoding, (width, height), int(step), array(key), array(key[:-4] + "rgb")


def as_message(encoding, size, step, data):
    message = Image(width=size[0], height=size[1], encoding=encoding, step=step, data=data.tobytes())
    return message


class Seen:
    """Sends images to a node and waits for their depth; every image has its own stamp."""

    def __init__(self, peer, node="perception_node", topic="/image", kind=Image):
        self.peer, self.topic, self.kind, self.sec = peer, topic, kind, 0
        self.depths = f"/{node}/depth/image_rect"
        peer.listen(self.depths, Image)
        peer.publisher(topic, kind)
        peer.publisher("/camera_info", CameraInfo)

    def depth(self, message, info):
        """The depth; the image is sent again when it overtook its camera info or was lost."""
        self.sec += 1
        message.header.stamp.sec, message.header.frame_id = self.sec, info.header.frame_id
        publishers = self.peer.publishers
        found = lambda: [m for m in self.peer.received[self.depths] if m.header.stamp.sec == message.header.stamp.sec]

        def came():
            publishers["/camera_info"].publish(info)
            self.peer.spin(0.05)
            publishers[self.topic].publish(message)
            self.peer.spin(0.3)
            return found()

        self.peer.spin_until(came, f"the depth of {message.header.frame_id}")
        return depth_array(found()[0])


def test_every_raw_encoding_gives_the_depth_of_its_rgb(start, peer, bundle):
    start("perception_node", {"bundle": bundle})
    seen = Seen(peer)
    peer.connected(["/image", "/camera_info"])
    tried = set()
    for encoding, size, step, data, rgb in golden():
        frame = f"{encoding}_{size[0]}_{size[1]}"
        info = camera_info(size=size, focal=40.0, frame=frame)
        ours = seen.depth(as_message(encoding, size, step, data), info)
        theirs = seen.depth(as_message("rgb8", size, 3 * size[0], rgb), info)
        assert np.array_equal(ours, theirs, equal_nan=True), frame
        assert np.isfinite(ours).any(), frame
        tried.add(encoding)
    assert {"bgr8", "rgba8", "bgra8", "mono8", "mono16", "yuv422", "yuv422_yuy2", "nv12", "nv21", "bayer_rggb8"} <= tried


def files():
    """Pictures of odd sizes as files, by the names of their form."""
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    smooth = Picture.fromarray(small).resize((81, 57), Picture.BICUBIC)
    forms = {
        "jpeg 4:4:4": (smooth, dict(format="JPEG", quality=95, subsampling=0)),
        "jpeg 4:2:0 progressive": (smooth, dict(format="JPEG", quality=90, subsampling=2, progressive=True)),
        "jpeg grey": (smooth.convert("L"), dict(format="JPEG", quality=95)),
        "png": (smooth, dict(format="PNG")),
        "png grey": (smooth.convert("L"), dict(format="PNG")),
        "png with opacity": (smooth.convert("RGBA"), dict(format="PNG")),
        "png palette": (smooth.convert("P"), dict(format="PNG")),
    }
    for name, (picture, options) in forms.items():
        file = io.BytesIO()
        picture.save(file, **options)
        yield name, file.getvalue()


def test_compressed_images_give_the_depth_of_their_pixels(start, peer, bundle):
    start("perception_node", {"bundle": bundle, "image_transport": "compressed"}, name="compressed", remaps={"image": "/cam"})
    start("perception_node", {"bundle": bundle}, name="raw")
    # Below the topic that `image` is remapped to, as image_transport has it.
    packed = Seen(peer, "compressed", "/cam/compressed", CompressedImage)
    plain = Seen(peer, "raw")
    peer.connected(["/cam/compressed", "/image"])
    info = camera_info(size=(81, 57))
    for name, file in files():
        ours = packed.depth(CompressedImage(format=name.split()[0], data=file), info)
        rgb = np.asarray(Picture.open(io.BytesIO(file)).convert("RGB"))
        theirs = plain.depth(as_message("rgb8", (81, 57), 3 * 81, rgb), info)
        away = lambda depth: np.nanmax(np.abs(depth - theirs)) / np.nanmax(theirs)
        if name.startswith("png"):
            assert np.array_equal(ours, theirs, equal_nan=True), (name, away(ours))
            continue
        # Pillow and the node read JPEG with different inverse transforms, some levels apart. What a wrong reading would give is
        # far beyond that.
        half, mirrored, swapped = rgb.copy(), rgb[:, ::-1], rgb[..., ::-1]
        half[len(half) // 2 :] = 128
        wrong = {"half grey": half, "mirrored": mirrored, "black": np.zeros_like(rgb)}
        if "grey" not in name:
            wrong["swapped"] = swapped
        for what, picture in wrong.items():
            other = plain.depth(as_message("rgb8", (81, 57), 3 * 81, np.ascontiguousarray(picture)), info)
            assert away(other) > 5 * JPEG_TOLERANCE, (name, what, away(other))
        assert away(ours) <= JPEG_TOLERANCE, (name, away(ours))


def test_bad_compressed_images_cost_that_image(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle, "image_transport": "compressed"})
    seen = Seen(peer, "perception_node", "/image/compressed", CompressedImage)
    peer.listen("/diagnostics", DiagnosticArray)
    peer.connected(["/image/compressed", "/camera_info"])
    whole = dict(files())
    info = camera_info(size=(81, 57))
    seen.depth(CompressedImage(format="jpeg", data=whole["jpeg 4:4:4"]), info)
    bad = {
        "JPEG of": CompressedImage(format="jpeg", data=whole["jpeg 4:4:4"][:-300]),
        "PNG of": CompressedImage(format="png", data=whole["png"][:-60]),
        "expected JPEG or PNG": CompressedImage(format="jpeg", data=b"GIF89a"),
        "compressed depth": CompressedImage(format="32FC1; compressedDepth", data=whole["png"]),
    }
    for sec, (reason, message) in enumerate(bad.items(), start=100):
        message.header.stamp.sec, message.header.frame_id = sec, "front_optical"
        peer.publishers["/image/compressed"].publish(message)
        node.wait_for(reason)
    assert "image stamped 100.000000000 of /image/compressed" in node.output()
    wait_for_status(peer, "perception_node: camera", lambda level, message, values: values["bad_images"] == "4")
    seen.sec = 200
    seen.depth(CompressedImage(format="jpeg", data=whole["jpeg grey"]), info)


def bad_images():
    good = lambda: image(1, pixels())
    short, unknown, zero, narrow, big = (good() for _ in range(5))
    short.data = short.data[:100]
    unknown.encoding = "yuv_of_mars"
    zero.width = 0
    narrow.step = 10
    big.encoding, big.step, big.is_bigendian = "mono16", 160, 1
    odd = image(1, pixels(size=(79, 60))[..., :2], "yuv422")
    generic = image(1, pixels(), "8UC3")
    huge = good()
    huge.width, huge.height, huge.step = 2**31, 2**31, 2**32 - 1
    return {"data: expected at least": short, 'got "yuv_of_mars"': unknown, "size: expected sides": zero, "step: expected": narrow,
            "is_bigendian": big, "even width": odd, "encoding: expected one of": generic, "size: expected sides of": huge}


def test_each_bad_image_costs_one_error_and_nothing_else(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    seen = Seen(peer)
    peer.listen("/diagnostics", DiagnosticArray)
    peer.connected(["/image", "/camera_info"])
    seen.depth(image(1, pixels()), camera_info())
    sent = 0
    for number, (reason, message) in enumerate(bad_images().items()):
        message.header.stamp.sec, message.header.frame_id = 100 + number, "front_optical"
        lines = node.output().count("[ERROR]")
        peer.publishers["/image"].publish(message)
        sent += 1
        # Diagnostics name the last reason; the log names each kind once in five seconds.
        wait_for_status(peer, "perception_node: camera",
                        lambda level, text, values: values["bad_images"] == str(sent) and reason in text)
        assert node.output().count("[ERROR]") - lines <= 1, "one line at most"
    assert "of /image: " in node.output()
    for wrong in (float("nan"), float("inf"), -1.0, 0.0):
        info = camera_info()
        info.k[0] = wrong
        peer.publishers["/camera_info"].publish(info)
        peer.spin(0.2)
        peer.publishers["/image"].publish(image(200, pixels()))
        peer.spin(0.3)
    node.wait_for("camera_info: K: fx")
    assert len(peer.received[seen.depths]) == 1 or {m.header.stamp.sec for m in peer.received[seen.depths]} == {1}
    seen.sec = 300
    seen.depth(image(1, pixels()), camera_info())


# plumb_bob: k1 k2 p1 p2 k3
DISTORTION = [-0.25, 0.08, 0.002, -0.001, 0.0]


def distorted_info(**more):
    info = camera_info(**more)
    info.d = DISTORTION
    info.p[0] = info.p[5] = 62.0
    return info


def rectified(raw, info):
    """The rectified image, by the definition of plumb_bob and bilinear interpolation; black where nothing was seen."""
    height, width = raw.shape[:2]
    k, p, (k1, k2, p1, p2, k3) = info.k, info.p, info.d
    v, u = np.mgrid[0:height, 0:width].astype(float)
    x, y = (u - p[2]) / p[0], (v - p[6]) / p[5]
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    column, row = k[0] * xd + k[2], k[4] * yd + k[5]
    inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
    left, upper = np.clip(np.floor(column), 0, width - 2).astype(int), np.clip(np.floor(row), 0, height - 2).astype(int)
    a, b = (column - left)[..., None], (row - upper)[..., None]
    part = lambda dv, du: raw[upper + dv, left + du].astype(float)
    mixed = (1 - a) * (1 - b) * part(0, 0) + a * (1 - b) * part(0, 1) + (1 - a) * b * part(1, 0) + a * b * part(1, 1)
    return np.where(inside[..., None], np.rint(mixed), 0).astype(np.uint8), inside


def test_distortion_is_taken_out(start, peer, bundle):
    start("perception_node", {"bundle": bundle}, name="rectifying")
    start("perception_node", {"bundle": bundle, "rectify": "false"}, name="taking", remaps={"image": "/rectified"})
    raw = Seen(peer, "rectifying")
    flat = Seen(peer, "taking", "/rectified")
    peer.listen("/rectifying/depth/camera_info", CameraInfo)
    peer.connected(["/image", "/rectified", "/camera_info"])
    info = distorted_info()
    small = np.random.default_rng(9).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    picture = np.asarray(Picture.fromarray(small).resize(CAMERA, Picture.BICUBIC))
    expected, inside = rectified(picture, info)
    ours, theirs = raw.depth(image(1, picture), info), flat.depth(image(1, expected), info)
    known = np.isfinite(ours) & np.isfinite(theirs)
    assert known.mean() > 0.5
    # The node's weights are 256ths: a level or so of 255.
    apart = np.abs(ours - theirs)[known].max()
    undone = raw.depth(image(1, picture), camera_info(frame="as_if_flat"))
    assert apart / theirs[known].max() < 0.01
    assert np.nanmax(np.abs(undone - ours)) > 4 * apart, "distortion matters here"
    peer.spin_until(lambda: peer.received["/rectifying/depth/camera_info"], "camera info")
    scale = NETWORK[0] / CAMERA[0]
    came = peer.received["/rectifying/depth/camera_info"][0]
    assert np.allclose([came.k[0], came.p[5]], 62.0 * scale) and not np.any(came.d)
    # What the camera did not see is unknown, not black at some depth.
    if not inside.all():
        assert np.isnan(ours).any()


def test_distortion_that_is_not_known_is_refused(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    seen = Seen(peer)
    peer.connected(["/image", "/camera_info"])
    info = distorted_info()
    info.distortion_model = "omni"
    peer.publishers["/camera_info"].publish(info)
    peer.spin(0.2)
    peer.publishers["/image"].publish(image(1, pixels()))
    node.wait_for('got "omni"')
    assert peer.received[seen.depths] == []


def test_depth_of_the_images_size(start, peer, bundle):
    start("perception_node", {"bundle": bundle, "output_size": "image"})
    seen = Seen(peer)
    peer.listen("/perception_node/depth/camera_info", CameraInfo)
    peer.listen("/perception_node/color/image_rect", Image)
    peer.connected(["/image", "/camera_info"])
    rgb, info = pixels(), camera_info()
    depth = seen.depth(image(1, rgb), info)
    assert depth.shape == (CAMERA[1], CAMERA[0]) and np.isfinite(depth).mean() > 0.5
    peer.spin_until(lambda: all(peer.received.values()), "info and colour")
    came, color = peer.received["/perception_node/depth/camera_info"][0], peer.received["/perception_node/color/image_rect"][0]
    assert np.allclose(came.k, info.k) and np.allclose(came.p, info.p)
    assert np.array_equal(np.frombuffer(bytes(color.data), np.uint8).reshape(rgb.shape), rgb)


@pytest.mark.parametrize("policy", ["nan", "inf", "clamp"])
def test_policies_are_taken_as_plain_words(start, peer, bundle, policy):
    """rcl reads a plain nan or inf as a number; users write them all the same."""
    start("perception_node", {"bundle": bundle, "far_policy": policy})
    assert get_parameter(peer, "/perception_node", "far_policy").string_value == policy
