"""Writes act_ensembling.json: ACT's temporal ensembling as LeRobot computes it (`ACTTemporalEnsembler`), one query a step.

    pip install torch; pip install --no-deps lerobot==0.4.4
    python make_act_ensembling.py

Of LeRobot's file only that class runs: what the file imports beside it (datasets, hub, torchvision) takes no part in it.
"""

import ast
import json
from importlib.metadata import files, version
from pathlib import Path

import torch
from torch import Tensor

STEPS, CHUNK, DIMENSIONS = 24, 8, 2
COEFFICIENTS = [0.01, 0.0, 0.5]


def ensembler_of_lerobot():
    [file] = [file for file in files("lerobot") if file.match("lerobot/policies/act/modeling_act.py")]
    [found] = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", "") == "ACTTemporalEnsembler"]
    names = {"torch": torch, "Tensor": Tensor}
    exec(compile(ast.Module([found], []), str(file), "exec"), names)
    return names["ACTTemporalEnsembler"]


def main():
    ensembler_kind = ensembler_of_lerobot()
    torch.manual_seed(5)
    chunks = (torch.randn(STEPS, CHUNK, DIMENSIONS, dtype=torch.float64) * 1000).round() / 1000
    cases = []
    for coefficient in COEFFICIENTS:
        ensembler = ensembler_kind(coefficient, CHUNK)
        actions = [ensembler.update(chunk[None].clone())[0].tolist() for chunk in chunks]
        cases.append({"m": coefficient, "actions": actions})
    golden = {"made_by": f"make_act_ensembling.py, lerobot {version('lerobot')}, torch {torch.__version__}",
              "chunks": chunks.tolist(), "cases": cases}
    Path(__file__).with_name("act_ensembling.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
