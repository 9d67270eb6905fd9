"""perception_node and the tool on engine tensorrt. The libraries are the stand-in of engines/tensorrt: it obeys the calls of
TensorRT and the driver, and computes nothing of worth, so its numbers must be found out."""

import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from conftest import BIN, NETWORK, camera_info, depth_array, image, pixels
from habits import wait_for_status
from test_perception import DEPTH, connect, feed

FLAVOURS = ["tensorrt", "tensorrt-rtx"]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    folders = {flavour: tmp_path_factory.mktemp(flavour) for flavour in FLAVOURS}
    for flavour, folder in folders.items():
        subprocess.run([str(BIN / "examples/stand_in"), flavour, str(folder)], check=True)
    return folders


@pytest.fixture
def machine(stand_ins, tmp_path, monkeypatch):
    """Makes this process's children see a machine with a GPU; where their engines will lie."""
    def with_gpu(flavour):
        folder = stand_ins[flavour]
        monkeypatch.setenv("LD_LIBRARY_PATH", f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}")
        monkeypatch.delenv("PIXIO_CACHE", raising=False)
        return {"engine": flavour, "tensorrt": folder, "engine_cache": tmp_path / "engines"}

    return with_gpu


def tool(*arguments):
    return subprocess.run([str(BIN / "pixio"), *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_engine_with_wrong_numbers_publishes_nothing(start, bundle, machine, flavour):
    parameters = {"bundle": bundle, **machine(flavour)}
    command = [str(BIN / "perception_node"), "--ros-args"]
    command += [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    told = ended.stdout + ended.stderr
    assert ended.returncode == 2, told
    assert "building backbone" in told and f"engine {flavour} " in told and ", fp16" in told
    assert "parity self-test FAILED" in told and "OUT OF TOLERANCE" in told and "ready" not in told


def test_depth_comes_from_the_gpu_and_diagnostics_say_that_it_is_wrong(start, peer, bundle, machine):
    parameters = {"bundle": bundle, "parity": "warn", "precision": "fp32", **machine("tensorrt")}
    node = start("perception_node", parameters)
    peer.listen(DEPTH, Image)
    peer.listen("/diagnostics", DiagnosticArray)
    connect(peer)
    for second in (7, 8, 9):  # step by step, captured into a graph, launched as a graph
        feed(peer, image(second, pixels(), nanosec=5), camera_info())
        stamps = lambda: [message.header.stamp.sec for message in peer.received[DEPTH]]
        peer.spin_until(lambda: second in stamps(), "depth")
    first, *others = [depth_array(message) for message in peer.received[DEPTH]]
    assert first.shape == NETWORK[::-1] and np.isfinite(first).all()
    assert all(np.array_equal(first, other) for other in others), "a graph computes what its steps did"
    level, message, values = wait_for_status(peer, "perception_node", lambda level, message, values: level == 2)
    assert "out of tolerance" in message and values["parity"].startswith("FAILED")
    assert values["engine"].startswith("tensorrt ") and values["precision"] == "fp32" and "sm_" in values["device"]
    assert "building depth" in node.output()
    assert node.stop(signal.SIGTERM) == 0
    again = start("perception_node", parameters)
    assert "building" not in again.output(), "the engines are in the cache"


def test_the_tool_finds_wrong_numbers(bundle, machine, tmp_path):
    given = machine("tensorrt-rtx")
    arguments = ["--engine", given["engine"], "--libraries", given["tensorrt"], "--cache", given["engine_cache"]]
    built = tool("build", bundle, *arguments)
    assert built.returncode == 1 and "OUT OF TOLERANCE" in built.stdout and "FAILED" in built.stdout, built
    assert "no engine" in built.stderr, built.stderr
    certificates = [path.read_text() for path in (tmp_path / "engines").glob("*.toml")]
    assert len(certificates) == 2 and all("[[parity]]" in text and "cosine" in text for text in certificates)
    assert "building them again" not in built.stderr, "they were built by this very call"
    again = tool("build", bundle, *arguments)
    assert again.returncode == 1 and "building them again" in again.stderr, again
    assert "building backbone: no engine of backbone" in again.stderr, again.stderr
    other = tool("build", bundle, *arguments, "--size", "128x48")
    assert other.returncode == 2 and "expected one of the bundle's sizes, 64x48" in other.stderr, other
    verified = tool("verify", bundle, *arguments)
    assert verified.returncode == 1 and "FAILED" in verified.stdout and "building" not in verified.stderr, verified


def left_behind(tmp_path):
    """Files of a build that was stopped: in the folder for temporary files, and in the cache."""
    return [*(tmp_path / "temporary").iterdir(), *(tmp_path / "engines").glob("*")]


def slow_builds(monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("PIXIO_STANDIN_STEP_MS", "400")


def test_a_build_of_the_node_stops_when_the_node_does(start, bundle, machine, monkeypatch, tmp_path):
    given = machine("tensorrt")
    slow_builds(monkeypatch, tmp_path)
    node = start("perception_node", {"bundle": bundle, **given}, wait="building backbone")
    assert node.stop(signal.SIGTERM) == 0, node.output()
    assert left_behind(tmp_path) == []


def test_ctrl_c_stops_a_build_and_leaves_nothing(bundle, machine, monkeypatch, tmp_path):
    given = machine("tensorrt")
    slow_builds(monkeypatch, tmp_path)
    for command in ["build", "verify"]:
        arguments = [command, bundle, "--engine", given["engine"], "--libraries", given["tensorrt"]]
        arguments = [str(BIN / "pixio"), *map(str, arguments), "--cache", str(given["engine_cache"])]
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        line = process.stderr.readline()
        assert line.startswith("building backbone"), line
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(timeout=10) == 130, told
        assert told.startswith("stopped: ") and "the build was stopped" in told, told
        assert left_behind(tmp_path) == []


def test_a_bad_version_is_not_accepted_for_one_size_alone(bundle):
    picture = Path(__file__).parents[1] / "photos/coffee.jpg"
    arguments = ["--engine", "tensorrt", "--accept-known-bad", "--photographs", picture, "--size", "64x48"]
    refused = tool("build", bundle, *arguments)
    assert refused.returncode == 2 and "cannot be used with" in refused.stderr, refused


TOOLS = {
    "cargo": """case "$*" in
*--exact\\ tensors_are_shared) echo "test result: ok. 0 passed" ;;
*--exact\\ the_seam_holds) printf "thread 'it' panicked at tests/gpu.rs:1:1:\\nthe seam broke\\ntest result: FAILED" ; exit 101 ;;
*--exact*) printf 'RESULT seen\\ntest result: ok. 1 passed\\n' ;;
esac""",
    "nvidia-smi": "echo A GPU, 595.00",
    "trtexec": "echo '[I] GPU Compute Time: min = 1 ms, median = 1.25 ms, percentile(90%) = 2 ms'",
}


def test_the_check_for_gpus_walks_to_its_end(bundle, machine, monkeypatch, tmp_path):
    """scripts/gpu-check.sh with cargo and NVIDIA's tools stood in for: each row is reached, gives its numbers, or says why it failed."""
    given = machine("tensorrt")
    (tmp_path / "tools").mkdir()
    for name, text in TOOLS.items():
        (tmp_path / "tools" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "tools" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    for name, value in {"PIXIO_TENSORRT": given["tensorrt"], "CARGO_TARGET_DIR": BIN.parent, "OUT": tmp_path, "FRAMES": 2}.items():
        monkeypatch.setenv(name, str(value))
    script = Path(__file__).parents[2] / "scripts/gpu-check.sh"
    ended = subprocess.run([str(script), str(bundle)], capture_output=True, text=True, timeout=600)
    table = ended.stdout.split("\n\n")[-1]
    assert ended.returncode == 1, ended
    for row in [
        "passed +without TensorRT: pixels equal the cpus +seen",
        "FAILED +tensorrt doctor +FAIL cuda",
        "FAILED +tensorrt fp32 build +.*OUT OF TOLERANCE",
        "FAILED +tensorrt fp16 verify +.*OUT OF TOLERANCE",
        r"passed +tensorrt fp16 bench +frame p50 [\d.]+ ms, p99 [\d.]+ ms",
        "FAILED +tensorrt: the seam holds +the seam broke",
        "FAILED +tensorrt: tensors are shared +there is no test",
        "passed +tensorrt: frames are captured and timed +seen",
        "passed +trtexec backbone 64x48 fp16 +GPU compute median 1.25 ms",
    ]:
        assert re.search(row, table), f"{row}:\n{ended.stdout}\n{ended.stderr}"
    unknown = subprocess.run([str(script), str(tmp_path / "nowhere")], capture_output=True, text=True, timeout=60)
    assert unknown.returncode == 1 and "expected a bundle's folder" in unknown.stderr, unknown


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_machine_without_tensorrt_is_told_what_to_do(bundle, monkeypatch, flavour):
    """With a GPU the library is missing, without one the driver; both are told with the remedy."""
    command = [str(BIN / "perception_node"), "--ros-args"]
    for key, value in {"bundle": bundle, "engine": flavour, "tensorrt": "/nowhere"}.items():
        command += ["-p", f"{key}:={value}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    told = ended.stdout + ended.stderr
    assert ended.returncode == 2 and f"engine {flavour} is not available" in told, told
    assert "install NVIDIA's driver" in told or "install TensorRT" in told, told
