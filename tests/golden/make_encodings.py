"""Makes encodings.safetensors: bytes of every image encoding, and the RGB that OpenCV makes of them.

    pip install opencv-python-headless==5.0.0.* numpy safetensors && python make_encodings.py

Keys are ROS_NAME/WIDTHxHEIGHT/STEP/data and .../rgb. The bytes are random, so that every rounding is met; rows are padded where
STEP says so. nv24, which OpenCV does not know, is made of nv12's formula on an image of twice the size, every second pixel kept.
"""

from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
random = np.random.default_rng(20261125)

# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
PACKED = {
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
tensors = {}


def noise(height, width, channels=1):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return random.integers(0, 256, shape, dtype=np.uint8)


def keep(name, rows, rgb, padding):
    """Rows of bytes, padded with noise, and their colours."""
    rows = rows.reshape(rows.shape[0], -1)
    rows = np.hstack([rows, noise(rows.shape[0], padding)]) if padding else rows
    height, width = rgb.shape[:2]
    step = rows.shape[1]
    tensors[f"{name}/{width}x{height}/{step}/data"] = np.ascontiguousarray(rows)
    tensors[f"{name}/{width}x{height}/{step}/rgb"] = np.ascontiguousarray(rgb)


for name, (channels, code) in PACKED.items():
    # Wide enough for OpenCV's vector code and for the rest of a row that it leaves.
    for width, height, padding in [(38, 7, 0), (22 if channels == 2 else 21, 10, 5)]:
        pixels = noise(height, width, channels)
        keep(name, pixels, cv2.cvtColor(pixels, code), padding)

for width, height, padding in [(13, 4, 3)]:
    levels = random.integers(0, 65536, (height, width), dtype=np.uint16)
    grey = cv2.convertScaleAbs(levels, alpha=255.0 / 65535.0)
    keep("mono16", levels.astype("<u2").view(np.uint8), cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), padding)

for width, height, padding in [(38, 6, 0), (10, 8, 6)]:
    planes = noise(height * 3 // 2, width)
    keep("nv12", planes, cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_NV12), padding)
    keep("nv21", planes, cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_NV21), padding)

luma, colour = noise(5, 9), noise(5, 18)
doubled = np.vstack([luma.repeat(2, 0).repeat(2, 1), colour])
keep("nv24", np.vstack([luma, colour.reshape(10, 9)]), cv2.cvtColor(doubled, cv2.COLOR_YUV2RGB_NV12)[::2, ::2], 0)

save_file(tensors, HERE / "encodings.safetensors")
