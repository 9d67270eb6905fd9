"""Stands where `perception_node`'s policy head will: a cloned policy that publishes `action_chunk` for every image over ROS 2.

    chunks.py --task hammer-v3 --demos demos --encoder onnx/tabletop [--steps 8]

Trains evaluate.py's head on the demonstrations, to predict the next `--steps` actions, then hears `image` and `proprioception` (of the
image's stamp) and publishes `action_chunk` as `policy_node` takes it. Service ~/reset_policy (Trigger) forgets the history.
"""

import argparse
import signal
import sys
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from demos import ACTION, whole_action
from evaluate import Cloned, Encoder, Eyes, Proprioception, chunks, demonstrations
from scene import PERIOD, TASKS

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


def nanos(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


class Policy:
    def __init__(self, node, eyes, head):
        self.node, self.eyes, self.head, self.states = node, eyes, head, {}
        eyes.begin()
        node.create_subscription(JointState, "proprioception", self.on_state, RELIABLE)
        node.create_subscription(Image, "image", self.on_image, NEWEST)
        node.create_service(Trigger, "~/reset_policy", self.on_reset)
        self.chunks = node.create_publisher(JointTrajectory, "action_chunk", RELIABLE)

    def on_reset(self, _, response):
        self.eyes.begin()
        response.success = True
        return response

    def on_state(self, message):
        self.states[nanos(message.header.stamp)] = np.array(message.position, np.float32)
        while len(self.states) > 100:
            del self.states[min(self.states)]

    def on_image(self, message):
        state = self.states.get(nanos(message.header.stamp))
        if state is None:
            self.node.get_logger().warn("no proprioception of the image's stamp", throttle_duration_sec=5.0)
            return
        picture = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width, 3)
        self.publish(message.header, self.head.chunk(self.eyes.see(picture, state, None)))

    def publish(self, header, actions):
        chunk = JointTrajectory(header=header, joint_names=ACTION)
        chunk.header.frame_id = "world"
        for index, action in enumerate(actions):
            due = round((index + 1) * PERIOD * 1e9)
            point = JointTrajectoryPoint(velocities=[float(value) for value in whole_action(action)])
            point.time_from_start = Duration(sec=due // 10**9, nanosec=due % 10**9)
            chunk.points.append(point)
        self.chunks.publish(chunk)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--demos", type=Path, required=True)
    parser.add_argument("--encoder", help="a folder of `pixio export`; without it the policy is blind")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = sys.argv[1:]
    split = given.index("--ros-args") if "--ros-args" in given else len(given)
    arguments = parser.parse_args(given[:split])
    eyes = Eyes(Encoder(arguments.encoder, 128, "mean")) if arguments.encoder else Proprioception()
    inputs, actions, lengths = demonstrations(arguments.demos / arguments.task, eyes)
    head = Cloned(inputs, chunks(actions, lengths, arguments.steps), arguments.seed, arguments.epochs)
    rclpy.init(args=given[split:])
    node, stopped = rclpy.create_node("chunks"), []
    Policy(node, eyes, head)
    for caught in (signal.SIGINT, signal.SIGTERM):
        signal.signal(caught, lambda *_: stopped.append(True))
    print("ready", flush=True)
    while not stopped:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
