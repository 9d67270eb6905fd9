"""Lets policy_node drive the simulated robot: each episode begins with a policy that has seen nothing of the one before."""

import json

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from peer import Peer

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
SETTLED_NANOS = 100_000_000  # two pictures after a reset, none of the episode before is on its way


def nanos(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


class Driver(Peer):
    """Knows the clock, the policy's newest chunk and policy_node's state. `perception` is the node that has the policy."""

    def __init__(self, name, patience, perception="/perception_node"):
        super().__init__(name, patience)
        self.perception, self.now, self.predicted, self.state = perception, 0, 0, {}
        self.node.create_subscription(Clock, "/clock", self.on_clock, RELIABLE)

    def listen_to_policy(self):
        self.node.create_subscription(String, "/policy_node/state", self.on_state, LATCHED)
        self.node.create_subscription(JointTrajectory, f"{self.perception}/action_chunk", self.on_chunk, RELIABLE)

    def on_clock(self, message):
        self.now = nanos(message.clock)

    def on_state(self, message):
        self.state = json.loads(message.data)

    def on_chunk(self, message):
        self.predicted = nanos(message.header.stamp)

    def sleep(self, simulated_nanos):
        due = self.now + simulated_nanos
        self.until(lambda: self.now >= due, "time")

    def place(self, seed=None):
        """The robot's objects anew; what the robot says of them."""
        if seed is not None:
            value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
            request = SetParameters.Request(parameters=[Parameter(name="seed", value=value)])
            self.ask("/robot/set_parameters", SetParameters, request)
        return self.ask("/robot/reset").message

    def stop(self):
        """policy_node to IDLE, out of a fault too."""
        if not self.ask("/policy_node/disarm").success:
            self.ask("/policy_node/reset")
        self.until(lambda: self.state.get("state") == "IDLE", "IDLE of policy_node")

    def begin(self, seed=None):
        """Places the objects, lets the policy forget, arms, and returns at the first command; what the robot says of the objects."""
        self.stop()
        placed = self.place(seed)
        self.sleep(SETTLED_NANOS)
        self.ask(f"{self.perception}/reset_policy")
        forgot = self.now
        self.until(lambda: self.predicted > forgot, "a new action chunk")
        answer = self.ask("/policy_node/arm")
        if not answer.success:
            raise SystemExit(f"{self.node.get_name()}: /policy_node/arm: {answer.message}")
        self.until(lambda: self.state.get("state") == "RUNNING", "RUNNING of policy_node")
        return placed
