"""Resident ingest: the shard lies decoded in the learner's memory, every update relabels it anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from am_ray.core.relabel import gather
from am_ray.data.blocks import take_episodes
from am_ray.data.shard import Columns, Shard, take_indices
from am_ray.types import EpisodeBlock

logger = logging.getLogger(__name__)

# Below this many row groups for each learner, shards of whole row groups would differ too much in size.
MIN_GROUPS_PER_SHARD = 8
# Indices of this many updates are drawn in one call: the kernel's fixed cost (0.1 ms) is shared.
UPDATES_PER_DRAW = 16


@dataclass(frozen=True)
class ResidentShard:
    """One learner's source of batches; small and picklable, loads its data where `batches` is called."""

    shard: Shard

    @property
    def mode(self) -> str:
        return "resident"

    def describe(self) -> str:
        shard = self.shard
        return f"resident: shard {shard.index + 1} of {shard.count} of {shard.name}, relabelled in memory"

    def load(self) -> EpisodeBlock:
        """Read this shard's episodes: its row groups, or its episodes of every row group where there are few."""
        shard = self.shard
        if shard.count == 1 or len(shard.row_groups) >= MIN_GROUPS_PER_SHARD * shard.count:
            window = shard.row_groups[shard.index :: shard.count]
            return shard.reader.read_window(window, threads=True)
        block = shard.reader.read_window(shard.row_groups, threads=True)
        return take_episodes(block, np.arange(shard.index, block.num_episodes, shard.count))

    def batches(self, start_update: int = 0) -> Iterator[Columns]:
        """Endless batches; that of update u depends on (seed, shard, u) alone, so any u can be started at."""
        block = self.load()
        logger.info("%s: %d episodes", self.describe(), block.num_episodes)
        shard, size, update = self.shard, self.shard.batch_size, start_update
        links = shard.links(block)
        while True:
            draw, skipped = divmod(update, UPDATES_PER_DRAW)
            indices = shard.relabel(block, UPDATES_PER_DRAW * size, 0, shard.rng(draw), links)
            for number in range(skipped, UPDATES_PER_DRAW):
                chosen = take_indices(indices, slice(number * size, (number + 1) * size))
                yield gather(block, chosen, shard.spec).to_columns()
                update += 1
