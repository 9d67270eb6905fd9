"""What test_acting.py is about: a policy that was cloned from demonstrations of a hand that circles over a table, and whoever looks on."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import rclpy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from conftest import BIN, PATIENCE, ROOT
from peer import ask
from policy import DEEP, LATCHED, NODE, Spinning, seconds

sys.path.insert(0, str(ROOT / "tests/sim"))
from lerobot import Dataset  # noqa: E402
from stand_in import StandIn  # noqa: E402

SIZE = (64, 48)
RADIUS, SPEED = 0.15, 0.15  # m, m/s
PERIOD = 0.05
ACTION = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z", "gripper"]
STATE = ["position.x", "position.y", "position.z", "gripper"]
WATCHDOG = 0.5


def circling(hand):
    """The demonstrator: towards the circle, and along it, without end."""
    away = np.hypot(*hand[:2])
    out = hand[:2] / away if away > 1e-3 else np.array([1.0, 0.0])
    velocity = 2.0 * (RADIUS - away) * out + SPEED * np.array([-out[1], out[0]])
    return np.array([*velocity, 2.0 * (0.3 - hand[2]), 0.0, 0.0, 0.0, 1.0], np.float32)


def demonstrations(root, episodes=100, rows=15):
    scene, rng = StandIn(*SIZE), np.random.default_rng(4)
    features = {"observation.state": STATE, "observation.images.front": (SIZE[1], SIZE[0]), "action": ACTION}
    dataset = Dataset(root, round(1 / PERIOD), "stand-in", features, "circle over the table")
    for episode in range(episodes):
        scene.reset(episode)
        scene.hand[:2] = rng.uniform(-0.25, 0.25, 2)
        taken = []
        for _ in range(rows):
            action = circling(scene.hand)
            taken.append({"observation.state": scene.proprioception(), "observation.images.front": scene.picture(), "action": action})
            for _ in range(4):
                scene.tick(action[:3], 1.0)
        dataset.add(taken)
    dataset.finish({})


def trained(folder):
    """A bundle with depth and policy, made by the product's own commands."""
    demonstrations(folder / "demonstrations")
    size = "%dx%d" % SIZE
    make = ["import", "--random-weights", "3", "--architecture", "pixio-tiny16", "--head", "depth=linear", "--size", size]
    train = ["train", "policy", "--bundle", folder / "eyes", "--data", folder / "demonstrations", "--chunk", "8", "--epochs", "60",
             "--batch", "64", "--history", "1", "--frame", "world", "--run", folder / "run", "--out", folder / "acting"]
    for command in ([*make, "--out", folder / "eyes"], train):
        subprocess.run([str(part) for part in [BIN / "pixio", *command]], check=True, capture_output=True)
    return folder / "acting"


class Onlooker(Spinning):
    """Hears everything in a thread of its own, and hands the robot's pictures on to perception_node until they freeze."""

    def __init__(self):
        self.node = rclpy.create_node("onlooker")
        self.lock, self.frozen = threading.RLock(), False
        self.states, self.hands, self.commands, self.actions, self.picture = [], [], [], [], None
        self.now = self.moved = 0.0
        hear = self.node.create_subscription
        hear(String, f"{NODE}/state", lambda m: self.keep(self.states, json.loads(m.data)), LATCHED)
        hear(JointState, "/proprioception", self.on_hand, DEEP)
        hear(JointState, f"{NODE}/command", lambda m: self.keep(self.commands, m), DEEP)
        hear(JointState, f"{NODE}/policy_action", self.on_action, DEEP)
        hear(Image, "/camera/image", self.on_image, 1)
        self.pictures = self.node.create_publisher(Image, "/image", 1)
        self.node.create_timer(PERIOD, self.repeat)
        self.start()

    def keep(self, kept, value):
        with self.lock:
            kept.append((time.monotonic(), value))

    def on_hand(self, message):
        """Places, and when (s of simulated time) the last one was that differs from the one before."""
        place, moment = np.array(message.position[:3]), seconds(message.header.stamp)
        with self.lock:
            if not self.hands or np.linalg.norm(place - self.hands[-1]) > 1e-6:
                self.moved = moment
            self.hands.append(place)
            self.now = moment

    def on_image(self, message):
        if not self.frozen:
            self.picture = message
            self.pictures.publish(message)

    def repeat(self):
        """A driver that hangs: the last picture again and again."""
        if self.frozen and self.picture:
            self.pictures.publish(self.picture)

    def on_action(self, message):
        """The age, s of simulated time, of the image behind the command of this tick, which came just before."""
        with self.lock:
            if self.commands:
                self.observed = seconds(message.header.stamp)
                self.actions.append((time.monotonic(), seconds(self.commands[-1][1].header.stamp) - self.observed))

    def until(self, condition, what, patience=PATIENCE):
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"no {what} within {patience} s; states: {[state for _, state in self.states]}"
            time.sleep(0.01)

    def state(self):
        with self.lock:
            return self.states[-1][1] if self.states else {"state": None, "reason": ""}

    def wait_for(self, state, reason=""):
        self.until(lambda: self.state()["state"] == state and reason in self.state()["reason"], f"state {state} {reason}")

    def ask(self, service):
        return ask(self.node, self.until, service)

    def arm(self):
        self.wait_for("IDLE")
        answer = self.ask(f"{NODE}/arm")
        assert answer.success, answer
        self.wait_for("RUNNING")

    def way(self, first=0):
        """How far the hand went from its place of this number on, m."""
        with self.lock:
            places = np.array(self.hands[first:])
        return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum()) if len(places) > 1 else 0.0

    def moves(self):
        first = len(self.hands)
        self.until(lambda: self.way(first) > 0.05, "motion of the hand")

    def rests_until(self, moment):
        """The hand does not move until then, s of simulated time."""
        first = len(self.hands)
        self.until(lambda: self.now >= moment, "simulated time")
        assert self.way(first) < 1e-6, self.way(first)

    def came_to_rest(self):
        """When the hand moved last, s of simulated time, once it has been at rest for a second of that."""
        self.until(lambda: self.now - self.moved > 1.0, "rest of the hand")
        return self.moved

    def last_command(self):
        """Stamp of the last command that came, when no more come."""
        count = -1
        while count != len(self.commands):
            count = len(self.commands)
            time.sleep(1.0)
        return seconds(self.commands[-1][1].header.stamp)
