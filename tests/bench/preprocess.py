"""Preprocessing of a frame to a network's normalised input, against what a user would write in Python.

    make bench            # or, in its environment: .pixio/bench/bin/python tests/bench/preprocess.py

Peers and this program take turns, one frame each, on one thread; the table gives medians and least of the time that the processor worked on a
frame (so that other programs do not count), and ratios of medians. PIL gets RGB pixels for
nothing: for the other encodings its time has no conversion in it. Needs pillow and numpy; opencv-python-headless adds OpenCV.
The exit code is 1 when the result for rgb8 or bgr8 is not PIL's.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("PIXIO_BIN", ROOT / "target/release"))
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
APART = 1.01  # grey levels; the hundredth is float32's
DIFFER = 0.02  # of the values may be a level apart
try:
    import cv2
    cv2.setNumThreads(1)
except ImportError:
    cv2 = None


def frame(width, height):
    """A photograph enlarged: its spectrum is that of a picture, not of noise."""
    photo = Image.open(ROOT / "tests/photos/coffee.jpg").convert("RGB")
    return np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC))


def geometry(size, network):
    """Size of the whole resized image, and what is cut off left and top."""
    scale = max(to / side for to, side in zip(network, size))
    resized = [max(to, round(side * scale)) for to, side in zip(network, size)]
    return resized, [(whole - to) // 2 for whole, to in zip(resized, network)]


def normalised(pixels):
    return np.ascontiguousarray(((pixels / np.float32(255) - MEAN) / STD).transpose(2, 0, 1))


def pil(rgb, network):
    """What torchvision's transforms do to a PIL image: resize, crop, normalise."""
    resized, (left, top) = geometry(rgb.shape[1::-1], network)
    image = Image.fromarray(rgb).resize(resized, Image.Resampling.BICUBIC)
    return normalised(np.asarray(image.crop((left, top, left + network[0], top + network[1])), np.float32))


def pil_box(rgb, network):
    """The same with the crop given to PIL, which then resizes only what is kept."""
    size = rgb.shape[1::-1]
    resized, cut = geometry(size, network)
    scale = [side / whole for side, whole in zip(size, resized)]
    box = [cut[0] * scale[0], cut[1] * scale[1]]
    box += [min(size[axis], (cut[axis] + network[axis]) * scale[axis]) for axis in range(2)]
    image = Image.fromarray(rgb).resize(network, Image.Resampling.BICUBIC, box=box)
    return normalised(np.asarray(image, np.float32))


def opencv_area(rgb, network):
    """Another filter, for comparison only: OpenCV has no antialiased bicubic."""
    resized, (left, top) = geometry(rgb.shape[1::-1], network)
    image = cv2.resize(rgb, resized, interpolation=cv2.INTER_AREA)
    return normalised(image[top:top + network[1], left:left + network[0]].astype(np.float32))


class Ours:
    """The example as a process that does one frame a line."""

    def __init__(self, data, encoding, size, network, folder):
        self.pixels, self.output = folder / f"{encoding}.raw", folder / f"{encoding}.f32"
        self.pixels.write_bytes(data.tobytes())
        sizes = ["%dx%d" % tuple(size), "%dx%d" % tuple(network)]
        command = [BIN / "examples/time_preprocess", self.pixels, encoding, *sizes, self.output]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.network = network

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"time_preprocess ended with {self.process.wait()} while it was measured")
        return int(line) / 1e6

    def result(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
        return np.fromfile(self.output, "<f4").reshape(3, self.network[1], self.network[0])


def timed(function):
    start = time.thread_time()
    function()
    return 1e3 * (time.thread_time() - start)


def encodings(rgb):
    yield "rgb8", rgb
    yield "bgr8", rgb[..., ::-1]
    yield "mono8", rgb[..., 1]
    yield "bayer_rggb8", mosaic(rgb)
    noise = np.random.default_rng(1).integers(0, 256, rgb.size, dtype=np.uint8)
    yield "yuv422_yuy2", noise[:rgb.size // 3 * 2]
    yield "nv12", noise[:rgb.size // 2]


def mosaic(rgb):
    out = rgb[..., 1].copy()
    out[::2, ::2], out[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--network", default="256x256", metavar="WxH")
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    size, network = ([int(side) for side in text.split("x")] for text in (arguments.size, arguments.network))
    rgb = frame(*size)
    peers = {"PIL + numpy": pil, "PIL (box) + numpy": pil_box} | ({"OpenCV area + numpy": opencv_area} if cv2 else {})
    runs = {f"{name} rgb8": lambda peer=peer: timed(lambda: peer(rgb, network)) for name, peer in peers.items()}
    with tempfile.TemporaryDirectory() as folder:
        ours = {name: Ours(data, name, size, network, Path(folder)) for name, data in encodings(rgb)}
        runs |= {f"pixio {name}": process.run for name, process in ours.items()}
        times = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                times[name].append(run())
        results = {name: process.result() for name, process in ours.items()}
    expected = pil(rgb, network)
    base = np.median(times["PIL + numpy rgb8"])
    print(f"{arguments.size} -> {arguments.network}, {arguments.rounds} rounds, one thread each")
    print(f"{'':28} {'median ms':>9} {'fastest':>8} {'of PIL':>7}")
    for name, values in times.items():
        print(f"{name:28} {np.median(values):9.2f} {min(values):8.2f} {base / np.median(values):6.1f}x")
    wrong = []
    for name in ("rgb8", "bgr8"):
        levels = np.abs(results[name] - expected) * STD[:, None, None] * 255
        most, differ = levels.max(), (levels > 0.5).mean()
        print(f"pixio {name} against PIL: at most {most:.2f} grey levels apart, {differ:.2%} of values differ")
        if not (most <= APART and differ <= DIFFER):
            wrong.append(name)
    if wrong:
        sys.exit(f"not PIL's result: {', '.join(wrong)}; expected at most {APART} grey levels and {DIFFER:.0%} of values apart")


if __name__ == "__main__":
    main()
