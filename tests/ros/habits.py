"""What the ros2 command does, over rclpy: the commands are not in the underlay."""

from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import (DescribeParameters, GetParameters, GetParameterTypes, ListParameters, SetParameters,
                                SetParametersAtomically)

from peer import ask

TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}


def call(peer, kind, name, request=None):
    """Calls a service as `ros2 service call` does, and waits for the answer."""
    return ask(peer.node, peer.spin_until, name, kind, request)


def value(of):
    """A parameter's message value."""
    if isinstance(of, bool):
        return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=of)
    if isinstance(of, int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=of)
    if isinstance(of, float):
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=of)
    if isinstance(of, str):
        return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=of)
    return ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=of)


def set_parameters(peer, node, atomically=False, **values):
    """`ros2 param set`: the results, each with `successful` and `reason`."""
    parameters = [Parameter(name=name, value=value(of)) for name, of in values.items()]
    if atomically:
        request = SetParametersAtomically.Request(parameters=parameters)
        return call(peer, SetParametersAtomically, f"{node}/set_parameters_atomically", request).result
    return call(peer, SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=parameters)).results


def get_parameter(peer, node, name):
    return call(peer, GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name])).values[0]


def list_parameters(peer, node, prefixes=(), depth=0):
    request = ListParameters.Request(prefixes=list(prefixes), depth=depth)
    return call(peer, ListParameters, f"{node}/list_parameters", request).result


def describe(peer, node, names):
    return call(peer, DescribeParameters, f"{node}/describe_parameters", DescribeParameters.Request(names=names)).descriptors


def types(peer, node, names):
    return list(call(peer, GetParameterTypes, f"{node}/get_parameter_types", GetParameterTypes.Request(names=names)).types)


def state(peer, node):
    return call(peer, GetState, f"{node}/get_state").current_state.label


def change(peer, node, label):
    """`ros2 lifecycle set`: whether it succeeded."""
    request = ChangeState.Request()
    request.transition.id = TRANSITIONS.get(label, 0)
    request.transition.label = label
    return call(peer, ChangeState, f"{node}/change_state", request).success


def transitions(peer, node, service="get_available_transitions"):
    answered = call(peer, GetAvailableTransitions, f"{node}/{service}").available_transitions
    state_of = lambda message: (message.id, message.label)
    return [(t.transition.id, t.transition.label, state_of(t.start_state), state_of(t.goal_state)) for t in answered]


def states(peer, node):
    return [(s.id, s.label) for s in call(peer, GetAvailableStates, f"{node}/get_available_states").available_states]


def statuses(peer):
    """The newest diagnostics by name, levels as numbers."""
    kept = {}
    for message in peer.received["/diagnostics"]:
        for status in message.status:
            level = status.level[0] if isinstance(status.level, bytes) else status.level
            kept[status.name] = (level, status.message, {pair.key: pair.value for pair in status.values})
    return kept


def wait_for_status(peer, name, expected):
    """Waits for diagnostics that fit, and returns them; says what came otherwise."""
    peer.received["/diagnostics"].clear()
    try:
        peer.spin_until(lambda: name in statuses(peer) and expected(*statuses(peer)[name]), "such a status")
    except AssertionError as error:
        raise AssertionError(f"{error}: {statuses(peer).get(name)}") from error
    return statuses(peer)[name]
