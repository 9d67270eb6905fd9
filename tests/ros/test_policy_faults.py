"""policy_node when something dies, stops, jumps or repeats: the robot holds in time, and what is latched stays latched."""

import bisect
import signal
import time

import pytest
from lifecycle_msgs.srv import ChangeState
from std_msgs.msg import Bool

from habits import TRANSITIONS
from peer import ask
from policy import JOINTS, LATCHED, NODE, Rig, check_positions, check_velocities, chunk, parameters, seconds

# A machine under load may deliver the last message late; a robot that went on moving would be further off than this, s.
LATE = 3.0
# From full speed to rest, s.
BRAKING = 1.5 / 8.0


@pytest.fixture
def rig(ros):
    rig = Rig()
    # A slow sweep: there is always motion to stop.
    rig.target = lambda t: [0.2 * (t % 20.0) - 2.0, 0.0]
    yield rig
    rig.close()


def rests_after(rig, died, allowed):
    """No motion is commanded later than `allowed` after something died, and the robot was moving before."""
    rig.until(lambda: time.time() > died + allowed + LATE + 0.5, "the time to pass", patience=60.0)
    for name in JOINTS:
        late = [position for stamp, position in rig.recorded(name) if stamp > died + allowed + LATE]
        assert late == [] or max(late) - min(late) == 0.0, name
    check_positions(rig)


def test_a_policy_that_dies_is_held_then_a_fault_that_only_reset_leaves(start, rig):
    node = start("policy_node", parameters(watchdog_secs=0.5, fault_after_secs=2.0))
    rig.arm()
    time.sleep(0.5)
    rig.alive["chunks"], died = False, time.time()
    rig.wait_for("HOLD", "no new action chunk within the watchdog's time")
    rig.wait_for("FAULT", "held for too long")
    rests_after(rig, died, 0.5 + BRAKING)
    rig.alive["chunks"] = True
    time.sleep(1.0)
    assert rig.state() == "FAULT", "it does not go on by itself"
    for service in ("arm", "disarm"):
        refused = rig.ask(service)
        assert not refused.success and "FAULT" in refused.message
    assert rig.ask("reset").success
    rig.wait_for("IDLE")
    rig.arm()
    assert node.process.poll() is None


def test_joint_states_that_die_are_held(start, rig):
    start("policy_node", parameters(max_joint_state_age_secs=0.5))
    rig.arm()
    time.sleep(0.5)
    rig.alive["joints"], died = False, time.time()
    rig.wait_for("HOLD", "joint states are missing or too old")
    rests_after(rig, died, 0.5 + BRAKING)
    rig.alive["joints"] = True
    rig.wait_for("RUNNING")


def test_a_frozen_camera_is_held(start, rig):
    """The policy goes on predicting from one and the same image."""
    start("policy_node", parameters(watchdog_secs=0.5))
    rig.arm()
    time.sleep(0.3)
    rig.alive["chunks"], frozen = False, time.time()
    deadline = frozen + 30
    while rig.state() != "HOLD" and time.time() < deadline:
        rig.send(chunk(frozen, [[1.0, 0.0]] * 200))
        time.sleep(0.05)
    rig.wait_for("HOLD", "no new action chunk")
    rests_after(rig, frozen, 0.5 + BRAKING)


def test_slow_inference_is_made_up_for_until_the_image_is_too_old(start, rig):
    """Ten times the latency: what is due now is followed, from later steps of each chunk; beyond the limit it is held."""
    start("policy_node", parameters(max_observation_age_secs=6.0, blending="newest", watchdog_secs=60.0))
    rig.target = lambda t: [0.05 * (t % 20.0) - 0.5, 0.0]
    rig.delay, rig.steps = 1.0, 200
    rig.arm()
    time.sleep(3.0)
    # The plan is followed at its own time, not a second behind.
    stamp, position = rig.recorded("shoulder_pan")[-1]
    phase = (stamp % 20.0) * 0.05 - 0.5
    assert rig.state() == "RUNNING" and (abs(position - phase) < 0.04 or stamp % 20.0 < 6.0)
    rig.delay = 15.0
    rig.wait_for("HOLD")
    assert rig.reason() in ("the newest observation is too old", "no action chunk speaks of this moment")


