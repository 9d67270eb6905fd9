"""Closed loop over ROS 2 topics: success of a bundle's policy on unseen goals. closed_loop.sh starts robot.py, perception_node, policy_node.

    closed_loop.py --task hammer-v3 --bundle BUNDLE --episodes 25 --out out/closed-loop [--minutes 5]
    closed_loop.py --table out/closed-loop [--direct success.json --column pixio]

Goals and length are those of evaluate.py's direct loop, success counts at the end. Every episode is kept in OUT/TASK.json at once and not
run again; --minutes ends before the next one that would not fit. Beside success: the period of the commands by the wall clock, as
this process hears them (the node's own clock is in the file too), and the age, in simulated time, of the image behind each command.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from drive import Driver, nanos  # noqa: E402

PATIENCE = 120.0  # seconds of the wall clock
SECONDS = 5.0  # simulated, of an episode: evaluate.py's 100 actions
GOALS = 50_000  # evaluate.py's
DEEP = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
SHARES = {"p50": 50, "p99": 99, "max": 100}


class Loop(Driver):
    def __init__(self):
        super().__init__("closed_loop", PATIENCE)
        self.running, self.commanded = False, 0
        self.told, self.ages, self.held, self.timing = [], [], [], {}
        self.listen_to_policy()
        self.node.create_subscription(JointState, "/policy_node/command", self.on_command, DEEP)
        self.node.create_subscription(JointState, "/policy_node/policy_action", self.on_action, DEEP)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)

    def on_state(self, message):
        super().on_state(message)
        if self.running and self.state["state"] != "RUNNING":
            self.held.append(f"{self.state['state']}: {self.state['reason']}")

    def on_command(self, message):
        if self.running:
            self.told.append(time.monotonic())
            self.commanded = nanos(message.header.stamp)

    def on_action(self, message):
        """Published after its command in the same tick."""
        if self.running and self.told:
            self.ages.append((self.commanded - nanos(message.header.stamp)) / 1e6)

    def on_diagnostics(self, message):
        for status in message.status:
            if status.name == "policy_node":
                self.timing = {pair.key: pair.value for pair in status.values}

    def episode(self, seed):
        self.told, self.ages, self.held = [], [], []
        self.begin(seed)
        began, wall, self.running = self.now, time.monotonic(), True
        self.until(lambda: self.now - began >= SECONDS * 1e9, "time")
        done, wall, self.running = self.ask("/robot/success").success, time.monotonic() - wall, False
        node = {key: float(value) for key, value in self.timing.items() if key.startswith(("period_", "tick_", "observation_age_"))}
        return {"seed": seed, "done": done, "real_time_factor": round(SECONDS / wall, 3), "held": self.held, "node": node,
                "period_ms": np.round(1000 * np.diff(self.told), 2).tolist(), "age_ms": np.round(self.ages, 2).tolist()}


class Results:
    """What was found, in a file, so that no episode runs twice."""

    def __init__(self, folder, task, bundle):
        self.path = folder / f"{task}.json"
        policy = hashlib.sha256((bundle / "model.toml").read_bytes()).hexdigest()
        self.found = {"task": task, "model_toml": policy, "episodes": []}
        if self.path.exists():
            self.found = json.loads(self.path.read_text())
            if self.found["model_toml"] != policy:
                raise SystemExit(f"{self.path}: expected episodes of {bundle}, these are of another bundle; remove the file")

    def missing(self, episodes):
        had = {episode["seed"] for episode in self.found["episodes"]}
        return [seed for seed in range(GOALS, GOALS + episodes) if seed not in had]

    def add(self, episode):
        self.found["episodes"].append(episode)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.found))
        new.rename(self.path)


def summary(found):
    """Counts and quantiles of all episodes of a task."""
    episodes = found["episodes"]
    of = lambda key: np.concatenate([episode[key] for episode in episodes] or [[]])
    quantiles = lambda values: {name: float(np.percentile(values, share)) for name, share in SHARES.items()} if len(values) else {}
    return {"done": sum(episode["done"] for episode in episodes), "episodes": len(episodes),
            "held": sum(bool(episode["held"]) for episode in episodes),
            "factor": float(np.mean([episode["real_time_factor"] for episode in episodes])) if episodes else 0.0,
            "period": quantiles(of("period_ms")), "age": quantiles(of("age_ms"))}


def joined(quantiles, digits):
    return " / ".join(f"{quantiles.get(name, float('nan')):.{digits}f}" for name in SHARES)


def table(folder, direct, column):
    """Markdown: a row a task, the direct loop's success beside."""
    lines = ["| task | direct loop | over ROS 2 | episodes with a HOLD | command period ms, p50 / p99 / max | image behind a command ms, p50 / p99 / max | real-time factor |",
             "|---" * 7 + "|"]
    total = [0, 0]
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        told = summary(found)
        rates = direct.get(found["task"], {}).get(column, [])
        beside = f"{100 * np.mean(rates):.0f} %" if rates else "not run"
        lines.append(f"| {found['task']} | {beside} | {told['done']} of {told['episodes']} | {told['held']} | {joined(told['period'], 1)} | "
                     f"{joined(told['age'], 0)} | {told['factor']:.2f} |")
        total = [total[0] + told["done"], total[1] + told["episodes"]]
    lines.append(f"| all | | {total[0]} of {total[1]} | | | | |")
    return "\n".join(lines)


def run(arguments):
    results = Results(arguments.out, arguments.task, arguments.bundle)
    end = time.monotonic() + 60 * arguments.minutes
    missing, longest = results.missing(arguments.episodes), 0.0
    if missing:
        rclpy.init()
        loop = Loop()
        loop.until(lambda: loop.now > 0 and loop.predicted > 0, "/clock and the first action chunk")
    for seed in missing:
        began = time.monotonic()
        if began + longest > end:
            break
        episode = loop.episode(seed)
        results.add(episode)
        longest = max(longest, time.monotonic() - began)
        held = f"; {', '.join(sorted(set(episode['held'])))}" if episode["held"] else ""
        print(f"{arguments.task}, seed {seed}: {'done' if episode['done'] else 'not done'}, real-time factor "
              f"{episode['real_time_factor']:.2f}{held}", flush=True)
    if missing:
        loop.stop()
    told = summary(results.found)
    left = len(results.missing(arguments.episodes))
    print(f"{arguments.task}: {told['done']} of {told['episodes']} done{f', {left} still to run' if left else ''}; command period p50 / p99 / max "
          f"{joined(told['period'], 1)} ms; image behind a command {joined(told['age'], 0)} ms old")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task")
    parser.add_argument("--bundle", type=Path, help="that perception_node runs")
    parser.add_argument("--episodes", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("out/closed-loop"))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--table", type=Path, metavar="FOLDER", help="print the table of what was found, and nothing else")
    parser.add_argument("--direct", type=Path, help="evaluate.py's --out")
    parser.add_argument("--column", default="pixio", help="of the direct loop's results")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(arguments.table, json.loads(arguments.direct.read_text()) if arguments.direct else {}, arguments.column))
        return 0
    if not (arguments.task and arguments.bundle):
        parser.error("expected --task and --bundle, or --table")
    return run(arguments)


sys.exit(main())
