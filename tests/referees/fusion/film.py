"""Moves a camera through the scene over real ROS 2 and keeps what a mapper would get: depth and camera_info from the node's topics,
poses from /tf.

The pictures hold the true depth, or one with the errors of a depth network, for `true_depth` (nodes/ros/examples).
"""

import argparse
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
parser.add_argument("--errors", action="store_true", help="1 %% of noise at every pixel, 3 %% of scale from frame to frame")
parser.add_argument("--out", type=Path, required=True)
arguments = parser.parse_args()


def stamped(message, frame):
    message.header.stamp.sec, message.header.frame_id = 100 + frame, FRAME
    return message


def picture(frame, random):
    """The depth of a frame in micrometres, as red, green and blue."""
    meters = scene.depth(scene.world_from_camera(frame))
    if arguments.errors:
        meters *= (1.0 + 0.03 * random.standard_normal()) * (1.0 + 0.01 * random.standard_normal(meters.shape))
    micrometres = np.rint(meters * 1e6).astype(np.uint32)
    rgb = np.stack([micrometres >> shift & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)
    width, height = scene.SIZE
    return stamped(Image(width=width, height=height, encoding="rgb8", step=3 * width, data=rgb.tobytes()), frame)


def camera_info(frame):
    (width, height), f, (cx, cy) = scene.SIZE, scene.FOCAL, scene.CENTRE
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k, info.p = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0], [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.r = list(np.eye(3).ravel())
    return stamped(info, frame)


def transform(frame):
    pose = scene.world_from_camera(frame)
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


def main(folder):
    bundle = f"{folder}/bundle"
    made = [str(arguments.bin / "pixio"), "import", "--random-weights", "1", "--architecture", "pixio-tiny16", "--head", "depth=linear"]
    subprocess.run([*made, "--size", "%dx%d" % scene.SIZE, "--out", bundle], check=True, capture_output=True)
    node = subprocess.Popen([arguments.bin / "examples/true_depth", "--ros-args", "-p", f"bundle:={bundle}"])
    try:
        film()
    finally:
        node.terminate()
        node.wait(timeout=PATIENCE)


def film():
    rclpy.init()
    peer, qos = rclpy.create_node("film"), QoSProfile(depth=100)
    depths, infos, poses = {}, {}, {}
    second = lambda message: message.header.stamp.sec
    peer.create_subscription(Image, "/true_depth/depth/image_rect", lambda m: depths.update({second(m): m}), qos)
    peer.create_subscription(CameraInfo, "/true_depth/depth/camera_info", lambda m: infos.update({second(m): m}), qos)
    peer.create_subscription(TFMessage, "/tf", lambda m: poses.update({second(m.transforms[0]): m.transforms[0]}), qos)
    publishers = [peer.create_publisher(*which, qos) for which in ((Image, "/image"), (CameraInfo, "/camera_info"), (TFMessage, "/tf"))]

    def spin_until(condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"no {what}"
            rclpy.spin_once(peer, timeout_sec=0.02)

    spin_until(lambda: all(publisher.get_subscription_count() for publisher in publishers), "subscriptions")
    random = np.random.default_rng(6)
    for frame in range(scene.FRAMES):
        image, info, pose, key = picture(frame, random), camera_info(frame), transform(frame), 100 + frame
        for publisher, message in zip(publishers, (image, info, pose)):
            publisher.publish(message)
        # The first pictures may come before the node has seen the camera info, and it takes the newest frame only.
        again = time.monotonic() + 2.0
        while not (key in depths and key in infos and key in poses):
            rclpy.spin_once(peer, timeout_sec=0.02)
            if time.monotonic() > again:
                publishers[0].publish(image)
                again += 2.0
            assert time.monotonic() < again + PATIENCE, f"no depth for frame {frame}"
    keys = sorted(depths)
    assert all(depths[key].encoding == "32FC1" and depths[key].header.frame_id == poses[key].child_frame_id == FRAME for key in keys)
    meters = [np.frombuffer(bytes(depths[key].data), "<f4").reshape(depths[key].height, depths[key].width) for key in keys]
    np.savez(arguments.out, depth=meters, k=[infos[key].k.reshape(3, 3) for key in keys], pose=[pose_of(poses[key].transform) for key in keys])
    peer.destroy_node()
    rclpy.shutdown()


with tempfile.TemporaryDirectory() as folder:
    main(folder)
