"""What consumers of depth, colour and points require, as rules over messages.

Each rule is a function from a `Capture` to sentences that say what is wrong; it names the consumer that requires it and
where that stands. A rule says what it reads (`needs`), and a capture without that is an error, so that nothing passes
because nothing was there. `test_contract.py` runs them on a node's live output and shows that each can fail.

The sources are the consumers' own files: isaac_ros_nvblox (nvblox_ros), image_pipeline (depth_image_proc), rtabmap_ros,
moveit (depth_image_octomap_updater), PCL (pcl_conversions), and the REPs.
"""

from dataclasses import dataclass, field

import numpy as np

RELIABLE, VOLATILE = 1, 2  # rmw_qos_reliability_policy_t, rmw_qos_durability_policy_t
FLOAT32, UINT32 = 7, 6  # sensor_msgs/PointField
BYTES = {"32FC1": 4, "16UC1": 2, "rgb8": 3, "bgra8": 4}


@dataclass
class Capture:
    """What came from one camera: inputs as sent, outputs as received, and the publishers' offers."""

    images: list = field(default_factory=list)
    depth: list = field(default_factory=list)
    depth_info: list = field(default_factory=list)
    color: list = field(default_factory=list)
    points: list = field(default_factory=list)
    # (topic, reliability, durability) of each publisher
    offers: list = field(default_factory=list)
    # metres, of the head (model.toml)
    range_meters: tuple = (0.0, np.inf)
    # what the node's parameter says of depth beyond the range
    far_policy: str = "nan"

    def pairs(self, kind):
        """(depth, message of `kind`) of equal stamps."""
        others = {stamp(message): message for message in getattr(self, kind)}
        return [(depth, others[stamp(depth)]) for depth in self.depth if stamp(depth) in others]


RULES = {}


def rule(consumer, source, needs, encoding=None):
    """Registers a rule; with `encoding` it holds only for depth of that encoding."""

    def register(check):
        check.consumer, check.source, check.needs, check.encoding = consumer, source, needs, encoding
        RULES[check.__name__] = check
        return check

    return register


def violations(capture):
    """Rule to what is wrong, of every rule that applies; empty lists where nothing is."""
    found = {}
    for name, check in RULES.items():
        if check.encoding and any(message.encoding != check.encoding for message in capture.depth):
            continue
        for kind in check.needs:
            assert getattr(capture, kind), f"{name}: nothing was captured of {kind}"
        found[name] = list(check(capture))
    return found


def stamp(message):
    return (message.header.stamp.sec, message.header.stamp.nanosec)


def depth_meters(message):
    """Metres, NaN where unknown, of either encoding."""
    if message.encoding == "16UC1":
        raw = np.frombuffer(bytes(message.data), "<u2").reshape(message.height, -1)[:, : message.width]
        return np.where(raw == 0, np.nan, raw / 1000.0)
    return np.frombuffer(bytes(message.data), "<f4").reshape(message.height, -1)[:, : message.width].astype(float)


def cloud(message):
    """Field name to array of height x width, read by the offsets that the message states."""
    raw = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.row_step)
    raw = raw[:, : message.width * message.point_step].reshape(message.height, message.width, message.point_step)
    values = {}
    for entry in message.fields:
        part = np.ascontiguousarray(raw[..., entry.offset : entry.offset + 4])
        values[entry.name] = part.view("<u4" if entry.datatype == UINT32 else "<f4")[..., 0]
    return values


# Pairing


@rule("nvblox", "nvblox_ros: ExactTime synchronizer of image and camera_info", ("depth", "depth_info", "images"))
def depth_and_info_have_the_images_exact_stamp(capture):
    sent, infos = {stamp(image) for image in capture.images}, {stamp(info) for info in capture.depth_info}
    for depth in capture.depth:
        if stamp(depth) not in sent:
            yield f"depth stamped {stamp(depth)}, which no image was"
        if stamp(depth) not in infos:
            yield f"no camera_info of the depth's stamp {stamp(depth)}"


