"""The contract of `contract.py` on perception_node's live output, and that each of its rules can fail."""

import copy
import tomllib

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

import contract
from conftest import camera_info, image, pixels

KINDS = {"depth": ("depth/image_rect", Image), "depth_info": ("depth/camera_info", CameraInfo),
         "color": ("color/image_rect", Image), "points": ("points", PointCloud2)}
# Wider than the network's input, so that it is scaled and cropped.
WIDE = (100, 60)

# What a user may ask for: parameters of the node, and the camera that it looks through.
CONFIGURATIONS = {
    "as it comes": ({}, {}),
    "a camera of another shape": ({}, {"size": WIDE}),
    "a network size": ({"network_size": "64x48"}, {"size": (90, 90), "focal": 55.0}),
    "millimetres": ({"depth_encoding": "16UC1"}, {}),
    "at the image's size": ({"output_size": "image"}, {"size": WIDE}),
}


def capture(start, peer, bundle, parameters, camera, executable="perception_node", name=None):
    """Three images through a node; what came of them."""
    name = name or executable.rpartition("/")[2]
    start(executable, {"bundle": bundle, **parameters}, name=name)
    node = f"/{name}"
    peer.received.clear()
    for topic, kind in KINDS.values():
        peer.listen(f"{node}/{topic}", kind)
    peer.publisher("/image", Image)
    peer.publisher("/camera_info", CameraInfo)
    peer.connected(["/image", "/camera_info"])
    camera = {"size": (80, 60), **camera}
    sent = [image(10 + index, pixels(index, camera["size"]), nanosec=123456789 * index) for index in range(3)]
    for index, message in enumerate(sent):
        peer.publisher("/camera_info", CameraInfo).publish(camera_info(10 + index, **camera))
        peer.spin(0.1)
        peer.publisher("/image", Image).publish(message)
        peer.spin_until(lambda: all(len(came) > index for came in peer.received.values()), f"results of image {index}")
    manifest = tomllib.loads((bundle / "model.toml").read_text())
    [head] = manifest["heads"].values()
    return contract.Capture(
        images=sent,
        **{kind: peer.received[f"{node}/{topic}"] for kind, (topic, _) in KINDS.items()},
        offers=[(topic, offer.qos_profile.reliability.value, offer.qos_profile.durability.value)
                for topic in peer.received for offer in peer.node.get_publishers_info_by_topic(topic)],
        range_meters=(head["min_depth_meters"], head["max_depth_meters"]),
        far_policy=parameters.get("far_policy", "nan"),
    )


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_live_output_keeps_the_contract(start, peer, bundle, name):
    parameters, camera = CONFIGURATIONS[name]
    came = capture(start, peer, bundle, parameters, camera)
    found = contract.violations(came)
    assert not any(found.values()), {rule: wrong for rule, wrong in found.items() if wrong}
    skipped = set(contract.RULES) - set(found)
    encoding = came.depth[0].encoding
    assert skipped == {rule for rule, check in contract.RULES.items() if check.encoding not in (None, encoding)}


FAR = {"nan": np.isnan, "inf": np.isposinf}


def test_what_is_too_far_is_as_asked(start, peer, bundle, monkeypatch):
    """An engine whose numbers are moved until their median is the end of the head's range: the farther half is NaN, +Inf, or at it."""
    whole = capture(start, peer, bundle, {}, {}, "examples/slow_engine")
    depths = np.stack([contract.depth_meters(message) for message in whole.depth])
    assert np.isfinite(depths).all()
    limit = whole.range_meters[1]
    moved = depths + (limit - np.median(depths))
    # The engine adds it to the features, of whose mean the head takes a tenth, and to the depth.
    monkeypatch.setenv("PIXIO_TEST_DRIFT", str((limit - np.median(depths)) / 1.1))
    # Float32 may put what lies on the limit on either side.
    far, near = moved > 1.00001 * limit, moved < 0.99999 * limit
    assert 0.3 < far.mean() < 0.7 and 0.3 < near.mean() < 0.7
    for policy in ("nan", "inf", "clamp"):
        asked = {"far_policy": policy, "parity": "warn"}
        came = capture(start, peer, bundle, asked, {}, "examples/slow_engine", name=f"far_{policy}")
        assert not any(contract.violations(came).values()), policy
        found = np.stack([contract.depth_meters(message) for message in came.depth])
        np.testing.assert_allclose(found[near], moved[near], rtol=1e-5)
        if policy == "clamp":
            assert (found[far] == limit).all()
        else:
            assert FAR[policy](found[far]).all()


