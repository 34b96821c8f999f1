"""Reading datasets: as trajectories for people, as windows of whole episodes for training."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from am_ray.data.blocks import RowGroup, Window, read_window
from am_ray.data.checks import bad_data_files, check_meta_files, check_tables
from am_ray.data.manifest import Manifest
from am_ray.data.metadata import EPISODES_PATH, read_episodes
from am_ray.data.schema import INFO_PATH, DatasetInfo
from am_ray.data.statistics import STATS_PATH
from am_ray.data.storage import Storage, open_storage
from am_ray.types import DatasetError, DataSpec, EpisodeBlock, Trajectory

logger = logging.getLogger(__name__)

OUR_EPISODE_COLUMNS = ("episode_index", "tasks", "length", "success", "return", "terminated", "sha256")


class TrajectoryDataset(Sequence[Trajectory]):
    """A committed dataset. ``dataset[i]`` is its i-th trajectory; iterate, slice with a loop, or read `windows`.

    Picklable and small: it holds the tables, never frames (but for the row group that was read last).

    Attributes:
        storage: Where it is.
        info: ``meta/info.json``.
        digest: Of the data alone.
        dropped: Data files that ``skip_bad_files`` left out, with the reason.
        num_dropped_episodes: Episodes in those files.
        episodes: The table of episodes, by column (LeRobot's, ``success``, ``return``, ``terminated`` and metadata).
        row_groups: The row groups that can be read, in order.
        num_bytes: Size of the data files.
    """

    def __init__(
        self,
        storage: Storage,
        info: DatasetInfo,
        manifest: Manifest,
        episodes: dict[str, list[Any]],
        dropped: dict[str, str],
    ) -> None:
        self.storage, self.info, self.digest, self.dropped = storage, info, manifest.digest, dropped
        self.episodes = episodes
        self.row_groups: list[RowGroup] = []
        self.num_bytes = sum(entry.bytes for entry in manifest.data_files if entry.path not in dropped)
        first = 0
        for entry in manifest.data_files:
            for number, rows in enumerate(entry.row_groups or ()):
                if entry.path not in dropped:
                    self.row_groups.append(RowGroup(entry.path, number, rows, first))
                first += len(rows)
        self._starts = np.cumsum([0, *(group.num_episodes for group in self.row_groups)])
        self.num_dropped_episodes = first - self.num_episodes
        self._last: tuple[int, EpisodeBlock] | None = None

    @property
    def spec(self) -> DataSpec:
        """Shapes and bounds, all that a network needs."""
        return self.info.spec

    @property
    def num_episodes(self) -> int:
        return int(self._starts[-1])

    @property
    def num_transitions(self) -> int:
        return sum(group.num_transitions for group in self.row_groups)

    @property
    def num_rows(self) -> int:
        return sum(group.num_rows for group in self.row_groups)

    @property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """``meta/stats.json``: by column, then ``mean``, ``std``, ``min``, ``max``, ``count``, ``q01`` ... ``q99``."""
        value: dict[str, dict[str, Any]] = json.loads(self.storage.read_bytes(STATS_PATH))
        return value

    def windows(self, rows: int = 0) -> list[Window]:
        """All row groups in order, in windows of at least ``rows`` rows (but for the last)."""
        windows: list[list[RowGroup]] = [[]]
        for group in self.row_groups:
            if sum(g.num_rows for g in windows[-1]) >= max(rows, 1):
                windows.append([])
            windows[-1].append(group)
        return [tuple(window) for window in windows]

    def read_window(self, window: Window, *, threads: bool = False) -> EpisodeBlock:
        """Read a window's episodes, pages verified.

        Raises:
            DatasetError: If a page is damaged or the content is not what the tables promise.
        """
        return read_window(self.storage, self.info, window, threads=threads)

    def read_all(self) -> EpisodeBlock:
        """Every episode in one block; its memory is the decoded data's size."""
        return self.read_window(tuple(self.row_groups), threads=True)

    def __len__(self) -> int:
        return self.num_episodes

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"trajectory {index} of {len(self)}")
        index %= len(self)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        if self._last is None or self._last[0] != number:
            self._last = (number, self.read_window((self.row_groups[number],), threads=True))
        return self.trajectory(self._last[1], index - int(self._starts[number]))

    def __iter__(self) -> Iterator[Trajectory]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}

    def trajectory(self, block: EpisodeBlock, position: int) -> Trajectory:
        """The trajectory at a position of a block that was read from this dataset."""
        first, steps = int(block.first_row[position]), int(block.num_transitions[position])
        episode = int(block.episode_index[position])
        lerobot = ("data/", "meta/", "dataset_", "stats/")
        metadata = {
            key: values[episode]
            for key, values in self.episodes.items()
            if key not in OUR_EPISODE_COLUMNS and not key.startswith(lerobot) and values[episode] is not None
        }
        tasks = self.episodes["tasks"][episode]
        return Trajectory(
            observations={name: value[first : first + steps + 1].copy() for name, value in block.observations.items()},
            actions=block.actions[first : first + steps].copy(),
            rewards=block.rewards[first : first + steps].copy(),
            successes=block.successes[first : first + steps].copy(),
            terminated=bool(self.episodes.get("terminated", [False] * (episode + 1))[episode]),
            task=tasks[0] if tasks else "",
            metadata=metadata,
        )


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """What a dataset consists of at the moment, hashes included: one small file, no checks. Hashable.

    Raises:
        DatasetError: If there is no committed dataset, or it cannot be read.
    """
    storage = open_storage(path)
    try:
        return Manifest.read(storage)
    except OSError as error:
        raise _unreadable(storage, error) from error


def read_dataset(
    path: str | os.PathLike[str], *, skip_bad_files: bool = False, hashes: bool = False
) -> TrajectoryDataset:
    """Open a dataset, with the checks that cost little: sizes, footers, schemas, tables that agree.

    Damage inside a data page is found when the page is read (every page has a checksum), or here with ``hashes``.

    Args:
        path: Local folder or ``pyarrow.fs`` URI.
        skip_bad_files: Leave out data files that fail, instead of refusing; see `TrajectoryDataset.dropped`.
        hashes: Also compare the sha256 of every data file: reads them all.

    Raises:
        DatasetError: If there is no committed dataset, or it is damaged.
    """
    storage = open_storage(path)
    try:
        manifest = Manifest.read(storage)
        check_meta_files(storage, manifest)
        info = DatasetInfo.from_json(storage.read_bytes(INFO_PATH), f"{storage.name}/{INFO_PATH}")
        episodes = read_episodes(storage, EPISODES_PATH)
        check_tables(storage, info, manifest, episodes)
        bad = bad_data_files(storage, manifest.data_files, info, hashes=hashes)
    except OSError as error:
        raise _unreadable(storage, error) from error
    if bad and not skip_bad_files:
        raise next(iter(bad.values()))
    dataset = TrajectoryDataset(storage, info, manifest, episodes, {path: str(error) for path, error in bad.items()})
    if bad:
        logger.warning(
            "%s: left out %d bad files with %d episodes: %s",
            storage.name,
            len(bad),
            dataset.num_dropped_episodes,
            ", ".join(bad),
        )
    if not dataset.num_episodes:
        raise DatasetError(
            f"{storage.name}: every data file is bad ({next(iter(bad.values()))}); expected at least one good one."
        )
    return dataset


def _unreadable(storage: Storage, error: OSError) -> DatasetError:
    return DatasetError(
        f"{storage.name}: cannot be read ({error}); expected a readable dataset. Check path and access."
    )
