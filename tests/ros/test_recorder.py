"""recorder_node over real ROS 2: episodes by service and key, what goes wrong in the middle, what a crash leaves."""

import array
import errno
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from mcap_records import messages, stamped
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String

from conftest import BIN, PATIENCE, Process
from peer import ask

EVENTS = "/pixio/episode_event"
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)

CONTRACT = """
version: 1
robot_type: arm
fps: 20
settle_ms: 300
streams:
  - {name: joints, topic: /joint_states, type: sensor_msgs/msg/JointState, role: observation, align: as_of, rate_hz: 50,
     tolerance_ms: 200, fields: ['position[lift]', 'position[pan]']}
  - {name: sent, topic: /commands, type: std_msgs/msg/Float64MultiArray, role: action, align: hold, rate_hz: 50,
     tolerance_ms: 500, timeline: receive, fields: [data], names: [lift.rad, pan.rad]}
  - {name: asked, topic: /asked, type: std_msgs/msg/Float64MultiArray, role: requested, align: hold, rate_hz: 50,
     tolerance_ms: 500, timeline: receive, fields: [data], names: [lift.rad, pan.rad]}
  - {name: notes, topic: /notes, type: std_msgs/msg/String, role: other, rate_hz: 0, tolerance_ms: 1000}
gate: {GATE}
"""
# Rates and gaps depend on how busy the machine is; the tests of the gate set what they are about.
EASY = "min_seconds: 0.0, min_rate: 0.0, max_gap_periods: 100000, max_missing: 1.0, max_skew_ms: 100000"


@pytest.fixture
def contract(tmp_path):
    def write(gate=EASY, streams="", **replaced):
        text = CONTRACT.replace("gate: {GATE}", streams + "gate: {GATE}").replace("GATE", gate)
        for old, new in replaced.values():
            text = text.replace(old, new)
        path = tmp_path / "contract.yaml"
        path.write_text(text)
        return path

    return write


class Recorder:
    """A running recorder_node, as its operator sees it."""

    def __init__(self, node, peer, name="recorder_node"):
        self.node, self.peer, self.name = node, peer, name
        self.heard = f"/{name}/status"
        peer.listen(self.heard, String)

    def call(self, service, patience=2 * PATIENCE):
        until = lambda condition, what: self.peer.spin_until(condition, what, patience)
        answer = ask(self.peer.node, until, f"/{self.name}/{service}")
        return answer.success, answer.message

    def status(self):
        """The next status to come."""
        received = self.peer.received[self.heard]
        received.clear()
        self.peer.spin_until(lambda: received, "status")
        return json.loads(received[-1].data)

    def wait(self, condition, what, patience=2 * PATIENCE):
        end = time.monotonic() + patience
        while not condition(status := self.status()):
            assert time.monotonic() < end, f"no {what} within {patience} s: {status}\n{self.node.output()}"
        return status


class Robot:
    """Publishes joints, commands and what was asked for, with numbers that tell which is which."""

    def __init__(self, peer, qos=None):
        self.peer, self.number = peer, 0
        self.joints = peer.node.create_publisher(JointState, "/joint_states", qos or peer.qos)
        self.sent = peer.node.create_publisher(Float64MultiArray, "/commands", peer.qos)
        self.asked = peer.node.create_publisher(Float64MultiArray, "/asked", peer.qos)

    def connected(self):
        outputs = (self.joints, self.sent, self.asked)
        self.peer.spin_until(lambda: all(out.get_subscription_count() for out in outputs), "subscriptions")
        self.peer.spin(1.2)  # the recorder looks at offers twice a second
        self.peer.spin_until(lambda: all(out.get_subscription_count() for out in outputs), "subscriptions")

    def step(self, joints=True):
        number = float(self.number)
        self.number += 1
        message = JointState(name=["pan", "lift"], position=[number, -number])
        message.header.stamp = self.peer.node.get_clock().now().to_msg()
        if joints:
            self.joints.publish(message)
        self.sent.publish(Float64MultiArray(data=[-number, number]))
        self.asked.publish(Float64MultiArray(data=[-2 * number, 2 * number]))
        self.peer.spin(0.02)

    def move(self, seconds, **options):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step(**options)

    def until(self, recorder, condition, what):
        """Moves until the status says so."""
        received = self.peer.received[recorder.heard]
        end = time.monotonic() + 2 * PATIENCE
        while not (received and condition(json.loads(received[-1].data))):
            assert time.monotonic() < end, f"no {what}: {received[-1].data if received else ''}\n{recorder.node.output()}"
            self.step()

    def more_rows(self, recorder, count):
        """Moves until there are so many rows more than there are now."""
        wanted = recorder.status()["rows"] + count
        self.until(recorder, lambda status: status["rows"] >= wanted, f"{wanted} rows")


