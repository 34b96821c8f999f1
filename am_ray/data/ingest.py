"""From a dataset to one endless source of batches for each learner: resident or streaming, the same kernel in both."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from typing import Protocol

from am_ray.data.decoded_cache import DecodedCache
from am_ray.data.reader import TrajectoryDataset, read_dataset
from am_ray.data.resident import ResidentShard
from am_ray.data.shard import Columns, Shard
from am_ray.data.streaming import StreamingShard
from am_ray.data.validation import check_numbers
from am_ray.settings import CriticLossSettings, IngestSettings, RelabelSettings, TaskSettings
from am_ray.types import DatasetError, DataSpec, SettingsError

logger = logging.getLogger(__name__)

# Data up to this size are looked at in whole before training (seconds); larger ones are verified page by page as read.
CHECKED_BYTES = 2 << 30
GIGABYTE = 1e9


class ShardSource(Protocol):
    """One learner's data: picklable; `batches` is called where the learner lives."""

    @property
    def mode(self) -> str:
        """``resident`` or ``streaming``."""

    def describe(self) -> str:
        """One line for people."""

    def batches(self, start_update: int = 0) -> Iterator[Columns]:
        """Endless batches (`TransitionBatch.to_columns`), from that of update ``start_update``."""


def open_ingest(
    dataset_path: str | os.PathLike[str],
    spec: DataSpec | None,
    relabeling: RelabelSettings,
    ingest: IngestSettings,
    *,
    batch_size: int,
    seed: int,
    num_shards: int = 1,
    discount: float = CriticLossSettings.discount,
    task: TaskSettings | None = None,
) -> list[ShardSource]:
    """Check a dataset and divide it among learners.

    Args:
        dataset_path: Local folder or ``pyarrow.fs`` URI.
        spec: What the networks were built for; ``None`` takes the dataset's.
        relabeling: How goals are drawn.
        ingest: Mode, sizes, and whether damaged data files are left out.
        batch_size: Transitions of a batch of one learner.
        seed: Root of all randomness; the batches depend on it, the number of shards and the settings alone.
        num_shards: Number of learners.
        discount: For geometric goal sampling.
        task: Where set, the dataset is labelled: its batches are transitions of this task, and no goals are drawn.

    Returns:
        One source for each learner.

    Raises:
        DatasetError: If the dataset is damaged, of another shape than ``spec``, or too small for so many learners.
        SettingsError: Goals are to be chained by likeness of states, and the dataset has images, or lacks the entries that
            are named.
    """
    dataset = _checked(dataset_path, ingest.skip_bad_files)
    if spec is not None and _shapes(spec) != _shapes(dataset.spec):
        raise DatasetError(
            f"{dataset.storage.name}: got {dataset.spec.to_json()}; expected {spec.to_json()}, what the networks were built "
            "for. Use a dataset of the same shape."
        )
    check_chaining(relabeling, spec or dataset.spec)
    mode = resolved_mode(dataset, ingest, num_shards)
    _check_enough(dataset, mode, num_shards)
    first = Shard(
        name=dataset.storage.name,
        reader=DecodedCache(
            ingest.decoded_cache, dataset.storage, dataset.info, dataset.digest, per_step=task is not None
        ),
        spec=spec or dataset.spec,
        row_groups=tuple(dataset.row_groups),
        relabeling=relabeling,
        discount=discount,
        batch_size=batch_size,
        seed=seed,
        index=0,
        count=num_shards,
        task=task,
    )
    shards = [first.numbered(index) for index in range(num_shards)]
    if mode == "resident":
        return [ResidentShard(shard) for shard in shards]
    if dataset.num_bytes <= CHECKED_BYTES:  # resident shards are read in whole before the first update anyway
        check_numbers(dataset)
    return [StreamingShard(shard, ingest) for shard in shards]


def check_chaining(relabeling: RelabelSettings, spec: DataSpec) -> None:
    """Whether likeness of these data's states can be measured as linked goals ask for.

    Raises:
        SettingsError: The data have images, or fewer entries than are named.
    """
    if not relabeling.chaining_neighbors:
        return
    images = [name for name, shape in spec.observation_shapes.items() if len(shape) == 3]
    if images:
        raise SettingsError(
            f"relabel.chaining_neighbors: got {relabeling.chaining_neighbors} for data with the images {images}; expected states "
            f"alone, whose likeness can be measured. Set it to 0."
        )
    num_entries = sum(shape[0] for shape in spec.observation_shapes.values())
    outside = [entry for entry in relabeling.chaining_entries if not 0 <= entry < num_entries]
    if outside:
        raise SettingsError(
            f"relabel.chaining_entries: got {outside} for states of {num_entries} entries; expected 0 to {num_entries - 1}. "
            f"Correct them."
        )


def check_same_shape(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> None:
    """Refuses two datasets that one network cannot learn from.

    Raises:
        DatasetError: They differ in observations, goals or actions, or cannot be read.
    """
    first, second = read_dataset(path), read_dataset(other)
    if _shapes(first.spec) != _shapes(second.spec):
        raise DatasetError(
            f"{second.storage.name}: got {second.spec.to_json()}; expected {first.spec.to_json()}, as {first.storage.name}. "
            "Use data of the same world."
        )


def decoded_bytes(dataset: TrajectoryDataset) -> int:
    """Memory of the dataset's observations and actions once decoded."""
    spec = dataset.spec
    row = 4 * spec.action_dim + 5  # reward and success
    for shape in spec.observation_shapes.values():
        row += math.prod(shape) * (1 if len(shape) > 1 else 4)
    return dataset.num_rows * row


def resolved_mode(dataset: TrajectoryDataset, ingest: IngestSettings, num_shards: int) -> str:
    """``ingest.mode``, with ``auto`` decided: resident where a learner's decoded shard fits its memory budget."""
    if ingest.mode != "auto":
        return ingest.mode
    fits = decoded_bytes(dataset) / num_shards <= ingest.memory_budget_gb * GIGABYTE
    return "resident" if fits else "streaming"


def _checked(path: str | os.PathLike[str], skip_bad_files: bool) -> TrajectoryDataset:
    dataset = read_dataset(path, skip_bad_files=skip_bad_files)
    if dataset.num_bytes <= CHECKED_BYTES:
        return read_dataset(path, skip_bad_files=skip_bad_files, hashes=True)
    logger.info("%s: larger than %d bytes, verified page by page while it is read", dataset.storage.name, CHECKED_BYTES)
    return dataset


def _shapes(spec: DataSpec) -> tuple[object, ...]:
    return spec.observation_shapes, spec.goal_indices, spec.action_dim


def _check_enough(dataset: TrajectoryDataset, mode: str, num_shards: int) -> None:
    units, unit = (dataset.num_episodes, "episodes") if mode == "resident" else (len(dataset.row_groups), "row groups")
    if units < num_shards:
        raise DatasetError(
            f"{dataset.storage.name}: {units} {unit} for {num_shards} learners ({mode} ingest); expected at least one for "
            "each. Use fewer learners, resident ingest, or write the dataset with smaller row groups."
        )
