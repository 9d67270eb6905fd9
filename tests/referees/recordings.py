"""A bag and a dataset of `sample_episode` against readers that this project did not write: rosbags, mcap, mcap-ros2-support,
pyarrow, PyAV, lerobot-doctor.

    target/release/examples/sample_episode out/sample
    .pixio/readers/bin/python tests/referees/recordings.py out/sample

`tests/referees/run.sh` does both.
"""

import subprocess
import sys
from pathlib import Path

import av
import pyarrow.parquet as parquet
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.rosbag2 import Reader


def listed(folder):
    for line in (folder / "messages.txt").read_text().splitlines():
        topic, log, publish, data = line.split(" ")
        yield topic, int(log), int(publish), bytes.fromhex(data)


def check_bag(folder, distro):
    expected = list(listed(folder))
    with Reader(folder / distro) as reader:
        came = [(connection.topic, stamp, bytes(data)) for connection, stamp, data in reader.messages()]
    assert came == [(topic, log, data) for topic, log, _, data in expected], f"{distro}: rosbags"
    with open(folder / distro / f"{distro}_0.mcap", "rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        came = []
        for _, channel, message, decoded in reader.iter_decoded_messages():
            came.append((channel.topic, message.log_time, message.publish_time, bytes(message.data)))
            raw = bytes(message.data)[4:]
            if channel.topic == "/count":
                assert decoded.data == int.from_bytes(raw, "little")
            else:
                assert decoded.data.encode() == raw[4:-1]
    assert came == expected, f"{distro}: mcap"
    print(f"{distro}: {len(expected)} messages bit for bit by rosbags, mcap, mcap-ros2-support")


def check_dataset(root):
    data = sorted(root.glob("data/*/*.parquet"))
    videos = sorted(root.glob("videos/*/*/*.mp4"))
    for rows, video in zip(map(parquet.read_table, data), videos, strict=True):
        with av.open(str(video)) as container:
            stamps = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        assert len(stamps) == rows.num_rows
        assert max(abs(a - b.as_py()) for a, b in zip(stamps, rows["timestamp"], strict=True)) < 1e-4
    print(f"dataset: {len(data)} episodes, rows and video frames agree by pyarrow and PyAV")
    doctor = Path(sys.executable).with_name("lerobot-doctor")
    subprocess.run([doctor, "check", root, "--ci"], check=True)


folder = Path(sys.argv[1])
check_bag(folder, "jazzy")
check_bag(folder, "humble")
check_dataset(folder / "dataset")