@rule("rtabmap_ros", "exact pairing of rgb and depth; warns beyond 10 ms", ("depth", "color", "points"))
def color_and_points_have_a_depths_exact_stamp(capture):
    stamps = {stamp(depth) for depth in capture.depth}
    for message in capture.color + capture.points:
        if stamp(message) not in stamps:
            yield f"{type(message).__name__} stamped {stamp(message)}, which no depth is"


@rule("tf2_ros", "MessageFilter: a message older than the last is dropped", ("depth",))
def stamps_increase(capture):
    stamps = [stamp(depth) for depth in capture.depth]
    if stamps != sorted(set(stamps)):
        yield f"depth stamps repeat or go back: {stamps}"


# Pixels


@rule("nvblox, rtabmap_ros, depth_image_proc, MoveIt", "their lists of depth encodings; REP 118", ("depth",))
def depth_encoding_is_known(capture):
    for depth in capture.depth:
        if depth.encoding not in ("32FC1", "16UC1"):
            yield f"depth encoding {depth.encoding}"


@rule("nvblox", "image_conversions: rgb8 or bgra8 only", ("color",))
def color_encoding_is_rgb8_or_bgra8(capture):
    for color in capture.color:
        if color.encoding not in ("rgb8", "bgra8"):
            yield f"color encoding {color.encoding}"


@rule("nvblox", "image_conversions copies width x height elements and never reads step", ("depth", "color"))
def images_are_tightly_packed(capture):
    for message in capture.depth + capture.color:
        tight = message.width * BYTES.get(message.encoding, 0)
        if message.step != tight or len(message.data) != tight * message.height:
            yield f"{message.encoding}: step {message.step} and {len(message.data)} bytes at {message.width}x{message.height}"
        if message.is_bigendian:
            yield f"{message.encoding}: big endian"


@rule("rtabmap_ros", "rgbd_sync, CoreWrapper: rgbWidth/depthWidth == rgbHeight/depthHeight, whole", ("depth", "color"))
def color_size_is_a_whole_multiple_of_depths(capture):
    for depth, color in capture.pairs("color"):
        wide, high = color.width / depth.width, color.height / depth.height
        if wide != high or wide != int(wide) or wide < 1:
            yield f"color {color.width}x{color.height} with depth {depth.width}x{depth.height}"


# Values


@rule("depth_image_proc, nvblox", "DepthTraits<float>::valid is isfinite, so 0 is a point at the lens; nvblox lets +Inf through",
      ("depth",), encoding="32FC1")
def unknown_depth_is_nan(capture):
    for depth in capture.depth:
        values = depth_meters(depth)
        if (values == 0).any() or (values < 0).any():
            yield f"{int((values <= 0).sum())} pixels of zero or less (REP 117: -Inf would be too close to say)"
        if np.isposinf(values).any() and capture.far_policy != "inf":
            yield f"{int(np.isposinf(values).sum())} pixels of +Inf under far_policy {capture.far_policy}"


@rule("REP 118", "16UC1 holds millimetres, 0 is unknown", ("depth", "points"), encoding="16UC1")
def millimetres_are_rounded_metres(capture):
    for depth, points in capture.pairs("points"):
        meters, z = depth_meters(depth), cloud(points)["z"].astype(float)
        here = np.isfinite(z) & (z < 65.5)
        if not np.isfinite(meters[here]).all() or np.isfinite(meters[np.isnan(z)]).any():
            yield "0 stands where depth is known, or a depth where it is not"
        elif np.abs(meters[here] - z[here]).max(initial=0) > 0.0005 + 1e-4:
            yield f"differs from the points' z by {np.abs(meters[here] - z[here]).max()} m"


@rule("REP 118, REP 103", "depth is in metres: within the head's stated range", ("depth",))
def depth_is_in_metres(capture):
    low, high = capture.range_meters
    for depth in capture.depth:
        known = depth_meters(depth)
        known = known[np.isfinite(known)]
        if not known.size:
            yield "no pixel is known"
        elif known.min() < low - 0.001 or known.max() > high + 0.001:
            yield f"{known.min()} to {known.max()}, while the head gives {low} to {high} m"