@pytest.fixture
def record(start, peer, tmp_path, contract):
    """Starts a recorder beside a robot that it hears."""

    def begin(gate=EASY, robot=Robot, streams="", **parameters):
        parameters = {"contract": contract(gate, streams), "root": tmp_path / "root", "min_free_mb": 1, **parameters}
        recorder = Recorder(start("recorder_node", parameters), peer)
        arm = robot(peer) if robot else None
        if arm:
            arm.connected()
        return recorder, arm

    return begin


def bag(tmp_path, number=0, folder="bags"):
    found = {}
    for topic, data in messages(tmp_path / f"root/{folder}/episode_{number:06}"):
        found.setdefault(topic, []).append(data)
    return found


def events(found):
    return [json.loads(deserialize_message(data, String).data)["event"] for data in found[EVENTS]]


def rows(tmp_path, number=0):
    return parquet.read_table(tmp_path / f"root/dataset/data/chunk-000/file-{number:03}.parquet").to_pylist()


def test_an_episode_is_a_bag_and_rows_of_the_same_messages(record, tmp_path):
    recorder, arm = record(task="wave")
    assert recorder.call("stop") == (False, "expected an episode in progress, now idle")
    assert recorder.call("start")[0]
    assert not recorder.call("start")[0]
    notes = arm.peer.publisher("/notes", String)
    arm.peer.spin_until(notes.get_subscription_count, "notes")
    arm.peer.spin(1.2)  # the recorder knows the publisher, and has followed its offer
    notes.publish(String(data="hello"))
    arm.until(recorder, lambda status: status["rows"] >= 20, "rows")
    kept, message = recorder.call("stop")
    assert kept and "episode 0 kept" in message, message
    found = bag(tmp_path)
    assert events(found) == ["start", "stop"]
    assert json.loads(deserialize_message(found[EVENTS][0], String).data)["task"] == "wave"
    assert deserialize_message(found["/notes"][0], String).data == "hello"
    # Joints are numbered: none is missing, none comes twice.
    numbers = [deserialize_message(data, JointState).position[0] for data in found["/joint_states"]]
    assert numbers == [numbers[0] + i for i in range(len(numbers))] and len(numbers) >= 20
    made = rows(tmp_path)
    assert [row["frame_index"] for row in made] == list(range(len(made))) and len(made) >= 20
    for row in made:
        lift, pan = row["observation.state"]
        assert lift == -pan and row["action"][0] == -row["action"][1]
        # A row may be due between a command and what was asked for, which comes right after it: one number behind then.
        assert max(abs(asked - 2 * sent) for asked, sent in zip(row["rec.requested_action"], row["action"])) <= 2
        assert abs(row["timestamp"] - row["frame_index"] / 20) < 1e-5
        assert row["sync.stamp"][0] <= row["rec.time"] and len(row["sync.age"]) == 3
    same = sum(row["rec.requested_action"] == [2 * number for number in row["action"]] for row in made)
    assert same >= 0.8 * len(made), (same, len(made))
    info = json.load(open(tmp_path / "root/dataset/meta/info.json"))
    assert (info["total_episodes"], info["total_frames"], info["robot_type"]) == (1, len(made), "arm")
    assert info["features"]["action"]["names"] == ["lift.rad", "pan.rad"]


