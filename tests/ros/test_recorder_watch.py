"""What recorder_node tells while it records: /diagnostics, messages that it drops; and how a run of episodes is ended early."""

import time

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from conftest import PATIENCE
from test_recorder import EASY, bag, contract, record  # noqa: F401: fixtures

OK, WARN = b"\x00", b"\x01"


def diagnostics(peer, name):
    """A function that gives the newest diagnostics of a part of the recorder; nothing before the first."""
    if "/diagnostics" not in peer.received:
        peer.listen("/diagnostics", DiagnosticArray)
    full = f"recorder_node: {name}" if name else "recorder_node"
    return lambda: next(
        (part for message in reversed(peer.received["/diagnostics"]) for part in message.status if part.name == full), None
    )


def values(part):
    return {pair.key: pair.value for pair in part.values}


def told(peer, part, condition, what, step=None):
    """The diagnostics of a part once they are as they should be."""
    end = time.monotonic() + 2 * PATIENCE
    while not ((status := part()) and condition(status)):
        assert time.monotonic() < end, f"no {what}: {status}"
        (step or (lambda: peer.spin(0.05)))()
    return status


def test_diagnostics_say_what_is_going_on_and_what_is_wrong(record):  # noqa: F811
    recorder, arm = record(gate="max_gap_periods: 25, max_missing: 1.0, min_rate: 0.0, min_seconds: 0.0")
    peer = arm.peer
    whole, joints, notes = (diagnostics(peer, name) for name in ("", "joints", "notes"))
    idle = told(peer, whole, lambda status: status.message == "idle", "diagnostics of an idle recorder", arm.step)
    assert idle.level == OK and set(values(idle)) == {"episode", "seconds", "rows", "disk_free_gb", "queue_mb"}
    assert values(idle)["episode"] == "0" and float(values(idle)["disk_free_gb"]) > 0
    heard = told(peer, joints, lambda status: float(values(status)["rate_hz"]) > 5, "rate of the joints", arm.step)
    assert (heard.level, heard.message) == (OK, "ok")
    assert float(values(heard)["age_s"]) < 2 and values(heard)["lost"] == "0"
    # Nothing is expected of a topic without a rate.
    silent = told(peer, notes, lambda _: True, "notes")
    assert (silent.level, silent.message) == (OK, "ok") and values(silent)["age_s"] == "unknown"

    assert recorder.call("start")[0]
    recording = lambda status: status.message == "recording" and int(values(status)["rows"]) >= 3
    assert told(peer, whole, recording, "rows of an episode", arm.step).level == OK
    gap = lambda status: status.message.startswith("joints: a gap of")
    step = lambda: arm.step(joints=False)
    assert told(peer, whole, gap, "warning of a silent stream", step).level == WARN
    assert float(values(told(peer, joints, lambda _: True, "joints"))["age_s"]) > 0.5
    kept, message = recorder.call("stop")
    assert not kept and "joints: a gap of" in message


def test_messages_that_no_queue_holds_are_dropped_counted_told_and_refused(record, tmp_path):  # noqa: F811
    """Pictures larger than queue_mb never fit, whatever the machine's speed; all else is recorded."""
    eye = "  - {name: eye, topic: /eye, type: sensor_msgs/msg/Image, role: other, rate_hz: 0, tolerance_ms: 1000}\n"
    recorder, arm = record(gate=EASY, streams=eye, queue_mb=1)
    peer = arm.peer
    publisher = peer.publisher("/eye", Image)
    peer.spin_until(publisher.get_subscription_count, "the recorder's subscription")
    peer.spin(1.2)  # it follows what the publisher offers
    part = diagnostics(peer, "eye")
    assert recorder.call("start")[0]
    arm.more_rows(recorder, 5)
    picture = Image(height=1024, width=1024, encoding="mono8", step=1024, data=bytes(1024 * 1024))
    for _ in range(3):
        publisher.publish(picture)
        arm.step()
    arm.until(recorder, lambda status: status["streams"]["eye"]["lost"] == 3, "three messages that were dropped")
    arm.more_rows(recorder, 5)
    said = "3 messages were lost or dropped since the start"
    assert told(peer, part, lambda status: status.message == said, "diagnostics", arm.step).level == WARN
    status = recorder.status()
    assert "eye: 3 messages lost, expected at most 0" in status["warnings"]
    assert status["queue_peak_mb"] <= 1.05 and status["streams"]["joints"]["lost"] == 0
    kept, message = recorder.call("stop")
    assert not kept and "eye: 3 messages lost, expected at most 0" in message
    found = bag(tmp_path, folder="rejected")
    assert "/eye" not in found and len(found["/joint_states"]) >= 10


def test_a_run_is_ended_between_its_episodes(record):  # noqa: F811
    recorder, arm = record(episodes=3, reset_seconds=3600.0)

    def an_episode(service):
        assert recorder.call("start")[0]
        arm.peer.received[recorder.heard].clear()
        arm.until(recorder, lambda status: status["state"] == "recording" and status["rows"] >= 3, "rows")
        assert recorder.call(service)[0]

    for service, recorded in (("stop", 1), ("discard", 2)):
        an_episode("stop")
        assert recorder.status()["state"] == "resetting"
        answer = f"the run ends here; {3 - 1} of its episodes are not recorded"
        assert recorder.call(service) == (True, answer)
        status = recorder.status()
        assert (status["state"], status["episode"]) == ("idle", recorded)
        # Now there is no run to end.
        assert not recorder.call(service)[0]
    # The next start begins a run of its own, which ends when its episodes are recorded; what became of the last one stays told.
    for number in range(3):
        an_episode("stop")
        assert recorder.status()["state"] == ("resetting" if number < 2 else "idle")
    recorder.node.wait_for("all episodes of the run are recorded")
    assert recorder.status()["last"].startswith("episode 4 kept")
