"""policy_node before the simulated robot: the scripted teleoperator, taken as the human who takes over, does the task through it."""

import sys

from conftest import ROOT, Process
from geometry_msgs.msg import TwistStamped
from peer import answer, connect
from policy import PATIENT, Rig


def test_a_teleoperator_does_the_task_through_the_limits(start, tmp_path):
    robot = Process([sys.executable, ROOT / "tests/sim/robot.py", "--scene", "stand-in", "--teleoperate"], tmp_path / "robot")
    rig = Rig(names=[])
    rig.alive.update(joints=False, chunks=False, deadman=False)
    own = {"use_sim_time": True, "action_space": "end_effector_velocity", "command_interface": "twist", "gripper": True,
           "controller_timeout_secs": 0.1, "deadman": "none", "workspace_min": "[-2.0, -2.0, -2.0]",
           "workspace_max": "[2.0, 2.0, 2.0]", "max_linear_velocity": 1.0, "max_linear_acceleration": 10.0}
    remaps = {"human/twist": "/teleoperation/twist", "human/gripper": "/teleoperation/gripper", "~/twist": "/command/twist",
              "~/gripper": "/command/gripper"}
    told = []
    try:
        rig.node.create_subscription(TwistStamped, "/command/twist", told.append, 1000)
        start("policy_node", {**PATIENT, **own}, remaps)
        rig.arm()
        rig.until(lambda: rig.seen()[-1]["human"], "the teleoperator to take over")
        client = connect(rig.node, rig.until, "/robot/success")
        rig.until(lambda: answer(client, rig.until).success, "success of the task", patience=120.0)
        assert told and all(m.twist.linear.x**2 + m.twist.linear.y**2 + m.twist.linear.z**2 <= 1.0 + 1e-9 for m in told)
        rig.until(lambda: rig.interventions and rig.interventions[-1][1], "the flag for the recorder")
    finally:
        rig.close()
        robot.stop()
