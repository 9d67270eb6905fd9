"""Writes a LeRobot v3.0 dataset: one data file and one row of meta/episodes per episode, pictures as PNG in the rows.

Written from the format's description, apart from the recorder's Rust writer, so that `pixio dataset check` and the trainer's
reader meet a file that the project's own writer did not make.
"""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
DEFAULTS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}
ARROW = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def statistics(values):
    """Of rows: per element, over the population."""
    values = np.asarray(values, np.float64)
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    stats |= {name: np.quantile(values, level, axis=0) for name, level in QUANTILES.items()}
    return {name: np.atleast_1d(value).tolist() for name, value in stats.items()} | {"count": [len(values)]}


def picture_statistics(pictures):
    """Per channel, values from 0 to 1, as LeRobot nests them: (channels, 1, 1)."""
    pixels = np.stack(pictures).reshape(-1, 3) / 255.0
    stats = statistics(pixels)
    return {name: [[[value]] for value in stats[name]] for name in stats if name != "count"} | {"count": [len(pictures)]}


def aggregate(episodes):
    """LeRobot's rule: exact but for quantiles, of which the outermost is taken."""
    counts = np.array([episode["count"][0] for episode in episodes], float)
    of = lambda name: np.array([episode[name] for episode in episodes])
    weight = counts.reshape(-1, *[1] * (of("mean").ndim - 1)) / counts.sum()
    mean = (weight * of("mean")).sum(0)
    std = np.sqrt((weight * (of("std") ** 2 + (of("mean") - mean) ** 2)).sum(0))
    merged = {"min": of("min").min(0), "max": of("max").max(0), "mean": mean, "std": std}
    merged |= {name: (of(name).max(0) if level > 0.5 else of(name).min(0)) for name, level in QUANTILES.items()}
    return {name: value.tolist() for name, value in merged.items()} | {"count": [int(counts.sum())]}


class Dataset:
    """A dataset being written; `finish` writes meta/info.json last."""

    def __init__(self, root, fps, robot, features, task):
        """`features`: key -> names of a float32 vector, or (height, width) of a picture."""
        if root.exists():
            raise SystemExit(f"{root}: is there already; remove it to write it anew")
        self.root, self.fps, self.robot, self.task = root, fps, robot, task
        self.features, self.frames, self.episodes = features, 0, []

    def is_picture(self, key):
        return isinstance(self.features[key], tuple)

    def schema(self):
        fields, described = [], {}
        for key, names in self.features.items():
            if self.is_picture(key):
                fields.append(pa.field(key, pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
                described[key] = {"_type": "Image"}
            else:
                fields.append(pa.field(key, pa.list_(pa.field("element", pa.float32()), len(names))))
                value = {"dtype": "float32", "_type": "Value"}
                described[key] = {"feature": value, "length": len(names), "_type": "List"}
        for key, dtype in DEFAULTS.items():
            fields.append(pa.field(key, ARROW[dtype]))
            described[key] = {"dtype": dtype, "_type": "Value"}
        return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": described}})})

    def add(self, rows):
        """One episode: rows of key -> vector or picture."""
        number, length = len(self.episodes), len(rows)
        defaults = {"timestamp": np.arange(length) / self.fps, "frame_index": np.arange(length),
                    "episode_index": np.full(length, number), "index": self.frames + np.arange(length),
                    "task_index": np.zeros(length, int)}
        columns, stats = {}, {}
        for key in self.features:
            values = [row[key] for row in rows]
            if self.is_picture(key):
                columns[key] = [{"bytes": png(value), "path": None} for value in values]
                stats[key] = picture_statistics(values)
            else:
                columns[key] = [np.asarray(value, np.float32).tolist() for value in values]
                stats[key] = statistics(np.array(columns[key], np.float32))
        for key, values in defaults.items():
            columns[key] = values.astype(DEFAULTS[key]).tolist()
            stats[key] = statistics(values)
        self.write(f"data/chunk-000/file-{number:03}.parquet", pa.Table.from_pydict(columns, self.schema()))
        row = {"episode_index": number, "tasks": [self.task], "length": length, "data/chunk_index": 0, "data/file_index": number,
               "dataset_from_index": self.frames, "dataset_to_index": self.frames + length}
        for key, entry in stats.items():
            row |= {f"stats/{key}/{name}": value for name, value in entry.items()}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": number}
        self.write(f"meta/episodes/chunk-000/file-{number:03}.parquet", pa.Table.from_pylist([row]))
        self.frames += length
        self.episodes.append(stats)

    def write(self, name, table):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="snappy")

    def tasks(self):
        column = lambda name, kind, numpy: {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy,
                                            "metadata": None}
        pandas = {"index_columns": ["task"], "column_indexes": [column(None, "unicode", "object") | {"metadata": {"encoding": "UTF-8"}}],
                  "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
                  "creator": {"library": "pyarrow", "version": pa.__version__}, "pandas_version": "2.3.3"}
        schema = pa.schema([("task_index", pa.int64()), ("task", pa.string())], {"pandas": json.dumps(pandas)})
        return pa.Table.from_pydict({"task_index": [0], "task": [self.task]}, schema)

    def described_features(self):
        described = {}
        for key, names in self.features.items():
            if self.is_picture(key):
                described[key] = {"dtype": "image", "shape": [*names, 3], "names": ["height", "width", "channels"]}
            else:
                described[key] = {"dtype": "float32", "shape": [len(names)], "names": names}
        return described | {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in DEFAULTS.items()}

    def finish(self, extra):
        self.write("meta/tasks.parquet", self.tasks())
        stats = {key: aggregate([episode[key] for episode in self.episodes]) for key in self.episodes[0]}
        info = {"codebase_version": "v3.0", "fps": self.fps, "features": self.described_features(),
                "total_episodes": len(self.episodes), "total_frames": self.frames, "total_tasks": 1, "chunks_size": 1000,
                "data_files_size_in_mb": 100, "video_files_size_in_mb": 200,
                "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "video_path": None,
                "robot_type": self.robot, "splits": {"train": f"0:{len(self.episodes)}"}} | extra
        (self.root / "meta/stats.json").write_text(json.dumps(stats, indent=4))
        (self.root / "meta/info.json").write_text(json.dumps(info, indent=4))
