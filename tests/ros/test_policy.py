"""policy_node: what it follows, what it refuses, what it publishes."""

import math
import random
import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from policy import (JOINTS, LATCHED, NODE, PATIENT, URDF, Rig, check_positions, check_velocities, chunk, parameters,
                    seconds)


@pytest.fixture
def rig(ros):
    rig = Rig()
    yield rig
    rig.close()


def test_chunks_are_followed_and_told(start, rig):
    rig.positions = {"shoulder_pan": 0.4, "elbow": -0.3}
    first = dict(rig.positions)
    rig.target = lambda t: [-0.2, 0.5]
    start("policy_node", parameters())
    rig.wait_for("IDLE")
    time.sleep(0.5)
    assert not rig.commands and not rig.records, "nothing before it is armed"
    rig.arm()
    rig.until(lambda: abs(rig.positions["shoulder_pan"] + 0.2) < 1e-3 and abs(rig.positions["elbow"] - 0.5) < 1e-3, "the target")
    assert [state["state"] for state in rig.seen()][-3:] == ["IDLE", "ARMED", "RUNNING"] or rig.state() == "RUNNING"
    check_positions(rig, first)
    # What was told and what was recorded are the same.
    told = [tuple(m.points[0].positions) for _, topic, m in rig.commands if topic == "joint_trajectory"]
    recorded = [tuple(m.position) for _, m in rig.records]
    assert len(told) > 50 and set(told[-30:]) <= set(recorded)
    horizon = rig.commands[-1][2].points[0].time_from_start
    assert (horizon.sec, horizon.nanosec, rig.commands[-1][2].header.stamp.sec) == (0, 20_000_000, 0)
    # The policy's own action, with the stamp of its image.
    action = rig.actions[-1][1]
    assert list(action.name) == JOINTS and list(action.position) == pytest.approx([-0.2, 0.5])
    assert 0.0 <= seconds(rig.records[-1][1].header.stamp) - seconds(action.header.stamp) < 20.0
    assert any(bits & 1 << 9 for _, bits in rig.limiters), "the ramp stepped in"
    assert rig.interventions and not any(human for _, human in rig.interventions)
    assert rig.ask("disarm").success
    rig.wait_for("IDLE")
    time.sleep(1.0)  # what is still on its way
    count = len(rig.commands)
    time.sleep(0.5)
    assert len(rig.commands) == count, "silent again"


def test_the_worst_of_policies_stays_within_the_limits(start, rig):
    """NaN, jumps, huge numbers, wrong names, late, early, empty and reordered chunks at once; everything published is sane."""
    start("policy_node", parameters(watchdog_secs=0.3, max_observation_age_secs=1.0, blending="newest"))
    rig.alive["chunks"] = False
    rng = random.Random(7)

    def number():
        return rng.choice([0.0, rng.uniform(-3, 3), rng.uniform(-3, 3), 1e300, -1e9, math.nan, math.inf])

    def worst():
        period, steps = rng.choice([0.02, 0.1, 0.5]), rng.choice([0, 1, 5, 20])
        finite = rng.random() < 0.7
        numbers = [[rng.uniform(-4, 4) if finite else number() for _ in JOINTS] for _ in range(steps)]
        names = JOINTS if rng.random() < 0.9 else ["shoulder_pan", "nose"]
        return chunk(time.time() + rng.choice([0.0, -0.05, -0.3, -5.0, 2.0]), numbers, period, names)

    def worse_until(condition, what):
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, what
            rig.send(worst())
            time.sleep(0.01)

    rig.wait_for("IDLE")
    assert rig.ask("arm").success
    worse_until(lambda: rig.state() == "RUNNING", "RUNNING")
    worse_until(lambda: len(rig.records) > 600, "commands")
    check_positions(rig)
    moved = [position for _, position in rig.recorded("elbow")]
    assert max(moved) - min(moved) > 0.1, "it did follow what could be followed"