def test_pausing_discarding_and_tasks(record, tmp_path):
    recorder, arm = record()
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    assert recorder.call("pause")[0]
    before = recorder.status()["messages"]
    arm.move(1.0)
    status = recorder.status()
    assert status["state"] == "paused" and status["messages"] == before
    assert recorder.call("start") == (True, "recording goes on")
    arm.until(recorder, lambda status: status["rows"] >= 15, "rows")
    assert recorder.call("discard")[0]
    assert recorder.status()["episode"] == 0 and not list((tmp_path / "root/bags").iterdir())

    task = arm.peer.publisher("/recorder_node/task", String)
    arm.peer.spin_until(task.get_subscription_count, "task")
    task.publish(String(data="fold the towel"))
    recorder.wait(lambda status: status["task"] == "fold the towel", "task")
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    recorder.call("pause")
    arm.move(0.6)
    recorder.call("pause")
    arm.more_rows(recorder, 5)
    assert recorder.call("stop")[0]
    found = bag(tmp_path)
    assert events(found) == ["start", "pause", "resume", "stop"]
    times = [row["rec.time"] for row in rows(tmp_path)]
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert max(gaps) > 4e8 and sorted(gaps)[len(gaps) // 2] == 50_000_000
    assert parquet.read_table(tmp_path / "root/dataset/meta/tasks.parquet").to_pylist()[0]["task"] == "fold the towel"


def test_the_gate_keeps_a_bad_episode_out(record, tmp_path):
    recorder, arm = record(gate="min_seconds: 0.0, min_rate: 0.0, max_gap_periods: 100000, max_missing: 0.2, max_skew_ms: 100000")
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    arm.move(4.0, joints=False)
    kept, message = recorder.call("stop")
    assert not kept and "REJECTED" in message and "joints: missing in" in message
    assert not list((tmp_path / "root/bags").iterdir())
    assert len(bag(tmp_path, folder="rejected")["/joint_states"]) >= 5
    assert json.load(open(tmp_path / "root/dataset/meta/info.json"))["total_episodes"] == 0


def test_a_silent_stream_is_warned_of_while_recording(record):
    recorder, arm = record(gate="max_gap_periods: 25, max_missing: 1.0, min_rate: 0.0, min_seconds: 0.0")
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 3, "rows")
    arm.move(2.0, joints=False)
    recorder.wait(lambda status: any(text.startswith("joints: a gap of") for text in status["warnings"]), "warning")
    assert not recorder.call("stop")[0]
    assert "joints: a gap of" in recorder.node.output()


def test_a_publisher_that_dies_and_returns_leaves_a_gap_and_no_shift(record, tmp_path):
    recorder, arm = record()
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    arm.peer.node.destroy_publisher(arm.joints)
    arm.joints = arm.peer.node.create_publisher(Float64MultiArray, "/nobody", arm.peer.qos)
    arm.move(1.5, joints=False)
    arm.joints = arm.peer.node.create_publisher(JointState, "/joint_states", arm.peer.qos)
    arm.peer.spin_until(arm.joints.get_subscription_count, "the recorder hears it again")
    first = arm.number
    arm.more_rows(recorder, 30)
    assert recorder.call("stop")[0]
    made = rows(tmp_path)
    assert any(row["rec.stale"][0] for row in made)
    after = [row for row in made if row["observation.state"][1] > first]
    assert after and not after[-1]["rec.stale"][0]
    times = [row["rec.time"] for row in made]
    assert all(abs(later - earlier - 50_000_000) <= 1 for earlier, later in zip(times, times[1:]))


def test_a_publisher_that_comes_back_with_another_quality_of_service_is_followed(record, tmp_path):
    recorder, arm = record()
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    arm.peer.node.destroy_publisher(arm.joints)
    arm.joints = arm.peer.node.create_publisher(JointState, "/joint_states", BEST_EFFORT)
    arm.peer.spin_until(arm.joints.get_subscription_count, "a subscription that takes best effort")
    arm.peer.spin(1.2)
    first = arm.number
    arm.more_rows(recorder, 30)
    assert recorder.call("stop")[0]
    assert any(row["observation.state"][1] > first for row in rows(tmp_path))
    latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    notes = arm.peer.publisher("/notes", String, latched)
    notes.publish(String(data="before anybody listened"))
    arm.peer.spin_until(notes.get_subscription_count, "notes")
    recorder.wait(lambda status: status["streams"]["notes"]["messages"] >= 1, "the latched message")


