"""The pictures of a topic, into a folder; with the hand's poses of /tf, and the camera's mount from both."""

import csv
import os
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from PIL import Image as Picture
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from conftest import BIN, image, pixels


def test_pictures_of_a_topic_are_saved(start, peer, tmp_path):
    picture = pixels(2)
    publisher = peer.publisher("/left/image_raw", Image)
    node = start("frame_grabber", {"folder": tmp_path, "count": 3, "interval_secs": 0.1}, remaps={"image": "/left/image_raw"})
    for sec in range(200):
        publisher.publish(image(sec, picture[:, :, ::-1], encoding="bgr8"))
        peer.spin(0.2)
        if node.process.poll() is not None:
            break
    assert node.process.wait(timeout=30) == 0, node.output()
    saved = sorted(tmp_path.glob("*.png"))
    assert len(saved) == 3
    np.testing.assert_array_equal(np.asarray(Picture.open(saved[0])), picture)


@pytest.mark.parametrize(
    "parameters, reason",
    [({}, "parameter folder"), ({"folder": "/nowhere"}, "parameter folder"), ({"folder": "/tmp", "timeout_secs": 0.5}, "no image for")],
)
def test_a_grabber_that_cannot_do_its_work_says_so(start, parameters, reason):
    node = start("frame_grabber", parameters, wait=None)
    assert node.process.wait(timeout=60) == 2
    assert reason in node.output()


def test_poses_of_another_session_are_not_added_to(start, tmp_path):
    (tmp_path / "robot.csv").write_text("name,x,y,z,qx,qy,qz,qw\n")
    node = start("frame_grabber", {"folder": tmp_path, "hand_frame": "hand", "base_frame": "base"}, wait=None)
    assert node.process.wait(timeout=60) == 2
    assert "a folder without robot.csv" in node.output(), node.output()


SIZE, FOCAL = (320, 240), 300.0
COLUMNS, ROWS, SQUARE = 7, 6, 0.03


def rotation(vector):
    """Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def pose(turn, place):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(np.array(turn)), place
    return matrix


def photograph(camera_from_board):
    """A chessboard of COLUMNS x ROWS inner corners, the first at the board's origin, on white; nine rays a pixel."""
    fine = (np.arange(3 * SIZE[0]) - 1.0) / 3.0, (np.arange(3 * SIZE[1]) - 1.0) / 3.0
    u, v = np.meshgrid(*fine)
    rays = np.stack([(u - 159.5) / FOCAL, (v - 119.5) / FOCAL, np.ones_like(u)], -1)
    # The plane z = 0 of the board.
    normal, origin = camera_from_board[:3, 2], camera_from_board[:3, 3]
    points = rays * ((normal @ origin) / (rays @ normal))[..., None] - origin
    x, y = points @ camera_from_board[:3, 0] / SQUARE, points @ camera_from_board[:3, 1] / SQUARE
    inside = (x > -1) & (x < COLUMNS) & (y > -1) & (y < ROWS)
    dark = inside & ((np.floor(x) + np.floor(y)) % 2 == 0)
    grey = np.where(dark, 20.0, 230.0).reshape(SIZE[1], 3, SIZE[0], 3).mean((1, 3))
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, -1)


def transform(parent, child, matrix, sec, nanosec):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp.sec, message.header.stamp.nanosec = parent, sec, nanosec
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = matrix[:3, 3]
    (a, b, c), (d, e, f), (g, h, i) = matrix[:3, :3]
    k = [[a - e - i, b + d, c + g, h - f], [b + d, e - a - i, f + h, c - g], [c + g, f + h, i - a - e, d - b], [h - f, c - g, d - b, a + e + i]]
    turn.x, turn.y, turn.z, turn.w = np.linalg.eigh(np.array(k))[1][:, -1]
    return message


def show(peer, stops, stop, moving=0.0, arriving=0.0):
    """One picture at a stop, with the hand's pose before, at and after it, by two transforms: it moves on, or arrives just then."""
    base_from_hand, picture = stops[stop % len(stops)]
    sec = 100 + 10 * stop
    halves = lambda sec, nanosec, matrix: [
        transform("base", "elbow", matrix, sec, nanosec), transform("elbow", "hand", np.eye(4), sec, nanosec)]
    before, after = base_from_hand.copy(), base_from_hand.copy()
    before[0, 3] -= arriving
    after[0, 3] += moving
    peer.publisher("/tf", TFMessage).publish(TFMessage(transforms=halves(sec, 0, before)))
    if arriving:
        peer.publisher("/tf", TFMessage).publish(TFMessage(transforms=halves(sec, 500_000_000, base_from_hand)))
    peer.publisher("/tf", TFMessage).publish(TFMessage(transforms=halves(sec + 1, 0, after)))
    peer.publisher("/camera/image_raw", Image).publish(image(sec, picture, nanosec=500_000_000))


