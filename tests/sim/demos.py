"""Expert demonstrations of MetaWorld's five CortexBench tasks, a LeRobot v3.0 dataset each: what `pixio train policy` learns from.

    demos.py --out demos                     # demos/assembly-v3 and so on, 25 episodes each, 20 rows a second

Actions are what a robot is told, held for 50 ms: the hand's velocity in m/s (six numbers, no turning) and the gripper's opening (0
closed, 1 open), named as `control::ActionSpace` names them. `observation.environment_state` is MetaWorld's whole state, for the
control that needs no eyes. Each episode ends some time after its success; one without success is an error.
"""

import argparse
from pathlib import Path

import numpy as np

from lerobot import Dataset
from scene import HORIZON, PERIOD, SENTENCES, TASKS, Cell, Expert

ACTION = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z", "gripper"]
STATE = ["position.x", "position.y", "position.z", "gripper"]
AFTER = 25  # rows after the first success
CAMERA = "observation.images.policy"


def whole_action(action):
    """The seven numbers of the action space from velocity and opening."""
    return np.concatenate([action[:3], np.zeros(3), action[3:]]).astype(np.float32)


def episode(cell, expert, seed):
    cell.reset(seed)
    rows, remaining = [], None
    for _ in range(HORIZON):
        action = expert.action(cell.observation)
        rows.append({"observation.state": cell.proprioception(), "observation.environment_state": cell.observation,
                     CAMERA: cell.picture(), "action": whole_action(action)})
        cell.act(action)
        if remaining is None and cell.success:
            remaining = AFTER
        elif remaining is not None:
            remaining -= 1
        if remaining == 0:
            break
    if not cell.success:
        raise SystemExit(f"{cell.task}, seed {seed}: the expert does not succeed")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--episodes", type=int, default=25)
    parser.add_argument("--seed", type=int, default=7000, help="of the first episode; evaluate.py takes others")
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    fps = round(1 / PERIOD)
    for task in arguments.tasks:
        cell, expert = Cell(task, arguments.size, arguments.size), Expert(task)
        features = {"observation.state": STATE, "observation.environment_state": [f"state.{index}" for index in range(39)],
                    CAMERA: (arguments.size, arguments.size), "action": ACTION}
        dataset = Dataset(arguments.out / task, fps, "metaworld_sawyer", features, SENTENCES[task])
        for number in range(arguments.episodes):
            dataset.add(episode(cell, expert, arguments.seed + number))
        dataset.finish({"pixio": {"task": task, "first_seed": arguments.seed, "units": {"position": "m", "linear": "m/s",
                                  "angular": "rad/s", "gripper": "opening, 0 closed to 1 open"}, "frame": "world"}})
        print(f"{task}: {arguments.episodes} episodes, {dataset.frames} rows", flush=True)
        cell.close()


if __name__ == "__main__":
    main()
