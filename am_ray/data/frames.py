"""A trajectory as rows of a Parquet table: checked, encoded, hashed. The one place that knows the row layout."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from am_ray.data.images import MODES, encode_png
from am_ray.data.schema import IMAGE_TYPE, SCALAR_TYPES, DatasetInfo
from am_ray.types import DatasetError, Trajectory

IMAGE_NDIM = 4  # (t, h, w, c)
NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class EpisodeRecord:
    """What is known of an episode beside its rows; stored in the file that holds them, so files describe themselves.

    Attributes:
        rows: T + 1.
        task: The trajectory's task.
        terminated: Whether the world ended the episode.
        success: Whether any step succeeded.
        total_reward: Sum of rewards.
        sha256: Of the content: observations (pixels, not PNG bytes), actions, rewards, successes, task, terminated.
        metadata: The trajectory's metadata; not part of the hash.
    """

    rows: int
    task: str
    terminated: bool
    success: bool
    total_reward: float
    sha256: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> EpisodeRecord:
        return cls(**json.loads(text))


def checked_trajectory(trajectory: Trajectory, where: str) -> Trajectory:
    """The trajectory with exact dtypes (float32, uint8, bool).

    Raises:
        DatasetError: If lengths do not fit, a value is not finite, or a dtype or shape cannot be stored.
    """
    _check_kind(trajectory, where)
    actions = _float_rows(trajectory.actions, "actions", where)
    steps = len(actions)
    if steps < 1:
        raise DatasetError(f"{where} has no actions; expected at least 1 transition. Leave out empty episodes.")
    if not trajectory.observations:
        raise DatasetError(f"{where} has no observations; expected at least one feature. Record one.")
    _check_names(trajectory.observations, where)
    observations = {name: _observation(value, name, where) for name, value in trajectory.observations.items()}
    for name, value in observations.items():
        if len(value) != steps + 1:
            raise DatasetError(
                f"{where} has {steps} actions for {len(value)} observations {name!r}; expected one action fewer. "
                "Record the observation after the last action too."
            )
    rewards = _per_step(trajectory.rewards, "rewards", steps, np.dtype(np.float32), where)
    successes = _per_step(trajectory.successes, "successes", steps, np.dtype(bool), where)
    _check_metadata(trajectory.metadata, where)
    return Trajectory(
        observations,
        actions,
        rewards,
        successes,
        bool(trajectory.terminated),
        str(trajectory.task),
        dict(trajectory.metadata),
    )


def _check_kind(trajectory: Any, where: str) -> None:
    if not isinstance(trajectory, Trajectory):
        raise DatasetError(f"{where} is a {type(trajectory).__name__}; expected an am_ray.Trajectory. Make one of it.")
    if not isinstance(trajectory.observations, Mapping):
        raise DatasetError(
            f"{where} has observations of type {type(trajectory.observations).__name__}; expected a dict of arrays by "
            "name. Give them a name, such as 'state'."
        )


def _check_names(observations: Mapping[str, Any], where: str) -> None:
    """Names become parts of columns' names, where '.' separates, and of networks' parameters, which hold no '.'."""
    for name in observations:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DatasetError(
                f"{where} has observations {name!r}; expected a name of letters, digits, '_' and '-'. Rename them."
            )


def _float_rows(value: np.ndarray, name: str, where: str) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[1] < 1 or array.dtype.kind not in "fiu":
        raise DatasetError(
            f"{where} has {name} of shape {array.shape} and dtype {array.dtype}; expected (time, entries) numbers "
            "(images: (time, height, width, channels) uint8). Reshape or convert them."
        )
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise DatasetError(
            f"{where} has {name} with a NaN or infinity in row {row}; expected finite numbers. Remove the episode."
        )
    return array


def _observation(value: np.ndarray, name: str, where: str) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != IMAGE_NDIM:
        return _float_rows(array, f"observations {name!r}", where)
    if array.dtype != np.uint8 or array.shape[-1] not in MODES or 0 in array.shape:
        raise DatasetError(
            f"{where} has images {name!r} of shape {array.shape} and dtype {array.dtype}; expected uint8 and channels "
            f"last, {sorted(MODES)} of them. Convert them."
        )
    return np.ascontiguousarray(array)


def _per_step(value: np.ndarray | None, name: str, steps: int, dtype: np.dtype[Any], where: str) -> np.ndarray:
    if value is None:
        return np.zeros(steps, dtype)
    array = np.asarray(value)
    if array.shape != (steps,):
        raise DatasetError(
            f"{where} has {name} of shape {array.shape}; expected ({steps},), one per action. Reshape them."
        )
    array = array.astype(dtype)
    if not np.isfinite(array).all():
        raise DatasetError(f"{where} has {name} that are not finite; expected numbers. Remove the episode.")
    return array


def _check_metadata(metadata: Mapping[str, Any], where: str) -> None:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, (str, int, float, bool, type(None))):
            raise DatasetError(
                f"{where} has metadata {key!r} of type {type(value).__name__}; expected text, numbers, booleans or None. "
                "Convert it to a plain Python value."
            )


def record_of(trajectory: Trajectory) -> EpisodeRecord:
    """The record of a checked trajectory."""
    assert trajectory.rewards is not None and trajectory.successes is not None
    digest = hashlib.sha256()
    arrays = {f"observation/{name}": value for name, value in sorted(trajectory.observations.items())}
    arrays |= {"action": trajectory.actions, "reward": trajectory.rewards, "success": trajectory.successes}
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape}{array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update(json.dumps([trajectory.task, trajectory.terminated]).encode())
    return EpisodeRecord(
        rows=len(trajectory.actions) + 1,
        task=trajectory.task,
        terminated=trajectory.terminated,
        success=bool(trajectory.successes.any()),
        total_reward=float(trajectory.rewards.sum(dtype=np.float64)),
        sha256=digest.hexdigest(),
        metadata=dict(trajectory.metadata),
    )


def data_digest(info: DatasetInfo, records: list[EpisodeRecord]) -> str:
    """Digest of the data alone: what the columns mean and the episodes' content, in order."""
    spec = info.spec.to_json() | {"fps": info.fps, "final_observation": info.final_observation}
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    for record in records:
        digest.update(bytes.fromhex(record.sha256))
    return digest.hexdigest()


