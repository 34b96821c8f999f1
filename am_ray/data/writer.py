"""Writing datasets: append trajectories, commit at the end, go on after a kill."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from am_ray.data.data_files import data_file_path, write_data_file
from am_ray.data.frames import EpisodeRecord, checked_trajectory, encode_rows, record_of
from am_ray.data.journal import JOURNAL_FOLDER, Journal, Row
from am_ray.data.manifest import FileEntry
from am_ray.data.metadata import commit, write_info
from am_ray.data.recovery import Recovered, clear_dataset, make_room, recover, set_aside
from am_ray.data.schema import DatasetInfo, features_for
from am_ray.data.storage import open_storage
from am_ray.data.write_settings import (
    BOUNDS_TOLERANCE,
    GoalFeatures,
    action_bound,
    check_inside,
    check_same_features,
    checked_bounds,
    checked_fps,
    goal_indices_of,
)
from am_ray.types import DatasetError, Trajectory

logger = logging.getLogger(__name__)

ROW_GROUP_ROWS = 4096  # 2k-10k rows scan seven times faster than one episode per group (docs/architecture.md)
FILE_ROWS = 1 << 17
FILE_BYTES = 64 << 20


class DatasetWriter:
    """Appends trajectories to a dataset; `close` commits it, and nothing can be read before.

    Use it as a context manager: leaving the block commits, an exception leaves the write uncommitted (and resumable).

    Args:
        path: Local folder or ``pyarrow.fs`` URI; must be empty unless ``overwrite``.
        fps: Frames per second, for ``timestamp``.
        action_low: Lower bound of each action entry, or one number for all; ``None``: the data's minimum.
        action_high: Upper bounds, likewise.
        env: The environment that made the data, ``{"id": ..., "kwargs": {...}}``.
        goal_features: Observation names that make up a goal, or name -> picked entries (``None``: all of them).
            ``None``: every observation.
        generator: How the data was made; stored, and compared when a write is resumed.
        license: SPDX name.
        robot_type: Free text.
        overwrite: Delete a dataset that is already there.
        resuming: Go on with what an interrupted write left there; see `resume`.
        row_group_rows: Smallest number of rows of a row group, in whole episodes.
        file_rows: Rows after which a new data file is begun.

    Raises:
        DatasetError: If the folder is not empty, another process writes there, or a setting cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float = 10.0,
        action_low: Sequence[float] | float | None = None,
        action_high: Sequence[float] | float | None = None,
        env: Mapping[str, Any] | None = None,
        goal_features: GoalFeatures | None = None,
        generator: Mapping[str, Any] | None = None,
        license: str = "unspecified",
        robot_type: str | None = None,
        overwrite: bool = False,
        resuming: bool = False,
        row_group_rows: int = ROW_GROUP_ROWS,
        file_rows: int = FILE_ROWS,
    ) -> None:
        self.storage = open_storage(path)
        self._settings: dict[str, Any] = {
            "fps": checked_fps(fps, self.storage.name),
            "env": None if env is None else dict(env),
            "generator": dict(generator or {}),
            "license": license,
            "robot_type": robot_type,
        }
        self._bounds = checked_bounds(action_low, action_high, self.storage.name)
        self._goal_features = goal_features
        self._row_group_rows, self._file_rows = row_group_rows, file_rows
        self._info: DatasetInfo | None = None
        self._journal: Journal | None = None
        self._files: list[FileEntry] = []
        self._records: list[EpisodeRecord] = []
        self._pending: list[Row] = []
        self._pending_bytes = self._pending_rows = 0
        self._tasks: dict[str, int] = {}
        self._num_rows = 0
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None
        self.discarded: list[str] = []  # what resuming could not use; see `set_aside`
        self.digest: str | None = None
        self._made_folder = not self.storage.has_root()
        if resuming:
            self._restore(recover(self.storage, generator))
        else:
            make_room(self.storage, overwrite)

    @classmethod
    def resume(cls, path: str | os.PathLike[str], **settings: Any) -> DatasetWriter:
        """Go on with an interrupted write; an empty folder begins a new one.

        Locally no appended episode is lost; on object stores those after the last whole data file are.
        Continue with episode `next_episode`.

        Args:
            path: Where the write was begun.
            **settings: As for the constructor; ``generator`` must be what the write was begun with.

        Raises:
            DatasetError: If the dataset is already committed, or was begun by another generator.
        """
        return cls(path, resuming=True, **settings)

    @property
    def next_episode(self) -> int:
        """Number of episodes so far, which is the index that the next one gets."""
        return len(self._records)

    def append(self, trajectory: Trajectory) -> int:
        """Add an episode and return its index.

        Raises:
            DatasetError: If it cannot be stored, or differs in features from the episodes before.
        """
        where = f"{self.storage.name}: episode {self.next_episode}"
        checked = checked_trajectory(trajectory, where)
        if self._info is None:
            self._begin(checked)
        assert self._info is not None
        info = self._info
        check_same_features(checked, info.features, where)
        check_inside(checked.actions, info.action_low, info.action_high, where)
        record = record_of(checked)
        task = self._tasks.setdefault(checked.task, len(self._tasks))
        rows = encode_rows(checked, info, self.next_episode, self._num_rows, task)
        row: Row = (record, self.next_episode, rows)
        if self._journal is not None:
            self._journal.append(*row)
        self._take(row, checked.actions)
        self._flush_full_file()
        return self.next_episode - 1

    def close(self) -> str:
        """Write what is left, the metadata, and last of all the manifest. Returns the digest of the data.

        Raises:
            DatasetError: If there is no episode.
        """
        if self.digest is not None:
            return self.digest
        if self._info is None or self._low is None or self._high is None:
            raise DatasetError(
                f"{self.storage.name}: no episodes; expected at least one. Append a trajectory before closing."
            )
        self._flush()
        low = self._low if self._info.action_low is None else np.array(self._info.action_low)
        high = self._high if self._info.action_high is None else np.array(self._info.action_high)
        info = self._info.finished(
            episodes=len(self._records),
            frames=self._num_rows,
            tasks=len(self._tasks),
            low=low.tolist(),
            high=np.maximum(high, low + BOUNDS_TOLERANCE).tolist(),  # an entry that never moves still needs a range
        )
        self.abort()
        self.storage.delete_folder(JOURNAL_FOLDER)
        self.digest = commit(self.storage, info, self._files, self._records, list(self._tasks))
        return self.digest

    def abort(self) -> None:
        """Let go of the folder without committing; `resume` goes on from here."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def discard(self) -> None:
        """Delete what this writer has written and the folder that it made; nothing where it wrote nothing."""
        self.abort()
        if self._info is None or self.digest is not None:
            return
        clear_dataset(self.storage)
        if self._made_folder:
            self.storage.delete_empty_root()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _begin(self, first: Trajectory) -> None:
        shapes = {name: value.shape[1:] for name, value in first.observations.items()}
        actions = first.actions.shape[1]
        info = DatasetInfo(
            features=features_for(shapes, actions),
            goal_indices=goal_indices_of(self._goal_features, shapes, self.storage.name),
            action_low=action_bound(self._bounds[0], actions, self.storage.name),
            action_high=action_bound(self._bounds[1], actions, self.storage.name),
            **self._settings,
        )
        self._journal = self._opened_journal(info)  # locks the folder: a second writer must not touch it
        write_info(self.storage, info)
        self._info = info

    def _restore(self, found: Recovered | None) -> None:
        if found is None:
            clear_dataset(self.storage)
            return
        self._info, self._files, self._records = found.info, list(found.files), list(found.records)
        self._low, self._high, self.discarded = found.low, found.high, found.torn
        self._num_rows = sum(record.rows for record in self._records)
        for record in self._records:
            self._tasks.setdefault(record.task, len(self._tasks))
        for row, actions in found.pending:
            self._tasks.setdefault(row[0].task, len(self._tasks))
            self._take(row, actions)
        self._journal = self._opened_journal(found.info, found.torn)

    def _opened_journal(self, info: DatasetInfo, torn: list[str] | None = None) -> Journal | None:
        """Lock the folder, then change what is in it."""
        journal = Journal(self.storage, info.arrow_schema) if self.storage.is_local else None
        set_aside(self.storage, torn or [])
        if journal is not None:
            journal.restart(self._pending)
        return journal

    def _take(self, row: Row, actions: np.ndarray) -> None:
        self._pending.append(row)
        self._records.append(row[0])
        self._pending_bytes += row[2].nbytes
        self._pending_rows += row[0].rows
        self._num_rows += row[0].rows
        low, high = actions.min(axis=0), actions.max(axis=0)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    def _flush_full_file(self) -> None:
        if self._pending_bytes >= FILE_BYTES or self._pending_rows >= self._file_rows:
            self._flush()

    def _flush(self) -> None:
        if not self._pending or self._info is None:
            return
        path = data_file_path(len(self._files))
        self._files.append(write_data_file(self.storage, path, self._info, self._pending, self._row_group_rows))
        self._pending, self._pending_bytes, self._pending_rows = [], 0, 0
        if self._journal is not None:
            self._journal.restart([])


def write_dataset(path: str | os.PathLike[str], trajectories: Iterable[Trajectory], **settings: Any) -> str:
    """Write trajectories as a dataset that every am-ray command reads, and return its digest.

    Args:
        path: Local folder or ``pyarrow.fs`` URI.
        trajectories: The episodes, in order; read one at a time.
        **settings: As for `DatasetWriter` (``fps``, ``action_low``, ``action_high``, ``env``, ``goal_features``,
            ``generator``, ``license``, ``overwrite``, ...).

    Raises:
        DatasetError: If the folder is not empty or a trajectory cannot be stored. In the second case what was written
            is deleted again, so that the corrected data can be written to the same place.
    """
    with DatasetWriter(path, **settings) as writer:
        for trajectory in trajectories:
            try:
                writer.append(trajectory)
            except DatasetError:
                if not settings.get("resuming"):  # then the episodes before it are from earlier calls
                    writer.discard()
                raise
    assert writer.digest is not None
    return writer.digest