def test_following_a_change_of_quality_of_service_loses_nothing_and_repeats_nothing(record, tmp_path):
    """A second publisher makes the recorder subscribe anew, while the first goes on."""
    recorder, arm = record()
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    for _ in range(3):
        second = arm.peer.node.create_publisher(JointState, "/joint_states", BEST_EFFORT)
        arm.move(1.3)
        arm.peer.node.destroy_publisher(second)
        arm.move(1.3)
    arm.more_rows(recorder, 20)
    lost = recorder.status()["streams"]["joints"]["lost"]
    assert recorder.call("stop")[0]
    numbers = [deserialize_message(data, JointState).position[0] for data in bag(tmp_path)["/joint_states"]]
    assert numbers == sorted(set(numbers))
    # While the subscription is best effort the middleware may lose some, which is then counted.
    assert numbers[-1] - numbers[0] + 1 - len(numbers) == lost


def test_another_type_on_a_topic_is_told_and_not_recorded(record, tmp_path):
    recorder, arm = record()
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    # The middleware allows a participant one type for a topic: another participant.
    context = Context()
    context.init()
    stranger = Node("stranger", context=context)
    other = stranger.create_publisher(String, "/joint_states", arm.peer.qos)
    expected = "joints: published as std_msgs/msg/String, not sensor_msgs/msg/JointState"
    end = time.monotonic() + PATIENCE
    while expected not in recorder.status()["warnings"]:
        other.publish(String(data="no joints"))
        assert time.monotonic() < end
    stranger.destroy_node()
    context.shutdown()
    assert recorder.call("stop")[0]
    assert {len(deserialize_message(data, JointState).position) for data in bag(tmp_path)["/joint_states"]} == {2}


class Seeing(Robot):
    """Also publishes class tokens, as perception_node does: the number of the step, then tenths more."""

    def __init__(self, peer):
        super().__init__(peer)
        self.tokens = peer.node.create_publisher(Image, "/eye/features/cls", peer.qos)
        latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.info = peer.node.create_publisher(String, "/eye/features/info", latched)

    def use_encoder(self, name):
        self.info.publish(String(data=json.dumps({"schema": "pixio/features/1", "encoder_id": name})))

    def step(self):
        image = Image(height=2, width=3, encoding="32FC1", step=12)
        image.header.stamp = self.peer.node.get_clock().now().to_msg()
        image.data = array.array("B", array.array("f", [self.number + tenth / 10 for tenth in range(6)]).tobytes())
        self.tokens.publish(image)
        super().step()


def test_class_tokens_are_recorded_with_their_encoder_and_those_of_another_are_not(record, start, contract, tmp_path):
    def stream(encoder):
        return (
            "  - {name: seen, topic: /eye/features/cls, type: sensor_msgs/msg/Image, role: observation, align: as_of,\n"
            "     rate_hz: 50, tolerance_ms: 300, tokens: {count: 2, dim: 3, encoder_id: %s}}\n" % encoder
        )

    def warned(status):
        return any(text.startswith("seen: expected tokens of encoder ours") for text in status["warnings"])

    recorder, arm = record(robot=Seeing, streams=stream("ours"))
    arm.use_encoder("another")
    recorder.wait(warned, "warning")
    begun, message = recorder.call("start")
    assert not begun and message == (
        "seen: expected tokens of encoder ours, as in the contract, got those of another; they are not recorded"
    )
    arm.use_encoder("ours")
    recorder.wait(lambda status: not warned(status), "end of the warning")
    assert recorder.call("start")[0]
    arm.until(recorder, lambda status: status["rows"] >= 10, "rows")
    arm.use_encoder("another")
    recorder.wait(warned, "warning")
    last = arm.number
    arm.more_rows(recorder, 10)
    assert recorder.call("stop")[0]
    made = rows(tmp_path)
    for row in made:
        first = row["observation.features.seen"][0]
        assert row["observation.features.seen"] == pytest.approx([first + tenth / 10 for tenth in range(6)], abs=1e-3)
        assert first == int(first) <= last
    assert made[-1]["rec.stale"][-1] and not made[0]["rec.stale"][-1]
    info = json.load(open(tmp_path / "root/dataset/meta/info.json"))["features"]["observation.features.seen"]
    assert (info["shape"], info["info"]) == ([6], {"encoder_id": "ours"})
    assert recorder.node.stop() == 0
    parameters = {"contract": contract(streams=stream("third")), "root": tmp_path / "root"}
    refused = start("recorder_node", parameters, wait=None)
    assert refused.process.wait(timeout=PATIENCE) == 2
    assert "of encoder ours" in refused.output() and "of encoder third" in refused.output()