@pytest.mark.parametrize("by", ["topic", "service"])
def test_the_estop_is_latched_until_it_is_released_and_reset(start, rig, by):
    start("policy_node", parameters())

    def press(engaged):
        if by == "service":
            assert rig.ask("estop", engaged).success
        else:
            rig.publish("/estop", Bool, Bool(data=engaged), LATCHED)

    rig.arm()
    time.sleep(0.3)
    press(True)
    rig.wait_for("ESTOP")
    stopped = time.time()
    assert not rig.ask("arm").success
    refused = rig.ask("reset")
    assert not refused.success and "still engaged: release it first" in refused.message
    press(False)
    time.sleep(0.5)
    assert rig.state() == "ESTOP", "releasing is not resetting"
    rests_after(rig, stopped, 0.0)
    assert [stamp for stamp, _ in rig.recorded("elbow") if stamp > stopped + LATE] == [], "nothing is commanded"
    rig.until(lambda: rig.ask("reset").success, "the reset")
    rig.wait_for("IDLE")
    rig.arm()


def test_an_estop_that_was_engaged_before_the_node_came_counts(start, rig):
    rig.publish("/estop", Bool, Bool(data=True), LATCHED)
    start("policy_node", parameters())
    rig.wait_for("ESTOP")
    assert not rig.ask("arm").success and not rig.commands


def test_a_velocity_estop_is_zero_at_once(start, ros):
    rig = Rig(space="velocities")
    try:
        rig.chunk_kind, rig.target = "velocities", lambda t: [1.0, -1.0]
        own = {"action_space": "joint_velocities", "command_interface": "forward_velocity", "controller_timeout_secs": 0.2}
        start("policy_node", parameters(["commands", "command"], **own))
        rig.arm()
        rig.until(lambda: rig.records and max(rig.records[-1][1].velocity) > 0.5, "motion")
        assert rig.ask("estop", True).success
        rig.wait_for("ESTOP")
        rig.until(lambda: list(rig.records[-1][1].velocity) == [0.0, 0.0], "zero")
        count = len(rig.commands)
        rig.until(lambda: len(rig.commands) > count + 20, "more of them: the robot may still listen")
        numbers = [max(abs(v) for v in m.velocity) for _, m in rig.records]
        zero = numbers.index(0.0, 5)
        assert numbers[zero - 1] > 0.3 and set(numbers[zero:]) == {0.0}, "from motion to zero in one tick, and for good"
    finally:
        rig.close()


@pytest.mark.parametrize("event, reason", [("stop", "ROS time stands still"), ("jump", "ROS time jumped back")])
def test_a_clock_that_stops_or_jumps_is_a_fault(start, ros, event, reason):
    """Before its first message there is nothing that could stop: the robot waits for it."""
    rig = Rig(sim=True)
    try:
        rig.tells_time = False
        rig.target = lambda t: [0.05 * (t - 100.0), 0.0]
        start("policy_node", parameters(use_sim_time=True, clock_timeout_secs=3.0))
        rig.wait_for("IDLE")
        assert rig.ask("arm").success
        rig.wait_for("ARMED", "waits for ROS time: nothing came on /clock yet")
        time.sleep(4.0)
        assert rig.state() == "ARMED" and not rig.commands, rig.seen()
        rig.tells_time = True
        rig.wait_for("RUNNING")
        time.sleep(0.5)
        if event == "stop":
            rig.alive["clock"] = False
        else:
            with rig.lock:
                rig.sim_time -= 50.0
        rig.wait_for("FAULT", reason)
        time.sleep(1.0)
        rig.alive["clock"] = True
        time.sleep(1.0)
        assert rig.state() == "FAULT"
        check_positions(rig)
        assert rig.ask("reset").success
        rig.arm()
    finally:
        rig.close()


def test_a_robot_that_is_pushed_away_is_a_fault(start, rig):
    start("policy_node", parameters(max_deviation=0.1))
    rig.target = lambda t: [0.0, 0.0]
    rig.arm()
    time.sleep(0.3)

    def pushed():
        with rig.lock:
            rig.positions["elbow"] = 1.0
        return rig.state() == "FAULT"

    rig.until(pushed, "the fault")
    assert rig.reason() == "joint elbow is too far from its command"


def test_a_joint_outside_its_limits_is_a_fault(start, rig):
    rig.positions["elbow"] = 2.7
    start("policy_node", parameters())
    rig.wait_for("IDLE")
    rig.ask("arm")
    rig.wait_for("FAULT", "joint elbow is measured outside its limits")
    assert not rig.commands


