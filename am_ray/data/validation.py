"""Looking at all of a dataset: every column, and with ``deep`` every byte and every image."""

from __future__ import annotations

import numpy as np

from am_ray.data.blocks import RowGroup, check_finite, check_order
from am_ray.data.data_files import column_array, open_data_file, read_row_group
from am_ray.data.reader import TrajectoryDataset
from am_ray.data.schema import DatasetInfo
from am_ray.data.storage import Storage


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
