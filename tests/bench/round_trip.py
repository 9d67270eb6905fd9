"""From a camera's publish to the depth's arrival: perception_node against a node of rclpy, OpenCV and ONNX Runtime.

    make bench            # or, in its environment: .pixio/bench/bin/python tests/bench/round_trip.py

All run at once, and one prober sends them images in turn: same images, quality of service (best effort, keep last 1), profile and
output (256x256 32FC1). The network is small, and what each node says that it took is subtracted: what is left is transport, reading,
resizing and writing. A third node takes images as perception_node does, answers with a message of that size and computes nothing: what
transport and prober take by themselves, which no node can be rid of. Pages that perception_node is given for each image are printed
too: none where all memory is used again.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from over_ros import BIN, ROOT, Bench, machine, minor_faults, now, python, quantile, random_bundle

NETWORK = "256x256"
WARM_UP = 10  # images of each node that do not count
SETTLED = 0.2  # of the time: buffers have their sizes by then
OURS, THEIRS, ECHO = "perception_node", "rclpy + OpenCV + ONNX Runtime", "an answer without work"
TOPICS = {
    OURS: ("/ours/image", "/ours/perception_node/depth/image_rect"),
    THEIRS: ("/theirs/image", "/theirs/depth/image_rect"),
    ECHO: ("/echo/image", "/echo/depth/image_rect"),
}
# As they name themselves in diagnostics: rclpy without the namespace.
NODES = {OURS: "/ours/perception_node", THEIRS: "rclpy_depth_node"}


def measure(bundle, onnx, size, rate, seconds, folder):
    with Bench(folder) as bench:
        # One thread each: the network hardly needs two, and threads that wait for work would be in the other node's way.
        node, faults = bench.perception_node(bundle, "/ours", {"threads": 1}), []
        command = [python(), Path(__file__).with_name("rclpy_depth_node.py"), onnx, NETWORK, 1, "--ros-args", "-r", "__ns:=/theirs"]
        bench.start("rclpy_depth_node", command)
        bench.start("echo", [BIN / "examples/echo", *TOPICS[ECHO], NETWORK])
        watch = lambda: faults.append((now(), minor_faults(node)))
        seen = bench.probe(size, rate, seconds, TOPICS.values(), meanwhile=watch)
        figures = {}
        for name, images in zip(TOPICS, seen):
            counted = images[WARM_UP:]
            took = [millis for _, millis in counted if millis is not None]
            if not took:
                raise SystemExit(f"{name}: no depth came:\n{bench.last_words()}")
            said = lambda key: bench.said(NODES[name], key) if name in NODES else None
            networks = said("networks_p50_ms") or 0.0
            figures[name] = {
                "sent": len(counted), "received": len(took), "networks_p50_ms": networks, "inside_p50_ms": said("beside_networks_p50_ms"),
                "p50_ms": statistics.median(took) - networks, "p99_ms": quantile(took, 0.99) - networks,
            }
        figures[OURS]["page_faults_per_image"] = page_faults(faults, seconds, rate)
        return figures


def page_faults(counts, seconds, rate):
    """Page faults for each image that was sent, of counts with their times; what the prober waits for at its end does not count."""
    settled = [(at, count) for at, count in counts if SETTLED * seconds <= at - counts[0][0] <= seconds]
    if len(settled) < 2:
        return None
    (begin, before), (end, after) = settled[0], settled[-1]
    return (after - before) / (rate * (end - begin))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--sizes", nargs="+", default=["640x480@20", "1920x1080@5"], metavar="WxH@HZ")
    parser.add_argument("--bundle", type=Path, default=ROOT / "out/bench/tiny", help="made of random weights where it is not there")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    bundle, results = random_bundle(arguments.bundle, "pixio-tiny16", NETWORK), {}
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "onnx"
        subprocess.run([BIN / "pixio", "export", bundle, "--size", NETWORK, "--out", onnx], check=True, stdout=subprocess.DEVNULL)
        print(f"round trip less networks, {machine()}")
        print("| images | node | depths of images | p50 ms | p99 ms | its networks p50 ms | inside the node p50 ms |\n" + "|---" * 7 + "|")
        for wanted in arguments.sizes:
            size, rate = wanted.split("@")
            figures = measure(bundle, onnx, size, float(rate), arguments.seconds, Path(folder))
            results[wanted] = figures
            for name, of in figures.items():
                inside = "" if of["inside_p50_ms"] is None else f"{of['inside_p50_ms']:.2f}"
                print("| %s, %s Hz | %s | %d of %d | %.2f | %.2f | %.2f | %s |" % (
                    size, rate, name, of["received"], of["sent"], of["p50_ms"], of["p99_ms"], of["networks_p50_ms"], inside))
            ours, theirs, echo = (figures[name]["p50_ms"] for name in TOPICS)
            print(f"{size}: {ours / theirs:.2f} of the peer's; {echo / theirs:.2f} of it without any work; "
                  f"beyond that {ours - echo:.2f} and {theirs - echo:.2f} ms, {(ours - echo) / (theirs - echo):.2f} of the peer's")
            given = figures[OURS]["page_faults_per_image"]
            print(f"{size}: page faults of {OURS} for each image: {'counted for too short a time' if given is None else f'{given:.2f}'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