def test_a_clock_that_goes_back_ends_the_episode_and_keeps_it(record, tmp_path):
    """As when a bag is played in a loop."""
    recorder, arm = record(robot=None, use_sim_time="true", dataset="false")
    clock = arm_clock = recorder.peer.publisher("/clock", Clock)
    arm = Robot(recorder.peer)
    arm.connected()
    recorder.peer.spin_until(arm_clock.get_subscription_count, "/clock")
    started, reason = recorder.call("start")
    assert not started and "use_sim_time is set, and nothing came on /clock yet" in reason

    def tick(seconds):
        message = Clock()
        message.clock.sec, message.clock.nanosec = int(seconds), int(seconds % 1 * 1e9)
        clock.publish(message)
        arm.step()

    now = 1000.0
    for _ in range(20):
        tick(now := now + 0.05)
    assert recorder.call("start")[0]
    for _ in range(30):
        tick(now := now + 0.05)
    end = time.monotonic() + PATIENCE
    while recorder.status()["state"] != "idle":
        tick(now := 500.0 + (now + 0.05) % 1)
        assert time.monotonic() < end
    assert "the clock jumped back by" in recorder.node.output()
    found = bag(tmp_path)
    assert events(found) == ["start", "stop"] and len(found["/joint_states"]) >= 5
    assert recorder.call("start")[0], "the next episode is on the new time"
    assert recorder.call("discard")[0]


def test_kill_9_loses_neither_committed_episodes_nor_the_open_one(record, start, tmp_path):
    recorder, arm = record()
    for _ in range(2):
        recorder.call("start")
        arm.until(recorder, lambda status: status["rows"] >= 10 and status["state"] == "recording", "rows")
        assert recorder.call("stop")[0]
        arm.peer.received["/recorder_node/status"].clear()
    committed = [rows(tmp_path, number) for number in range(2)]
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 30, "rows")
    recorder.node.process.kill()
    recorder.node.process.wait()
    last = arm.number

    # Under another name: the services of the killed one seem to be there for as long as the middleware's lease.
    parameters = {"contract": tmp_path / "contract.yaml", "root": tmp_path / "root", "min_free_mb": 1}
    again = Recorder(start("recorder_node", parameters, name="again"), arm.peer, "again")
    assert "an episode was cut off; what there is of its bag is now" in again.node.output()
    assert [rows(tmp_path, number) for number in range(2)] == committed
    found = bag(tmp_path, 2, "recovered")
    assert events(found)[0] == "start"
    numbers = [deserialize_message(data, JointState).position[0] for data in found["/joint_states"]]
    assert numbers == [numbers[0] + i for i in range(len(numbers))]
    # At most half a second is lost, by the recorder's clock; the rest of the bound is for a busy machine.
    assert last - numbers[-1] < 0.5 * 50 + 50, (last, numbers[-1])
    arm.connected()
    assert again.call("start")[0]
    arm.until(again, lambda status: status["rows"] >= 10 and status["state"] == "recording", "rows")
    assert again.call("stop")[0]
    assert json.load(open(tmp_path / "root/dataset/meta/info.json"))["total_episodes"] == 3


def test_a_run_of_episodes_ends_by_itself(record, tmp_path):
    recorder, arm = record(episodes=2, episode_seconds=1.0, reset_seconds=0.3)
    recorder.call("start")
    arm.until(recorder, lambda status: status["episode"] == 2 and status["state"] == "idle", "two episodes")
    assert "all episodes of the run are recorded" in recorder.node.output()
    assert len(rows(tmp_path, 0)) >= 10 and len(rows(tmp_path, 1)) >= 10


def test_the_last_seconds_can_be_kept_afterwards(record, tmp_path):
    recorder, arm = record(highlight_seconds=30.0)
    arm.move(2.0)
    kept, message = recorder.call("highlight")
    assert kept, message
    assert len(bag(tmp_path)["/joint_states"]) >= 10 and len(rows(tmp_path)) >= 10
    assert recorder.status()["state"] == "idle"


def test_resuming_checks_that_the_dataset_matches(record, start, contract, tmp_path):
    recorder, arm = record()
    recorder.call("start")
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    assert recorder.call("stop")[0]
    assert recorder.node.stop() == 0
    parameters = {"contract": contract(fps=("fps: 20", "fps: 25")), "root": tmp_path / "root"}
    refused = start("recorder_node", parameters, wait=None)
    assert refused.process.wait(timeout=PATIENCE) == 2
    assert "fps" in refused.output() and "20" in refused.output() and "25" in refused.output()