@pytest.mark.parametrize("interface, topic", [("joint_jog", "joint_jog"), ("forward_velocity", "commands")])
def test_velocities_stay_within_their_limits_and_end_at_zero(start, ros, interface, topic):
    rig = Rig(space="velocities")
    try:
        rig.chunk_kind = "velocities"
        rng = random.Random(3)
        rig.target = lambda t: [rng.uniform(-9, 9), math.sin(3 * t)]
        own = {"action_space": "joint_velocities", "command_interface": interface, "controller_timeout_secs": 0.1}
        node = start("policy_node", parameters([topic, "command"], **own))
        rig.arm()
        rig.until(lambda: len(rig.records) > 300, "commands")
        node.stop()
        at_rest = lambda: list(rig.records[-1][1].velocity) == [0.0, 0.0]
        rig.until(at_rest, "rest: a process that is asked to stop brings the robot there first")
        check_velocities(rig)
        last = rig.commands[-1][2]
        if interface == "joint_jog":
            assert list(last.joint_names) == JOINTS and last.duration == pytest.approx(0.01)
            assert abs(seconds(last.header.stamp) - rig.commands[-1][0]) < 20, "Servo drops commands that are not stamped"
        numbers = last.velocities if interface == "joint_jog" else last.data
        assert list(numbers) == [0.0, 0.0]
    finally:
        rig.close()


def test_end_effector_velocities_and_gripper_go_to_servo(start, ros):
    names = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z", "gripper"]
    rig = Rig(names=[])
    try:
        rig.names = rig.chunk_names = names
        rig.alive["joints"] = False
        rig.chunk_kind = "velocities"
        rig.target = lambda t: [0.3, -0.4, 0.0, 0.0, 0.0, 2.0, 0.9]
        own = {"action_space": "end_effector_velocity", "command_interface": "twist", "controller_timeout_secs": 0.1,
               "gripper": True, "gripper_binary": True, "command_frame": "tool0", "deadman": "none"}
        deep = {f"qos_overrides.{NODE}/{topic}.publisher.depth": 5000 for topic in ("twist", "gripper", "command")}
        start("policy_node", {**PATIENT, **own, **deep})
        rig.arm()
        twists = lambda: [m for _, topic, m in rig.commands if topic == "twist"]
        rig.until(lambda: twists() and abs(twists()[-1].twist.linear.x - 0.06) < 1e-9, "full speed")
        last = twists()[-1]
        assert last.header.frame_id == "tool0" and abs(seconds(last.header.stamp) - time.time()) < 20
        # 0.5 m/s were wished, 0.1 m/s are allowed, and the direction stays.
        assert (last.twist.linear.x, last.twist.linear.y) == pytest.approx((0.06, -0.08))
        assert last.twist.angular.z == pytest.approx(0.5)
        speeds = [math.hypot(m.twist.linear.x, m.twist.linear.y) for m in twists()]
        assert max(b - a for a, b in zip([0.0, *speeds], speeds)) <= 0.5 * 0.01 * (1 + 1e-6)
        grips = [m.data for _, topic, m in rig.commands if topic == "gripper"]
        assert grips and all(list(data) == [1.0] for data in grips), "binary"
        assert list(rig.records[-1][1].name) == names
    finally:
        rig.close()


def test_positions_of_a_forward_controller(start, rig):
    rig.target = lambda t: [0.3, 0.1]
    start("policy_node", parameters(["commands", "command"], command_interface="forward_position"))
    rig.arm()
    rig.until(lambda: abs(rig.positions["shoulder_pan"] - 0.3) < 1e-3, "the target")
    check_positions(rig)
    assert all(topic == "commands" and len(m.data) == 2 for _, topic, m in rig.commands)


def test_a_dry_run_tells_the_robot_nothing(start, rig):
    rig.target = lambda t: [0.2, 0.2]
    node = start("policy_node", parameters(dry_run=True))
    assert "DRY RUN" in node.output()
    rig.arm()
    rig.until(lambda: len(rig.records) > 100, "commands on the debug topic")
    assert not rig.commands and rig.seen()[-1]["dry_run"]
    assert rig.recorded("elbow")[-1][1] > 0.1, "it is computed all the same"