# Camera info


@rule("depth_image_proc, MoveIt", "PinholeCameraModel projects with P; the octomap updater reads K", ("depth_info",))
def p_and_k_are_filled_and_agree(capture):
    for info in capture.depth_info:
        p, k = np.reshape(info.p, (3, 4)), np.reshape(info.k, (3, 3))
        if not (p[0, 0] > 0 and p[1, 1] > 0 and p[2, 2] == 1 and np.isfinite(p).all()):
            yield f"P {list(info.p)}"
        elif not np.allclose(p[:, :3], k, rtol=0, atol=1e-9):
            yield f"K {list(info.k)} differs from P {list(info.p)}"
        elif p[:, 3].any():
            yield f"P's last column is that of a stereo pair: {p[:, 3]}"


@rule("nvblox, MoveIt", "take the image as rectified: no distortion, no rotation", ("depth_info",))
def info_is_of_a_rectified_image(capture):
    for info in capture.depth_info:
        if np.any(info.d) or not np.array_equal(np.reshape(info.r, (3, 3)), np.eye(3)):
            yield f"D {list(info.d)}, R {list(info.r)}"
        if info.binning_x > 1 or info.binning_y > 1 or info.roi.width or info.roi.height:
            yield "binning or a region of interest, which consumers would apply again"


@rule("depth_image_proc", "a camera_info of another size is rescaled, with a warning", ("depth", "depth_info"))
def info_has_the_depths_size(capture):
    for depth, info in capture.pairs("depth_info"):
        if (depth.width, depth.height) != (info.width, info.height):
            yield f"camera_info {info.width}x{info.height}, depth {depth.width}x{depth.height}"


@rule("nvblox", "camera_cache.cpp: CHECK aborts the process when a frame_id's intrinsics change", ("depth_info",))
def intrinsics_of_a_frame_are_constant(capture):
    first = {}
    for info in capture.depth_info:
        numbers = (info.width, info.height, *info.k, *info.p)
        if first.setdefault(info.header.frame_id, numbers) != numbers:
            yield f"{info.header.frame_id}: {numbers} after {first[info.header.frame_id]}"


# Frames


@rule("REP 103, REP 105, tf2", "an optical frame, named _optical or _optical_frame; tf2 refuses a leading slash",
      ("depth", "depth_info", "color", "points", "images"))
def frames_are_the_cameras_optical_frame(capture):
    frames = {image.header.frame_id for image in capture.images}
    for message in capture.depth + capture.depth_info + capture.color + capture.points:
        frame = message.header.frame_id
        if frame not in frames:
            yield f"{type(message).__name__} in {frame!r}, while the images are in {sorted(frames)}"
        if frame.startswith("/") or not frame.endswith(("_optical", "_optical_frame")):
            yield f"{type(message).__name__} in {frame!r}"


@rule("REP 103", "optical frames: x to the right, y down, z forward", ("points", "depth_info"))
def axes_are_those_of_an_optical_frame(capture):
    infos = {stamp(info): info for info in capture.depth_info}
    for points in capture.points:
        values, info = cloud(points), infos[stamp(points)]
        columns, rows = np.meshgrid(np.arange(points.width), np.arange(points.height))
        with np.errstate(invalid="ignore"):
            wrong = (values["z"] <= 0) | (values["x"] * (columns - info.p[2]) < 0) | (values["y"] * (rows - info.p[6]) < 0)
        if wrong.any():
            yield f"{int(wrong.sum())} points behind the camera, or on the other side of its axis"


# Points