def test_the_mount_is_measured_from_a_topic_and_the_transforms_of_the_hand(peer, tmp_path):
    """The robot goes from stop to stop, as fast as the pictures are taken."""
    random = np.random.default_rng(5)
    hand_from_camera = pose([0.1, -0.2, 0.3], [0.03, -0.05, 0.08])
    base_from_board = pose([0.0, 0.1, 1.2], [0.6, 0.1, 0.02])
    stops = []
    for _ in range(12):
        middle = np.array([SQUARE * (COLUMNS - 1) / 2, SQUARE * (ROWS - 1) / 2, 0.0])
        turn = rotation(random.uniform(-0.5, 0.5, 3))
        camera_from_board = np.eye(4)
        camera_from_board[:3, :3] = turn
        camera_from_board[:3, 3] = [*random.uniform(-0.03, 0.03, 2), random.uniform(0.4, 0.5)] - turn @ middle
        base_from_hand = base_from_board @ np.linalg.inv(camera_from_board) @ np.linalg.inv(hand_from_camera)
        stops.append((base_from_hand, photograph(camera_from_board)))
    camera = tmp_path / "camera.yaml"
    camera.write_text(f"""image_width: {SIZE[0]}
image_height: {SIZE[1]}
camera_name: camera
camera_matrix: {{rows: 3, cols: 3, data: [{FOCAL}, 0.0, 159.5, 0.0, {FOCAL}, 119.5, 0.0, 0.0, 1.0]}}
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: [0.0, 0.0, 0.0, 0.0, 0.0]}}
rectification_matrix: {{rows: 3, cols: 3, data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}}
projection_matrix: {{rows: 3, cols: 4, data: [{FOCAL}, 0.0, 159.5, 0.0, 0.0, {FOCAL}, 119.5, 0.0, 0.0, 0.0, 1.0, 0.0]}}
""")
    folder = tmp_path / "frames"
    tool = subprocess.Popen(
        [BIN / "pixio", "calibrate", "hand-eye", "--mount", "eye-in-hand", "--topic", "/camera/image_raw", "--frames-folder", folder,
         "--frames", "12", "--interval", "0.05", "--hand-frame", "hand", "--base-frame", "base", "--camera", camera,
         "--board", f"chessboard:{COLUMNS}x{ROWS}:{SQUARE}", "--child", "camera_optical_frame", "--out", tmp_path / "mount.urdf"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    try:
        for topic, kind in (("/tf", TFMessage), ("/camera/image_raw", Image)):
            peer.publisher(topic, kind)
        peer.connected(["/tf", "/camera/image_raw"])
        # A moving hand first: such pictures are left out.
        for stop in range(400):
            show(peer, stops, stop, moving=0.01 if stop < 3 else 0.0, arriving=0.02 if 3 <= stop < 6 else 0.0)
            peer.spin(0.2)
            if tool.poll() is not None:
                break
        printed = tool.communicate(timeout=60)[0]
    finally:
        tool.kill()
    assert tool.returncode == 0, printed
    assert "left out: the hand moved by 2.0 mm" in printed, printed
    assert "left out: the hand moved by 4.0 mm" in printed, printed
    with open(folder / "robot.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 == len(list(folder.glob("*.png")))
    assert {row["name"] for row in rows} == {path.stem for path in folder.glob("*.png")}
    for row in rows:
        (base_from_hand, _) = stops[(int(row["name"].split("_")[0]) - 100) // 10 % len(stops)]
        np.testing.assert_allclose([float(row[axis]) for axis in "xyz"], base_from_hand[:3, 3], atol=1e-9)
    found = {line.split()[0]: float(line.split()[1]) for line in printed.splitlines() if line[:1] in "xyz" and " +- " in line}
    np.testing.assert_allclose([found[axis] for axis in "xyz"], hand_from_camera[:3, 3], atol=2e-3, err_msg=printed)
    # The parent is the hand's frame; another session does not mix its poses with these.
    mount = ElementTree.parse(tmp_path / "mount.urdf").getroot()
    assert mount.find("parent").get("link") == "hand"
    again = subprocess.run(tool.args, capture_output=True, text=True, timeout=60)
    assert again.returncode != 0
    assert f"--robot {folder / 'robot.csv'}" in again.stderr, again.stderr
    elsewhere = [*map(str, tool.args), "--parent", "flange"]
    refused = subprocess.run(elsewhere, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert "--parent: expected hand, which --hand-frame names" in refused.stderr, refused.stderr


@pytest.mark.parametrize(
    "parameters, reason",
    [({"hand_frame": "hand"}, "parameter base_frame"), ({"base_frame": "base"}, "parameter hand_frame"),
     ({"hand_frame": "hand", "base_frame": "base", "timeout_secs": 3.0}, "no picture with the hand's pose (frame base: not known")],
)
def test_a_hand_that_nobody_tells_of_is_said(start, peer, tmp_path, parameters, reason):
    publisher = peer.publisher("/image", Image)
    node = start("frame_grabber", {"folder": tmp_path, "count": 1, **parameters}, wait=None)
    for sec in range(100):
        publisher.publish(image(sec, pixels(1)))
        peer.spin(0.2)
        if node.process.poll() is not None:
            break
    assert node.process.wait(timeout=60) == 2
    assert reason in node.output(), node.output()
    assert not [path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".csv")]
