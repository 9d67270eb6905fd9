"""A simulated robot on ROS 2: camera with true depth, joint and gripper state, /clock, velocity commands, a scripted teleoperator.

    robot.py --scene hammer-v3 [--seed 100] [--teleoperate] [--ros-args ...]

| topic | type | |
|---|---|---|
| /clock | Clock | simulated time, 80 Hz; its real-time factor is printed |
| camera/image, camera/camera_info | Image rgb8, CameraInfo | 20 Hz |
| camera/depth/image_rect | Image 32FC1 | the truth, metres along the optical axis, NaN where nothing is; drawn when someone listens |
| joint_states | JointState | arm and fingers, 80 Hz |
| proprioception | JointState | what demonstrations call observation.state: the hand's position.x y z (m) and the gripper's opening |
| tool_pose | PoseStamped | of the hand, 80 Hz |
| /tf_static | TFMessage | the camera in the world |
| in command/twist | TwistStamped | the hand's velocity, m/s, in the world; held for at most --timeout seconds of simulated time. It does not turn |
| in command/gripper | Float64MultiArray | opening, 0 closed to 1 open; held |
| teleoperation/twist, teleoperation/gripper | | with --teleoperate: what MetaWorld's expert would do, 20 Hz, from 0.5 s after a reset on |

Services (std_srvs/Trigger): ~/reset places the objects anew, by the parameter `seed`, which then grows by one; ~/success says whether
the task is done at this moment. Stamps are simulated time, so peers run with use_sim_time. QoS: reliable, keep last 5.
"""

import argparse
import math
import signal
import sys
import time

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TransformStamped, TwistStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

TICK_NANOS = 12_500_000
TICKS_PER_PICTURE = 4
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
START_NANOS = 100 * 10**9  # zero is no time to ROS
REPORT_SECONDS = 5.0
TELEOPERATOR_TICKS = 40  # 0.5 s from a reset until the teleoperator begins: a recorder is started in between
MOST_TURNING = 0.05  # rad/s; less is taken for none: a network's zero is not exact
SPINS_PER_TICK = 3  # callbacks before a tick even when it is late: a velocity, a gripper, a service


def make_scene(name, width, height):
    """The scene and its expert, a function of the scene to an action."""
    if name == "stand-in":
        from stand_in import StandIn, StandInExpert

        scene, expert = StandIn(width, height), StandInExpert()
        return scene, expert.action
    from scene import Cell, Expert

    scene, expert = Cell(name, width, height), Expert(name)
    return scene, lambda cell: expert.action(cell.observation)


