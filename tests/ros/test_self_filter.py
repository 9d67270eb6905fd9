"""perception_node without the robot's own body in depth and points, over real ROS 2."""

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from conftest import BIN, NETWORK, ROOT, camera_info, depth_array, image, pixels

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BALL, REACH, HEIGHT = 0.12, 0.4, 0.1
CAMERA_AT, FRAME = np.array([1.2, 0.1, 0.3]), "eye_optical"

# A ball that goes round the base, before a camera that looks back along -x.
URDF = f"""
<robot name="ball_on_a_stick">
  <link name="base_link"/>
  <link name="ball"><collision><geometry><sphere radius="{BALL}"/></geometry></collision></link>
  <link name="arm"/>
  <joint name="swing" type="revolute">
    <parent link="base_link"/><child link="arm"/><origin xyz="0 0 {HEIGHT}"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" effort="1" velocity="1"/>
  </joint>
  <joint name="ball_joint" type="fixed"><parent link="arm"/><child link="ball"/><origin xyz="{REACH} 0 0"/></joint>
  <link name="eye"/>
  <joint name="eye_joint" type="fixed">
    <parent link="base_link"/><child link="eye"/>
    <origin xyz="{CAMERA_AT[0]} {CAMERA_AT[1]} {CAMERA_AT[2]}" rpy="0 0 {math.pi}"/>
  </joint>
  <link name="{FRAME}"/>
  <joint name="eye_optical_joint" type="fixed">
    <parent link="eye"/><child link="{FRAME}"/><origin rpy="{-math.pi / 2} 0 {-math.pi / 2}"/>
  </joint>
</robot>
"""


