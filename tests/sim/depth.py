"""Depth of bundles against rendered depth, counted by numpy from the files that `pixio infer` writes, beside medians of the training pictures.

    depth.py --pictures out/tabletop/pictures --bundle shipped=engines/bundles/tabletop-tiny [--bundle NAME=BUNDLE] [--pixio target/release/pixio]

For each range that is asked for, what is known and within it counts, for the medians too, in truth and in training. A depth that a bundle
does not say (0) where one is known is an error; there must be none.
"""

import argparse
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image


def metres(folder, suffix=""):
    """Depths of a folder by name, NaN where unknown: pictures, rows, columns."""
    files = sorted(folder.glob(f"*{suffix}.png"))
    if not files:
        raise SystemExit(f"{folder}: expected files *{suffix}.png, got none")
    depths = np.stack([np.asarray(Image.open(file), np.float32) for file in files]) / 1000
    return [file.name.removesuffix(f"{suffix}.png") for file in files], np.where(depths > 0, depths, np.nan)


def of_bundle(tool, bundle, pictures, names):
    with tempfile.TemporaryDirectory() as out:
        command = [tool, "infer", bundle, pictures / "rgb", "--write", "depth", "--far-policy", "clamp", "--out", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        written, depths = metres(Path(out), "_depth")
    if written != names:
        raise SystemExit(f"{bundle}: expected a depth of each of {len(names)} pictures, got {len(written)}")
    return depths


def errors(depths, truth, furthest):
    """AbsRel, delta1, RMSE in metres, the mean of the pictures' own, as the official code counts."""
    rows = []
    for ours, true in zip(np.broadcast_to(depths, truth.shape), truth):
        known = true <= furthest
        if not known.any():
            continue
        ours, true = ours[known], true[known]
        if np.isnan(ours).any():
            raise SystemExit(f"expected a depth wherever one is known, got none in {np.isnan(ours).sum()} pixels")
        ratio = np.maximum(ours / true, true / ours)
        rows.append([np.mean(abs(ours - true) / true), np.mean(ratio < 1.25), np.sqrt(np.mean((ours - true) ** 2))])
    return np.mean(rows, axis=0)


def medians(training, furthest):
    """The per-pixel one, the constant where a pixel was never known; the constant."""
    within = np.where(training <= furthest, training, np.nan)
    constant = np.nanmedian(within)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        per_pixel = np.nanmedian(within, axis=0)
    return np.where(np.isnan(per_pixel), constant, per_pixel), np.full(training.shape[1:], constant)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of render.py")
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=BUNDLE")
    parser.add_argument("--pixio", default="target/release/pixio")
    parser.add_argument("--furthest", type=float, nargs="+", default=[8.0, 3.0], metavar="METRES")
    parser.add_argument("--held-out", nargs="+", default=["held-out", "held-out-broad"], metavar="FOLDER")
    arguments = parser.parse_args()
    training = metres(arguments.pictures / "train/depth")[1]
    for folder in arguments.held_out:
        names, truth = metres(arguments.pictures / folder / "depth")
        depths = {name: of_bundle(arguments.pixio, bundle, arguments.pictures / folder, names)
                  for name, bundle in (given.split("=", 1) for given in arguments.bundle)}
        for furthest in arguments.furthest:
            per_pixel, constant = medians(training, furthest)
            rows = depths | {"per-pixel median": per_pixel, "constant median": constant}
            print(f"\n| {folder}, {len(names)} pictures, to {furthest:g} m | AbsRel | delta1 | RMSE m |\n|---|---|---|---|")
            for name, of_row in rows.items():
                print("| {} | {:.3f} | {:.3f} | {:.3f} |".format(name, *errors(of_row, truth, furthest)))


if __name__ == "__main__":
    main()
