"""pixio doctor over real ROS 2: what it says of cameras and nodes on the graph."""

import json
import os
import re
import subprocess
import time

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from conftest import BIN, PATIENCE, ROOT, camera_info, image, pixels

PHOTOS = ROOT / "tests/photos/coffee.jpg"
YAML = ROOT / "calibration/cameras/photos_60deg_432x288.yaml"
OTHER_AREAS = ["memory", "cuda", "tensorrt"]


def doctor(*arguments, environment=None):
    command = [str(BIN / "pixio"), "doctor", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, **(environment or {})})


def report(process):
    """The exit code, and the checks of each area."""
    out, err = process.communicate(timeout=120)
    assert out, err
    parsed = json.loads(out)
    worst = max(("OK", "WARN", "FAIL").index(check["status"]) for check in parsed["checks"])
    assert parsed["status"] == ("OK", "WARN", "FAIL")[worst]
    assert process.returncode == (1 if parsed["status"] == "FAIL" else 0)
    assert all(check["remedy"] for check in parsed["checks"] if check["status"] != "OK")
    areas = {}
    for check in parsed["checks"]:
        areas.setdefault(check["area"], []).append(check)
    return process.returncode, areas


def skipping(*areas):
    return [word for area in areas for word in ("--skip", area)]


def test_a_sound_camera_is_described(start, bundle):
    parameters = {"images": f"['{PHOTOS}']", "camera_info_file": YAML, "rate_hz": 10.0}
    start("camera_node", parameters, remaps={"image": "/front/image", "camera_info": "/front/camera_info"}, wait="1 picture(s)")
    code, areas = report(doctor("--json", "--seconds", 4, "--bundle", bundle, *skipping(*OTHER_AREAS)))
    assert code == 0
    assert [check["status"] for check in areas["onnxruntime"] + areas["bundle"]] == ["OK", "OK"]
    camera = [check for check in areas["graph"] if check["found"].startswith("/front/")]
    assert [check["status"] for check in camera] == ["OK", "OK"], camera
    assert "/front/image of /camera_node: 432x288 rgb8" in camera[0]["found"] and "reliable" in camera[0]["found"]
    assert camera[1]["found"] == "/front/camera_info: fits, no distortion"


def test_a_camera_that_the_node_would_refuse_fails_with_reasons(peer):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    images = peer.publisher("/bad/image", Image, best_effort)
    infos = peer.publisher("/bad/camera_info", CameraInfo)
    zeros = camera_info(frame="camera_link")
    zeros.k, zeros.p = [0.0] * 9, [0.0] * 12
    process = doctor("--json", "--image", "/bad/image", "--seconds", 3, *skipping("ros", "transport", "onnxruntime", *OTHER_AREAS))
    end, sec = time.monotonic() + 100, 0
    while process.poll() is None:
        assert time.monotonic() < end
        sec += 1
        images.publish(image(sec, pixels(), encoding="yuv_of_mars", frame="camera_link"))
        infos.publish(zeros)
        peer.spin(0.05)
    code, areas = report(process)
    assert code == 1
    found = {check["found"]: check["status"] for check in areas["graph"] if "/bad/" in check["found"]}
    for words, status in [("yuv_of_mars", "FAIL"), ("best effort", "FAIL"), ("\"camera_link\"", "WARN"),
                          ("/bad/camera_info: the node would refuse it", "FAIL")]:
        assert any(words in line and found[line] == status for line in found), (words, found)