def on_ball(swing, info, padding):
    """Pixels whose rays come nearer to the ball's centre than its radius and the padding, and those where it is a close thing."""
    ball = np.array([REACH * math.cos(swing), REACH * math.sin(swing), HEIGHT])
    rows, columns = np.mgrid[: info.height, : info.width]
    right, down = (columns - info.k[2]) / info.k[0], (rows - info.k[5]) / info.k[4]
    # Optical x, y, z are base y, -z, -x.
    rays = np.stack([-np.ones_like(right), right, -down], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    away = np.linalg.norm(np.cross(ball - CAMERA_AT, rays), axis=-1)
    return away < BALL + padding, np.abs(away - BALL - padding) < 1e-4


class Robot:
    """Two nodes on the same images, one with the filter, and what they are told."""

    def __init__(self, start, peer, bundle, parameters=None, description=URDF):
        self.peer = peer
        given = {"bundle": bundle, "self_filter": "true", "self_filter_padding": 0.03, **(parameters or {})}
        if description is not None:
            peer.publisher("/robot_description", String, LATCHED).publish(String(data=description))
        self.node = start("perception_node", given, name="filtered")
        start("perception_node", {"bundle": bundle}, name="plain")
        for node in ("filtered", "plain"):
            peer.listen(f"/{node}/depth/image_rect", Image)
            peer.listen(f"/{node}/depth/camera_info", CameraInfo)
            peer.listen(f"/{node}/points", PointCloud2)
        for topic, kind in (("/image", Image), ("/camera_info", CameraInfo), ("/joint_states", JointState), ("/tf_static", TFMessage)):
            peer.publisher(topic, kind, LATCHED if topic == "/tf_static" else None)
        peer.connected(["/image", "/camera_info", "/joint_states", "/tf_static"])

    def told(self, node, kind="depth/image_rect"):
        return self.peer.received[f"/{node}/{kind}"]

    def joints(self, sec, nanosec, swing, name="swing"):
        message = JointState(name=[name], position=[swing])
        message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
        self.peer.publishers["/joint_states"].publish(message)

    def see(self, sec, frame=FRAME):
        """An image taken half a second after `sec`, in the middle between two joint states if they were sent."""
        self.peer.publishers["/camera_info"].publish(camera_info(sec, frame=frame))
        self.peer.spin(0.1)
        self.peer.publishers["/image"].publish(image(sec, pixels(), nanosec=500_000_000, frame=frame))

    def check(self, swing, padding):
        """The last depth and points are the plain ones without the ball."""
        [filtered, plain], info = (self.told(node)[-1] for node in ("filtered", "plain")), self.told("plain", "depth/camera_info")[-1]
        assert filtered.header == plain.header
        filtered, plain = depth_array(filtered), depth_array(plain)
        ball, close = on_ball(swing, info, padding)
        assert filtered.shape == (NETWORK[1], NETWORK[0]) and 20 < ball.sum() < ball.size / 2 and close.sum() < 5
        assert np.isfinite(plain[ball]).any(), "there is something to take out"
        assert np.isnan(filtered[ball & ~close]).all()
        rest = ~ball & ~close
        assert np.array_equal(filtered[rest], plain[rest], equal_nan=True), "the rest is untouched"
        clouds = [np.frombuffer(bytes(self.told(node, "points")[-1].data), "<f4").reshape(*ball.shape, 4) for node in ("filtered", "plain")]
        assert np.isnan(clouds[0][..., :3][ball & ~close]).all()
        assert np.array_equal(clouds[0][..., :3][rest], clouds[1][..., :3][rest], equal_nan=True)

    def wait(self, count):
        kinds = [(node, kind) for node in ("filtered", "plain") for kind in ("depth/image_rect", "points")]
        self.peer.spin_until(lambda: all(len(self.told(*kind)) >= count for kind in kinds), f"{count} frames")
        self.peer.spin_until(lambda: self.told("plain", "depth/camera_info"), "camera info")


def test_the_ball_is_where_it_was_when_the_picture_was_taken(start, peer, bundle):
    robot = Robot(start, peer, bundle)
    robot.joints(10, 450_000_000, -0.3)
    robot.joints(10, 550_000_000, 0.5)
    robot.see(10)
    robot.wait(1)
    robot.check(0.1, padding=0.03)


def test_a_frame_whose_joints_are_not_known_is_not_published(start, peer, bundle):
    robot = Robot(start, peer, bundle)
    robot.joints(10, 450_000_000, 0.0, name="another")
    robot.see(10)
    robot.node.wait_for("joint swing: no joint_states message has told of it")
    robot.joints(11, 450_000_000, 0.0)
    robot.see(11)
    robot.node.wait_for("joint swing: expected joint_states around 11.500000000, known from 11.450000000 to 11.450000000")
    robot.joints(12, 100_000_000, 0.0)
    robot.joints(12, 700_000_000, 0.0)
    robot.see(12)
    robot.node.wait_for("are 600 ms apart")
    assert robot.told("filtered") == [] and robot.told("filtered", "points") == []
    robot.joints(13, 500_000_000, 0.2)
    robot.see(13)
    peer.spin_until(lambda: robot.told("filtered"), "a frame with joints")
    peer.spin_until(lambda: robot.told("plain")[-1].header.stamp.sec == 13, "the same frame")
    robot.wait(1)
    robot.check(0.2, padding=0.03)


def test_a_camera_that_the_urdf_does_not_have_is_found_by_tf(start, peer, bundle):
    # As a driver does: its optical frame under the URDF's camera link.
    urdf = URDF.replace(f'<link name="{FRAME}"/>', "").replace("eye_optical_joint", "gone")
    urdf = urdf[: urdf.index('<joint name="gone"')] + "</robot>"
    robot = Robot(start, peer, bundle, {"self_filter_padding": 0.0}, urdf)
    robot.joints(10, 500_000_000, 0.1)
    robot.see(10)
    robot.node.wait_for(f"camera frame {FRAME} is no link of robot ball_on_a_stick")
    transform = TransformStamped(child_frame_id=FRAME)
    transform.header.frame_id = "eye"
    turned = transform.transform.rotation
    turned.x, turned.y, turned.z, turned.w = -0.5, 0.5, -0.5, 0.5
    peer.publishers["/tf_static"].publish(TFMessage(transforms=[transform]))
    peer.spin(0.3)
    robot.joints(11, 500_000_000, 0.1)
    robot.see(11)
    peer.spin_until(lambda: robot.told("filtered"), "a frame")
    peer.spin_until(lambda: robot.told("plain")[-1].header.stamp.sec == 11, "the same frame")
    robot.wait(1)
    robot.check(0.1, padding=0.0)


def test_a_broken_description_is_told_and_nothing_is_published(start, peer, bundle):
    robot = Robot(start, peer, bundle, description=URDF.replace('child link="ball"', 'child link="bowl"'))
    robot.node.wait_for("topic robot_description: joint ball_joint: child bowl: no such link")
    robot.joints(10, 500_000_000, 0.1)
    robot.see(10)
    peer.spin_until(lambda: robot.told("plain"), "the plain frame")
    peer.spin(0.5)
    assert robot.told("filtered") == []
    assert "self-filter: topic robot_description: joint ball_joint" in robot.node.output()


def test_the_example_arm_is_taken_from_its_file(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle, "self_filter": "true", "robot_description": ROOT / "urdf/robots/arm.urdf"})
    node.wait_for("self-filter: robot arm with")


@pytest.mark.parametrize(
    "parameters, reason",
    [
        ({"robot_description": "/nowhere/arm.urdf"}, "/nowhere/arm.urdf"),
        ({"robot_description": "'<robot/>'"}, "parameter robot_description: expected one tree of links, got no links"),
        ({"self_filter_padding": "-0.1"}, "self_filter_padding"),
        ({"self_filter": "perhaps"}, "self_filter"),
    ],
)
def test_wrong_parameters_are_refused_with_a_reason(bundle, parameters, reason):
    command = [str(BIN / "perception_node"), "--ros-args"]
    for key, value in {"bundle": bundle, "self_filter": "true", **parameters}.items():
        command += ["-p", f"{key}:={value}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and reason in ended.stderr + ended.stdout, ended


def test_generated_messages_are_the_ones_of_ros():
    """The type hash of tf2_msgs as Jazzy's packages have it; peers with another hash are not heard."""
    share = Path(get_package_share_directory("tf2_msgs"))
    hashes = json.loads((share / "msg/TFMessage.json").read_text())["type_hashes"]
    told = {entry["type_name"]: entry["hash_string"] for entry in hashes}
    assert told["tf2_msgs/msg/TFMessage"] == "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
