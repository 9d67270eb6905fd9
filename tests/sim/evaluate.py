"""Closed loop on unseen goals, without ROS: success at the last step of behaviour cloning on frozen features, beside its controls.

    evaluate.py --demos demos --encoder random=onnx/random --encoder pixio=onnx/tabletop [--seeds 3] [--out success.json]

`--encoder NAME=FOLDER` names a folder that `pixio export` made; its backbone sees the policy's camera. Beside the encoders run
`proprioception` (the hand's position and opening only) and `state` (MetaWorld's whole state: the ceiling).

The head is CortexBench's: the class tokens' mean of the last three images, fused as differences and last, and the proprioception;
inputs standardised; 256-256-256 ReLU; mean squared error, Adam 1e-3, batches of 256. It is trained here by scikit-learn and not by
`pixio train`, so that encoders are compared by what the project did not write. CortexBench's physics, version of tasks, camera and
choice of the best epoch are others: the last epoch counts here, and numbers are not comparable with its papers'.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from demos import CAMERA
from scene import HORIZON, TASKS, Cell

HISTORY = 3
ACTED = [0, 1, 2, 6]  # of the action's seven numbers; the hand does not turn
GOALS = 50_000  # first seed of the episodes that are evaluated; demonstrations begin at 7000
IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
warnings.filterwarnings("ignore", category=ConvergenceWarning)


def fused(window):
    """FLARE: differences of neighbours, then the last; a short window repeats its first."""
    window = [window[0]] * (HISTORY - len(window)) + list(window[-HISTORY:])
    return np.concatenate([b - a for a, b in zip(window, window[1:])] + [window[-1]])


class Encoder:
    """A folder of `pixio export`: pictures to the mean (or all) of the last block's class tokens."""

    def __init__(self, folder, size, pool):
        files = sorted(Path(folder).glob(f"backbone_{size}x{size}*.onnx"))
        if len(files) != 1:
            raise SystemExit(f"{folder}: expected one backbone_{size}x{size}*.onnx, got {[file.name for file in files]}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(files[0], options, providers=["CPUExecutionProvider"])
        blocks = [output.name for output in self.session.get_outputs() if output.name.removeprefix("tokens_").isdigit()]
        self.output = max(blocks, key=lambda name: int(name.removeprefix("tokens_")))
        self.pool, self.class_tokens = pool, 8

    def __call__(self, picture):
        tokens = self.session.run([self.output], {"image": network_input(picture)})[0][0, : self.class_tokens]
        return tokens.mean(0) if self.pool == "mean" else tokens.ravel()


class Eyes:
    """What a policy sees: pictures through an encoder with history, and the proprioception."""

    needs_picture = True

    def __init__(self, encoder):
        self.encoder = encoder

    def begin(self):
        self.window = []

    def see(self, picture, proprioception, _):
        self.window = [*self.window, self.encoder(picture)][-HISTORY:]
        return np.concatenate([fused(self.window), proprioception])


class Blind:
    needs_picture = False

    def begin(self):
        pass

    def see(self, _, proprioception, state):
        return np.asarray(proprioception if self.of == "proprioception" else state, np.float32)


class Proprioception(Blind):
    of = "proprioception"


class State(Blind):
    of = "state"


def demonstrations(folder, eyes):
    """Inputs and actions of every row of a dataset, and the episodes' lengths."""
    inputs, actions, lengths = [], [], []
    for file in sorted(folder.glob("data/*/*.parquet")):
        table = pq.read_table(file).to_pydict()
        lengths.append(len(table["action"]))
        eyes.begin()
        for picture, proprioception, state, action in zip(
                table[CAMERA], table["observation.state"], table["observation.environment_state"], table["action"]):
            pixels = decode(picture["bytes"]) if eyes.needs_picture else None
            inputs.append(eyes.see(pixels, proprioception, state))
            actions.append(np.array(action)[ACTED])
    return np.array(inputs, np.float32), np.array(actions, np.float32), lengths


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


class Cloned:
    """The head: standardised inputs and actions, three hidden layers."""

    def __init__(self, inputs, actions, seed, epochs):
        self.inputs, self.actions = StandardScaler().fit(inputs), StandardScaler().fit(actions)
        self.head = MLPRegressor(hidden_layer_sizes=(256, 256, 256), alpha=0.0, batch_size=min(256, len(inputs)), learning_rate_init=1e-3,
                                 max_iter=epochs, n_iter_no_change=epochs, random_state=seed)
        self.head.fit(self.inputs.transform(inputs), self.actions.transform(actions))

    def chunk(self, inputs):
        """One action a row."""
        actions = self.actions.inverse_transform(self.head.predict(self.inputs.transform(inputs[None])))
        actions = actions.reshape(-1, len(ACTED))
        actions[:, 3] = actions[:, 3].clip(0, 1)
        return actions


class Deployed:
    """A bundle's own policy head, as `pixio train policy` left it: exported by `pixio export`, statistics from model.toml.

    Eyes and head in one: `see` gives what `chunk` takes.
    """

    needs_picture = True

    def __init__(self, bundle, tool, size):
        head = tomllib.loads((bundle / "model.toml").read_text())["heads"]["policy"]
        self.spec = head["policy"]
        foreign = {channel["unit"] for channel in self.spec["actions"] + self.spec.get("state", [])} - {"m", "m/s", "rad/s", "1"}
        if self.spec["space"] != "end-effector-velocity" or foreign:
            raise SystemExit(f"{bundle}: expected end-effector velocities in SI units, got {self.spec['space']}, units {foreign}")
        self.history = head["kind"].get("mlp-policy", {}).get("history", 1)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([tool, "export", bundle, "--size", f"{size}x{size}", "--out", folder], check=True, stdout=subprocess.DEVNULL)
            self.encoder = onnxruntime.InferenceSession(f"{folder}/backbone_{size}x{size}.onnx", providers=["CPUExecutionProvider"])
            self.head = onnxruntime.InferenceSession(f"{folder}/policy_{size}x{size}.onnx", providers=["CPUExecutionProvider"])
        self.inputs = [port.name for port in self.head.get_inputs()]
        self.outputs = [port.name for port in self.head.get_outputs()]

    def begin(self):
        self.past = []

    def scaled(self, channels, values, back):
        """From the data's numbers to the network's, or back."""
        centres, widths = np.array([centre_and_width(channel["scaling"]) for channel in channels]).reshape(-1, 2).T
        values = np.asarray(values, float)
        return values * widths + centres if back else (values - centres) / widths

    def run(self, fed, past):
        fed = dict(fed) | ({"past": np.stack(past)[None].astype(np.float32)} if "past" in self.inputs else {})
        return dict(zip(self.outputs, self.head.run(None, {name: fed[name] for name in self.inputs})))

    def see(self, picture, proprioception, _):
        tokens = [port.name for port in self.encoder.get_outputs()]
        fed = dict(zip(tokens, self.encoder.run(None, {"image": network_input(picture)})))
        state = self.spec.get("state", [])
        fed["state"] = self.scaled(state, proprioception, back=False)[None].astype(np.float32)
        if "past" in self.inputs:
            width = next(port.shape[2] for port in self.head.get_inputs() if port.name == "past")
            now = self.run(fed, [np.zeros(width)] * (self.history - 1))["embedding"][0]
            self.past = self.past or [now] * (self.history - 1)
            fed, self.past = {**fed, "earlier": self.past}, [*self.past[1:], now]
        return fed

    def chunk(self, fed):
        rows = self.run({name: value for name, value in fed.items() if name != "earlier"}, fed.get("earlier"))["actions"][0]
        actions = np.array([self.scaled(self.spec["actions"], row, back=True)[ACTED] for row in rows])
        actions[:, 3] = actions[:, 3].clip(0, 1)
        return actions


def centre_and_width(scaling):
    """Of a channel's numbers: those that the network has as 0 and, more, as 1."""
    if scaling == "none":
        return 0.0, 1.0
    if "mean-std" in scaling:
        return scaling["mean-std"]["mean"], scaling["mean-std"]["std"]
    least, greatest = scaling["min-max"]["min"], scaling["min-max"]["max"]
    return (least + greatest) / 2, (greatest - least) / 2


def network_input(picture):
    mean, deviation = IMAGENET
    return ((picture / 255.0 - mean) / deviation).astype(np.float32).transpose(2, 0, 1)[None]


def episode(cell, eyes, policy, seed):
    cell.reset(seed)
    eyes.begin()
    for _ in range(HORIZON):
        picture = cell.picture() if eyes.needs_picture else None
        cell.act(policy.chunk(eyes.see(picture, cell.proprioception(), cell.observation.astype(np.float32)))[0])
    return cell.success


def table(results, tasks, columns, episodes, seeds):
    """Markdown: success in per cent, the mean of the seeds."""
    lines = ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    share = lambda task, column: 100 * np.mean([rate for rate in results[task][column]])
    for task in tasks:
        lines.append(f"| {task} | " + " | ".join(f"{share(task, column):.0f}" for column in columns) + " |")
    means = [np.mean([share(task, column) for task in tasks]) for column in columns]
    lines.append("| mean | " + " | ".join(f"{mean:.0f}" for mean in means) + " |")
    return "\n".join([*lines, "", f"Per cent of {episodes} episodes with unseen goals, success at the last of {HORIZON} steps of 50 ms; "
                      f"mean of {seeds} seed{'s' if seeds > 1 else ''} of the head."])


def keep(results, path):
    if path:
        path.write_text(json.dumps(results, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", type=Path, required=True)
    parser.add_argument("--encoder", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME=BUNDLE",
                        help="a bundle with a policy head; {task} in its name becomes the task's. It has one seed: that of its training")
    parser.add_argument("--pixio", default="pixio", help="the tool, for --policy")
    parser.add_argument("--pool", choices=["mean", "concatenate"], default="mean", help="of the class tokens")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--without", nargs="+", default=[], choices=["proprioception", "state"], help="controls to leave out")
    parser.add_argument("--episodes", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path, help="JSON of every success rate, written as they come and gone on from")
    arguments = parser.parse_args()
    makers = {"proprioception": Proprioception, "state": State}
    makers = {name: make for name, make in makers.items() if name not in arguments.without}
    for given in arguments.encoder:
        name, _, folder = given.partition("=")
        makers[name] = lambda folder=folder: Eyes(Encoder(folder, arguments.size, arguments.pool))
    deployed = dict(given.split("=", 1) for given in arguments.policy)
    results = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {}
    for task in arguments.tasks:
        cell = Cell(task, arguments.size, arguments.size)
        for column, make in makers.items():
            rates = results.setdefault(task, {}).setdefault(column, [])
            if len(rates) >= arguments.seeds:
                continue
            eyes = make()
            inputs, actions, _ = demonstrations(arguments.demos / task, eyes)
            for seed in range(len(rates), arguments.seeds):
                began = time.process_time()
                policy = Cloned(inputs, actions, seed, arguments.epochs)
                done = [episode(cell, eyes, policy, GOALS + number) for number in range(arguments.episodes)]
                rates.append(float(np.mean(done)))
                print(f"{task:>24} {column:>16} seed {seed}: {sum(done)} of {len(done)}, {len(inputs)} rows, "
                      f"{time.process_time() - began:.0f} s of processor", file=sys.stderr, flush=True)
                keep(results, arguments.out)
        for column, bundle in deployed.items():
            rates = results.setdefault(task, {}).setdefault(column, [])
            if not rates:
                policy = Deployed(Path(bundle.format(task=task)), arguments.pixio, arguments.size)
                done = [episode(cell, policy, policy, GOALS + number) for number in range(arguments.episodes)]
                rates.append(float(np.mean(done)))
                print(f"{task:>24} {column:>16} as trained: {sum(done)} of {len(done)}", file=sys.stderr, flush=True)
                keep(results, arguments.out)
        cell.close()
    print(table(results, arguments.tasks, [*makers, *deployed], arguments.episodes, arguments.seeds))


if __name__ == "__main__":
    main()
