"""perception_node at full load for long: resident memory, ages, losses.

    make bench            # five minutes; or, in its environment: .pixio/bench/bin/python tests/bench/soak.py --seconds 3600

Images come faster than the network takes them. Prints the resident memory of each part of the time, and two ages of every frame in
periods of inference: when it is taken up, which is when the depth before it arrives, and when its own depth arrives. The exit code
is 1 when a frame was older than one period when it was taken up, when memory grew by more than a MiB, or when the node complained.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from over_ros import ROOT, Bench, machine, memory_mib, now, quantile, random_bundle

PARTS = 10
SETTLED = 0.1  # of the time: buffers have their sizes by then
FLAT = 1.0  # MiB


def ages(images, begin):
    """Milliseconds of every frame with a depth that was sent `begin` seconds after the first or later: until it was taken up (0 when it
    came later than the depth before), and until its depth came."""
    taken_up, whole, before = [], [], None
    for at, millis in images:
        if millis is None:
            continue
        if at >= begin and before is not None:
            taken_up.append(max(0.0, 1e3 * (before - at)))
            whole.append(millis)
        before = at + millis / 1e3
    return taken_up, whole


def resident(memory, seconds, begin):
    """Prints the most of each part of the time; the growth from the first half of what is settled to the second, MiB."""
    first = memory[0][0]
    print("| seconds | resident MiB, most |\n|---|---|")
    for part in range(PARTS):
        ends = [seconds * (part + step) / PARTS for step in (0, 1)]
        of_part = [mib for at, mib in memory if ends[0] <= at - first < ends[1]]
        if of_part:
            print(f"| {ends[0]:.0f} to {ends[1]:.0f} | {max(of_part):.1f} |")
    settled = [mib for at, mib in memory if at - first >= begin]
    return max(settled[len(settled) // 2:]) - max(settled[:len(settled) // 2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--frame", default="640x480", metavar="WxH")
    parser.add_argument("--bundle", type=Path, default=ROOT / "out/bench/b16", help="made of random weights where it is not there")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    bundle, memory = random_bundle(arguments.bundle, "pixio-b16", "256x256"), []
    print(f"{bundle.name}, {arguments.frame} at {arguments.rate:.0f} Hz for {arguments.seconds:.0f} s, {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        node = bench.perception_node(bundle, "/soak")
        topics = [("/soak/image", "/soak/perception_node/depth/image_rect")]
        watch = lambda: memory.append((now(), memory_mib(node)))
        (images,) = bench.probe(arguments.frame, arguments.rate, arguments.seconds, topics, meanwhile=watch)
        most = memory_mib(node, "VmHWM:")
        networks = bench.said("/soak/perception_node", "networks_p50_ms")
        worst_networks = bench.said("/soak/perception_node", "networks_p99_ms")
        lines = bench.log("perception_node").splitlines()
        complaints = [line for line in lines if "[WARN]" in line or "[ERROR]" in line if "RANDOM WEIGHTS" not in line]
    begin = arguments.seconds * SETTLED
    growth = resident(memory, arguments.seconds, begin)
    print(f"growth from the first half to the second, once settled: {growth:+.2f} MiB; {most:.1f} MiB at most, loading included")
    taken_up, whole = ages(images, begin)
    if not whole:
        sys.exit(f"no depth came after {begin:.0f} s")
    rate = len(whole) / (arguments.seconds - begin)
    period = 1e3 / rate
    print(f"{rate:.2f} depths a second of {arguments.rate:.0f} images; networks p50 {networks:.0f} ms, p99 {worst_networks:.0f} ms (last 10 s)")
    for told, values in (("a frame is taken up", taken_up), ("its depth arrives", whole)):
        print("age when %s: p50 %.0f ms, p99 %.0f ms, max %.0f ms = %.2f periods" % (
            told, statistics.median(values), quantile(values, 0.99), max(values), max(values) / period))
    late = sum(age > period for age in taken_up)
    print(f"older than one period of {period:.0f} ms when taken up: {late} of {len(taken_up)}")
    print(f"warnings and errors logged: {len(complaints)}")
    if arguments.json:
        figures = {"memory": [(at - memory[0][0], mib) for at, mib in memory], "most_mib": most, "ages_ms": whole,
                   "taken_up_ms": taken_up, "networks_p50_ms": networks, "rate_hz": rate, "growth_mib": growth}
        arguments.json.write_text(json.dumps(figures))
    wrong = [f"{late} frames were older than one period"] if late else []
    wrong += [f"memory grew by {growth:.2f} MiB, expected at most {FLAT}"] if growth > FLAT else []
    if wrong or complaints:
        sys.exit("\n".join(wrong + complaints[:5]))


if __name__ == "__main__":
    main()
