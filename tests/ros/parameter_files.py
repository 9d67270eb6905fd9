"""A node's parameter file against what the node itself declares (`--describe`)."""

import json
import re
import subprocess

import yaml

from conftest import BIN


def described(executable):
    """The node's own parameters: name to type, default, unit and so on."""
    ended = subprocess.run([str(BIN / executable), "--describe"], capture_output=True, text=True, timeout=60, check=True)
    return {parameter["name"]: parameter for parameter in json.loads(ended.stdout)["parameters"] if not parameter["common"]}


def check(file, executable, absent=()):
    """Every parameter but the absent ones stands in the file once, with its default, its unit and what it is.

    An entry that is commented out is an example of a parameter without a default worth a line: `# name: example  # what it is`.
    """
    text = file.read_text()
    entries = [re.match(r"^    (# )?(\w+): (.*?)\s+# (.+)$", line) for line in text.splitlines()]
    entries = [(entry.group(2), *entry.group(1, 3, 4)) for entry in entries if entry]
    known = described(executable)
    assert sorted([name for name, *_ in entries] + list(absent)) == sorted(known)
    for name, commented, value, comment in entries:
        if not commented:
            value, default = yaml.safe_load(value), known[name]["default"]
            assert (value, type(value)) == (default, type(default)), name
        for unit in known[name]["unit"].split()[:1]:
            assert re.search(rf"(?<!\w){re.escape(unit)}(?!\w)", comment), f"{name}: expected its unit {unit!r} in {comment!r}"
    # What the node reads, and nothing else.
    read = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert set(read) == {name for name, commented, *_ in entries if not commented}
