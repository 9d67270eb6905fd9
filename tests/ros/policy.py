"""What stands around `policy_node` in tests: a robot that does as it is told, and a policy that predicts."""

import json
import math
import threading
import time

import rclpy
from builtin_interfaces.msg import Duration, Time
from control_msgs.msg import JointJog
from geometry_msgs.msg import TwistStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String, UInt16
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from conftest import PATIENCE, ROOT
from peer import ask

NODE = "/policy_node"
URDF = ROOT / "urdf/robots/arm.urdf"
JOINTS = ["shoulder_pan", "elbow"]
# Of the description, and what the node makes of them.
VELOCITY = {"shoulder_pan": 0.5 * 2.5, "elbow": 0.5 * 3.0}
ACCELERATION = 8.0
POSITION = {"shoulder_pan": 2.9, "elbow": 2.6}
PERIOD = 0.01

DEEP = QoSProfile(depth=5000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
KINDS = {"joint_trajectory": JointTrajectory, "commands": Float64MultiArray, "joint_jog": JointJog,
         "twist": TwistStamped, "gripper": Float64MultiArray}

# Times that a loaded machine keeps; what a test is about it sets itself.
PATIENT = {
    "max_joint_state_age_secs": 5.0, "watchdog_secs": 5.0, "fault_after_secs": 60.0, "deadman_timeout_secs": 5.0,
    "max_observation_age_secs": 20.0, "human_timeout_secs": 5.0, "clock_timeout_secs": 20.0,
}


def parameters(topics=("joint_trajectory", "command"), **own):
    """A two-joint arm, patient; no command that is published on these topics may be lost on its way here."""
    deep = {f"qos_overrides.{NODE}/{topic}.publisher.depth": 5000 for topic in topics}
    given = {"robot_description": URDF, "joints": f"[{', '.join(JOINTS)}]", "deadman": "none"}
    return {**PATIENT, **given, **deep, **own}


def seconds(stamp):
    return stamp.sec + 1e-9 * stamp.nanosec


def stamp(secs):
    return Time(sec=int(secs // 1), nanosec=int(secs % 1 * 1e9))


def chunk(observed, steps, period=0.1, names=JOINTS, kind="positions"):
    """A chunk of one list of numbers a step."""
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = stamp(observed)
    for index, numbers in enumerate(steps):
        due = (index + 1) * period
        point = JointTrajectoryPoint(time_from_start=Duration(sec=int(due), nanosec=round(due % 1 * 1e9)))
        setattr(point, kind, [float(number) for number in numbers])
        message.points.append(point)
    return message


class Spinning:
    """A node, `self.node`, that is spun on a thread of its own from `start` to `close`."""

    def start(self):
        self.executor, self.stopping = SingleThreadedExecutor(), False
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.thread.start()

    def spin(self):
        while not self.stopping:
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.stopping = True
        self.thread.join()
        self.executor.shutdown()
        self.node.destroy_node()


class Rig(Spinning):
    """A node in a thread of its own: joint states that follow the commands, chunks, a deadman, a clock."""

    def __init__(self, names=JOINTS, space="positions", sim=False):
        self.node = rclpy.create_node("rig")
        self.names, self.space, self.sim, self.tells_time = list(names), space, sim, sim
        self.positions = {name: 0.0 for name in names}
        self.velocities = {name: 0.0 for name in names}
        self.controller_timeout = 0.1
        self.commands, self.records, self.states = [], [], []
        self.actions, self.limiters, self.interventions = [], [], []
        self.alive = {"joints": True, "chunks": True, "deadman": True, "clock": True}
        self.pressed = True
        self.target = lambda t: [0.0] * len(self.names)
        self.delay, self.steps, self.chunk_period, self.chunk_kind = 0.0, 20, 0.1, "positions"
        self.chunk_names = self.names
        self.sim_time, self.last_told, self.lock = 100.0, 0.0, threading.RLock()
        self.publishers = {}
        for name, kind in KINDS.items():
            self.node.create_subscription(kind, f"{NODE}/{name}", lambda m, name=name: self.told(name, m), DEEP)
        hear = self.node.create_subscription
        hear(JointState, f"{NODE}/command", lambda m: self.keep(self.records, m), DEEP)
        hear(JointState, f"{NODE}/policy_action", lambda m: self.keep(self.actions, m), DEEP)
        hear(UInt16, f"{NODE}/limiters", lambda m: self.keep(self.limiters, m.data), DEEP)
        hear(Bool, f"{NODE}/intervention", lambda m: self.keep(self.interventions, m.data), DEEP)
        hear(String, f"{NODE}/state", lambda m: self.keep(self.states, json.loads(m.data)), LATCHED)
        self.node.create_timer(0.02, self.send_joints)
        self.node.create_timer(0.05, self.send_chunk)
        self.node.create_timer(0.05, self.send_deadman)
        self.node.create_timer(0.01, self.send_clock)
        self.start()

    def keep(self, kept, value):
        with self.lock:
            kept.append((time.time(), value))

    def publish(self, topic, kind, message, qos=10):
        with self.lock:
            if topic not in self.publishers:
                self.publishers[topic] = self.node.create_publisher(kind, topic, qos)
        self.publishers[topic].publish(message)

    def now(self):
        return self.sim_time if self.sim else time.time()

    # What the robot does.

    def told(self, topic, message):
        with self.lock:
            self.commands.append((time.time(), topic, message))
            self.last_told = time.time()
            if topic == "joint_trajectory":
                assert len(message.points) == 1 and message.joint_names == self.names
                self.positions.update(zip(message.joint_names, message.points[0].positions))
            elif topic == "commands" and self.space == "positions":
                self.positions.update(zip(self.names, message.data))
            elif topic in ("commands", "joint_jog"):
                numbers = message.data if topic == "commands" else message.velocities
                self.velocities.update(zip(self.names, numbers))

    def send_joints(self):
        if not self.alive["joints"]:
            return
        with self.lock:
            # A controller of velocities stops by itself when it hears nothing more.
            if time.time() - self.last_told > self.controller_timeout:
                self.velocities = {name: 0.0 for name in self.names}
            for name, velocity in self.velocities.items():
                self.positions[name] += 0.02 * velocity
            message = JointState(name=self.names, position=[float(self.positions[name]) for name in self.names])
        message.header.stamp = stamp(self.now())
        self.publish("/joint_states", JointState, message)

    # What the policy, the human at the deadman and the simulator do.

    def send_chunk(self):
        if self.alive["chunks"]:
            observed = self.now() - self.delay
            steps = [self.target(observed + k * self.chunk_period) for k in range(self.steps)]
            self.send(chunk(observed, steps, self.chunk_period, self.chunk_names, self.chunk_kind))

    def send(self, message):
        self.publish("/action_chunk", JointTrajectory, message)

    def send_deadman(self):
        if self.alive["deadman"]:
            self.publish("/deadman", Bool, Bool(data=self.pressed))

    def send_clock(self):
        with self.lock:
            self.sim_time += 0.01 if self.alive["clock"] else 0.0
        if self.tells_time:
            self.publish("/clock", Clock, Clock(clock=stamp(self.sim_time)))

    # What a test asks.

    def until(self, condition, what, patience=PATIENCE):
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"no {what} within {patience} s; states: {self.seen()}"
            time.sleep(0.01)

    def seen(self):
        with self.lock:
            return [state for _, state in self.states]

    def state(self):
        seen = self.seen()
        return seen[-1]["state"] if seen else None

    def reason(self):
        return self.seen()[-1]["reason"]

    def wait_for(self, state, reason=""):
        self.until(lambda: self.state() == state and reason in self.reason(), f"state {state} {reason}")

    def ask(self, service, engaged=None):
        kind = Trigger if engaged is None else SetBool
        request = kind.Request() if engaged is None else kind.Request(data=engaged)
        return ask(self.node, self.until, f"{NODE}/{service}", kind, request)

    def arm(self):
        """Arms, which a node that has just become active allows."""
        self.wait_for("IDLE")
        answer = self.ask("arm")
        assert answer.success, answer
        self.wait_for("RUNNING")

    def recorded(self, name, kind="position"):
        """Stamp and number of every recorded command."""
        with self.lock:
            messages = [message for _, message in self.records]
        return [(seconds(m.header.stamp), getattr(m, kind)[list(m.name).index(name)]) for m in messages]


def check_positions(rig, start=None):
    """Every command within position and velocity limits, tick by tick: no tick moves further than one period allows."""
    for name in JOINTS:
        track = [position for _, position in rig.recorded(name)]
        assert len(track) > 20
        assert all(math.isfinite(p) and abs(p) <= POSITION[name] - 0.01 + 1e-9 for p in track)
        most = VELOCITY[name] * PERIOD * (1 + 1e-6)
        assert max((abs(b - a) for a, b in zip(track, track[1:])), default=0.0) <= most, name
        if start is not None:
            assert abs(track[0] - start[name]) <= most, "begins where the robot is"


def check_velocities(rig):
    """Every command within velocity and acceleration limits, tick by tick."""
    for name in JOINTS:
        track = [velocity for _, velocity in rig.recorded(name, "velocity")]
        assert len(track) > 20
        assert all(math.isfinite(v) and abs(v) <= VELOCITY[name] * (1 + 1e-9) for v in track)
        changes = [abs(b - a) for a, b in zip([0.0, *track], track)]
        assert max(changes) <= ACCELERATION * PERIOD * (1 + 1e-6), name
