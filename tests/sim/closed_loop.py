"""Closed loop over ROS 2 topics: asks the robot for episodes with unseen goals, arms `policy_node`, and counts success at the end.

    closed_loop.py --episodes 25 --out closed_loop.json        # robot.py, a policy and policy_node run; closed_loop.sh starts them

Beside success it prints the period of the commands by the wall clock (p50, p99, max) and the age of the image behind each command by
simulated time.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from peer import Peer

PATIENCE = 600.0  # seconds of the wall clock
SECONDS = 5.0  # simulated, of an episode: evaluate.py's 100 actions
GOALS = 50_000  # evaluate.py's
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DEEP = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)


def nanos(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


class Loop(Peer):
    def __init__(self):
        super().__init__("closed_loop", PATIENCE)
        self.now, self.running = 0, False
        self.told, self.ages = [], []
        self.node.create_subscription(String, "/policy_node/state", self.on_state, LATCHED)
        self.node.create_subscription(Clock, "/clock", self.on_clock, DEEP)
        self.node.create_subscription(JointState, "/policy_node/command", self.on_command, DEEP)
        self.node.create_subscription(JointState, "/policy_node/policy_action", self.on_action, DEEP)

    def on_state(self, message):
        state = json.loads(message.data)
        if self.running and state["state"] in ("HOLD", "FAULT"):
            print(f"  policy_node: {state['state']}, {state['reason']}", flush=True)

    def on_clock(self, message):
        self.now = nanos(message.clock)

    def on_command(self, message):
        if self.running:
            self.told.append(time.monotonic())
            self.command_stamp = nanos(message.header.stamp)

    def on_action(self, message):
        if self.running and self.told:
            self.ages.append((self.command_stamp - nanos(message.header.stamp)) / 1e6)

    def seed(self, seed):
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        request = SetParameters.Request(parameters=[Parameter(name="seed", value=value)])
        self.ask("/robot/set_parameters", SetParameters, request)

    def episode(self, seed):
        self.ask("/policy_node/disarm")
        self.ask("/policy_node/reset")  # out of a fault of the episode before
        self.seed(seed)
        self.ask("/robot/reset")
        self.ask("/chunks/reset_policy")
        answer = self.ask("/policy_node/arm")
        if not answer.success:
            raise SystemExit(f"closed_loop: /policy_node/arm: {answer.message}")
        began, wall, self.running = self.now, time.monotonic(), True
        self.until(lambda: self.now - began >= SECONDS * 1e9, "time")
        self.running = False
        return self.ask("/robot/success").success, SECONDS / (time.monotonic() - wall)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=25)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rclpy.init()
    loop, done, periods = Loop(), [], []
    loop.until(lambda: loop.now > 0, "/clock")
    for number in range(arguments.episodes):
        first = len(loop.told)
        success, factor = loop.episode(GOALS + number)
        done.append(success)
        periods += np.diff(loop.told[first:]).tolist()
        print(f"episode {number}: {'done' if success else 'not done'}, real-time factor {factor:.2f}", flush=True)
    loop.ask("/policy_node/disarm")
    of = lambda values: [float(np.percentile(values, share)) for share in (50, 99, 100)] if len(values) else []
    result = {"done": sum(done), "episodes": len(done), "period_ms": [1000 * value for value in of(periods)], "age_ms": of(loop.ages)}
    print(f"{result['done']} of {result['episodes']} done; control period p50 p99 max "
          f"{' '.join(f'{value:.1f}' for value in result['period_ms'])} ms; image behind a command p50 p99 max "
          f"{' '.join(f'{value:.0f}' for value in result['age_ms'])} ms old")
    if arguments.out:
        arguments.out.write_text(json.dumps(result))
    return 0


sys.exit(main())
