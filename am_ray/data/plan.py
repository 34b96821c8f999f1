"""Which row groups make up which window, in which order, for ever: the plan that streaming follows.

Every epoch shuffles all row groups by (seed, epoch) and deals them to the shards. A shard's row groups then form windows,
so a window mixes row groups of any files, and chained goals cross episodes and files. A window gives a whole number of
batches, rounded at random so that its expectation is exact: no transition is drawn more often because of where it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from am_ray.data.shard import Shard
from am_ray.settings import IngestSettings
from am_ray.types import DatasetError

# Purposes of generators, so that none repeats another's numbers: the order of the row groups, the number of a window's
# batches and its reservoir, and what is drawn in it.
SHUFFLE, WINDOW, DRAWS = 0, 1, 2

EPOCHS_WITHOUT_BATCH = 10_000


@dataclass(frozen=True)
class WindowPlan:
    """One window to read and relabel.

    Attributes:
        epoch: Pass over the data, from 0.
        number: The window's number in this shard's epoch.
        groups: Positions of its row groups in ``Shard.row_groups``.
        reservoir_group: The row group that gives more random goals, ``None`` if there is no other one.
        num_batches: Batches that are drawn from it.
        skip: Batches at its start that were already used before a resume.
    """

    epoch: int
    number: int
    groups: tuple[int, ...]
    reservoir_group: int | None
    num_batches: int
    skip: int = 0


def plan_windows(shard: Shard, ingest: IngestSettings, start_batch: int = 0) -> Iterator[WindowPlan]:
    """Endless windows of a shard, from the one that holds batch ``start_batch``.

    Raises:
        DatasetError: If ten thousand epochs give no batch (far too few transitions for the batch size).
    """
    transitions = np.array([group.num_transitions for group in shard.row_groups])
    rows = np.array([group.num_rows for group in shard.row_groups])
    position, epoch, last_with_batch = 0, 0, 0
    while True:
        for plan in _epoch(shard, ingest, epoch, transitions, rows):
            position += plan.num_batches
            if position > start_batch:
                skip = max(0, start_batch - (position - plan.num_batches))
                yield WindowPlan(plan.epoch, plan.number, plan.groups, plan.reservoir_group, plan.num_batches, skip)
            last_with_batch = epoch
        if epoch - last_with_batch > EPOCHS_WITHOUT_BATCH:
            raise DatasetError(
                f"{shard.name}: {transitions.sum()} transitions gave no batch of {shard.batch_size} in "
                f"{EPOCHS_WITHOUT_BATCH} epochs; expected more data or smaller batches. Raise samples_per_transition."
            )
        epoch += 1


def _epoch(
    shard: Shard, ingest: IngestSettings, epoch: int, transitions: np.ndarray, rows: np.ndarray
) -> Iterator[WindowPlan]:
    rng = np.random.default_rng([shard.seed, SHUFFLE, epoch])
    order = rng.permutation(len(rows))[shard.index :: shard.count]
    ends = _window_ends(rows[order], ingest.window_rows)
    for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        groups = order[start:end]
        window_rng = shard.rng(WINDOW, epoch, number)
        wanted = transitions[groups].sum() * ingest.samples_per_transition / shard.batch_size
        num_batches = int(wanted + window_rng.random())
        reservoir = None
        if ingest.reservoir_rows and len(groups) < len(rows):
            others = np.setdiff1d(np.arange(len(rows)), groups)
            weights = rows[others] / rows[others].sum()
            reservoir = int(window_rng.choice(others, p=weights))
        if num_batches:
            yield WindowPlan(epoch, number, tuple(groups.tolist()), reservoir, num_batches)


def _window_ends(rows: np.ndarray, window_rows: int) -> list[int]:
    """Where windows end: each is closed as soon as it has ``window_rows`` rows; the rest joins the last one."""
    ends, held = [], 0
    for position, count in enumerate(rows.tolist(), start=1):
        held += count
        if held >= window_rows:
            ends.append(position)
            held = 0
    if not ends:
        return [len(rows)]
    ends[-1] = len(rows) if held and held < window_rows / 2 else ends[-1]
    return ends if ends[-1] == len(rows) else [*ends, len(rows)]
