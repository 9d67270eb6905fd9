"""Launch and parameter files against what the node declares."""

import ast
import re
import subprocess

from conftest import BIN, ROOT


def declared():
    """The node's parameters, as its refusal of an unknown one lists them."""
    command = [str(BIN / "perception_node"), "--ros-args", "-p", "no_such_parameter:=1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    return set(re.search(r"this node has ([\w, ]+)", ended.stdout + ended.stderr).group(1).split(", "))


def test_the_parameter_file_names_every_parameter_with_a_comment():
    lines = (ROOT / "launch/config/perception.yaml").read_text().splitlines()
    entries = [re.match(r"^    (?:# )?(\w+): (.*)$", line) for line in lines]
    entries = {entry.group(1): entry.group(2) for entry in entries if entry}
    assert set(entries) | {"cameras", "onnxruntime"} == declared()
    assert all("#" in value for value in entries.values()), "every entry says what it is"


def test_the_launch_file_sets_only_what_the_node_declares():
    tree = ast.parse((ROOT / "launch/perception.launch.py").read_text())
    set_keys = {key.value for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
    assert {"bundle", "engine", "cameras"} <= set_keys
    assert set_keys <= declared() | {"use_sim_time"}
    arguments = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS")
    names = [element.elts[0].value for element in arguments.elts]
    used = {call.args[0].value for call in ast.walk(tree) if isinstance(call, ast.Call)
            and getattr(call.func, "id", "") in ("value", "LaunchConfiguration") and isinstance(call.args[0], ast.Constant)}
    assert set(names) == used, "every argument is used, every use is declared"
    assert all(len(element.elts) == 3 and element.elts[2].value for element in arguments.elts), "and described"


def test_files_that_the_launch_file_names_are_there():
    for name in ("config/perception.yaml", "rviz/perception.rviz", "fastdds.xml"):
        assert (ROOT / "launch" / name).is_file(), name
