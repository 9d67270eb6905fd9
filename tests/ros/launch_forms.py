"""What each form of a launch file would start, worked out without `launch`, which no package registry carries.

The Python form runs against stand-ins of the few classes that it uses; the XML and YAML forms are read, and of their
substitutions only those that they use are known: var, dirname, env and eval. Anything else is an error here.
"""

import importlib.util
import re
import sys
import types
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import yaml

FORMS = ("py", "xml", "yaml")


@dataclass
class Started:
    """A process: what it is, its effective ROS arguments in rcl's order, and its environment."""

    executable: tuple
    names: tuple = ("", "")
    params_files: list = field(default_factory=list)
    parameters: dict = field(default_factory=dict)
    remaps: list = field(default_factory=list)
    log_level: str = ""
    arguments: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)

    def command(self, binary):
        """The command line of a node, for running it."""
        words = [str(binary), "--ros-args", "--log-level", self.log_level]
        words += [word for file in self.params_files for word in ("--params-file", file)]
        words += [word for name, value in self.parameters.items() for word in ("-p", f"{name}:={ros_value(value)}")]
        words += [word for source, target in self.remaps for word in ("-r", f"{source}:={target}")]
        namespace = "/" + self.names[0].lstrip("/")  # as launch_ros makes it
        return words + ["-r", f"__node:={self.names[1]}", "-r", f"__ns:={namespace}"]


def ros_value(value):
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).replace("\n...", "").strip()


def arguments(path):
    """The declared arguments: name to (default, description), `$(dirname)` resolved."""
    return READERS[path.suffix](path, {}, {})[0]


def started(path, given=None, environment=None):
    """The processes that the launch file starts with these arguments in this environment."""
    declared, found = READERS[path.suffix](path, given or {}, environment or {})
    assert set(given or {}) <= set(declared), "ros2 launch would pass over an argument that is not declared"
    return found


# The Python form.

class Recorded:
    def __init__(self, *values, **named):
        self.values, self.named = values, named


def kinds(*names):
    return {name: type(name, (Recorded,), {}) for name in names}


ACTIONS = kinds("DeclareLaunchArgument", "OpaqueFunction", "SetEnvironmentVariable", "Node", "LaunchDescription",
                "IncludeLaunchDescription", "PythonLaunchDescriptionSource", "ParameterValue")


class LaunchConfiguration:
    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context[self.name]


def stand_ins():
    classes = {**ACTIONS, "LaunchConfiguration": LaunchConfiguration}
    modules = ("launch", "launch.actions", "launch.substitutions", "launch.launch_description_sources", "launch_ros",
               "launch_ros.actions", "launch_ros.parameter_descriptions")
    return {name: types.SimpleNamespace(**classes) for name in modules}


