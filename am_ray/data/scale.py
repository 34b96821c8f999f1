"""What a network needs to know of a dataset's scale: means, deviations, and a pool of its actions."""

from __future__ import annotations

import numpy as np

from am_ray.data.blocks import RowGroup
from am_ray.data.data_files import column_array, open_data_file, read_row_group
from am_ray.data.reader import TrajectoryDataset
from am_ray.types import DataStatistics

POOL_SIZE = 1024
# Actions are drawn from at most this many row groups: 1,024 actions need no more, and a huge dataset stays cheap to open.
POOL_ROW_GROUPS = 64
# A deviation below this share of the largest absolute value is rounding, not change.
_CONSTANT = 1e-6


def data_statistics(dataset: TrajectoryDataset, *, seed: int = 0) -> DataStatistics:
    """Mean and deviation of each one-dimensional feature (1 for entries that never change), and actions of the data.

    Args:
        dataset: Whose ``meta/stats.json`` is used.
        seed: Of the draw of actions: with replacement, uniform over the transitions of the row groups read.

    Raises:
        DatasetError: A page that holds the actions is damaged.
    """
    statistics, mean, std = dataset.statistics, {}, {}
    for name, shape in dataset.spec.observation_shapes.items():
        if len(shape) == 1:
            entry = statistics[dataset.info.observation_columns[name]]
            mean[name] = np.asarray(entry["mean"], np.float32).reshape(shape)
            deviation = np.asarray(entry["std"], np.float32).reshape(shape)
            is_constant = deviation <= _CONSTANT * np.maximum(np.abs(mean[name]), 1.0)
            std[name] = np.where(is_constant, np.float32(1.0), deviation)
    return DataStatistics(mean, std, _action_pool(dataset, np.random.default_rng(seed)))


def _action_pool(dataset: TrajectoryDataset, rng: np.random.Generator) -> np.ndarray:
    groups = dataset.row_groups
    if len(groups) > POOL_ROW_GROUPS:
        chosen = np.sort(rng.choice(len(groups), POOL_ROW_GROUPS, replace=False))
        groups = [groups[i] for i in chosen]
    actions = np.concatenate([_actions(dataset, group) for group in groups])
    return actions[rng.integers(0, len(actions), POOL_SIZE)]


def _actions(dataset: TrajectoryDataset, group: RowGroup) -> np.ndarray:
    """Actions of a row group's transitions, ``(n, a)``: an episode's last row holds padding and is left out."""
    with open_data_file(dataset.storage, group.path) as file:
        table = read_row_group(dataset.storage, group.path, file, group.number, ["action"])
    where = f"{dataset.storage.name}/{group.path}: row group {group.number}"
    actions = column_array(table, "action", dataset.info.features["action"], where).reshape(table.num_rows, -1)
    is_transition = np.ones(len(actions), bool)
    is_transition[np.cumsum(group.episode_rows) - 1] = False
    return actions[is_transition].astype(np.float32)