BAD = [
    (lambda now: chunk(now, [[0.1, math.nan]] * 5), "step 0, elbow: expected a finite number, got NaN"),
    (lambda now: chunk(now, [[0.1, 0.1]] * 5, names=["shoulder_pan", "wrist"]), '"shoulder_pan", "wrist"'),
    (lambda now: chunk(now, [[0.1, 0.1]] * 5, kind="velocities"), "expected 2 positions, one for each name, got 0"),
    (lambda now: chunk(now, []), "steps: expected 1 to 4096, got 0"),
    (lambda now: chunk(now - 60, [[0.1, 0.1]] * 5), "expected one at most 20 s old"),
    (lambda now: chunk(now + 60, [[0.1, 0.1]] * 5), "ahead"),
    (lambda now: chunk(now, [[0.1, 0.1]] * 5, period=0.0), "period: expected a positive number"),
]


@pytest.mark.parametrize("bad, reason", BAD)
def test_a_bad_chunk_is_refused_with_its_reason(start, rig, peer, bad, reason):
    rig.alive["chunks"] = False
    node = start("policy_node", parameters())
    peer.listen("/diagnostics", DiagnosticArray)
    rig.wait_for("IDLE")
    assert rig.ask("arm").success
    rig.wait_for("ARMED", "waits for an action chunk")
    rig.publish("/action_chunk", JointTrajectory, bad(time.time()))
    rig.until(lambda: rig.publishers["/action_chunk"].get_subscription_count() == 1, "the node's subscription")

    def refused():
        rig.send(bad(time.time()))
        peer.spin(0.2)
        return reason in node.output()

    rig.until(refused, "the refusal")
    status = lambda: [s for m in peer.received["/diagnostics"] for s in m.status if s.name == "policy_node"]
    peer.spin_until(lambda: status() and f"refused: action_chunk" in status()[-1].message, "the diagnostics")
    assert {v.key: v.value for v in status()[-1].values}["state"] == "ARMED" and not rig.commands


@pytest.mark.parametrize("kind", ["topic", "joy"])
def test_the_deadman_must_be_held(start, rig, kind):
    rig.target = lambda t: [0.5 * math.sin(t), 0.0]
    rig.alive["deadman"] = False
    start("policy_node", parameters(deadman=kind, deadman_timeout_secs=1.0, deadman_button=2, fault_after_secs=0.5))
    rig.wait_for("IDLE")
    assert rig.ask("arm").success
    rig.wait_for("ARMED", "waits for the deadman")

    def joy():
        if kind == "joy":
            rig.publish("/joy", Joy, Joy(buttons=[0, 0, int(rig.pressed)]))

    rig.node.create_timer(0.05, joy)
    rig.alive["deadman"] = True
    rig.wait_for("RUNNING")
    rig.pressed = False
    rig.wait_for("HOLD", "the deadman is not held")
    time.sleep(1.5)
    assert rig.state() == "HOLD", "a human may let go for as long as they like"
    rig.pressed = True
    rig.wait_for("RUNNING")
    if kind == "topic":
        # The driver dies while the button is held: that is let go, too.
        rig.alive["deadman"] = False
        rig.wait_for("HOLD", "the deadman is not held")
    check_positions(rig)


def test_a_human_takes_over_and_gives_back_smoothly(start, rig):
    rig.target = lambda t: [0.5, 0.0]
    start("policy_node", parameters(human_timeout_secs=1.0, handover_secs=1.0))
    rig.arm()
    rig.until(lambda: rig.positions["shoulder_pan"] > 0.45, "the policy's target")
    human = {"there": True}

    def lead():
        if human["there"]:
            message = JointState(name=["gripper", *reversed(JOINTS)], position=[9.0, 0.3, -0.5])
            rig.publish("/human/joint_states", JointState, message)

    rig.node.create_timer(0.05, lead)
    rig.until(lambda: rig.positions["shoulder_pan"] < -0.45 and abs(rig.positions["elbow"] - 0.3) < 0.02, "the human's pose")
    assert rig.interventions[-1][1] and rig.seen()[-1]["human"]
    human["there"] = False
    rig.until(lambda: not rig.interventions[-1][1] and rig.positions["shoulder_pan"] > 0.45, "the policy's target again")
    flags = [flag for _, flag in rig.interventions]
    assert flags.index(True) > 0 and sum(a != b for a, b in zip(flags, flags[1:])) == 2, "one intervention"
    check_positions(rig)


