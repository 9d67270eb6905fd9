"""`make demo-robot`: watches the simulated robot at work and `perception_node` beside it, and films both.

Prints success, the depth's error against the simulation's truth, rates and latencies; writes robot.gif with camera, true depth, predicted
depth and points side by side. With --policy the robot is driven by policy_node, from the same pass that the depth is of.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from PIL import Image as Picture
from sensor_msgs.msg import Image, JointState, PointCloud2

from drive import RELIABLE, Driver, nanos
from pictures import array, cloud, depth_picture, points_picture

PATIENCE = 600.0  # seconds of the wall clock
LONGEST = 6.0  # simulated seconds of an episode
AFTER = 0.5  # simulated seconds filmed after success
KEPT = 300  # images whose counterpart is waited for
SIDE = 256  # pixels of each picture of the film
WARNING = "RANDOM WEIGHTS: stamps, rates and latency are real; the predicted depth means nothing"

parser = argparse.ArgumentParser()
parser.add_argument("--episodes", type=int, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--random", action="store_true", help="the bundle has random weights")
parser.add_argument("--policy", action="store_true", help="policy_node drives: arm it")
parser.add_argument("--seed", type=int, default=50_000, help="of the first episode; demonstrations have others")
parser.add_argument("--least", type=int, help="episodes that must be done for exit code 0; all unless given")
arguments = parser.parse_args()


def stamp(message):
    return nanos(message.header.stamp)


class Watcher(Driver):
    def __init__(self):
        super().__init__("demo_robot", PATIENCE, "/demo/perception_node")
        self.frames, self.came, self.errors, self.ages, self.film = {}, {}, [], [], []
        self.filming, self.points, self.commanded, self.old = False, None, 0, []
        if arguments.policy:
            self.listen_to_policy()
            self.node.create_subscription(JointState, "/policy_node/command", self.on_command, RELIABLE)
            self.node.create_subscription(JointState, "/policy_node/policy_action", self.on_action, RELIABLE)
        parts = {"image": "/camera/image", "truth": "/camera/depth/image_rect", "depth": "/demo/perception_node/depth/image_rect"}
        for part, topic in parts.items():
            self.node.create_subscription(Image, topic, lambda message, part=part: self.on_part(part, message), RELIABLE)
        self.node.create_subscription(PointCloud2, "/demo/perception_node/points", self.on_points, RELIABLE)

    def on_command(self, message):
        self.commanded = stamp(message)

    def on_action(self, message):
        """Published after its command in the same tick."""
        if self.commanded:
            self.old.append((self.commanded - stamp(message)) / 1e6)

    def on_points(self, message):
        self.points = message

    def on_part(self, part, message):
        """When an image, its truth and its depth are there, they are compared."""
        key = stamp(message)
        frame = self.frames.setdefault(key, {})
        frame[part], self.came[(key, part)] = message, time.monotonic()
        if len(frame) == 3 and self.filming:
            self.compare(key, frame)
        for old in sorted(self.frames)[:-KEPT]:
            del self.frames[old]

    def compare(self, key, frame):
        truth, depth = (array(frame[part], "<f4", 1)[..., 0] for part in ("truth", "depth"))
        if truth.shape != depth.shape:
            raise SystemExit(f"demo-robot: the depth is {depth.shape}, its truth {truth.shape}: use a bundle of 128x128")
        known = np.isfinite(truth) & np.isfinite(depth)
        self.errors.append(np.mean(np.abs(depth - truth)[known] / truth[known]))
        self.ages.append(1000 * (self.came[(key, "depth")] - self.came[(key, "image")]))
        span = (0.5, 2.5)
        pictures = [array(frame["image"], np.uint8, 3), depth_picture(truth, span), depth_picture(depth, span)]
        if self.points is not None:
            pictures.append(points_picture(cloud(self.points), depth.shape[::-1]))
        self.film.append(np.concatenate([np.asarray(Picture.fromarray(p).resize((SIDE, SIDE))) for p in pictures], axis=1))

    def episode(self, seed):
        placed = self.begin(seed) if arguments.policy else self.place(seed)
        began, wall, done = self.now, time.monotonic(), None
        while self.now < began + LONGEST * 1e9 and (done is None or self.now < done + AFTER * 1e9):
            self.sleep(50_000_000)
            if done is None and self.ask("/robot/success").success:
                done = self.now
        seconds = (self.now - began) / 1e9
        said = f"done after {(done - began) / 1e9:.1f} s" if done else "NOT done"
        print(f"{placed}: {said}; real-time factor {seconds / (time.monotonic() - wall):.2f}", flush=True)
        return done is not None

    def write(self, path):
        frames = [Picture.fromarray(frame).quantize(128, dither=Picture.Dither.NONE) for frame in self.film]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, loop=0)


def main():
    rclpy.init()
    watcher = Watcher()
    print("demo-robot: waiting for the robot and for the first depth (the model is checked against its golden outputs first)", flush=True)
    watcher.until(lambda: any(len(frame) == 3 for frame in watcher.frames.values()) and watcher.points, "depth")
    watcher.filming, began, clock = True, time.monotonic(), watcher.now
    done = sum(watcher.episode(arguments.seed + number) for number in range(arguments.episodes))
    elapsed, simulated = time.monotonic() - began, (watcher.now - clock) / 1e9
    if arguments.policy:
        watcher.stop()
    of = lambda values, share: np.percentile(values, share)
    print(f"\n{done} of {arguments.episodes} episodes done")
    if watcher.old:
        print(f"policy_node: image behind a command p50 {of(watcher.old, 50):.0f} ms, p99 {of(watcher.old, 99):.0f} ms old (simulated time)")
    print(f"{len(watcher.errors)} depths in {elapsed:.0f} s ({simulated:.1f} s simulated, {20 * simulated:.0f} images); "
          f"after their image p50 {of(watcher.ages, 50):.0f} ms, p99 {of(watcher.ages, 99):.0f} ms")
    print(f"depth against the simulation's truth: AbsRel mean {np.mean(watcher.errors):.3f}, worst image {max(watcher.errors):.3f}")
    watcher.write(arguments.out / "robot.gif")
    print(f"film: {arguments.out / 'robot.gif'} ({len(watcher.film)} frames: camera, true depth, predicted depth, points)")
    if arguments.random:
        print(f"\n{WARNING}.\nPIXIO_BUNDLE=<bundle> make demo-robot runs a trained one.")
    return 0 if done >= (arguments.episodes if arguments.least is None else arguments.least) else 1


sys.exit(main())
