"""What ``meta/info.json`` may say: LeRobot v3.0 features plus one key of ours, read strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from am_ray.data.images import MAX_PIXELS, MODES
from am_ray.types import DatasetError, DataSpec

INFO_PATH = "meta/info.json"
CODEBASE_VERSION = "v3.0"
SCHEMA_VERSION = 1
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK = 1000
STATE_PREFIX = "observation."
IMAGE_PREFIX = "observation.images."
MAX_FEATURE_ENTRIES = 1_000_000

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCALAR_TYPES = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "bool": pa.bool_(),
    "string": pa.string(),
}
FLAG_COLUMNS = {
    "next.reward": "float32",
    "next.done": "bool",
    "next.truncated": "bool",
    "next.success": "bool",
    "is_last": "bool",
}
INDEX_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True)
class Feature:
    """One column: ``dtype`` is ``image`` or a key of `SCALAR_TYPES`; ``shape`` is the shape of one row's value."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def arrow_type(self) -> pa.DataType:
        if self.dtype == "image":
            return IMAGE_TYPE
        value = SCALAR_TYPES[self.dtype]
        return value if self.shape == (1,) else pa.list_(value, self.shape[0])

    def accepts(self, found: pa.DataType) -> bool:
        """Whether a column of type ``found`` holds this feature; lists of any length are checked when they are read."""
        if self.dtype == "image":
            return bool(found == IMAGE_TYPE)
        value = SCALAR_TYPES[self.dtype]
        if self.shape == (1,) and found == value:
            return True
        if pa.types.is_fixed_size_list(found):
            return bool(found.value_type == value and found.list_size == self.shape[0])
        return bool((pa.types.is_list(found) or pa.types.is_large_list(found)) and found.value_type == value)


@dataclass(frozen=True)
class DatasetInfo:
    """``meta/info.json``.

    Attributes:
        features: Every column of the data files.
        goal_indices: As in `DataSpec`, by observation name.
        fps: Frames per second.
        action_low: Lower bounds, ``None`` while an unfinished write has not seen all actions.
        action_high: Upper bounds, likewise.
        final_observation: ``row``: T+1 rows per episode; ``none``: T rows, the last action is not used.
        env: The Gymnasium environment that made the data (``{"id": ..., "kwargs": {...}}``), if any.
        generator: How the data was made (command, seed, version).
        license: SPDX name of the data's license.
        robot_type: Free text.
        total_episodes: Number of episodes.
        total_frames: Number of rows.
        total_tasks: Number of distinct tasks.
    """

    features: dict[str, Feature]
    goal_indices: dict[str, tuple[int, ...] | None]
    fps: float
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    final_observation: str = "row"
    env: dict[str, Any] | None = None
    generator: dict[str, Any] = field(default_factory=dict)
    license: str = "unspecified"
    robot_type: str | None = None
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0

    @property
    def observation_columns(self) -> dict[str, str]:
        """Observation name -> column."""
        return {observation_name(c): c for c, f in self.features.items() if c.startswith(STATE_PREFIX) and _is_input(f)}

    @property
    def spec(self) -> DataSpec:
        if self.action_low is None or self.action_high is None:
            raise DatasetError(
                "meta/info.json: no action bounds; expected am_ray.action_space. Run 'am-ray dataset repair'."
            )
        shapes = {name: self.features[column].shape for name, column in self.observation_columns.items()}
        return DataSpec(shapes, dict(self.goal_indices), self.action_low, self.action_high)

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, feature.arrow_type) for name, feature in self.features.items()])

    def to_json(self) -> dict[str, Any]:
        observation = self.observation_columns
        goals = {observation[n]: None if i is None else list(i) for n, i in self.goal_indices.items()}
        bounds = None
        if self.action_low is not None and self.action_high is not None:
            bounds = {"low": list(self.action_low), "high": list(self.action_high)}
        return {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": self.robot_type,
            "total_episodes": self.total_episodes,
            "total_frames": self.total_frames,
            "total_tasks": self.total_tasks,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": int(self.fps) if float(self.fps).is_integer() else self.fps,
            "splits": {"train": f"0:{self.total_episodes}"},
            "data_path": DATA_PATH,
            "video_path": None,
            "features": {name: _feature_to_json(feature) for name, feature in self.features.items()},
            "am_ray": {
                "schema_version": SCHEMA_VERSION,
                "final_observation": self.final_observation,
                "action_space": bounds,
                "goal_features": goals,
                "env": self.env,
                "generator": self.generator,
                "license": self.license,
            },
        }

    @classmethod
    def from_json(cls, data: bytes, where: str) -> DatasetInfo:
        """Read ``meta/info.json`` strictly.

        Raises:
            DatasetError: If a key is missing, of the wrong type, or says something that cannot be honoured.
        """
        try:
            value = json.loads(data)
            info = _from_json(cls, value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{where}: not a LeRobot v3.0 info.json with an 'am_ray' key ({type(error).__name__}: {error}). "
                "Restore it, or write the dataset again."
            ) from error
        _check(info, value, where)
        return info

    def finished(
        self, *, episodes: int, frames: int, tasks: int, low: Sequence[float], high: Sequence[float]
    ) -> DatasetInfo:
        """The same information with its totals and action bounds filled in."""
        return replace(
            self,
            total_episodes=episodes,
            total_frames=frames,
            total_tasks=tasks,
            action_low=tuple(map(float, low)),
            action_high=tuple(map(float, high)),
        )


