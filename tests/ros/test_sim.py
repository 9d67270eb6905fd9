"""The simulated robot's ROS side (tests/sim/robot.py), with a scene that needs no MuJoCo."""

import sys

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray

from conftest import ROOT, Process, depth_array
from peer import ask

HEARD = {"/camera/image": Image, "/camera/camera_info": CameraInfo, "/camera/depth/image_rect": Image, "/clock": Clock,
         "/joint_states": JointState, "/proprioception": JointState, "/tool_pose": PoseStamped}
TELEOPERATION = {"/teleoperation/twist": TwistStamped, "/teleoperation/gripper": Float64MultiArray}


@pytest.fixture
def robot(tmp_path, peer):
    """A robot as fast as this machine allows, and a peer that hears all of it."""
    command = [sys.executable, ROOT / "tests/sim/robot.py", "--scene", "stand-in", "--seed", "3", "--width", "64", "--height", "48",
               "--teleoperate", "--speed", "4"]
    process = Process(command, tmp_path / "robot.log")
    process.wait_for("ready")
    for topic, kind in {**HEARD, **TELEOPERATION}.items():
        peer.listen(topic, kind)
    peer.spin_until(lambda: all(peer.received.values()), "topics")
    yield process
    assert process.stop() == 0, process.output()


def nanos(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


def hand(peer):
    return np.array(peer.received["/proprioception"][-1].position)


def test_pictures_depth_and_state_share_the_clock(robot, peer):
    peer.spin_until(lambda: len(peer.received["/camera/depth/image_rect"]) > 5, "pictures")
    clocks = [nanos(message.clock) for message in peer.received["/clock"]]
    assert set(np.diff(clocks)) == {12_500_000}
    stamps = {topic: [nanos(message.header.stamp) for message in peer.received[topic]] for topic in HEARD if topic != "/clock"}
    assert set(np.diff(stamps["/camera/image"])) == {50_000_000}
    assert set(np.diff(stamps["/joint_states"])) == {12_500_000}
    assert set(stamps["/camera/depth/image_rect"]) <= set(stamps["/camera/camera_info"])
    info, image = peer.received["/camera/camera_info"][-1], peer.received["/camera/image"][-1]
    assert (image.width, image.height, image.encoding, image.step) == (64, 48, "rgb8", 192)
    assert info.header.frame_id == image.header.frame_id == "camera_optical_frame"
    # The camera is a metre over the table and looks down: the depth at the edge is known.
    depth = depth_array(peer.received["/camera/depth/image_rect"][-1])
    assert depth[0, 0] == 1.0 and depth.min() < 0.9
    assert list(info.k) == [list(info.p)[i] for i in (0, 1, 2, 4, 5, 6, 8, 9, 10)]
    assert info.k[0] == pytest.approx(24 / np.tan(np.radians(30)))


def test_a_velocity_moves_the_hand_and_ends_by_itself(robot, peer):
    twist = peer.publisher("/command/twist", TwistStamped, QoSProfile(depth=10))
    peer.spin_until(lambda: twist.get_subscription_count() > 0, "the robot's subscription")
    message = TwistStamped()
    message.twist.linear.x = 0.25
    before = hand(peer)
    twist.publish(message)
    peer.spin_until(lambda: hand(peer)[0] > before[0], "motion")
    # Held for 0.2 s of simulated time after it was heard, and no longer: 17 ticks of 12.5 ms at most.
    count = len(peer.received["/clock"])
    peer.spin_until(lambda: len(peer.received["/clock"]) > count + 60, "time")
    after = hand(peer)
    assert after[0] - before[0] == pytest.approx(0.25 * 17 * 0.0125, abs=0.25 * 1.5 * 0.0125)
    assert after[1:3] == pytest.approx(before[1:3])


@pytest.mark.parametrize("field, value, said", [("linear", float("nan"), "finite"), ("angular", 0.1, "does not turn")])
def test_commands_that_cannot_be_followed_are_refused(robot, peer, field, value, said):
    twist = peer.publisher("/command/twist", TwistStamped, QoSProfile(depth=10))
    peer.spin_until(lambda: twist.get_subscription_count() > 0, "the robot's subscription")
    before, message = hand(peer), TwistStamped()
    message.twist.linear.y = 0.2
    setattr(getattr(message.twist, field), "x", value)
    twist.publish(message)
    robot.wait_for(said)
    assert hand(peer)[:3] == pytest.approx(before[:3])


def test_the_teleoperator_does_the_task_and_a_reset_places_it_anew(robot, peer):
    assert not ask(peer.node, peer.spin_until, "/robot/success").success
    twist = peer.publisher("/command/twist", TwistStamped, QoSProfile(depth=10))
    gripper = peer.publisher("/command/gripper", Float64MultiArray, QoSProfile(depth=10))

    def follow(message):
        twist.publish(message)
        gripper.publish(peer.received["/teleoperation/gripper"][-1])

    peer.node.create_subscription(TwistStamped, "/teleoperation/twist", follow, 10)
    peer.spin_until(lambda: ask(peer.node, peer.spin_until, "/robot/success").success, "success")
    peer.spin_until(lambda: hand(peer)[3] < 0.1, "a closed gripper")
    assert ask(peer.node, peer.spin_until, "/robot/reset").message == "stand-in, seed 4"
    assert not ask(peer.node, peer.spin_until, "/robot/success").success
    chosen = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=3)
    request = SetParameters.Request(parameters=[Parameter(name="seed", value=chosen)])
    assert ask(peer.node, peer.spin_until, "/robot/set_parameters", SetParameters, request).results[0].successful
    assert ask(peer.node, peer.spin_until, "/robot/reset").message == "stand-in, seed 3"
