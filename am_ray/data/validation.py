"""Looking at all of a dataset: every number, and with ``deep`` every byte, every image and every episode's hash."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from am_ray.data.blocks import RowGroup, check_finite, check_order
from am_ray.data.checks import check_data_file, check_hash
from am_ray.data.completion import completion
from am_ray.data.data_files import column_array, open_data_file, read_row_group
from am_ray.data.frames import record_of
from am_ray.data.manifest import MANIFEST_PATH, Manifest
from am_ray.data.reader import TrajectoryDataset, read_dataset, read_manifest
from am_ray.data.recovery import check_recoverable
from am_ray.data.schema import DatasetInfo
from am_ray.data.storage import Storage, open_storage
from am_ray.data.writer import DatasetWriter
from am_ray.types import DatasetError


@dataclass
class ValidationReport:
    """What `validate_dataset` found.

    Attributes:
        path: The dataset.
        deep: Whether every byte, image and hash was looked at.
        episodes: Episodes that were looked at.
        transitions: Their transitions.
        problems: One message for each thing that is wrong; none: the dataset is good.
        promised_episodes: Episodes that the manifest lists; ``None`` where there is none that can be read.
    """

    path: str
    deep: bool
    episodes: int = 0
    transitions: int = 0
    problems: list[str] = field(default_factory=list)
    promised_episodes: int | None = None

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok}


@dataclass(frozen=True)
class RepairReport:
    """What `repair_dataset` did.

    Attributes:
        path: The dataset.
        episodes: Whole episodes that can be read now.
        discarded: Files without whole episodes that could follow: moved to ``discarded/``, half-written ones deleted.
        digest: Of the data.
        was_complete: The dataset was committed and good: nothing was done.
    """

    path: str
    episodes: int
    discarded: list[str]
    digest: str
    was_complete: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def dataset_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a dataset holds, as plain JSON values: ``digest``, ``episodes``, ``transitions``, sizes, features, tasks.

    ``completion`` says what share of the episodes does what; see `am_ray.data.completion`.

    Raises:
        DatasetError: If it is not committed or is damaged.
    """
    dataset = read_dataset(path)
    table = dataset.episodes
    lengths = np.array(table["length"]) - 1
    return {
        "path": dataset.storage.name,
        "digest": dataset.digest,
        "episodes": dataset.num_episodes,
        "transitions": dataset.num_transitions,
        "bytes": dataset.num_bytes,
        "files": len({group.path for group in dataset.row_groups}),
        "row_groups": len(dataset.row_groups),
        "episode_length": {"min": int(lengths.min()), "mean": float(lengths.mean()), "max": int(lengths.max())},
        "successful_episodes": int(sum(table.get("success", []))),
        "tasks": dict(Counter(task for tasks in table["tasks"] for task in tasks)),
        "completion": completion(dataset),
        "fps": dataset.info.fps,
        **dataset.spec.to_json(),
        "env": dataset.info.env,
        "generator": dataset.info.generator,
        "license": dataset.info.license,
    }


def validate_dataset(path: str | os.PathLike[str], *, deep: bool = False) -> ValidationReport:
    """Check a dataset and say everything that is wrong with it; nothing is raised for bad data.

    Args:
        path: Local folder or ``pyarrow.fs`` URI.
        deep: Also hash every file, decode every image, and hash every episode's content.
    """
    report = ValidationReport(os.fspath(path), deep)
    try:
        files = read_manifest(path).data_files
        report.promised_episodes = sum(len(group) for entry in files for group in entry.row_groups or ())
        dataset = read_dataset(path, skip_bad_files=True)
    except DatasetError as error:
        report.problems.append(str(error))
        return report
    report.problems += dataset.dropped.values()
    entries = {entry.path: entry for entry in Manifest.read(dataset.storage).data_files}
    good = {group.path for group in dataset.row_groups}
    for file in sorted(good):
        _note(report, lambda entry=entries[file]: check_data_file(dataset.storage, entry, dataset.info))
        if deep:
            _note(report, lambda entry=entries[file]: check_hash(dataset.storage, entry))
    for group in dataset.row_groups:
        _note(report, lambda group=group: check_group(dataset.storage, dataset.info, group))
        if deep:
            _note(report, lambda group=group: _check_content(dataset, group))
        report.episodes += group.num_episodes
        report.transitions += group.num_transitions
    report.problems = list(dict.fromkeys(report.problems))
    return report


def _note(report: ValidationReport, check: Any) -> None:
    try:
        check()
    except DatasetError as error:
        report.problems.append(str(error))


def _check_content(dataset: TrajectoryDataset, group: RowGroup) -> None:
    """Decode a row group and compare its episodes with the hashes they were written with."""
    expected = dataset.episodes.get("sha256")
    block = dataset.read_window((group,))
    for position in range(group.num_episodes):
        trajectory = dataset.trajectory(block, position)
        episode = group.first_episode + position
        if expected is not None and record_of(trajectory).sha256 != expected[episode]:
            raise DatasetError(
                f"{dataset.storage.name}/{group.path}: episode {episode} is not what was written (its content has another "
                "hash); expected the recorded one. Restore the file."
            )


def check_numbers(dataset: TrajectoryDataset) -> None:
    """Read every number of every row group: pages verified, order, dtypes, finite values. Images are not decoded.

    Raises:
        DatasetError: At the first thing that is wrong.
    """
    for group in dataset.row_groups:
        check_group(dataset.storage, dataset.info, group)


def check_group(storage: Storage, info: DatasetInfo, group: RowGroup) -> None:
    """As `check_numbers`, for one row group."""
    where = f"{storage.name}/{group.path}: row group {group.number}"
    columns = [name for name, feature in info.features.items() if feature.dtype != "image"]
    with open_data_file(storage, group.path) as file:
        table = read_row_group(storage, group.path, file, group.number, columns, threads=True)
    rows = np.asarray(group.episode_rows, np.int64)
    episodes = np.arange(group.first_episode, group.first_episode + group.num_episodes)
    check_order(table, rows, episodes, where)
    for name in columns:
        feature = info.features[name]
        if feature.dtype != "string":
            check_finite(column_array(table, name, feature, where), name, np.cumsum(rows) - rows, episodes, where)


def repair_dataset(path: str | os.PathLike[str]) -> RepairReport:
    """Commit the whole episodes of an interrupted write; data files that are torn are moved to ``discarded/``.

    Raises:
        DatasetError: If there is nothing to recover (then nothing is changed), or the dataset is committed but damaged: then files are gone
            that only a copy can bring back.
    """
    storage = open_storage(path)
    if storage.exists(MANIFEST_PATH):
        dataset = read_dataset(path, hashes=True)
        return RepairReport(storage.name, dataset.num_episodes, [], dataset.digest, was_complete=True)
    check_recoverable(storage)
    writer = DatasetWriter.resume(path)
    digest = writer.close()
    return RepairReport(storage.name, writer.next_episode, writer.discarded, digest, was_complete=False)
