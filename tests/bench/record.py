"""recorder_node against a plain recorder of rclpy raw subscriptions and the Python `mcap` writer, on the same topics in one run.

    make bench            # or, in the environment of `make ros-test`: python tests/bench/record.py [--seconds 120]

The load is that of tests/ros/test_recorder_load.py: four cameras at 640x480 and 30 Hz, joint states at 200 Hz. Prints for each
recorder the messages that it has of those sent, processor seconds per gigabyte of messages, and its peak memory.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import rclpy
from std_msgs.msg import String

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from peer import Peer

BIN = Path(os.environ.get("PIXIO_BIN", ROOT / "target/release"))
TOPICS = {f"/load/camera_{camera}": "sensor_msgs/msg/Image" for camera in range(4)}
TOPICS["/load/joints"] = "sensor_msgs/msg/JointState"
PATIENCE = 120
STARTED = []


def start(command, **options):
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, **options)
    STARTED.append(process)
    return process


def processor_seconds(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_mb(process):
    return int(re.search(r"VmHWM:\s+(\d+) kB", open(f"/proc/{process.pid}/status").read()).group(1)) / 1024


def recorder_node(folder):
    command = [BIN / "recorder_node", "--ros-args", "-p", f"contract:={ROOT}/tests/ros/load.yaml", "-p", f"root:={folder}/ours"]
    command += ["-p", "dataset:=false", "-p", "queue_mb:=1024"]
    for topic in TOPICS:
        command += ["-p", f"qos_overrides.{topic}.subscription.history:=keep_all"]
    return start(command, stderr=open(folder / "ours.log", "w"))


def still(node, files):
    """Waits until no file has grown for five seconds."""
    size, since = -1, time.monotonic()
    while time.monotonic() < since + 5:
        now = sum(file.stat().st_size for file in files())
        if now != size:
            size, since = now, time.monotonic()
        rclpy.spin_once(node, timeout_sec=0.2)
        time.sleep(0.3)


def give_back(folder, stop):
    """Makes holes where both files were written, all but the last gigabyte: of their content nothing is needed."""
    while not stop.wait(3):
        for file in folder.rglob("*.mcap"):
            length = file.stat().st_size - 2**30
            if length > 0:
                subprocess.run(["fallocate", "--punch-hole", "--offset", "0", "--length", str(length), file], check=True)


def run(seconds, folder):
    peer = Peer("bench", PATIENCE)
    node = peer.node
    status = []
    node.create_subscription(String, "/recorder_node/status", status.append, 10)
    ours = recorder_node(folder)
    plain = start([sys.executable, ROOT / "tests/bench/rclpy_recorder.py", folder / "plain.mcap", *map("=".join, TOPICS.items())])
    assert plain.stdout.readline() == "ready\n"
    load = start([BIN / "examples/load_generator", seconds, 4, 30, 200, 10], stdin=subprocess.PIPE)
    peer.until(lambda: all(node.count_subscribers(topic) == 2 for topic in TOPICS), "subscriptions of both")
    assert load.stdout.readline() == "connected\n"
    assert peer.ask("/recorder_node/start").success
    time.sleep(2)
    before = {process: processor_seconds(process) for process in (ours, plain)}
    load.stdin.write("go\n")
    load.stdin.flush()
    sent = json.loads(load.stdout.readline())
    still(node, lambda: [folder / "plain.mcap", *folder.rglob("episode_*/*.mcap"), *folder.rglob("*.recording/*.mcap")])
    used = {process: processor_seconds(process) - before[process] for process in (ours, plain)}
    memory = {process: peak_memory_mb(process) for process in (ours, plain)}
    status.clear()
    peer.until(lambda: status, "status")
    messages = json.loads(status[-1].data)["messages"]
    gigabytes = sum(file.stat().st_size for file in (folder / "ours").rglob("*.mcap")) / 1e9
    kept = peer.ask("/recorder_node/stop")
    for process in (plain, ours, load):
        process.send_signal(signal.SIGINT)
    written = int(plain.stdout.read().split()[-1])
    report(sent, gigabytes, [("recorder_node", messages, ours), ("rclpy + mcap", written, plain)], used, memory)
    print(f"recorder_node: {kept.message}")


def report(sent, gigabytes, recorders, used, memory):
    total = sum(sent["sent"].values())
    print(f"{total} messages, {gigabytes:.2f} GB, sent in {sent['seconds']:.1f} s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| recorder | messages | processor s per GB | peak memory MB |\n|---|---|---|---|")
    for name, messages, process in recorders:
        print(f"| {name} | {messages} of {total} | {used[process] / gigabytes:.2f} | {memory[process]:.0f} |")
    ours, plain = (used[process] for _, _, process in recorders)
    print(f"processor time: {ours / plain:.2f} of the plain recorder's")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--little-disk", action="store_true", help="make holes in what was written (27 GB in two minutes otherwise)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pixio_bench_"))
    stop = threading.Event()
    rclpy.init()
    try:
        if arguments.little_disk:
            threading.Thread(target=give_back, args=(folder, stop), daemon=True).start()
        run(arguments.seconds, folder)
    finally:
        stop.set()
        for process in STARTED:
            if process.poll() is None:
                process.kill()
        rclpy.shutdown()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
