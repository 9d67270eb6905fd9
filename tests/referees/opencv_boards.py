"""`pixio calibrate intrinsics` on OpenCV's own pictures of a chessboard (left01.jpg to left14.jpg), against cv2.calibrateCamera on
the corners that OpenCV finds in them.

Prints a table; exit code 1 when the reprojection error is more than a twentieth above OpenCV's, or a parameter is further from
OpenCV's than three standard deviations of their difference.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--pixio-tool", required=True)
parser.add_argument("--pictures", type=Path, required=True)
arguments = parser.parse_args()

NAMES = ["fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3"]
points = np.zeros((54, 3), np.float32)
points[:, :2] = np.mgrid[0:9, 0:6].T.reshape(-1, 2) * 0.025
paths = sorted(arguments.pictures.glob("left[01][0-9].jpg"))
corners = []
for path in paths:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    # Its newer detector: with the older one and cornerSubPix the error is 0.41 pixels, for some corners are pulled away.
    found, pixels = cv2.findChessboardCornersSB(image, (9, 6), flags=cv2.CALIB_CB_ACCURACY)
    assert found, path
    corners.append(pixels)
rms, k, d, _, _, deviations, _, _ = cv2.calibrateCameraExtended([points] * len(paths), corners, image.shape[::-1], None, None)
theirs = [k[0, 0], k[1, 1], k[0, 2], k[1, 2], *d.ravel()[:5]]

failed = False
with tempfile.TemporaryDirectory() as folder:
    command = [arguments.pixio_tool, "calibrate", "intrinsics", *map(str, paths), "--board", "chessboard:9x6:0.025"]
    report = f"{folder}/report.json"
    subprocess.run([*command, "--loss", "squares", "--out", f"{folder}/left.yaml", "--report", report], check=True)
    ours = json.loads(Path(report).read_text())
print(f"{'':6} {'pixio':>12} {'OpenCV':>12} {'sigma':>9} {'apart':>7}")
for name, parameter, value, sigma in zip(NAMES, ours["parameters"], theirs, deviations.ravel()):
    assert parameter["name"] == name
    sigma = np.hypot(sigma, parameter["standard_deviation"])
    apart = abs(parameter["value"] - value) / sigma
    failed |= apart > 3.0
    print(f"{name:6} {parameter['value']:12.5f} {value:12.5f} {sigma:9.5f} {apart:7.2f}")
used = sum(view["corners"] for view in ours["views"])
failed |= ours["rms_pixels"] > 1.05 * rms or len(ours["views"]) != len(paths)
print(f"rms    {ours['rms_pixels']:12.5f} {rms:12.5f}   {used} of {54 * len(paths)} corners in {len(ours['views'])} of {len(paths)} pictures")
sys.exit(bool(failed))