def ros_time(nanos):
    return Time(sec=nanos // 10**9, nanosec=nanos % 10**9)


class Commands:
    """What the robot was told last; a velocity ends by itself, as a controller's would."""

    def __init__(self, timeout):
        self.timeout_nanos = round(timeout * 1e9)
        self.clear()

    def clear(self):
        self.velocity, self.heard_nanos, self.opening, self.ended = np.zeros(3), None, 1.0, 0

    def take_twist(self, message, now):
        linear, angular = message.twist.linear, message.twist.angular
        numbers = [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z]
        if not all(map(math.isfinite, numbers)):
            return f"expected finite velocities, got {numbers}"
        if max(map(abs, numbers[3:])) > MOST_TURNING:
            return f"this hand does not turn: expected an angular velocity below {MOST_TURNING} rad/s, got {numbers[3:]}"
        self.velocity, self.heard_nanos = np.array(numbers[:3]), now
        return None

    def take_gripper(self, message):
        if len(message.data) != 1 or not 0.0 <= message.data[0] <= 1.0:
            return f"expected one opening from 0 to 1, got {list(message.data)}"
        self.opening = message.data[0]
        return None

    def at(self, now):
        """Velocity and opening that hold now."""
        if self.heard_nanos is not None and now - self.heard_nanos > self.timeout_nanos:
            self.heard_nanos, self.velocity = None, np.zeros(3)
            self.ended += 1
        return self.velocity, self.opening


class Robot:
    def __init__(self, arguments, ros_arguments):
        rclpy.init(args=ros_arguments)
        self.node = rclpy.create_node("robot")
        self.scene, self.expert = make_scene(arguments.scene, arguments.width, arguments.height)
        self.teleoperate, self.speed = arguments.teleoperate, arguments.speed
        self.nanos, self.ticks, self.commands = START_NANOS, 0, Commands(arguments.timeout)
        self.node.declare_parameter("seed", arguments.seed)
        self.publishers()
        self.node.create_subscription(TwistStamped, "command/twist", self.on_twist, NEWEST)
        self.node.create_subscription(Float64MultiArray, "command/gripper", self.on_gripper, NEWEST)
        self.node.create_service(Trigger, "~/reset", self.on_reset)
        self.node.create_service(Trigger, "~/success", self.on_success)
        self.reset()

    def publishers(self):
        make = self.node.create_publisher
        self.clock = make(Clock, "/clock", RELIABLE)
        self.image = make(Image, "camera/image", RELIABLE)
        self.info = make(CameraInfo, "camera/camera_info", RELIABLE)
        self.depth = make(Image, "camera/depth/image_rect", RELIABLE)
        self.joints = make(JointState, "joint_states", RELIABLE)
        self.proprioception = make(JointState, "proprioception", RELIABLE)
        self.tool = make(PoseStamped, "tool_pose", RELIABLE)
        self.static = make(TFMessage, "/tf_static", LATCHED)
        if self.teleoperate:
            self.teleoperation = make(TwistStamped, "teleoperation/twist", RELIABLE)
            self.teleoperated_gripper = make(Float64MultiArray, "teleoperation/gripper", RELIABLE)
        self.static.publish(TFMessage(transforms=[self.camera_transform()]))

    def camera_transform(self):
        position, quaternion = self.scene.camera_pose()
        message = TransformStamped(child_frame_id="camera_optical_frame")
        message.header.frame_id = "world"
        move, turn = message.transform.translation, message.transform.rotation
        move.x, move.y, move.z = map(float, position)
        turn.x, turn.y, turn.z, turn.w = map(float, quaternion)
        return message

    # What it is told.

    def on_twist(self, message):
        self.refuse("command/twist", self.commands.take_twist(message, self.nanos))

    def on_gripper(self, message):
        self.refuse("command/gripper", self.commands.take_gripper(message))

    def refuse(self, topic, reason):
        if reason:
            self.node.get_logger().error(f"{topic}: {reason}", throttle_duration_sec=2.0)

    def on_reset(self, _, response):
        seed = self.reset()
        response.success, response.message = True, f"{self.scene.task}, seed {seed}"
        return response

    def on_success(self, _, response):
        response.success = self.scene.success
        response.message = f"{self.scene.task} {'done' if self.scene.success else 'not done'}"
        return response

    def reset(self):
        seed = self.node.get_parameter("seed").value
        self.scene.reset(seed)
        self.commands.clear()
        self.teleoperated_from = self.ticks + TELEOPERATOR_TICKS
        self.node.set_parameters([rclpy.Parameter("seed", value=seed + 1)])
        return seed

    # What it tells.

    def stamped(self, message, frame="world"):
        message.header.stamp, message.header.frame_id = ros_time(self.nanos), frame
        return message

    def publish_state(self):
        self.clock.publish(Clock(clock=ros_time(self.nanos)))
        joints = self.scene.joints()
        self.joints.publish(self.stamped(JointState(name=list(joints), position=[float(value) for value in joints.values()])))
        names = ["position.x", "position.y", "position.z", "gripper"]
        values = [float(value) for value in self.scene.proprioception()]
        self.proprioception.publish(self.stamped(JointState(name=names, position=values)))
        position, quaternion = self.scene.tool_pose()
        message = self.stamped(PoseStamped())
        place, turn = message.pose.position, message.pose.orientation
        place.x, place.y, place.z = map(float, position)
        turn.x, turn.y, turn.z, turn.w = map(float, quaternion)
        self.tool.publish(message)

    def publish_pictures(self):
        frame, (width, height) = "camera_optical_frame", (self.scene.width, self.scene.height)
        info = self.stamped(CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5), frame)
        fx, fy, cx, cy = map(float, self.scene.intrinsics())
        info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
        self.info.publish(info)
        picture = self.scene.picture()
        self.image.publish(self.stamped(Image(width=width, height=height, encoding="rgb8", step=3 * width,
                                              data=picture.tobytes()), frame))
        if self.depth.get_subscription_count():
            depth = self.scene.depth()
            depth[depth == 0] = np.nan
            self.depth.publish(self.stamped(Image(width=width, height=height, encoding="32FC1", step=4 * width,
                                                  data=depth.astype("<f4").tobytes()), frame))

    def publish_teleoperation(self):
        action = [float(value) for value in self.expert(self.scene)]
        message = self.stamped(TwistStamped())
        linear = message.twist.linear
        linear.x, linear.y, linear.z = action[:3]
        self.teleoperation.publish(message)
        self.teleoperated_gripper.publish(Float64MultiArray(data=[min(max(action[3], 0.0), 1.0)]))

    # What it does.

    def tick(self):
        self.scene.tick(*self.commands.at(self.nanos))
        self.nanos += TICK_NANOS
        self.ticks += 1
        self.publish_state()
        if self.ticks % TICKS_PER_PICTURE == 0:
            self.publish_pictures()
            if self.teleoperate and self.ticks >= self.teleoperated_from:
                self.publish_teleoperation()

    def run(self, stopped):
        """Ticks in step with the wall clock, or as fast as it can when that is too fast."""
        period = TICK_NANOS * 1e-9 / self.speed
        due = reported = time.monotonic()
        ticks_reported = self.ticks
        print("ready", flush=True)
        while not stopped:
            rclpy.spin_once(self.node, timeout_sec=max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now < due:
                continue
            for _ in range(SPINS_PER_TICK):
                rclpy.spin_once(self.node, timeout_sec=0.0)
            self.tick()
            # What was missed is not caught up: simulated time runs slower than the wall's.
            due = max(due + period, now - period)
            if now - reported >= REPORT_SECONDS:
                factor = (self.ticks - ticks_reported) * TICK_NANOS * 1e-9 / (now - reported)
                print(f"real-time factor {factor:.2f}, commands that ended by timeout {self.commands.ended}, "
                      f"success {self.scene.success}", flush=True)
                reported, ticks_reported = now, self.ticks

    def close(self):
        self.scene.close()
        self.node.destroy_node()
        rclpy.shutdown()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", default="hammer-v3", help="a task of MetaWorld, or stand-in")
    parser.add_argument("--seed", type=int, default=100, help="of the first episode")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--timeout", type=float, default=0.2, help="seconds for which a velocity is held")
    parser.add_argument("--speed", type=float, default=1.0, help="wanted real-time factor")
    parser.add_argument("--teleoperate", action="store_true")
    given = sys.argv[1:]
    split = given.index("--ros-args") if "--ros-args" in given else len(given)
    arguments = parser.parse_args(given[:split])
    robot, stopped = Robot(arguments, given[split:]), []
    for caught in (signal.SIGINT, signal.SIGTERM):
        signal.signal(caught, lambda *_: stopped.append(True))
    robot.run(stopped)
    robot.close()


if __name__ == "__main__":
    main()