def test_too_little_disk_space_refuses_to_begin(record):
    recorder, _ = record(min_free_mb=1 << 30)
    begun, message = recorder.call("start")
    assert not begun and "min_free_mb" in message


def test_a_disk_that_fills_up_ends_the_episode_and_leaves_it_for_recovery(start, peer, contract, tmp_path):
    """Files that may not grow stand for the full disk: writing fails in the same place."""
    parameters = {"contract": contract(), "root": tmp_path / "root", "min_free_mb": 1}
    # A file that may not grow is then an error of write() and no signal.
    command = ["env", "--ignore-signal=XFSZ", BIN / "recorder_node", "--ros-args"]
    command += [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    node = Process(command, tmp_path / "full.log")
    try:
        node.wait_for("ready")
        fill_the_disk_under(Recorder(node, peer), tmp_path)
    finally:
        code = node.stop()
    assert code == 0
    again = start("recorder_node", parameters)
    assert "an episode was cut off; what there is of its bag is now" in again.output()
    numbers = [deserialize_message(data, JointState).position[0] for data in bag(tmp_path, 0, "recovered")["/joint_states"]]
    assert numbers == [numbers[0] + i for i in range(len(numbers))] and len(numbers) >= 10


def fill_the_disk_under(recorder, tmp_path):
    peer = recorder.peer
    arm = Robot(peer)
    arm.connected()
    assert recorder.call("start")[0]
    arm.until(recorder, lambda status: status["rows"] >= 20, "rows")
    growing = max(file.stat().st_size for file in (tmp_path / "root").rglob("*.mcap"))
    pid = recorder.node.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (growing, resource.RLIM_INFINITY))
    status = peer.received["/recorder_node/status"]
    status.clear()
    arm.until(recorder, lambda status: status["state"] == "idle", "end of the episode")
    assert "File too large" in recorder.node.output()
    assert "is saved when the node starts again" in recorder.status()["last"]
    # With space again the next episode is recorded.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert recorder.call("start")[0]
    status.clear()
    arm.until(recorder, lambda status: status["rows"] >= 10 and status["state"] == "recording", "rows")
    kept, message = recorder.call("stop")
    assert kept and "episode 0 kept" in message


