"""record.launch.py and its parameter file, against what recorder_node declares; the example of a contract is one."""

import pytest

import launch_forms
import parameter_files
from conftest import BIN, ROOT, Process

LAUNCH = ROOT / "launch"
FORM = LAUNCH / "record.launch.py"
GIVEN = {
    "contract": str(LAUNCH / "contracts/so101.yaml"),
    "root": "/data/a folder",
    "task": "3: fold 'it'",
    "episodes": "20",
    "episode_seconds": "30",
    "reset_seconds": "5.5",
}
MEANT = {**GIVEN, "episodes": 20, "episode_seconds": 30.0, "reset_seconds": 5.5}


def test_the_parameter_file_names_every_parameter_with_its_default_and_a_unit():
    parameter_files.check(LAUNCH / "config/recorder.yaml", "recorder_node")


@pytest.mark.parametrize("text, meant", [("True", True), ("1", True), ("False", False), ("0", False)])
def test_true_and_false_may_be_written_as_in_the_other_launch_files(text, meant):
    [node] = launch_forms.started(FORM, {"use_sim_time": text, "fastdds_profile": text})
    assert node.parameters["use_sim_time"] is meant and bool(node.environment) is meant
    for name in ("use_sim_time", "fastdds_profile"):
        with pytest.raises(launch_forms.Refused, match=f'"{name}" provided value "maybe"'):
            launch_forms.started(FORM, {name: "maybe"})


@pytest.mark.parametrize("environment", [{}, {"FASTRTPS_DEFAULT_PROFILES_FILE": "/my.xml"}])
def test_what_is_given_arrives_and_what_is_not_leaves_the_parameter_file_alone(environment):
    [node] = launch_forms.started(FORM, {}, environment)
    assert node.executable == ("pixio", "recorder_node") and node.parameters == {"use_sim_time": False}
    assert node.params_files == [str(LAUNCH / "config/recorder.yaml")]
    assert bool(node.environment) == (not environment)
    [node] = launch_forms.started(FORM, GIVEN, environment)
    assert node.parameters == {**MEANT, "use_sim_time": False}


def test_the_node_takes_the_launch_file_and_the_example_of_a_contract(tmp_path):
    given = {**GIVEN, "root": str(tmp_path / "root"), "namespace": "robot"}
    [started] = launch_forms.started(FORM, given)
    node = Process(started.command(BIN / "recorder_node"), tmp_path / "log")
    try:
        node.wait_for("ready: 6 stream(s), bags and rows")
    finally:
        assert node.stop() == 0