def encode_rows(
    trajectory: Trajectory, info: DatasetInfo, episode: int, first_row: int, task_index: int
) -> pa.RecordBatch:
    """The T+1 rows of a checked trajectory, in the dataset's columns. The last row's action is padding (zeros)."""
    rows = len(trajectory.actions) + 1
    steps = np.arange(rows)
    at_end = steps >= rows - 2  # the last transition and the padding row behind it
    columns: dict[str, np.ndarray] = {
        column: trajectory.observations[name] for name, column in info.observation_columns.items()
    }
    columns |= {
        "action": _padded(trajectory.actions),
        "next.reward": _padded(trajectory.rewards),
        "next.done": at_end,
        "next.truncated": at_end & (not trajectory.terminated),
        "next.success": _padded(trajectory.successes),
        "is_last": steps == rows - 1,
        "timestamp": steps / info.fps,
        "frame_index": steps,
        "episode_index": np.full(rows, episode),
        "index": first_row + steps,
        "task_index": np.full(rows, task_index),
    }
    arrays = [_column(columns[name], info, name) for name in info.features]
    return pa.RecordBatch.from_arrays(arrays, schema=info.arrow_schema)


def _padded(values: np.ndarray | None) -> np.ndarray:
    assert values is not None
    return np.concatenate([values, np.zeros_like(values[:1])])


def _column(values: np.ndarray, info: DatasetInfo, name: str) -> pa.Array:
    feature = info.features[name]
    if feature.dtype == "image":
        frames = encode_png(values)
        paths = [None] * len(frames)
        return pa.StructArray.from_arrays(
            [pa.array(frames, pa.binary()), pa.array(paths, pa.string())], fields=list(IMAGE_TYPE)
        )
    flat = pa.array(np.ascontiguousarray(values).reshape(-1).astype(SCALAR_TYPES[feature.dtype].to_pandas_dtype()))
    return flat if feature.shape == (1,) else pa.FixedSizeListArray.from_arrays(flat, feature.shape[0])
