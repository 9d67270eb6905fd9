"""Pixio's encoder on this program's engine, against PyTorch, ONNX Runtime and OpenVINO from Python, on the same weights.

    make bench            # or: .pixio/bench/bin/python tests/bench/engines.py [--bundle out/bench/b16] [--size 256x256]

All run in one go, one run each a round, in float32 (on processors with AMX, OpenVINO's own choice is bfloat16: a row of its own, which
is no comparison, nor is this engine's int8). Every result is held against ONNX Runtime's from Python.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from turns import Program, quantile, ratio, table, take_turns

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("PIXIO_BIN", ROOT / "target/release"))
PAUSE = 0.01
APART = 1e-3  # of the largest magnitude: what `pixio verify` allows float32


def bundle(path, size, architecture="pixio-b16"):
    """Random weights have the cost of trained ones."""
    if not (path / "model.toml").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [BIN / "pixio", "import", "--random-weights", "1", "--architecture", architecture, "--head", "depth=linear"]
        subprocess.run([*command, "--size", size, "--out", path], check=True, stdout=subprocess.DEVNULL)
    return path


def programs(arguments, folder):
    given = folder / "input.f32"
    width, height = map(int, arguments.size.split("x"))
    np.random.default_rng(1).normal(size=(3, height, width)).astype("<f4").tofile(given)
    subprocess.run([BIN / "pixio", "export", arguments.bundle, "--size", arguments.size, "--out", folder], check=True,
                   stdout=subprocess.DEVNULL)
    about = ["--size", arguments.size, "--threads", str(arguments.threads)]
    peer = Path(__file__).with_name("engine_peer.py")

    def ours(name, *options):
        output = folder / f"{name}.f32"
        command = [BIN / "examples/time_networks", arguments.bundle, arguments.size, given, output, arguments.threads, *options]
        return Program(name, command), output

    def theirs(name, engine, *options):
        output = folder / f"{name}.f32"
        command = [sys.executable, peer, engine, arguments.bundle, folder / f"backbone_{arguments.size}.onnx", given, output]
        return Program(name, [*command, *about, *options]), output

    yield ours("pixio", "fp32")
    if arguments.int8:
        yield ours("pixio, int8", "int8")
    yield theirs("PyTorch", "pytorch")
    if arguments.compile:
        yield theirs("PyTorch, torch.compile", "pytorch", "--compile")
    yield theirs("ONNX Runtime, Python", "onnxruntime")
    yield theirs("OpenVINO, Python", "openvino")
    if "amx_bf16" in Path("/proc/cpuinfo").read_text():
        yield theirs("OpenVINO, Python, its own choice: bfloat16", "openvino", "--own-precision")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "out/bench/b16", help="made of random weights where it is not there")
    parser.add_argument("--size", default="256x256", metavar="WxH")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--int8", action="store_true", help="this engine with products in 8 bits too")
    parser.add_argument("--compile", action="store_true", help="torch.compile too (a minute until it is ready)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures for plots")
    arguments = parser.parse_args()
    bundle(arguments.bundle, arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        pairs = list(programs(arguments, Path(folder)))
        running = [program for program, _ in pairs]
        take_turns(running, arguments.rounds, pause=PAUSE)
        results = {program.name: np.fromfile(output, "<f4") for program, output in pairs}
    expected = results["ONNX Runtime, Python"]
    print(f"encoder of {arguments.bundle.name}, {arguments.size}, {arguments.threads} threads, {arguments.rounds} rounds")
    print(table(running, running[0]))
    wrong = []
    for program in running:
        apart = np.abs(results[program.name] - expected).max() / np.abs(expected).max()
        print(f"{program.name}: {program.about}; {apart:.1e} of the range from ONNX Runtime's result")
        if not apart < APART and "bfloat16" not in program.name and "int8" not in program.name:
            wrong.append(program.name)
    if arguments.json:
        figures = {program.name: {"p50_ms": quantile(program.times, 0.5), "times_ms": program.times,
                                  "of_pixio": ratio(program, running[0])} for program in running}
        arguments.json.write_text(json.dumps(figures, indent=1))
    if wrong:
        sys.exit(f"computes something else: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
