"""The control loop of policy_node, measured over ROS: period, cost of a tick, age of the image behind a command.

    source .pixio/setup.bash; cargo build --release --workspace --bins
    source scripts/isolated.bash; PIXIO_BIN=$PWD/target/release python tests/bench/policy.py [seconds]

A two-joint robot that obeys and a policy of 20 chunks a second with 50 ms of latency (tests/ros/policy.py), all on this machine. The
numbers are the node's own, of its last ten seconds (/diagnostics), beside what a Python timer at the same rate keeps meanwhile.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ros"))
import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402

import policy  # noqa: E402

ROWS = [("period_p50_ms", "period, ms, median"), ("period_p99_ms", "period, ms, 99 of 100"), ("period_max_ms", "period, ms, most"),
        ("tick_p50_us", "tick, us, median"), ("tick_p99_us", "tick, us, 99 of 100"), ("ticks_missed", "ticks missed"),
        ("observation_age_p50_ms", "age of the image, ms, median"), ("observation_age_p99_ms", "age of the image, ms, 99 of 100"),
        ("observation_age_max_ms", "age of the image, ms, most")]


def python_timer(stop, periods):
    """What a sleeping Python thread keeps of 10 ms."""
    due, before = time.monotonic(), None
    while not stop.is_set():
        time.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        if before is not None:
            periods.append(1e3 * (now - before))
        before, due = now, max(due + policy.PERIOD, now)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    rclpy.init()
    rig = policy.Rig()
    rig.delay, rig.target = 0.05, lambda t: [0.3 * (t % 4.0) / 4.0, 0.1]
    statuses = []
    rig.node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: statuses.extend(s for s in m.status if s.name == "policy_node"), 10)
    command = [str(Path(os.environ["PIXIO_BIN"]) / "policy_node"), "--ros-args"]
    for name, value in policy.parameters().items():
        command += ["-p", f"{name}:={value}"]
    node = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        rig.arm()
        stop, periods = threading.Event(), []
        thread = threading.Thread(target=python_timer, args=(stop, periods))
        thread.start()
        time.sleep(seconds)
        stop.set()
        thread.join()
        values = {pair.key: pair.value for pair in statuses[-1].values}
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {seconds:.0f} s, state {values['state']}\n")
        print("| | policy_node |\n|---|---|")
        for key, label in ROWS:
            print(f"| {label} | {values[key]} |")
        ordered = sorted(periods)
        at = lambda share: ordered[round(share * (len(ordered) - 1))]
        print(f"| a Python thread's period, ms: median, 99 of 100, most | {at(0.5):.2f}, {at(0.99):.2f}, {at(1.0):.2f} |")
    finally:
        node.terminate()
        node.wait()
        rig.close()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
