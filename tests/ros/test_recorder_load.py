"""Four cameras at 640x480 and 30 Hz, joint states at 200 Hz, recorded for 20 s: nothing is lost, memory stays bounded.

The generator sends a fixed number of messages, later when the machine is slow; the numbers in the data show every loss. The
generator keeps all until it has arrived, and the subscriptions all that the recorder has not taken yet, so that what is tested
does not depend on the machine's speed.
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
TOPICS = [f"/load/camera_{camera}" for camera in range(4)] + ["/load/joints"]
QUEUE_MB = 1024
# Code, libraries, buffers. What waits in the middleware comes to at most the load itself, once.
BESIDE_MESSAGES_MB = 400


def peak_memory_mb(process):
    return int(re.search(r"VmHWM:\s+(\d+) kB", open(f"/proc/{process.pid}/status").read()).group(1)) / 1024


def test_nothing_is_lost_under_the_stated_load(start, peer, tmp_path):
    if shutil.disk_usage(tmp_path).free < 6e9:
        pytest.skip("needs 6 GB of disk")
    parameters = {"contract": ROOT / "tests/ros/load.yaml", "root": tmp_path / "root", "dataset": "false", "queue_mb": QUEUE_MB}
    parameters |= {f"qos_overrides.{topic}.subscription.history": "keep_all" for topic in TOPICS}
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
    print(
        f"\n{total} messages, {megabytes:.0f} MB sent in {sent['seconds']:.1f} s (target {SECONDS:.0f} s);"
        f" peak memory {memory:.0f} MB, peak queue {status['queue_peak_mb']:.0f} MB"
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
    assert status["queue_peak_mb"] <= QUEUE_MB * 1.05
    assert memory < megabytes + BESIDE_MESSAGES_MB
