"""What each form of a launch file would start, worked out without `launch`, which no package registry carries.

The Python form runs against stand-ins of the few classes that it uses; the XML and YAML forms are read, and of their
substitutions only those that they use are known: var, dirname, env and eval. Anything else is an error here. As in launch, what
an included file sets stays set in the file that includes it, unless a group is around it.
"""

import copy
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


@dataclass(eq=False)
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

    def __eq__(self, other):
        """In the types of the parameters too: 1 is no true to a node."""
        mine, theirs = (
            {**vars(node), "parameters": {name: ros_value(value) for name, value in node.parameters.items()}} for node in (self, other)
        )
        return mine == theirs

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


@dataclass
class Context:
    """What launch hands from file to file: arguments and variables, the environment, remaps for every node."""

    configurations: dict
    environment: dict
    set_variables: dict = field(default_factory=dict)
    remaps: list = field(default_factory=list)

    def declare(self, name, default, choices):
        assert choices is None or default in choices, "launch refuses such a default"
        value = self.configurations.setdefault(name, default)
        if choices is not None and value not in choices:
            raise Refused(f'Argument "{name}" provided value "{value}" is not valid. Valid options are: {choices}')


class Refused(RuntimeError):
    """An argument that launch refuses, in its words."""


def arguments(path):
    """The declared arguments: name to (default, description, choices), `$(dirname)` resolved."""
    return READERS[path.suffix](path, Context({}, {}))[0]


def started(path, given=None, environment=None):
    """The processes that the launch file starts with these arguments in this environment."""
    return include(path, given or {}, Context({}, environment or {}))


def include(path, given, context):
    context.configurations.update(given)
    declared, found = READERS[path.suffix](path, context)
    assert set(given) <= set(declared), "ros2 launch would pass over an argument that is not declared"
    return found


# The Python form.

class Recorded:
    def __init__(self, *values, **named):
        self.values, self.named = values, named


def kinds(*names):
    return {name: type(name, (Recorded,), {}) for name in names}


ACTIONS = kinds("DeclareLaunchArgument", "OpaqueFunction", "SetEnvironmentVariable", "Node", "LaunchDescription",
                "IncludeLaunchDescription", "GroupAction", "PythonLaunchDescriptionSource", "ParameterValue")


class LaunchConfiguration:
    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context.configurations[self.name]


def stand_ins():
    classes = {**ACTIONS, "LaunchConfiguration": LaunchConfiguration, "load_python_launch_file_as_module": load}
    modules = ("launch", "launch.actions", "launch.substitutions", "launch.launch_description_sources", "launch_ros",
               "launch_ros.actions", "launch_ros.parameter_descriptions")
    return {name: types.SimpleNamespace(**classes) for name in modules}


