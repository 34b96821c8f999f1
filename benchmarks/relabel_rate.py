"""Relabeling and gathering of transitions in memory: how many a second, and beside an OGBench-style sampler.

`relabel_rate`: transitions/s out of resident ingest, that is `am_ray.core.relabel`: relabel draws 16 batches of 256 at once, gather
copies each of them out (s, s', goal, action, next action, flags). Synthetic data of 20,000 episodes, 620,000 rows of 21-d states and
4-d actions (62 MB, more than caches hold). Reading the data and building the iterator are not timed.

`relabel_ratio`: that rate over the rate of a sampler written here after the description of OGBench's GCDataset.sample: for each
batch of 256, a draw of valid rows, the trajectory's last row by searchsorted over terminal rows, the goal row by a mixture (current
state 0.2, future state 0.5, random state 0.3), then fancy indexing of s, s', action, goal, reward and mask. Same arrays, same batch,
one thread, neighbouring runs in one process. Readings that favour the sampler were taken: one goal for each transition (OGBench draws
and gathers two, for value and actor), geometric offsets to the future state (4 us a batch, uniform ones 8), NumPy's Generator
(its draws take two thirds of the time of the legacy ones), the lists of valid and of terminal rows made beforehand.
Ours gathers the next action too, which the sampler does not have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from am_ray.data.ingest import open_ingest
from am_ray.data.reader import read_dataset
from am_ray.settings import IngestSettings, RelabelSettings
from am_ray.types import EpisodeBlock
from benchmarks.measurement import Measurement, main, median_of, paired_ratio
from benchmarks.worlds import state_data

BATCH = 256
CURRENT, FUTURE = 0.2, 0.5  # the rest: random states
DISCOUNT = 0.99  # of the geometric offsets


def our_batches(dataset: Path) -> Iterator[Any]:
    ingest = IngestSettings(mode="resident")
    return open_ingest(dataset, None, RelabelSettings(), ingest, batch_size=BATCH, seed=0)[0].batches()


class IndexSampler:
    """Draws rows and goals of one batch, and indexes the arrays with them."""

    def __init__(self, block: EpisodeBlock, *, seed: int) -> None:
        self.block, self.rng = block, np.random.default_rng(seed)
        self.states, self.actions = block.observations["state"], block.actions
        self.last_rows = block.first_row + block.num_transitions
        is_valid = np.ones(block.num_rows, np.bool_)
        is_valid[self.last_rows] = False
        self.valid_rows = np.flatnonzero(is_valid)

    def __call__(self) -> dict[str, np.ndarray]:
        rng = self.rng
        rows = self.valid_rows[rng.integers(len(self.valid_rows), size=BATCH)]
        goals = self._goal_rows(rows)
        reached = (rows == goals).astype(np.float32)
        return {
            "observations": self.states[rows],
            "next_observations": self.states[rows + 1],
            "actions": self.actions[rows],
            "goals": self.states[goals],
            "rewards": reached - 1.0,
            "masks": 1.0 - reached,
        }

    def _goal_rows(self, rows: np.ndarray) -> np.ndarray:
        rng = self.rng
        last = self.last_rows[np.searchsorted(self.last_rows, rows)]
        future = np.minimum(rows + rng.geometric(1.0 - DISCOUNT, BATCH), last)
        anywhere = self.valid_rows[rng.integers(len(self.valid_rows), size=BATCH)]
        goals = np.where(rng.random(BATCH) < FUTURE / (1.0 - CURRENT), future, anywhere)
        return np.where(rng.random(BATCH) < CURRENT, rows, goals)


def rate(draw: Callable[[], object], seconds: float) -> float:
    """Transitions/s of batches drawn for so many seconds."""
    batches, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        for _ in range(64):
            draw()
        batches += 64
    return batches * BATCH / passed


def measure(quick: bool) -> dict[str, Measurement]:
    seconds, pairs = (0.5, 5) if quick else (1.0, 7)
    path = state_data()
    dataset = read_dataset(path)
    sampler = IndexSampler(dataset.read_all(), seed=0)
    batches = our_batches(path)
    next(batches)  # reads the data
    ours: list[float] = []

    def timed_ours() -> float:
        ours.append(rate(batches.__next__, seconds))
        return ours[-1]

    ratio = paired_ratio(timed_ours, lambda: rate(sampler, seconds), pairs=pairs, unit=" transitions/s")
    rows = sampler.block.num_rows
    figure = median_of(ours[1:], f"batches of {BATCH}, {rows:,} rows of 21-d states, resident ingest, goals included")
    return {"relabel_rate": figure, "relabel_ratio": ratio}


if __name__ == "__main__":
    main(measure, __doc__)