def on_file_system(options, root, parameters):
    """The command of a recorder that sees another file system at `root`, alone."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(root)]
    root.mkdir()
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    mounted = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounted, options, root, BIN / "recorder_node", "--ros-args"]
    return command + [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]


def test_a_read_only_file_system_is_refused_at_the_start(contract, tmp_path):
    parameters = {"contract": contract(), "root": tmp_path / "root"}
    node = Process(on_file_system("ro", tmp_path / "root", parameters), tmp_path / "read_only.log")
    assert node.process.wait(timeout=PATIENCE) == 2
    assert f"{tmp_path}/root/bags: Read-only file system" in node.output()


def test_a_disk_without_a_byte_left_ends_the_episode_and_the_next_one_is_recorded(peer, contract, tmp_path):
    """A real full file system, with the guard (min_free_mb) off."""
    parameters = {"contract": contract(), "root": tmp_path / "root", "min_free_mb": 0}
    node = Process(on_file_system("size=30m", tmp_path / "root", parameters), tmp_path / "full.log")
    try:
        node.wait_for("ready")
        recorder, arm = Recorder(node, peer), Robot(peer)
        arm.connected()
        inside = Path(f"/proc/{node.process.pid}/root{tmp_path}/root")
        assert recorder.call("start")[0]
        arm.until(recorder, lambda status: status["rows"] >= 20, "rows")
        with open(inside / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
        status = peer.received["/recorder_node/status"]
        status.clear()
        arm.until(recorder, lambda status: status["state"] == "idle", "end of the episode")
        assert "No space left on device" in node.output()
        assert "is saved when the node starts again" in recorder.status()["last"]
        (inside / "filler").unlink()
        assert recorder.call("start")[0]
        status.clear()
        arm.until(recorder, lambda status: status["rows"] >= 10 and status["state"] == "recording", "rows")
        kept, message = recorder.call("stop")
        assert kept and "episode 0 kept" in message, message
        check = subprocess.run([BIN / "pixio", "dataset", "check", inside / "dataset"], capture_output=True, text=True)
        assert check.returncode == 0, check.stdout + check.stderr
    finally:
        code = node.stop()
    assert code == 0


def test_a_folder_that_vanishes_is_told_and_the_node_goes_on(record, tmp_path):
    recorder, arm = record()
    assert recorder.call("start")[0]
    arm.until(recorder, lambda status: status["rows"] >= 5, "rows")
    shutil.rmtree(tmp_path / "root")
    status = arm.peer.received["/recorder_node/status"]
    status.clear()
    arm.until(recorder, lambda status: status["state"] == "idle", "end of the episode")
    assert "episode_000000" in recorder.status()["last"]
    begun, message = recorder.call("start")
    assert not begun and "dataset" in message


@pytest.mark.parametrize(
    "parameters, reason",
    [
        ({}, "parameter contract"),
        ({"contract": "/nowhere.yaml"}, "parameter root"),
        ({"contract": "/nowhere.yaml", "root": "/tmp/x"}, "/nowhere.yaml"),
        ({"contract": "GOOD", "root": "/proc/recordings"}, "/proc/recordings"),
        ({"contract": "BAD", "root": "/tmp/x"}, "fps: expected 1 to 1000, got 0"),
        ({"contract": "GONE", "root": "/tmp/x"}, "no_such_msgs"),
    ],
)
def test_what_cannot_be_recorded_is_refused_at_the_start(start, contract, parameters, reason):
    if parameters.get("contract") == "GOOD":
        parameters = parameters | {"contract": contract()}
    if parameters.get("contract") == "BAD":
        parameters = parameters | {"contract": contract(fps=("fps: 20", "fps: 0"))}
    if parameters.get("contract") == "GONE":
        parameters = parameters | {"contract": contract(kind=("std_msgs/msg/String", "no_such_msgs/msg/String"))}
    node = start("recorder_node", parameters, wait=None)
    assert node.process.wait(timeout=PATIENCE) == 2
    assert reason in node.output()


@pytest.fixture
def at_a_terminal(peer, contract, tmp_path):
    """A recorder_node in a terminal: what types, the recorder, the robot that it hears, and the status."""
    ours, theirs = pty.openpty()
    nodes = []

    def begin(**parameters):
        command = [str(BIN / "recorder_node"), "--ros-args"]
        for key, value in {"contract": contract(), "root": tmp_path / "root", "min_free_mb": 1, **parameters}.items():
            command += ["-p", f"{key}:={value}"]
        node = Process.__new__(Process)
        node.log, node.file = tmp_path / "keys.log", open(tmp_path / "keys.log", "w")
        node.process = subprocess.Popen(command, stdin=theirs, stdout=node.file, stderr=subprocess.STDOUT)
        nodes.append(node)
        node.wait_for("right arrow ends")
        recorder, arm = Recorder(node, peer), Robot(peer)
        arm.connected()
        return lambda keys: os.write(ours, keys), recorder, arm, peer.received["/recorder_node/status"]

    yield begin
    for node in nodes:
        if node.process.poll() is None:
            node.process.send_signal(signal.SIGKILL)
    os.close(ours)
    os.close(theirs)


RIGHT, LEFT, ESCAPE = b"\x1b[C", b"\x1b[D", b"\x1b"


def test_keys_in_a_terminal(at_a_terminal):
    """Right arrow begins and ends, left arrow records again, Esc ends and stops, as LeRobot's users expect."""
    press, recorder, arm, status = at_a_terminal()
    node = recorder.node
    press(RIGHT)
    arm.until(recorder, lambda status: status["rows"] >= 5, "an episode begun by a key")
    press(LEFT)
    node.wait_for("it is recorded again")
    status.clear()
    arm.until(recorder, lambda status: status["rows"] >= 5 and status["state"] == "recording", "the episode again")
    press(RIGHT)
    node.wait_for("episode 0 kept")
    press(RIGHT)
    status.clear()
    arm.until(recorder, lambda status: status["rows"] >= 5 and status["state"] == "recording", "the next episode")
    press(ESCAPE)
    assert node.process.wait(timeout=PATIENCE) == 0, node.output()
    assert "episode 1 kept" in node.output()


