"""The whole loop over ROS 2: a robot's pictures into perception_node, whose trained policy acts through policy_node; and what dies in it."""

import signal
import sys
import threading
import time

import numpy as np
import pytest
from sensor_msgs.msg import Image

from acting import RADIUS, SIZE, WATCHDOG, Onlooker, trained
from conftest import ROOT, Process, depth_array
from policy import NODE, PATIENT, seconds

# From full speed to rest, and what messages may take on a loaded machine, s of simulated time.
BRAKING, LATE = 0.1, 0.2
TIMEOUT = 0.2  # s of simulated time, the robot's own
OLDEST = 0.4  # s, the oldest image that may be acted on; a chunk of eight steps is as long
TICK = 0.01  # s, which a command and the policy's action beside it may be apart


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("acting"))


@pytest.fixture
def onlooker(ros):
    onlooker = Onlooker()
    yield onlooker
    onlooker.close()


@pytest.fixture
def robot(tmp_path, ros):
    width, height = map(str, SIZE)
    command = [sys.executable, ROOT / "tests/sim/robot.py", "--scene", "stand-in", "--width", width, "--height", height]
    process = Process(command, tmp_path / "robot.log")
    process.wait_for("ready")
    yield process
    process.stop()


def perceive(start, bundle, image="/image"):
    remaps = {"image": image, "camera_info": "/camera/camera_info", "joint_states": "/proprioception"}
    return start("perception_node", {"bundle": bundle, "use_sim_time": True, "threads": 1}, remaps)


def act(start, **own):
    given = {"use_sim_time": True, "action_space": "end_effector_velocity", "command_interface": "twist", "gripper": True,
             "controller_timeout_secs": TIMEOUT, "max_linear_velocity": 0.5, "max_linear_acceleration": 10.0, "ramp_secs": 0.0,
             "blending": "newest", "deadman": "none", "watchdog_secs": WATCHDOG, "max_observation_age_secs": OLDEST}
    remaps = {"action_chunk": "/perception_node/action_chunk", "~/twist": "/command/twist", "~/gripper": "/command/gripper"}
    return start("policy_node", {**PATIENT, **given, **own}, remaps)


def test_what_was_learnt_from_recordings_drives_the_robot_and_depth_comes_of_the_same_pictures(start, peer, robot, onlooker, bundle):
    perceive(start, bundle)
    act(start, max_observation_age_secs=2.0)
    peer.listen("/perception_node/depth/image_rect", Image)
    onlooker.arm()
    onlooker.until(lambda: onlooker.way() > 2 * np.pi * RADIUS, "a round", patience=60.0)
    with onlooker.lock:
        places = np.array(onlooker.hands)
        ages = [age for _, age in onlooker.actions]
    turns = np.unwrap(np.arctan2(places[:, 1], places[:, 0]))[np.hypot(places[:, 0], places[:, 1]) > 0.05]
    away = np.hypot(places[-80:, 0], places[-80:, 1])
    assert turns[-1] - turns[0] > 2.0, "in the direction that was shown"
    assert 0.3 * RADIUS < away.min() and away.max() < 1.7 * RADIUS, (away.min(), away.max())
    assert 0.0 < np.median(ages) < 2.0
    peer.spin_until(lambda: peer.received["/perception_node/depth/image_rect"], "depth")
    assert depth_array(peer.received["/perception_node/depth/image_rect"][-1]).shape == (SIZE[1], SIZE[0])


def test_a_killed_perception_node_is_held_then_a_fault_that_a_new_one_does_not_leave(start, robot, onlooker, bundle):
    perception = perceive(start, bundle)
    act(start, fault_after_secs=1.5)
    onlooker.arm()
    onlooker.moves()
    perception.process.send_signal(signal.SIGKILL)
    perception.process.wait()
    onlooker.wait_for("HOLD")
    onlooker.wait_for("FAULT", "held for too long")
    reasons = {state["reason"] for _, state in onlooker.states if state["state"] == "HOLD"}
    assert reasons <= {"no action chunk speaks of this moment", "the newest observation is too old",
                       "no new action chunk within the watchdog's time"}, reasons
    assert onlooker.came_to_rest() <= onlooker.observed + OLDEST + BRAKING + LATE
    perceive(start, bundle)
    onlooker.rests_until(onlooker.now + 1.0)
    assert onlooker.state()["state"] == "FAULT", "it does not go on by itself"
    assert onlooker.ask(f"{NODE}/reset").success
    onlooker.arm()
    onlooker.moves()


def test_a_killed_policy_node_leaves_the_robot_to_its_controllers_timeout(start, robot, onlooker, bundle):
    perceive(start, bundle)
    policy = act(start)
    onlooker.arm()
    onlooker.moves()
    policy.process.send_signal(signal.SIGKILL)
    policy.process.wait()
    assert onlooker.came_to_rest() <= onlooker.last_command() + TIMEOUT + LATE
    onlooker.states.clear()
    act(start)
    onlooker.wait_for("IDLE")
    onlooker.rests_until(onlooker.now + 1.0)
    onlooker.arm()
    onlooker.moves()


def test_a_killed_robot_takes_its_clock_along_which_is_a_fault(start, robot, onlooker, bundle):
    perceive(start, bundle)
    act(start, clock_timeout_secs=2.0, watchdog_secs=60.0, max_observation_age_secs=20.0)
    onlooker.arm()
    onlooker.moves()
    robot.process.send_signal(signal.SIGKILL)
    robot.process.wait()
    onlooker.wait_for("FAULT", "ROS time stands still")
    last = onlooker.commands[-1][1]
    onlooker.until(lambda: max(map(abs, onlooker.commands[-1][1].velocity[:6])) == 0.0, "zero velocity")
    assert onlooker.commands[-1][1].velocity[6] == last.velocity[6], "the gripper stays as it was"


def test_a_camera_that_repeats_one_picture_is_held_and_goes_on_when_it_recovers(start, robot, onlooker, bundle):
    perceive(start, bundle)
    act(start)
    onlooker.arm()
    onlooker.moves()
    onlooker.frozen = True
    onlooker.wait_for("HOLD")
    assert onlooker.came_to_rest() <= seconds(onlooker.picture.header.stamp) + OLDEST + BRAKING + LATE
    assert onlooker.state()["state"] == "HOLD"
    onlooker.frozen = False
    onlooker.wait_for("RUNNING")
    onlooker.moves()


def test_inference_that_gets_a_tenth_of_its_time_is_never_followed_beyond_the_oldest_image(start, robot, onlooker, bundle):
    """perception_node is stopped nine tenths of the time, 0.3 s at a stretch."""
    perception = perceive(start, bundle)
    act(start)
    onlooker.arm()
    onlooker.moves()
    usual = np.median([age for _, age in onlooker.actions])
    stopping, slowed = threading.Event(), time.monotonic()

    def slow():
        while not stopping.is_set():
            perception.process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            perception.process.send_signal(signal.SIGCONT)
            time.sleep(0.03)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        time.sleep(6.0)
    finally:
        stopping.set()
        thread.join()
    with onlooker.lock:
        ages = [age for moment, age in onlooker.actions if moment > slowed]
        seen = {state["state"] for moment, state in onlooker.states if moment > slowed}
    assert np.percentile(ages, 90) > usual + 0.1, "it was slower"
    assert max(ages) <= OLDEST + 2 * TICK, max(ages)
    assert seen <= {"RUNNING", "HOLD"}, seen
    onlooker.wait_for("RUNNING")
    onlooker.moves()
