"""The files of ``meta/`` beside the manifest, and the one way to commit a dataset."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from am_ray.data.blocks import RowGroup, read_window
from am_ray.data.data_files import READ_ERRORS, unreadable
from am_ray.data.frames import EpisodeRecord, data_digest
from am_ray.data.manifest import FileEntry, Manifest, describe_file
from am_ray.data.schema import FILES_PER_CHUNK, INFO_PATH, DatasetInfo
from am_ray.data.statistics import STATS_PATH, compute_statistics
from am_ray.data.storage import Storage
from am_ray.types import DatasetError, EpisodeBlock

TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
CARD_PATH = "README.md"


def write_info(storage: Storage, info: DatasetInfo) -> None:
    storage.write_bytes(INFO_PATH, json.dumps(info.to_json(), indent=1).encode())


def commit(
    storage: Storage, info: DatasetInfo, files: Sequence[FileEntry], records: list[EpisodeRecord], tasks: list[str]
) -> str:
    """Write statistics, tasks, the table of episodes, the card, and last of all the manifest; returns the digest.

    Statistics read every data file once, pages verified: what is committed has been read back.
    """
    write_info(storage, info)
    statistics = compute_statistics(_blocks(storage, info, files), info)
    storage.write_bytes(STATS_PATH, json.dumps(statistics, indent=1).encode())
    _write_table(storage, TASKS_PATH, _tasks_table(tasks))
    _write_table(storage, EPISODES_PATH, _episodes_table(files, records))
    storage.write_bytes(CARD_PATH, _card(info).encode())
    digest = data_digest(info, records)
    meta = [describe_file(storage, path) for path in (INFO_PATH, STATS_PATH, TASKS_PATH, EPISODES_PATH)]
    Manifest(digest, (*meta, *files)).write(storage)
    return digest


def _blocks(storage: Storage, info: DatasetInfo, files: Sequence[FileEntry]) -> Iterator[EpisodeBlock]:
    first = 0
    for entry in files:
        for number, rows in enumerate(entry.row_groups or ()):
            yield read_window(storage, info, (RowGroup(entry.path, number, rows, first),))
            first += len(rows)


def _write_table(storage: Storage, path: str, table: pa.Table) -> None:
    with storage.write_atomically(path) as stream:
        pq.write_table(table, stream, write_page_checksum=True)


def _tasks_table(tasks: list[str]) -> pa.Table:
    # LeRobot reads this file with pandas and expects the text as its index.
    def column(name: str, kind: str, dtype: str) -> dict[str, Any]:
        return {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}

    pandas = {
        "index_columns": ["task"],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "column_indexes": [],
        "pandas_version": "2.0.0",
    }
    schema = pa.schema([("task_index", pa.int64()), ("task", pa.string())], metadata={"pandas": json.dumps(pandas)})
    return pa.table({"task_index": range(len(tasks)), "task": tasks}, schema=schema)


def _episodes_table(files: Sequence[FileEntry], records: list[EpisodeRecord]) -> pa.Table:
    count = len(records)
    rows = np.array([record.rows for record in records], np.int64)
    per_file = [sum(len(group) for group in entry.row_groups or ()) for entry in files]
    file_index = np.repeat(np.arange(len(files)), per_file)
    columns: dict[str, Any] = {
        "episode_index": np.arange(count),
        "tasks": pa.array([[record.task] for record in records], pa.list_(pa.string())),
        "length": rows,
        "data/chunk_index": file_index // FILES_PER_CHUNK,
        "data/file_index": file_index % FILES_PER_CHUNK,
        "dataset_from_index": np.cumsum(rows) - rows,
        "dataset_to_index": np.cumsum(rows),
        "meta/episodes/chunk_index": np.zeros(count, np.int64),
        "meta/episodes/file_index": np.zeros(count, np.int64),
        "success": [record.success for record in records],
        "return": [record.total_reward for record in records],
        "terminated": [record.terminated for record in records],
        "sha256": [record.sha256 for record in records],
    }
    keys = sorted({key for record in records for key in record.metadata} - columns.keys())
    for key in keys:
        columns[key] = _plain_column([record.metadata.get(key) for record in records])
    return pa.table(columns)


def _plain_column(values: list[Any]) -> pa.Array:
    """A column of plain values; mixed types become their JSON text."""
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) > 1 and not kinds <= {int, float}:
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
    return pa.array([float(v) if v is not None and kinds == {int, float} else v for v in values])


def read_episodes(storage: Storage, path: str = EPISODES_PATH) -> dict[str, list[Any]]:
    """The table of episodes, by column.

    Raises:
        DatasetError: If it cannot be read or lacks a column that readers need.
    """
    try:
        table = pq.read_table(io.BytesIO(storage.read_bytes(path)), page_checksum_verification=True)
    except READ_ERRORS as error:
        raise unreadable(
            storage, path, "the table of episodes", error, "Restore it, or write the dataset again."
        ) from error
    needed = {"episode_index", "length", "tasks"}
    if not needed <= set(table.column_names):
        missing = sorted(needed - set(table.column_names))
        raise DatasetError(f"{storage.name}/{path}: no columns {missing}; expected LeRobot's. Restore the file.")
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _card(info: DatasetInfo) -> str:
    shapes = "\n".join(
        f"- `{c}`: {info.features[c].dtype} {list(info.features[c].shape)}" for c in info.observation_columns.values()
    )
    return (
        f"---\nlicense: {info.license}\ntags: [LeRobot, robotics, offline-rl]\n---\n\n# Trajectories\n\n"
        f"{info.total_episodes} episodes, {info.total_frames} frames at {info.fps:g} fps, LeRobotDataset {'v3.0'}.\n"
        "Each episode has one row more than it has actions: the last row (`is_last`) carries the final observation.\n\n"
        f"{shapes}\n- `action`: {len(info.action_low or ())} entries, {info.action_low} to {info.action_high}\n\n"
        f"Environment: `{json.dumps(info.env)}`. Made by: `{json.dumps(info.generator)}`.\n"
        "Check it with `am-ray dataset validate --deep`; read it with `am_ray.read_dataset` or LeRobot.\n"
    )
