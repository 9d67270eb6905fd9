"""A node of the demonstrations, tests and benches: waiting, and asking services.

A client sees a server before the server sees the client, and an answer sent in between is lost: rmw_fastrtps waits 100 ms for the
client to appear, which a busy machine exceeds. Discovery itself comes in order, so whoever answers a client that was made later knows
the earlier one too: `connect` makes its client first, and asks for something harmless until it is answered.
"""

import time

import rclpy
from rcl_interfaces.srv import GetParameterTypes
from std_srvs.srv import Trigger

AGAIN = 1.0  # seconds after which the harmless question is asked again


def connect(node, until, service, kind=Trigger):
    """A client of `service` that the server knows. `until(condition, what)` waits, and lets `node` hear meanwhile."""
    client = node.create_client(kind, service)
    until(client.service_is_ready, service)
    owner = service.rpartition("/")[0]
    probe, asked, due = node.create_client(GetParameterTypes, f"{owner}/get_parameter_types"), [], 0.0

    def answered():
        nonlocal due
        if time.monotonic() >= due and probe.service_is_ready():
            asked.append(probe.call_async(GetParameterTypes.Request()))
            due = time.monotonic() + AGAIN
        return any(future.done() for future in asked)

    until(answered, f"an answer of {owner}")
    node.destroy_client(probe)
    return client


def answer(client, until, request=None):
    """What the server answers."""
    future = client.call_async(request or client.srv_type.Request())
    until(future.done, f"an answer of {client.srv_name}")
    return future.result()


def ask(node, until, service, kind=Trigger, request=None):
    """Asks once, as `ros2 service call` does."""
    client = connect(node, until, service, kind)
    result = answer(client, until, request)
    node.destroy_client(client)
    return result


class Peer:
    """A node with a name and an end to its patience, in seconds of the wall clock."""

    def __init__(self, name, patience):
        self.node, self.patience, self.clients = rclpy.create_node(name), patience, {}

    def until(self, condition, what):
        end = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"{self.node.get_name()}: no {what} within {self.patience:.0f} s")
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def ask(self, service, kind=Trigger, request=None):
        if service not in self.clients:
            self.clients[service] = connect(self.node, self.until, service, kind)
        return answer(self.clients[service], self.until, request)