def load(path):
    spec = importlib.util.spec_from_file_location("launch_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_python(path, context):
    with mock.patch.dict(sys.modules, stand_ins()), mock.patch.dict("os.environ", context.environment, clear=True):
        [actions] = load(path).generate_launch_description().values
        declared, found = {}, []
        for action in actions:
            python_action(action, context, declared, found)
    return declared, found


def python_action(action, context, declared, found):
    kind = next(name for name, known in ACTIONS.items() if isinstance(action, known))
    if kind == "DeclareLaunchArgument":
        [name], default, choices = action.values, action.named["default_value"], action.named["choices"]
        declared[name] = (default, action.named["description"], choices)
        context.declare(name, default, choices)
    elif kind == "GroupAction":
        inner = copy.deepcopy(context)
        for entry in action.values[0]:
            python_action(entry, inner, declared, found)
    elif kind == "IncludeLaunchDescription":
        [source] = action.values
        passed = {name: perform(value, context) for name, value in action.named["launch_arguments"]}
        found += include(Path(source.values[0]), passed, context)
    elif kind == "OpaqueFunction":
        for made in action.named["function"](context):
            python_action(made, context, declared, found)
    elif kind == "SetEnvironmentVariable":
        context.set_variables[action.values[0]] = action.values[1]
    else:
        assert kind == "Node", f"{kind} is not known here"
        found.append(python_node(action.named, context))


def perform(value, context):
    return value.perform(context) if isinstance(value, LaunchConfiguration) else value


def python_node(named, context):
    values = {}
    for entry in named.get("parameters", []):
        values.update(entry)
    text = ACTIONS["ParameterValue"]
    values = {name: value.values[0] if isinstance(value, text) else value for name, value in values.items()}
    node = Started(
        executable=(named["package"], named["executable"]),
        names=(named.get("namespace", ""), named.get("name", "")),
        remaps=[*context.remaps, *named.get("remappings", [])],
        arguments=named.get("arguments", []),
        environment=dict(context.set_variables),
    )
    ros_arguments(node, named.get("ros_arguments", []))
    assert not set(node.parameters) & set(values)
    node.parameters.update(values)  # launch_ros puts them last
    return node


def ros_arguments(node, words):
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


# The XML and YAML forms: both become (kind, attributes, children) in order; the children are a group's entries, an argument's
# choices, a node's remaps or an include's arguments.

def read_xml(path, context):
    return read_entries(xml_entries(ElementTree.parse(path).getroot()), path, context)


def xml_entries(parent):
    return [
        (entry.tag, dict(entry.attrib), xml_entries(entry) if entry.tag == "group" else [dict(child.attrib) for child in entry])
        for entry in parent
    ]


def read_yaml(path, context):
    return read_entries(yaml_entries(yaml.safe_load(path.read_text())["launch"]), path, context)


CHILDREN = {"arg": "choice", "node": "remap", "include": "arg"}


def yaml_entries(entries):
    found = []
    for [(kind, attributes)] in (entry.items() for entry in entries):
        if kind == "group":
            found.append((kind, {}, yaml_entries(attributes)))
        else:
            found.append((kind, attributes, attributes.pop(CHILDREN.get(kind), [])))
    return found


def read_entries(entries, path, context):
    declared, found = {}, []

    def perform(text):
        return substitute(text, context.configurations, path.parent, context.environment)

    for kind, attributes, children in entries:
        if "if" in attributes and not condition(perform(attributes.pop("if"))):
            continue
        if kind == "arg":
            name = attributes["name"]
            default = perform(attributes["default"]) if "default" in attributes else None
            choices = [choice["value"] for choice in children] or None
            declared[name] = (default, attributes["description"], choices)
            assert default is not None or name in context.configurations, f"{name} has no default and is not given"
            context.declare(name, default, choices)
        elif kind == "let":
            context.configurations[attributes["name"]] = perform(attributes["value"])
        elif kind == "set_env":
            context.set_variables[attributes["name"]] = perform(attributes["value"])
        elif kind == "set_remap":
            context.remaps.append((attributes["from"], perform(attributes["to"])))
        elif kind == "include":
            passed = {argument["name"]: perform(argument["value"]) for argument in children}
            found += include(Path(perform(attributes["file"])), passed, context)
        elif kind == "group":
            found += read_entries(children, path, copy.deepcopy(context))[1]
        else:
            assert kind == "node", f"{path}: {kind} is not known here"
            found.append(written_node(attributes, children, perform, context))
    return declared, found


def condition(text):
    """As launch's IfCondition."""
    return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]


def written_node(attributes, remaps, perform, context):
    assert set(attributes) <= {"pkg", "exec", "name", "namespace", "output", "ros_args", "args"}, attributes

    def words(name):
        return [perform(word) for word in re.findall(r"(?:\$\([^()]*\)|[^ $])+", attributes.get(name, ""))]

    node = Started(
        executable=(attributes["pkg"], attributes["exec"]),
        names=(perform(attributes.get("namespace", "")), perform(attributes.get("name", ""))),
        remaps=[*context.remaps, *((remap["from"], perform(remap["to"])) for remap in remaps)],
        arguments=words("args"),
        environment=dict(context.set_variables),
    )
    ros_arguments(node, words("ros_args"))
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