def test_left_arrow_between_episodes_takes_the_last_one_back(at_a_terminal, tmp_path):
    press, recorder, arm, status = at_a_terminal(episodes=2, reset_seconds=3600.0)
    node = recorder.node

    def an_episode(count):
        press(RIGHT)
        status.clear()
        arm.until(recorder, lambda status: status["rows"] >= count and status["state"] == "recording", "an episode")
        press(RIGHT)
        recorder.wait(lambda status: status["state"] != "recording", "its end")

    an_episode(5)
    assert recorder.status()["state"] == "resetting" and recorder.status()["episode"] == 1
    first = rows(tmp_path)
    press(LEFT)
    node.wait_for("the last episode is taken back")
    assert recorder.wait(lambda status: status["episode"] == 0, "an empty dataset")["state"] == "resetting"
    assert (tmp_path / "root/rejected/episode_000000/metadata.yaml").exists()
    an_episode(25)
    an_episode(5)
    node.wait_for("all episodes of the run are recorded")
    again = rows(tmp_path)
    assert again[0]["rec.time"] > first[-1]["rec.time"]
    info = json.load(open(tmp_path / "root/dataset/meta/info.json"))
    assert (info["total_episodes"], info["total_frames"]) == (2, len(again) + len(rows(tmp_path, 1)))
    press(ESCAPE)
    assert node.process.wait(timeout=PATIENCE) == 0
    subprocess.run([BIN / "pixio", "dataset", "check", tmp_path / "root/dataset"], check=True)


def test_what_was_said_before_an_episode_and_holds_is_in_each_of_them(record, tmp_path):
    """Latched topics, and commands that are published on change: nobody says them again."""
    recorder, arm = record()
    latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    notes = [arm.peer.node.create_publisher(String, "/notes", latched) for _ in range(2)]
    for number, publisher in enumerate(notes):
        publisher.publish(String(data=f"description {number}"))
    sent, arm.sent = arm.sent, arm.peer.node.create_publisher(Float64MultiArray, "/nobody", arm.peer.qos)
    sent.publish(Float64MultiArray(data=[-0.5, 0.5]))
    recorder.wait(lambda status: status["streams"]["notes"]["messages"] >= 2, "the latched messages")
    recorder.wait(lambda status: status["streams"]["sent"]["messages"] >= 1, "the command")
    for number in range(2):
        assert recorder.call("start")[0]
        arm.more_rows(recorder, 5)
        recorder.call("pause")
        sent.publish(Float64MultiArray(data=[-number - 1.0, number + 1.0]))
        arm.move(0.6)
        recorder.call("pause")
        arm.more_rows(recorder, 5)
        kept, message = recorder.call("stop")
        assert kept, message
        said = [(topic, message) for topic, message in stamped(tmp_path / f"root/bags/episode_{number:06}")]
        begun = next(message.log_time for topic, message in said if topic == EVENTS)
        found = [message for topic, message in said if topic == "/notes"]
        assert sorted(deserialize_message(one.data, String).data for one in found) == ["description 0", "description 1"]
        assert all(one.log_time == begun and one.publish_time < begun for one in found)
        commands = [row["action"] for row in rows(tmp_path, number)]
        assert [commands[0], commands[-1]] == [[-0.5 if not number else -1.0, 0.5 if not number else 1.0], [-number - 1.0, number + 1.0]]


def test_in_the_background_of_a_terminal_it_records_without_keys(tmp_path, contract):
    """A terminal stops who changes it from the background."""
    log = tmp_path / "background.log"
    command = f"{BIN / 'recorder_node'} --ros-args -p contract:={contract()} -p root:={tmp_path / 'root'} -p min_free_mb:=1"
    process, terminal = pty.fork()
    if process == 0:
        os.execvp("bash", ["bash", "--norc", "-i"])
    try:
        os.write(terminal, f"{command} > {log} 2>&1 & echo pid=$!=\n".encode())
        end = time.monotonic() + 2 * PATIENCE
        while not (log.exists() and "ready" in log.read_text()):
            assert time.monotonic() < end, "it does not get ready"
            time.sleep(0.1)
        assert "right arrow" not in log.read_text()
    finally:
        os.write(terminal, b"kill -9 %1; exit\n")
        time.sleep(0.5)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
