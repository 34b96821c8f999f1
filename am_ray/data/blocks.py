"""Row groups as blocks of whole episodes, with everything checked that a wrong batch could come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from am_ray.data.data_files import column_array, open_data_file, read_row_group
from am_ray.data.schema import DatasetInfo
from am_ray.data.storage import Storage
from am_ray.types import DatasetError, EpisodeBlock

PER_STEP = {"rewards": "next.reward", "successes": "next.success"}
ORDER = ("frame_index", "episode_index")


@dataclass(frozen=True)
class RowGroup:
    """A row group of a data file: whole episodes, the unit of IO.

    Attributes:
        path: The data file.
        number: The row group's number in it.
        episode_rows: Rows of each episode.
        first_episode: Index of the first episode in the dataset.
    """

    path: str
    number: int
    episode_rows: tuple[int, ...]
    first_episode: int

    @property
    def num_rows(self) -> int:
        return sum(self.episode_rows)

    @property
    def num_episodes(self) -> int:
        return len(self.episode_rows)

    @property
    def num_transitions(self) -> int:
        return self.num_rows - self.num_episodes


Window = tuple[RowGroup, ...]  # read and relabelled together


def read_window(
    storage: Storage, info: DatasetInfo, window: Window, *, threads: bool = False, per_step: bool = True
) -> EpisodeBlock:
    """Read row groups, of one file or of several, into one block, in the given order.

    Args:
        storage: The dataset's folder.
        info: Its ``meta/info.json``.
        window: What to read.
        threads: Whether pyarrow may use its own threads.
        per_step: Whether to read rewards and successes (else zeros).

    Raises:
        DatasetError: If a page is damaged, the rows are not the expected episodes in order, or a number is not finite.
    """
    blocks = []
    for group in window:
        where = f"{storage.name}/{group.path}: row group {group.number}"
        wanted = PER_STEP.values() if per_step else ()
        columns = [*info.observation_columns.values(), "action", *ORDER, *(c for c in wanted if c in info.features)]
        with open_data_file(storage, group.path) as file:
            table = read_row_group(storage, group.path, file, group.number, columns, threads=threads)
        blocks.append(block_of(table, info, np.asarray(group.episode_rows, np.int64), group.first_episode, where))
    return blocks[0] if len(blocks) == 1 else join_blocks(blocks)


def read_observations(storage: Storage, info: DatasetInfo, group: RowGroup, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The observations of some rows of a row group; only their images are decoded.

    Raises:
        DatasetError: If a page is damaged or an image cannot be decoded.
    """
    where = f"{storage.name}/{group.path}: row group {group.number}"
    columns = list(info.observation_columns.values())
    with open_data_file(storage, group.path) as file:
        table = read_row_group(storage, group.path, file, group.number, columns).take(rows)
    return observations_of(table, info, where)


def observations_of(table: pa.Table, info: DatasetInfo, where: str) -> dict[str, np.ndarray]:
    arrays = {n: column_array(table, c, info.features[c], where) for n, c in info.observation_columns.items()}
    return {n: v.reshape(len(v), -1) if v.ndim == 1 else v for n, v in arrays.items()}


def block_of(table: pa.Table, info: DatasetInfo, rows: np.ndarray, first_episode: int, where: str) -> EpisodeBlock:
    """The block that a table of whole episodes holds; ``rows`` is the expected number of rows of each episode."""
    episodes = np.arange(first_episode, first_episode + len(rows))
    first_row = np.cumsum(rows) - rows
    check_order(table, rows, episodes, where)
    observations = observations_of(table, info, where)
    actions = column_array(table, "action", info.features["action"], where).reshape(table.num_rows, -1)
    per_step = {}
    for name, column in PER_STEP.items():
        dtype = np.float32 if name == "rewards" else np.bool_
        known = column in table.column_names
        per_step[name] = (
            column_array(table, column, info.features[column], where) if known else np.zeros(table.num_rows, dtype)
        )
    for name, values in (*observations.items(), ("action", actions), ("next.reward", per_step["rewards"])):
        check_finite(values, name, first_row, episodes, where)
    return EpisodeBlock(
        observations, actions, per_step["rewards"], per_step["successes"], first_row, rows - 1, episodes
    )


def check_order(table: pa.Table, rows: np.ndarray, episodes: np.ndarray, where: str) -> None:
    """Raise `DatasetError` unless the rows are these whole episodes, frame after frame."""
    if table.num_rows != rows.sum():
        raise DatasetError(
            f"{where}: {table.num_rows} rows; expected {rows.sum()}, as the manifest says. Restore the file."
        )
    expected = {
        "episode_index": np.repeat(episodes, rows),
        "frame_index": np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows),
    }
    for name, wanted in expected.items():
        column = table.column(name)
        found = column.to_numpy() if column.null_count == 0 else np.full(len(column), -1)
        if not np.array_equal(found, wanted):
            row = int(np.flatnonzero(found != wanted)[0])
            raise DatasetError(
                f"{where}, row {row}: {name} {found[row]}, expected {wanted[row]} (episode {np.repeat(episodes, rows)[row]}); "
                "episodes must be whole and in order. Write the dataset again."
            )


def check_finite(values: np.ndarray, name: str, first_row: np.ndarray, episodes: np.ndarray, where: str) -> None:
    """Raise `DatasetError` if a float array holds a NaN or an infinity."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
    episode = episodes[np.searchsorted(first_row, row, side="right") - 1]
    raise DatasetError(
        f"{where}: episode {episode} has a NaN or infinity in {name!r} (row {row}); expected finite numbers. "
        "Remove the episode and write the dataset again."
    )


def join_blocks(blocks: Sequence[EpisodeBlock]) -> EpisodeBlock:
    """One block with the episodes of several, in order."""
    offsets = np.cumsum([0, *(block.num_rows for block in blocks[:-1])])
    return EpisodeBlock(
        observations={n: np.concatenate([b.observations[n] for b in blocks]) for n in blocks[0].observations},
        actions=np.concatenate([b.actions for b in blocks]),
        rewards=np.concatenate([b.rewards for b in blocks]),
        successes=np.concatenate([b.successes for b in blocks]),
        first_row=np.concatenate([b.first_row + o for b, o in zip(blocks, offsets, strict=True)]),
        num_transitions=np.concatenate([b.num_transitions for b in blocks]),
        episode_index=np.concatenate([b.episode_index for b in blocks]),
    )


def take_episodes(block: EpisodeBlock, chosen: np.ndarray) -> EpisodeBlock:
    """The block with only the chosen episodes (positions in the block), in the given order."""
    rows = block.num_transitions[chosen] + 1
    first_row = np.cumsum(rows) - rows
    picked = np.repeat(block.first_row[chosen] - first_row, rows) + np.arange(rows.sum())
    return EpisodeBlock(
        observations={name: value[picked] for name, value in block.observations.items()},
        actions=block.actions[picked],
        rewards=block.rewards[picked],
        successes=block.successes[picked],
        first_row=first_row,
        num_transitions=block.num_transitions[chosen],
        episode_index=block.episode_index[chosen],
    )