def _from_json(cls: type[DatasetInfo], value: Mapping[str, Any]) -> DatasetInfo:
    ours = value["am_ray"]
    if value["codebase_version"] != CODEBASE_VERSION or ours["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"version {value['codebase_version']}/{ours['schema_version']}, expected {CODEBASE_VERSION}/{SCHEMA_VERSION}"
        )
    bounds = ours["action_space"] or {"low": None, "high": None}
    return cls(
        features={str(k): Feature(v["dtype"], tuple(int(n) for n in v["shape"])) for k, v in value["features"].items()},
        goal_indices={observation_name(k): None if v is None else tuple(v) for k, v in ours["goal_features"].items()},
        fps=float(value["fps"]),
        action_low=None if bounds["low"] is None else tuple(map(float, bounds["low"])),
        action_high=None if bounds["high"] is None else tuple(map(float, bounds["high"])),
        final_observation=ours["final_observation"],
        env=ours["env"],
        generator=dict(ours["generator"]),
        license=str(ours["license"]),
        robot_type=value.get("robot_type"),
        total_episodes=int(value["total_episodes"]),
        total_frames=int(value["total_frames"]),
        total_tasks=int(value["total_tasks"]),
    )


def _check(info: DatasetInfo, value: Mapping[str, Any], where: str) -> None:
    problems = [problem for name, feature in info.features.items() if (problem := _feature_problem(name, feature))]
    if str(value.get("data_path")) != DATA_PATH:
        problems.append(f"data_path {value.get('data_path')!r}, expected {DATA_PATH!r}")
    if info.final_observation not in ("row", "none"):
        problems.append(f"final_observation {info.final_observation!r}, expected 'row' or 'none'")
    if not (math.isfinite(info.fps) and info.fps > 0):
        problems.append(f"fps {info.fps}, expected a positive number")
    problems += [
        f"no column {name!r}" for name in ("action", "frame_index", "episode_index") if name not in info.features
    ]
    if not info.observation_columns:
        problems.append("no float32 or image column that starts with 'observation.'")
    problems += [
        f"goal feature {n!r} is no observation" for n in info.goal_indices if n not in info.observation_columns
    ]
    problems += _bounds_problems(info)
    if problems:
        raise DatasetError(f"{where}: {'; '.join(problems)}. Restore the file, or write the dataset again.")


def _bounds_problems(info: DatasetInfo) -> list[str]:
    if info.action_low is None or info.action_high is None or "action" not in info.features:
        return []
    size = info.features["action"].shape[0]
    if not len(info.action_low) == len(info.action_high) == size:
        return [f"action bounds of {len(info.action_low)} and {len(info.action_high)} entries for an action of {size}"]
    pairs = zip(info.action_low, info.action_high, strict=True)
    good = all(math.isfinite(a) and math.isfinite(b) and a < b for a, b in pairs)
    return [] if good else [f"action bounds {info.action_low} to {info.action_high}; expected finite and low < high"]


def _feature_problem(name: str, feature: Feature) -> str | None:
    shape = feature.shape
    if not shape or any(n < 1 for n in shape) or math.prod(shape) > max(MAX_FEATURE_ENTRIES, 4 * MAX_PIXELS):
        return f"{name}: shape {shape} is not one that can be held"
    if feature.dtype == "image":
        good = len(shape) == 3 and shape[0] * shape[1] <= MAX_PIXELS and shape[2] in MODES
        return (
            None
            if good
            else f"{name}: image shape {shape}; expected (h, w, c), at most {MAX_PIXELS} pixels, c in {sorted(MODES)}"
        )
    if feature.dtype not in SCALAR_TYPES:
        return f"{name}: dtype {feature.dtype!r}; expected one of {['image', *SCALAR_TYPES]} (decode videos to images)"
    if len(shape) != 1 or shape[0] > MAX_FEATURE_ENTRIES:
        return f"{name}: shape {shape}; expected one dimension"
    if name == "action" and feature.dtype != "float32":
        return f"{name}: dtype {feature.dtype!r}; expected float32"
    return None


def _is_input(feature: Feature) -> bool:
    return feature.dtype in ("image", "float32")


def observation_name(column: str) -> str:
    """``observation.state`` -> ``state``; ``observation.images.front`` -> ``front``; other names stay."""
    return column.removeprefix(IMAGE_PREFIX).removeprefix(STATE_PREFIX)


def features_for(observation_shapes: Mapping[str, Sequence[int]], action_dim: int) -> dict[str, Feature]:
    """The columns that the writer writes for these observations and actions, in order."""
    features = {}
    for name, shape in observation_shapes.items():
        image = len(shape) == 3
        column = (IMAGE_PREFIX if image else STATE_PREFIX) + name
        features[column] = Feature("image" if image else "float32", tuple(shape))
    features["action"] = Feature("float32", (action_dim,))
    features |= {name: Feature(dtype, (1,)) for name, dtype in (FLAG_COLUMNS | INDEX_COLUMNS).items()}
    return features


def _feature_to_json(feature: Feature) -> dict[str, Any]:
    names = ["height", "width", "channels"] if feature.dtype == "image" else None
    return {"dtype": feature.dtype, "shape": list(feature.shape), "names": names}
