"""`pixio dataset convert` on what recorder_node recorded: the bags give the rows that were made live; the rows as bags are read by
rclpy."""

import shutil
import subprocess

import pyarrow.parquet as parquet
from mcap.reader import make_reader
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String

from conftest import BIN
from test_recorder import contract, record, rows  # noqa: F401: fixtures


def convert(*arguments):
    command = [str(word) for word in (BIN / "pixio", "dataset", "convert", *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def table(root, number):
    return parquet.read_table(root / f"data/chunk-000/file-{number:03}.parquet")


def test_bags_convert_to_the_rows_made_live_and_rows_to_bags(record, tmp_path):  # noqa: F811
    recorder, arm = record(task="wave")
    for _ in range(2):
        recorder.call("start")
        arm.until(recorder, lambda status: status["rows"] >= 5 and status["state"] == "recording", "rows")
        recorder.call("pause")
        arm.move(0.4)
        recorder.call("pause")
        arm.more_rows(recorder, 10)
        assert recorder.call("stop")[0]
        arm.peer.received[recorder.heard].clear()
    live, again, bags = tmp_path / "root/dataset", tmp_path / "again", tmp_path / "bags"

    ended = convert(tmp_path / "root/bags", "--out", again, "--jobs", 2)
    assert ended.returncode == 0 and "2 episodes more, 0 left out, 0 not converted" in ended.stdout, ended.stdout + ended.stderr
    for number in range(2):
        assert table(live, number).equals(table(again, number)), number
    assert parquet.read_table(live / "meta/tasks.parquet").equals(parquet.read_table(again / "meta/tasks.parquet"))

    # A bag that is cut off, and one that is none, do not keep the others from being converted.
    mixed = tmp_path / "mixed"
    shutil.copytree(tmp_path / "root/bags", mixed)
    cut = mixed / "episode_000000/episode_000000_0.mcap"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (mixed / "none").mkdir()
    (mixed / "none/none_0.mcap").write_text("no bag")
    for more in ([], ["--contract", tmp_path / "contract.yaml"]):
        ended = convert(mixed, "--out", tmp_path / f"some{len(more)}", *more)
        assert ended.returncode == 1 and "1 episodes more, 0 left out, 2 not converted" in ended.stdout, ended.stdout + ended.stderr
        first, second = ended.stderr.splitlines()
        assert first.startswith(f"{mixed}/episode_000000: NOT CONVERTED: ") and "cut off" in first
        assert second.startswith(f"{mixed}/none: NOT CONVERTED: ")
        assert table(tmp_path / f"some{len(more)}", 0)["action"].equals(table(live, 1)["action"])

    ended = convert(live, "--out", bags, "--episodes", 1)
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in bags.iterdir()] == ["episode_000001"]
    found, hashes = {}, {}
    with open(bags / "episode_000001/episode_000001_0.mcap", "rb") as file:
        for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages():
            found.setdefault(channel.topic, []).append(message.data)
            hashes[channel.topic] = channel.metadata["topic_type_hash"]
    expected = rows(tmp_path, 1)
    for topic, key in (("/observation/state", "observation.state"), ("/action", "action")):
        states = [deserialize_message(data, JointState) for data in found[topic]]
        assert [list(state.position) for state in states] == [row[key] for row in expected]
    assert states[0].name == ["lift.rad", "pan.rad"]
    stamps = [state.header.stamp.sec * 10**9 + state.header.stamp.nanosec for state in states]
    assert all(abs(stamp - row["rec.time"]) <= 512 for stamp, row in zip(stamps, expected, strict=True))
    asked = [list(deserialize_message(data, Float64MultiArray).data) for data in found["/rec/requested_action"]]
    assert asked == [row["rec.requested_action"] for row in expected]
    assert deserialize_message(found["/task"][0], String).data == "wave"
    published = arm.peer.node.get_publishers_info_by_topic("/joint_states")[0].topic_type_hash
    assert hashes["/action"] == str(published)

    back = tmp_path / "back"
    ended = convert(bags, "--out", back)
    assert ended.returncode == 0, ended.stderr
    for key in ("observation.state", "action", "rec.requested_action", "timestamp"):
        assert table(back, 0)[key].equals(table(live, 1)[key]), key


def test_what_is_no_recording_is_refused(tmp_path):
    ended = convert(tmp_path, "--out", tmp_path / "out")
    assert ended.returncode != 0 and "expected a bag, or a folder with bags" in ended.stderr
    ended = convert(tmp_path / "none", "--out", tmp_path / "out")
    assert ended.returncode != 0 and "none" in ended.stderr
    assert not (tmp_path / "out").exists()
