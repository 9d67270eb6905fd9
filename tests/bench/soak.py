"""perception_node at full load for long: resident memory, ages, losses.

    make bench            # five minutes; or, in its environment: .pixio/bench/bin/python tests/bench/soak.py --seconds 3600

Images come faster than the network takes them. Prints the resident memory of each part of the time, and the ages of the depths in
periods of the network: an image is at most one old when it is taken up, and then takes one.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from over_ros import ROOT, Bench, machine, now, quantile, random_bundle, resident_mib

PARTS = 10
SETTLED = 0.1  # of the time: buffers have their sizes by then


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
        watch = lambda: memory.append((now(), resident_mib(node)))
        (images,) = bench.probe(arguments.frame, arguments.rate, arguments.seconds, topics, meanwhile=watch)
        networks = bench.said("/soak/perception_node", "networks_p50_ms")
        worst_networks = bench.said("/soak/perception_node", "networks_p99_ms")
        lines = bench.log("perception_node").splitlines()
        complaints = [line for line in lines if "[WARN]" in line or "[ERROR]" in line if "RANDOM WEIGHTS" not in line]
    begin = arguments.seconds * SETTLED
    ages = [millis for at, millis in images if millis is not None and at >= begin]
    rate = len(ages) / (arguments.seconds - begin)
    first = memory[0][0]
    settled = [mib for at, mib in memory if at - first >= begin]
    print("| seconds | resident MiB, most |\n|---|---|")
    for part in range(PARTS):
        ends = [arguments.seconds * (part + step) / PARTS for step in (0, 1)]
        of_part = [mib for at, mib in memory if ends[0] <= at - first < ends[1]]
        if of_part:
            print(f"| {ends[0]:.0f} to {ends[1]:.0f} | {max(of_part):.1f} |")
    growth = max(settled[len(settled) // 2:]) - max(settled[:len(settled) // 2])
    print(f"growth from the first half to the second, once settled: {growth:+.2f} MiB")
    period = 1e3 / rate
    print(f"{rate:.2f} depths a second of {arguments.rate:.0f} images; networks p50 {networks:.0f} ms, p99 {worst_networks:.0f} ms (last 10 s)")
    print("age when a depth arrives: p50 %.0f ms, p99 %.0f ms, max %.0f ms = %.2f periods" % (
        statistics.median(ages), quantile(ages, 0.99), max(ages), max(ages) / period))
    print(f"ages above two periods: {sum(age > 2 * period for age in ages)} of {len(ages)}; warnings and errors logged: {len(complaints)}")
    if arguments.json:
        figures = {"memory": [(at - first, mib) for at, mib in memory], "ages_ms": ages, "networks_p50_ms": networks,
                   "rate_hz": rate, "growth_mib": growth}
        arguments.json.write_text(json.dumps(figures))
    if complaints:
        sys.exit("\n".join(complaints[:5]))


if __name__ == "__main__":
    main()
