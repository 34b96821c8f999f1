"""``meta/stats.json``: mean, std, min, max, count and quantiles of every input feature, as LeRobot lays them out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from am_ray.data.schema import DatasetInfo
from am_ray.types import EpisodeBlock

STATS_PATH = "meta/stats.json"
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
QUANTILE_ROWS = 200_000  # quantiles are of every k-th row, so that this many are held at most; the rest is exact
FRAME_STRIDE = 16  # images: every 16th frame serves for all statistics


class FeatureStatistics:
    """Running statistics of one feature over its entries (images: over their channels, scaled to [0, 1])."""

    def __init__(self, total_rows: int) -> None:
        self.count = 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        self._low: Any = np.inf
        self._high: Any = -np.inf
        self._stride = max(1, total_rows // QUANTILE_ROWS)
        self._kept: list[np.ndarray] = []

    def update(self, values: np.ndarray) -> None:
        """Add ``(rows, entries)`` values (Chan's pairwise update: stable for any number of rows)."""
        if not len(values):
            return
        wide = values.astype(np.float64)
        mean, count = wide.mean(axis=0), self.count + len(wide)
        delta = mean - self._mean
        self._squares = self._squares + ((wide - mean) ** 2).sum(axis=0) + delta**2 * self.count * len(wide) / count
        self._mean = self._mean + delta * len(wide) / count
        self._low, self._high = np.minimum(self._low, wide.min(axis=0)), np.maximum(self._high, wide.max(axis=0))
        self.count = count
        self._kept.append(values[:: self._stride])

    def result(self) -> dict[str, np.ndarray]:
        kept = np.concatenate(self._kept)
        exact = {"mean": self._mean, "std": np.sqrt(self._squares / self.count), "min": self._low, "max": self._high}
        return exact | {name: np.quantile(kept, q, axis=0) for name, q in QUANTILES.items()}


def compute_statistics(blocks: Iterable[EpisodeBlock], info: DatasetInfo) -> dict[str, dict[str, Any]]:
    """Statistics by column name. The action of an episode's last row is padding and does not count."""
    features: dict[str, FeatureStatistics] = {}
    for block in blocks:
        real = np.ones(block.num_rows, bool)
        real[block.first_row + block.num_transitions] = False
        values = {column: block.observations[name] for name, column in info.observation_columns.items()}
        values |= {"action": block.actions[real], "next.reward": block.rewards[real][:, None]}
        for column, array in values.items():
            if array.ndim == 2:
                features.setdefault(column, FeatureStatistics(info.total_frames)).update(array)
            else:
                frames = array[::FRAME_STRIDE].astype(np.float32) / 255.0
                pixels = frames.reshape(-1, array.shape[-1])
                size = int(np.prod(array.shape[1:3]))
                entry = features.setdefault(column, FeatureStatistics(info.total_frames * size // FRAME_STRIDE))
                entry.update(pixels)
    return {column: _to_json(entry, info, column) for column, entry in features.items()}


def _to_json(entry: FeatureStatistics, info: DatasetInfo, column: str) -> dict[str, Any]:
    image = column in info.features and info.features[column].dtype == "image"
    shape = (-1, 1, 1) if image else (-1,)
    result = {name: value.reshape(shape).tolist() for name, value in entry.result().items()}
    return result | {"count": [entry.count]}
