"""Four cameras at 640x480 and 30 Hz, joint states at 200 Hz, recorded for 20 s: nothing is lost, memory stays bounded.

The generator sends a fixed number of messages, later when the machine is slow; the numbers in the data show every loss. The
generator keeps all until it has arrived, and the subscriptions some seconds that the recorder has not taken yet: twice what they hold
by default, for machines that others use too.
"""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import pytest

from conftest import BIN, PATIENCE, ROOT
from mcap_records import messages
from test_recorder import Recorder

SECONDS = float(os.environ.get("PIXIO_LOAD_SECONDS", 20))
RATES = {f"/load/camera_{camera}": 30 for camera in range(4)} | {"/load/joints": 200}
TOPICS = list(RATES)
# Room for a disk that does nothing for nine seconds.
QUEUE_MB = 1024
HELD_SECONDS = 4
# What a message of each topic takes.
MESSAGE_MB = {topic: 0.93 if "camera" in topic else 0.001 for topic in TOPICS}
# Memory that does not depend on the load, in MB: code and libraries (53 before the first message), the sender's segment that is mapped
# (64, launch/fastdds.xml), sixteen spare buffers of each topic (60), the memory that goes to the disk (4).
FIXED_MB = 60 + 64 + 60 + 4


def peak_memory_mb(process):
    return int(re.search(r"VmHWM:\s+(\d+) kB", open(f"/proc/{process.pid}/status").read()).group(1)) / 1024


def test_nothing_is_lost_under_the_stated_load(start, peer, tmp_path):
    if shutil.disk_usage(tmp_path).free < 6e9:
        pytest.skip("needs 6 GB of disk")
    parameters = {"contract": ROOT / "tests/ros/load.yaml", "root": tmp_path / "root", "dataset": "false", "queue_mb": QUEUE_MB}
    for topic, rate in RATES.items():
        parameters |= {f"qos_overrides.{topic}.subscription.depth": HELD_SECONDS * rate}
    recorder = Recorder(start("recorder_node", parameters), peer)
    command = [BIN / "examples/load_generator", SECONDS, 4, 30, 200, SECONDS]
    profile = {"FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "launch/fastdds.xml")}
    generator = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **profile},
    )
    try:
        assert generator.stdout.readline() == "connected\n"
        peer.spin(1.5)  # the subscriptions have followed what the generator offers
        assert recorder.call("start")[0]
        generator.stdin.write("go\n")
        generator.stdin.flush()
        sent = json.loads(generator.stdout.readline())
        total = sum(sent["sent"].values())
        recorded, changed = -1, time.monotonic()
        while recorded < total and time.monotonic() < changed + PATIENCE:
            now = recorder.status()["messages"]
            if now != recorded:
                recorded, changed = now, time.monotonic()
        memory = peak_memory_mb(recorder.node.process)
        status = recorder.status()
        kept, message = recorder.call("stop")
    finally:
        generator.send_signal(signal.SIGINT)
        generator.wait(timeout=PATIENCE)
    megabytes = sum(file.stat().st_size for file in (tmp_path / "root").rglob("*.mcap")) / 1e6
    held = sum(HELD_SECONDS * rate * MESSAGE_MB[topic] for topic, rate in RATES.items())
    # What waits to be written, at most QUEUE_MB; and what waits in the middleware, at most what its subscriptions hold.
    most = FIXED_MB + status["queue_peak_mb"] + held
    print(
        f"\n{total} messages, {megabytes:.0f} MB sent in {sent['seconds']:.1f} s (target {SECONDS:.0f} s);"
        f" peak memory {memory:.0f} MB of at most {most:.0f}, peak queue {status['queue_peak_mb']:.0f} MB"
    )
    assert kept, message
    assert all(stream["lost"] == 0 for stream in status["streams"].values()), status
    numbers = {topic: [] for topic in TOPICS}
    for topic, data in messages(tmp_path / "root/bags/episode_000000"):
        if topic in numbers:
            numbers[topic].append(struct.unpack_from("<d", data, sent["number_at"][topic])[0])
    # pytest keeps what its last runs left.
    shutil.rmtree(tmp_path / "root")
    for topic in TOPICS:
        assert numbers[topic] == list(range(sent["sent"][topic])), f"{topic}: {len(numbers[topic])} of {sent['sent'][topic]}"
    # The queue counts in 2**20 bytes, the status in 10**6.
    assert status["queue_peak_mb"] <= QUEUE_MB * 1.05
    assert memory <= most
