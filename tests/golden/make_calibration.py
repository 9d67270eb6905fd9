"""Writes calibration.json and charuco_board.png beside this script.

References for tests/golden_calibration.rs, all made by OpenCV 4.12 (5.0 has no calibrateHandEye):

- the corners of its own sample pictures left01.jpg to left14.jpg (Debian package opencv-doc) and what cv2.calibrateCamera and
  cv2.fisheye.calibrate make of them;
- simulated hand-eye poses with noise, and what each method of cv2.calibrateHandEye makes of them;
- a ChArUco board as OpenCV draws it.

    pip install opencv-python-headless==4.12.0.88 && python make_calibration.py FOLDER_WITH_LEFT_JPGS
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
PATTERN = (9, 6)
SQUARE = 0.025
EXACT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-14)
random = np.random.default_rng(20240722)


def board():
    points = np.zeros((PATTERN[0] * PATTERN[1], 3), np.float32)
    points[:, :2] = np.mgrid[0 : PATTERN[0], 0 : PATTERN[1]].T.reshape(-1, 2) * SQUARE
    return points


def corners(folder):
    found = []
    for path in sorted(folder.glob("left[01][0-9].jpg")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        ok, pixels = cv2.findChessboardCorners(image, PATTERN)
        assert ok, path
        pixels = cv2.cornerSubPix(image, pixels, (11, 11), (-1, -1), (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 100, 1e-4))
        # Rounded here, so that both sides calibrate from the same numbers.
        found.append((path.name, np.round(pixels.reshape(-1, 2).astype(np.float64), 4)))
        size = image.shape[::-1]
    return found, size


def calibrated(found, size, flags):
    points = [board() for _ in found]
    pixels = [p.astype(np.float32).reshape(-1, 1, 2) for _, p in found]
    rms, k, d, _, _, deviations, _, views = cv2.calibrateCameraExtended(
        points, pixels, size, None, None, flags=flags, criteria=EXACT
    )
    count = 8 if flags & cv2.CALIB_RATIONAL_MODEL else 5
    return {
        "rms": rms,
        "k": k.ravel().tolist(),
        "d": d.ravel()[:count].tolist(),
        "deviations": deviations.ravel()[: 4 + count].tolist(),
        "views": views.ravel().tolist(),
    }


def fisheye(found, size):
    points = [board().reshape(1, -1, 3).astype(np.float64) for _ in found]
    pixels = [p.reshape(1, -1, 2) for _, p in found]
    flags = cv2.fisheye.CALIB_RECOMPUTE_EXTRINSIC | cv2.fisheye.CALIB_FIX_SKEW
    rms, k, d, _, _ = cv2.fisheye.calibrate(points, pixels, size, np.eye(3), np.zeros(4), flags=flags, criteria=EXACT)
    return {"rms": rms, "k": k.ravel().tolist(), "d": d.ravel().tolist(), "deviations": [], "views": []}


def pose(turn, shift):
    out = np.eye(4)
    out[:3, :3] = cv2.Rodrigues(np.asarray(turn, float))[0]
    out[:3, 3] = shift
    return out


def hand_eye(count, radians, meters):
    hand_from_camera = pose([0.1, 0.05, 1.5], [0.03, -0.05, 0.08])
    base_from_board = pose([3.0, 0.1, 0.2], [0.6, 0.1, -0.02])
    hands, boards = [], []
    for _ in range(count):
        hand = pose(random.uniform(-0.6, 0.6, 3), [0.5, 0.0, 0.4] + random.uniform(-0.2, 0.2, 3))
        seen = np.linalg.inv(hand @ hand_from_camera) @ base_from_board
        noise = pose(random.normal(0, radians, 3), [0, 0, 0])
        seen[:3, :3] = noise[:3, :3] @ seen[:3, :3]
        seen[:3, 3] += random.normal(0, meters, 3)
        # Rounded here, so that both sides calibrate from the same numbers.
        hands.append(np.round(hand, 7))
        boards.append(np.round(seen, 7))
    methods = {
        "tsai": cv2.CALIB_HAND_EYE_TSAI,
        "park": cv2.CALIB_HAND_EYE_PARK,
        "horaud": cv2.CALIB_HAND_EYE_HORAUD,
        "andreff": cv2.CALIB_HAND_EYE_ANDREFF,
        "daniilidis": cv2.CALIB_HAND_EYE_DANIILIDIS,
    }
    results = {}
    for name, method in methods.items():
        r, t = cv2.calibrateHandEye(
            [h[:3, :3] for h in hands], [h[:3, 3] for h in hands], [b[:3, :3] for b in boards], [b[:3, 3] for b in boards], method=method
        )
        results[name] = np.hstack([r, t.reshape(3, 1)]).ravel().tolist()
    rows = lambda poses: [p[:3].ravel().tolist() for p in poses]
    return {"truth": hand_from_camera[:3].ravel().tolist(), "hands": rows(hands), "boards": rows(boards), "opencv": results}


def main():
    found, size = corners(Path(sys.argv[1]))
    golden = {
        "opencv": cv2.__version__,
        "size": size,
        "columns": PATTERN[0],
        "rows": PATTERN[1],
        "square": SQUARE,
        "views": [{"name": name, "pixels": pixels.tolist()} for name, pixels in found],
        "plumb_bob": calibrated(found, size, 0),
        "rational": calibrated(found, size, cv2.CALIB_RATIONAL_MODEL),
        "equidistant": fisheye(found, size),
        "hand_eye": [hand_eye(12, 2e-3, 1e-3) for _ in range(16)],
    }
    (HERE / "calibration.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    charuco = cv2.aruco.CharucoBoard((7, 5), 0.04, 0.03, dictionary)
    # 40 pixels a square and a quiet zone of one square.
    picture = charuco.generateImage((7 * 40 + 80, 5 * 40 + 80), marginSize=40, borderBits=1)
    cv2.imwrite(str(HERE / "charuco_board.png"), picture)


main()
