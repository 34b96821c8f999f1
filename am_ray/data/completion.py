"""What share of a dataset's episodes does what: by task, the last step's success and every yes-or-no column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from am_ray.data.data_files import column_array, open_data_file, read_row_group
from am_ray.data.reader import OUR_EPISODE_COLUMNS, TrajectoryDataset

SUCCESS = "next.success"
ENDED_IN_SUCCESS = "ended_in_success"


def completion(dataset: TrajectoryDataset) -> dict[str, dict[str, Any]]:
    """Shares of episodes, by task and, under ``all``, of the whole dataset.

    Each value has ``episodes`` (their number) and ``shares``: ``ended_in_success`` (the last transition's
    ``next.success``; left out where the data has no such column) and, for each column of the table of episodes that
    holds true and false alone, the share of true among the episodes that have a value. An episode of several tasks
    counts for each.

    Raises:
        DatasetError: If a page of ``next.success`` is damaged.
    """
    flags = episode_flags(dataset)
    groups: dict[str, list[int]] = {}
    everything = [int(group.first_episode) + i for group in dataset.row_groups for i in range(group.num_episodes)]
    for episode in everything:
        for task in dict.fromkeys(dataset.episodes["tasks"][episode]):
            groups.setdefault(task, []).append(episode)
    groups = dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))
    return {name: _shares(chosen, flags) for name, chosen in [*groups.items(), ("all", everything)]}


def episode_flags(dataset: TrajectoryDataset) -> dict[str, dict[int, bool]]:
    """By flag, then by episode: ``ended_in_success`` and the columns of metadata whose values are all true or false."""
    flags: dict[str, dict[int, bool]] = {}
    if SUCCESS in dataset.info.features:
        flags[ENDED_IN_SUCCESS] = dict(_last_successes(dataset))
    for name, values in dataset.episodes.items():
        if name not in OUR_EPISODE_COLUMNS and {type(value) for value in values} - {type(None)} == {bool}:
            flags[name] = {episode: value for episode, value in enumerate(values) if value is not None}
    return flags


def _last_successes(dataset: TrajectoryDataset) -> Iterable[tuple[int, bool]]:
    for group in dataset.row_groups:
        with open_data_file(dataset.storage, group.path) as file:
            table = read_row_group(dataset.storage, group.path, file, group.number, [SUCCESS])
        where = f"{dataset.storage.name}/{group.path}: row group {group.number}"
        values = column_array(table, SUCCESS, dataset.info.features[SUCCESS], where)
        last = np.cumsum(group.episode_rows) - 2  # the last row is padding
        yield from zip(
            range(group.first_episode, group.first_episode + len(last)), map(bool, values[last]), strict=True
        )


def _shares(episodes: list[int], flags: dict[str, dict[int, bool]]) -> dict[str, Any]:
    shares = {}
    for name, values in flags.items():
        known = [values[episode] for episode in episodes if episode in values]
        if known:
            shares[name] = sum(known) / len(known)
    return {"episodes": len(episodes), "shares": shares}
