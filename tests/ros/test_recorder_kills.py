"""kill -9 of recorder_node itself at random moments, while it records cameras at 55 MB/s and ends an episode every second.

    PIXIO_KILLS=50 python -m pytest -q -s tests/ros/test_recorder_kills.py    # in the environment of `make ros-test`

After each kill every committed episode is what it was, what was open is recovered, and all of it is sound.
"""

import hashlib
import json
import os
import random
import struct
import subprocess
import time

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState

from conftest import BIN, PATIENCE, ROOT, Process
from mcap_records import stamped
from test_recorder import Recorder

KILLS = int(os.environ.get("PIXIO_KILLS", 4))
TOPICS = ["/load/camera_0", "/load/camera_1", "/load/joints"]
# Where load_generator writes the number of an image into its message.
PIXELS_AT = 48
# A busy machine is no reason for the middleware to lose anything.
HELD_SECONDS = 4
# What may be lost by the recorder's word; and what a machine without a free processor may add: messages received, and not yet written.
LOST, BEHIND = 0.5, 0.5

CONTRACT = """
version: 1
robot_type: load
fps: 30
streams:
  - {name: left, topic: /load/camera_0, type: sensor_msgs/msg/Image, role: other, rate_hz: 30, tolerance_ms: 200}
  - {name: right, topic: /load/camera_1, type: sensor_msgs/msg/Image, role: other, rate_hz: 30, tolerance_ms: 200}
  - {name: joints, topic: /load/joints, type: sensor_msgs/msg/JointState, role: observation, align: hold, rate_hz: 200,
     tolerance_ms: 200, fields: ['position[pan]']}
gate: {failing: warn}
"""


def digests(folder):
    """What must not change any more: the files of committed episodes, and finished bags."""
    kept = [*folder.glob("dataset/data/*/*.parquet"), *folder.glob("dataset/videos/*/*/*.mp4")]
    kept += [*folder.glob("bags/episode_??????/*"), *folder.glob("recovered/*/*")]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def committed(root):
    info = root / "dataset/meta/info.json"
    return json.loads(info.read_text())["total_episodes"] if info.exists() else 0


def pixio(*arguments):
    ended = subprocess.run([BIN / "pixio", "dataset", *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def last_stamp(bag):
    """When the bag's last message was received; of each topic the numbers are in order, none twice.

    That none is missing test_recorder_load.py shows: here the middleware still looks for the subscriber that was killed."""
    numbers, last = {topic: [] for topic in TOPICS}, 0
    for topic, message in stamped(bag):
        last = max(last, message.log_time)
        if topic == "/load/joints":
            numbers[topic].append(deserialize_message(message.data, JointState).position[0])
        elif topic in numbers:
            numbers[topic].append(struct.unpack_from("<d", message.data, PIXELS_AT)[0])
    for topic, found in numbers.items():
        assert found == sorted(set(found)), f"{bag}: {topic}: out of order"
    return last * 1e-9


class Killed:
    """A recorder that is started again and again over the same folder, and what was there after each kill."""

    def __init__(self, peer, folder):
        self.peer, self.folder, self.root = peer, folder, folder / "root"
        (folder / "contract.yaml").write_text(CONTRACT)
        self.before, self.recovered, self.lost = {}, set(), []
        self.node, self.killed_at = None, None

    def start(self, number):
        command = [BIN / "recorder_node", "--ros-args", "-r", f"__node:=recorder_{number}"]
        parameters = {"contract": self.folder / "contract.yaml", "root": self.root, "min_free_mb": 1}
        parameters |= {"episodes": 1000, "episode_seconds": 1.0}
        for topic in TOPICS:
            parameters[f"qos_overrides.{topic}.subscription.depth"] = HELD_SECONDS * (30 if "camera" in topic else 200)
        command += [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        self.node = Process(command, self.folder / f"{number}.log")
        self.node.wait_for("ready")
        return Recorder(self.node, self.peer, f"recorder_{number}")

    def kill(self):
        self.killed_at = time.time()
        self.node.process.kill()
        self.node.process.wait()

    def check_rows(self):
        """The dataset after a kill: the open episode's rows are committed, and every episode is as it should be."""
        if not (self.root / "dataset/meta/info.json").exists():
            return
        pixio("recover", self.root / "dataset")
        pixio("check", self.root / "dataset")

    def check_bags(self):
        """The bags after the next start, and that nothing changed that was whole before."""
        assert not list(self.root.glob("bags/*.recording")), "the next start saves what was open"
        recovered = set(self.root.glob("recovered/*"))
        for bag in recovered - self.recovered:
            self.lost.append(self.killed_at - last_stamp(bag))
            pixio("check", bag)
        self.recovered = recovered
        now = digests(self.root)
        for path, digest in self.before.items():
            assert now.get(path) == digest, f"{path} is not what it was"
        for bag in {path.parent for path in now.keys() - self.before.keys() if path.suffix == ".mcap"} - recovered:
            last_stamp(bag)
            pixio("check", bag)
        self.before = now
        finished = len(list(self.root.glob("bags/episode_??????")))
        assert finished <= committed(self.root) <= finished + len(recovered)


def test_the_node_killed_at_random_moments_loses_nothing_that_was_committed(peer, tmp_path):
    command = [BIN / "examples/load_generator", 36000, 2, 30, 200, HELD_SECONDS]
    profile = {"FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "launch/fastdds.xml")}
    generator = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **profile}
    )
    killed, moments = Killed(peer, tmp_path), random.Random(7)
    try:
        for kill in range(KILLS + 1):
            recorder = killed.start(kill)
            if kill == 0:
                assert generator.stdout.readline() == "connected\n"
                generator.stdin.write("go\n")
                generator.stdin.flush()
            else:
                killed.check_bags()
            peer.spin(1.5)  # the subscriptions have followed what the generator offers
            assert recorder.call("start")[0]
            if kill < KILLS:
                time.sleep(moments.uniform(0.1, 3.0))
                killed.kill()
                killed.check_rows()
        # After all of them it records as on the first day.
        episodes = committed(killed.root)
        recorder.wait(lambda status: status["episode"] > episodes, "one more episode")
        assert killed.node.stop() == 0, killed.node.output()
        killed.check_rows()
    finally:
        generator.kill()
        generator.wait()
        if killed.node.process.poll() is None:
            killed.node.process.kill()
    lost = sorted(killed.lost)
    print(f"\n{KILLS} kills, {len(lost)} with an open bag; {committed(killed.root)} episodes; lost at most {max(lost, default=0):.2f} s,"
          f" in the middle {lost[len(lost) // 2] if lost else 0:.2f} s; {[round(seconds, 2) for seconds in lost]}")
    assert lost, "no kill hit an open bag"
    assert lost[-1] <= LOST + BEHIND
