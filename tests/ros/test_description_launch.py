"""The launch file that puts the robot's description and perception together, started with a stand-in for robot_state_publisher."""

import os
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

import launch_forms
from conftest import BIN, ROOT, Process, camera_info, depth_array, image, pixels

FILE = ROOT / "launch/description.launch.py"
ARM = ROOT / "urdf/robots/arm.urdf"
CALIBRATIONS = sorted((ROOT / "calibration/cameras").glob("*.yaml"))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_description_and_filtered_depth_come_together(peer, bundle, tmp_path, monkeypatch):
    # Meshes are found as in an installed package.
    (tmp_path / "share").mkdir()
    (tmp_path / "share/pixio").symlink_to(ROOT)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    publisher, perception = launch_forms.started(FILE, {"bundle": str(bundle), "image": "/eye/image", "camera_info": "/eye/camera_info"})
    assert publisher.executable == ("robot_state_publisher", "robot_state_publisher")
    urdf = publisher.parameters["robot_description"]
    assert urdf == ARM.read_text()
    peer.publisher("/robot_description", String, LATCHED).publish(String(data=urdf))
    frame = launch_forms.arguments(FILE)["frame_id"][0]
    moving = [joint.get("name") for joint in ElementTree.fromstring(urdf).iter("joint")
              if joint.get("type") in ("revolute", "prismatic", "continuous") and joint.find("mimic") is None]
    assert len(moving) >= 6
    peer.listen("/perception_node/depth/image_rect", Image)
    given = [peer.publisher(topic, kind) for topic, kind in
             (("/eye/camera_info", CameraInfo), ("/joint_states", JointState), ("/eye/image", Image))]
    node = Process(perception.command(BIN / "perception_node"), tmp_path / "log")
    try:
        node.wait_for("ready")
        peer.connected(["/eye/image", "/eye/camera_info", "/joint_states", "/robot_description"])
        received = peer.received["/perception_node/depth/image_rect"]
        for sec in range(10, 40):
            joints = [JointState(name=moving, position=[0.01] * len(moving)) for _ in range(2)]
            joints[0].header.stamp.sec, joints[1].header.stamp.sec, joints[1].header.stamp.nanosec = sec, sec, 100_000_000
            given[0].publish(camera_info(sec, frame=frame))
            [given[1].publish(message) for message in joints]
            peer.spin(0.2)
            given[2].publish(image(sec, pixels(), nanosec=50_000_000, frame=frame))
            peer.spin(0.8)
            if received:
                break
        assert received, node.output()
        unknown = np.isnan(depth_array(received[-1])).mean()
        assert 0.01 < unknown < 0.6, "the arm, and no more, is left out"
    finally:
        assert node.stop() == 0


def elements(element):
    """Tags, attributes and order, without the text between them."""
    return element.tag, dict(element.attrib), [elements(child) for child in element]


def test_the_urdf_is_what_xacro_makes_of_its_source():
    publisher = launch_forms.started(FILE, {"description": f"{ARM}.xacro"}, dict(os.environ))[0]
    assert elements(ElementTree.fromstring(publisher.parameters["robot_description"])) == elements(ElementTree.parse(ARM).getroot())


def test_the_camera_is_where_the_description_has_an_optical_frame():
    links = {link.get("name") for link in ElementTree.parse(ARM).getroot().iter("link")}
    frame = launch_forms.arguments(FILE)["frame_id"][0]
    assert frame in links and frame.endswith("_optical")


@pytest.mark.parametrize("path", CALIBRATIONS, ids=lambda path: path.stem)
def test_a_calibration_is_chosen_by_its_name(path):
    camera = launch_forms.started(FILE, {"calibration": path.stem, "image": "/eye/image"})[2]
    assert camera.executable == ("usb_cam", "usb_cam_node_exe")
    assert camera.parameters["camera_info_url"] == path.as_uri()
    assert ("image_raw", "/eye/image") in camera.remaps


def test_what_is_not_there_is_refused_with_what_is():
    with pytest.raises(RuntimeError, match=f"expected one of .*{CALIBRATIONS[0].stem}.*, got front"):
        launch_forms.started(FILE, {"calibration": "front"})
    with pytest.raises(RuntimeError, match="description: expected a URDF or xacro file, got /no/arm.urdf"):
        launch_forms.started(FILE, {"description": "/no/arm.urdf"})


@pytest.mark.parametrize("text, meant", [("True", True), ("1", True), ("False", False), ("0", False)])
def test_true_and_false_may_be_written_as_in_the_other_launch_files(text, meant):
    for name in ("self_filter", "use_sim_time"):
        assert launch_forms.started(FILE, {name: text})[1].parameters[name] is meant
        with pytest.raises(launch_forms.Refused, match=f'"{name}" provided value "maybe"'):
            launch_forms.started(FILE, {name: "maybe"})


def test_every_argument_is_used_and_every_parameter_declared():
    text = FILE.read_text()
    arguments = launch_forms.arguments(FILE)
    assert all(re.search(rf'(value|is_true)\("{name}"\)', text) or name in ("params_file", "log_level") for name in arguments)
    table = (ROOT / "docs/reference.md").read_text()
    perception = launch_forms.started(FILE, {"bundle": "/models/b16"})[1]
    assert {"self_filter", "self_filter_padding", "bundle", "use_sim_time"} == set(perception.parameters)
    assert all(f"`{name}`" in table for name in perception.parameters)
