"""Prints docs/reference.md from what the nodes say of themselves (`<node> --describe`). `make reference` writes it.

    python scripts/reference.py target/release
"""

import json
import subprocess
import sys
from pathlib import Path

HEAD = """# Reference

Every parameter, topic and service of every node, as the nodes declare them. Made by `make reference`; `make test` fails when it
is not what the nodes say.

Names beginning with `~/` are below the node's own; others are relative to its namespace. "Change" says when a parameter may be set:
*at start* only, while the node is *unconfigured*, or *anytime*; a refused value is answered with the reason. Topics marked
"per camera" have the camera's name in front (`~/front/depth/image_rect`, `front/image`) when the node has named cameras.
"""


def described(binary):
    """What a node says of itself; nothing for a program that is no node with such a table."""
    ended = subprocess.run([binary, "--describe"], capture_output=True, text=True, timeout=60)
    try:
        return json.loads(ended.stdout) if ended.returncode == 0 else None
    except json.JSONDecodeError:
        return None


def nodes(folder):
    """The descriptions of all `*_node` programs of a folder and of frame_grabber, by name."""
    binaries = [path for path in sorted([*Path(folder).glob("*_node"), *Path(folder).glob("frame_grabber")]) if path.is_file()]
    found = {binary.name: described(str(binary)) for binary in binaries}
    silent = [name for name, description in found.items() if description is None]
    if silent or not found:
        sys.exit(f"reference: expected every *_node in {folder} to answer --describe; silent: {silent}, found: {list(found)}")
    return found


def allowed(rule):
    if rule is None:
        return ""
    if "choices" in rule:
        return ", ".join(f"`{choice}`" for choice in rule["choices"])
    if "expected" in rule:
        return rule["expected"]
    return f"{rule['from']} to {rule['to']}"


def default(value):
    if value == "":
        return "empty"
    return f"`{json.dumps(value)}`"


def cell(text):
    return str(text).replace("|", "\\|").replace("<", "&lt;").strip()


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(cell, row)) + " |" for row in rows]) + "\n"


def parameters(items):
    head = ["parameter", "type", "default", "unit", "allowed", "change", ""]
    return table(head, [
        (f"`{item['name']}`", item["type"], default(item["default"]), item["unit"], allowed(item["allowed"]),
         item["change"], item["description"]) for item in items])


def topics(items):
    head = ["", "topic", "type", "quality of service", ""]
    return table(head, [
        (item["direction"], f"`{item['name']}`" + (", per camera" if item["per_camera"] else ""), item["type"], item["qos"],
         item["description"]) for item in items])


def services(items):
    return table(["service", "type", ""], [(f"`{item['name']}`", item["type"], item["description"]) for item in items])


KINDS = [("parameters", parameters), ("topics", topics), ("services", services)]


def section(title, description, common):
    parts = []
    for kind, render in KINDS:
        items = [item for item in description[kind] if item["common"] == common]
        if items:
            parts.append(f"### {title}: {kind}\n\n{render(items)}")
    return "\n".join(parts)


def page(folder):
    """The whole page."""
    found = nodes(folder)
    parts = [HEAD]
    for name, description in found.items():
        managed = " A managed node: `configure` loads and verifies, `activate` begins." if description["managed"] else ""
        parts.append(f"## {name}\n\n{description['about']}{managed}\n\n{section(name, description, False)}")
    # What every node has is the same of all but for the lifecycle; the fullest of them is shown once.
    fullest = max(found.values(), key=lambda item: sum(len(item[kind]) for kind, _ in KINDS))
    parts.append("## Every node\n\nThe lifecycle's parameters, topics and services are those of managed nodes.\n\n"
                 + section("every node", fullest, True))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page(sys.argv[1]))
