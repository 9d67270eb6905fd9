"""The dataset of `sample_episode` in the hands of `lerobot` itself: loaded, indexed, decoded, measured, resumed and merged.

    target/release/examples/sample_episode out/sample
    .pixio/lerobot/bin/python tests/referees/lerobot_dataset.py out/sample/dataset --pixio-tool target/release/pixio

`tests/referees/run.sh` does both. What the sample holds is computed here from its formulas.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp())

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

FRAMES = [60, 75, 90]
TASKS = ["pick up the cup", "put it down", "pick up the cup"]
FPS = 30
HEIGHT, WIDTH = 64, 96
VIDEO, STILL = "observation.images.wrist", "observation.images.top"
TOKENS = "observation.features.eye"
STATISTICS = ("min", "max", "mean", "std")


def states(numbers):
    angles = numbers.astype(np.float32) * np.float32(0.05)
    return np.stack([np.sin(angles), np.float32(0.5) * np.cos(angles)], 1)


def tokens(numbers):
    return numbers.astype(np.float32)[:, None] * np.float32([0.1, 0.2, 0.3, 0.4])


def blue(numbers):
    """Tells the frame: the next one is 7 grey levels off, more than H.264 changes."""
    return 30 + 7 * numbers % 190


HALF_A_FRAME = 3.5


def picture(number):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([columns * 2, rows * 3, np.full_like(rows, blue(number))]).astype(np.uint8)


def load(root, name="pixio/sample", **options):
    return LeRobotDataset(name, root=root, video_backend="pyav", **options)


def check_items(dataset):
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (3, sum(FRAMES), FPS)
    worst = {VIDEO: 0.0, STILL: 0.0}
    first = 0
    for episode, (frames, task) in enumerate(zip(FRAMES, TASKS)):
        numbers = np.arange(frames)
        expected = {"observation.state": states(numbers), "action": states(numbers + 1), TOKENS: tokens(numbers)}
        for number in numbers:
            item = dataset[first + int(number)]
            assert (item["episode_index"], item["frame_index"], item["task"]) == (episode, number, task)
            for key, values in expected.items():
                assert np.allclose(item[key].numpy(), values[number], atol=1e-6), (key, number)
            for key in worst:
                error = np.abs(item[key].numpy() * 255 - picture(number)).mean()
                worst[key] = max(worst[key], float(error))
        first += frames
    # H.264 and JPEG lose a little.
    assert max(worst.values()) < 4, worst
    print(f"{sum(FRAMES)} items: numbers, tasks, pictures; mean error of the worst picture {worst} of 255")


def shown(pictures):
    """Blue of pictures (frames, channels, rows, columns), grey levels."""
    return pictures[:, 2].mean((1, 2)).numpy() * 255


def check_order_of_frames(dataset):
    """Gives the shift of blue that is common to all frames, which colours lose on their way through H.264."""
    seen = np.concatenate([shown(dataset[index][VIDEO][None]) for index in range(sum(FRAMES))])
    errors = seen - np.concatenate([blue(np.arange(frames)) for frames in FRAMES])
    shift = np.median(errors)
    worst = np.abs(errors - shift).max()
    assert abs(shift) < 4 and worst < HALF_A_FRAME, errors
    print(f"every frame of the videos is in its place: blue, which tells it, is {shift:.1f} off, at most {worst:.1f} more or less")
    return shift


def check_deltas(root, shift):
    deltas = {key: [-2 / FPS, 0, 1 / FPS] for key in ("observation.state", VIDEO)}
    dataset = load(root, delta_timestamps=deltas)
    for number in (0, 30, FRAMES[0] - 1):
        item = dataset[number]
        wanted = np.clip([number - 2, number, number + 1], 0, FRAMES[0] - 1)
        assert np.allclose(item["observation.state"].numpy(), states(wanted), atol=1e-6)
        padding = [number < 2, False, number == FRAMES[0] - 1]
        assert item["observation.state_is_pad"].tolist() == padding
        assert np.abs(shown(item[VIDEO]) - blue(wanted) - shift).max() < HALF_A_FRAME
    print("delta timestamps: numbers and video frames two before and one after, padding at the ends")


def check_statistics(dataset):
    numbers = [np.arange(frames) for frames in FRAMES]
    expected = {"observation.state": states(np.concatenate(numbers)), "action": states(np.concatenate(numbers) + 1)}
    for key, values in expected.items():
        theirs = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
        for name in STATISTICS:
            assert np.allclose(dataset.meta.stats[key][name], theirs[name], atol=1e-5), (key, name)
    for key in (VIDEO, STILL):
        values = np.concatenate([[picture(n) for n in range(frames)] for frames in FRAMES]) / 255.0
        for name in STATISTICS:
            theirs = getattr(values, name)((0, 2, 3)).reshape(3, 1, 1)
            assert np.allclose(dataset.meta.stats[key][name], theirs, atol=0.01), (key, name)
    print("statistics: state and action within 1e-5 of numpy's, pictures within 0.01")


def check_resume(root, tool):
    """LeRobot goes on where we stopped, and we read what it wrote."""
    dataset = LeRobotDataset.resume("pixio/sample", root=root)
    for number in range(20):
        shown = np.ascontiguousarray(picture(number).transpose(1, 2, 0))
        frame = {"observation.state": states(np.array([number]))[0], "action": states(np.array([number + 1]))[0]}
        frame |= {VIDEO: shown, STILL: shown, TOKENS: tokens(np.array([number]))[0], "task": "a task of LeRobot's"}
        for key, feature in dataset.features.items():
            if key.startswith(("rec.", "sync.")):
                frame[key] = np.zeros(feature["shape"], feature["dtype"])
        dataset.add_frame(frame)
    dataset.save_episode()
    dataset.finalize()
    again = load(root)
    assert (again.num_episodes, again[sum(FRAMES)]["task"]) == (4, "a task of LeRobot's")
    features = json.loads((root / "meta/info.json").read_text())["features"]
    assert features[TOKENS]["info"]["encoder_id"] == "sample", features[TOKENS]
    print("resumed by LeRobot with an episode of its own")
    told = subprocess.run([tool, "dataset", "info", root], check=True, capture_output=True, text=True).stdout
    assert "4 episodes" in told, told
    print("pixio reads what LeRobot added")


def check_merge(root, folder, shift):
    from lerobot.datasets.dataset_tools import merge_datasets

    merged = merge_datasets([load(root, "pixio/one"), load(root, "pixio/two")], "pixio/both", output_dir=folder / "both")
    assert (merged.num_episodes, merged.num_frames) == (6, 2 * sum(FRAMES))
    item = load(folder / "both", "pixio/both")[sum(FRAMES) + 5]
    assert np.allclose(item["observation.state"].numpy(), states(np.array([5]))[0], atol=1e-6)
    assert abs(shown(item[VIDEO][None])[0] - blue(5) - shift) < HALF_A_FRAME
    print("merged with itself by LeRobot")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--pixio-tool", required=True)
    arguments = parser.parse_args()
    dataset = load(arguments.root)
    check_items(dataset)
    shift = check_order_of_frames(dataset)
    check_deltas(arguments.root, shift)
    check_statistics(dataset)
    with tempfile.TemporaryDirectory() as folder:
        check_merge(arguments.root, Path(folder), shift)
        copy = Path(folder) / "copy"
        shutil.copytree(arguments.root, copy)
        check_resume(copy, arguments.pixio_tool)
    import lerobot
    print(f"lerobot {lerobot.__version__}: all passed")


if __name__ == "__main__":
    main()
