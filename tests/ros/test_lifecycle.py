"""perception_node as a managed node; rclpy's own lifecycle node is the referee."""

import pytest
from lifecycle_msgs.msg import TransitionEvent
from rclpy.lifecycle import LifecycleNode
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
import threading

from conftest import camera_info, image, pixels
from habits import change, set_parameters, state, states, transitions

NODE = "/perception_node"
DEPTH = "/perception_node/depth/image_rect"


def test_states_and_transitions_are_those_of_rcl(start, peer, bundle):
    start("perception_node", {"bundle": bundle, "autostart": "false"}, wait=None)
    referee = LifecycleNode("referee")
    executor = SingleThreadedExecutor()
    executor.add_node(referee)
    spinning = threading.Thread(target=executor.spin)
    spinning.start()
    try:
        assert states(peer, NODE) == states(peer, "/referee")
        for service in ("get_transition_graph", "get_available_transitions"):
            assert sorted(transitions(peer, NODE, service)) == sorted(transitions(peer, "/referee", service))
        for label in ("activate", "configure", "activate", "activate", "cleanup", "deactivate", "cleanup", "shutdown", "configure"):
            ours, theirs = change(peer, NODE, label), change(peer, "/referee", label)
            assert ours == theirs, label
            assert state(peer, NODE) == state(peer, "/referee"), label
            available = [sorted(transitions(peer, node)) for node in (NODE, "/referee")]
            assert available[0] == available[1], label
    finally:
        executor.shutdown()
        spinning.join()
        referee.destroy_node()


def feed(peer, sec):
    peer.publisher("/camera_info", CameraInfo).publish(camera_info())
    peer.spin(0.05)
    peer.publisher("/image", Image).publish(image(sec, pixels()))


def test_only_an_active_node_publishes(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle, "autostart": "false"}, wait=None)
    peer.listen(DEPTH, Image)
    peer.listen("/perception_node/transition_event", TransitionEvent)
    peer.publisher("/image", Image)
    peer.publisher("/camera_info", CameraInfo)
    assert state(peer, NODE) == "unconfigured"
    peer.spin_until(lambda: peer.node.count_publishers("/perception_node/transition_event") == 1, "the topic")
    peer.spin(0.5)
    assert change(peer, NODE, "configure") and state(peer, NODE) == "inactive"
    assert "parity self-test passed" in node.output() and "ready" not in node.output()
    for sec in range(1, 6):
        feed(peer, sec)
    peer.spin(0.5)
    assert peer.received[DEPTH] == []
    assert peer.node.count_subscribers("/image") == 0, "an inactive node takes no images"
    assert change(peer, NODE, "activate") and state(peer, NODE) == "active"
    peer.connected(["/image", "/camera_info"])
    feed(peer, 10)
    peer.spin_until(lambda: peer.received[DEPTH], "depth")
    assert change(peer, NODE, "deactivate") and state(peer, NODE) == "inactive"
    feed(peer, 20)
    peer.spin_until(lambda: peer.node.count_subscribers("/image") == 0, "the end of the subscription, with the next image")
    assert change(peer, NODE, "activate")
    peer.connected(["/image", "/camera_info"])
    feed(peer, 30)
    peer.spin_until(lambda: len(peer.received[DEPTH]) == 2, "depth again")
    assert [m.header.stamp.sec for m in peer.received[DEPTH]] == [10, 30]
    events = peer.received["/perception_node/transition_event"]
    ways = [(e.start_state.label, e.goal_state.label) for e in events]
    expected = [("unconfigured", "configuring"), ("configuring", "inactive"), ("inactive", "activating"), ("activating", "active"),
                ("active", "deactivating"), ("deactivating", "inactive"), ("inactive", "activating"), ("activating", "active")]
    assert ways == expected
    assert all(event.timestamp > 0 for event in events)


def test_a_configuration_that_fails_can_be_mended(start, peer, bundle):
    node = start("perception_node", {"bundle": "/nowhere", "autostart": "false"}, wait=None)
    assert not change(peer, NODE, "configure") and state(peer, NODE) == "unconfigured"
    assert "configuring failed" in node.output() and "/nowhere" in node.output()
    [result] = set_parameters(peer, NODE, bundle=str(bundle))
    assert result.successful
    assert change(peer, NODE, "configure") and state(peer, NODE) == "inactive"
    [result] = set_parameters(peer, NODE, bundle="/elsewhere")
    assert not result.successful and "while the node is unconfigured" in result.reason
    assert change(peer, NODE, "cleanup") and state(peer, NODE) == "unconfigured"
    [result] = set_parameters(peer, NODE, bundle="/elsewhere")
    assert result.successful
    [result] = set_parameters(peer, NODE, bundle=str(bundle))
    assert result.successful
    # What was cleaned up works again.
    assert change(peer, NODE, "configure") and change(peer, NODE, "activate")
    peer.listen(DEPTH, Image)
    peer.publisher("/image", Image)
    peer.publisher("/camera_info", CameraInfo)
    peer.connected(["/image", "/camera_info"])
    feed(peer, 1)
    peer.spin_until(lambda: peer.received[DEPTH], "depth after cleanup and configure")


@pytest.mark.parametrize("autostart, ends", [("true", True), ("false", False)])
def test_a_drifted_engine_is_not_configured(start, peer, bundle, monkeypatch, autostart, ends):
    monkeypatch.setenv("PIXIO_TEST_DRIFT", "0.5")
    node = start("examples/slow_engine", {"bundle": bundle, "autostart": autostart}, wait=None)
    if ends:
        assert node.process.wait(timeout=60) == 2
    else:
        assert not change(peer, "/slow_engine", "configure")
        assert state(peer, "/slow_engine") == "unconfigured"
    assert "parity self-test FAILED" in node.output() and "parity:=warn" in node.output()


def test_a_drifted_engine_publishes_when_asked(start, peer, bundle, monkeypatch):
    monkeypatch.setenv("PIXIO_TEST_DRIFT", "0.5")
    node = start("examples/slow_engine", {"bundle": bundle, "parity": "warn"})
    assert "parity self-test FAILED" in node.output()
    peer.listen("/slow_engine/depth/image_rect", Image)
    peer.publisher("/image", Image)
    peer.publisher("/camera_info", CameraInfo)
    peer.connected(["/image", "/camera_info"])
    feed(peer, 1)
    peer.spin_until(lambda: peer.received["/slow_engine/depth/image_rect"], "depth")
