"""What self-curation sees: shares of trivial pictures in what `pixio pretrain` sees, with curation and without.

    source .pixio/setup.bash
    python tests/bench/curation.py --pictures out/tabletop/pictures/train/rgb --held-out out/tabletop/pictures/held-out --out out/curation

Mixes different pictures with trivial ones: a camera before scenes that stand still (frames that differ by its noise alone), copies of one
picture, flat colours, black. Pre-trains a small encoder twice, for the same number of steps from the same seed, and prints how much of
what was seen came from where, and the loss on pictures never seen. Some minutes; stopped, it goes on where it was.
"""

import argparse
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DIFFERENT, SCENES, FRAMES, COPIES, FLAT, BLACK = 960, 4, 60, 120, 120, 120
KINDS = ["different", "still", "copies", "flat", "black"]


def mix(files, out):
    """A folder per kind."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(files))
    pictures = [np.asarray(Image.open(files[index]).convert("RGB")) for index in order[: DIFFERENT + SCENES + 1]]
    still = [np.clip(scene + rng.normal(0, 1.5, scene.shape).round(), 0, 255) for scene in pictures[DIFFERENT:][:SCENES] for _ in range(FRAMES)]
    kinds = {
        "different": pictures[:DIFFERENT],
        "still": still,
        "copies": [pictures[-1]] * COPIES,
        "flat": [np.broadcast_to(rng.integers(0, 256, 3), pictures[0].shape) for _ in range(FLAT)],
        "black": [np.zeros_like(pictures[0])] * BLACK,
    }
    for kind, images in kinds.items():
        (out / kind).mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            Image.fromarray(image.astype(np.uint8)).save(out / kind / f"{index:04}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of at least 965 different pictures")
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    files = sorted(arguments.pictures.glob("*.png"))
    if len(files) < DIFFERENT + SCENES + 1:
        parser.error(f"{arguments.pictures}: expected at least {DIFFERENT + SCENES + 1} PNG files, got {len(files)}")
    mix(files, arguments.out / "mixed")
    found, losses = {}, {}
    for name, more in (("every picture equally often", ["--no-curation"]), ("curated", [])):
        run = arguments.out / f"{name.split()[0]}-{arguments.steps}"  # a run's schedule cannot be changed
        command = [target / "release/pixio", "pretrain", "--held-out", arguments.held_out, "--side", "128", "--encoder", "96x4x3",
                   "--decoder", "64x2x2", "--batch", "32", "--steps", str(arguments.steps), "--rate", "1e-3", "--smallest-crop", "0.6",
                   "--no-mirror", "--run", run, "--out", arguments.out / f"{run.name}-encoder", "--force", *more]
        for kind in KINDS:
            command += ["--data", arguments.out / "mixed" / kind]
        said = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout
        losses[name] = float(re.search(r"loss on held-out pictures: ([0-9.]+)", said)[1])
        found[name] = json.loads((run / "curation.json").read_text())["sources"]
    first = next(iter(found.values()))
    total = sum(source["pictures"] for source in first)
    print("| | " + " | ".join(f"{Path(source['source']).name}, {source['pictures']}" for source in first) + " | loss on held-out pictures |")
    print("|---|" + "---|" * (len(first) + 1))
    print("| of the pictures | " + " | ".join(f"{100 * source['pictures'] / total:.1f} %" for source in first) + " | |")
    for name, sources in found.items():
        seen = sum(source["seen"] for source in sources)
        print(f"| seen, {name} | " + " | ".join(f"{100 * source['seen'] / seen:.1f} %" for source in sources) + f" | {losses[name]:.3f} |")


if __name__ == "__main__":
    main()
