"""Renders pictures with true depth and labels of MetaWorld's five scenes: what `pixio train` and `pixio pretrain` learn from.

    render.py --out tabletop                 # 1000 scenes of 12 pictures to train on, 25 held out, 25 seen from everywhere

One folder per split, each whole in itself:

    train/rgb/000000.png      128x128 RGB
    train/depth/000000.png    16 bit, millimetres along the optical axis, 0 where nothing is
    train/label/000000.png    8 bit, index into labels.json
    train/labels.json         names of the labels
    train/camera.json         per image: fx fy cx cy (pixels, centres at integers), position (m), optical_to_world (rows), task, scene

A scene is drawn from its seed alone: task, objects, colours, textures, lights, clutter, the arm along the expert's way and the
cameras. The same command makes the same bytes (with the same MuJoCo and Mesa), and continues where it was stopped.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from scene import CLUTTER, HIDDEN, LABELS, POLICY_VIEW, TASKS, TEXTURES, Cell, Expert, View, mujoco

SPLITS = {"train": 0, "held-out": 1_000_000, "held-out-broad": 2_000_000}  # first scene's seed
TARGET = np.array([0.02, 0.66, 0.08])
STEPS = 60  # longest way of the expert that is followed


def near_view(rng):
    """Around the policy's camera: the fixed cell."""
    offset = POLICY_VIEW.position - TARGET
    distance = np.linalg.norm(offset) * rng.uniform(0.88, 1.15)
    azimuth = np.arctan2(offset[1], offset[0]) + rng.uniform(-0.3, 0.3)
    elevation = np.arcsin(offset[2] / np.linalg.norm(offset)) + rng.uniform(-0.15, 0.15)
    return around(rng, distance, azimuth, elevation, rng.uniform(47, 53))


def broad_view(rng):
    """From every side, as no camera of the training set stood."""
    return around(rng, rng.uniform(0.6, 1.6), rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(18, 75)), rng.uniform(45, 60))


def around(rng, distance, azimuth, elevation, field_of_view):
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    target = TARGET + rng.uniform(-0.05, 0.05, 3)
    return View(target + distance * np.array(direction), target, rng.normal(0, 0.03), field_of_view)


def views(seed, scene, count, broad):
    rng = np.random.default_rng([seed, scene, 0])
    return [(broad_view if broad else near_view)(rng) for _ in range(count)]


def noise_texture(rng, width, height, channels):
    """Value noise of a random grain between two colours."""
    share = np.zeros((height, width))
    for octave in range(rng.integers(1, 5)):
        cells = 2 ** (rng.integers(1, 5) + octave)
        grain = Image.fromarray(rng.uniform(0, 1, (cells, cells)).astype(np.float32))
        share += np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC)) / 2**octave
    share = (share - share.min()) / (np.ptp(share) + 1e-9)
    ends = rng.uniform(0, 255, (2, channels))
    return ends[0] + share[..., None] * (ends[1] - ends[0])


class Dresser:
    """Changes how a cell looks; `undress` puts back what MetaWorld drew."""

    KEPT = ["geom_rgba", "mat_rgba", "mat_texrepeat", "tex_data", "light_dir", "light_diffuse", "geom_type", "geom_size",
            "body_pos", "body_quat"]

    def __init__(self, cell):
        self.cell, self.model = cell, cell.model
        self.bank = [Image.open(path).convert("RGB") for path in sorted(TEXTURES.glob("*.png"))]
        self.kept = {name: getattr(self.model, name).copy() for name in self.KEPT}
        self.first_clutter = self.model.geom_bodyid.tolist().index(self.model.body("clutter0").id)

    def undress(self):
        for name, value in self.kept.items():
            getattr(self.model, name)[:] = value

    def dress(self, rng):
        self.undress()
        self.cell.renderer._gl_context.make_current()  # or textures go to the cell that was drawn last
        self.textures(rng)
        self.colours(rng)
        self.lights(rng)
        self.clutter(rng)

    def textures(self, rng):
        model = self.model
        for texture in range(model.ntex):
            width, height, channels = model.tex_width[texture], model.tex_height[texture], model.tex_nchannel[texture]
            sky = model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_SKYBOX
            if sky:
                pixels = np.broadcast_to(rng.uniform(40, 230, channels), (height, width, channels))
            elif rng.uniform() < 0.2:
                pixels = None
            elif rng.uniform() < 0.6:
                picture = self.bank[rng.integers(len(self.bank))]
                pixels = np.asarray(picture.resize((width, height)), float) * rng.uniform(0.6, 1.1, 3)
            else:
                pixels = noise_texture(rng, width, height, channels)
            if pixels is not None:
                start = model.tex_adr[texture]
                model.tex_data[start : start + pixels.size] = np.clip(pixels, 0, 255).astype(np.uint8).ravel()
            mujoco.mjr_uploadTexture(model, self.cell.renderer._mjr_context, texture)

    def colours(self, rng):
        """Objects mostly keep their colour to within a tint; some take any."""
        for colours in (self.model.mat_rgba, self.model.geom_rgba):
            for row in range(len(colours)):
                if rng.uniform() < 0.3:
                    colours[row, :3] = rng.uniform(0.05, 1, 3)
                else:
                    colours[row, :3] = np.clip(colours[row, :3] * rng.uniform(0.7, 1.3) + rng.normal(0, 0.06, 3), 0, 1)
        robot = [geom for geom in range(self.model.ngeom) if self.cell.labels[geom + 1] == LABELS.index("robot")]
        shade = np.clip([0.5, 0.1, 0.1] + rng.normal(0, 0.08, 3), 0, 1) if rng.uniform() < 0.8 else rng.uniform(0, 1, 3)
        for geom in robot:
            base = self.kept["geom_rgba"][geom, :3]
            self.model.geom_rgba[geom, :3] = shade if base[0] > 0.4 else np.clip(base + rng.normal(0, 0.05, 3), 0, 1)

    def lights(self, rng):
        model = self.model
        for light in range(model.nlight):
            direction = self.kept["light_dir"][light] + rng.normal(0, 0.5, 3)
            direction[2] = -abs(direction[2]) - 0.1
            model.light_dir[light] = direction / np.linalg.norm(direction)
            model.light_diffuse[light] = rng.uniform(0, 0.6) * rng.uniform(0.8, 1.0, 3)
        model.vis.headlight.ambient[:] = rng.uniform(0.2, 0.55) * rng.uniform(0.9, 1.0, 3)
        model.vis.headlight.diffuse[:] = rng.uniform(0.0, 0.6)

    def clutter(self, rng):
        """None in half of the scenes; else some small bodies on the table."""
        model, count = self.model, rng.integers(1, CLUTTER + 1) if rng.uniform() < 0.5 else 0
        kinds = [mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_ELLIPSOID]
        for index in range(CLUTTER):
            body, geom = model.body(f"clutter{index}").id, self.first_clutter + index
            size = rng.uniform(0.01, 0.05, 3)
            place, turn = rng.uniform([-0.4, 0.35], [0.4, 0.9]), rng.uniform(0, np.pi)
            kind = kinds[rng.integers(3)]
            if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
                size[2] = size[1]
            model.geom_type[geom], model.geom_size[geom] = kind, size
            model.geom_rbound[geom] = np.linalg.norm(size)
            model.geom_rgba[geom] = [*rng.uniform(0.05, 1, 3), 1]
            model.body_pos[body] = [*place, size[2]] if index < count else HIDDEN
            model.body_quat[body] = [np.cos(turn / 2), 0, 0, np.sin(turn / 2)]


