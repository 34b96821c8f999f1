"""The Ray Data task of streaming ingest: read a window, relabel it, give blocks of whole batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from am_ray.core.relabel import gather
from am_ray.data.plan import DRAWS, WindowPlan
from am_ray.data.shard import Columns, Shard, take_indices
from am_ray.data.slab import to_slab
from am_ray.memory_reuse import reuse_freed_memory

SEPARATOR = "/"


@dataclass(frozen=True)
class ReadWindow:
    """``{"window": [i]}`` to flat columns of relabelled transitions.

    Attributes:
        shard: What to read and how to relabel.
        plans: The windows of this pipeline.
        reservoir_rows: Rows of another row group that join the random goals.
        batches_per_block: Batches of one block.
    """

    shard: Shard
    plans: Sequence[WindowPlan]
    reservoir_rows: int
    batches_per_block: int

    def __call__(self, rows: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for index in rows["window"]:
            yield from self.blocks(self.plans[int(index)])

    def blocks(self, plan: WindowPlan) -> Iterator[dict[str, np.ndarray]]:
        """The window's transitions, in blocks of ``batches_per_block`` batches; random by (seed, shard, epoch, window)."""
        shard = self.shard
        rng = shard.rng(DRAWS, plan.epoch, plan.number)
        groups = tuple(shard.row_groups[i] for i in plan.groups)
        block = shard.reader.read_window(groups)
        reservoir, size = self._reservoir(plan, rng)
        indices = shard.relabel(block, plan.num_batches * shard.batch_size, size, rng, shard.links(block))
        for start in range(plan.skip, plan.num_batches, self.batches_per_block):
            end = min(start + self.batches_per_block, plan.num_batches)
            chosen = take_indices(indices, slice(start * shard.batch_size, end * shard.batch_size))
            yield flat_columns(gather(block, chosen, shard.spec, reservoir).to_columns())

    def _reservoir(self, plan: WindowPlan, rng: np.random.Generator) -> tuple[dict[str, np.ndarray] | None, int]:
        relabeling = self.shard.relabeling
        wanted = relabeling.chaining_ratio and not relabeling.chaining_window and not self.shard.task
        if plan.reservoir_group is None or not wanted:
            return None, 0
        group = self.shard.row_groups[plan.reservoir_group]
        size = min(self.reservoir_rows, group.num_rows)
        rows = np.sort(rng.choice(group.num_rows, size, replace=False))
        return self.shard.reader.read_observations(group, rows), size


@dataclass(frozen=True)
class StoredTask:
    """What ``map_batches`` runs: a `ReadWindow` that lies in the object store, its blocks as slabs.

    A worker unpacks ``task`` once, and not anew with every window: plans and row groups are many.
    """

    task: Any

    def __call__(self, rows: Mapping[str, np.ndarray]) -> Iterator[Any]:
        for block in _unpacked(self.task)(rows):
            yield to_slab(block)


@lru_cache(maxsize=2)
def _unpacked(task: Any) -> ReadWindow:
    import ray

    reuse_freed_memory()
    found: ReadWindow = ray.get(task)
    return found


def flat_columns(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """``{"goal": {"state": x}}`` -> ``{"goal/state": x}``: slabs are flat."""
    flat: dict[str, np.ndarray] = {}
    for name, value in columns.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}{SEPARATOR}{key}": array for key, array in value.items()}
        else:
            flat[name] = value
    return flat


def nested_columns(flat: Mapping[str, np.ndarray]) -> Columns:
    """The inverse of `flat_columns`."""
    columns: Columns = {}
    for name, value in flat.items():
        group, _, key = name.partition(SEPARATOR)
        if key:
            columns.setdefault(group, {})[key] = value
        else:
            columns[name] = value
    return columns
