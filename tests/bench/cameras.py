"""One, two and four cameras into one perception_node: rate and age of the depths of each, fairness, and what is left out.

    make bench            # or, in its environment: .pixio/bench/bin/python tests/bench/cameras.py

More images come than the machine can take. The rule: each camera's newest image waits alone, the one before it is dropped; cameras
are served in turn; so rates fall and are shared, and an age is at most a turn of all cameras old when its image is taken up.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from over_ros import ROOT, Bench, machine, quantile, random_bundle

WARM_UP_SECONDS = 3.0
BUNDLES = {"pixio-b16": "b16", "pixio-tiny16": "tiny"}  # architectures, and where under out/bench their bundles are


def measure(bundle, count, arguments, folder):
    names = ["left", "right", "front", "back"][:count]
    with Bench(folder) as bench:
        # YAML would read the list's names as what they are.
        parameters = {"cameras": "[" + ", ".join(names) + "]", **({"threads": arguments.threads} if arguments.threads else {})}
        bench.perception_node(bundle, "/many", parameters)
        topics = [(f"/many/{name}/image", f"/many/perception_node/{name}/depth/image_rect") for name in names]
        seen = bench.probe(arguments.frame, arguments.rate, arguments.seconds + WARM_UP_SECONDS, topics)
        networks = bench.said("/many/perception_node", "networks_p50_ms")
    of_cameras = []
    for images in seen:
        counted = [(at, millis) for at, millis in images if at >= WARM_UP_SECONDS]
        ages = [millis for _, millis in counted if millis is not None]
        if not ages:
            raise SystemExit("a camera gave no depth")
        of_cameras.append((len(counted), ages))
    all_ages = [age for _, ages in of_cameras for age in ages]
    received = [len(ages) for _, ages in of_cameras]
    return {
        "cameras": count, "sent": sum(sent for sent, _ in of_cameras), "received": sum(received),
        "rate_hz": sum(received) / arguments.seconds, "least_hz": min(received) / arguments.seconds,
        "most_hz": max(received) / arguments.seconds, "networks_p50_ms": networks, "age_p50_ms": statistics.median(all_ages),
        "age_p99_ms": quantile(all_ages, 0.99), "age_max_ms": max(all_ages),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4], choices=[1, 2, 3, 4])
    parser.add_argument("--rate", type=float, default=30, help="images per second of each camera")
    parser.add_argument("--frame", default="640x480", metavar="WxH")
    parser.add_argument("--threads", type=int, help="of the network [default: as the node has it]")
    parser.add_argument("--architecture", default="pixio-b16", choices=list(BUNDLES))
    parser.add_argument("--bundle", type=Path, help="another than the architecture's; made of random weights where it is not there")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    path = arguments.bundle or ROOT / "out/bench" / BUNDLES[arguments.architecture]
    bundle, results = random_bundle(path, arguments.architecture, "256x256"), []
    print(f"{bundle.name}, {arguments.frame} at {arguments.rate:.0f} Hz from each camera, {machine()}")
    print("| cameras | depths a second, all | of a camera, least to most | age p50 ms | p99 | max | networks p50 ms |\n" + "|---" * 7 + "|")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            of = measure(bundle, count, arguments, Path(folder))
        results.append({"bundle": bundle.name} | of)
        print("| %d | %.2f | %.2f to %.2f | %.0f | %.0f | %.0f | %.0f |" % (
            count, of["rate_hz"], of["least_hz"], of["most_hz"], of["age_p50_ms"], of["age_p99_ms"], of["age_max_ms"],
            of["networks_p50_ms"]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
