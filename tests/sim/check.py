"""What the rendered pictures, depths and labels are held against: MuJoCo's own rays, projection by hand, and themselves again.

Run by `make referees`; needs .pixio/sim. Exit code 1 with the first that does not hold.
"""

import tempfile
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

import render
from demos import episode
from scene import HORIZON, LABELS, POLICY_VIEW, TASKS, Cell, Expert, mujoco

RAYS = 400
SURFACE = 0.004  # m; a ray meets the shape, the picture its triangles


def hold(name, holds, figures):
    print(f"{'ok' if holds else 'WRONG':>6}  {name}: {figures}", flush=True)
    if not holds:
        raise SystemExit(1)


def depth_against_rays(cell):
    """Depth of pixels inside surfaces (edges belong to either side) against `mj_ray` through the pixel's centre."""
    depth, labels = cell.truth()
    position, turn = cell.model.cam_pos[cell.view], POLICY_VIEW.world_from_optical
    fx, fy, cx, cy = cell.intrinsics()
    rng, errors = np.random.default_rng(0), []
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # those that are drawn
    while len(errors) < RAYS:
        row, column = rng.integers(1, cell.height - 1), rng.integers(1, cell.width - 1)
        around = depth[row - 1 : row + 2, column - 1 : column + 2]
        if labels[row, column] == 0 or np.ptp(around) > 0.03 * depth[row, column]:
            continue
        direction = turn @ np.array([(column - cx) / fx, (row - cy) / fy, 1.0])
        met = np.zeros(1, np.int32)
        far = mujoco.mj_ray(cell.model, cell.data, position, direction / np.linalg.norm(direction), groups, 1, -1, met)
        errors.append(abs(far / np.linalg.norm(direction) - depth[row, column]))
    near = np.quantile(errors, [0.5, 0.95])
    hold(f"{cell.task}: depth against mj_ray", near[1] < SURFACE, f"median {near[0] * 1e6:.1f} um, p95 {near[1] * 1e6:.1f} um")


def hand_where_it_projects(cell):
    """The finger pads' centres fall on pixels labelled gripper, projected by the intrinsics that camera_info carries."""
    _, labels = cell.truth()
    fx, fy, cx, cy = cell.intrinsics()
    seen = 0
    for body in ("rightpad", "leftpad"):
        x, y, z = POLICY_VIEW.world_from_optical.T @ (cell.env.data.body(body).xpos - POLICY_VIEW.position)
        column, row = round(fx * x / z + cx), round(fy * y / z + cy)
        seen += LABELS[labels[row, column]] == "gripper"
    hold(f"{cell.task}: finger pads where they project", seen >= 1, f"{seen} of 2")


class CutOff(BaseException):
    """Stands for a kill."""


def half_saved(picture, file, *more, save=Image.Image.save, **options):
    """Saves a picture; half of the last label of three scenes of two pictures, and then no more."""
    save(picture, file, *more, **options)
    if "label/000005" in str(file):
        whole = Path(file).read_bytes()
        Path(file).write_bytes(whole[: len(whole) // 2])
        raise CutOff


def same_again():
    """Two runs, one of them cut off in the middle of a picture and continued, make the same bytes."""
    def bytes_of(folder):
        return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.*"))}

    def run(folder, scenes):
        render.main(["--out", str(folder), "--scenes", str(scenes), "--held-out", "1", "--per-scene", "2"])

    with tempfile.TemporaryDirectory() as once, tempfile.TemporaryDirectory() as twice:
        run(Path(once), 6)
        with suppress(CutOff), patch.object(Image.Image, "save", half_saved):
            run(Path(twice), 3)
        cut_off = Path(twice) / "train/label/000005.png"
        labels = sorted(file.name for file in cut_off.parent.iterdir())
        hold("cut off: no half picture under its name", not cut_off.exists() and len(labels) == 6, f"the last is {labels[-1]}")
        run(Path(twice), 6)
        first, second = bytes_of(Path(once)), bytes_of(Path(twice))
    hold("rendered again, and continued: the same bytes", first == second, f"{len(first)} files")


def expert_succeeds(cell):
    """From seeds that nothing else uses; `episode` ends the process when one fails."""
    lengths = [len(episode(cell, Expert(cell.task), 90_000 + seed)) for seed in range(5)]
    hold(f"{cell.task}: the expert, one action per 50 ms", True, f"5 of 5 within {max(lengths)} of {HORIZON} steps")


def main():
    for task in TASKS:
        cell = Cell(task)
        cell.reset(1)
        depth_against_rays(cell)
        hand_where_it_projects(cell)
        expert_succeeds(cell)
        cell.close()
    same_again()


if __name__ == "__main__":
    main()
