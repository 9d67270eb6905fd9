"""The demo's viewer: hears the camera and perception_node, prints rates and latency, draws what came."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from PIL import Image as Picture
from PIL import ImageDraw
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from pictures import array, cloud, depth_picture, points_picture

PATIENCE = 120.0  # seconds until the first depth: the model is loaded and checked before

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, required=True, help="0: until Ctrl-C")
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--node", type=int, required=True, help="process to watch")
parser.add_argument("--random", action="store_true", help="the bundle has random weights")
arguments = parser.parse_args()
WARNING = "RANDOM WEIGHTS: stamps, sizes, rates and latency are real; the depth means nothing"


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


class Viewer:
    def __init__(self):
        self.node = rclpy.create_node("demo_viewer")
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self.sent, self.depths, self.ages = {}, {}, []
        self.color = self.points = self.info = None
        heard = [
            (Image, "/camera/image", self.on_image),
            (Image, "/demo/perception_node/depth/image_rect", self.on_depth),
            (CameraInfo, "/demo/perception_node/depth/camera_info", lambda m: setattr(self, "info", m)),
            (Image, "/demo/perception_node/color/image_rect", lambda m: setattr(self, "color", m)),
            (PointCloud2, "/demo/perception_node/points", lambda m: setattr(self, "points", m)),
        ]
        for kind, topic, callback in heard:
            self.node.create_subscription(kind, topic, callback, qos)

    def on_image(self, message):
        self.sent[stamp(message)] = time.time_ns()

    def on_depth(self, message):
        self.ages.append((time.time_ns() - stamp(message)) / 1e6)
        self.depths[stamp(message)] = message

    def restart(self):
        self.sent.clear(), self.depths.clear(), self.ages.clear()


def draw(viewer):
    color, depth = array(viewer.color, np.uint8, 3), array(list(viewer.depths.values())[-1], "<f4", 1)[..., 0]
    size = (depth.shape[1], depth.shape[0])
    pictures = {"input": color, "depth": depth_picture(depth), "points": points_picture(cloud(viewer.points), size)}
    paths = []
    sheet = Picture.new("RGB", (3 * size[0], size[1] + (22 if arguments.random else 0)), "white")
    for index, (name, pixels) in enumerate(pictures.items()):
        picture = Picture.fromarray(pixels)
        paths.append(arguments.out / f"{name}.png")
        picture.save(paths[-1])
        sheet.paste(picture, (index * size[0], 0))
    if arguments.random:
        ImageDraw.Draw(sheet).text((6, size[1] + 5), WARNING, fill="red")
    paths.append(arguments.out / "sheet.png")
    sheet.save(paths[-1])
    return paths


def watched_alive():
    try:
        os.kill(arguments.node, 0)
        return True
    except ProcessLookupError:
        return False


def main():
    rclpy.init()
    stopped = []
    for caught in (signal.SIGINT, signal.SIGTERM):
        signal.signal(caught, lambda *_: stopped.append(True))
    viewer = Viewer()
    print("demo: waiting for the first depth (the model is checked against its golden outputs first)", flush=True)
    began = time.monotonic()
    whole = lambda: viewer.depths and viewer.color and viewer.points and viewer.info
    while not whole():
        if stopped or not watched_alive() or time.monotonic() - began > PATIENCE:
            return "perception_node published no depth"
        rclpy.spin_once(viewer.node, timeout_sec=0.05)
    viewer.restart()
    began = last = time.monotonic()
    print(f"{'seconds':>8} {'images/s':>9} {'depths/s':>9} {'age p50':>9} {'age p99':>9}")
    while not stopped and (arguments.seconds == 0 or time.monotonic() - began < arguments.seconds):
        rclpy.spin_once(viewer.node, timeout_sec=0.05)
        if not watched_alive():
            return "perception_node ended"
        if time.monotonic() - last >= 2.0 and viewer.ages:
            last, elapsed = time.monotonic(), time.monotonic() - began
            p50, p99 = np.percentile(viewer.ages, [50, 99])
            rates = len(viewer.sent) / elapsed, len(viewer.depths) / elapsed
            print(f"{elapsed:8.1f} {rates[0]:9.1f} {rates[1]:9.1f} {p50:6.0f} ms {p99:6.0f} ms", flush=True)
    if not viewer.depths:
        return "no depth came while measuring"
    wrong = [key for key in viewer.depths if key not in viewer.sent and key > min(viewer.sent, default=0)]
    p50, p99 = np.percentile(viewer.ages, [50, 99])
    print(f"\n{len(viewer.sent)} images in, {len(viewer.depths)} depths out (the newest each time; the others were skipped)")
    print(f"age of a depth when it arrives: p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {max(viewer.ages):.0f} ms")
    print(f"depths whose stamp is of no image heard: {len(wrong)}")
    for path in draw(viewer):
        print(f"picture: {path}")
    if arguments.random:
        print(f"\n{WARNING}.\nImport a trained model with `pixio import` and run PIXIO_BUNDLE=<bundle> make demo.")
    return None


failure = main()
if failure:
    print(f"demo: {failure}", file=sys.stderr)
sys.exit(1 if failure else 0)