# Damage to a sound capture, each with the rule that must see it.


def later(message):
    message.header.stamp.nanosec += 1


def set_depth(message, change):
    values = contract.depth_meters(message).copy()
    change(values)
    message.data = values.astype("<f4").tobytes()


def set_cloud(message, name, change):
    offset = next(entry.offset for entry in message.fields if entry.name == name)
    raw = np.frombuffer(bytes(message.data), np.uint8).copy().reshape(-1, message.point_step)
    values = np.ascontiguousarray(raw[:, offset : offset + 4]).view("<f4")[:, 0]
    raw[:, offset : offset + 4] = change(values).astype("<f4").view(np.uint8).reshape(-1, 4)
    message.data = raw.tobytes()


def pad(message):
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    message.data = np.pad(rows, ((0, 0), (0, 4))).tobytes()
    message.step += 4


def as_millimetres(capture, offset=0):
    """A sound capture of 16UC1 depth, `offset` mm away from the truth where it is known."""
    for message in capture.depth:
        meters = contract.depth_meters(message)
        raw = np.where(np.isfinite(meters), np.rint(np.nan_to_num(meters) * 1000) + offset, 0).astype("<u2")
        message.encoding, message.step, message.data = "16UC1", 2 * message.width, raw.tobytes()


def assign(message, name, index, value):
    values = list(getattr(message, name))
    values[index] = value
    setattr(message, name, values)


def rename(entry, name):
    entry.name = name


def corner(value):
    def change(values):
        values[0, 0] = value

    return change


def halve(values):
    values *= 0.001


def to_range(values, points):
    cloud = contract.cloud(points)
    values[:] = np.sqrt(cloud["x"] ** 2 + cloud["y"] ** 2 + cloud["z"] ** 2)