def test_a_kill_leaves_a_position_and_a_new_node_begins_idle(start, rig):
    node = start("policy_node", parameters())
    rig.arm()
    time.sleep(0.5)
    node.process.send_signal(signal.SIGKILL)
    node.process.wait()
    time.sleep(0.5)
    told = len(rig.commands)
    # The last command is one position to be reached within its horizon: the controller comes to rest there by itself.
    last = rig.commands[-1][2]
    assert len(last.points) == 1 and not last.points[0].velocities
    time.sleep(1.0)
    assert len(rig.commands) == told
    rig.states.clear()
    start("policy_node", parameters())
    rig.wait_for("IDLE")
    time.sleep(1.0)
    assert len(rig.commands) == told, "it does not go on by itself"
    rig.arm()
    check_positions(rig)


def test_a_kill_of_a_velocity_stream_is_stopped_by_the_controllers_timeout(start, ros):
    rig = Rig(space="velocities")
    try:
        rig.chunk_kind, rig.target = "velocities", lambda t: [0.3, 0.0]
        rig.controller_timeout = 0.2
        own = {"action_space": "joint_velocities", "command_interface": "forward_velocity", "controller_timeout_secs": 0.2}
        node = start("policy_node", parameters(["commands", "command"], **own))
        rig.arm()
        rig.until(lambda: rig.velocities["shoulder_pan"] > 0.2, "motion")
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()
        assert max(rig.commands[-1][2].data) > 0.1, "nobody said zero"
        rig.until(lambda: rig.velocities["shoulder_pan"] == 0.0, "the controller's own stop")
    finally:
        rig.close()


def test_deactivation_brings_the_robot_to_rest(start, ros):
    rig = Rig(space="velocities")
    try:
        rig.chunk_kind, rig.target = "velocities", lambda t: [1.0, -1.0]
        own = {"action_space": "joint_velocities", "command_interface": "joint_jog", "controller_timeout_secs": 0.2}
        start("policy_node", parameters(["joint_jog", "command"], **own))
        rig.arm()
        rig.until(lambda: rig.records and max(rig.records[-1][1].velocity) > 0.5, "motion")
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS["deactivate"]
        assert ask(rig.node, rig.until, f"{NODE}/change_state", ChangeState, request).success
        rig.wait_for("IDLE", "the node is not active")
        assert list(rig.records[-1][1].velocity) == [0.0, 0.0]
        check_velocities(rig)
        assert "the node is not active" in rig.ask("arm").message
    finally:
        rig.close()


TWIST = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"]
SERVO_TIMEOUT = 0.5  # s, `incoming_command_timeout`


def halts(rig, begin, end):
    """Moments at which MoveIt Servo, looking 100 times a second, would halt: its newest command is stamped `SERVO_TIMEOUT` ago."""
    with rig.lock:
        came = [moment for moment, _, _ in rig.commands]
        stamps = [seconds(message.header.stamp) for _, _, message in rig.commands]
    moments = [begin + 0.01 * k for k in range(int((end - begin) / 0.01))]
    return [moment for moment in moments if moment - stamps[bisect.bisect_right(came, moment) - 1] >= SERVO_TIMEOUT]


@pytest.mark.parametrize("interface", ["joint_jog", "twist"])
def test_servo_has_fresh_commands_in_every_armed_state_and_halts_by_itself_when_this_process_dies(start, ros, interface):
    names, space = (TWIST, "end_effector_velocity") if interface == "twist" else (JOINTS, "joint_velocities")
    rig = Rig(names=[] if interface == "twist" else JOINTS, space="velocities")
    try:
        rig.names = rig.chunk_names = names
        rig.alive["joints"] = interface != "twist"
        rig.chunk_kind, rig.target = "velocities", lambda t: [0.1] + [0.0] * (len(names) - 1)
        own = {"action_space": space, "command_interface": interface, "controller_timeout_secs": SERVO_TIMEOUT,
               "watchdog_secs": 1.0, "fault_after_secs": 1.0}
        given = parameters([interface, "command"], **own)
        if interface == "twist":
            del given["joints"], given["robot_description"]
        node = start("policy_node", given)
        rig.arm()
        begin = time.time()
        time.sleep(1.5)
        rig.alive["chunks"] = False
        rig.wait_for("HOLD")
        rig.wait_for("FAULT")
        time.sleep(1.0)
        end = time.time()
        assert halts(rig, begin, end) == []
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()
        died = time.time()
        time.sleep(SERVO_TIMEOUT + LATE)
        late = halts(rig, died, time.time())
        assert late and late[0] <= died + SERVO_TIMEOUT + 0.02, "not later than its own timeout"
    finally:
        rig.close()
