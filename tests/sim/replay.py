"""Plays a dataset's actions back into the scene that they were recorded in: what is recorded must do the task again.

    replay.py out/demo-record/recordings/dataset --task hammer-v3 --first-seed 7001
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from scene import TASKS, Cell

ACTED = [0, 1, 2, 6]  # the hand's velocity, the gripper's opening


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--first-seed", type=int, required=True, help="of episode 0; the following ones grow by one")
    arguments = parser.parse_args()
    cell, done, files = Cell(arguments.task), 0, sorted(arguments.dataset.glob("data/*/*.parquet"))
    for number, file in enumerate(files):
        rows = pq.read_table(file, columns=["action", "observation.state"]).to_pydict()
        cell.reset(arguments.first_seed + number)
        apart = []
        for action, state in zip(rows["action"], rows["observation.state"]):
            apart.append(np.linalg.norm(cell.proprioception()[:3] - np.array(state[:3])))
            cell.act(np.array(action)[ACTED])
        done += cell.success
        print(f"episode {number}: {'done' if cell.success else 'NOT done'}, {len(apart)} rows, hand at most "
              f"{1000 * max(apart):.1f} mm from the recorded one (mean {1000 * np.mean(apart):.1f} mm)", flush=True)
    print(f"{done} of {len(files)} done")
    return 0 if files and done == len(files) else 1


sys.exit(main())