@rule("PCL", "pcl_conversions maps x, y, z and rgb by name, type and offset; organised clouds have height > 1", ("points", "depth"))
def the_cloud_is_laid_out_as_pcl_reads_it(capture):
    for depth, points in capture.pairs("points"):
        fields = {entry.name: entry for entry in points.fields}
        for index, name in enumerate(("x", "y", "z")):
            entry = fields.get(name)
            if entry is None or (entry.offset, entry.datatype, entry.count) != (4 * index, FLOAT32, 1):
                yield f"field {name}: {entry}"
        rgb = fields.get("rgb")
        if rgb is None or rgb.datatype not in (FLOAT32, UINT32) or rgb.count != 1 or rgb.offset % 4:
            yield f"field rgb: {rgb}"
        if (points.width, points.height) != (depth.width, depth.height):
            yield f"{points.width}x{points.height} points of {depth.width}x{depth.height} pixels"
        if points.row_step != points.point_step * points.width or len(points.data) != points.row_step * points.height:
            yield f"row_step {points.row_step}, point_step {points.point_step}, {len(points.data)} bytes"
        if points.is_bigendian:
            yield "big endian"


@rule("PCL", "is_dense promises that no coordinate is NaN", ("points",))
def is_dense_is_true_only_without_nan(capture):
    for points in capture.points:
        values = cloud(points)
        unknown = any(np.isnan(values[name]).any() for name in "xyz")
        if points.is_dense and unknown:
            yield "is_dense with NaN in it"
        if any((np.isnan(values[name]) != np.isnan(values["z"])).any() for name in "xy"):
            yield "x, y and z are not unknown together"


@rule("depth_image_proc", "point_cloud_xyz: z of a point is the depth, along the axis, not the range", ("points", "depth"))
def z_is_the_depth(capture):
    for depth, points in capture.pairs("points"):
        if depth.encoding != "32FC1":
            continue
        finite = np.where(np.isfinite(depth_meters(depth)), depth_meters(depth), np.nan)
        z = cloud(points)["z"].astype(float)
        z = np.where(np.isfinite(z), z, np.nan)
        if not np.array_equal(z, finite, equal_nan=True):
            yield f"z differs from the depth at {int((~np.isclose(z, finite, rtol=0, atol=0, equal_nan=True)).sum())} pixels"


@rule("depth_image_proc", "point_cloud_xyz: x = (u - cx) z / fx with P, so a point lies on its pixel", ("points", "depth_info"))
def points_project_onto_their_pixels(capture):
    infos = {stamp(info): info for info in capture.depth_info}
    for points in capture.points:
        values, p = cloud(points), np.reshape(infos[stamp(points)].p, (3, 4))
        rows, columns = np.nonzero(np.isfinite(values["z"]))
        space = np.stack([values[name][rows, columns].astype(float) for name in "xyz"] + [np.ones(len(rows))])
        u, v, w = p @ space
        away = max(np.abs(u / w - columns).max(initial=0), np.abs(v / w - rows).max(initial=0))
        if not away < 1e-3:
            yield f"a point projects {away} pixels away from its own"


@rule("PCL, rviz", "rgb holds 0x00RRGGBB of the point's pixel", ("points", "color"))
def rgb_is_the_pixels_color(capture):
    colors = {stamp(color): color for color in capture.color}
    for points in capture.points:
        color = colors.get(stamp(points))
        if color is None:
            continue
        packed = np.ascontiguousarray(cloud(points)["rgb"]).view(np.uint8).reshape(points.height, points.width, 4)
        pixels = np.frombuffer(bytes(color.data), np.uint8).reshape(color.height, color.step)
        pixels = pixels[:, : 3 * color.width].reshape(color.height, color.width, 3)
        if packed[..., 2::-1].shape != pixels.shape or not np.array_equal(packed[..., 2::-1], pixels):
            yield "rgb differs from ~/color/image_rect"


# Delivery


@rule("nvblox, rtabmap_ros, REP 2003", "reliable subscribers (SYSTEM_DEFAULT, qos 1) must match: sensor publishers are reliable and volatile",
      ("offers",))
def publishers_are_reliable_and_volatile(capture):
    for topic, reliability, durability in capture.offers:
        if (reliability, durability) != (RELIABLE, VOLATILE):
            yield f"{topic}: reliability {reliability}, durability {durability}"