DAMAGE = [
    ("depth_and_info_have_the_images_exact_stamp", lambda c: later(c.depth[0])),
    ("depth_and_info_have_the_images_exact_stamp", lambda c: later(c.depth_info[1])),
    ("color_and_points_have_a_depths_exact_stamp", lambda c: later(c.color[0])),
    ("color_and_points_have_a_depths_exact_stamp", lambda c: later(c.points[2])),
    ("stamps_increase", lambda c: c.depth.reverse()),
    ("stamps_increase", lambda c: c.depth.append(c.depth[-1])),
    ("depth_encoding_is_known", lambda c: setattr(c.depth[0], "encoding", "64FC1")),
    ("color_encoding_is_rgb8_or_bgra8", lambda c: setattr(c.color[0], "encoding", "bgr8")),
    ("images_are_tightly_packed", lambda c: pad(c.depth[0])),
    ("images_are_tightly_packed", lambda c: pad(c.color[0])),
    ("images_are_tightly_packed", lambda c: setattr(c.depth[0], "is_bigendian", 1)),
    ("images_are_tightly_packed", lambda c: setattr(c.color[0], "data", bytes(c.color[0].data)[:-1])),
    ("color_size_is_a_whole_multiple_of_depths", lambda c: setattr(c.color[0], "width", c.color[0].width + 1)),
    ("color_size_is_a_whole_multiple_of_depths", lambda c: setattr(c.color[0], "height", 2 * c.color[0].height)),
    ("unknown_depth_is_nan", lambda c: set_depth(c.depth[0], corner(0.0))),
    ("unknown_depth_is_nan", lambda c: set_depth(c.depth[0], corner(-np.inf))),
    ("unknown_depth_is_nan", lambda c: set_depth(c.depth[0], corner(np.inf))),
    ("millimetres_are_rounded_metres", lambda c: as_millimetres(c, offset=3)),
    ("depth_is_in_metres", lambda c: [set_depth(c.depth[0], halve), setattr(c, "range_meters", (0.01, 10.0))]),
    ("depth_is_in_metres", lambda c: set_depth(c.depth[0], corner(70.0))),
    ("depth_is_in_metres", lambda c: set_depth(c.depth[0], lambda values: values.fill(np.nan))),
    ("p_and_k_are_filled_and_agree", lambda c: setattr(c.depth_info[0], "p", [0.0] * 12)),
    ("p_and_k_are_filled_and_agree", lambda c: assign(c.depth_info[0], "k", 0, c.depth_info[0].k[0] * 1.25)),
    ("p_and_k_are_filled_and_agree", lambda c: assign(c.depth_info[0], "p", 3, -8.0)),
    ("info_is_of_a_rectified_image", lambda c: setattr(c.depth_info[0], "d", [0.1, 0.0, 0.0, 0.0, 0.0])),
    ("info_is_of_a_rectified_image", lambda c: assign(c.depth_info[0], "r", 1, 0.01)),
    ("info_is_of_a_rectified_image", lambda c: setattr(c.depth_info[0], "binning_x", 2)),
    ("info_has_the_depths_size", lambda c: setattr(c.depth_info[0], "width", 640)),
    ("intrinsics_of_a_frame_are_constant", lambda c: assign(c.depth_info[1], "p", 2, c.depth_info[1].p[2] + 1e-6)),
    ("frames_are_the_cameras_optical_frame", lambda c: setattr(c.points[0].header, "frame_id", "map")),
    ("frames_are_the_cameras_optical_frame", lambda c: [
        setattr(message.header, "frame_id", "camera_link")
        for message in c.images + c.depth + c.depth_info + c.color + c.points
    ]),
    ("axes_are_those_of_an_optical_frame", lambda c: set_cloud(c.points[0], "y", np.negative)),
    ("axes_are_those_of_an_optical_frame", lambda c: set_cloud(c.points[0], "z", np.negative)),
    ("the_cloud_is_laid_out_as_pcl_reads_it", lambda c: setattr(c.points[0], "height", 1)),
    ("the_cloud_is_laid_out_as_pcl_reads_it", lambda c: rename(c.points[0].fields[3], "rgba8")),
    ("the_cloud_is_laid_out_as_pcl_reads_it", lambda c: setattr(c.points[0].fields[0], "datatype", 8)),
    ("the_cloud_is_laid_out_as_pcl_reads_it", lambda c: setattr(c.points[0], "data", bytes(c.points[0].data)[:-4])),
    ("is_dense_is_true_only_without_nan", lambda c: [
        set_cloud(c.points[0], name, corner_of_row(np.nan)) for name in "xyz"
    ] + [setattr(c.points[0], "is_dense", True)]),
    ("is_dense_is_true_only_without_nan", lambda c: set_cloud(c.points[0], "x", corner_of_row(np.nan))),
    ("z_is_the_depth", lambda c: set_depth(c.depth[0], lambda values: to_range(values, c.points[0]))),
    ("points_project_onto_their_pixels", lambda c: assign(c.depth_info[0], "p", 2, c.depth_info[0].p[2] + 0.5)),
    ("points_project_onto_their_pixels", lambda c: set_cloud(c.points[0], "x", lambda values: values * 1.01)),
    ("rgb_is_the_pixels_color", lambda c: setattr(c.color[0], "data", bytes(c.color[0].data)[::-1])),
    ("publishers_are_reliable_and_volatile", lambda c: c.offers.append(("/depth", 2, 2))),
]


def corner_of_row(value):
    def change(values):
        values = values.copy()
        values[0] = value
        return values

    return change


def test_every_rule_can_fail(start, peer, bundle):
    sound = capture(start, peer, bundle, {}, {"size": WIDE})
    assert not any(contract.violations(sound).values())
    assert {rule for rule, _ in DAMAGE} == set(contract.RULES)
    for number, (rule, damage) in enumerate(DAMAGE):
        damaged = copy.deepcopy(sound)
        damage(damaged)
        check = contract.RULES[rule]
        assert list(check(damaged)), f"damage {number} was not seen by {rule}"


def test_sound_millimetres_pass(start, peer, bundle):
    sound = capture(start, peer, bundle, {}, {"size": WIDE})
    as_millimetres(sound)
    assert not any(contract.violations(sound).values())
    assert "millimetres_are_rounded_metres" in contract.violations(sound)


def test_a_rule_with_nothing_to_read_is_an_error():
    with pytest.raises(AssertionError, match="nothing was captured"):
        contract.violations(contract.Capture())