def moments(cell, expert, rng, seed, count):
    """Steps the cell along a shaky expert's way and stops `count` times."""
    cell.reset(seed)
    steps = np.sort(rng.integers(0, STEPS, count))
    sway, step = np.zeros(4), 0
    for stop in steps:
        while step < stop:
            sway = 0.8 * sway + rng.normal(0, [0.05, 0.05, 0.05, 0.05])
            action = expert.action(cell.observation) + sway
            cell.act(np.append(action[:3], np.clip(action[3], 0, 1)))
            step += 1
        yield


def render_scene(folder, scene, seed, count, broad, stage):
    cell, expert, dresser = stage
    rng = np.random.default_rng([seed, scene, 1])
    dresser.dress(rng)
    first = (scene - SPLITS[folder.name]) * count
    for index, (view, _) in enumerate(zip(views(seed, scene, count, broad), moments(cell, expert, rng, scene, count))):
        depth, label = cell.truth(view)
        millimetres = np.clip(np.rint(depth * 1000), 0, 65535).astype(np.uint16)
        layers = {"rgb": cell.picture(view), "depth": millimetres, "label": label}
        for layer, pixels in layers.items():
            store(folder / layer / f"{first + index:06}.png", pixels)


def store(path, pixels):
    """The whole picture or none under its name, however the process ends."""
    new = path.with_name(f"{path.name}.new")
    Image.fromarray(pixels).save(new, format="PNG", compress_level=3)
    new.rename(path)


def whole(folder, scene, count):
    """Whether the scene was rendered before; its last file is written last."""
    last = folder / "label" / f"{(scene - SPLITS[folder.name] + 1) * count - 1:06}.png"
    return last.exists() and last.stat().st_size > 0


def describe(folder, scenes, seed, count, broad, size):
    """camera.json and labels.json of the first `scenes`, each replaced at once."""
    cameras, first = {}, SPLITS[folder.name]
    for scene in range(first, first + scenes):
        for index, view in enumerate(views(seed, scene, count, broad)):
            intrinsics = dict(zip(("fx", "fy", "cx", "cy"), (float(value) for value in view.intrinsics(size, size))))
            cameras[f"{(scene - first) * count + index:06}"] = {
                **intrinsics, "width": size, "height": size, "position": view.position.tolist(),
                "optical_to_world": view.world_from_optical.tolist(), "task": TASKS[scene % len(TASKS)], "scene": scene}
    for name, content in (("camera.json", cameras), ("labels.json", LABELS)):
        (folder / f"{name}.new").write_text(json.dumps(content))
        (folder / f"{name}.new").rename(folder / name)


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=1000, help="to train on")
    parser.add_argument("--held-out", type=int, default=25, help="scenes of each held-out split")
    parser.add_argument("--per-scene", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(given)
    count, stages = arguments.per_scene, {}
    numbers = {"held-out": arguments.held_out, "train": arguments.scenes, "held-out-broad": arguments.held_out}
    for split, number in numbers.items():
        folder, broad = arguments.out / split, split == "held-out-broad"
        for layer in ("rgb", "depth", "label"):
            (folder / layer).mkdir(parents=True, exist_ok=True)
        scenes = range(SPLITS[split], SPLITS[split] + number)
        for done, scene in enumerate(scenes, 1):
            if not whole(folder, scene, count):
                task = TASKS[scene % len(TASKS)]
                if task not in stages:
                    cell = Cell(task, arguments.size, arguments.size)
                    stages[task] = cell, Expert(task), Dresser(cell)
                render_scene(folder, scene, arguments.seed, count, broad, stages[task])
            if done % 50 == 0 or done == number:
                describe(folder, done, arguments.seed, count, broad, arguments.size)
                print(f"{split}: {done} of {number} scenes, {done * count} images, {time.process_time():.0f} s of processor",
                      flush=True)
    for cell, _, _ in stages.values():
        cell.close()


if __name__ == "__main__":
    main()