def read_python(path, given, environment):
    with mock.patch.dict(sys.modules, stand_ins()), mock.patch.dict("os.environ", environment, clear=True):
        spec = importlib.util.spec_from_file_location("launch_file", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        [actions] = module.generate_launch_description().values
        declared = {}
        for action in actions:
            if isinstance(action, ACTIONS["DeclareLaunchArgument"]):
                declared[action.values[0]] = (action.named["default_value"], action.named["description"])
        context = {name: given.get(name, default) for name, (default, _) in declared.items()}
        found, set_variables = [], {}
        for action in actions:
            if isinstance(action, ACTIONS["IncludeLaunchDescription"]):
                [source] = action.values
                passed = {name: perform(value, context) for name, value in action.named["launch_arguments"]}
                found += started(Path(source.values[0]), passed, environment)
            if isinstance(action, ACTIONS["OpaqueFunction"]):
                for made in action.named["function"](context):
                    if isinstance(made, ACTIONS["SetEnvironmentVariable"]):
                        set_variables[made.values[0]] = made.values[1]
                    else:
                        found.append(python_node(made.named, set_variables))
    return declared, found


def perform(value, context):
    return value.perform(context) if isinstance(value, LaunchConfiguration) else value


def python_node(named, set_variables):
    files = [entry for entry in named.get("parameters", []) if isinstance(entry, str)]
    values = {}
    for entry in named.get("parameters", []):
        values.update(entry if isinstance(entry, dict) else {})
    text = ACTIONS["ParameterValue"]
    values = {name: value.values[0] if isinstance(value, text) else value for name, value in values.items()}
    ros = named.get("ros_arguments", [])
    return Started(
        executable=(named["package"], named["executable"]),
        names=(named.get("namespace", ""), named.get("name", "")),
        params_files=files,
        parameters=values,
        remaps=list(named.get("remappings", [])),
        log_level=ros[ros.index("--log-level") + 1] if ros else "",
        arguments=named.get("arguments", []),
        environment=dict(set_variables),
    )


# The XML and YAML forms: both become (kind, attributes, remaps or an include's arguments) in order.

def read_xml(path, given, environment):
    root = ElementTree.parse(path).getroot()
    entries = [(entry.tag, dict(entry.attrib), [dict(child.attrib) for child in entry]) for entry in root]
    return read_entries(entries, path, given, environment)


def read_yaml(path, given, environment):
    entries = []
    for entry in yaml.safe_load(path.read_text())["launch"]:
        [(kind, attributes)] = entry.items()
        remaps = attributes.pop("remap", attributes.pop("arg", []) if kind == "include" else [])
        entries.append((kind, attributes, remaps))
    return read_entries(entries, path, given, environment)


def read_entries(entries, path, given, environment):
    declared, variables, set_variables, found = {}, {}, {}, []

    def perform(text):
        return substitute(text, variables, path.parent, environment)

    for kind, attributes, remaps in entries:
        if "if" in attributes and perform(attributes.pop("if")).lower() != "true":
            continue
        if kind == "arg":
            name = attributes["name"]
            declared[name] = (perform(attributes["default"]), attributes["description"])
            variables[name] = given.get(name, declared[name][0])
        elif kind == "let":
            variables[attributes["name"]] = perform(attributes["value"])
        elif kind == "set_env":
            set_variables[attributes["name"]] = perform(attributes["value"])
        elif kind == "include":
            passed = {argument["name"]: perform(argument["value"]) for argument in remaps}
            found += started(Path(perform(attributes["file"])), passed, environment)
        else:
            assert kind == "node", f"{path}: {kind} is not known here"
            found.append(written_node(attributes, remaps, perform, set_variables))
    return declared, found


def written_node(attributes, remaps, perform, set_variables):
    assert set(attributes) <= {"pkg", "exec", "name", "namespace", "output", "ros_args", "args"}, attributes
    node = Started(
        executable=(attributes["pkg"], attributes["exec"]),
        names=(perform(attributes.get("namespace", "")), perform(attributes.get("name", ""))),
        remaps=[(remap["from"], perform(remap["to"])) for remap in remaps],
        arguments=[perform(word) for word in attributes.get("args", "").split()],
        environment=dict(set_variables),
    )
    words = [perform(word) for word in re.findall(r"(?:\$\([^()]*\)|[^ $])+", attributes.get("ros_args", ""))]
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option == "--params-file":
            assert not node.parameters, "a parameter file after -p would win over it"
            node.params_files.append(value)
        elif option == "-p":
            name, text = value.split(":=", 1)
            node.parameters[name] = yaml.safe_load(text)
        else:
            assert option == "--log-level", option
            node.log_level = value
    return node


def substitute(text, variables, folder, environment):
    text = re.sub(r"\$\(var ([\w-]+)\)", lambda found: variables[found.group(1)], text)
    text = text.replace("$(dirname)", str(folder))
    text = re.sub(r"\$\(env (\w+) ''\)", lambda found: environment.get(found.group(1), ""), text)

    def evaluate(found):
        return str(eval(found.group(1).replace("\\'", "'"), {}))

    text = re.sub(r"\$\(eval '((?:\\'|[^'])*)'\)", evaluate, text)
    assert "$(" not in text, f"not known here: {text}"
    return text


READERS = {".py": read_python, ".xml": read_xml, ".yaml": read_yaml}
