"""Writes camera_models.json, opencv_camera.yaml and camera_calibration.yaml beside this script.

Reference values of OpenCV for tests/golden_cameras.rs: projections, undistorted points, undistortion maps (which OpenCV
keeps as float32), optimal camera matrices and one remapped image, for random cameras of every model of ROS CameraInfo.

    pip install opencv-python-headless==5.0.0.* numpy && python make_camera_models.py
"""

import json
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
SIZE = (640, 480)
# Half widths of the coefficients: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tau_x tau_y, as lenses have them.
SCALE = np.array([0.3, 0.1, 3e-3, 3e-3, 0.03, 0.1, 0.05, 0.02, 3e-3, 1e-3, 3e-3, 1e-3, 0.05, 0.05])
FISHEYE_SCALE = np.array([0.05, 0.02, 0.01, 0.005])
COUNTS = {"plumb_bob": 5, "rational_polynomial": 8, "thin_prism": 12, "tilted": 14}
EXACT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 1000, 1e-15)
random = np.random.default_rng(20240611)


def camera_matrix():
    fx, fy = random.uniform(450.0, 600.0, 2)
    cx, cy = np.array(SIZE) / 2 + random.uniform(-15.0, 15.0, 2)
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def points(half_angle):
    """Points within an angle of the axis, at 0.2 to 20 metres."""
    angle = half_angle * np.sqrt(random.uniform(0.0, 1.0, 24))
    around = random.uniform(0.0, 2 * np.pi, 24)
    ray = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], axis=1)
    return ray * random.uniform(0.2, 20.0, (24, 1))


def rotation():
    return cv2.Rodrigues(random.uniform(-0.05, 0.05, 3))[0]


def sampled(map_x, map_y):
    columns = random.integers(0, SIZE[0], 40)
    rows = random.integers(0, SIZE[1], 40)
    return [[int(c), int(r), float(map_x[r, c]), float(map_y[r, c])] for c, r in zip(columns, rows)]


def case(name, k, d, object_points, pixels, flat, turn, target, maps):
    return {
        "model": name,
        "width": SIZE[0],
        "height": SIZE[1],
        "k": k.ravel().tolist(),
        "d": d.tolist(),
        "points": object_points.tolist(),
        "pixels": pixels.reshape(-1, 2).tolist(),
        "undistorted": flat.reshape(-1, 2).tolist(),
        "r": turn.ravel().tolist(),
        "target": target.ravel().tolist(),
        "map": sampled(*maps),
    }


def pinhole_case(name, count):
    k, target, turn = camera_matrix(), camera_matrix(), rotation()
    d = np.zeros(count) if name == "none" else random.uniform(-1.0, 1.0, count) * SCALE[:count]
    if name != "none":
        d[0] = -abs(d[0])
    object_points = points(np.radians(33.0))
    pixels, _ = cv2.projectPoints(object_points, np.zeros(3), np.zeros(3), k, d)
    flat = cv2.undistortPoints(pixels, k, d, criteria=EXACT)
    maps = cv2.initUndistortRectifyMap(k, d, turn, target, SIZE, cv2.CV_32FC1)
    made = case(name, k, d, object_points, pixels, flat, turn, target, maps)
    made["optimal"] = cv2.getOptimalNewCameraMatrix(k, d, SIZE, 0.0)[0].ravel().tolist()
    return made


def fisheye_case():
    k, target, turn = camera_matrix(), camera_matrix(), rotation()
    k[0, 0], k[1, 1] = k[0, 0] / 2, k[1, 1] / 2
    d = random.uniform(-1.0, 1.0, 4) * FISHEYE_SCALE
    object_points = points(np.radians(75.0))
    pixels, _ = cv2.fisheye.projectPoints(object_points[:, None], np.zeros(3), np.zeros(3), k, d)
    flat = cv2.fisheye.undistortPoints(pixels, k, d, criteria=EXACT)
    maps = cv2.fisheye.initUndistortRectifyMap(k, d, turn, target, SIZE, cv2.CV_32FC1)
    return case("equidistant", k, d, object_points, pixels, flat, turn, target, maps)


def remapped():
    """A small grey image through cv2.remap; its pixels are (x x + 2 y y) // 35."""
    size = (64, 48)
    k = np.array([[60.0, 0.0, 31.2], [0.0, 61.0, 23.9], [0.0, 0.0, 1.0]])
    d = np.array([-0.25, 0.05, 1e-3, -2e-3, 0.0])
    y, x = np.mgrid[0:48, 0:64]
    image = ((x * x + 2 * y * y) // 35).astype(np.uint8)
    maps = cv2.initUndistortRectifyMap(k, d, np.eye(3), k, size, cv2.CV_32FC1)
    out = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return {"k": k.ravel().tolist(), "d": d.tolist(), "image": out.ravel().tolist()}


def matrix_text(name, value):
    """A matrix in the layout of ROS camera_calibration."""
    rows, cols = value.shape
    return f"{name}:\n  rows: {rows}\n  cols: {cols}\n  data: [{', '.join('%.5f' % v for v in value.ravel())}]\n"


def write_yaml(made):
    k, d = np.array(made["k"]).reshape(3, 3), np.array([made["d"]])
    p = np.hstack([k, np.zeros((3, 1))])
    matrices = {
        "distortion_coefficients": d,
        "rectification_matrix": np.eye(3),
        "projection_matrix": p,
    }
    text = f"image_width: {SIZE[0]}\nimage_height: {SIZE[1]}\ncamera_name: narrow_stereo\n"
    text += matrix_text("camera_matrix", k) + "distortion_model: plumb_bob\n"
    text += "".join(matrix_text(name, value) for name, value in matrices.items())
    (HERE / "camera_calibration.yaml").write_text(text)
    storage = cv2.FileStorage(str(HERE / "opencv_camera.yaml"), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", SIZE[0])
    storage.write("image_height", SIZE[1])
    storage.write("camera_name", "opencv")
    storage.write("distortion_model", "plumb_bob")
    for name, value in {"camera_matrix": k, **matrices}.items():
        storage.write(name, value)
    storage.release()


cases = [pinhole_case("none", 5)]
cases += [pinhole_case(name, count) for name, count in COUNTS.items() for _ in range(4)]
cases += [fisheye_case() for _ in range(4)]
write_yaml(cases[1])
golden = {"opencv": cv2.__version__, "cases": cases, "remapped": remapped()}
(HERE / "camera_models.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
