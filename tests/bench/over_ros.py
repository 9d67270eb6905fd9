"""Nodes under measurement: processes, what they say on /diagnostics, and the prober that is the same for all."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("PIXIO_BIN", ROOT / "target/release"))
PATIENCE = 120  # seconds until a node answers: a bundle is loaded and checked before


class Bench:
    """Processes that end with it, and the newest of their diagnostics."""

    def __init__(self, folder):
        self.folder, self.started, self.values = folder, [], {}
        rclpy.init()
        self.node = rclpy.create_node("bench")
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.hear, 10)
        self.spinning = threading.Thread(target=self.spin, daemon=True)
        self.spinning.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        if rclpy.ok():  # a signal may have done it
            rclpy.shutdown()
        self.spinning.join(timeout=5)

    def spin(self):
        try:
            while rclpy.ok():
                rclpy.spin_once(self.node, timeout_sec=0.1)
        except Exception:  # rclpy was shut down meanwhile
            if rclpy.ok():
                raise

    def hear(self, message):
        for status in message.status:
            self.values[status.name] = {value.key: value.value for value in status.values}

    def said(self, node, key):
        """A number of a node's newest status that has it."""
        for name, values in list(self.values.items()):
            if name.lstrip("/").startswith(node.lstrip("/")) and key in values:
                return float(values[key])
        raise SystemExit(f"{node}: expected {key} among its diagnostics, got {sorted(self.values)}")

    def start(self, name, command, **options):
        log = open(self.folder / f"{name}.log", "w")
        process = subprocess.Popen([str(word) for word in command], **{"stdout": log, "stderr": log, "text": True, **options})
        self.started.append(process)
        return process

    def perception_node(self, bundle, namespace, parameters=None):
        command = [BIN / "perception_node", "--ros-args", "-r", f"__ns:={namespace}", "-p", f"bundle:={bundle}"]
        for key, value in (parameters or {}).items():
            command += ["-p", f"{key}:={value}"]
        return self.start("perception_node", command)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def probe(self, size, rate, seconds, topics, reliability="best_effort", meanwhile=None):
        """What the prober saw: for each camera, for each image `[seconds, milliseconds or None]`. `topics` are pairs of image and
        result; `meanwhile` is called every second."""
        pairs = [f"{image}={result}" for image, result in topics]
        command = [BIN / "examples/prober", size, rate, seconds, reliability, *pairs]
        prober = self.start("prober", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        waited = threading.Timer(PATIENCE, prober.kill)
        waited.start()
        connected = prober.stdout.readline() == "connected\n"
        waited.cancel()
        if not connected:
            raise SystemExit(f"the nodes did not connect; {self.folder} has what they said:\n{self.last_words()}")
        prober.stdin.write("go\n")
        prober.stdin.flush()
        told = []
        reading = threading.Thread(target=lambda: told.append(prober.stdout.readline()))
        reading.start()
        while reading.is_alive():
            if meanwhile:
                meanwhile()
            reading.join(timeout=1.0)
        if not told[0]:
            raise SystemExit(f"the prober ended early:\n{self.last_words()}")
        return json.loads(told[0])

    def last_words(self):
        return "\n".join(line for log in self.folder.glob("*.log") for line in log.read_text().splitlines()[-8:])


def memory_mib(process, field="VmRSS:"):
    """Resident memory now, or with `VmHWM:` the most that ever was."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise SystemExit("the node ended while it was measured")


def minor_faults(process):
    """Pages that the process, all its threads together, has been given so far: memory that it did not have before, or gave back."""
    try:
        return int(Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[7])
    except OSError as error:
        raise SystemExit(f"the node ended while it was measured: {error}") from error


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def random_bundle(path, architecture, size, heads=("depth=linear",)):
    """A bundle of random weights, which cost what trained ones do."""
    if not (path / "model.toml").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [BIN / "pixio", "import", "--random-weights", "1", "--architecture", architecture, "--size", size, "--out", path]
        command += [word for head in heads for word in ("--head", head)]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return path


def machine():
    name = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return f"{name}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}"


def python():
    return sys.executable


def now():
    return time.monotonic()
