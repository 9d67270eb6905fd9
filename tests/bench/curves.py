"""Cost curves: what a frame costs by the network's pixels and the model's size (`pixio bench`), and by the number of cameras.

    make bench            # or: .pixio/bench/bin/python tests/bench/curves.py --cameras out/bench/cameras.json --out docs/speed.png
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from over_ros import BIN, ROOT, machine

SIZES = ["128x128", "256x256", "384x256", "384x384", "512x512"]
MODELS = {"pixio-tiny16": "tiny", "pixio-b16": "B", "pixio-l16": "L"}


def bundle(architecture, sizes):
    """Random weights have the cost of trained ones. `pixio-l16` takes 1.3 GB."""
    path = ROOT / "out/bench" / f"{architecture}-{len(sizes)}"
    if not (path / "model.toml").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [BIN / "pixio", "import", "--random-weights", "1", "--architecture", architecture, "--head", "depth=linear"]
        command += [word for size in sizes for word in ("--size", size)] + ["--photo", ROOT / "tests/photos/coffee.jpg", "--out", path]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return path


def bench(path, size, frames):
    command = [BIN / "pixio", "bench", path, "--size", size, "--frames", str(frames), "--warm-up", "3", "--json"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    stages = {stage["stage"]: stage for stage in report["stages"]}
    networks = stages["backbone"]["p50_ms"] + stages["head_depth"]["p50_ms"]
    figures = {"p50_ms": stages["end_to_end"]["p50_ms"], "networks_p50_ms": networks, "resident_mib": report["memory_after"]["resident_mib"]}
    print(f"{path.name} {size}: " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()), flush=True)
    return figures


def draw(pixels, models, cameras, out, about):
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    areas = [int(width) * int(height) / 1e3 for width, height in (size.split("x") for size in pixels)]
    left.plot(areas, [of["p50_ms"] for of in pixels.values()], "o-")
    for area, (size, of) in zip(areas, pixels.items()):
        left.annotate(size, (area, of["p50_ms"]), textcoords="offset points", xytext=(6, -12), fontsize=8)
    left.set(xlabel="pixels of the network's input, thousands", ylabel="ms a frame (p50)", title="Pixio-B/16 by pixels", ylim=0)
    names = [MODELS[name] for name in models]
    bars = middle.bar(names, [of["p50_ms"] for of in models.values()])
    middle.bar_label(bars, [f"{of['p50_ms']:.0f} ms\n{of['resident_mib']:.0f} MiB" for of in models.values()], fontsize=8)
    middle.set(ylabel="ms a frame (p50)", title="256x256 by model, resident memory", yscale="log")
    middle.margins(y=0.25)
    counts = [of["cameras"] for of in cameras]
    right.plot(counts, [of["age_p50_ms"] for of in cameras], "o-", label="age p50")
    right.plot(counts, [of["age_p99_ms"] for of in cameras], "o--", label="age p99")
    right.set(xlabel="cameras of 640x480, 30 Hz each", ylabel="ms", title=f"{cameras[0]['bundle']}, 256x256, by cameras", xticks=counts, ylim=0)
    rates = right.twinx()
    rates.plot(counts, [of["rate_hz"] for of in cameras], "s:", color="tab:green", label="depths a second, all")
    rates.set(ylim=0, ylabel="depths a second")
    handles = [line for axes in (right, rates) for line in axes.get_lines()]
    right.legend(handles, [line.get_label() for line in handles], fontsize=8, loc="lower right")
    figure.suptitle(about, fontsize=9)
    figure.savefig(out, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--cameras", type=Path, required=True, help="what cameras.py --json wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench/speed.png")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if not arguments.cameras.is_file():
        parser.error(f"--cameras {arguments.cameras}: no such file; cameras.py --json {arguments.cameras} writes it")
    cameras = json.loads(arguments.cameras.read_text())
    about = f"float32, ONNX Runtime, {machine()}"
    by_pixels = bundle("pixio-b16", SIZES)
    pixels = {size: bench(by_pixels, size, arguments.frames) for size in SIZES}
    models = {}
    for name in arguments.models:
        path = by_pixels if name == "pixio-b16" else bundle(name, ["256x256"])
        models[name] = pixels["256x256"] if name == "pixio-b16" else bench(path, "256x256", arguments.frames)
    draw(pixels, models, cameras, arguments.out, about)
    print(f"{arguments.out}, {os.path.getsize(arguments.out) / 1e3:.0f} kB")
    if arguments.json:
        arguments.json.write_text(json.dumps({"pixels": pixels, "models": models, "cameras": cameras}, indent=1))


if __name__ == "__main__":
    main()
