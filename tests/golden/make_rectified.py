"""Makes rectified.safetensors: a photograph through OpenCV's undistortion, bilinear.

    pip install opencv-python-headless==5.0.0.* numpy safetensors && python make_rectified.py

`plain` is what a user of OpenCV gets: cv2.initUndistortRectifyMap and cv2.remap with float maps, which takes positions as it likes.
Every third row and column is kept. Pixels that the raw image does not cover are 0.
"""

from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
photo = cv2.imread(str(HERE.parent / "photos" / "coffee_small.png"))[..., ::-1].copy()
height, width = photo.shape[:2]
k = np.array([[0.8 * width, 0.0, width / 2 - 0.7], [0.0, 0.8 * width, height / 2 + 0.4], [0.0, 0.0, 1.0]])
tensors = {}
for name, d in [("barrel", [-0.25, 0.06, 1e-3, -2e-3, 0.0]), ("pincushion", [0.2, -0.03, 0.0, 1e-3, 0.0])]:
    maps = cv2.initUndistortRectifyMap(k, np.array(d), np.eye(3), k, (width, height), cv2.CV_32FC1)
    out = cv2.remap(photo, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    tensors[f"{name}/rgb"] = np.ascontiguousarray(out[::3, ::3])
    tensors[f"{name}/kd"] = np.concatenate([k.ravel(), d]).astype(np.float32)
save_file(tensors, HERE / "rectified.safetensors")
