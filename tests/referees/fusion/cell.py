"""Frames of the simulated robot's cell for `film.py`: pictures, true depth and poses of a camera that moves around the table.

Runs in .pixio/sim. The cell's objects, colours, textures and lights come from a seed of tests/sim/render.py's held-out scenes, and
the camera stays where render.py's training cameras stood: `pixio train` knows such views, but not these.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "sim"))
from render import SPLITS, TARGET, Dresser  # noqa: E402
from scene import POLICY_VIEW, TASKS, Cell, View  # noqa: E402

FRAMES = 24

parser = argparse.ArgumentParser()
parser.add_argument("--scene", type=int, default=0, help="number of the held-out scene")
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--out", type=Path, required=True)
arguments = parser.parse_args()


def path(frame):
    """Once along a figure of eight around the policy's camera."""
    offset = POLICY_VIEW.position - TARGET
    angle = 2.0 * np.pi * frame / FRAMES
    azimuth = np.arctan2(offset[1], offset[0]) + 0.3 * np.sin(angle)
    elevation = np.arcsin(offset[2] / np.linalg.norm(offset)) + 0.15 * np.sin(2.0 * angle)
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    return View(TARGET + np.linalg.norm(offset) * np.array(direction), TARGET, 0.0, 50.0)


seed = SPLITS["held-out"] + arguments.scene
cell = Cell(TASKS[seed % len(TASKS)], arguments.size, arguments.size)
Dresser(cell).dress(np.random.default_rng([1, seed, 1]))
cell.reset(seed)
views = [path(frame) for frame in range(FRAMES)]
poses = np.tile(np.eye(4), (FRAMES, 1, 1))
poses[:, :3, :3], poses[:, :3, 3] = [view.world_from_optical for view in views], [view.position for view in views]
fx, fy, cx, cy = views[0].intrinsics(arguments.size, arguments.size)
np.savez(arguments.out, rgb=[cell.picture(view) for view in views], depth=[cell.truth(view)[0] for view in views],
         k=[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], pose=poses)
cell.close()