def changed(**fields):
    info = camera_info()
    for name, value in fields.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    "info, judged",
    [
        (changed(d=[-0.3, 0.1, 0.0, 0.0, 0.0]), "fits, the node takes plumb_bob distortion out"),
        (changed(k=[0.0] * 9), "the node would refuse it"),
        (changed(k=[float("nan")] + [0.0, 41.0, 0.0, 70.0, 29.0, 0.0, 0.0, 1.0]), "the node would refuse it"),
        (changed(distortion_model="omni", d=[0.1] * 5), "the node would refuse it"),
        (changed(width=160, height=120, binning_x=2, binning_y=2, k=[140.0, 0.0, 81.0, 0.0, 140.0, 59.0, 0.0, 0.0, 1.0],
                 p=[140.0, 0.0, 81.0, 0.0, 0.0, 140.0, 59.0, 0.0, 0.0, 0.0, 1.0, 0.0]), "fits, no distortion"),
        (changed(width=160, height=120), "the node would refuse it: it is for an image of 160x120, the image is of 80x60"),
    ],
    ids=["distorted", "K of zeros", "NaN in K", "an unknown model", "binning", "another size"],
)
def test_the_doctor_and_the_node_judge_a_camera_alike(start, peer, bundle, info, judged):
    start("perception_node", {"bundle": bundle})
    peer.listen("/perception_node/depth/image_rect", Image)
    images, infos = peer.publisher("/image", Image), peer.publisher("/camera_info", CameraInfo)
    process = doctor("--json", "--seconds", 3, *skipping("ros", "transport", "onnxruntime", *OTHER_AREAS))
    end, sec = time.monotonic() + 100, 0
    while process.poll() is None:
        assert time.monotonic() < end
        sec += 1
        infos.publish(info)
        images.publish(image(sec, pixels()))
        peer.spin(0.1)
    _, areas = report(process)
    [line] = [check["found"] for check in areas["graph"] if check["found"].startswith("/camera_info: ")]
    assert line.startswith(f"/camera_info: {judged}"), line
    assert bool(peer.received["/perception_node/depth/image_rect"]) == judged.startswith("fits"), "what the node does"


def test_a_running_node_is_told_with_its_rates_and_what_cannot_reach_it(start, peer, bundle):
    images = peer.publisher("/cam", Image, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    infos = peer.publisher("/camera_info", CameraInfo)
    start("perception_node", {"bundle": bundle}, remaps={"image": "/cam"}, name="follows")
    start("perception_node", {"bundle": bundle, "qos_overrides./cam.subscription.reliability": "reliable"}, remaps={"image": "/cam"},
          name="insists")
    peer.listen("/follows/depth/image_rect", Image)
    told = "/cam: /insists asks for reliable delivery and /peer offers best effort: nothing arrives"
    sec, lines = 0, {}
    # On a busy machine the graph may show itself later than the doctor waits.
    for _ in range(4):
        process = doctor("--json", "--image", "/cam", "--seconds", 4, *skipping("ros", "transport", "onnxruntime", *OTHER_AREAS))
        end = time.monotonic() + 100
        while process.poll() is None:
            assert time.monotonic() < end
            sec += 1
            infos.publish(camera_info())
            images.publish(image(sec, pixels()))
            peer.spin(0.1)
        code, areas = report(process)
        lines = {check["found"]: check["status"] for check in areas["graph"]}
        if told in lines:
            break
    assert code == 1 and lines.get(told) == "FAIL", lines
    assert not any("/follows asks" in line for line in lines), lines
    [follows] = [line for line in lines if line.startswith("follows: camera: in ")]
    rates = re.search(r"in ([0-9.]+) Hz, out ([0-9.]+) Hz", follows)
    assert rates and all(0 < float(rate) < 20 for rate in rates.groups()), follows
    assert any(line.startswith("insists: camera: in none, out none") and lines[line] == "WARN" for line in lines), lines


def test_our_own_outputs_are_left_alone_and_a_deaf_input_is_named(start, bundle):
    start("perception_node", {"bundle": bundle}, remaps={"image": "/nowhere/image"})
    lines, end = [], time.monotonic() + PATIENCE
    # On a busy machine the graph may show itself later than the doctor waits.
    while "/nowhere/image: somebody subscribes and nobody publishes" not in lines:
        assert time.monotonic() < end, lines
        _, areas = report(doctor("--json", "--seconds", 0.5, *skipping("ros", "transport", "onnxruntime", *OTHER_AREAS)))
        lines = [check["found"] for check in areas["graph"]]
    assert not any("/perception_node/" in line for line in lines), lines


@pytest.mark.parametrize(
    "environment, words",
    [({"FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "launch/fastdds.xml")}, "OK   transport   Fast DDS profile"),
     ({"FASTRTPS_DEFAULT_PROFILES_FILE": ""}, "WARN transport   no Fast DDS profile"),
     ({"ROS_DISTRO": ""}, "FAIL ros         no ROS 2 is sourced")],
)
def test_the_report_for_people_has_a_line_a_check(environment, words):
    process = doctor(*skipping("graph", "onnxruntime", *OTHER_AREAS), environment=environment)
    out, err = process.communicate(timeout=60)
    assert words in out, out + err
    assert process.returncode == (1 if "FAIL" in out else 0)
