"""Launch and configuration files for mappers and planners: they parse, and what they listen to is what perception_node publishes."""

import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

import launch_forms
from conftest import ROOT

FOLDER = ROOT / "launch/consumers"
IMAGE, INFO, CLOUD = (f"sensor_msgs/msg/{kind}" for kind in ("Image", "CameraInfo", "PointCloud2"))

# What each consumer's own sources subscribe to (docs/launch.md), and how reliably with the settings of these files.
NVBLOX = {"camera_0/depth/image": IMAGE, "camera_0/depth/camera_info": INFO, "camera_0/color/image": IMAGE, "camera_0/color/camera_info": INFO}
RTABMAP = {"rgb/image": IMAGE, "rgb/camera_info": INFO, "depth/image": IMAGE}


def asking(reliability, durability=DurabilityPolicy.VOLATILE):
    return QoSProfile(depth=10, reliability=reliability, durability=durability, liveliness=LivelinessPolicy.AUTOMATIC)


RELIABLE, BEST_EFFORT = asking(ReliabilityPolicy.RELIABLE), asking(ReliabilityPolicy.BEST_EFFORT)


def nodes(name, **given):
    """The nodes of an XML launch file: executable to parameters and remaps."""
    root, variables, found = ElementTree.parse(FOLDER / name).getroot(), {}, {}
    perform = lambda text: launch_forms.substitute(text, variables, FOLDER, {})
    for entry in root:
        if entry.tag == "arg":
            assert entry.get("description"), entry.get("name")
            variables[entry.get("name")] = given.pop(entry.get("name"), perform(entry.get("default")))
        elif entry.tag == "let":
            variables[entry.get("name")] = perform(entry.get("value"))
        elif perform(entry.get("if", "true")).lower() == "true":
            parameters = {child.get("name"): perform(child.get("value")) for child in entry.iter("param")}
            remaps = {child.get("from"): perform(child.get("to")) for child in entry.iter("remap")}
            found[entry.get("exec")] = (parameters, remaps)
    assert not given, "every argument that is given is declared"
    return found


@pytest.fixture(params=["", "front"], ids=["one camera", "a named camera"])
def perception(request, start, bundle):
    start("perception_node", {"bundle": bundle, **({"cameras": f"[{request.param}]"} if request.param else {})})
    return "/perception_node" + (f"/{request.param}" if request.param else "")


def check(peer, topic, kind, qos):
    """A publisher of this type that serves a subscriber that asks for this quality of service."""
    peer.spin_until(lambda: peer.node.count_publishers(topic) == 1, topic)
    [offer] = peer.node.get_publishers_info_by_topic(topic)
    assert offer.topic_type == kind, topic
    compatible, reason = qos_check_compatible(offer.qos_profile, qos)
    assert compatible == QoSCompatibility.OK, f"{topic}: {reason}"


def test_nvblox_hears_what_it_needs(peer, perception):
    [(parameters, remaps)] = nodes("nvblox.launch.xml", perception=perception).values()
    assert set(remaps) == set(NVBLOX) and parameters["input_qos"] == "SYSTEM_DEFAULT"
    assert parameters["use_tf_transforms"] == "true" and parameters["global_frame"] == "odom"
    for name, kind in NVBLOX.items():
        check(peer, remaps[name], kind, RELIABLE)
    # One camera for both: colour has the depth's size.
    assert remaps["camera_0/color/camera_info"] == remaps["camera_0/depth/camera_info"]


@pytest.mark.parametrize("odometry", ["visual", "tf"])
def test_rtabmap_hears_what_it_needs(peer, perception, odometry):
    found = nodes("rtabmap.launch.xml", perception=perception, odometry=odometry)
    assert set(found) == ({"rgbd_odometry", "rtabmap"} if odometry == "visual" else {"rtabmap"})
    # With a frame it takes the odometry from /tf; without, from the topic that rgbd_odometry publishes.
    assert found["rtabmap"][0]["odom_frame_id"] == ("odom" if odometry == "tf" else "")
    for parameters, remaps in found.values():
        assert set(remaps) == set(RTABMAP) and parameters["approx_sync"] == "false"
        assert "1" in (parameters.get("qos"), parameters.get("qos_image")) and parameters["qos_camera_info"] == "1"
        for name, kind in RTABMAP.items():
            check(peer, remaps[name], kind, RELIABLE)


def test_moveit_hears_what_it_needs(peer, start, bundle):
    start("perception_node", {"bundle": bundle})
    read = yaml.safe_load((FOLDER / "sensors_3d.yaml").read_text())
    named = [name for name in read if name != "sensors"]
    assert read["sensors"] and set(read["sensors"]) <= set(named)
    for sensor in (read[name] for name in named):
        if sensor["sensor_plugin"] == "occupancy_map_monitor/DepthImageOctomapUpdater":
            check(peer, sensor["image_topic"], IMAGE, BEST_EFFORT)
            # image_transport takes the camera info beside the image.
            check(peer, sensor["image_topic"].rsplit("/", 1)[0] + "/camera_info", INFO, BEST_EFFORT)
            assert 0 < sensor["near_clipping_plane_distance"] < sensor["far_clipping_plane_distance"]
        else:
            assert sensor["sensor_plugin"] == "occupancy_map_monitor/PointCloudOctomapUpdater"
            check(peer, sensor["point_cloud_topic"], CLOUD, BEST_EFFORT)


def test_a_topic_that_is_not_there_is_noticed(peer, start, bundle):
    start("perception_node", {"bundle": bundle})
    with pytest.raises(AssertionError, match="depth/image_rect"):
        check(peer, "/perception_node/depth/image_rect", INFO, RELIABLE)
    transient = asking(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
    with pytest.raises(AssertionError, match="depth/camera_info"):
        check(peer, "/perception_node/depth/camera_info", INFO, transient)