REFUSED = [
    ({"command_interface": "joint_jog"}, "with command_interface joint_jog: one that takes joint velocities"),
    ({"command_interface": "twist"}, "one of the end effector"),
    ({"action_space": "joint_velocities", "command_interface": "joint_jog"}, "parameter controller_timeout_secs: expected with a velocity interface"),
    ({"action_space": "joint_velocities", "command_interface": "forward_velocity", "controller_timeout_secs": 0.015},
     "at least two control periods, 0.02 s"),
    ({"joints": "[elbow, knee]"}, "joints of robot arm that move: shoulder_pan"),
    ({"joints": "[elbow, elbow]"}, '"elbow" is named twice'),
    ({"joints": "[]"}, "the names of the joints that are commanded"),
    ({"joints": "[elbow, left_finger]"}, "expected a limit for left_finger, whose description has none"),
    ({"max_velocity": "[1.0, 3.5]"}, "at most the description's limit of elbow, 3"),
    ({"max_velocity": "[1.0]"}, "a number for each of 2 joints, not 1"),
    ({"max_acceleration": "[9.0]"}, "at most the description's limit of shoulder_pan, 8"),
    ({"workspace_min": "[0.0, 0.0, 0.0]"}, "parameter workspace_max: expected the other corner"),
    ({"workspace_min": "[0.0, 0.0, 0.0]", "workspace_max": "[1.0, 1.0, 1.0]"}, "workspace: expected kinematics"),
    ({"tool_link": "hand_link"}, "on the way to the tool is not among the joints"),
    ({"trajectory_horizon_secs": 0.006}, "at least one control period, 0.01 s"),
    ({"position_margin": 1.0, "joints": "[elbow, wrist_tilt]", "max_deviation": 5.0, "joint_tolerance": 0.0, "velocity_scale": 2.0}, "of 0.001 to 1"),
    ({"robot_description": "/nowhere.urdf"}, "/nowhere.urdf"),
    ({"control_rate_hz": 500.0}, "a number of 50 to 200 Hz, got 500"),
]


@pytest.mark.parametrize("own, reason", REFUSED)
def test_what_cannot_be_safe_is_refused_at_start(start, own, reason):
    node = start("policy_node", parameters([], **own), wait=None)
    assert node.process.wait(timeout=60) == 2
    assert reason in node.output(), node.output()


def test_the_description_comes_by_topic_or_is_missed(start, rig):
    given = parameters()
    del given["robot_description"]
    silent = start("policy_node", given, wait=None)
    assert silent.process.wait(timeout=60) == 2
    assert "parameter robot_description is not set, and the topic told nothing within 10 s" in silent.output()
    rig.publish("/robot_description", String, String(data=URDF.read_text()), LATCHED)
    start("policy_node", given)
    rig.wait_for("IDLE")


def test_requests_that_do_not_fit_the_state_are_refused(start, rig):
    start("policy_node", parameters())
    rig.wait_for("IDLE")
    reset = rig.ask("reset")
    assert not reset.success and "expected the state FAULT or ESTOP, the controller is in IDLE" in reset.message
    rig.arm()
    again = rig.ask("arm")
    assert not again.success and "expected the state IDLE, the controller is in RUNNING" in again.message


def test_a_workspace_holds_the_tool(start, ros):
    joints = ["shoulder_pan", "shoulder_lift", "elbow", "wrist_pitch", "wrist_roll", "wrist_tilt"]
    rig = Rig(names=joints)
    try:
        rig.positions.update(shoulder_lift=0.5, elbow=1.0)
        rig.target = lambda t: [2.0, 0.5, 1.0, 0.0, 0.0, 0.0]
        own = {"joints": f"[{', '.join(joints)}]", "tool_link": "hand_link", "max_deviation": 3.0, "fault_after_secs": 60.0,
               "workspace_min": "[-2.0, -2.0, -2.0]", "workspace_max": "[2.0, 0.2, 2.0]"}
        start("policy_node", parameters(**own))
        rig.arm()
        rig.until(lambda: any(bits & 1 << 8 for _, bits in rig.limiters), "the workspace to step in")
        time.sleep(1.0)
        assert 0.0 < rig.positions["shoulder_pan"] < 1.9, "stopped on the way"
        assert rig.state() == "RUNNING"
    finally:
        rig.close()
