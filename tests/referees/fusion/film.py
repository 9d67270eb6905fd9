"""Moves a camera along a path over real ROS 2 and keeps what a mapper would get: depth and camera_info from the node's topics,
poses from /tf.

The path is the room's (scene.py), or the frames that `cell.py` wrote. Depth is `true` or has the errors of a rangefinder (`errors`):
the pictures hold it then, for `true_depth` (nodes/ros/examples); or it is `predicted` by perception_node from the pictures.
"""

import argparse
import contextlib
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

import scene

FRAME = "camera_color_optical_frame"
PATIENCE = 120.0

parser = argparse.ArgumentParser()
parser.add_argument("--bin", type=Path, required=True, help="folder of the built programs")
parser.add_argument("--frames", type=Path, help="of cell.py; without, the room's")
parser.add_argument("--depth", choices=["true", "errors", "predicted"], required=True, help="errors: 1 %% of noise at every pixel, 3 %% of scale from frame to frame")
parser.add_argument("--bundle", type=Path, help="for predicted depth")
parser.add_argument("--out", type=Path, required=True)
arguments = parser.parse_args()


def frames():
    """Pictures (if any), depth in metres along Z, camera matrix, poses in the world."""
    if arguments.frames:
        kept = np.load(arguments.frames)
        return kept["rgb"], kept["depth"], kept["k"], kept["pose"]
    poses = [scene.world_from_camera(frame) for frame in range(scene.FRAMES)]
    return None, np.array([scene.depth(pose) for pose in poses]), scene.CAMERA, np.array(poses)


def digits(meters):
    """Depth in micrometres, as red, green and blue."""
    micrometres = np.rint(meters * 1e6).astype(np.uint32)
    return np.stack([micrometres >> shift & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)


def stamped(message, frame):
    message.header.stamp.sec, message.header.frame_id = 100 + frame, FRAME
    return message


def image_of(rgb, frame):
    height, width = rgb.shape[:2]
    return stamped(Image(width=width, height=height, encoding="rgb8", step=3 * width, data=rgb.tobytes()), frame)


def camera_info(k, height, width, frame):
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k, info.p, info.r = list(k.ravel()), list(np.column_stack([k, np.zeros(3)]).ravel()), list(np.eye(3).ravel())
    return stamped(info, frame)


def transform(pose, frame):
    message = stamped(TransformStamped(), frame)
    message.child_frame_id, message.header.frame_id = message.header.frame_id, "world"
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = pose[:3, 3]
    turn.x, turn.y, turn.z, turn.w = quaternion(pose[:3, :3])
    return TFMessage(transforms=[message])


def quaternion(matrix):
    """The largest eigenvector of Bar-Itzhack's matrix."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    k = [[a - e - i, b + d, c + g, h - f], [b + d, e - a - i, f + h, c - g], [c + g, f + h, i - a - e, d - b], [h - f, c - g, d - b, a + e + i]]
    return np.linalg.eigh(np.array(k))[1][:, -1]


def pose_of(transform):
    place, turn = transform.translation, transform.rotation
    x, y, z, w = turn.x, turn.y, turn.z, turn.w
    pose = np.eye(4)
    pose[:3, :3] = [[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]]
    pose[:3, 3] = place.x, place.y, place.z
    return pose


@contextlib.contextmanager
def running(size):
    """The node, and its name."""
    with tempfile.TemporaryDirectory() as folder:
        if arguments.depth == "predicted":
            name, program, bundle = "perception_node", arguments.bin / "perception_node", arguments.bundle
        else:
            name, program, bundle = "true_depth", arguments.bin / "examples/true_depth", f"{folder}/bundle"
            made = [arguments.bin / "pixio", "import", "--random-weights", "1", "--architecture", "pixio-tiny16", "--head", "depth=linear"]
            subprocess.run([*made, "--size", "%dx%d" % size, "--out", bundle], check=True, capture_output=True)
        node = subprocess.Popen([program, "--ros-args", "-p", f"bundle:={bundle}"])
        try:
            yield name
        finally:
            node.terminate()
            node.wait(timeout=PATIENCE)


def film(name, pictures, camera, poses):
    """What came from the topics: depth, camera matrices and poses of all frames."""
    rclpy.init()
    peer, qos = rclpy.create_node("film"), QoSProfile(depth=100)
    depths, infos, transforms = {}, {}, {}
    second = lambda message: message.header.stamp.sec
    peer.create_subscription(Image, f"/{name}/depth/image_rect", lambda m: depths.update({second(m): m}), qos)
    peer.create_subscription(CameraInfo, f"/{name}/depth/camera_info", lambda m: infos.update({second(m): m}), qos)
    peer.create_subscription(TFMessage, "/tf", lambda m: transforms.update({second(m.transforms[0]): m.transforms[0]}), qos)
    publishers = [peer.create_publisher(*which, qos) for which in ((Image, "/image"), (CameraInfo, "/camera_info"), (TFMessage, "/tf"))]

    def spin_until(condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"no {what}"
            rclpy.spin_once(peer, timeout_sec=0.02)

    spin_until(lambda: all(publisher.get_subscription_count() for publisher in publishers), "subscriptions")
    for frame, (picture, pose) in enumerate(zip(pictures, poses)):
        image, info, key = image_of(picture, frame), camera_info(camera, *picture.shape[:2], frame), 100 + frame
        for publisher, message in zip(publishers, (image, info, transform(pose, frame))):
            publisher.publish(message)
        # The first pictures may come before the node has seen the camera info, and it takes the newest frame only.
        start = time.monotonic()
        again = start + 2.0
        while not (key in depths and key in infos and key in transforms):
            rclpy.spin_once(peer, timeout_sec=0.02)
            if time.monotonic() > again:
                publishers[0].publish(image)
                again += 2.0
            assert time.monotonic() < start + PATIENCE, f"no depth for frame {frame}"
    peer.destroy_node()
    rclpy.shutdown()
    keys = sorted(depths)
    assert all(depths[key].encoding == "32FC1" and depths[key].header.frame_id == transforms[key].child_frame_id == FRAME for key in keys)
    meters = [np.frombuffer(bytes(depths[key].data), "<f4").reshape(depths[key].height, depths[key].width) for key in keys]
    return {"depth": meters, "k": [infos[key].k.reshape(3, 3) for key in keys], "pose": [pose_of(transforms[key].transform) for key in keys]}


def main():
    rgb, depths, camera, poses = frames()
    random = np.random.default_rng(6)
    if arguments.depth == "errors":
        depths = [meters * (1.0 + 0.03 * random.standard_normal()) * (1.0 + 0.01 * random.standard_normal(meters.shape)) for meters in depths]
    pictures = rgb if arguments.depth == "predicted" else [digits(meters) for meters in depths]
    height, width = pictures[0].shape[:2]
    with running((width, height)) as name:
        np.savez(arguments.out, **film(name, pictures, camera, poses))


main()
